//! Which of the commands that wait may share a batch, and which of them follow each other on one stream.

use std::collections::{HashMap, HashSet, VecDeque};

use uuid::Uuid;

use crate::{append::Append, event::StreamId};

use super::{BATCH_SIZE_MAX, Waiting};

/// At most so many events are in one batch, unless a single command has more.
const BATCH_EVENT_COUNT_MAX: usize = 4_096;

/// Takes from the front of the queue what can be checked independently, and what follows on one stream upon what is taken already. What
/// must wait keeps its order. Each command taken is told the place (from 1) of the one that it follows, 0 if there is none.
pub(super) fn take_batch(held: &mut VecDeque<Waiting>) -> Vec<Waiting> {
    let mut batch: Vec<Waiting> = Vec::with_capacity(held.len().min(BATCH_SIZE_MAX));
    let mut touched = Touched::default();
    let mut later = VecDeque::new();
    let mut event_count = 0;
    while batch.len() < BATCH_SIZE_MAX
        && let Some(mut waiting) = held.pop_front()
    {
        let append = &waiting.sealed.append;
        let fits = batch.is_empty() || event_count + append.events.len() <= BATCH_EVENT_COUNT_MAX;
        let place = i32::try_from(batch.len() + 1).expect("a batch is small");
        match touched.enter(append, fits.then_some(place)) {
            Some(follows) => {
                event_count += append.events.len();
                waiting.follows = follows;
                batch.push(waiting);
            }
            None => later.push_back(waiting),
        }
    }
    later.append(held);
    *held = later;
    batch
}

/// What the commands looked at so far write and read.
#[derive(Default)]
struct Touched {
    streams: HashMap<StreamId, Last>,
    guarded: HashSet<StreamId>,
    written: HashSet<Thing>,
}

/// The last command on a stream.
#[derive(Clone, Copy)]
enum Last {
    /// It is in the batch at this place and leaves the stream at this sequence.
    Taken { place: i32, leaves: Option<i64> },
    /// It waits.
    Waits,
}

/// What else commands can stand in each other's way about.
#[derive(Debug, PartialEq, Eq, Hash)]
enum Thing {
    Command(Uuid),
    Name(Uuid, &'static str, String),
    Counter(Uuid, &'static str),
}

impl Touched {
    /// Adds a command; answers the place of the one that it follows if it may take `place` in the batch. What may not also blocks:
    /// nobody overtakes on the same thing.
    fn enter(&mut self, append: &Append, place: Option<i32>) -> Option<i32> {
        // A command that neither expects a sequence nor adds to it has nothing to do with the stream.
        let moves = append.expected_sequence.is_some();
        let follows = match self.streams.get(&append.stream) {
            _ if !moves => Some(0),
            None => Some(0),
            Some(Last::Taken { place, leaves }) if *leaves == append.expected_sequence => Some(*place),
            Some(Last::Taken { .. } | Last::Waits) => None,
        };
        let mut free = place.is_some()
            && !(moves && self.guarded.contains(&append.stream))
            && append.guards.iter().all(|guard| !self.streams.contains_key(&guard.stream));
        for thing in Thing::written_by(append) {
            // A command may well name a thing twice, but of its own it is not in the way.
            free &= !self.written.contains(&thing);
        }
        self.written.extend(Thing::written_by(append));
        self.guarded.extend(append.guards.iter().map(|guard| guard.stream.clone()));
        let taken = place.filter(|_| free).zip(follows);
        if moves {
            let last = taken.map_or(Last::Waits, |(place, _)| Last::Taken { place, leaves: leaves(append) });
            self.streams.insert(append.stream.clone(), last);
        }
        taken.map(|(_, follows)| follows)
    }
}

fn leaves(append: &Append) -> Option<i64> {
    append.expected_sequence?.checked_add(i64::try_from(append.events.len()).ok()?)
}

impl Thing {
    fn written_by(append: &Append) -> impl Iterator<Item = Self> {
        let names = append.claims.iter().map(|claim| Self::Name(claim.realm_id, claim.scope, claim.key.clone()));
        let counters = append.counters.iter().map(|counter| Self::Counter(counter.tenant_id, counter.name));
        std::iter::once(Self::Command(append.metadata.command_id)).chain(names).chain(counters)
    }
}

#[cfg(test)]
mod tests;
