//! How one aggregate became what it is: for each event, what was there before it and what after it, field by field.
//!
//! Compared is the aggregate's own state, which is folded from its events by the rules that commands are decided by. A state keeps what
//! decisions need and no more, so the first row of each event also has its payload.

use std::collections::BTreeSet;

use cqrs_es::Aggregate;
use hub_domain::{
    access_record::AccessRecord, access_request::AccessRequest, api_key::ApiKey, break_glass::BreakGlass,
    checkpoint::Checkpoints, control_check::ControlCheck, control_run::ControlRun, disclosure::Disclosure,
    duty_set::DutySet, erasure::Erasure, event_subscription::EventSubscription, finding::Finding,
    identity_provider::IdentityProvider, inbound_source::InboundSource, legal_hold::LegalHold,
    nats_credential::NatsCredential, principal, retention_policy::RetentionPolicy, role::Role,
    role_template::RoleTemplate, self_check::SelfCheck, service_instance::ServiceInstance, signing_key::SigningKeys,
    subscription::Subscription, support_access::SupportAccess, tenant::Tenant, webhook::Webhook,
};
use hub_event_store::event::Recorded;
use serde_json::{Map, Value, json};

use crate::{Fold, Moment, shown};

pub(crate) const COLUMNS: &[&str] =
    &["position", "at", "by", "event_type", "sequence", "field", "before", "after", "payload"];

/// The stream so far.
#[derive(Default)]
pub(crate) struct History {
    state: Option<Box<dyn Stateful>>,
    /// The state that was reached, as it is shown.
    before: Map<String, Value>,
}

/// An aggregate that is led through its events.
trait Stateful: Send {
    fn apply(&mut self, event: &Recorded) -> Result<Value, String>;
}

struct Of<A>(A);

impl<A: Aggregate> Stateful for Of<A> {
    fn apply(&mut self, event: &Recorded) -> Result<Value, String> {
        self.0.apply(event.decode().map_err(|error| error.to_string())?);
        serde_json::to_value(&self.0).map_err(|error| error.to_string())
    }
}

/// Something that somebody else's program wrote: of its state nothing is known.
struct Foreign;

impl Stateful for Foreign {
    fn apply(&mut self, _: &Recorded) -> Result<Value, String> {
        Ok(Value::Null)
    }
}

fn of<A: Aggregate + 'static>() -> Option<Box<dyn Stateful>> {
    Some(Box::new(Of(A::default())))
}

/// The platform's own aggregates, by their types.
fn own(aggregate_type: &str) -> Option<Box<dyn Stateful>> {
    match aggregate_type {
        AccessRecord::TYPE => of::<AccessRecord>(),
        AccessRequest::TYPE => of::<AccessRequest>(),
        ApiKey::TYPE => of::<ApiKey>(),
        BreakGlass::TYPE => of::<BreakGlass>(),
        Checkpoints::TYPE => of::<Checkpoints>(),
        ControlCheck::TYPE => of::<ControlCheck>(),
        ControlRun::TYPE => of::<ControlRun>(),
        Disclosure::TYPE => of::<Disclosure>(),
        DutySet::TYPE => of::<DutySet>(),
        Erasure::TYPE => of::<Erasure>(),
        EventSubscription::TYPE => of::<EventSubscription>(),
        Finding::TYPE => of::<Finding>(),
        IdentityProvider::TYPE => of::<IdentityProvider>(),
        InboundSource::TYPE => of::<InboundSource>(),
        LegalHold::TYPE => of::<LegalHold>(),
        NatsCredential::TYPE => of::<NatsCredential>(),
        principal::Standing::TYPE => of::<principal::Standing>(),
        RetentionPolicy::TYPE => of::<RetentionPolicy>(),
        Role::TYPE => of::<Role>(),
        RoleTemplate::TYPE => of::<RoleTemplate>(),
        SelfCheck::TYPE => of::<SelfCheck>(),
        ServiceInstance::TYPE => of::<ServiceInstance>(),
        SigningKeys::TYPE => of::<SigningKeys>(),
        Subscription::TYPE => of::<Subscription>(),
        SupportAccess::TYPE => of::<SupportAccess>(),
        Tenant::TYPE => of::<Tenant>(),
        Webhook::TYPE => of::<Webhook>(),
        _ => None,
    }
}

impl Fold for History {
    fn take(&mut self, event: &Recorded, within: bool) -> Result<Vec<Value>, String> {
        let begin = || own(&event.aggregate_type).unwrap_or_else(|| Box::new(Foreign));
        let state = self.state.get_or_insert_with(begin).apply(event)?;
        let after = members(&shown::shown(&state));
        let before = std::mem::replace(&mut self.before, after.clone());
        if !within {
            return Ok(Vec::new());
        }
        let mut changes = Vec::new();
        compare_members("", &before, &after, &mut changes);
        if changes.is_empty() {
            changes.push(Change { field: String::new(), before: Value::Null, after: Value::Null });
        }
        let Moment { by, at, position } = Moment::of(event)?;
        let mut payload = shown::payload(event)?;
        let rows = changes.into_iter().map(|Change { field, before, after }| {
            json!({
                "position": position,
                "at": at,
                "by": by,
                "event_type": event.event_type,
                "sequence": event.sequence,
                "field": field,
                "before": before,
                "after": after,
                "payload": payload.take(),
            })
        });
        Ok(rows.collect())
    }

    fn end(self: Box<Self>) -> Vec<Value> {
        Vec::new()
    }
}

/// The stage of life as a member, and the members that the stage has, whatever their nesting in Rust is.
fn members(state: &Value) -> Map<String, Value> {
    let stage = |name: &str| Map::from_iter([("stage".to_owned(), Value::from(name))]);
    match state {
        Value::String(name) => stage(name),
        Value::Object(one) if one.len() == 1 && one.keys().all(|name| name.starts_with(char::is_uppercase)) => {
            let (name, rest) = one.iter().next().expect("it has one member");
            let mut members = stage(name);
            match rest {
                Value::Object(inner) => members.extend(inner.clone()),
                other => drop(members.insert("value".to_owned(), other.clone())),
            }
            members
        }
        Value::Object(members) => members.clone(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) => Map::new(),
    }
}

/// One field that is another than before; null is what is not there.
#[derive(Debug, PartialEq)]
struct Change {
    /// A JSON pointer into the state; a `-` at its end stands for an element of a list.
    field: String,
    before: Value,
    after: Value,
}

fn compare_members(path: &str, before: &Map<String, Value>, after: &Map<String, Value>, changes: &mut Vec<Change>) {
    let names: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    for name in names {
        let path = format!("{path}/{}", name.replace('~', "~0").replace('/', "~1"));
        let value = |members: &Map<String, Value>| members.get(name).cloned().unwrap_or_default();
        compare(path, value(before), value(after), changes);
    }
}

fn compare(field: String, before: Value, after: Value, changes: &mut Vec<Change>) {
    if before == after {
        return;
    }
    let empty = Map::new();
    match (&before, &after) {
        (Value::Object(before), Value::Object(after)) => compare_members(&field, before, after, changes),
        (Value::Object(before), Value::Null) if !before.is_empty() => {
            compare_members(&field, before, &empty, changes);
        }
        (Value::Null, Value::Object(after)) if !after.is_empty() => compare_members(&field, &empty, after, changes),
        (Value::Array(before), Value::Array(after)) => compare_items(&field, before, after, changes),
        (Value::Null, Value::Array(after)) if !after.is_empty() => compare_items(&field, &[], after, changes),
        (Value::Array(before), Value::Null) if !before.is_empty() => compare_items(&field, before, &[], changes),
        _ => changes.push(Change { field, before, after }),
    }
}

/// What has gone from a list and what has come; a list in another order is another list.
fn compare_items(field: &str, before: &[Value], after: &[Value], changes: &mut Vec<Change>) {
    let mut came = after.to_vec();
    let mut gone = Vec::new();
    for item in before {
        match came.iter().position(|other| other == item) {
            Some(place) => drop(came.remove(place)),
            None => gone.push(item.clone()),
        }
    }
    if gone.is_empty() && came.is_empty() {
        changes.push(Change { field: field.to_owned(), before: before.into(), after: after.into() });
        return;
    }
    let field = format!("{field}/-");
    let change = |before, after| Change { field: field.clone(), before, after };
    changes.extend(gone.into_iter().map(|item| change(item, Value::Null)));
    changes.extend(came.into_iter().map(|item| change(Value::Null, item)));
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    use super::*;

    fn changes(before: Value, after: Value) -> Vec<(String, Value, Value)> {
        let mut changes = Vec::new();
        compare_members("", &members(&before), &members(&after), &mut changes);
        changes.into_iter().map(|change| (change.field, change.before, change.after)).collect()
    }

    #[test]
    fn every_aggregate_of_the_platform_has_a_history() {
        let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("../domain/golden");
        for folder in fs::read_dir(golden).unwrap() {
            let name = folder.unwrap().file_name().into_string().unwrap();
            assert!(own(&name).is_some(), "{name} has no history");
        }
        assert!(own("letter").is_none());
    }

    #[test]
    fn each_field_that_differs_is_one_change() {
        let before = json!({"Active": {"name": "a", "seats": 3, "plan": {"key": "x", "tier": 1}}});
        let after = json!({"Suspended": {"name": "b", "seats": 3, "plan": {"key": "y", "tier": 1}, "reason": "late"}});
        assert_eq!(
            changes(before, after),
            [
                ("/name".to_owned(), json!("a"), json!("b")),
                ("/plan/key".to_owned(), json!("x"), json!("y")),
                ("/reason".to_owned(), Value::Null, json!("late")),
                ("/stage".to_owned(), json!("Active"), json!("Suspended")),
            ]
        );
    }

    #[test]
    fn of_a_list_what_came_and_what_went_is_told() {
        let list = |items: &[&str]| json!({ "roles": items });
        assert_eq!(
            changes(list(&["a", "b"]), list(&["b", "c"])),
            [("/roles/-".to_owned(), json!("a"), Value::Null), ("/roles/-".to_owned(), Value::Null, json!("c")),]
        );
        assert_eq!(changes(list(&["a", "b"]), list(&["b", "a"])).len(), 1);
        assert_eq!(changes(list(&["a"]), list(&["a"])), []);
    }

    #[test]
    fn the_first_state_comes_from_nothing() {
        assert_eq!(
            changes(Value::Null, json!({"Open": {"by": "user:ada"}})),
            [("/by".to_owned(), Value::Null, json!("user:ada")), ("/stage".to_owned(), Value::Null, json!("Open")),]
        );
    }
}
