//! What events take, give back, count and show beyond their own stream.

use cqrs_es::Aggregate;
use serde_json::value::RawValue;
use uuid::Uuid;

use crate::{
    append::{Claim, CounterChange, Direction, FactChange},
    event::StreamId,
};

/// What an event takes, gives back, counts and shows, in the store's own words.
#[derive(Debug, Clone, Default)]
pub struct Effects {
    /// Names taken and given back: realm, scope, key.
    pub claims: Vec<Claim>,
    /// Counters of the stream's tenant: name and delta.
    pub counters: Vec<(&'static str, i64)>,
    /// Facts that begin or end to hold.
    pub facts: Vec<FactChange>,
}

/// Tells an event's effects from the state before it, of the stream given.
pub type EffectsOf<A> = fn(&StreamId, &A, &<A as Aggregate>::Event) -> Effects;

impl Effects {
    /// Adds a name taken.
    pub fn take(&mut self, realm_id: Uuid, scope: &'static str, key: String) {
        self.claims.push(Claim { realm_id, scope, key, direction: Direction::Take });
    }

    /// Adds a name given back.
    pub fn release(&mut self, realm_id: Uuid, scope: &'static str, key: String) {
        self.claims.push(Claim { realm_id, scope, key, direction: Direction::Release });
    }

    /// Adds a fact that holds from now on.
    pub fn show(&mut self, part: String, fact: Box<RawValue>) {
        self.facts.push(FactChange { part, fact: Some(fact) });
    }

    /// Adds a fact that holds no longer.
    pub fn hide(&mut self, part: String) {
        self.facts.push(FactChange { part, fact: None });
    }
}

/// One change per counter: the sum of what the events count, with the conditions that the command was prepared under.
pub(super) fn counter_changes(
    tenant_id: Uuid,
    deltas: &[(&'static str, i64)],
    maxima: &[(&'static str, i64)],
    expected: &[(&'static str, i64)],
) -> Vec<CounterChange> {
    let mut changes: Vec<CounterChange> = Vec::new();
    let names = deltas.iter().chain(expected).map(|(name, _)| *name);
    for name in names {
        if changes.iter().any(|change| change.name == name) {
            continue;
        }
        let value_in = |list: &[(&'static str, i64)]| list.iter().find(|(n, _)| *n == name).map(|(_, value)| *value);
        changes.push(CounterChange {
            tenant_id,
            name,
            delta: deltas.iter().filter(|(n, _)| *n == name).map(|(_, delta)| delta).sum(),
            maximum: value_in(maxima),
            expected: value_in(expected),
        });
    }
    changes
}
