//! One step of a story, as plain data: what is sent, and what should come of it.
//!
//! What only the platform knows stands as a name in braces: `{tenant}`, `{mail}` for the id of what was kept under that name,
//! `{mail-1.operation_id}` for another member of an answer, `{slug}` for the tenant's slug, and `{at:-90}` for the moment 90
//! minutes before the tenant was registered. So a story can be told, compared and tested without a platform, and the second
//! telling sends the very same bytes as the first, whenever it happens.

use std::collections::BTreeMap;

use chrono::{DateTime, DurationRound as _, SecondsFormat, TimeDelta, Utc};
use serde_json::{Map, Value};

/// Members of answers that later steps need, beside `id`.
const MEMBERS: [&str; 4] = ["assignment_id", "operation_id", "permission_id", "token"];

/// One step.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// Something is ordered.
    Order(Order),
    /// The platform is waited for: until everything of a subscription that was due is done. Holds the subscription's name.
    Settle(String),
}

/// A command to the platform.
#[derive(Clone, Debug, PartialEq)]
pub struct Order {
    /// What it is, for people: `service-instances mail-1: configure`.
    pub what: String,
    /// Commands of one piece of work share this number, and so a correlation id.
    pub work: u32,
    /// With names in braces.
    pub path: String,
    /// With names in braces; null for none.
    pub body: Value,
    /// The name under which ids in the answer are kept.
    pub keep: Option<String>,
    /// What should come of it.
    pub expect: Expect,
}

/// What should come of an order.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Expect {
    /// It is done.
    Done,
    /// It is done, unless so much time has passed that it is refused with this code.
    DoneUnlessLate(&'static str),
    /// It is refused with this code, as it should be.
    Refused(&'static str),
}

/// What is known in the course of a story.
#[derive(Debug)]
pub struct Book {
    anchor: DateTime<Utc>,
    facts: BTreeMap<String, String>,
}

/// A step needs what no answer has told.
#[derive(Debug, Eq, PartialEq, thiserror::Error)]
#[error("no answer has told `{0}`")]
pub struct Unknown(pub String);

impl Order {
    /// Keeps the ids of the answer under a name.
    pub(super) fn keep(&mut self, name: &str) -> &mut Self {
        self.keep = Some(name.to_owned());
        self
    }

    /// Says that it is refused.
    pub(super) fn refused(&mut self, code: &'static str) -> &mut Self {
        self.expect = Expect::Refused(code);
        self
    }

    /// Says that it may come too late.
    pub(super) fn unless_late(&mut self, code: &'static str) -> &mut Self {
        self.expect = Expect::DoneUnlessLate(code);
        self
    }
}

/// The moment so many days and minutes after the registration of the tenant, before it when negative.
pub(super) fn at(days: i64, minutes: i64) -> String {
    format!("{{at:{}}}", days * 24 * 60 + minutes)
}

/// The names in braces.
pub fn names(text: &str) -> impl Iterator<Item = &str> {
    text.split('{').skip(1).filter_map(|rest| rest.split_once('}').map(|(name, _)| name))
}

impl Book {
    /// A book in which times are counted from the minute of `anchor`.
    #[must_use]
    pub fn new(anchor: DateTime<Utc>) -> Self {
        let minute = anchor.duration_trunc(TimeDelta::minutes(1)).unwrap_or(anchor);
        Self { anchor: minute, facts: BTreeMap::new() }
    }

    /// The moment that times are counted from.
    #[must_use]
    pub fn anchor(&self) -> DateTime<Utc> {
        self.anchor
    }

    /// Counts times from another moment.
    pub fn set_anchor(&mut self, anchor: DateTime<Utc>) {
        self.anchor = Self::new(anchor).anchor;
    }

    /// Notes a fact.
    pub fn note(&mut self, name: &str, value: impl Into<String>) {
        self.facts.insert(name.to_owned(), value.into());
    }

    /// Notes what an answer tells about the thing called `name`.
    pub fn learn(&mut self, name: &str, answer: &Value) {
        if let Some(id) = answer["id"].as_str() {
            self.note(name, id);
        }
        for member in MEMBERS {
            if let Some(text) = answer[member].as_str() {
                self.note(&format!("{name}.{member}"), text);
            }
        }
    }

    /// A fact.
    #[must_use]
    pub fn fact(&self, name: &str) -> Option<&str> {
        self.facts.get(name).map(String::as_str)
    }

    /// Puts facts and times in the place of names.
    ///
    /// # Errors
    /// The first name that nothing is known about.
    pub fn fill(&self, text: &str) -> Result<String, Unknown> {
        let mut filled = text.to_owned();
        for name in names(text) {
            let value = match name.strip_prefix("at:").and_then(|minutes| minutes.parse().ok()) {
                Some(minutes) => (self.anchor + TimeDelta::minutes(minutes)).to_rfc3339_opts(SecondsFormat::Secs, true),
                None => self.fact(name).ok_or_else(|| Unknown(name.to_owned()))?.to_owned(),
            };
            filled = filled.replace(&format!("{{{name}}}"), &value);
        }
        Ok(filled)
    }

    /// The same in every text of a JSON value.
    ///
    /// # Errors
    /// As [`Book::fill`].
    pub fn fill_json(&self, value: &Value) -> Result<Value, Unknown> {
        Ok(match value {
            Value::String(text) => Value::String(self.fill(text)?),
            Value::Array(items) => {
                Value::Array(items.iter().map(|item| self.fill_json(item)).collect::<Result<_, _>>()?)
            }
            Value::Object(members) => {
                let filled = members.iter().map(|(name, item)| Ok((name.clone(), self.fill_json(item)?)));
                Value::Object(filled.collect::<Result<Map<_, _>, _>>()?)
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => value.clone(),
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{Book, Unknown, at, names};

    fn book() -> Book {
        let mut book = Book::new("2026-03-01T10:20:30.5Z".parse().unwrap());
        book.note("slug", "acme");
        book
    }

    #[test]
    fn names_are_filled_in_everywhere() {
        let mut book = book();
        book.learn("mail-1", &json!({ "id": "7", "operation_id": "8", "secret": "s" }));
        let body =
            json!({ "host": "mail.{slug}.example", "of": ["{mail-1}", 5], "is": { "op": "{mail-1.operation_id}" } });
        assert_eq!(
            book.fill_json(&body).unwrap(),
            json!({ "host": "mail.acme.example", "of": ["7", 5], "is": { "op": "8" } })
        );
        assert_eq!(book.fact("mail-1.secret"), None);
    }

    #[test]
    fn times_are_counted_from_the_minute_of_the_anchor() {
        assert_eq!(book().fill(&at(-1, 30)).unwrap(), "2026-02-28T10:50:00Z");
    }

    #[test]
    fn what_nobody_told_is_named() {
        assert_eq!(book().fill("/v1/tenants/{tenant}"), Err(Unknown("tenant".to_owned())));
    }

    #[test]
    fn names_are_found_in_order() {
        assert_eq!(names("/{a}/b/{c.d}").collect::<Vec<_>>(), ["a", "c.d"]);
        assert_eq!(names("none").count(), 0);
    }
}
