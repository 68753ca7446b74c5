//! The state of one aggregate, led through its events as commands see it, without what is secret.

use std::fmt;

use cqrs_es::Aggregate;
use hub_domain::{
    access_record::AccessRecord, access_request::AccessRequest, api_key::ApiKey, break_glass::BreakGlass,
    checkpoint::Checkpoints, control_check::ControlCheck, control_run::ControlRun, disclosure::Disclosure,
    duty_set::DutySet, erasure::Erasure, event_subscription::EventSubscription, finding::Finding,
    identity_provider::IdentityProvider, inbound_source::InboundSource, legal_hold::LegalHold,
    nats_credential::NatsCredential, principal::Standing, retention_policy::RetentionPolicy, role::Role,
    role_template::RoleTemplate, self_check::SelfCheck, service_instance::ServiceInstance, signing_key::SigningKeys,
    subscription::Subscription, support_access::SupportAccess, tenant::Tenant, webhook::Webhook,
};
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

/// Every type of aggregate of the platform.
pub const AGGREGATE_TYPES: &[AggregateType] = &[
    AggregateType::of::<AccessRecord>(),
    AggregateType::of::<AccessRequest>(),
    AggregateType::of::<ApiKey>(),
    AggregateType::of::<BreakGlass>(),
    AggregateType::of::<Checkpoints>(),
    AggregateType::of::<ControlCheck>(),
    AggregateType::of::<ControlRun>(),
    AggregateType::of::<Disclosure>(),
    AggregateType::of::<DutySet>(),
    AggregateType::of::<Erasure>(),
    AggregateType::of::<EventSubscription>(),
    AggregateType::of::<Finding>(),
    AggregateType::of::<IdentityProvider>(),
    AggregateType::of::<InboundSource>(),
    AggregateType::of::<LegalHold>(),
    AggregateType::of::<NatsCredential>(),
    AggregateType::of::<Standing>(),
    AggregateType::of::<RetentionPolicy>(),
    AggregateType::of::<Role>(),
    AggregateType::of::<RoleTemplate>(),
    AggregateType::of::<SelfCheck>(),
    AggregateType::of::<ServiceInstance>(),
    AggregateType::of::<SigningKeys>(),
    AggregateType::of::<Subscription>(),
    AggregateType::of::<SupportAccess>(),
    AggregateType::of::<Tenant>(),
    AggregateType::of::<Webhook>(),
];

impl AggregateType {
    const fn of<A: Aggregate + fmt::Debug + 'static>() -> Self {
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
    use std::{collections::BTreeSet, fs, path::Path};

    use serde_json::json;

    use super::{AGGREGATE_TYPES, hide};

    #[test]
    fn every_aggregate_of_the_domain_has_a_state() {
        let domain = Path::new(env!("CARGO_MANIFEST_DIR")).join("../domain/src");
        let folders = fs::read_dir(domain).unwrap().map(|entry| entry.unwrap().path());
        let modules = folders.filter(|path| path.join("mod.rs").is_file());
        let aggregates = modules.filter(|path| {
            let text = fs::read_to_string(path.join("mod.rs")).unwrap();
            text.contains("impl Aggregate for")
        });
        let names: BTreeSet<_> =
            aggregates.map(|path| path.file_name().unwrap().to_str().unwrap().to_owned()).collect();
        let listed: BTreeSet<_> = AGGREGATE_TYPES.iter().map(|known| known.name.to_owned()).collect();
        assert_eq!(listed, names);
    }

    #[test]
    fn secrets_are_hidden_wherever_they_are() {
        let mut state = json!({"a": [{"sealed_secret": {"nonce": "x"}, "id": 1}], "sha256": "00", "sha": "1"});
        hide(&mut state);
        assert_eq!(state, json!({"a": [{"id": 1}], "sha": "1"}));
    }
}
