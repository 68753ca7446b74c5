//! The filter dialects of the CloudEvents Subscriptions API.
//!
//! In JSON an expression is an object with exactly one member, which is named after its dialect:
//! `{"exact": {"type": "tenant.suspended"}}`, `{"not": {"prefix": {"subject": "subscription/"}}}`, `{"sql": "EXISTS traceparent"}`.

use std::{
    borrow::Cow,
    collections::{BTreeMap, btree_map},
};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, de::Error as _};
use serde_json::{Map, Value as Json};

use crate::{
    attribute::Attributes,
    cesql::Sql,
    effort::Effort,
    invalid::{Invalid, escaped},
};

/// At most so many expressions a filter, those within others counted, too.
pub const EXPRESSION_COUNT_MAX: usize = 100;
/// At most so deep are expressions within others.
pub const DEPTH_MAX: usize = 8;
/// At most so many attributes one expression compares.
pub const ATTRIBUTE_COUNT_MAX: usize = 20;
/// At most so many characters the name of an attribute.
pub const ATTRIBUTE_NAME_LENGTH_MAX: usize = 64;
/// At most so many characters the text that an attribute is compared with.
pub const OPERAND_LENGTH_MAX: usize = 1_024;

/// A condition on an event's attributes, in one of the dialects.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Expression {
    /// The attributes are these texts.
    Exact(Texts),
    /// The attributes begin with these texts.
    Prefix(Texts),
    /// The attributes end with these texts.
    Suffix(Texts),
    /// Every one of the expressions is true.
    All(Vec<Self>),
    /// At least one of the expressions is true.
    Any(Vec<Self>),
    /// The expression is not true.
    Not(Box<Self>),
    /// A CESQL expression is true.
    Sql(Sql),
}

/// Names of attributes, each with the text that it is compared with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Texts(BTreeMap<String, String>);

impl Texts {
    /// The names and texts, in alphabetical order of the names.
    pub fn iter(&self) -> btree_map::Iter<'_, String, String> {
        self.0.iter()
    }

    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// Whether the event has all of the attributes, and each fits its text.
    fn all(&self, event: &impl Attributes, fits: impl Fn(&str, &str) -> bool) -> bool {
        self.0.iter().all(|(name, text)| event.attribute(name).is_some_and(|value| fits(&value.into_text(), text)))
    }
}

impl<'a> IntoIterator for &'a Texts {
    type Item = (&'a String, &'a String);
    type IntoIter = btree_map::Iter<'a, String, String>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl Expression {
    /// Whether the event fits, as far as that can be told with what is left of the effort.
    pub(crate) fn matches(&self, event: &impl Attributes, effort: &Effort) -> bool {
        match self {
            Self::Exact(texts) => texts.all(event, |value, text| value == text),
            Self::Prefix(texts) => texts.all(event, |value, text| value.starts_with(text)),
            Self::Suffix(texts) => texts.all(event, |value, text| value.ends_with(text)),
            Self::All(inner) => inner.iter().all(|expression| expression.matches(event, effort)),
            Self::Any(inner) => inner.iter().any(|expression| expression.matches(event, effort)),
            Self::Not(inner) => !inner.matches(event, effort),
            Self::Sql(sql) => sql.matches(event, effort),
        }
    }

    /// Characters of all texts within.
    pub(crate) fn text_length(&self) -> usize {
        match self {
            Self::Exact(texts) | Self::Prefix(texts) | Self::Suffix(texts) => {
                texts.iter().map(|(name, text)| name.chars().count() + text.chars().count()).sum()
            }
            Self::All(inner) | Self::Any(inner) => inner.iter().map(Self::text_length).sum(),
            Self::Not(inner) => inner.text_length(),
            Self::Sql(sql) => sql.as_str().chars().count(),
        }
    }
}

/// Reads expressions, and counts them over all of a filter.
pub(crate) struct Reader {
    left: usize,
}

impl Reader {
    pub(crate) fn new() -> Self {
        Self { left: EXPRESSION_COUNT_MAX }
    }

    /// A list of expressions, each with `depth` others around it.
    pub(crate) fn list(&mut self, at: &str, json: &Json, depth: usize) -> Result<Vec<Expression>, Invalid> {
        let Json::Array(elements) = json else {
            return Err(Invalid::new(at, "must be an array of filter expressions"));
        };
        elements
            .iter()
            .enumerate()
            .map(|(index, element)| self.expression(&format!("{at}/{index}"), element, depth))
            .collect()
    }

    /// One expression that has `depth` others around it.
    pub(crate) fn expression(&mut self, at: &str, json: &Json, depth: usize) -> Result<Expression, Invalid> {
        self.left = self
            .left
            .checked_sub(1)
            .ok_or_else(|| Invalid::new(at, format!("a filter has at most {EXPRESSION_COUNT_MAX} expressions")))?;
        if depth >= DEPTH_MAX {
            return Err(Invalid::new(at, format!("expressions are at most {DEPTH_MAX} deep")));
        }
        let Json::Object(members) = json else {
            return Err(Invalid::new(at, "must be an object with the name of a dialect as its only member"));
        };
        let mut members = members.iter();
        let (Some((dialect, operand)), None) = (members.next(), members.next()) else {
            return Err(Invalid::new(at, "must have exactly one member, named after its dialect"));
        };
        let at = format!("{at}/{}", escaped(dialect));
        match dialect.as_str() {
            "exact" => texts(&at, operand).map(Expression::Exact),
            "prefix" => texts(&at, operand).map(Expression::Prefix),
            "suffix" => texts(&at, operand).map(Expression::Suffix),
            "all" => self.some(&at, operand, depth).map(Expression::All),
            "any" => self.some(&at, operand, depth).map(Expression::Any),
            "not" => Ok(Expression::Not(Box::new(self.expression(&at, operand, depth + 1)?))),
            "sql" => sql(&at, operand).map(Expression::Sql),
            _ => Err(Invalid::new(
                at,
                "there is no such dialect; there are exact, prefix, suffix, all, any, not and sql",
            )),
        }
    }

    fn some(&mut self, at: &str, json: &Json, depth: usize) -> Result<Vec<Expression>, Invalid> {
        let list = self.list(at, json, depth + 1)?;
        if list.is_empty() { Err(Invalid::new(at, "must have at least one expression")) } else { Ok(list) }
    }
}

fn texts(at: &str, json: &Json) -> Result<Texts, Invalid> {
    let Json::Object(members) = json else {
        return Err(Invalid::new(at, "must be an object of attribute names and texts"));
    };
    if !(1..=ATTRIBUTE_COUNT_MAX).contains(&members.len()) {
        return Err(Invalid::new(at, format!("must have 1 to {ATTRIBUTE_COUNT_MAX} attributes")));
    }
    members.iter().map(|(name, text)| compared(at, name, text)).collect::<Result<_, _>>().map(Texts)
}

fn compared(at: &str, name: &str, text: &Json) -> Result<(String, String), Invalid> {
    let at = format!("{at}/{}", escaped(name));
    let named = (1..=ATTRIBUTE_NAME_LENGTH_MAX).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
    if !named {
        return Err(Invalid::new(
            at,
            format!("an attribute's name is 1 to {ATTRIBUTE_NAME_LENGTH_MAX} lowercase letters and digits"),
        ));
    }
    match text {
        // A NUL has no place in PostgreSQL's texts.
        Json::String(text) if (1..=OPERAND_LENGTH_MAX).contains(&text.chars().count()) && !text.contains('\0') => {
            Ok((name.to_owned(), text.clone()))
        }
        _ => Err(Invalid::new(at, format!("must be a text of 1 to {OPERAND_LENGTH_MAX} characters and no NUL"))),
    }
}

fn sql(at: &str, json: &Json) -> Result<Sql, Invalid> {
    let Json::String(text) = json else { return Err(Invalid::new(at, "must be a text, a CESQL expression")) };
    text.parse().map_err(|error: Invalid| Invalid::new(at, error.reason))
}

impl<'de> Deserialize<'de> for Expression {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let json = Json::Object(Map::deserialize(deserializer)?);
        Reader::new().expression("", &json, 0).map_err(D::Error::custom)
    }
}

impl JsonSchema for Expression {
    fn schema_name() -> Cow<'static, str> {
        "FilterExpression".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let this = generator.subschema_for::<Self>();
        let sql = generator.subschema_for::<Sql>();
        let texts = |comparison: &str| {
            json_schema!({
                "description": format!("Attributes of the event and the texts that they {comparison}, all of them."),
                "type": "object",
                "minProperties": 1,
                "maxProperties": ATTRIBUTE_COUNT_MAX,
                "propertyNames": { "pattern": format!("^[a-z0-9]{{1,{ATTRIBUTE_NAME_LENGTH_MAX}}}$") },
                "additionalProperties": { "type": "string", "minLength": 1, "maxLength": OPERAND_LENGTH_MAX },
            })
        };
        let list = json_schema!({ "type": "array", "minItems": 1, "items": this });
        let one = |dialect: &str, operand: Schema| {
            json_schema!({
                "type": "object",
                "properties": { dialect: operand },
                "required": [dialect],
                "additionalProperties": false,
            })
        };
        json_schema!({
            "description": "A condition on an event's attributes, in a dialect of the CloudEvents Subscriptions API: exactly one member, named \
                            after the dialect.",
            "oneOf": [
                one("exact", texts("are")),
                one("prefix", texts("begin with")),
                one("suffix", texts("end with")),
                one("all", list.clone()),
                one("any", list),
                one("not", this.clone()),
                one("sql", sql),
            ],
        })
    }
}
