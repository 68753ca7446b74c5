//! The `events` of a webhook as request bodies say them: patterns of event types, refused in the words of webhooks.

use hub_filter::{TYPE_COUNT_MAX, TypePattern, TypePatterns};
use serde::{Deserialize, Deserializer, de::Error as _};

use crate::text::InvalidText;

fn gate(texts: &[String]) -> Result<TypePatterns, InvalidText> {
    let shape = |_| InvalidText("an event filter looks like `tenant.suspended`, `subscription.*` or `*`".to_owned());
    let count = |_| InvalidText(format!("a webhook has 1 to {TYPE_COUNT_MAX} event filters"));
    let patterns: Vec<TypePattern> = texts.iter().map(|text| text.parse().map_err(shape)).collect::<Result<_, _>>()?;
    patterns.try_into().map_err(count)
}

/// Reads a list of patterns through the gate; for request bodies.
///
/// # Errors
/// What the gate says.
pub fn parsed<'de, D: Deserializer<'de>>(deserializer: D) -> Result<TypePatterns, D::Error> {
    gate(&Vec::deserialize(deserializer)?).map_err(D::Error::custom)
}

/// Reads an optional list of patterns through the gate; for request bodies, together with `#[serde(default)]`.
///
/// # Errors
/// What the gate says.
pub fn parsed_option<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<TypePatterns>, D::Error> {
    Option::<Vec<String>>::deserialize(deserializer)?.map(|texts| gate(&texts).map_err(D::Error::custom)).transpose()
}

#[cfg(test)]
mod tests {
    use hub_filter::TypePatterns;

    #[derive(Debug, serde::Deserialize)]
    struct Body {
        #[serde(deserialize_with = "super::parsed")]
        events: TypePatterns,
        #[serde(default, deserialize_with = "super::parsed_option")]
        others: Option<TypePatterns>,
    }

    fn read(body: &str) -> Result<Body, String> {
        serde_json::from_str(body).map_err(|error| error.to_string())
    }

    #[test]
    fn bodies_pass_the_gate() {
        let body = read(r#"{ "events": ["*"] }"#).unwrap();
        assert!(body.events.matches("role.created"));
        assert_eq!(body.others, None);
        assert!(read(r#"{ "events": ["*"], "others": ["role.*"] }"#).unwrap().others.is_some());
    }

    #[test]
    fn a_refusal_speaks_of_event_filters() {
        for (body, why) in [
            (r#"{ "events": [] }"#, "a webhook has 1 to 50 event filters"),
            (r#"{ "events": ["*"], "others": [] }"#, "a webhook has 1 to 50 event filters"),
            (r#"{ "events": ["role"] }"#, "an event filter looks like `tenant.suspended`, `subscription.*` or `*`"),
        ] {
            let error = read(body).unwrap_err();
            assert!(error.starts_with(why), "{body}: {error}");
        }
    }
}
