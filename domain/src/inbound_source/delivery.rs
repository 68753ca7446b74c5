//! What a provider has sent, as it is kept.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A body: JSON as such, everything else as the base64 of its bytes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Content {
    /// The value; white space and the order of members are not kept.
    Json(Value),
    /// Standard base64 with padding.
    Base64(String),
}
