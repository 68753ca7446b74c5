use cqrs_es::{Aggregate, test::TestFramework};
use strum::VariantNames;

use super::{Command, Error, Event, KEY_COUNT_MAX, SigningKeys};
use crate::golden;

fn used(key: &str) -> Event {
    Event::Used { verifier_key: key.to_owned() }
}

fn retired(key: &str) -> Event {
    Event::Retired { verifier_key: key.to_owned() }
}

fn sign_with(keys: &[&str]) -> Command {
    Command::Use { verifier_keys: keys.iter().map(|key| (*key).to_owned()).collect() }
}

#[test]
fn golden_files_stay_readable() {
    golden::check::<Event>(SigningKeys::TYPE, Event::VARIANTS);
}

#[test]
fn the_state_is_kept_in_the_shape_of_its_version() {
    let mut signing = SigningKeys::default();
    signing.apply(used("hub.test+1+a"));
    golden::check_state(&[("none", SigningKeys::default()), ("signing", signing)]);
}

#[test]
fn a_rotation_is_a_key_that_comes_and_one_that_goes() {
    let given = |events| TestFramework::<SigningKeys>::with(()).given(events);
    given(vec![]).when(sign_with(&["a"])).then_expect_events(vec![used("a")]);
    given(vec![used("a")]).when(sign_with(&["a", "b"])).then_expect_events(vec![used("b")]);
    given(vec![used("a"), used("b")]).when(sign_with(&["b"])).then_expect_events(vec![retired("a")]);
    given(vec![used("a")]).when(sign_with(&["a"])).then_expect_events(vec![]);
}

#[test]
fn some_key_signs_and_not_too_many_do() {
    let keys: Vec<String> = (0..=KEY_COUNT_MAX).map(|number| number.to_string()).collect();
    let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
    for keys in [&[][..], &keys] {
        TestFramework::<SigningKeys>::with(()).given(vec![]).when(sign_with(keys)).then_expect_error(Error::Size);
    }
}
