//! The aggregate that is written to under faults, and the read models that follow it: one is right, the others throw on purpose.

use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering},
};

use cqrs_es::{Aggregate, DomainEvent, event_sink::EventSink};
use hub_event_store::{
    event::{Recorded, StreamId},
    repository::Effects,
};
use hub_projections::{
    keyed::KeyedProjection,
    model::{AggregateKey, FoldError, OnPoison, ReadModel},
    projection::Projection,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

use super::oracle::Logged;

/// A tenant may have so many open ledgers.
pub(crate) const OPEN_MAX: i64 = 24;

/// The counter of open ledgers.
pub(crate) const COUNTER: &str = "ledgers";

/// The scope of their names.
pub(crate) const SCOPE: &str = "ledger";

/// Two of the read models cannot take in a posting of this amount.
pub(crate) const CURSED: i64 = 13;

/// So many folds still panic.
pub(crate) static PANICS: AtomicU32 = AtomicU32::new(0);

/// A ledger: opened under a name that is unique among the tenant's open ledgers, posted to, renamed, closed, opened again.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Ledger {
    name: Option<String>,
    total: i64,
}

#[derive(Debug, Clone)]
pub(crate) enum Command {
    Open { name: String },
    Post { amount: i64, times: i64 },
    Rename { name: String },
    Close,
}

/// A command and the mark that its events bear.
#[derive(Debug, Clone)]
pub(crate) struct Marked {
    pub(crate) mark: Uuid,
    pub(crate) command: Command,
}

/// Which of how many events of which command.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Part {
    mark: Uuid,
    part: i64,
    parts: i64,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", content = "data", rename_all = "snake_case")]
pub(crate) enum Event {
    Opened {
        #[serde(flatten)]
        part: Part,
        name: String,
    },
    Posted {
        #[serde(flatten)]
        part: Part,
        amount: i64,
        total: i64,
    },
    Renamed {
        #[serde(flatten)]
        part: Part,
        from: String,
        to: String,
    },
    Closed {
        #[serde(flatten)]
        part: Part,
        name: String,
    },
}

#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub(crate) enum Refusal {
    #[error("the ledger is not open")]
    NotOpen,
    #[error("the ledger is open")]
    Open,
    #[error("the ledger has that name")]
    SameName,
}

impl DomainEvent for Event {
    fn event_type(&self) -> String {
        match self {
            Self::Opened { .. } => "ledger.opened",
            Self::Posted { .. } => "ledger.posted",
            Self::Renamed { .. } => "ledger.renamed",
            Self::Closed { .. } => "ledger.closed",
        }
        .to_owned()
    }

    fn event_version(&self) -> String {
        "1".to_owned()
    }
}

impl Aggregate for Ledger {
    const TYPE: &'static str = "ledger";
    type Command = Marked;
    type Event = Event;
    type Error = Refusal;
    type Services = ();

    async fn handle(&mut self, marked: Marked, (): &(), sink: &EventSink<Self>) -> Result<(), Refusal> {
        let part = |part, parts| Part { mark: marked.mark, part, parts };
        match (marked.command, self.name.clone()) {
            (Command::Open { .. }, Some(_)) => return Err(Refusal::Open),
            (Command::Open { name }, None) => sink.write(Event::Opened { part: part(1, 1), name }, self).await,
            (_, None) => return Err(Refusal::NotOpen),
            (Command::Post { amount, times }, Some(_)) => {
                for time in 1..=times {
                    // The sink applies each event, so the total is that of the event before.
                    let total = self.total + amount;
                    sink.write(Event::Posted { part: part(time, times), amount, total }, self).await;
                }
            }
            (Command::Rename { name }, Some(from)) if name == from => return Err(Refusal::SameName),
            (Command::Rename { name }, Some(from)) => {
                sink.write(Event::Renamed { part: part(1, 1), from, to: name }, self).await;
            }
            (Command::Close, Some(name)) => sink.write(Event::Closed { part: part(1, 1), name }, self).await,
        }
        Ok(())
    }

    fn apply(&mut self, event: Event) {
        match event {
            Event::Opened { name, .. } | Event::Renamed { to: name, .. } => self.name = Some(name),
            Event::Posted { total, .. } => self.total = total,
            Event::Closed { .. } => self.name = None,
        }
    }
}

/// What an event takes, gives back and counts.
pub(crate) fn effects(stream: &StreamId, _before: &Ledger, event: &Event) -> Effects {
    let mut effects = Effects::default();
    match event {
        Event::Opened { name, .. } => {
            effects.take(stream.tenant_id, SCOPE, name.clone());
            effects.counters.push((COUNTER, 1));
        }
        Event::Renamed { from, to, .. } => {
            effects.release(stream.tenant_id, SCOPE, from.clone());
            effects.take(stream.tenant_id, SCOPE, to.clone());
        }
        Event::Closed { name, .. } => {
            effects.release(stream.tenant_id, SCOPE, name.clone());
            effects.counters.push((COUNTER, -1));
        }
        Event::Posted { .. } => {}
    }
    effects
}

/// The event as the oracle reads it: from the stored bytes, not through the aggregate.
pub(crate) fn logged(event: &Recorded) -> Logged {
    let payload: Value = serde_json::from_str(event.payload.get()).expect("a payload is JSON");
    let metadata: Value = serde_json::from_str(event.metadata.get()).expect("metadata is JSON");
    let number = |name: &str| payload[name].as_i64();
    let text = |name: &str| payload[name].as_str().map(str::to_owned);
    let id = |value: &Value| value.as_str().and_then(|text| text.parse::<Uuid>().ok());
    let taken = |name: &str| text(name).map(|name| (name, true));
    let given_back = |name: &str| text(name).map(|name| (name, false));
    let (names, counted) = match event.event_type.as_str() {
        "ledger.opened" => (vec![taken("name")], 1),
        "ledger.renamed" => (vec![given_back("from"), taken("to")], 0),
        "ledger.closed" => (vec![given_back("name")], -1),
        _ => (Vec::new(), 0),
    };
    Logged {
        position: event.position,
        tenant_position: event.tenant_position,
        tenant_id: event.tenant_id,
        kind: event.aggregate_type.clone(),
        stream: event.aggregate_id,
        sequence: event.sequence,
        intact: event.leaf_hash == event.computed_leaf_hash(),
        command_id: id(&metadata["command_id"]).expect("every event has a command id"),
        mark: id(&payload["mark"]),
        part: number("part").zip(number("parts")),
        total: number("amount").zip(number("total")),
        names: names.into_iter().flatten().collect(),
        counted,
    }
}

/// How many events a ledger has and the sum of its postings; how it takes a cursed one depends on the kind.
pub(crate) struct Sums<const KIND: u8>;

/// Takes in everything.
pub(crate) const RIGHT: u8 = 0;
/// Parks the stream of a cursed posting.
pub(crate) const PARKING: u8 = 1;
/// Stops at the first cursed posting.
pub(crate) const STOPPING: u8 = 2;
/// Panics now and then, by [`PANICS`].
pub(crate) const PANICKING: u8 = 3;

/// By kind.
pub(crate) const NAMES: [&str; 4] = ["sums_right", "sums_parking", "sums_stopping", "sums_panicking"];

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct SumsRow {
    tenant_id: Uuid,
    id: Uuid,
    count: i64,
    sum: i64,
    last: i64,
}

impl<const KIND: u8> ReadModel for Sums<KIND> {
    type Row = SumsRow;
    type Key = AggregateKey;
    const NAME: &'static str = NAMES[KIND as usize];
    const TABLE: &'static str = NAMES[KIND as usize];
    const KEY: &'static [&'static str] = AggregateKey::COLUMNS;
    const ON_POISON: OnPoison = if KIND == STOPPING { OnPoison::Stop } else { OnPoison::Park };

    fn concerns(event_type: &str) -> bool {
        event_type.starts_with("ledger.")
    }

    fn key_of(row: &SumsRow) -> AggregateKey {
        AggregateKey { tenant_id: row.tenant_id, id: row.id }
    }

    fn keys(event: &Recorded) -> Result<Vec<AggregateKey>, FoldError> {
        Ok(vec![AggregateKey::of(event)])
    }

    fn fold(row: Option<SumsRow>, key: &AggregateKey, event: &Recorded) -> Result<Option<SumsRow>, FoldError> {
        let payload: Value =
            serde_json::from_str(event.payload.get()).map_err(|error| FoldError::OutOfRange(error.to_string()))?;
        let amount = payload["amount"].as_i64().unwrap_or(0);
        if amount == CURSED && (KIND == PARKING || KIND == STOPPING) {
            return Err(FoldError::OutOfRange("the posting is cursed".to_owned()));
        }
        let spend = |left: u32| left.checked_sub(1);
        if KIND == PANICKING && PANICS.fetch_update(Ordering::SeqCst, Ordering::SeqCst, spend).is_ok() {
            panic!("the fold throws, as the test has told it to");
        }
        let (count, sum) = row.map_or((0, 0), |row| (row.count, row.sum));
        let (tenant_id, id) = (key.tenant_id, key.id);
        Ok(Some(SumsRow { tenant_id, id, count: count + 1, sum: sum + amount, last: event.position }))
    }
}

/// All four.
pub(crate) fn projections() -> Vec<Arc<dyn Projection>> {
    vec![
        Arc::new(KeyedProjection::<Sums<RIGHT>>::new()),
        Arc::new(KeyedProjection::<Sums<PARKING>>::new()),
        Arc::new(KeyedProjection::<Sums<STOPPING>>::new()),
        Arc::new(KeyedProjection::<Sums<PANICKING>>::new()),
    ]
}

/// The statement that makes the table of a kind.
pub(crate) fn table(name: &str) -> String {
    format!(
        "CREATE TABLE {name} (tenant_id uuid, id uuid, count bigint NOT NULL, sum bigint NOT NULL, last bigint NOT NULL, \
         PRIMARY KEY (tenant_id, id))"
    )
}
