//! Which events made a row what it is: the log is led through the read model once more, and the rows in question are looked at before and
//! after each event.

use std::{
    collections::{BTreeSet, HashMap, VecDeque},
    sync::Arc,
};

use hub_event_store::{event::Recorded, upcast::Upcasters};
use serde_json::Value;

use super::{History, HistoryError, Model};
use crate::projection::Projection;

/// A change of a row.
#[derive(Debug, Clone)]
pub struct Step {
    /// The event that changed it.
    pub event: Recorded,
    /// The columns that it changed; all of them when it made or removed the row.
    pub columns: BTreeSet<String>,
}

/// How one row came to be what it is.
#[derive(Debug, Clone, Default)]
pub struct Steps {
    /// How many events changed it, of those that count.
    pub count: usize,
    /// The last of them, the oldest first.
    pub last: VecDeque<Step>,
    /// The last event after which it was as it was found, of all events.
    pub as_found: Option<Recorded>,
}

/// Follows the rows of one read model.
#[derive(Debug)]
pub struct Explainer {
    model: Model,
    upcasters: Upcasters,
    rows: HashMap<String, Followed>,
    step_count_max: usize,
}

#[derive(Debug)]
struct Followed {
    key: Value,
    found: Option<Value>,
    steps: Steps,
}

impl Explainer {
    fn new(model: &Model, upcasters: &Upcasters, rows: Vec<(Value, Option<Value>)>, step_count_max: usize) -> Self {
        let projection = &model.projection;
        let followed = rows.into_iter().map(|(key, found)| {
            let found = found.map(|found| projection.row_of(&found).unwrap_or(found));
            (name_of(projection, &key), Followed { key, found, steps: Steps::default() })
        });
        let rows = followed.collect();
        let model = Model::new(projection, upcasters, model.folding.skipped.clone(), model.until.clone());
        Self { model, upcasters: upcasters.clone(), rows, step_count_max }
    }

    /// Takes in events, in order; those that `counts` says are kept as steps.
    ///
    /// # Errors
    /// When the read model cannot take one in and must not have holes.
    pub fn take_in(&mut self, events: &[Recorded], counts: impl Fn(&Recorded) -> bool) -> Result<(), HistoryError> {
        let mut before: Vec<Recorded> = Vec::new();
        for event in events {
            if !self.model.takes(event) {
                continue;
            }
            let touched = self.touched(event);
            if touched.is_empty() {
                // What no event has to do with again need not be there.
                if !self.model.projection.appends_only() {
                    before.push(event.clone());
                }
                continue;
            }
            self.model.take_in(std::mem::take(&mut before))?;
            self.follow(event, &touched, counts(event))?;
        }
        self.model.take_in(before)
    }

    /// The followed rows that the event may change.
    fn touched(&self, event: &Recorded) -> Vec<String> {
        let projection = &self.model.projection;
        let Ok(event) = self.upcasters.apply(event.clone()) else { return Vec::new() };
        if !projection.concerns(&event) {
            return Vec::new();
        }
        let keys = projection.keys(&event).unwrap_or_default();
        keys.iter().map(|key| name_of(projection, key)).filter(|name| self.rows.contains_key(name)).collect()
    }

    fn follow(&mut self, event: &Recorded, touched: &[String], counts: bool) -> Result<(), HistoryError> {
        let rows = |model: &Model, followed: &HashMap<String, Followed>| -> Vec<Option<Value>> {
            touched.iter().map(|name| followed.get(name).and_then(|followed| model.row(&followed.key))).collect()
        };
        let before = rows(&self.model, &self.rows);
        self.model.take_in(vec![event.clone()])?;
        let after = rows(&self.model, &self.rows);
        for ((name, before), after) in touched.iter().zip(before).zip(after) {
            let Some(followed) = self.rows.get_mut(name) else { continue };
            let columns = changed(before.as_ref(), after.as_ref());
            if columns.is_empty() {
                continue;
            }
            let steps = &mut followed.steps;
            if after == followed.found {
                steps.as_found = Some(event.clone());
            }
            if counts {
                steps.count += 1;
                steps.last.push_back(Step { event: event.clone(), columns });
                if steps.last.len() > self.step_count_max {
                    steps.last.pop_front();
                }
            }
        }
        Ok(())
    }

    /// What was found out of the row under this key.
    #[must_use]
    pub fn steps(&self, key: &Value) -> Steps {
        let followed = self.rows.get(&name_of(&self.model.projection, key));
        followed.map(|followed| followed.steps.clone()).unwrap_or_default()
    }
}

impl History {
    /// Follows rows of one of these read models, each given by its key and as it was found somewhere; at most so many steps of each are kept.
    #[must_use]
    pub fn explainer(&self, model: &Model, rows: Vec<(Value, Option<Value>)>, step_count_max: usize) -> Explainer {
        Explainer::new(model, &self.upcasters, rows, step_count_max)
    }
}

/// The names of the columns in which two rows differ; all when there is only one.
#[must_use]
pub fn changed(before: Option<&Value>, after: Option<&Value>) -> BTreeSet<String> {
    let columns = |row: Option<&Value>| -> BTreeSet<String> {
        row.and_then(Value::as_object).map(|row| row.keys().cloned().collect()).unwrap_or_default()
    };
    let value = |row: Option<&Value>, column: &str| row.and_then(|row| row.get(column)).cloned();
    let all = columns(before).into_iter().chain(columns(after));
    all.filter(|column| value(before, column) != value(after, column)).collect()
}

/// A key as text, whatever the order of its members.
fn name_of(projection: &Arc<dyn Projection>, key: &Value) -> String {
    projection.key().iter().map(|column| key[*column].to_string()).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use hub_event_store::{event::Recorded, upcast::Upcasters};
    use serde_json::{Value, json};

    use super::{Explainer, changed};
    use crate::{
        history::Model,
        keyed::KeyedProjection,
        projection::Projection,
        subscription::Subscriptions,
        testing::{
            AGGREGATE, History, TENANT, rows,
            subscription::{activated, created, seats_changed},
        },
    };

    #[test]
    fn a_row_is_explained_by_the_events_that_changed_it_and_found_where_it_stood() {
        let mut history = History::default();
        history.subscription(created(0));
        history.subscription(activated(3_000));
        let found = serde_json::to_value(rows::<Subscriptions>(&history).unwrap().remove(0)).unwrap();
        history.subscription(seats_changed(5, 3_000, 5_000));
        let events: Vec<Recorded> = history.events.iter().map(|event| (**event).clone()).collect();
        let projection: Arc<dyn Projection> = Arc::new(KeyedProjection::<Subscriptions>::new());
        let model = Model::new(&projection, &Upcasters::default(), Arc::default(), None);
        let key = json!({"id": AGGREGATE, "tenant_id": TENANT});
        let follow = |found: Value| {
            let mut explainer = Explainer::new(&model, &Upcasters::default(), vec![(key.clone(), Some(found))], 1);
            explainer.take_in(&events, |event| event.position > 1).unwrap();
            explainer.steps(&key)
        };
        let steps = follow(found.clone());
        assert_eq!((steps.count, steps.last.len(), steps.last[0].event.position), (2, 1, 3));
        assert!(steps.last[0].columns.contains("seats") && !steps.last[0].columns.contains("plan"));
        assert_eq!(steps.as_found.unwrap().position, 2);
        let mut edited = found;
        edited["seats"] = json!(7);
        assert!(follow(edited).as_found.is_none(), "no event led to that");
    }

    #[test]
    fn all_columns_of_a_row_that_comes_or_goes_have_changed() {
        let (one, other) = (json!({"a": 1, "b": null}), json!({"a": 2, "b": null}));
        assert_eq!(changed(Some(&one), Some(&other)), ["a".to_owned()].into());
        assert_eq!(changed(None, Some(&one)).len(), 2);
        assert_eq!(changed(Some(&one), None).len(), 2);
        assert!(changed(None, None).is_empty());
    }
}
