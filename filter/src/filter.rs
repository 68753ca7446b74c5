//! A filter: patterns of types, patterns of subjects, and expressions.

use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, de::Error as _};
use serde_json::{Map, Value as Json};

use crate::{
    attribute::Attributes,
    effort::Effort,
    expression::{Expression, Reader},
    invalid::{Invalid, InvalidPattern, escaped},
    subject::{SubjectPattern, SubjectPatterns},
    types::{TypePattern, TypePatterns},
};

/// At most so many characters all texts of a filter's expressions together.
pub const TEXT_LENGTH_MAX: usize = 16_384;

/// Which events are wanted: those that every part that is there wants. A part that is missing wants everything.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Filter {
    /// Patterns of event types, such as `tenant.suspended` or `subscription.*`; an event must fit one of them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub types: Option<TypePatterns>,
    /// Patterns of subjects, such as `subscription/*`; an event must fit one of them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subjects: Option<SubjectPatterns>,
    /// Filter expressions in the dialects of the CloudEvents Subscriptions API; an event must fit all of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub filters: Vec<Expression>,
}

impl Filter {
    /// The filter that wants every event.
    #[must_use]
    pub fn everything() -> Self {
        Self::default()
    }

    /// Whether the filter has no part, so that every event is wanted.
    #[must_use]
    pub fn wants_everything(&self) -> bool {
        self.types.is_none() && self.subjects.is_none() && self.filters.is_empty()
    }

    /// Whether the event is wanted.
    #[must_use]
    pub fn matches(&self, event: &impl Attributes) -> bool {
        let effort = Effort::new();
        self.types.as_ref().is_none_or(|types| fits(event, "type", |text| types.matches(text)))
            && self.subjects.as_ref().is_none_or(|subjects| fits(event, "subject", |text| subjects.matches(text)))
            && self.filters.iter().all(|expression| expression.matches(event, &effort))
    }

    /// Reads a filter from its JSON, through the gate.
    ///
    /// # Errors
    /// What is no filter or beyond the bounds; the error says at which JSON pointer.
    pub fn from_json(json: &Json) -> Result<Self, Invalid> {
        let Json::Object(members) = json else { return Err(Invalid::new("", "a filter is a JSON object")) };
        let mut filter = Self::default();
        for (name, part) in members {
            let at = format!("/{}", escaped(name));
            match name.as_str() {
                _ if part.is_null() => {} // As good as missing.
                "types" => filter.types = Some(patterns::<TypePattern, _>(&at, &texts(&at, part)?)?),
                "subjects" => filter.subjects = Some(patterns::<SubjectPattern, _>(&at, &texts(&at, part)?)?),
                "filters" => filter.filters = Reader::new().list(&at, part, 0)?,
                _ => return Err(Invalid::new(at, "a filter has the parts types, subjects and filters only")),
            }
        }
        bounded("/filters", filter)
    }

    /// Reads a filter from the parameters of a query, each of which may be missing: patterns of types with commas between them, the same for
    /// subjects, a CESQL expression, and a JSON array of expressions.
    ///
    /// # Errors
    /// What is no filter or beyond the bounds; the error names the parameter as `types`, `subjects`, `sql` or `filters`, and the place within.
    pub fn from_query(
        types: Option<&str>,
        subjects: Option<&str>,
        sql: Option<&str>,
        filters: Option<&str>,
    ) -> Result<Self, Invalid> {
        let split = |text: &str| text.split(',').map(|part| part.trim().to_owned()).collect::<Vec<_>>();
        let mut reader = Reader::new();
        let mut expressions = match filters {
            None => Vec::new(),
            Some(text) => {
                let json = serde_json::from_str(text)
                    .map_err(|_| Invalid::new("filters", "must be a JSON array of filter expressions"))?;
                reader.list("filters", &json, 0)?
            }
        };
        if let Some(text) = sql {
            // As its own expression, so that it counts like one.
            let json = Json::Object(Map::from_iter([("sql".to_owned(), Json::from(text))]));
            expressions.push(reader.expression("", &json, 0).map_err(|error| Invalid::new("sql", error.reason))?);
        }
        let filter = Self {
            types: types.map(|text| patterns::<TypePattern, _>("types", &split(text))).transpose()?,
            subjects: subjects.map(|text| patterns::<SubjectPattern, _>("subjects", &split(text))).transpose()?,
            filters: expressions,
        };
        bounded("filters", filter)
    }
}

fn fits(event: &impl Attributes, name: &str, wanted: impl Fn(&str) -> bool) -> bool {
    event.attribute(name).is_some_and(|value| wanted(&value.into_text()))
}

fn texts(at: &str, json: &Json) -> Result<Vec<String>, Invalid> {
    let Json::Array(elements) = json else { return Err(Invalid::new(at, "must be an array of patterns")) };
    elements
        .iter()
        .enumerate()
        .map(|(index, element)| {
            element.as_str().map(str::to_owned).ok_or_else(|| Invalid::new(format!("{at}/{index}"), "must be a text"))
        })
        .collect()
}

fn patterns<P, L>(at: &str, texts: &[String]) -> Result<L, Invalid>
where
    P: FromStr<Err = InvalidPattern>,
    L: TryFrom<Vec<P>, Error = InvalidPattern>,
{
    let parsed = texts
        .iter()
        .enumerate()
        .map(|(index, text)| text.parse().map_err(|error| Invalid::new(format!("{at}/{index}"), error)))
        .collect::<Result<Vec<P>, _>>()?;
    parsed.try_into().map_err(|error| Invalid::new(at, error))
}

fn bounded(at: &str, filter: Filter) -> Result<Filter, Invalid> {
    if filter.filters.iter().map(Expression::text_length).sum::<usize>() > TEXT_LENGTH_MAX {
        return Err(Invalid::new(
            at,
            format!("the texts of all expressions have at most {TEXT_LENGTH_MAX} characters together"),
        ));
    }
    Ok(filter)
}

impl<'de> Deserialize<'de> for Filter {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::from_json(&Json::Object(Map::deserialize(deserializer)?)).map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests;
