use chrono::{DateTime, NaiveDate, TimeDelta, Utc};
use cqrs_es::{
    Aggregate,
    test::{AggregateTestExecutor, TestFramework},
};
use strum::VariantNames;
use uuid::Uuid;

use super::{CLASSES, CODES, Command, Error, Event, RetentionPolicy, class, expires_at, kept_from};
use crate::{golden, refusal::Refusal, text::Key};

const KEY_ID: Uuid = Uuid::from_u128(7);

fn given(events: Vec<Event>) -> AggregateTestExecutor<RetentionPolicy> {
    TestFramework::with(()).given(events)
}

fn state(events: Vec<Event>) -> RetentionPolicy {
    let mut policy = RetentionPolicy::default();
    for event in events {
        policy.apply(event);
    }
    policy
}

fn key(text: &str) -> Key {
    text.parse().unwrap()
}

fn at(text: &str) -> DateTime<Utc> {
    text.parse().unwrap()
}

fn january() -> NaiveDate {
    "2025-01-01".parse().unwrap()
}

fn set(class: &str, days: u32) -> Command {
    Command::SetClass { class: key(class), days, by: "user:officer".parse().unwrap() }
}

fn was_set(days: u32) -> Event {
    Event::ClassSet { class: key("access"), days, by: "user:officer".parse().unwrap() }
}

fn expire(now: &str, held: bool) -> Command {
    Command::Expire { class: key("access"), period: january(), key_id: KEY_ID, held, now: at(now) }
}

fn expired(days: u32) -> Event {
    Event::KeyExpired { class: key("access"), period: january(), key_id: KEY_ID, days }
}

fn complete() -> Command {
    Command::Complete { key_id: KEY_ID, destroyed_at: at("2026-02-01T00:00:00Z") }
}

fn destroyed() -> Event {
    let destroyed_at = at("2026-02-01T00:00:00Z");
    Event::KeyDestroyed { class: key("access"), period: january(), key_id: KEY_ID, destroyed_at }
}

#[test]
fn golden_files_stay_readable() {
    golden::check::<Event>(RetentionPolicy::TYPE, Event::VARIANTS);
}

#[test]
fn the_state_is_kept_in_the_shape_of_its_version() {
    golden::check_state(&[
        ("default", state(vec![])),
        ("own", state(vec![was_set(120)])),
        ("expired", state(vec![expired(365)])),
    ]);
}

#[test]
fn every_refusal_has_a_listed_code_of_its_kind() {
    for error in [
        Error::ClassUnknown(key("nonsense")),
        Error::DaysOutOfBounds { days_min: 1, days_max: 2 },
        Error::NotDue,
        Error::Held,
    ] {
        let listed = CODES.iter().find(|code| code.code == error.code());
        assert_eq!(listed.map(|code| code.kind), Some(error.kind()), "{}", error.code());
    }
}

#[test]
fn every_class_is_kept_for_a_time_within_its_bounds() {
    for class in CLASSES {
        assert!(key(class.name).as_str() == class.name && !class.meaning.is_empty());
        assert!((class.days_min..=class.days_max).contains(&class.days_default), "{class:?}");
        assert_eq!(state(vec![]).days(class), class.days_default);
    }
}

#[test]
fn a_tenant_keeps_a_class_for_its_own_time() {
    given(vec![]).when(set("access", 120)).then_expect_events(vec![was_set(120)]);
    given(vec![was_set(120)]).when(set("access", 120)).then_expect_events(vec![]);
    assert_eq!(state(vec![was_set(120)]).days(class("access").unwrap()), 120);
}

#[test]
fn no_class_is_kept_shorter_or_longer_than_it_may_be() {
    for days in [0, 89, 1_831, u32::MAX] {
        let error = Error::DaysOutOfBounds { days_min: 90, days_max: 1_830 };
        given(vec![]).when(set("access", days)).then_expect_error(error);
    }
    given(vec![]).when(set("nonsense", 120)).then_expect_error(Error::ClassUnknown(key("nonsense")));
}

#[test]
fn a_key_expires_when_the_last_day_of_its_month_was_kept_long_enough() {
    given(vec![]).when(expire("2026-01-31T23:59:59Z", false)).then_expect_error(Error::NotDue);
    given(vec![]).when(expire("2026-02-01T00:00:00Z", false)).then_expect_events(vec![expired(365)]);
    given(vec![was_set(90)]).when(expire("2025-05-02T00:00:00Z", false)).then_expect_events(vec![expired(90)]);
}

#[test]
fn a_hold_on_the_tenant_keeps_its_keys() {
    given(vec![]).when(expire("2026-03-01T00:00:00Z", true)).then_expect_error(Error::Held);
    // The destruction has begun before the hold.
    given(vec![expired(365)]).when(expire("2026-03-01T00:00:00Z", true)).then_expect_events(vec![]);
}

#[test]
fn a_destroyed_key_is_told_once() {
    given(vec![expired(365)]).when(complete()).then_expect_events(vec![destroyed()]);
    given(vec![expired(365), destroyed()]).when(complete()).then_expect_events(vec![]);
    assert_eq!(state(vec![expired(365)]).expired().collect::<Vec<_>>(), [KEY_ID]);
    assert_eq!(state(vec![expired(365), destroyed()]).expired().count(), 0);
}

#[test]
fn the_months_before_the_first_that_is_kept_are_those_that_are_expired() {
    let mut now = at("2026-01-01T12:00:00Z");
    for _ in 0..800 {
        for days in [90, 365, 1_830] {
            let first = kept_from(now, days);
            assert!(expires_at(first, days) > now, "{now} {days}");
            let before = kept_from(now, days).pred_opt().unwrap();
            assert!(expires_at(before, days) <= now, "{now} {days}");
        }
        now += TimeDelta::hours(13);
    }
}
