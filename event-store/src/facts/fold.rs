//! The facts that one stream's events lead to, and how those in the table differ.

use std::collections::BTreeMap;

use serde_json::value::RawValue;

use crate::{event::Recorded, upcast::Upcasters};

use super::source::Fold;

/// What a stream's events lead to, so far.
pub(super) struct Expected {
    /// None for a type that has no facts.
    fold: Option<Box<dyn Fold>>,
    /// Each fact with the position of the event that showed it.
    facts: BTreeMap<String, (Box<RawValue>, i64)>,
    /// Why the facts cannot be told.
    unreadable: Option<String>,
}

/// One fact that is not as it should be.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Wrong {
    pub(super) part: String,
    /// What should be there, and the position of its event.
    pub(super) expected: Option<(String, i64)>,
    pub(super) found: Option<String>,
}

impl Expected {
    pub(super) fn new(fold: Option<Box<dyn Fold>>) -> Self {
        Self { fold, facts: BTreeMap::new(), unreadable: None }
    }

    /// Takes the stream's next event in.
    pub(super) fn apply(&mut self, upcasters: &Upcasters, event: Recorded) {
        let (None, Some(fold)) = (&self.unreadable, &mut self.fold) else { return };
        let position = event.position;
        let applied = upcasters.apply(event).map_err(|error| error.to_string()).and_then(|event| fold.apply(&event));
        match applied {
            Ok(changes) => {
                for change in changes {
                    match change.fact {
                        Some(fact) => drop(self.facts.insert(change.part, (fact, position))),
                        None => drop(self.facts.remove(&change.part)),
                    }
                }
            }
            Err(what) => self.unreadable = Some(what),
        }
    }

    /// How many facts the stream has.
    pub(super) fn fact_count(&self) -> usize {
        self.facts.len()
    }

    /// Why the facts cannot be told, if so.
    pub(super) fn unreadable(&self) -> Option<&str> {
        self.unreadable.as_deref()
    }

    /// Where the table differs, in the order of the parts. The text counts: an append writes the same facts in the same bytes.
    pub(super) fn differing(self, mut found: BTreeMap<String, String>) -> Vec<Wrong> {
        let mut wrong = Vec::new();
        for (part, (fact, position)) in self.facts {
            let found = found.remove(&part);
            if found.as_deref() != Some(fact.get()) {
                wrong.push(Wrong { part, expected: Some((fact.get().to_owned(), position)), found });
            }
        }
        wrong.extend(found.into_iter().map(|(part, fact)| Wrong { part, expected: None, found: Some(fact) }));
        wrong.sort_by(|one, other| one.part.cmp(&other.part));
        wrong
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::value::RawValue;

    use super::{Expected, Wrong};

    fn expected(facts: &[(&str, &str)]) -> Expected {
        let facts = facts.iter().map(|(part, fact)| {
            let fact = RawValue::from_string((*fact).to_owned()).unwrap();
            ((*part).to_owned(), (fact, 7))
        });
        Expected { fold: None, facts: facts.collect(), unreadable: None }
    }

    fn table(facts: &[(&str, &str)]) -> BTreeMap<String, String> {
        facts.iter().map(|(part, fact)| ((*part).to_owned(), (*fact).to_owned())).collect()
    }

    #[test]
    fn what_is_the_same_is_not_wrong() {
        assert_eq!(expected(&[("a", "1"), ("b", "2")]).differing(table(&[("b", "2"), ("a", "1")])), []);
    }

    #[test]
    fn what_is_missing_changed_or_too_much_is_named_in_order() {
        let wrong = expected(&[("a", "1"), ("c", "3")]).differing(table(&[("b", "2"), ("c", "4")]));
        let named = |part: &str, expected: Option<&str>, found: Option<&str>| Wrong {
            part: part.to_owned(),
            expected: expected.map(|fact| (fact.to_owned(), 7)),
            found: found.map(ToOwned::to_owned),
        };
        assert_eq!(wrong, [named("a", Some("1"), None), named("b", None, Some("2")), named("c", Some("3"), Some("4"))]);
    }
}
