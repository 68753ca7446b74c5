//! Which events a webhook wants.
//!
//! `FromStr` and `TryFrom` are the gates; `Deserialize` trusts what is stored. Request bodies name [`parsed`] or [`parsed_option`].

use std::{collections::BTreeSet, fmt, str::FromStr};

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, de::Error as _};

use crate::text::InvalidText;

/// At most so many patterns a webhook.
pub const FILTER_COUNT_MAX: usize = 50;
/// At most so many characters on either side of the dot.
const PART_LENGTH_MAX: usize = 63;

/// A pattern of event types: one type (`tenant.suspended`), all types of an aggregate (`subscription.*`) or all there are (`*`).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct EventFilter(#[schemars(regex(pattern = r"^(\*|[a-z][a-z0-9_]{0,62}\.(\*|[a-z][a-z0-9_]{0,62}))$"))] String);

impl FromStr for EventFilter {
    type Err = InvalidText;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let shaped = match text.split_once('.') {
            None => text == "*",
            Some((aggregate, event)) => word(aggregate) && (event == "*" || word(event)),
        };
        if !shaped {
            return Err(InvalidText(
                "an event filter looks like `tenant.suspended`, `subscription.*` or `*`".to_owned(),
            ));
        }
        Ok(Self(text.to_owned()))
    }
}

fn word(text: &str) -> bool {
    (1..=PART_LENGTH_MAX).contains(&text.len())
        && text.starts_with(|c: char| c.is_ascii_lowercase())
        && text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
}

impl EventFilter {
    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether events of the type are wanted.
    #[must_use]
    pub fn matches(&self, event_type: &str) -> bool {
        match self.0.strip_suffix('*') {
            Some(start) => event_type.starts_with(start), // Nothing, or an aggregate with its dot.
            None => event_type == self.0,
        }
    }
}

impl fmt::Display for EventFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The patterns of one webhook: 1 to 50, each once, in alphabetical order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct EventFilters(#[schemars(length(min = 1, max = FILTER_COUNT_MAX))] BTreeSet<EventFilter>);

impl TryFrom<Vec<EventFilter>> for EventFilters {
    type Error = InvalidText;

    fn try_from(filters: Vec<EventFilter>) -> Result<Self, Self::Error> {
        if !(1..=FILTER_COUNT_MAX).contains(&filters.len()) {
            return Err(InvalidText(format!("a webhook has 1 to {FILTER_COUNT_MAX} event filters")));
        }
        Ok(Self(filters.into_iter().collect()))
    }
}

impl EventFilters {
    /// The patterns, in alphabetical order.
    pub fn iter(&self) -> impl Iterator<Item = &EventFilter> {
        self.0.iter()
    }

    /// Whether any of the patterns wants events of the type.
    #[must_use]
    pub fn matches(&self, event_type: &str) -> bool {
        self.0.iter().any(|filter| filter.matches(event_type))
    }
}

fn gate(texts: &[String]) -> Result<EventFilters, InvalidText> {
    texts.iter().map(|text| text.parse()).collect::<Result<Vec<EventFilter>, _>>()?.try_into()
}

/// Reads a list of patterns through the gate; for request bodies.
///
/// # Errors
/// What the gate says.
pub fn parsed<'de, D: Deserializer<'de>>(deserializer: D) -> Result<EventFilters, D::Error> {
    gate(&Vec::deserialize(deserializer)?).map_err(D::Error::custom)
}

/// Reads an optional list of patterns through the gate; for request bodies, together with `#[serde(default)]`.
///
/// # Errors
/// What the gate says.
pub fn parsed_option<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<EventFilters>, D::Error> {
    Option::<Vec<String>>::deserialize(deserializer)?.map(|texts| gate(&texts).map_err(D::Error::custom)).transpose()
}

#[cfg(test)]
mod tests {
    use super::{EventFilter, EventFilters, FILTER_COUNT_MAX};

    fn filter(text: &str) -> EventFilter {
        text.parse().unwrap()
    }

    #[test]
    fn an_exact_filter_wants_its_type_only() {
        assert!(filter("tenant.suspended").matches("tenant.suspended"));
        for other in ["tenant.resumed", "tenant.suspended_again", "xtenant.suspended", "tenant"] {
            assert!(!filter("tenant.suspended").matches(other), "{other}");
        }
    }

    #[test]
    fn a_filter_of_an_aggregate_wants_all_its_types() {
        assert!(filter("subscription.*").matches("subscription.paused"));
        for other in ["subscription", "subscriptions.paused", "tenant.suspended"] {
            assert!(!filter("subscription.*").matches(other), "{other}");
        }
    }

    #[test]
    fn the_star_wants_everything() {
        assert!(filter("*").matches("tenant.suspended"));
    }

    #[test]
    fn what_is_not_a_pattern_is_refused() {
        for text in [
            "",
            "tenant",
            "*.*",
            "*.suspended",
            "tenant.",
            ".suspended",
            "tenant.sus*",
            "Tenant.*",
            "a.b.c",
            " *",
            "**",
        ] {
            assert!(text.parse::<EventFilter>().is_err(), "{text}");
        }
    }

    #[test]
    fn patterns_are_kept_once_and_in_order() {
        let filters: EventFilters = vec![filter("tenant.*"), filter("role.*"), filter("tenant.*")].try_into().unwrap();
        assert_eq!(serde_json::to_string(&filters).unwrap(), r#"["role.*","tenant.*"]"#);
        assert!(filters.matches("role.created"));
        assert!(!filters.matches("webhook.paused"));
    }

    #[test]
    fn the_number_of_patterns_is_bounded() {
        assert!(EventFilters::try_from(vec![]).is_err());
        assert!(EventFilters::try_from(vec![filter("*"); FILTER_COUNT_MAX]).is_ok());
        assert!(EventFilters::try_from(vec![filter("*"); FILTER_COUNT_MAX + 1]).is_err());
    }

    #[derive(Debug, serde::Deserialize)]
    struct Body {
        #[serde(deserialize_with = "super::parsed")]
        filters: EventFilters,
        #[serde(default, deserialize_with = "super::parsed_option")]
        others: Option<EventFilters>,
    }

    #[test]
    fn bodies_pass_the_gate() {
        let read = |body| serde_json::from_str::<Body>(body);
        let body = read(r#"{ "filters": ["*"] }"#).unwrap();
        assert!(body.filters.matches("role.created"));
        assert_eq!(body.others, None);
        assert!(read(r#"{ "filters": ["*"], "others": ["role.*"] }"#).unwrap().others.is_some());
        for body in [r#"{ "filters": [] }"#, r#"{ "filters": ["role"] }"#, r#"{ "filters": ["*"], "others": [] }"#] {
            assert!(read(body).is_err(), "{body}");
        }
    }
}
