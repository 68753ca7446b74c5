//! An aggregate whose events tell upon which state they were decided.

use std::collections::HashMap;

use cqrs_es::{Aggregate, DomainEvent, event_sink::EventSink};
use hub_event_store::{
    append::Accepted,
    event::StreamId,
    repository::{Effects, ExecuteError, Order, Prepared, Repository},
    store::EventStore,
};
use serde::{Deserialize, Serialize};
use sqlx::PgPool;
use uuid::Uuid;

use super::{TENANT, whole_log};

/// So many lines, and a number that every line changes and that depends on their order; wrong at once if a line is applied twice.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Diary {
    pub(super) lines: u64,
    pub(super) digest: u64,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", content = "data", rename_all = "snake_case")]
pub(super) enum Event {
    /// The line's number, and the digest of all before it, as the decision saw them.
    Written { number: u64, after: u64, text: String },
}

/// A text that begins with `@` takes this name in the tenant, one with a `#` moves a counter of the tenant; no diary has more lines than `lines_max`.
#[derive(Debug, Clone)]
pub(super) struct Write {
    pub(super) text: String,
    pub(super) lines_max: u64,
}

#[derive(Debug, thiserror::Error)]
#[error("the diary is full")]
pub(super) struct Full;

impl DomainEvent for Event {
    fn event_type(&self) -> String {
        "diary.written".to_owned()
    }

    fn event_version(&self) -> String {
        "1".to_owned()
    }
}

impl Aggregate for Diary {
    const TYPE: &'static str = "diary";
    type Command = Write;
    type Event = Event;
    type Error = Full;
    type Services = ();

    async fn handle(&mut self, write: Write, (): &(), sink: &EventSink<Self>) -> Result<(), Full> {
        if self.lines >= write.lines_max {
            return Err(Full);
        }
        sink.write(Event::Written { number: self.lines + 1, after: self.digest, text: write.text }, self).await;
        Ok(())
    }

    fn apply(&mut self, Event::Written { number, text, .. }: Event) {
        self.lines += 1;
        let bytes = text.bytes().map(u64::from).sum::<u64>();
        self.digest = self.digest.wrapping_mul(31).wrapping_add(number).wrapping_add(bytes);
    }
}

pub(super) fn effects(stream: &StreamId, _: &Diary, Event::Written { text, .. }: &Event) -> Effects {
    let mut effects = Effects::default();
    if let Some(name) = text.strip_prefix('@') {
        effects.take(stream.tenant_id, "diary_name", name.to_owned());
    }
    if text.contains('#') {
        effects.counters.push(("diary_lines", 1));
    }
    effects
}

pub(super) fn diaries(store: EventStore) -> Repository<Diary> {
    Repository::new(store, effects)
}

pub(super) fn line(text: &str) -> Write {
    Write { text: text.to_owned(), lines_max: u64::MAX }
}

pub(super) async fn write(
    diaries: &Repository<Diary>,
    id: Uuid,
    order: &Order,
    write: Write,
) -> Result<Accepted, ExecuteError<Full>> {
    diaries.execute(TENANT, id, order, |_| async { Ok(Prepared::new(write.clone())) }).await
}

/// Demands that the log is contiguous and that each event was decided upon exactly the state before it; answers how many there are.
pub(super) async fn assert_right(pool: &PgPool) -> usize {
    let events = whole_log(pool).await;
    super::assert_contiguous(&events);
    let mut diaries: HashMap<Uuid, (i64, Diary)> = HashMap::new();
    for event in &events {
        let (sequence, diary) = diaries.entry(event.aggregate_id).or_default();
        *sequence += 1;
        assert_eq!(event.sequence, *sequence);
        let line: Event = event.decode().unwrap();
        let Event::Written { number, after, .. } = &line;
        assert_eq!((*number, *after), (diary.lines + 1, diary.digest), "decided upon another state");
        diary.apply(line);
    }
    events.len()
}
