//! Which events of before are delivered again.

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A part of the tenant's log, and what of it is wanted. The endpoint's filters hold as for new events.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "WebhookReplay")]
pub struct Replay {
    /// From this position on; absent: from the beginning.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub from: Option<i64>,
    /// Up to and with this position; absent: up to the end as it is when the replay begins.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub to: Option<i64>,
    /// Only what happened then or later.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "crate::time::parsed_option")]
    pub since: Option<DateTime<Utc>>,
    /// Only what happened before.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "crate::time::parsed_option")]
    pub until: Option<DateTime<Utc>>,
    /// Which deliveries are made again.
    #[serde(default)]
    pub only: Only,
}

/// Which deliveries are made again.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Only {
    /// All of them, whether they arrived or not.
    #[default]
    All,
    /// Those that were given up, as far as the log of attempts goes back.
    Failed,
}

#[cfg(test)]
mod tests {
    use super::Replay;

    #[test]
    fn its_times_are_such_as_can_be_kept() {
        let read = |text: &str| serde_json::from_str::<Replay>(text).map_err(|error| error.to_string());
        let replay = read(r#"{ "since": "2026-01-31T13:00:00.1234567+01:00" }"#).unwrap();
        assert_eq!(replay.since, Some("2026-01-31T12:00:00.123456Z".parse().unwrap()));
        assert_eq!(replay.until, None);
        for far in [r#"{ "since": "+262000-01-01T00:00:00Z" }"#, r#"{ "until": "-5000-01-01T00:00:00Z" }"#] {
            assert!(read(far).unwrap_err().contains("1970 to 9999"), "{far}");
        }
    }
}
