use std::collections::VecDeque;

use chrono::DateTime;
use serde_json::value::RawValue;
use tokio::{sync::oneshot, time::Instant};
use uuid::Uuid;

use super::take_batch;
use crate::{
    append::{Append, Claim, CounterChange, Direction, Guard},
    event::{Metadata, NewEvent, StreamId},
    writer::{Waiting, columns::Sealed},
};

const TENANT: Uuid = Uuid::from_u128(7);

fn stream(id: u128) -> StreamId {
    StreamId { tenant_id: TENANT, aggregate_type: "letter", aggregate_id: Uuid::from_u128(id) }
}

fn append(id: u128, expected: Option<i64>, events: usize) -> Append {
    let command_id = Uuid::now_v7();
    let event = || NewEvent {
        event_id: Uuid::now_v7(),
        event_type: "letter.sent".to_owned(),
        event_version: 1,
        payload: RawValue::from_string("{}".to_owned()).expect("it is JSON"),
    };
    Append {
        stream: stream(id),
        expected_sequence: expected,
        metadata: Metadata {
            actor: "user:test".to_owned(),
            command_id,
            correlation_id: command_id,
            causation_id: None,
            traceparent: None,
        },
        fingerprint: [1; 32],
        events: std::iter::repeat_with(event).take(events).collect(),
        claims: Vec::new(),
        counters: Vec::new(),
        facts: Vec::new(),
        guards: Vec::new(),
        outcome: None,
    }
}

fn counted(append: Append) -> Append {
    let counter = CounterChange { tenant_id: TENANT, name: "letters", delta: 1, maximum: None, expected: None };
    Append { counters: vec![counter], ..append }
}

fn named(append: Append, direction: Direction) -> Append {
    let claim = Claim { realm_id: TENANT, scope: "name", key: "ada".to_owned(), direction };
    Append { claims: vec![claim], ..append }
}

/// For each batch until nothing waits: the stream of each command and the place that it follows.
fn batches(appends: Vec<Append>) -> Vec<Vec<(u128, i32)>> {
    let mut held: VecDeque<_> = appends
        .into_iter()
        .map(|append| Waiting {
            sealed: Sealed::new(append, DateTime::UNIX_EPOCH).expect("metadata is plain data"),
            ticket: None,
            follows: 0,
            since: Instant::now(),
            answer: oneshot::channel().0,
        })
        .collect();
    let mut batches = Vec::new();
    while !held.is_empty() {
        let batch = take_batch(&mut held);
        batches.push(batch.iter().map(|w| (w.sealed.append.stream.aggregate_id.as_u128(), w.follows)).collect());
    }
    batches
}

#[test]
fn commands_of_one_stream_follow_each_other_in_one_batch() {
    let appends = vec![append(1, Some(0), 2), append(2, Some(5), 1), append(1, Some(2), 1), append(1, Some(3), 1)];
    assert_eq!(batches(appends), [[(1, 0), (2, 0), (1, 1), (1, 3)]]);
}

#[test]
fn a_command_that_does_not_fit_waits_and_so_do_those_behind_it() {
    let appends = vec![append(1, Some(0), 1), append(1, Some(9), 1), append(1, Some(1), 1), append(2, Some(0), 1)];
    assert_eq!(batches(appends), [vec![(1, 0), (2, 0)], vec![(1, 0)], vec![(1, 0)]]);
}

#[test]
fn a_counter_and_a_name_are_touched_once_in_a_batch() {
    let appends = vec![counted(append(1, Some(0), 1)), counted(append(1, Some(1), 1)), counted(append(2, Some(0), 1))];
    assert_eq!(batches(appends), [[(1, 0)], [(1, 0)], [(2, 0)]]);
    let appends = vec![
        named(append(1, Some(0), 1), Direction::Release),
        named(append(2, Some(0), 1), Direction::Take),
        append(3, Some(0), 1),
    ];
    assert_eq!(batches(appends), [vec![(1, 0), (3, 0)], vec![(2, 0)]]);
}

#[test]
fn the_same_command_twice_needs_two_batches() {
    let first = append(1, Some(0), 1);
    let again = Append { expected_sequence: Some(1), ..first.clone() };
    assert_eq!(batches(vec![first, again]), [[(1, 0)], [(1, 0)]]);
}

#[test]
fn what_another_guards_is_not_written_in_the_same_batch() {
    let guarded =
        |id, guarded| Append { guards: vec![Guard { stream: stream(guarded), sequence: 0 }], ..append(id, Some(0), 1) };
    assert_eq!(batches(vec![guarded(1, 2), append(2, Some(0), 1)]), [[(1, 0)], [(2, 0)]]);
    assert_eq!(batches(vec![append(2, Some(0), 1), guarded(1, 2)]), [[(2, 0)], [(1, 0)]]);
    assert_eq!(batches(vec![guarded(1, 3), guarded(2, 3)]), [[(1, 0), (2, 0)]]);
}

#[test]
fn what_only_keeps_an_outcome_is_in_nobody_s_way() {
    let appends = vec![append(1, Some(0), 1), append(1, None, 0), append(1, Some(1), 1)];
    assert_eq!(batches(appends), [[(1, 0), (1, 0), (1, 1)]]);
}

#[test]
fn a_batch_has_a_bound_on_commands_and_on_events() {
    let many = (0..600).map(|id| append(id, Some(0), 1)).collect();
    assert_eq!(batches(many).iter().map(Vec::len).collect::<Vec<_>>(), [512, 88]);
    let long = vec![append(1, Some(0), 3_000), append(2, Some(0), 3_000), append(1, Some(3_000), 1)];
    assert_eq!(batches(long), [vec![(1, 0), (1, 1)], vec![(2, 0)]]);
}
