//! Which of the commands that wait may share a batch.

use std::collections::{HashSet, VecDeque};

use uuid::Uuid;

use crate::{append::Append, event::StreamId};

use super::{BATCH_SIZE_MAX, Waiting};

/// Takes from the front of the queue what can be checked independently; what must wait keeps its order.
pub(super) fn take_batch(held: &mut VecDeque<Waiting>) -> Vec<Waiting> {
    let mut batch = Vec::with_capacity(held.len());
    let (mut written, mut read) = (HashSet::new(), HashSet::new());
    let mut later = VecDeque::new();
    while let Some(waiting) = held.pop_front() {
        let writes = Thing::written_by(&waiting.append);
        let reads = Thing::read_by(&waiting.append);
        let free = batch.len() < BATCH_SIZE_MAX
            && writes.iter().all(|thing| !written.contains(thing) && !read.contains(thing))
            && reads.iter().all(|thing| !written.contains(thing));
        // What waits also blocks: nobody overtakes on the same stream.
        written.extend(writes);
        read.extend(reads);
        if free {
            batch.push(waiting);
        } else {
            later.push_back(waiting);
        }
    }
    *held = later;
    batch
}

/// What commands can stand in each other's way about.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Thing {
    Stream(Uuid, &'static str, Uuid),
    Command(Uuid),
    Name(Uuid, &'static str, String),
    Counter(Uuid, &'static str),
}

impl Thing {
    fn written_by(append: &Append) -> Vec<Self> {
        [Self::stream(&append.stream), Self::Command(append.metadata.command_id)]
            .into_iter()
            .chain(append.claims.iter().map(|claim| Self::Name(claim.realm_id, claim.scope, claim.key.clone())))
            .chain(append.counters.iter().map(|counter| Self::Counter(counter.tenant_id, counter.name)))
            .collect()
    }

    fn read_by(append: &Append) -> Vec<Self> {
        append.guards.iter().map(|guard| Self::stream(&guard.stream)).collect()
    }

    fn stream(stream: &StreamId) -> Self {
        Self::Stream(stream.tenant_id, stream.aggregate_type, stream.aggregate_id)
    }
}
