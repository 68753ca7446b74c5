//! Patterns of event types.

use std::{collections::BTreeSet, fmt, str::FromStr};

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, de::Error as _};

use crate::invalid::InvalidPattern;

/// At most so many patterns a filter.
pub const TYPE_COUNT_MAX: usize = 50;
/// At most so many characters on either side of the dot.
const PART_LENGTH_MAX: usize = 63;

/// A pattern of event types: one type (`tenant.suspended`), all types of an aggregate (`subscription.*`) or all there are (`*`).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, JsonSchema)]
#[serde(transparent)]
pub struct TypePattern(#[schemars(regex(pattern = r"^(\*|[a-z][a-z0-9_]{0,62}\.(\*|[a-z][a-z0-9_]{0,62}))$"))] String);

impl FromStr for TypePattern {
    type Err = InvalidPattern;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let shaped = match text.split_once('.') {
            None => text == "*",
            Some((aggregate, event)) => word(aggregate) && (event == "*" || word(event)),
        };
        if !shaped {
            return Err(InvalidPattern(
                "a pattern of event types looks like `tenant.suspended`, `subscription.*` or `*`".to_owned(),
            ));
        }
        Ok(Self(text.to_owned()))
    }
}

/// Whether the text is the name of an aggregate type or of one of its events.
pub(crate) fn word(text: &str) -> bool {
    (1..=PART_LENGTH_MAX).contains(&text.len())
        && text.starts_with(|c: char| c.is_ascii_lowercase())
        && text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
}

impl TypePattern {
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

impl fmt::Display for TypePattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for TypePattern {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

/// 1 to 50 patterns of event types, each once, in alphabetical order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(transparent)]
pub struct TypePatterns(#[schemars(length(min = 1, max = TYPE_COUNT_MAX))] BTreeSet<TypePattern>);

impl TryFrom<Vec<TypePattern>> for TypePatterns {
    type Error = InvalidPattern;

    fn try_from(patterns: Vec<TypePattern>) -> Result<Self, Self::Error> {
        if !(1..=TYPE_COUNT_MAX).contains(&patterns.len()) {
            return Err(InvalidPattern(format!("a filter has 1 to {TYPE_COUNT_MAX} patterns of event types")));
        }
        Ok(Self(patterns.into_iter().collect()))
    }
}

impl TypePatterns {
    /// The patterns, in alphabetical order.
    pub fn iter(&self) -> impl Iterator<Item = &TypePattern> {
        self.0.iter()
    }

    /// Whether any of the patterns wants events of the type.
    #[must_use]
    pub fn matches(&self, event_type: &str) -> bool {
        self.0.iter().any(|pattern| pattern.matches(event_type))
    }
}

impl<'de> Deserialize<'de> for TypePatterns {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Vec::<TypePattern>::deserialize(deserializer)?.try_into().map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::{TYPE_COUNT_MAX, TypePattern, TypePatterns};

    fn pattern(text: &str) -> TypePattern {
        text.parse().unwrap()
    }

    #[test]
    fn an_exact_pattern_wants_its_type_only() {
        assert!(pattern("tenant.suspended").matches("tenant.suspended"));
        for other in ["tenant.resumed", "tenant.suspended_again", "xtenant.suspended", "tenant"] {
            assert!(!pattern("tenant.suspended").matches(other), "{other}");
        }
    }

    #[test]
    fn a_pattern_of_an_aggregate_wants_all_its_types() {
        assert!(pattern("subscription.*").matches("subscription.paused"));
        for other in ["subscription", "subscriptions.paused", "tenant.suspended"] {
            assert!(!pattern("subscription.*").matches(other), "{other}");
        }
    }

    #[test]
    fn the_star_wants_everything() {
        assert!(pattern("*").matches("tenant.suspended"));
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
            assert!(text.parse::<TypePattern>().is_err(), "{text}");
        }
        let long = format!("{}.*", "a".repeat(64));
        assert!(long.parse::<TypePattern>().is_err());
    }

    #[test]
    fn patterns_are_kept_once_and_in_order() {
        let patterns: TypePatterns =
            vec![pattern("tenant.*"), pattern("role.*"), pattern("tenant.*")].try_into().unwrap();
        assert_eq!(serde_json::to_string(&patterns).unwrap(), r#"["role.*","tenant.*"]"#);
        assert!(patterns.matches("role.created"));
        assert!(!patterns.matches("webhook.paused"));
    }

    #[test]
    fn the_number_of_patterns_is_bounded() {
        assert!(TypePatterns::try_from(vec![]).is_err());
        assert!(TypePatterns::try_from(vec![pattern("*"); TYPE_COUNT_MAX]).is_ok());
        assert!(TypePatterns::try_from(vec![pattern("*"); TYPE_COUNT_MAX + 1]).is_err());
    }

    #[test]
    fn what_is_read_passes_the_gate() {
        let read = |text| serde_json::from_str::<TypePatterns>(text);
        assert!(read(r#"["*"]"#).unwrap().matches("role.created"));
        for text in ["[]", r#"["role"]"#, r#""*""#, "[1]"] {
            assert!(read(text).is_err(), "{text}");
        }
    }
}
