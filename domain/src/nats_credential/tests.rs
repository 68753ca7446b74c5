use chrono::{DateTime, TimeDelta};
use cqrs_es::{
    Aggregate,
    test::{AggregateTestExecutor, TestFramework},
};
use strum::VariantNames;

use super::{Command, Error, Event, NatsCredential};
use crate::golden;

fn given(events: Vec<Event>) -> AggregateTestExecutor<NatsCredential> {
    TestFramework::with(()).given(events)
}

fn issue() -> Command {
    Command::Issue {
        name: "Ledger of Acme".parse().unwrap(),
        public_key: "UABC".to_owned(),
        subjects: vec!["hub.events.*.0000000000000000000000000000000a.>".to_owned()],
        expires_at: DateTime::UNIX_EPOCH + TimeDelta::days(7),
    }
}

fn issued() -> Event {
    let Command::Issue { name, public_key, subjects, expires_at } = issue();
    Event::Issued { name, public_key, subjects, expires_at }
}

#[test]
fn golden_files_stay_readable() {
    golden::check::<Event>(NatsCredential::TYPE, Event::VARIANTS);
}

#[test]
fn the_state_is_kept_in_the_shape_of_its_version() {
    let mut state = NatsCredential::default();
    state.apply(issued());
    golden::check_state(&[("absent", NatsCredential::default()), ("issued", state)]);
}

#[test]
fn a_credential_is_issued_once() {
    given(vec![]).when(issue()).then_expect_events(vec![issued()]);
    given(vec![issued()]).when(issue()).then_expect_error(Error::AlreadyIssued);
}
