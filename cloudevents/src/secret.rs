//! What no reader of events sees, sealed or not: the secrets that some payloads carry.

use serde_json::{Map, Value, value::RawValue};

/// The aggregates whose payloads hold a secret, sealed or as a hash, and the member that holds it.
const SECRETS: &[(&str, &str)] = &[
    ("api_key", "sha256"),
    ("inbound_source", "sealed_secret"),
    ("webhook", "sealed_secret"),
    ("webhook", "sealed_signing_key"),
];

/// The payload of an aggregate's event without its secrets; one that cannot be looked into tells nothing rather than too much.
#[must_use]
pub fn without_secrets(aggregate_type: &str, payload: Box<RawValue>) -> Box<RawValue> {
    let secrets: Vec<_> = SECRETS.iter().filter(|(owner, _)| *owner == aggregate_type).collect();
    if secrets.is_empty() {
        return payload;
    }
    let mut members: Map<String, Value> = serde_json::from_str(payload.get()).unwrap_or_default();
    let before = members.len();
    members.retain(|name, _| !secrets.iter().any(|(_, secret)| name == secret));
    if before > 0 && members.len() == before {
        return payload;
    }
    serde_json::value::to_raw_value(&members).expect("an object made from JSON is JSON")
}

#[cfg(test)]
mod tests {
    use serde_json::value::RawValue;

    use super::without_secrets;

    fn shown(aggregate_type: &str, text: &str) -> String {
        without_secrets(aggregate_type, RawValue::from_string(text.to_owned()).unwrap()).get().to_owned()
    }

    #[test]
    fn secrets_are_left_out_and_the_rest_is_kept() {
        assert_eq!(shown("webhook", r#"{"url":"x","sealed_secret":{"nonce":"a"}}"#), r#"{"url":"x"}"#);
        assert_eq!(shown("webhook", r#"{ "url" : "x" }"#), r#"{ "url" : "x" }"#);
        assert_eq!(shown("webhook", r#"{"sealed_secret":"s","sealed_signing_key":"t"}"#), "{}");
        assert_eq!(shown("api_key", r#"{"sha256":"s","name":"n"}"#), r#"{"name":"n"}"#);
        assert_eq!(shown("tenant", r#"{"sealed_secret":"s"}"#), r#"{"sealed_secret":"s"}"#);
    }

    #[test]
    fn a_payload_that_cannot_be_looked_into_is_not_shown() {
        assert_eq!(shown("webhook", r#"["sealed_secret"]"#), "{}");
    }
}
