use cqrs_es::{
    Aggregate,
    test::{AggregateTestExecutor, TestFramework},
};
use hub_filter::Filter;
use serde_json::json;
use strum::VariantNames;
use uuid::Uuid;

use super::{
    CODES, Command, Error, Event, EventSubscription, Handling, LIMIT_REACHED, Mode, OnExhausted, POSITION_AHEAD, RESET,
    Retry, TAKEN, decide,
};
use crate::{
    aggregate::Decide,
    effect::{Effect, Reach},
    golden,
    refusal::Refusal,
};

fn given(events: Vec<Event>) -> AggregateTestExecutor<EventSubscription> {
    TestFramework::with(()).given(events)
}

fn state(events: Vec<Event>) -> EventSubscription {
    let mut subscription = EventSubscription::default();
    for event in events {
        subscription.apply(event);
    }
    subscription
}

fn filter(pattern: &str) -> Filter {
    serde_json::from_value(json!({ "types": [pattern] })).unwrap()
}

fn handling() -> Handling {
    Handling {
        mode: Mode::Competing,
        lease_seconds: 60,
        deliveries_max: 10,
        retry: Retry { initial_seconds: 5, max_seconds: 600 },
        on_exhausted: OnExhausted::Park,
    }
}

fn create(handling: Handling) -> Command {
    Command::Create { name: "billing".parse().unwrap(), filter: filter("tenant.*"), start_position: 7, handling }
}

fn created() -> Event {
    Event::Created {
        name: "billing".parse().unwrap(),
        filter: filter("tenant.*"),
        start_position: 7,
        handling: handling(),
    }
}

fn nothing_to_update() -> Command {
    Command::Update {
        filter: None,
        mode: None,
        lease_seconds: None,
        deliveries_max: None,
        retry: None,
        on_exhausted: None,
    }
}

fn every_other_command() -> Vec<Command> {
    vec![nothing_to_update(), Command::Pause, Command::Resume, Command::Delete]
}

#[test]
fn golden_files_stay_readable() {
    golden::check::<Event>(EventSubscription::TYPE, Event::VARIANTS);
}

#[test]
fn the_state_is_kept_in_the_shape_of_its_version() {
    golden::check_state(&[
        ("absent", state(vec![])),
        ("active", state(vec![created()])),
        ("paused", state(vec![created(), Event::Paused {}])),
        ("deleted", state(vec![created(), Event::Deleted {}])),
    ]);
}

#[test]
fn every_error_has_its_code() {
    let errors = [
        Error::NotFound,
        Error::AlreadyCreated,
        Error::Deleted,
        Error::Paused,
        Error::LeaseOutOfBounds,
        Error::DeliveriesOutOfBounds,
        Error::RetryOutOfBounds,
    ];
    for error in errors {
        let code = CODES.iter().find(|code| code.code == error.code()).unwrap();
        assert_eq!(code.kind, error.kind());
    }
    // And those that only the log, or consuming, can refuse.
    for code in [LIMIT_REACHED, TAKEN, RESET, POSITION_AHEAD] {
        assert!(CODES.contains(&code));
    }
}

#[test]
fn a_subscription_is_created_once() {
    given(vec![]).when(create(handling())).then_expect_events(vec![created()]);
    given(vec![created()]).when(create(handling())).then_expect_error(Error::AlreadyCreated);
}

#[test]
fn what_is_out_of_bounds_is_refused_at_creation_and_at_a_change() {
    let retry = |initial_seconds, max_seconds| Retry { initial_seconds, max_seconds };
    let wrong = [
        (Handling { lease_seconds: 4, ..handling() }, Error::LeaseOutOfBounds),
        (Handling { lease_seconds: 3_601, ..handling() }, Error::LeaseOutOfBounds),
        (Handling { deliveries_max: 0, ..handling() }, Error::DeliveriesOutOfBounds),
        (Handling { deliveries_max: 101, ..handling() }, Error::DeliveriesOutOfBounds),
        (Handling { retry: retry(0, 5), ..handling() }, Error::RetryOutOfBounds),
        (Handling { retry: retry(6, 5), ..handling() }, Error::RetryOutOfBounds),
        (Handling { retry: retry(3_601, 4_000), ..handling() }, Error::RetryOutOfBounds),
        (Handling { retry: retry(5, 86_401), ..handling() }, Error::RetryOutOfBounds),
    ];
    for (wrong, error) in wrong {
        given(vec![]).when(create(wrong)).then_expect_error(error);
        let update = Command::Update {
            filter: None,
            mode: Some(wrong.mode),
            lease_seconds: Some(wrong.lease_seconds),
            deliveries_max: Some(wrong.deliveries_max),
            retry: Some(wrong.retry),
            on_exhausted: None,
        };
        given(vec![created()]).when(update).then_expect_error(error);
    }
}

#[test]
fn an_update_says_each_part_that_becomes_another_one() {
    given(vec![created()]).when(nothing_to_update()).then_expect_events(vec![]);
    let same = Command::Update {
        filter: Some(filter("tenant.*")),
        mode: Some(Mode::Competing),
        lease_seconds: Some(60),
        deliveries_max: Some(10),
        retry: Some(Retry::default()),
        on_exhausted: Some(OnExhausted::Park),
    };
    given(vec![created()]).when(same).then_expect_events(vec![]);
    let other = Command::Update {
        filter: Some(filter("role.*")),
        mode: Some(Mode::Exclusive),
        lease_seconds: None,
        deliveries_max: None,
        retry: None,
        on_exhausted: Some(OnExhausted::Skip),
    };
    let changed = Handling { mode: Mode::Exclusive, on_exhausted: OnExhausted::Skip, ..handling() };
    given(vec![created(), Event::Paused {}]).when(other).then_expect_events(vec![
        Event::FilterChanged { filter: filter("role.*") },
        Event::HandlingChanged { handling: changed },
    ]);
    let EventSubscription::Paused(definition) = state(vec![
        created(),
        Event::Paused {},
        Event::FilterChanged { filter: filter("role.*") },
        Event::HandlingChanged { handling: changed },
    ]) else {
        panic!("it stays paused")
    };
    assert_eq!((definition.filter, definition.handling), (filter("role.*"), changed));
}

#[test]
fn pausing_and_resuming_twice_changes_nothing() {
    given(vec![created()]).when(Command::Pause).then_expect_events(vec![Event::Paused {}]);
    given(vec![created(), Event::Paused {}]).when(Command::Pause).then_expect_events(vec![]);
    given(vec![created(), Event::Paused {}]).when(Command::Resume).then_expect_events(vec![Event::Resumed {}]);
    given(vec![created()]).when(Command::Resume).then_expect_events(vec![]);
}

#[test]
fn what_is_not_there_or_deleted_accepts_nothing() {
    for command in every_other_command() {
        given(vec![]).when(command.clone()).then_expect_error(Error::NotFound);
        given(vec![created(), Event::Deleted {}]).when(command).then_expect_error(Error::Deleted);
    }
    given(vec![created(), Event::Deleted {}]).when(create(handling())).then_expect_error(Error::Deleted);
}

#[test]
fn the_name_is_held_and_the_place_counted_from_creation_to_deletion() {
    let key = || (Reach::Tenant, decide::NAME, "billing".to_owned());
    let (reach, scope, name) = key();
    assert_eq!(
        state(vec![]).effects(Uuid::nil(), &created()),
        [Effect::Take { reach, scope, key: name }, Effect::Count { counter: decide::EVENT_SUBSCRIPTIONS, delta: 1 },]
    );
    for before in [vec![created()], vec![created(), Event::Paused {}]] {
        let (reach, scope, name) = key();
        assert_eq!(
            state(before).effects(Uuid::nil(), &Event::Deleted {}),
            [
                Effect::Release { reach, scope, key: name },
                Effect::Count { counter: decide::EVENT_SUBSCRIPTIONS, delta: -1 },
            ]
        );
    }
    assert_eq!(state(vec![created()]).effects(Uuid::nil(), &Event::Paused {}), []);
}
