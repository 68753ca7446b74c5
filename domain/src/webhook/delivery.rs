//! How events are delivered to an endpoint: in which order and form, how often, how fast and for how long.
//!
//! `checked` is the gate; `Deserialize` trusts what is stored, and gives what is missing its default.

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, de::Error as _};
use strum::{AsRefStr, VariantNames};

use crate::text::InvalidText;

/// Most events of one delivery.
pub const BATCH_MAX: u16 = 100;
/// Longest time for an answer, in seconds.
pub const TIMEOUT_SECONDS_MAX: u16 = 30;
/// Most deliveries to an endpoint at the same time.
pub const CONCURRENCY_MAX: u16 = 100;
/// Most deliveries to an endpoint each second that can be asked for.
pub const RATE_MAX: u16 = 1_000;
/// Most waits of a schedule of retries.
pub const RETRY_COUNT_MAX: usize = 20;
/// Longest wait before a retry, in seconds: a day.
pub const RETRY_SECONDS_MAX: u32 = 86_400;
/// For how long an event is tried at most, in hours: a week.
pub const AGE_HOURS_MAX: u16 = 168;

/// How events are delivered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(rename = "WebhookDelivery")]
pub struct Delivery {
    /// Which events wait for others.
    pub ordering: Ordering,
    /// What a delivery says of an event.
    pub payload: Payload,
    /// So many events go into one delivery at most; with more than one the body is an array. `per_aggregate` then orders like `strict`.
    #[schemars(range(min = 1, max = BATCH_MAX))]
    pub batch_max: u16,
    /// For so many seconds an answer is waited for.
    #[schemars(range(min = 1, max = TIMEOUT_SECONDS_MAX))]
    pub timeout_seconds: u16,
    /// When a delivery is tried again.
    pub retry: Retry,
    /// So many deliveries are under way at the same time at most.
    #[schemars(range(min = 1, max = CONCURRENCY_MAX))]
    pub concurrency: u16,
    /// So many deliveries each second at most; null for no bound of its own.
    #[schemars(range(min = 1, max = RATE_MAX))]
    pub rate_per_second: Option<u16>,
    /// Which signatures deliveries bear.
    pub signature: Signature,
}

impl Default for Delivery {
    fn default() -> Self {
        Self {
            ordering: Ordering::Parallel,
            payload: Payload::Full,
            batch_max: 1,
            timeout_seconds: 10,
            retry: Retry::default(),
            concurrency: 10,
            rate_per_second: None,
            signature: Signature::V1,
        }
    }
}

/// Which events wait for others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema, AsRefStr, VariantNames)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum Ordering {
    /// None does.
    Parallel,
    /// An event waits until those before it of the same aggregate are delivered or given up.
    PerAggregate,
    /// An event waits until all before it are delivered or given up.
    Strict,
}

/// What a delivery says of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Payload {
    /// `type`, `timestamp` and `data` as Standard Webhooks recommends them, with all of the event in `data`.
    Full,
    /// The same with ids only: what happened to what, to be looked up.
    Thin,
    /// A CloudEvent in structured mode, or a batch of them.
    Cloudevents,
}

/// Which signatures deliveries bear, in the schemes of Standard Webhooks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Signature {
    /// HMAC-SHA256 with the secret that both sides have.
    V1,
    /// ed25519, verified with the endpoint's public key.
    V1a,
    /// Both.
    Both,
}

impl Signature {
    /// Whether deliveries are signed with the secret.
    #[must_use]
    pub fn symmetric(self) -> bool {
        matches!(self, Self::V1 | Self::Both)
    }

    /// Whether deliveries are signed with the private key.
    #[must_use]
    pub fn asymmetric(self) -> bool {
        matches!(self, Self::V1a | Self::Both)
    }
}

/// When a delivery that failed is tried again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(rename = "WebhookRetry")]
pub struct Retry {
    /// Seconds before the second attempt, the third and so on; the last repeats. Each wait is made up to a fifth longer or shorter at random.
    #[schemars(length(min = 1, max = RETRY_COUNT_MAX), inner(range(min = 1, max = RETRY_SECONDS_MAX)))]
    pub schedule_seconds: Vec<u32>,
    /// After so many hours an event is given up.
    #[schemars(range(min = 1, max = AGE_HOURS_MAX))]
    pub age_max_hours: u16,
}

impl Default for Retry {
    fn default() -> Self {
        Self { schedule_seconds: vec![5, 30, 120, 600, 1_800, 3_600, 7_200, 14_400], age_max_hours: 72 }
    }
}

impl Retry {
    /// Seconds to wait after so many attempts, before chance has its part.
    #[must_use]
    pub fn wait_seconds(&self, attempts: u32) -> u32 {
        let index = usize::try_from(attempts.saturating_sub(1)).unwrap_or(usize::MAX);
        self.schedule_seconds.get(index).or(self.schedule_seconds.last()).copied().unwrap_or(RETRY_SECONDS_MAX)
    }
}

impl Delivery {
    /// Whether this is what an endpoint has that says nothing of it.
    #[must_use]
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }

    /// The same, when every value is within its bounds.
    ///
    /// # Errors
    /// Which value is not, and what it may be.
    pub fn checked(self) -> Result<Self, InvalidText> {
        let schedule = &self.retry.schedule_seconds;
        let rate = self.rate_per_second.unwrap_or(1);
        let refused = [
            ((1..=BATCH_MAX).contains(&self.batch_max), format!("batch_max is 1 to {BATCH_MAX}")),
            (
                (1..=TIMEOUT_SECONDS_MAX).contains(&self.timeout_seconds),
                format!("timeout_seconds is 1 to {TIMEOUT_SECONDS_MAX}"),
            ),
            ((1..=CONCURRENCY_MAX).contains(&self.concurrency), format!("concurrency is 1 to {CONCURRENCY_MAX}")),
            ((1..=RATE_MAX).contains(&rate), format!("rate_per_second is 1 to {RATE_MAX}, or null")),
            (
                (1..=RETRY_COUNT_MAX).contains(&schedule.len())
                    && schedule.iter().all(|wait| (1..=RETRY_SECONDS_MAX).contains(wait)),
                format!("retry.schedule_seconds has 1 to {RETRY_COUNT_MAX} waits of 1 to {RETRY_SECONDS_MAX} seconds"),
            ),
            (
                (1..=AGE_HOURS_MAX).contains(&self.retry.age_max_hours),
                format!("retry.age_max_hours is 1 to {AGE_HOURS_MAX}"),
            ),
        ];
        match refused.into_iter().find(|(allowed, _)| !allowed) {
            Some((_, reason)) => Err(InvalidText(reason)),
            None => Ok(self),
        }
    }
}

/// Reads it through the gate; for request bodies, together with `#[serde(default)]`.
///
/// # Errors
/// What the gate says.
pub fn parsed_option<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Delivery>, D::Error> {
    Option::<Delivery>::deserialize(deserializer)?.map(|given| given.checked().map_err(D::Error::custom)).transpose()
}

#[cfg(test)]
mod tests {
    use super::{Delivery, Retry};

    fn read(text: &str) -> Result<Delivery, String> {
        serde_json::from_str::<Delivery>(text).map_err(|error| error.to_string())?.checked().map_err(|e| e.to_string())
    }

    #[test]
    fn what_is_missing_has_its_default() {
        assert_eq!(read("{}").unwrap(), Delivery::default());
        assert_eq!(read(r#"{ "retry": {} }"#).unwrap(), Delivery::default());
        assert_eq!(read(r#"{ "batch_max": 5 }"#).unwrap(), Delivery { batch_max: 5, ..Delivery::default() });
    }

    #[test]
    fn each_value_has_its_bounds() {
        for bad in [
            r#"{ "batch_max": 0 }"#,
            r#"{ "batch_max": 101 }"#,
            r#"{ "timeout_seconds": 0 }"#,
            r#"{ "timeout_seconds": 31 }"#,
            r#"{ "concurrency": 0 }"#,
            r#"{ "rate_per_second": 0 }"#,
            r#"{ "rate_per_second": 1001 }"#,
            r#"{ "retry": { "schedule_seconds": [] } }"#,
            r#"{ "retry": { "schedule_seconds": [0] } }"#,
            r#"{ "retry": { "schedule_seconds": [86401] } }"#,
            r#"{ "retry": { "age_max_hours": 169 } }"#,
            r#"{ "order": "strict" }"#,
            r#"{ "ordering": "loose" }"#,
        ] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_last_wait_repeats() {
        let retry = Retry { schedule_seconds: vec![1, 5], age_max_hours: 1 };
        assert_eq!([1, 2, 3, 99].map(|attempts| retry.wait_seconds(attempts)), [1, 5, 5, 5]);
    }
}
