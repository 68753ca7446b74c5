use cqrs_es::{
    Aggregate,
    test::{AggregateTestExecutor, TestFramework},
};
use strum::VariantNames;
use uuid::Uuid;

use super::{AccessRecord, Command, Error, Event, LoginFailure, OBSERVATION_COUNT_MAX, Reason, Seen};
use crate::{fact::Home, golden, personal::Pii};

fn given(events: Vec<Event>) -> AggregateTestExecutor<AccessRecord> {
    TestFramework::with(()).given(events)
}

fn seen(count: u64) -> Seen {
    let at = |text: &str| text.parse().unwrap();
    Seen { count, first_at: at("2026-01-01T00:00:00Z"), last_at: at("2026-01-01T00:00:30Z") }
}

fn refused() -> Event {
    Event::Refused {
        principal: "user:ada".parse().unwrap(),
        home: Home::Tenant,
        permission: "tenant:archive".to_owned(),
        reason: Reason::NoRole,
        resource_ids: vec![Uuid::from_u128(7)],
        seen: seen(3),
    }
}

fn login_failed() -> Event {
    let key_id = Some("00000000000000ff".to_owned());
    Event::LoginFailed {
        reason: LoginFailure::WrongSecret,
        key_id,
        network: Some(Pii::Clear("192.0.2.0/24".to_owned())),
        seen: seen(2),
    }
}

fn record(observations: Vec<Event>) -> Command {
    Command::Record { observations }
}

#[test]
fn golden_files_stay_readable() {
    golden::check::<Event>(AccessRecord::TYPE, Event::VARIANTS);
}

#[test]
fn the_state_is_kept_in_the_shape_of_its_version() {
    let mut written = AccessRecord::default();
    written.apply(refused());
    golden::check_state(&[("absent", AccessRecord::default()), ("written", written)]);
}

#[test]
fn all_observations_are_written_in_their_order() {
    let observed = vec![refused(), login_failed(), Event::Unlisted { seen: seen(9) }];
    given(vec![]).when(record(observed.clone())).then_expect_events(observed);
}

#[test]
fn a_record_is_written_once() {
    given(vec![refused()]).when(record(vec![refused()])).then_expect_error(Error::Written);
}

#[test]
fn a_record_has_a_bound() {
    given(vec![]).when(record(vec![])).then_expect_error(Error::Size);
    given(vec![]).when(record(vec![refused(); OBSERVATION_COUNT_MAX + 1])).then_expect_error(Error::Size);
}
