//! The oracle is tried itself: a history that is right passes, and each way to spoil it is objected to.

use uuid::Uuid;

use super::{
    history::{Answer, History, Receipt, Sent},
    oracle::{Logged, Objection, Oracle},
};

const TENANT: Uuid = Uuid::from_u128(7);

fn event(position: i64, stream: u128, sequence: i64, mark: u128, part: (i64, i64)) -> Logged {
    Logged {
        position,
        tenant_position: position,
        tenant_id: TENANT,
        kind: "ledger".to_owned(),
        stream: Uuid::from_u128(stream),
        sequence,
        intact: true,
        command_id: Uuid::from_u128(mark),
        mark: Some(Uuid::from_u128(mark)),
        part: Some(part),
        total: None,
        names: Vec::new(),
        counted: 0,
    }
}

fn receipt(stream: u128, sequence: i64, event_count: i32, position: i64) -> Receipt {
    Receipt { stream: Uuid::from_u128(stream), sequence, event_count, position: Some(position) }
}

/// Two streams: 11 opens the first with a name, 12 posts twice to it, 13 is refused, 14 opens the second, 15 got no answer and is there,
/// 16 got none and is not.
fn history() -> (Vec<Logged>, Vec<Sent>) {
    let mut log = vec![
        event(1, 1, 1, 11, (1, 1)),
        event(2, 1, 2, 12, (1, 2)),
        event(3, 1, 3, 12, (2, 2)),
        event(4, 2, 1, 14, (1, 1)),
        event(5, 2, 2, 15, (1, 1)),
    ];
    log[0].names = vec![("ada".to_owned(), true)];
    log[3].names = vec![("bob".to_owned(), true)];
    (log[0].counted, log[3].counted) = (1, 1);
    (log[1].total, log[2].total) = (Some((5, 5)), Some((5, 10)));
    let memory = History::default();
    let mark = Uuid::from_u128;
    for (number, told) in [
        (11, Some(receipt(1, 1, 1, 1))),
        (12, Some(receipt(1, 3, 2, 3))),
        (13, None),
        (14, Some(receipt(2, 1, 1, 4))),
        (15, None),
        (16, None),
    ] {
        memory.sending(mark(number));
        match told {
            Some(receipt) => memory.acknowledged(mark(number), receipt),
            None if number == 13 => memory.refused(mark(number), "closed".to_owned()),
            None => {}
        }
    }
    let (mut sent, contradictions) = memory.take();
    assert!(contradictions.is_empty());
    sent.sort_by_key(|sent| sent.mark);
    (log, sent)
}

/// What is objected to after `spoil`.
fn objections(spoil: impl FnOnce(&mut Vec<Logged>, &mut Vec<Sent>)) -> Vec<Objection> {
    let (mut log, mut sent) = history();
    spoil(&mut log, &mut sent);
    Oracle::new(2).judge(&log, &sent)
}

/// Puts the events where they are in the list, as a store would that has done wrong but counts right.
fn renumber(log: &mut [Logged]) {
    for (position, event) in (1..).zip(log.iter_mut()) {
        (event.position, event.tenant_position) = (position, position);
    }
    for stream in [1, 2].map(Uuid::from_u128) {
        for (sequence, event) in (1..).zip(log.iter_mut().filter(|event| event.stream == stream)) {
            event.sequence = sequence;
        }
    }
}

/// Demands that what `spoil` does is objected to, and for the right reason.
fn objects(reason: fn(&Objection) -> bool, spoil: impl FnOnce(&mut Vec<Logged>, &mut Vec<Sent>)) {
    let objections = objections(spoil);
    assert!(objections.iter().any(reason), "{objections:?}");
}

#[test]
fn a_right_history_is_not_objected_to() {
    assert_eq!(objections(|_, _| {}), []);
}

#[test]
fn an_acknowledged_command_that_is_gone_is_lost_even_without_a_gap() {
    objects(
        |objection| matches!(objection, Objection::Lost { .. }),
        |log, _| {
            log.remove(0);
            renumber(log);
        },
    );
}

#[test]
fn a_hole_in_the_log_is_noticed_in_all_three_orders() {
    let spoil = |log: &mut Vec<Logged>, _: &mut Vec<Sent>| drop(log.remove(1));
    objects(|objection| matches!(objection, Objection::Position { after: 1, found: 3 }), spoil);
    objects(|objection| matches!(objection, Objection::TenantPosition { after: 1, found: 3, .. }), spoil);
    objects(|objection| matches!(objection, Objection::Sequence { after: 1, found: 3, .. }), spoil);
}

#[test]
fn half_a_command_is_noticed() {
    objects(
        |objection| matches!(objection, Objection::Torn { .. }),
        |log, _| {
            log.remove(2);
            renumber(log);
        },
    );
}

#[test]
fn a_command_that_was_done_twice_is_noticed() {
    objects(
        |objection| matches!(objection, Objection::Twice { .. }),
        |log, _| {
            log.push(log[4].clone());
            renumber(log);
        },
    );
    // Also when it was the same order under another command id.
    objects(|objection| matches!(objection, Objection::Twice { .. }), |log, _| log[2].command_id = Uuid::from_u128(99));
}

#[test]
fn events_that_changed_places_are_noticed() {
    objects(|objection| matches!(objection, Objection::Position { .. }), |log, _| log.swap(1, 3));
    objects(
        |objection| matches!(objection, Objection::OutOfOrder { .. }),
        |log, _| {
            log.swap(0, 3);
            renumber(log);
        },
    );
}

#[test]
fn a_command_that_stands_elsewhere_than_its_receipt_says_is_noticed() {
    objects(
        |objection| matches!(objection, Objection::Elsewhere { .. }),
        |_, sent| sent[0].answer = Answer::Acknowledged { receipt: receipt(1, 2, 1, 1), at: 1 },
    );
}

#[test]
fn a_refused_command_that_is_there_is_noticed() {
    objects(
        |objection| matches!(objection, Objection::RefusedButThere { .. }),
        |_, sent| sent[4].answer = Answer::Refused("closed".to_owned()),
    );
}

#[test]
fn an_event_that_nobody_sent_is_noticed() {
    objects(|objection| matches!(objection, Objection::SentByNobody { .. }), |_, sent| drop(sent.remove(4)));
}

#[test]
fn a_name_held_twice_or_given_back_by_a_stranger_is_noticed() {
    objects(
        |objection| matches!(objection, Objection::NameHeldTwice { .. }),
        |log, _| log[3].names = vec![("ada".to_owned(), true)],
    );
    objects(
        |objection| matches!(objection, Objection::NameNotHeld { .. }),
        |log, _| log[4].names = vec![("ada".to_owned(), false)],
    );
}

#[test]
fn a_counter_above_its_maximum_is_noticed() {
    objects(|objection| matches!(objection, Objection::Counter { value: 3, .. }), |log, _| log[4].counted = 1);
}

#[test]
fn a_decision_on_an_old_state_is_noticed() {
    objects(|objection| matches!(objection, Objection::StaleDecision { .. }), |log, _| log[2].total = Some((5, 5)));
}

#[test]
fn an_event_that_was_changed_is_noticed() {
    objects(|objection| matches!(objection, Objection::Changed { position: 3 }), |log, _| log[2].intact = false);
}

#[test]
fn two_answers_to_one_command_contradict_each_other() {
    let memory = History::default();
    let mark = Uuid::from_u128(1);
    memory.sending(mark);
    memory.acknowledged(mark, receipt(1, 1, 1, 1));
    memory.acknowledged(mark, receipt(1, 1, 1, 1));
    memory.acknowledged(mark, receipt(1, 2, 1, 2));
    assert_eq!(memory.take().1.len(), 1);
}
