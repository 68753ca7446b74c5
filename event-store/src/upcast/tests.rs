use chrono::DateTime;
use serde_json::{Value, json, value::RawValue};
use uuid::Uuid;

use super::{Upcasters, VersionStep};
use crate::event::Recorded;

fn recorded(event_type: &str, event_version: i32, payload: &Value) -> Recorded {
    Recorded {
        position: 7,
        tenant_position: 3,
        event_id: Uuid::from_u128(1),
        tenant_id: Uuid::from_u128(2),
        aggregate_type: "letter".to_owned(),
        aggregate_id: Uuid::from_u128(3),
        sequence: 1,
        event_type: event_type.to_owned(),
        event_version,
        occurred_at: DateTime::UNIX_EPOCH,
        payload: RawValue::from_string(payload.to_string()).unwrap(),
        metadata: RawValue::from_string("{}".to_owned()).unwrap(),
        leaf_hash: Vec::new(),
    }
}

fn with(name: &'static str, value: &'static str) -> impl Fn(Value) -> Value {
    move |mut payload| {
        payload[name] = value.into();
        payload
    }
}

fn upcasters() -> Upcasters {
    Upcasters::new(vec![
        Box::new(VersionStep { event_type: "letter.sent", from: 1, step: |payload| with("country", "DE")(payload) }),
        Box::new(VersionStep { event_type: "letter.sent", from: 2, step: |payload| with("class", "second")(payload) }),
    ])
}

#[test]
fn an_old_event_is_lifted_step_by_step() {
    let lifted = upcasters().apply(recorded("letter.sent", 1, &json!({ "to": "Ada" }))).unwrap();
    assert_eq!(lifted.event_version, 3);
    let payload: Value = serde_json::from_str(lifted.payload.get()).unwrap();
    assert_eq!(payload, json!({ "to": "Ada", "country": "DE", "class": "second" }));
}

#[test]
fn a_present_event_and_a_stranger_stay_as_they_are() {
    for (event_type, version) in [("letter.sent", 3), ("letter.opened", 1)] {
        let event = upcasters().apply(recorded(event_type, version, &json!({ "to": "Ada" }))).unwrap();
        assert_eq!((event.event_version, event.payload.get()), (version, "{\"to\":\"Ada\"}"));
    }
}

#[test]
fn upcasters_that_never_end_are_an_error() {
    struct Loop;
    impl cqrs_es::persist::EventUpcaster for Loop {
        fn can_upcast(&self, _: &str, _: &str) -> bool {
            true
        }
        fn upcast(&self, event: cqrs_es::persist::SerializedEvent) -> cqrs_es::persist::SerializedEvent {
            event
        }
    }
    assert!(Upcasters::new(vec![Box::new(Loop)]).apply(recorded("letter.sent", 1, &json!({}))).is_err());
}
