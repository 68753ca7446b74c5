//! Aggregates of a moment: their state, and the rows of read models that are theirs.

use std::{
    collections::{BTreeMap, BTreeSet},
    str::FromStr,
};

use hub_event_store::{event::Recorded, upcast::Upcasters};
use hub_projections::history::{AGGREGATE_TYPES, AggregateState, AggregateType, History};
use serde::Serialize;
use serde_json::Value;
use uuid::Uuid;

use super::{EventName, ReplayError};

/// At most so many aggregates are shown; the count goes on.
pub const AGGREGATE_COUNT_MAX: usize = 100;

/// At most so many rows of one read model are shown for one aggregate.
pub const OWN_ROW_COUNT_MAX: usize = 100;

/// Which aggregates are shown: all of a type, or one.
#[derive(Debug, Clone)]
pub struct Selector {
    aggregate_type: AggregateType,
    aggregate_id: Option<Uuid>,
}

impl FromStr for Selector {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, id) = text.split_once('/').map_or((text, None), |(name, id)| (name, Some(id)));
        let aggregate_type = AggregateType::find(name).ok_or_else(|| {
            let known: Vec<_> = AGGREGATE_TYPES.iter().map(|known| known.name).collect();
            format!("there are no aggregates of the type `{name}`; there are {}", known.join(", "))
        })?;
        let aggregate_id = id.map(str::parse).transpose().map_err(|_| format!("`{text}` is not TYPE or TYPE/UUID"))?;
        Ok(Self { aggregate_type, aggregate_id })
    }
}

impl Selector {
    fn selects(&self, event: &Recorded) -> bool {
        event.aggregate_type == self.aggregate_type.name && self.aggregate_id.is_none_or(|id| id == event.aggregate_id)
    }
}

/// The aggregates that were asked for.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct AggregateReport {
    /// How many there were.
    pub count: usize,
    /// The first of them, in the order in which they came to be.
    pub shown: Vec<RebuiltAggregate>,
}

/// One aggregate.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RebuiltAggregate {
    /// Whose it is.
    pub tenant_id: Uuid,
    /// Its type.
    pub aggregate_type: &'static str,
    /// Its id.
    pub aggregate_id: Uuid,
    /// The last of its events.
    pub last_event: EventName,
    /// Its state as commands see it, without secrets. Personal text stays sealed.
    pub state: Value,
    /// Why its last events could not be taken in.
    pub unreadable: Option<String>,
    /// Its rows, by read model; at most `OWN_ROW_COUNT_MAX` of each.
    pub rows: BTreeMap<&'static str, Vec<Value>>,
}

#[derive(Debug)]
struct Followed {
    tenant_id: Uuid,
    aggregate_id: Uuid,
    last_event: Recorded,
    state: AggregateState,
    /// By read model, as text; in the order of the texts.
    keys: BTreeMap<&'static str, BTreeSet<String>>,
}

/// Follows aggregates through the log.
#[derive(Debug)]
pub(super) struct Aggregates {
    selector: Selector,
    upcasters: Upcasters,
    /// All of them, with their place in `shown` if they have one.
    known: BTreeMap<(Uuid, Uuid), Option<usize>>,
    shown: Vec<Followed>,
}

impl Aggregates {
    pub(super) fn new(selector: Selector, upcasters: &Upcasters) -> Self {
        Self { selector, upcasters: upcasters.clone(), known: BTreeMap::new(), shown: Vec::new() }
    }

    /// Takes in the next event of the log.
    pub(super) fn take_in(&mut self, history: &History, event: &Recorded) {
        if !self.selector.selects(event) {
            return;
        }
        let (next, shown) = (self.shown.len(), &mut self.shown);
        let place = *self.known.entry((event.tenant_id, event.aggregate_id)).or_insert_with(|| {
            (next < AGGREGATE_COUNT_MAX).then(|| {
                shown.push(Followed {
                    tenant_id: event.tenant_id,
                    aggregate_id: event.aggregate_id,
                    last_event: event.clone(),
                    state: self.selector.aggregate_type.begin(),
                    keys: BTreeMap::new(),
                });
                next
            })
        });
        let Some(followed) = place.and_then(|place| self.shown.get_mut(place)) else { return };
        followed.state.take_in(&self.upcasters, event);
        followed.last_event = event.clone();
        for (model, key) in history.keys_of(event) {
            let keys = followed.keys.entry(model.projection().name()).or_default();
            if is_of(&key, event.aggregate_id) && keys.len() < OWN_ROW_COUNT_MAX {
                keys.insert(key.to_string());
            }
        }
    }

    /// What they are now; an error when the one that was asked for never came.
    pub(super) fn report(self, history: &History) -> Result<AggregateReport, ReplayError> {
        let aggregate_type = self.selector.aggregate_type.name;
        if let Some(id) = self.selector.aggregate_id.filter(|_| self.known.is_empty()) {
            return Err(ReplayError::Unknown(format!("there was no {aggregate_type} {id} at that moment")));
        }
        let shown = self.shown.into_iter().map(|followed| {
            let rows = history.models().iter().filter_map(|model| {
                let name = model.projection().name();
                let keys = followed.keys.get(name)?.iter().filter_map(|key| serde_json::from_str(key).ok());
                let rows: Vec<_> = keys.filter_map(|key: Value| model.row(&key)).collect();
                (!rows.is_empty()).then_some((name, rows))
            });
            RebuiltAggregate {
                rows: rows.collect(),
                tenant_id: followed.tenant_id,
                aggregate_type,
                aggregate_id: followed.aggregate_id,
                last_event: EventName::of(&followed.last_event),
                state: followed.state.json(),
                unreadable: followed.state.unreadable().map(ToOwned::to_owned),
            }
        });
        Ok(AggregateReport { count: self.known.len(), shown: shown.collect() })
    }
}

/// Whether a row of this key belongs to the aggregate, and is not one that it shares with others of its tenant.
fn is_of(key: &Value, aggregate_id: Uuid) -> bool {
    let id = aggregate_id.to_string();
    let members = key.as_object().into_iter().flatten();
    members.filter(|(column, _)| *column != "tenant_id").any(|(_, value)| value.as_str() == Some(id.as_str()))
}
