use chrono::{DateTime, TimeDelta, Utc};
use cqrs_es::{Aggregate, test::TestFramework};
use hub_filter::{Filter, TypePattern, TypePatterns};
use strum::VariantNames;
use uuid::Uuid;

use super::{
    ADDRESS_REFUSED, CODES, Command, Delivery, DisabledReason, Disablement, EndpointUrl, Error, Event, KeyPair,
    LIMIT_REACHED, Only, PREVIOUS_SECRET_COUNT_MAX, Replay, SealedSecret, Secret, Webhook, delivery::Ordering,
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

fn filters(texts: &[&str]) -> TypePatterns {
    texts.iter().map(|text| text.parse().unwrap()).collect::<Vec<TypePattern>>().try_into().unwrap()
}

fn remark(text: &str) -> Remark {
    text.parse().unwrap()
}

fn sealed(n: u128) -> SealedSecret {
    format!("c2VhbGV{}", n % 10).parse().unwrap()
}

fn at(text: &str) -> DateTime<Utc> {
    text.parse().unwrap()
}

fn key_pair(n: u128) -> Option<KeyPair> {
    Some(KeyPair { public_key: format!("whpk_{n}"), sealed_signing_key: sealed(n + 4) })
}

fn secret(n: u128) -> Secret {
    Secret { secret_id: Uuid::from_u128(n), sealed_secret: sealed(n), key_pair: key_pair(n) }
}

fn delivery() -> Delivery {
    Delivery { ordering: Ordering::Strict, batch_max: 10, ..Delivery::default() }
}

fn narrowing() -> Filter {
    Filter::from_json(&serde_json::json!({ "subjects": ["tenant/*"], "filters": [{ "prefix": { "actor": "key:" } }] }))
        .unwrap()
}

fn register() -> Command {
    Command::Register {
        url: url("https://acme.example/hook"),
        filters: filters(&["tenant.*"]),
        filter: narrowing(),
        description: remark("tickets"),
        delivery: Delivery::default(),
        secret: secret(1),
    }
}

fn registered() -> Event {
    Event::Registered {
        url: url("https://acme.example/hook"),
        filters: filters(&["tenant.*"]),
        description: remark("tickets"),
        secret_id: Uuid::from_u128(1),
        sealed_secret: sealed(1),
        filter: narrowing(),
        delivery: Delivery::default(),
        key_pair: key_pair(1),
    }
}

/// At the minute, valid besides the next one until a quarter of an hour later.
fn rotate_at(n: u128, minute: i64) -> Command {
    let rotated_at = at("2025-03-01T09:00:00Z") + TimeDelta::minutes(minute);
    Command::RotateSecret { secret: secret(n), rotated_at, previous_until: rotated_at + TimeDelta::minutes(15) }
}

fn rotated_at(n: u128, minute: i64) -> Event {
    let rotated_at = at("2025-03-01T09:00:00Z") + TimeDelta::minutes(minute);
    Event::SecretRotated {
        secret_id: Uuid::from_u128(n),
        sealed_secret: sealed(n),
        rotated_at,
        previous_until: Some(rotated_at + TimeDelta::minutes(15)),
        key_pair: key_pair(n),
    }
}

fn rotate(n: u128) -> Command {
    rotate_at(n, 30)
}

fn rotated(n: u128) -> Event {
    rotated_at(n, 30)
}

fn nothing_to_update() -> Command {
    Command::Update { url: None, filters: None, filter: None, description: None, delivery: None }
}

fn disablement() -> Disablement {
    Disablement { reason: DisabledReason::Failing, failing_since: at("2025-03-01T09:00:00Z"), missed_from: 7 }
}

fn replay() -> Replay {
    Replay { from: Some(3), to: None, since: None, until: None, only: Only::Failed }
}

fn active() -> Vec<Event> {
    vec![registered()]
}

fn paused() -> Vec<Event> {
    vec![registered(), Event::Paused {}]
}

fn disabled() -> Vec<Event> {
    vec![registered(), Event::Disabled(disablement())]
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
    vec![
        nothing_to_update(),
        rotate(2),
        Command::Pause,
        Command::Resume,
        Command::Disable(disablement()),
        Command::Enable { replay_missed: true },
        Command::Replay(replay()),
        Command::Test,
        Command::Ping { challenge: "c".to_owned() },
        Command::Verify { challenge: "c".to_owned() },
        Command::Delete,
    ]
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
        ("disabled", state(disabled())),
        ("deleted", state(deleted())),
    ]);
}

#[test]
fn every_refusal_is_listed_with_its_kind() {
    for error in [Error::NotFound, Error::AlreadyRegistered, Error::Deleted, Error::Disabled] {
        assert!(CODES.iter().any(|code| code.code == error.code() && code.kind == error.kind()), "{}", error.code());
    }
    assert!(CODES.contains(&LIMIT_REACHED));
    assert_eq!(LIMIT_REACHED.kind, Kind::LimitReached);
    assert!(CODES.contains(&ADDRESS_REFUSED));
}

#[test]
fn a_webhook_registers() {
    given(vec![]).when(register()).then_expect_events(vec![registered()]);
}

#[test]
fn registering_again_is_refused() {
    for history in [active(), paused(), disabled()] {
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
        filter: Some(Filter::everything()),
        description: Some(remark("new tickets")),
        delivery: Some(delivery()),
    };
    let changes = vec![
        Event::UrlChanged { from: url("https://acme.example/hook"), to: url("https://acme.example/v2") },
        Event::FiltersChanged { filters: filters(&["role.*", "tenant.*"]) },
        Event::FilterChanged { filter: Filter::everything() },
        Event::DescriptionChanged { description: remark("new tickets") },
        Event::DeliveryChanged { delivery: delivery() },
    ];
    for history in [active(), paused(), disabled()] {
        given(history.clone()).when(update.clone()).then_expect_events(changes.clone());
        given(history).and(changes.clone()).when(update.clone()).then_expect_events(vec![]);
    }
}

#[test]
fn an_update_leaves_alone_what_it_does_not_name() {
    given(active())
        .when(Command::Update {
            url: None,
            filters: Some(filters(&["*"])),
            filter: Some(narrowing()),
            description: Some(remark("tickets")),
            delivery: Some(Delivery::default()),
        })
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
        .when(Command::Update {
            url: None,
            filters: Some(filters(&["tenant.*", "role.*"])),
            filter: None,
            description: None,
            delivery: None,
        })
        .then_expect_events(vec![]);
}

#[test]
fn a_secret_is_rotated_once() {
    for history in [active(), paused()] {
        given(history.clone()).when(rotate(2)).then_expect_events(vec![rotated(2)]);
        given(history).and(vec![rotated(2)]).when(rotate(2)).then_expect_events(vec![]);
    }
}

fn valid_at(events: Vec<Event>, time: &str) -> Vec<u128> {
    let webhook = state(events);
    webhook.endpoint().unwrap().secrets_at(at(time)).map(|secret| secret.secret_id.as_u128()).collect()
}

#[test]
fn a_rotation_keeps_the_secret_before_it_for_a_while() {
    let history = [active(), vec![rotated_at(2, 0), rotated_at(3, 10)]].concat();
    assert_eq!(valid_at(active(), "2025-03-01T09:00:00Z"), [1]);
    assert_eq!(valid_at(history.clone(), "2025-03-01T09:10:00Z"), [3, 2, 1]);
    assert_eq!(valid_at(history.clone(), "2025-03-01T09:15:00Z"), [3, 2]);
    assert_eq!(valid_at(history, "2025-03-01T09:25:00Z"), [3]);
}

#[test]
fn only_so_many_secrets_are_kept_and_none_that_is_over() {
    let rotations = |minutes: [i64; 5]| (2..).zip(minutes).map(|(n, minute)| rotated_at(n, minute)).collect();
    let kept = |events: Vec<Event>| state([active(), events].concat()).endpoint().unwrap().previous_secrets.len();
    assert_eq!(kept(rotations([0, 1, 2, 3, 4])), PREVIOUS_SECRET_COUNT_MAX);
    assert_eq!(kept(rotations([0, 20, 40, 60, 80])), 1);
}

#[test]
fn a_rotation_without_an_end_keeps_the_secret_before_it_until_the_next() {
    let old = |n| Event::SecretRotated {
        secret_id: Uuid::from_u128(n),
        sealed_secret: sealed(n),
        rotated_at: at("2025-03-01T09:00:00Z"),
        previous_until: None,
        key_pair: None,
    };
    assert_eq!(valid_at([active(), vec![old(2)]].concat(), "2035-03-01T09:00:00Z"), [2, 1]);
    assert_eq!(valid_at([active(), vec![old(2), old(3)]].concat(), "2035-03-01T09:00:00Z"), [3, 2]);
}

#[test]
fn a_disabled_webhook_is_enabled_with_or_without_what_was_missed() {
    given(active()).when(Command::Disable(disablement())).then_expect_events(vec![Event::Disabled(disablement())]);
    given(disabled()).when(Command::Disable(disablement())).then_expect_events(vec![]);
    for (replay_missed, replay_from) in [(true, Some(7)), (false, None)] {
        let enable = Command::Enable { replay_missed };
        given(disabled()).when(enable.clone()).then_expect_events(vec![Event::Enabled { replay_from }]);
        given(active()).when(enable).then_expect_events(vec![]);
    }
    assert_eq!(state([disabled(), vec![Event::Enabled { replay_from: None }]].concat()), state(active()));
}

#[test]
fn nothing_is_sent_to_a_disabled_webhook() {
    let ping = Command::Ping { challenge: "c".to_owned() };
    for command in [Command::Pause, Command::Resume, Command::Test, ping, Command::Replay(replay())] {
        given(disabled()).when(command).then_expect_error(Error::Disabled);
    }
}

#[test]
fn what_is_asked_of_the_delivery_is_an_event() {
    let pinged = || Event::Pinged { challenge: "c".to_owned() };
    for (command, event) in [
        (Command::Test, Event::Tested {}),
        (Command::Replay(replay()), Event::ReplayRequested(replay())),
        (Command::Ping { challenge: "c".to_owned() }, pinged()),
    ] {
        for history in [active(), paused()] {
            let before = state(history.clone());
            given(history.clone()).when(command.clone()).then_expect_events(vec![event.clone()]);
            assert_eq!(state([history, vec![event.clone()]].concat()), before);
        }
    }
}

#[test]
fn an_endpoint_is_verified_until_its_address_changes() {
    let verify = Command::Verify { challenge: "c".to_owned() };
    let verified = Event::Verified { challenge: "c".to_owned() };
    given(active()).when(verify.clone()).then_expect_events(vec![verified.clone()]);
    given(active()).and(vec![verified.clone()]).when(verify).then_expect_events(vec![]);
    let moved = Event::UrlChanged { from: url("https://acme.example/hook"), to: url("https://acme.example/v2") };
    let webhook = state([active(), vec![verified, moved]].concat());
    assert_eq!(webhook.endpoint().unwrap().verified, None);
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
    for history in [vec![], active(), paused(), disabled(), [active(), vec![rotated(2)]].concat(), deleted()] {
        let webhook = state(history);
        let stored = serde_json::to_string(&webhook).unwrap();
        assert_eq!(serde_json::from_str::<Webhook>(&stored).unwrap(), webhook);
    }
}
