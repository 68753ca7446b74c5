//! What the clients sent, when, and what they were told.

use std::{
    collections::HashMap,
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering},
    },
};

use uuid::Uuid;

/// Where an accepted command stands, as its sender was told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Receipt {
    pub(crate) stream: Uuid,
    pub(crate) sequence: i64,
    pub(crate) event_count: i32,
    /// Not every sender is told.
    pub(crate) position: Option<i64>,
}

/// What a sender knows of its command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Answer {
    /// No answer, or one that leaves open what happened.
    Unknown,
    Refused(String),
    Acknowledged {
        receipt: Receipt,
        /// The tick of the first acknowledgement.
        at: u64,
    },
}

/// A command as its sender remembers it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Sent {
    /// What its events in the log bear.
    pub(crate) mark: Uuid,
    /// The tick before it was first sent.
    pub(crate) first_sent_at: u64,
    pub(crate) answer: Answer,
}

/// The memory of all clients. Its ticks are in the order of real time: what was noted later has a higher one.
#[derive(Debug, Default)]
pub(crate) struct History {
    ticks: AtomicU64,
    sent: Mutex<HashMap<Uuid, Sent>>,
    contradictions: Mutex<Vec<String>>,
}

impl History {
    fn tick(&self) -> u64 {
        self.ticks.fetch_add(1, Ordering::SeqCst)
    }

    /// Notes that the command is about to be sent, for the first time or again.
    pub(crate) fn sending(&self, mark: Uuid) {
        let first_sent_at = self.tick();
        self.sent.lock().unwrap().entry(mark).or_insert(Sent { mark, first_sent_at, answer: Answer::Unknown });
    }

    pub(crate) fn acknowledged(&self, mark: Uuid, receipt: Receipt) {
        let at = self.tick();
        let mut sent = self.sent.lock().unwrap();
        let known = &mut sent.get_mut(&mark).expect("it was sent before").answer;
        match known {
            Answer::Acknowledged { receipt: first, .. } if *first != receipt => {
                self.contradiction(format!("{mark} was answered with {first:?} and then with {receipt:?}"));
            }
            Answer::Acknowledged { .. } => {}
            // Of two copies on the way at once one may be refused before the other is accepted; the log has the last word.
            Answer::Unknown | Answer::Refused(_) => *known = Answer::Acknowledged { receipt, at },
        }
    }

    pub(crate) fn refused(&self, mark: Uuid, reason: String) {
        let mut sent = self.sent.lock().unwrap();
        let known = &mut sent.get_mut(&mark).expect("it was sent before").answer;
        if *known == Answer::Unknown {
            *known = Answer::Refused(reason);
        }
    }

    pub(crate) fn answer(&self, mark: Uuid) -> Answer {
        self.sent.lock().unwrap().get(&mark).map_or(Answer::Unknown, |sent| sent.answer.clone())
    }

    /// Notes that one sender was told two things that cannot both be true.
    pub(crate) fn contradiction(&self, what: String) {
        let mut contradictions = self.contradictions.lock().unwrap();
        if contradictions.len() < 20 {
            contradictions.push(what);
        }
    }

    /// Hands everything over and begins anew; ticks go on.
    pub(crate) fn take(&self) -> (Vec<Sent>, Vec<String>) {
        let sent = std::mem::take(&mut *self.sent.lock().unwrap());
        let contradictions = std::mem::take(&mut *self.contradictions.lock().unwrap());
        (sent.into_values().collect(), contradictions)
    }
}
