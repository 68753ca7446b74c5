//! The facts that this process keeps, tenant by tenant, made new by what has changed when they are asked for.
//!
//! Of a tenant one statement at most is under way at a time. Whoever comes meanwhile waits for its turn and then takes what was read after it
//! came, so however many wait, two statements serve them all. What has changed in several tenants is read together (`facts::FactsReader`).

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use moka::sync::Cache;
use sqlx::PgPool;
use tokio::{
    sync::Mutex,
    time::{Instant, timeout},
};
use uuid::Uuid;

use crate::{
    board::Board,
    facts::{FactsError, FactsReader, TenantFacts},
};

/// So many tenants' facts are kept.
const TENANT_COUNT_MAX: u64 = 10_000;

/// What was not used for so long is forgotten.
const IDLE_MAX: Duration = Duration::from_secs(600);

/// Nobody waits longer for facts; the largest tenants' take some seconds on a slow machine.
const LOAD_LIMIT: Duration = Duration::from_secs(20);

/// Counter of the statements that read facts, by what they read: `whole`, or `changes`.
pub const LOADS: &str = "hub_access_facts_loads_total";

/// A tenant's facts, and what was known when they began to be loaded.
#[derive(Debug, Clone)]
struct Loaded {
    facts: Arc<TenantFacts>,
    began: Instant,
    /// How often the log had lost its end.
    generation: u64,
    /// How often PostgreSQL had been out of sight.
    sights_lost: u64,
}

/// How facts have come to a process.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Loads {
    /// So often all facts of a tenant were read.
    pub whole: u64,
    /// So often those that had changed.
    pub changes: u64,
}

/// See the module; cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct FactsCache {
    pool: PgPool,
    reader: FactsReader,
    board: Board,
    tenants: Cache<Uuid, Loaded>,
    /// Whoever loads a tenant's facts holds its turn.
    turns: Cache<Uuid, Arc<Mutex<()>>>,
    counts: Arc<[AtomicU64; 2]>,
}

impl FactsCache {
    pub(crate) fn new(pool: PgPool, board: Board) -> Self {
        Self {
            reader: FactsReader::new(pool.clone()),
            pool,
            board,
            tenants: Cache::builder().max_capacity(TENANT_COUNT_MAX).time_to_idle(IDLE_MAX).build(),
            turns: Cache::builder().max_capacity(TENANT_COUNT_MAX).time_to_idle(IDLE_MAX).build(),
            counts: Arc::default(),
        }
    }

    pub(crate) fn loads(&self) -> Loads {
        let [whole, changes] = &*self.counts;
        Loads { whole: whole.load(Ordering::Relaxed), changes: changes.load(Ordering::Relaxed) }
    }

    /// The facts that are kept, if nothing is known to have changed since.
    pub(crate) fn at_hand(&self, tenant_id: Uuid) -> Option<Arc<TenantFacts>> {
        let Loaded { facts, generation, .. } = self.tenants.get(&tenant_id)?;
        self.board.unchanged(tenant_id, facts.position, generation).then_some(facts)
    }

    /// The tenant's facts, which know every change that the board knew of when they were asked for.
    pub(crate) async fn latest(&self, tenant_id: Uuid) -> Result<Arc<TenantFacts>, FactsError> {
        if let Some(facts) = self.at_hand(tenant_id) {
            return Ok(facts);
        }
        let called = Instant::now();
        let loaded = timeout(LOAD_LIMIT, async {
            let turn = self.turns.get_with(tenant_id, Arc::default);
            let _turn = turn.lock().await;
            if let Some(loaded) = self.tenants.get(&tenant_id).filter(|loaded| loaded.began >= called) {
                return Ok(loaded.facts);
            }
            // What was read before this call may do, too, unless the board has gone blind meanwhile.
            if let Some(facts) = self.at_hand(tenant_id).filter(|_| self.board.current(None)) {
                return Ok(facts);
            }
            self.load(tenant_id).await
        });
        let late = || FactsError::Unavailable(format!("not within {} s", LOAD_LIMIT.as_secs()));
        loaded.await.map_err(|_| late())?
    }

    async fn load(&self, tenant_id: Uuid) -> Result<Arc<TenantFacts>, FactsError> {
        // Before anything is read: what happens meanwhile has these facts made anew.
        let (generation, sights_lost, began) = (self.board.generation(), self.board.sights_lost(), Instant::now());
        let held = self.tenants.get(&tenant_id);
        let changed = match held.filter(|held| (held.generation, held.sights_lost) == (generation, sights_lost)) {
            Some(held) => {
                self.count(1, "changes");
                self.reader.changed(tenant_id, &held.facts).await?
            }
            None => None,
        };
        let facts = match changed {
            Some(facts) => facts,
            None => {
                self.count(0, "whole");
                TenantFacts::load(&self.pool, tenant_id).await?
            }
        };
        let facts = Arc::new(facts);
        self.tenants.insert(tenant_id, Loaded { facts: facts.clone(), began, generation, sights_lost });
        Ok(facts)
    }

    fn count(&self, which: usize, name: &'static str) {
        self.counts[which].fetch_add(1, Ordering::Relaxed);
        metrics::counter!(LOADS, "read" => name).increment(1);
    }
}
