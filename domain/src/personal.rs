//! Personal data in events: sealed before it is written, so that a person can be forgotten by the destruction of a key.
//!
//! What is sealed goes through everything unchanged: the log, messages, snapshots, read models, exports. It is opened where a query answers,
//! and reads as erased when its key is gone. This room knows neither keys nor ciphers.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// A text that only the holder of its key can read, bound to the field of the event that it was sealed for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "SealedText")]
#[serde(deny_unknown_fields)]
pub struct Sealed {
    /// The key: that of a data subject, which is also the subject's id, or that of a class of events in one month.
    pub key_id: Uuid,
    /// Base64: one byte 1, a nonce of 24 bytes, and what XChaCha20-Poly1305 made of the text.
    pub sealed: String,
}

/// Personal data in an event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
#[schemars(rename = "Personal{T}")]
pub enum Pii<T> {
    /// As events hold it.
    Sealed(Sealed),
    /// As events of earlier versions hold it, and imported ones: nobody can take it back.
    Clear(T),
}

/// A field of an event that holds personal data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Field {
    /// Such as `tenant.registered`.
    pub event_type: &'static str,
    /// The name in the payload.
    pub field: &'static str,
    /// By whose key it is sealed.
    pub owner: Owner,
}

/// Whose key personal data is sealed by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Owner {
    /// The person's; the data goes when the person asks.
    Subject,
    /// That of a class of events, one each month; the data goes when its time is over.
    Class(&'static str),
}

/// The class of what is recorded about accesses that were refused.
pub const ACCESS_CLASS: &str = "access";

/// Every field of every event that holds personal data.
pub const FIELDS: &[Field] = &[
    Field { event_type: "tenant.registered", field: "contact_email", owner: Owner::Subject },
    Field { event_type: "tenant.contact_changed", field: "contact_email", owner: Owner::Subject },
    Field { event_type: "access_record.login_failed", field: "network", owner: Owner::Class(ACCESS_CLASS) },
];
