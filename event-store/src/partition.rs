//! Partitions and subjects: how the log is spread over NATS.

use uuid::Uuid;

use crate::event::Recorded;

/// The log is spread over so many partitions; fixed, because subjects and cursors depend on it.
pub const PARTITION_COUNT: usize = 16;

/// The stream that holds all events.
pub const STREAM_NAME: &str = "HUB_EVENTS";

/// What every subject begins with.
pub const SUBJECT_ROOT: &str = "hub.events";

/// Header: the event's position in the whole log.
pub const POSITION_HEADER: &str = "Hub-Position";

/// Header: the position of the event before it in the same partition, 0 for the first.
pub const PREVIOUS_POSITION_HEADER: &str = "Hub-Previous-Position";

/// Header: the event's size in bytes, when it was too large for NATS and its payload and metadata are null in the message; the event
/// itself is in the log.
pub const OMITTED_HEADER: &str = "Hub-Payload-Omitted";

/// The partition of a tenant: FNV-1a (64 bit) of its id's 16 bytes, modulo the number of partitions.
#[must_use]
pub fn partition_of(tenant_id: Uuid) -> usize {
    let hash = tenant_id
        .as_bytes()
        .iter()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3));
    usize::try_from(hash % PARTITION_COUNT as u64).expect("a partition number is small")
}

/// `hub.events.<partition>.<tenant>.<aggregate type>.<event>`.
#[must_use]
pub fn subject_of(event: &Recorded) -> String {
    let tag = event.event_type.rsplit('.').next().unwrap_or_default();
    format!(
        "{SUBJECT_ROOT}.{}.{}.{}.{tag}",
        partition_of(event.tenant_id),
        event.tenant_id.simple(),
        event.aggregate_type
    )
}
