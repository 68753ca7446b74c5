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
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<DateTime<Utc>>,
    /// Only what happened before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
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
