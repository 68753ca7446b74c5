//! Read models as a part of the log leads to them, beside the live tables: folded in memory by the rules of every rebuild, looked at, and
//! written to tables that nobody else knows.
//!
//! The caller chooses the events (of one tenant, of one stream, up to some moment); here is decided which read model takes in which of them.
//! What somebody left out of a read model for good is left out here, too.

mod explain;
mod row;
pub(crate) mod scratch;
mod state;

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use hub_event_store::{event::Recorded, upcast::Upcasters};
use serde_json::Value;
use sqlx::PgConnection;

pub use self::{
    explain::{Explainer, Step, Steps, changed},
    row::{RowError, fold},
    scratch::{Compared, KeptSchema, SCHEMA_COUNT_MAX, Scratch, Written, compare, drop_schema, kept_schemas},
    state::{AGGREGATE_TYPES, AggregateState, AggregateType},
};

use crate::{
    parked,
    projection::{ApplyError, Difference, Projection},
    reached::Reached,
    rebuild::{self, fold::Folding},
    verify::Omitted,
};

/// About so many bytes of rows are held in memory; rows that no later event changes leave it before that.
pub const MEMORY_MAX: usize = rebuild::MEMORY_MAX;

/// Why a part of the log cannot be replayed.
#[derive(Debug, thiserror::Error)]
pub enum HistoryError {
    /// A read model that must not have holes met an event that it cannot take in.
    #[error("{projection} cannot take in the event at position {position} of the platform's log: {reason}")]
    Poison { projection: &'static str, position: i64, reason: String },
    /// The rows do not fit.
    #[error("the rows need more than {MEMORY_MAX} bytes of memory")]
    TooLarge,
    /// PostgreSQL refuses the rows.
    #[error("{projection} cannot be written: {source}")]
    Refused { projection: &'static str, source: ApplyError },
    /// The login may not make a schema.
    #[error("the login of this program may not make a schema: GRANT CREATE ON DATABASE .. TO it")]
    NotAllowed,
    /// PostgreSQL does not answer.
    #[error("PostgreSQL: {0}")]
    Database(#[from] sqlx::Error),
}

/// Read models in memory.
#[derive(Debug)]
pub struct History {
    models: Vec<Model>,
    upcasters: Upcasters,
    /// Which of `models` want events of a type; asked once a type.
    wanted: HashMap<String, Arc<[usize]>>,
}

/// One read model in memory.
#[derive(Debug)]
pub struct Model {
    projection: Arc<dyn Projection>,
    folding: Folding,
    /// Nothing that this does not cover is taken in.
    until: Option<Reached>,
    left_out_count: usize,
}

impl History {
    /// Empty read models that take in whatever comes.
    ///
    /// # Errors
    /// When PostgreSQL does not answer.
    pub async fn begin(
        connection: &mut PgConnection,
        projections: &[Arc<dyn Projection>],
        upcasters: &Upcasters,
    ) -> Result<Self, sqlx::Error> {
        let mut models = Vec::with_capacity(projections.len());
        for projection in projections {
            let skipped = Arc::new(parked::discarded(connection, projection.name()).await?);
            models.push(Model::new(projection, upcasters, skipped, None));
        }
        Ok(Self::of(models, upcasters))
    }

    /// Empty read models that take in what the live ones have taken in, as the transaction of `connection` sees them: each up to its own
    /// checkpoint, without what is parked.
    ///
    /// # Errors
    /// When PostgreSQL does not answer.
    pub async fn as_live(
        connection: &mut PgConnection,
        projections: &[Arc<dyn Projection>],
        upcasters: &Upcasters,
    ) -> Result<Self, sqlx::Error> {
        let mut models = Vec::with_capacity(projections.len());
        for projection in projections {
            let reached = Reached::read(connection, projection.name()).await?;
            let omitted = Omitted::read(connection, projection.name()).await?;
            models.push(Model::new(projection, upcasters, Arc::new(omitted.positions()), Some(reached)));
        }
        Ok(Self::of(models, upcasters))
    }

    fn of(models: Vec<Model>, upcasters: &Upcasters) -> Self {
        Self { models, upcasters: upcasters.clone(), wanted: HashMap::new() }
    }

    /// The read models.
    #[must_use]
    pub fn models(&self) -> &[Model] {
        &self.models
    }

    /// Takes in events, in order.
    ///
    /// # Errors
    /// When a read model that must not have holes cannot take one in.
    pub fn take_in(&mut self, events: &[Recorded]) -> Result<(), HistoryError> {
        let mut taken: Vec<Vec<Recorded>> = self.models.iter().map(|_| Vec::new()).collect();
        for event in events {
            for place in self.wanting(&event.event_type).iter().copied() {
                if self.models[place].takes(event) {
                    taken[place].push(event.clone());
                }
            }
        }
        self.models.iter_mut().zip(taken).try_for_each(|(model, events)| model.take_in(events))
    }

    fn wanting(&mut self, event_type: &str) -> Arc<[usize]> {
        if let Some(places) = self.wanted.get(event_type) {
            return places.clone();
        }
        let lifted = self.upcasters.lifts(event_type);
        let wants = |model: &Model| lifted || model.projection.concerns_type(event_type);
        let places: Arc<[usize]> = (0..self.models.len()).filter(|place| wants(&self.models[*place])).collect();
        self.wanted.insert(event_type.to_owned(), places.clone());
        places
    }

    /// The keys of an event's rows, read model by read model.
    #[must_use]
    pub fn keys_of(&self, event: &Recorded) -> Vec<(&Model, Value)> {
        let models = self.models.iter().filter(|model| model.takes(event) && model.projection.concerns(event));
        let keys = models.flat_map(|model| {
            let keys = model.projection.keys(event).unwrap_or_default();
            keys.into_iter().map(move |key| (model, key))
        });
        keys.collect()
    }

    fn byte_count(&self) -> usize {
        self.models.iter().map(|model| model.folding.table.byte_count()).sum()
    }
}

impl Model {
    fn new(
        projection: &Arc<dyn Projection>,
        upcasters: &Upcasters,
        skipped: Arc<HashSet<i64>>,
        until: Option<Reached>,
    ) -> Self {
        let folding = Folding::new(projection.clone(), upcasters.clone(), skipped);
        Self { projection: projection.clone(), folding, until, left_out_count: 0 }
    }

    /// The projection that keeps the live one.
    #[must_use]
    pub fn projection(&self) -> &Arc<dyn Projection> {
        &self.projection
    }

    /// The row under a key, as long as it is in memory.
    #[must_use]
    pub fn row(&self, key: &Value) -> Option<Value> {
        self.folding.table.row(key)
    }

    /// A difference with its rows as [`Model::row`] writes them; what is no row of this program stays as it was stored.
    #[must_use]
    pub fn written(&self, row: &Difference) -> Difference {
        let written = |row: &Option<Value>| row.as_ref().map(|row| self.projection.row_of(row).unwrap_or(row.clone()));
        Difference { key: row.key.clone(), found: written(&row.found), expected: written(&row.expected) }
    }

    /// How many events could not be taken in, or came after such a one in their stream.
    #[must_use]
    pub fn unreadable_count(&self) -> usize {
        self.folding.parked.len()
    }

    /// How many events were left out, because somebody has left them out for good or the live read model has them parked.
    #[must_use]
    pub const fn left_out_count(&self) -> usize {
        self.left_out_count
    }

    /// The position of the platform's log up to which the live read model has taken in everything; `None` when this one does not follow it.
    #[must_use]
    pub fn live_position(&self) -> Option<i64> {
        self.until.as_ref().map(Reached::lowest)
    }

    fn takes(&self, event: &Recorded) -> bool {
        self.until.as_ref().is_none_or(|until| until.covers(event))
    }

    fn take_in(&mut self, events: Vec<Recorded>) -> Result<(), HistoryError> {
        let skipped = &self.folding.skipped;
        if !skipped.is_empty() {
            self.left_out_count += events.iter().filter(|event| skipped.contains(&event.position)).count();
        }
        let projection = self.projection.name();
        let taken = self.folding.take_in(events);
        taken.map_err(|poison| HistoryError::Poison { projection, position: poison.position, reason: poison.reason })
    }
}
