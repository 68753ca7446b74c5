//! Patterns of subjects: what events happened to, as `<aggregate type>/<aggregate id>`.

use std::{collections::BTreeSet, fmt, str::FromStr};

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, de::Error as _};

use crate::{invalid::InvalidPattern, types::word};

/// At most so many patterns a filter.
pub const SUBJECT_COUNT_MAX: usize = 50;
/// Characters between the hyphens of an id.
const ID_GROUPS: [usize; 5] = [8, 4, 4, 4, 12];

/// A pattern of subjects: one aggregate (`subscription/0198a5c8-6f0e-7b63-9d8a-3c1f5e2b7a90`), all of a type (`subscription/*`) or all there
/// are (`*`).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, JsonSchema)]
#[serde(transparent)]
pub struct SubjectPattern(
    #[schemars(regex(
        pattern = r"^(\*|[a-z][a-z0-9_]{0,62}/(\*|[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}))$"
    ))]
    String,
);

impl FromStr for SubjectPattern {
    type Err = InvalidPattern;

    /// Ids are kept in lowercase, the form in which events carry them.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let shaped = match text.split_once('/') {
            None => text == "*",
            Some((aggregate, id)) => word(aggregate) && (id == "*" || uuid(id)),
        };
        if !shaped {
            return Err(InvalidPattern(
                "a pattern of subjects looks like `subscription/*`, `subscription/<id>` or `*`, where the id is a UUID"
                    .to_owned(),
            ));
        }
        Ok(Self(text.to_ascii_lowercase()))
    }
}

fn uuid(text: &str) -> bool {
    let groups: Vec<&str> = text.splitn(ID_GROUPS.len() + 1, '-').collect();
    groups.len() == ID_GROUPS.len()
        && groups
            .iter()
            .zip(ID_GROUPS)
            .all(|(group, length)| group.len() == length && group.bytes().all(|b| b.is_ascii_hexdigit()))
}

impl SubjectPattern {
    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether events about the subject are wanted.
    #[must_use]
    pub fn matches(&self, subject: &str) -> bool {
        match self.0.strip_suffix('*') {
            Some(start) => subject.starts_with(start), // Nothing, or an aggregate type with its slash.
            None => subject == self.0,
        }
    }
}

impl fmt::Display for SubjectPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for SubjectPattern {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

/// 1 to 50 patterns of subjects, each once, in alphabetical order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(transparent)]
pub struct SubjectPatterns(#[schemars(length(min = 1, max = SUBJECT_COUNT_MAX))] BTreeSet<SubjectPattern>);

impl TryFrom<Vec<SubjectPattern>> for SubjectPatterns {
    type Error = InvalidPattern;

    fn try_from(patterns: Vec<SubjectPattern>) -> Result<Self, Self::Error> {
        if !(1..=SUBJECT_COUNT_MAX).contains(&patterns.len()) {
            return Err(InvalidPattern(format!("a filter has 1 to {SUBJECT_COUNT_MAX} patterns of subjects")));
        }
        Ok(Self(patterns.into_iter().collect()))
    }
}

impl SubjectPatterns {
    /// The patterns, in alphabetical order.
    pub fn iter(&self) -> impl Iterator<Item = &SubjectPattern> {
        self.0.iter()
    }

    /// Whether any of the patterns wants events about the subject.
    #[must_use]
    pub fn matches(&self, subject: &str) -> bool {
        self.0.iter().any(|pattern| pattern.matches(subject))
    }
}

impl<'de> Deserialize<'de> for SubjectPatterns {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Vec::<SubjectPattern>::deserialize(deserializer)?.try_into().map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::{SUBJECT_COUNT_MAX, SubjectPattern, SubjectPatterns};

    const ID: &str = "0198a5c8-6f0e-7b63-9d8a-3c1f5e2b7a90";

    fn pattern(text: &str) -> SubjectPattern {
        text.parse().unwrap()
    }

    #[test]
    fn a_pattern_wants_one_subject_a_type_or_all() {
        let subject = format!("subscription/{ID}");
        for wanting in [&subject, "subscription/*", "*", &format!("subscription/{}", ID.to_uppercase())] {
            assert!(pattern(wanting).matches(&subject), "{wanting}");
        }
        for other in ["tenant/*", &format!("tenant/{ID}"), "subscription_draft/*", "subscrip/*"] {
            assert!(!pattern(other).matches(&subject), "{other}");
        }
    }

    #[test]
    fn what_is_not_a_pattern_is_refused() {
        for text in [
            "",
            "subscription",
            "subscription/",
            "*/*",
            "subscription/0198",
            "Subscription/*",
            "subscription/*/x",
            "subscription/0198a5c86f0e7b639d8a3c1f5e2b7a90",
            "subscription/0198a5c8-6f0e-7b63-9d8a-3c1f5e2b7a9-",
            "subscription/0198a5c8-6f0e-7b63-9d8a-3c1f5e2b7a9g",
        ] {
            assert!(text.parse::<SubjectPattern>().is_err(), "{text}");
        }
    }

    #[test]
    fn lists_pass_the_gate() {
        let read = |text| serde_json::from_str::<SubjectPatterns>(text);
        assert!(read(r#"["tenant/*", "tenant/*"]"#).unwrap().matches("tenant/1"));
        assert!(read("[]").is_err());
        assert!(SubjectPatterns::try_from(vec![pattern("*"); SUBJECT_COUNT_MAX + 1]).is_err());
    }
}
