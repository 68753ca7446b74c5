//! Ack ids: which event, handed out with which lease, in which epoch of the subscription.
//!
//! An id is three hexadecimal numbers with dots between them. It is no secret, because whoever may consume a subscription may do so with
//! all of its events; it tells an event that is handed out now from the same event before.

use std::{borrow::Cow, fmt, str::FromStr};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

/// One event as it was handed out once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct AckId {
    pub(crate) epoch: i64,
    pub(crate) position: i64,
    pub(crate) lease: i64,
}

impl fmt::Display for AckId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:x}.{:x}.{:x}", self.epoch, self.position, self.lease)
    }
}

impl FromStr for AckId {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut parts = text.splitn(3, '.').map(|part| {
            let plain = (1..=16).contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_hexdigit());
            if plain { i64::from_str_radix(part, 16).ok() } else { None }
        });
        match (parts.next().flatten(), parts.next().flatten(), parts.next().flatten()) {
            (Some(epoch), Some(position), Some(lease)) if lease > 0 => Ok(Self { epoch, position, lease }),
            _ => Err("not an ack id that a pull has answered"),
        }
    }
}

impl Serialize for AckId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for AckId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Cow::<str>::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

impl JsonSchema for AckId {
    fn schema_name() -> Cow<'static, str> {
        "AckId".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "description": "As a pull has answered it; do not look into it.",
            "maxLength": 50,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::AckId;

    #[test]
    fn an_id_comes_back_as_it_was_given() {
        for id in [AckId { epoch: 1, position: 1, lease: 1 }, AckId { epoch: 3, position: i64::MAX, lease: 4_711 }] {
            assert_eq!(id.to_string().parse(), Ok(id));
        }
    }

    #[test]
    fn what_no_pull_has_answered_is_refused() {
        for text in ["", "1.2", "1.2.3.4", "1.2.0", "1..2", "+1.2.3", "1.2.-3", "1.ffffffffffffffff.1", "a b.1.1"] {
            assert!(text.parse::<AckId>().is_err(), "{text}");
        }
    }
}
