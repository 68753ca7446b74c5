//! Personal data in rows: as sealed as in the events, with what is needed to open it for an answer.

use std::fmt;

use hub_domain::personal::{Pii, Sealed};
use hub_event_store::event::Recorded;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Personal text of a row. In tables it is sealed, and in answers it is what the text says, or `[erased]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum PersonalText {
    /// As it stands in the event that it comes from.
    Sealed {
        key_id: Uuid,
        sealed: String,
        /// The event's place in its stream.
        sequence: i64,
    },
    /// What it says.
    Text(String),
}

/// A personal text of a row with the place that it was sealed for.
#[derive(Debug)]
pub struct PersonalField<'a> {
    /// The tenant of the stream.
    pub tenant_id: Uuid,
    /// The type of the stream.
    pub aggregate_type: &'a str,
    /// The id of the stream.
    pub aggregate_id: Uuid,
    /// The name in the event's payload.
    pub field: &'a str,
    /// The text, to be replaced by what it says.
    pub text: &'a mut PersonalText,
}

impl PersonalText {
    /// What an event says, to be kept in a row.
    #[must_use]
    pub fn of<T: fmt::Display>(pii: Pii<T>, event: &Recorded) -> Self {
        match pii {
            Pii::Sealed(Sealed { key_id, sealed }) => Self::Sealed { key_id, sealed, sequence: event.sequence },
            Pii::Clear(text) => Self::Text(text.to_string()),
        }
    }
}

impl JsonSchema for PersonalText {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "PersonalText".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "description": "Personal data. `[erased]` when the key that it was sealed with is destroyed, `[sealed]` when this process has not got the key.",
        })
    }
}
