//! When a permission holds: tests of attributes, joined by all, any and not, within bounds.
//!
//! `{ "all": [{ "equals": { "attribute": "resource.region", "value": "eu" } }, { "not": { ... } }] }`. The bounds keep the largest
//! event of a role, a clone with all the permissions allowed, within one message of a megabyte.

use std::collections::BTreeSet;

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, de::Error as _};

use crate::text::InvalidText;

/// Clauses are nested at most so deep; a single test is 1.
pub const CONDITION_DEPTH_MAX: usize = 5;
/// Clauses and listed values together.
pub const CONDITION_PART_COUNT_MAX: usize = 24;
/// Bytes of all attributes and text values together.
pub const CONDITION_TEXT_BYTES_MAX: usize = 600;

/// A clause within all bounds.
///
/// [`Condition::new`] is the gate; `Deserialize` trusts what is stored. Request bodies use [`parsed_condition`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Condition(Clause);

/// One test, or several joined.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Clause {
    /// The attribute has this value.
    Equals { attribute: String, value: Value },
    /// The attribute has one of these values.
    In { attribute: String, values: BTreeSet<Value> },
    /// Each clause holds; never empty.
    All(Vec<Clause>),
    /// At least one clause holds; never empty.
    Any(Vec<Clause>),
    /// The clause does not hold.
    Not(Box<Clause>),
}

/// What an attribute is compared with.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(untagged, expecting = "a condition's value is a text, a whole number, true or false")]
pub enum Value {
    Bool(bool),
    Integer(i64),
    Text(String),
}

/// What is counted while a clause is walked.
#[derive(Default)]
struct Size {
    part_count: usize,
    text_bytes: usize,
}

impl Condition {
    /// Takes a clause that keeps every bound.
    ///
    /// # Errors
    /// Which bound is broken, or which attribute or value has the wrong shape.
    pub fn new(clause: Clause) -> Result<Self, InvalidText> {
        clause.measure(1, &mut Size::default())?;
        Ok(Self(clause))
    }

    /// The clause.
    #[must_use]
    pub fn clause(&self) -> &Clause {
        &self.0
    }

    /// Each attribute that is looked at, as often as it is.
    #[must_use]
    pub fn attributes(&self) -> Vec<&str> {
        let mut attributes = Vec::new();
        self.0.collect_attributes(&mut attributes);
        attributes
    }
}

/// Reads an optional condition through its gate; for request bodies, together with `#[serde(default)]`.
///
/// # Errors
/// What [`Condition::new`] says.
pub fn parsed_condition<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Condition>, D::Error> {
    let clause = Option::<Clause>::deserialize(deserializer)?;
    clause.map(|clause| Condition::new(clause).map_err(D::Error::custom)).transpose()
}

impl Clause {
    fn collect_attributes<'a>(&'a self, attributes: &mut Vec<&'a str>) {
        match self {
            Self::Equals { attribute, .. } | Self::In { attribute, .. } => attributes.push(attribute),
            Self::All(clauses) | Self::Any(clauses) => {
                clauses.iter().for_each(|clause| clause.collect_attributes(attributes));
            }
            Self::Not(clause) => clause.collect_attributes(attributes),
        }
    }

    fn measure(&self, depth: usize, size: &mut Size) -> Result<(), InvalidText> {
        if depth > CONDITION_DEPTH_MAX {
            return Err(InvalidText(format!("a condition is nested at most {CONDITION_DEPTH_MAX} deep")));
        }
        size.add_part()?;
        match self {
            Self::Equals { attribute, value } => {
                size.add_attribute(attribute)?;
                size.add_value(value)
            }
            Self::In { attribute, values } => {
                refuse_empty(values.is_empty())?;
                size.add_attribute(attribute)?;
                values.iter().try_for_each(|value| {
                    size.add_part()?;
                    size.add_value(value)
                })
            }
            Self::All(clauses) | Self::Any(clauses) => {
                refuse_empty(clauses.is_empty())?;
                clauses.iter().try_for_each(|clause| clause.measure(depth + 1, size))
            }
            Self::Not(clause) => clause.measure(depth + 1, size),
        }
    }
}

impl Size {
    fn add_part(&mut self) -> Result<(), InvalidText> {
        self.part_count += 1;
        if self.part_count > CONDITION_PART_COUNT_MAX {
            return Err(InvalidText(format!(
                "a condition has at most {CONDITION_PART_COUNT_MAX} clauses and listed values"
            )));
        }
        Ok(())
    }

    fn add_text(&mut self, text: &str) -> Result<(), InvalidText> {
        self.text_bytes += text.len();
        if self.text_bytes > CONDITION_TEXT_BYTES_MAX {
            return Err(InvalidText(format!(
                "the attributes and texts of a condition have at most {CONDITION_TEXT_BYTES_MAX} bytes together"
            )));
        }
        Ok(())
    }

    fn add_attribute(&mut self, attribute: &str) -> Result<(), InvalidText> {
        let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
        let label_holds =
            |label: &str| label.starts_with(|c: char| c.is_ascii_lowercase()) && label.chars().all(allowed);
        if !attribute.split('.').all(label_holds) {
            return Err(InvalidText(
                "an attribute is made of lower-case letters, digits and `_`, in parts joined by dots, as `resource.region`"
                    .into(),
            ));
        }
        self.add_text(attribute)
    }

    fn add_value(&mut self, value: &Value) -> Result<(), InvalidText> {
        match value {
            Value::Bool(_) | Value::Integer(_) => Ok(()),
            Value::Text(text) if text.chars().any(char::is_control) => {
                Err(InvalidText("a condition's texts have no control characters".into()))
            }
            Value::Text(text) => self.add_text(text),
        }
    }
}

fn refuse_empty(empty: bool) -> Result<(), InvalidText> {
    if empty { Err(InvalidText("`in`, `all` and `any` name at least one value or clause".into())) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{CONDITION_DEPTH_MAX, CONDITION_PART_COUNT_MAX, Clause, Condition, Value, parsed_condition};

    fn equals(attribute: &str, value: Value) -> Clause {
        Clause::Equals { attribute: attribute.into(), value }
    }

    fn region() -> Clause {
        equals("resource.region", Value::Text("eu".into()))
    }

    fn nested(depth: usize) -> Clause {
        (1..depth).fold(region(), |clause, _| Clause::Not(Box::new(clause)))
    }

    #[test]
    fn a_condition_reads_as_it_is_written() {
        let body = json!({ "all": [
            { "in": { "attribute": "resource.region", "values": [7, "eu", true] } },
            { "not": { "equals": { "attribute": "time.weekend", "value": true } } },
        ] });
        let condition = parsed_condition(body).unwrap().unwrap();
        assert_eq!(
            serde_json::to_value(&condition).unwrap(),
            json!({ "all": [
                { "in": { "attribute": "resource.region", "values": [true, 7, "eu"] } },
                { "not": { "equals": { "attribute": "time.weekend", "value": true } } },
            ] })
        );
        assert_eq!(parsed_condition(json!(null)).unwrap(), None);
    }

    #[test]
    fn a_condition_of_another_shape_is_refused() {
        for body in [
            json!("always"),
            json!({ "matches": { "attribute": "a", "value": "b" } }),
            json!({ "equals": { "attribute": "a", "value": 1.5 } }),
            json!({ "equals": { "attribute": "a", "value": "b", "case": true } }),
            json!({ "equals": { "attribute": "A", "value": "b" } }),
            json!({ "equals": { "attribute": "a..b", "value": "b" } }),
            json!({ "equals": { "attribute": "a", "value": "b\u{7}" } }),
            json!({ "in": { "attribute": "a", "values": [] } }),
            json!({ "all": [] }),
            json!({ "any": [] }),
        ] {
            assert!(parsed_condition(body.clone()).is_err(), "{body}");
        }
    }

    #[test]
    fn depth_is_bounded() {
        assert!(Condition::new(nested(CONDITION_DEPTH_MAX)).is_ok());
        assert!(Condition::new(nested(CONDITION_DEPTH_MAX + 1)).is_err());
    }

    #[test]
    fn the_number_of_parts_is_bounded() {
        let listing =
            |count: i64| Clause::In { attribute: "a".into(), values: (0..count).map(Value::Integer).collect() };
        let most = i64::try_from(CONDITION_PART_COUNT_MAX).unwrap() - 1;
        assert!(Condition::new(listing(most)).is_ok());
        assert!(Condition::new(listing(most + 1)).is_err());
        assert!(Condition::new(Clause::Any(vec![region(); CONDITION_PART_COUNT_MAX])).is_err());
    }

    #[test]
    fn the_length_of_texts_is_bounded() {
        assert!(Condition::new(equals("a", Value::Text("x".repeat(599)))).is_ok());
        assert!(Condition::new(equals("a", Value::Text("x".repeat(600)))).is_err());
    }
}
