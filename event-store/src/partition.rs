//! Partitions and subjects: how the log is spread over NATS.

use std::borrow::Cow;

use uuid::Uuid;

use crate::{event::Recorded, import::name_is_plain};

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

/// Whether an event of such a type may be appended: the aggregate's type and the event's name each fit into one token of a subject, and
/// the event's type is both with a dot between them.
#[must_use]
pub fn names_fit(aggregate_type: &str, event_type: &str) -> bool {
    let name = event_type.strip_prefix(aggregate_type).and_then(|rest| rest.strip_prefix('.'));
    name_is_plain(aggregate_type) && name.is_some_and(name_is_plain)
}

/// `hub.events.<partition>.<tenant>.<aggregate type>.<event>`: always six tokens without wildcards and blanks, also for an event that
/// somebody has put into the table past every check.
#[must_use]
pub fn subject_of(event: &Recorded) -> String {
    let tag = event.event_type.rsplit('.').next().unwrap_or_default();
    format!(
        "{SUBJECT_ROOT}.{}.{}.{}.{}",
        partition_of(event.tenant_id),
        event.tenant_id.simple(),
        token(&event.aggregate_type),
        token(tag)
    )
}

/// What a subscriber to all events of a tenant asks for, and to nobody else's.
#[must_use]
pub fn subject_of_tenant(tenant_id: Uuid) -> String {
    format!("{SUBJECT_ROOT}.*.{}.>", tenant_id.simple())
}

/// A name as one token: whatever could end it, or stand for another one, becomes an underscore.
fn token(name: &str) -> Cow<'_, str> {
    if name_is_plain(name) {
        return Cow::Borrowed(name);
    }
    let kept = |byte: u8| if byte.is_ascii_alphanumeric() || byte == b'-' { char::from(byte) } else { '_' };
    Cow::Owned(if name.is_empty() { "_".to_owned() } else { name.bytes().map(kept).collect() })
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;
    use serde_json::value::RawValue;

    use super::*;

    const HOSTILE: [&str; 14] =
        ["", ".", "*", ">", "a.b", "a.*", "a.>", " ", "a b", "a\tb", "a\r\nPUB x 1", "a\0", "\u{e9}", "$JS"];

    fn subject(aggregate_type: &str, event_type: &str) -> String {
        let null = || RawValue::from_string("null".to_owned()).unwrap();
        subject_of(&Recorded {
            position: 1,
            tenant_position: 1,
            event_id: Uuid::nil(),
            tenant_id: Uuid::nil(),
            aggregate_type: aggregate_type.to_owned(),
            aggregate_id: Uuid::nil(),
            sequence: 1,
            event_type: event_type.to_owned(),
            event_version: 1,
            occurred_at: DateTime::UNIX_EPOCH,
            payload: null(),
            metadata: null(),
            leaf_hash: Vec::new(),
        })
    }

    #[test]
    fn names_of_the_log_stand_in_the_subject_as_they_are() {
        assert!(subject("service_instance", "service_instance.ready2").ends_with(".service_instance.ready2"));
        assert!(names_fit("service_instance", "service_instance.ready2"));
    }

    #[test]
    fn hostile_names_are_no_names_of_the_log() {
        for name in HOSTILE {
            assert!(!names_fit(name, &format!("{name}.sent")), "{name:?}");
            assert!(!names_fit("letter", &format!("letter.{name}")), "{name:?}");
        }
        for event_type in ["sent", "letters.sent", "letter", "lettersent", "letter.sent.twice"] {
            assert!(!names_fit("letter", event_type), "{event_type}");
        }
    }

    #[test]
    fn hostile_names_cannot_leave_their_token_of_the_subject() {
        for name in HOSTILE {
            for subject in [subject(name, "letter.sent"), subject("letter", &format!("letter.{name}"))] {
                let tokens: Vec<_> = subject.split('.').collect();
                assert_eq!((tokens.len(), &tokens[..2]), (6, &["hub", "events"][..]), "{subject:?}");
                let plain = |token: &&str| {
                    !token.is_empty() && token.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'))
                };
                assert!(tokens.iter().all(plain), "{subject:?}");
            }
        }
    }
}
