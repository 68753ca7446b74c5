use chrono::{DateTime, Utc};
use cqrs_es::{Aggregate, test::TestFramework};
use strum::VariantNames;
use uuid::Uuid;

use super::{
    CODES, Command, EndpointUrl, Error, Event, EventFilter, EventFilters, LIMIT_REACHED, PreviousSecret, SealedSecret,
    Secret, Webhook,
};
use crate::{
    aggregate::Decide,
    effect::Effect,
    golden,
    refusal::{Kind, Refusal},
    text::Remark,
};

fn given(events: Vec<Event>) -> cqrs_es::test::AggregateTestExecutor<Webhook> {
    TestFramework::with(()).given(events)
}

fn url(text: &str) -> EndpointUrl {
    text.parse().unwrap()
}

fn filters(texts: &[&str]) -> EventFilters {
    texts.iter().map(|text| text.parse().unwrap()).collect::<Vec<EventFilter>>().try_into().unwrap()
}

fn remark(text: &str) -> Remark {
    text.parse().unwrap()
}

fn sealed(n: u128) -> SealedSecret {
    format!("c2VhbGV{n}").parse().unwrap()
}

fn at(text: &str) -> DateTime<Utc> {
    text.parse().unwrap()
}

fn register() -> Command {
    Command::Register {
        url: url("https://acme.example/hook"),
        filters: filters(&["tenant.*"]),
        description: remark("tickets"),
        secret_id: Uuid::from_u128(1),
        sealed_secret: sealed(1),
    }
}

fn registered() -> Event {
    Event::Registered {
        url: url("https://acme.example/hook"),
        filters: filters(&["tenant.*"]),
        description: remark("tickets"),
        secret_id: Uuid::from_u128(1),
        sealed_secret: sealed(1),
    }
}

fn rotate(n: u128) -> Command {
    Command::RotateSecret {
        secret_id: Uuid::from_u128(n),
        sealed_secret: sealed(n),
        rotated_at: at("2025-03-01T09:30:00Z"),
    }
}

fn rotated(n: u128) -> Event {
    Event::SecretRotated {
        secret_id: Uuid::from_u128(n),
        sealed_secret: sealed(n),
        rotated_at: at("2025-03-01T09:30:00Z"),
    }
}

fn nothing_to_update() -> Command {
    Command::Update { url: None, filters: None, description: None }
}

fn active() -> Vec<Event> {
    vec![registered()]
}

fn paused() -> Vec<Event> {
    vec![registered(), Event::Paused {}]
}

fn deleted() -> Vec<Event> {
    vec![registered(), Event::Deleted {}]
}

fn state(events: Vec<Event>) -> Webhook {
    let mut webhook = Webhook::default();
    for event in events {
        webhook.apply(event);
    }
    webhook
}

fn every_other_command() -> Vec<Command> {
    vec![nothing_to_update(), rotate(2), Command::Pause, Command::Resume, Command::Delete]
}

#[test]
fn golden_files_stay_readable() {
    golden::check::<Event>(Webhook::TYPE, Event::VARIANTS);
}

#[test]
fn the_state_is_kept_in_the_shape_of_its_version() {
    golden::check_state(&[
        ("absent", state(vec![])),
        ("active", state([active(), vec![rotated(2)]].concat())),
        ("paused", state(paused())),
        ("deleted", state(deleted())),
    ]);
}

#[test]
fn every_refusal_is_listed_with_its_kind() {
    for error in [Error::NotFound, Error::AlreadyRegistered, Error::Deleted] {
        assert!(CODES.iter().any(|code| code.code == error.code() && code.kind == error.kind()), "{}", error.code());
    }
    assert!(CODES.contains(&LIMIT_REACHED));
    assert_eq!(LIMIT_REACHED.kind, Kind::LimitReached);
}

#[test]
fn a_webhook_registers() {
    given(vec![]).when(register()).then_expect_events(vec![registered()]);
}

#[test]
fn registering_again_is_refused() {
    for history in [active(), paused()] {
        given(history).when(register()).then_expect_error(Error::AlreadyRegistered);
    }
}

#[test]
fn an_absent_webhook_knows_no_other_command() {
    for command in every_other_command() {
        given(vec![]).when(command).then_expect_error(Error::NotFound);
    }
}

#[test]
fn a_deleted_webhook_accepts_nothing() {
    for command in every_other_command().into_iter().chain([register()]) {
        given(deleted()).when(command).then_expect_error(Error::Deleted);
    }
}

#[test]
fn an_update_says_what_became_different() {
    let update = Command::Update {
        url: Some(url("https://acme.example/v2")),
        filters: Some(filters(&["role.*", "tenant.*"])),
        description: Some(remark("new tickets")),
    };
    let changes = vec![
        Event::UrlChanged { from: url("https://acme.example/hook"), to: url("https://acme.example/v2") },
        Event::FiltersChanged { filters: filters(&["role.*", "tenant.*"]) },
        Event::DescriptionChanged { description: remark("new tickets") },
    ];
    for history in [active(), paused()] {
        given(history.clone()).when(update.clone()).then_expect_events(changes.clone());
        given(history).and(changes.clone()).when(update.clone()).then_expect_events(vec![]);
    }
}

#[test]
fn an_update_leaves_alone_what_it_does_not_name() {
    given(active())
        .when(Command::Update { url: None, filters: Some(filters(&["*"])), description: Some(remark("tickets")) })
        .then_expect_events(vec![Event::FiltersChanged { filters: filters(&["*"]) }]);
    given(active()).when(nothing_to_update()).then_expect_events(vec![]);
    let webhook = state([active(), vec![Event::FiltersChanged { filters: filters(&["*"]) }]].concat());
    let endpoint = webhook.endpoint().unwrap();
    assert_eq!(endpoint.url, url("https://acme.example/hook"));
    assert_eq!(endpoint.filters, filters(&["*"]));
    assert_eq!(endpoint.description, remark("tickets"));
}

#[test]
fn filters_in_another_order_are_the_same_filters() {
    let history = vec![registered(), Event::FiltersChanged { filters: filters(&["role.*", "tenant.*"]) }];
    given(history)
        .when(Command::Update { url: None, filters: Some(filters(&["tenant.*", "role.*"])), description: None })
        .then_expect_events(vec![]);
}

#[test]
fn a_secret_is_rotated_once() {
    for history in [active(), paused()] {
        given(history.clone()).when(rotate(2)).then_expect_events(vec![rotated(2)]);
        given(history).and(vec![rotated(2)]).when(rotate(2)).then_expect_events(vec![]);
    }
}

#[test]
fn a_rotation_keeps_the_secret_before_it_until_the_next() {
    let secret = |n| Secret { secret_id: Uuid::from_u128(n), sealed_secret: sealed(n) };
    let first = state(active());
    assert_eq!(first.endpoint().unwrap().previous_secret, None);
    for (rotations, current, previous) in [(vec![rotated(2)], 2, 1), (vec![rotated(2), rotated(3)], 3, 2)] {
        let webhook = state([active(), rotations].concat());
        let endpoint = webhook.endpoint().unwrap();
        assert_eq!(endpoint.secret, secret(current));
        let rotated_at = at("2025-03-01T09:30:00Z");
        assert_eq!(endpoint.previous_secret, Some(PreviousSecret { secret: secret(previous), rotated_at }));
    }
}

#[test]
fn an_active_webhook_pauses_and_resumes() {
    given(active()).when(Command::Pause).then_expect_events(vec![Event::Paused {}]);
    given(paused()).when(Command::Resume).then_expect_events(vec![Event::Resumed {}]);
    assert!(matches!(state(paused()), Webhook::Paused(_)));
    assert_eq!(state([paused(), vec![Event::Resumed {}]].concat()), state(active()));
}

#[test]
fn a_paused_webhook_stays_paused_when_it_changes() {
    assert!(matches!(state([paused(), vec![rotated(2)]].concat()), Webhook::Paused(_)));
}

#[test]
fn pausing_or_resuming_twice_changes_nothing() {
    given(paused()).when(Command::Pause).then_expect_events(vec![]);
    given(active()).when(Command::Resume).then_expect_events(vec![]);
}

#[test]
fn a_webhook_is_deleted_active_or_paused() {
    for history in [active(), paused()] {
        given(history).when(Command::Delete).then_expect_events(vec![Event::Deleted {}]);
    }
    assert_eq!(state(deleted()), Webhook::Deleted);
    assert!(state(deleted()).endpoint().is_none());
}

#[test]
fn a_webhook_counts_from_registration_to_deletion() {
    assert_eq!(Webhook::Absent.effects(Uuid::nil(), &registered()), [Effect::Count { counter: "webhooks", delta: 1 }]);
    assert_eq!(
        state(paused()).effects(Uuid::nil(), &Event::Deleted {}),
        [Effect::Count { counter: "webhooks", delta: -1 }]
    );
    for event in [Event::Paused {}, Event::Resumed {}, rotated(2)] {
        assert!(state(active()).effects(Uuid::nil(), &event).is_empty());
    }
}

#[test]
fn a_state_that_was_stored_comes_back() {
    for history in [vec![], active(), paused(), [active(), vec![rotated(2)]].concat(), deleted()] {
        let webhook = state(history);
        let stored = serde_json::to_string(&webhook).unwrap();
        assert_eq!(serde_json::from_str::<Webhook>(&stored).unwrap(), webhook);
    }
}
