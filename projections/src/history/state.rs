//! The state of one aggregate, led through its events as commands see it, without what is secret.

use std::{fmt, sync::LazyLock};

use cqrs_es::Aggregate;
use hub_domain::every::{OwnAggregate, Visit, every_aggregate};
use hub_event_store::{event::Recorded, upcast::Upcasters};
use serde_json::Value;

/// Members of states that hold a secret, sealed or as a hash; no answer shows them.
const SECRETS: &[&str] = &["sealed_secret", "sealed_signing_key", "sha256"];

/// One type of aggregate.
#[derive(Debug, Clone, Copy)]
pub struct AggregateType {
    /// Its name, as events bear it.
    pub name: &'static str,
    begin: fn() -> Box<dyn Led>,
}

/// Every type of aggregate of the platform, in alphabetical order.
pub static AGGREGATE_TYPES: LazyLock<Vec<AggregateType>> = LazyLock::new(|| {
    let mut types = Types(Vec::new());
    every_aggregate(&mut types);
    types.0
});

struct Types(Vec<AggregateType>);

impl Visit for Types {
    fn visit<A: OwnAggregate>(&mut self) {
        self.0.push(AggregateType::of::<A>());
    }
}

impl AggregateType {
    fn of<A: Aggregate + fmt::Debug + 'static>() -> Self {
        Self { name: A::TYPE, begin: || Box::new(State::<A>(A::default())) }
    }

    /// The type of this name.
    #[must_use]
    pub fn find(name: &str) -> Option<Self> {
        AGGREGATE_TYPES.iter().find(|known| known.name == name).copied()
    }

    /// The state before the first event.
    #[must_use]
    pub fn begin(self) -> AggregateState {
        AggregateState { led: (self.begin)(), unreadable: None }
    }
}

/// An aggregate that is led through its events.
#[derive(Debug)]
pub struct AggregateState {
    led: Box<dyn Led>,
    unreadable: Option<String>,
}

impl AggregateState {
    /// Takes in the next event of its stream. Behind one that cannot be read, the state stays as it is.
    pub fn take_in(&mut self, upcasters: &Upcasters, event: &Recorded) {
        if self.unreadable.is_none() {
            let lifted = upcasters.apply(event.clone()).map_err(|error| error.to_string());
            self.unreadable = lifted.and_then(|event| self.led.apply(&event)).err();
        }
    }

    /// Why the events after some point could not be taken in.
    #[must_use]
    pub fn unreadable(&self) -> Option<&str> {
        self.unreadable.as_deref()
    }

    /// The state as JSON, without secrets.
    #[must_use]
    pub fn json(&self) -> Value {
        let mut state = self.led.json();
        hide(&mut state);
        state
    }
}

trait Led: fmt::Debug + Send {
    fn apply(&mut self, event: &Recorded) -> Result<(), String>;
    fn json(&self) -> Value;
}

#[derive(Debug)]
struct State<A>(A);

impl<A: Aggregate + fmt::Debug> Led for State<A> {
    fn apply(&mut self, event: &Recorded) -> Result<(), String> {
        self.0.apply(event.decode().map_err(|error| error.to_string())?);
        Ok(())
    }

    fn json(&self) -> Value {
        serde_json::to_value(&self.0).expect("a state is written as JSON in snapshots, too")
    }
}

fn hide(value: &mut Value) {
    match value {
        Value::Object(members) => {
            members.retain(|name, _| !SECRETS.contains(&name.as_str()));
            members.values_mut().for_each(hide);
        }
        Value::Array(values) => values.iter_mut().for_each(hide),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::hide;

    #[test]
    fn secrets_are_hidden_wherever_they_are() {
        let mut state = json!({"a": [{"sealed_secret": {"nonce": "x"}, "id": 1}], "sha256": "00", "sha": "1"});
        hide(&mut state);
        assert_eq!(state, json!({"a": [{"id": 1}], "sha": "1"}));
    }
}
