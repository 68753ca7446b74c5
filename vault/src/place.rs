//! Where a sealed text stands, as the bytes that it is bound to.

use uuid::Uuid;

/// Begins the bytes, so that they are taken for nothing else.
const DOMAIN: &[u8] = b"service-hub personal text v1\0";

/// The place of a sealed text: one field of one event. The key's id is part of what is bound, and comes from the text itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place<'a> {
    /// The tenant of the stream.
    pub tenant_id: Uuid,
    /// The stream's aggregate type.
    pub aggregate_type: &'a str,
    /// The stream's aggregate.
    pub aggregate_id: Uuid,
    /// The event's place in its stream, from 1.
    pub sequence: i64,
    /// The field of the event's payload.
    pub field: &'a str,
}

impl Place<'_> {
    /// The associated data: every part of fixed length or with its length (big endian) before it, so that no two places have the same.
    pub(crate) fn bound_to(&self, key_id: Uuid) -> Vec<u8> {
        let mut bytes = DOMAIN.to_vec();
        bytes.extend(self.tenant_id.as_bytes());
        bytes.extend(key_id.as_bytes());
        bytes.extend(self.aggregate_id.as_bytes());
        bytes.extend(self.sequence.to_be_bytes());
        for text in [self.aggregate_type, self.field] {
            bytes.extend((text.len() as u64).to_be_bytes());
            bytes.extend(text.as_bytes());
        }
        bytes
    }
}
