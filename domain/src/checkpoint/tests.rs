use cqrs_es::{
    Aggregate,
    test::{AggregateTestExecutor, TestFramework},
};
use strum::VariantNames;

use super::{Checkpoints, Command, Error, Event};
use crate::golden;

fn given(events: Vec<Event>) -> AggregateTestExecutor<Checkpoints> {
    TestFramework::with(()).given(events)
}

fn published(size: u64) -> Event {
    Event::Published { size, note: "note".to_owned(), platform_note: "platform".to_owned() }
}

fn publish(size: u64) -> Command {
    Command::Publish { size, note: "note".to_owned(), platform_note: "platform".to_owned() }
}

#[test]
fn golden_files_stay_readable() {
    golden::check::<Event>(Checkpoints::TYPE, Event::VARIANTS);
}

#[test]
fn the_state_is_kept_in_the_shape_of_its_version() {
    let mut some = Checkpoints::default();
    some.apply(published(7));
    golden::check_state(&[("none", Checkpoints::default()), ("some", some)]);
}

#[test]
fn checkpoints_grow() {
    given(vec![]).when(publish(3)).then_expect_events(vec![published(3)]);
    given(vec![published(3)]).when(publish(5)).then_expect_events(vec![published(5)]);
    for size in [2, 3] {
        given(vec![published(3)]).when(publish(size)).then_expect_error(Error::Published);
    }
}
