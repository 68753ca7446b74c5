//! The last events of one tenant, in memory and without gaps.

use std::{collections::VecDeque, sync::Arc};

use super::message::Rendered;
use crate::recorded::Most;

/// Events in a row. Whoever is behind them reads PostgreSQL.
#[derive(Debug, Default)]
pub(crate) struct Ring {
    events: VecDeque<Arc<Rendered>>,
    bytes: usize,
}

impl Ring {
    /// Adds the next event. When it is not the next one, those before it are forgotten: the ring has no gaps.
    pub(crate) fn push(&mut self, event: Arc<Rendered>) {
        if self.events.back().is_some_and(|last| last.position() + 1 != event.position()) {
            *self = Self::default();
        }
        self.bytes += event.size();
        self.events.push_back(event);
    }

    /// Forgets the oldest event.
    pub(crate) fn pop(&mut self) {
        if let Some(event) = self.events.pop_front() {
            self.bytes -= event.size();
        }
    }

    /// The position of the oldest event.
    pub(crate) fn oldest(&self) -> Option<i64> {
        self.events.front().map(|event| event.position())
    }

    pub(crate) fn len(&self) -> usize {
        self.events.len()
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// The events after a position, so much at most; `None` when the ring does not have the first of them.
    pub(crate) fn after(&self, position: i64, most: Most) -> Option<Vec<Arc<Rendered>>> {
        let skipped = usize::try_from(position + 1 - self.oldest()?).ok()?;
        let mut room = most;
        let fits = |event: &&Arc<Rendered>| room.take(event.size());
        Some(self.events.iter().skip(skipped).take_while(fits).cloned().collect())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use chrono::DateTime;
    use hub_cloudevents::Event;
    use serde_json::value::RawValue;
    use uuid::Uuid;

    use super::{Most, Rendered, Ring};

    fn event(position: i64) -> Arc<Rendered> {
        Arc::new(Rendered::new(Event {
            tenant_id: Uuid::nil(),
            position,
            event_id: Uuid::nil(),
            event_type: "tenant.renamed".to_owned(),
            event_version: 1,
            aggregate_type: "tenant".to_owned(),
            aggregate_id: Uuid::nil(),
            sequence: position,
            occurred_at: DateTime::UNIX_EPOCH,
            data: RawValue::NULL.to_owned(),
            metadata: None,
        }))
    }

    fn positions(ring: &Ring, after: i64, count: usize) -> Option<Vec<i64>> {
        Some(ring.after(after, Most { count, bytes: 1 << 20 })?.iter().map(|event| event.position()).collect())
    }

    #[test]
    fn it_answers_only_what_it_has_from_the_first_event_on() {
        let mut ring = Ring::default();
        assert_eq!(positions(&ring, 0, 9), None);
        for position in 5..=8 {
            ring.push(event(position));
        }
        assert_eq!(positions(&ring, 3, 9), None, "the fourth is not there");
        assert_eq!(positions(&ring, 4, 9), Some(vec![5, 6, 7, 8]));
        assert_eq!(positions(&ring, 6, 1), Some(vec![7]));
        assert_eq!(positions(&ring, 8, 9), Some(vec![]));
        let bytes = event(5).size() + 1;
        assert_eq!(ring.after(4, Most { count: 9, bytes }).unwrap().len(), 2, "the last one may be too large");
        ring.pop();
        assert_eq!((positions(&ring, 4, 9), ring.len()), (None, 3));
    }

    #[test]
    fn a_gap_makes_it_begin_anew() {
        let mut ring = Ring::default();
        for position in [1, 2, 4] {
            ring.push(event(position));
        }
        assert_eq!((ring.oldest(), ring.len(), ring.bytes()), (Some(4), 1, event(4).size()));
    }
}
