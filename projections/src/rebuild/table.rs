//! Filling a table that is not live: in memory as long as it fits, then row by row in PostgreSQL. Rows that no later event changes
//! need not stay in memory and always fit.

use std::{collections::HashSet, sync::Arc};

use hub_event_store::{event::Recorded, log::Log, scan::Scan, upcast::Upcasters};
use sqlx::{PgConnection, PgPool};

use crate::{
    delivery::Delivery,
    incoming::Incoming,
    parked::{ParkedEvent, Parking},
    projection::{ApplyError, Indexes, Projection, Target},
    reached::Reached,
};

use super::{
    PARKED_COUNT_MAX, RebuildError,
    fold::{Folding, wanted},
    state::Found,
};

/// So many events are folded and written at once when the table is in PostgreSQL.
pub(crate) const BATCH_SIZE: usize = 5_000;

/// A table that is filled from the log.
#[derive(Debug)]
pub(crate) struct Filling {
    pool: PgPool,
    log: Log,
    upcasters: Upcasters,
    projection: Arc<dyn Projection>,
    target: Target,
    /// Where the rows are, until they are written.
    memory: Option<Folding>,
    memory_max: usize,
    /// So many rows have left the memory.
    written: i64,
    /// Every event up to and with this one is in the table, or parked, or left out.
    pub(crate) position: i64,
    parking: Parking,
    pub(crate) parked: Vec<ParkedEvent>,
    skipped: Arc<HashSet<i64>>,
    /// What is in the table beyond `position`.
    reached: Reached,
    /// Nothing that this does not cover is taken in.
    until: Option<Reached>,
}

/// Where a filling was, to go back to when its transaction is undone.
#[derive(Debug)]
pub(crate) struct Mark {
    position: i64,
    parking: Parking,
    parked_count: usize,
}

/// Whether PostgreSQL took the rows; how many, if all of them were written at once.
#[derive(Debug, PartialEq, Eq)]
enum Written {
    Whole(Option<i64>),
    /// It refused one, and everything begins anew in the table, where the event can be found that led to it.
    Refused,
}

impl Filling {
    /// Begins with an empty table; nothing of `skipped` is taken in, and about `memory_max` bytes of rows are
    /// held in memory.
    pub(crate) async fn begin(
        pool: &PgPool,
        upcasters: &Upcasters,
        projection: &Arc<dyn Projection>,
        target: Target,
        skipped: HashSet<i64>,
        memory_max: usize,
        connection: &mut PgConnection,
    ) -> Result<Self, sqlx::Error> {
        projection.create(connection, target).await?;
        let skipped = Arc::new(skipped);
        Ok(Self {
            pool: pool.clone(),
            log: Log::new(pool.clone()),
            upcasters: upcasters.clone(),
            projection: projection.clone(),
            target,
            memory: Some(Folding::new(projection.clone(), upcasters.clone(), skipped.clone())),
            memory_max,
            written: 0,
            position: 0,
            parking: Parking::default(),
            parked: Vec::new(),
            skipped,
            reached: Reached::default(),
            until: None,
        })
    }

    /// Goes on with a table that has its indexes.
    pub(crate) fn resume(
        pool: &PgPool,
        upcasters: &Upcasters,
        projection: &Arc<dyn Projection>,
        target: Target,
        skipped: HashSet<i64>,
        parked: Vec<ParkedEvent>,
        found: Found,
    ) -> Self {
        Self {
            pool: pool.clone(),
            log: Log::new(pool.clone()),
            upcasters: upcasters.clone(),
            projection: projection.clone(),
            target,
            memory: None,
            memory_max: 0,
            written: 0,
            position: found.position,
            parking: Parking::of(&parked),
            parked,
            skipped: Arc::new(skipped),
            reached: found.reached,
            until: None,
        }
    }

    /// Takes in everything up to `until`, which is in the log; reading goes on meanwhile.
    pub(crate) async fn read(
        &mut self,
        connection: &mut PgConnection,
        until: i64,
        progress: &mut (dyn FnMut(i64) + Send),
    ) -> Result<(), RebuildError> {
        // The second round is for rows that PostgreSQL refuses, the last one goes on where they were refused.
        while self.position < until {
            let wanted = wanted(&self.projection, &self.upcasters);
            let mut scan = Scan::start(&self.pool, self.position, until, Some(wanted));
            while let Some(page) = scan.next().await? {
                if self.take_in(connection, page.events).await? == Written::Refused {
                    break;
                }
                self.position = page.until;
                progress(self.position);
            }
        }
        Ok(())
    }

    async fn take_in(&mut self, connection: &mut PgConnection, events: Vec<Recorded>) -> Result<Written, RebuildError> {
        let Some(mut memory) = self.memory.take() else {
            for batch in events.chunks(BATCH_SIZE) {
                let batch = batch.iter().map(|event| Incoming::new(&self.upcasters, event.clone())).collect();
                self.deliver(connection, batch).await?;
            }
            return Ok(Written::Whole(None));
        };
        let folded = tokio::task::spawn_blocking(move || {
            let outcome = memory.take_in(events);
            (memory, outcome)
        });
        let (memory, outcome) = folded.await.map_err(|error| sqlx::Error::Io(error.into()))?;
        outcome.map_err(|poison| RebuildError::Poison { position: poison.position, reason: poison.reason })?;
        if memory.parked.len() > PARKED_COUNT_MAX {
            return Err(RebuildError::TooManyParked);
        }
        let full = memory.table.byte_count() > self.memory_max;
        self.memory = Some(memory);
        match (full, self.projection.appends_only()) {
            (false, _) => Ok(Written::Whole(None)),
            (true, false) => self.write(connection).await,
            (true, true) => self.pour(connection).await,
        }
    }

    /// Puts the rows that are in memory into the table; from then on they are there.
    async fn write(&mut self, connection: &mut PgConnection) -> Result<Written, RebuildError> {
        if self.pour(connection).await? == Written::Refused {
            return Ok(Written::Refused);
        }
        let Some(memory) = self.memory.take() else { return Ok(Written::Whole(None)) };
        self.parking = memory.parking;
        self.parked = memory.parked;
        self.projection.index(connection, self.target, Indexes::Primary).await?;
        Ok(Written::Whole(Some(self.written)))
    }

    /// Empties the memory into the table.
    async fn pour(&mut self, connection: &mut PgConnection) -> Result<Written, RebuildError> {
        let Some(memory) = &mut self.memory else { return Ok(Written::Whole(None)) };
        let table = self.projection.table_of(self.target);
        match memory.table.write(connection, table).await {
            Ok(count) => {
                self.written += count;
                Ok(Written::Whole(None))
            }
            Err(ApplyError::Data(error)) => {
                self.memory = None;
                let projection = self.projection.name();
                tracing::warn!(projection, %error, "a row is refused, the events are taken in one batch after the other");
                self.projection.create(connection, self.target).await?;
                self.projection.index(connection, self.target, Indexes::Primary).await?;
                self.position = 0;
                Ok(Written::Refused)
            }
            Err(ApplyError::Database(error)) => Err(error.into()),
            Err(ApplyError::Poison { position, reason }) => Err(RebuildError::Poison { position, reason }),
        }
    }

    /// Everything that was read is in the table, with all indexes, when this is done; answers how many rows were written if they were
    /// in memory until now.
    pub(crate) async fn finish(
        &mut self,
        connection: &mut PgConnection,
        progress: &mut (dyn FnMut(i64) + Send),
    ) -> Result<Option<i64>, RebuildError> {
        let until = self.position;
        let written = match self.write(connection).await? {
            Written::Whole(count) => count,
            Written::Refused => {
                self.read(connection, until, progress).await?;
                None
            }
        };
        self.projection.index(connection, self.target, Indexes::Secondary).await?;
        Ok(written)
    }

    /// Takes in at most one batch up to `until` within the transaction of `connection`; false when there is no more.
    pub(crate) async fn step(&mut self, connection: &mut PgConnection, until: i64) -> Result<bool, RebuildError> {
        let limit = i64::try_from(BATCH_SIZE).unwrap_or(i64::MAX).min(until - self.position);
        if limit <= 0 {
            return Ok(false);
        }
        let page = self.log.page(self.position, limit).await?;
        let Some(last) = page.last().map(|event| event.position) else { return Ok(false) };
        let batch = page.into_iter().map(|event| Incoming::new(&self.upcasters, event)).collect();
        self.deliver(connection, batch).await?;
        self.position = last;
        Ok(true)
    }

    async fn deliver(&mut self, connection: &mut PgConnection, mut batch: Vec<Incoming>) -> Result<(), RebuildError> {
        batch.retain(|incoming| {
            !self.skipped.contains(&incoming.position())
                && !self.reached.covers(&incoming.event)
                && self.until.as_ref().is_none_or(|until| until.covers(&incoming.event))
        });
        let projection = self.projection.as_ref();
        let mut delivery = Delivery { projection, target: self.target, parking: &mut self.parking };
        self.parked.extend(delivery.deliver(connection, &batch, None).await?);
        if self.parked.len() > PARKED_COUNT_MAX { Err(RebuildError::TooManyParked) } else { Ok(()) }
    }

    /// From here on takes in what `until` covers, without `skipped`.
    pub(crate) fn go_on_within(&mut self, until: &Reached, skipped: HashSet<i64>) {
        self.until = Some(until.clone());
        self.skipped = Arc::new(skipped);
    }

    pub(crate) fn mark(&self) -> Mark {
        Mark { position: self.position, parking: self.parking.clone(), parked_count: self.parked.len() }
    }

    pub(crate) fn go_back(&mut self, mark: Mark) {
        self.position = mark.position;
        self.parking = mark.parking;
        self.parked.truncate(mark.parked_count);
    }
}
