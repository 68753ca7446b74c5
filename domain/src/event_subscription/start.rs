//! Where in a tenant's log a subscription begins, or begins again.

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, de::Error as _};

/// `"earliest"`, `"latest"`, `{"position": 120}` or `{"time": "2026-01-31T12:00:00Z"}`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
#[schemars(rename = "EventSubscriptionStart")]
pub enum Start {
    /// With the first event of the tenant.
    Earliest,
    /// With what happens from now on.
    #[default]
    Latest,
    /// Behind the event at this position; 0 is before the first.
    #[schemars(with = "u64")]
    Position(#[serde(deserialize_with = "position")] i64),
    /// Behind the last event that happened before this time.
    Time(#[serde(deserialize_with = "crate::time::parsed")] DateTime<Utc>),
}

fn position<'de, D: Deserializer<'de>>(deserializer: D) -> Result<i64, D::Error> {
    let position = u64::deserialize(deserializer)?;
    i64::try_from(position).map_err(|_| D::Error::custom("no log is that long"))
}

#[cfg(test)]
mod tests {
    use super::Start;

    fn read(text: &str) -> Result<Start, String> {
        serde_json::from_str(text).map_err(|error| error.to_string())
    }

    #[test]
    fn a_start_is_a_word_a_position_or_a_time() {
        assert_eq!(read("\"earliest\""), Ok(Start::Earliest));
        assert_eq!(read("\"latest\""), Ok(Start::Latest));
        assert_eq!(read("{\"position\": 120}"), Ok(Start::Position(120)));
        let time = "2026-01-31T12:00:00.123456Z".parse().unwrap();
        assert_eq!(read("{\"time\": \"2026-01-31T13:00:00.1234567+01:00\"}"), Ok(Start::Time(time)));
    }

    #[test]
    fn anything_else_is_refused() {
        for text in [
            "\"first\"",
            "5",
            "{\"position\": -1}",
            "{\"position\": 18446744073709551615}",
            "{\"time\": \"1969-12-31T23:59:59Z\"}",
            "{\"time\": \"soon\"}",
            "{\"position\": 1, \"time\": \"2026-01-31T12:00:00Z\"}",
        ] {
            assert!(read(text).is_err(), "{text}");
        }
    }
}
