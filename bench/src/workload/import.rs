//! import: events that exist elsewhere come in, in batches, one batch after the other.
//!
//! The peer is postgres-es's own `persist` of a whole batch, which is one transaction of single INSERTs.

use std::time::{Duration, Instant};

use cqrs_es::persist::{PersistedEventRepository as _, SerializedEvent};
use futures::future::BoxFuture;
use hub::clock::{Clock, system_clock};
use hub_event_store::import::{Identity, Import as LogImport, ImportEvent};
use postgres_es::PostgresEventRepository;
use serde_json::{json, value::to_raw_value};
use sqlx::PgPool;
use uuid::Uuid;

use super::{
    Run, Workload,
    append::{HUB, POSTGRES_ES},
    shared,
};
use crate::{
    account::{Account, NOTE, metadata, metadata_map, tenant},
    measure::{Client, Sample, Window, micros},
    report::Report,
};

/// Events in one batch; shown where others show their clients.
const BATCHES: &[usize] = &[500, 5_000];

/// Events of one account.
const ENTRIES: usize = 10;

/// The workload.
#[derive(Debug)]
pub struct Import;

impl Workload for Import {
    fn name(&self) -> &'static str {
        "import"
    }

    fn prepare<'a>(&'a mut self, run: &'a Run) -> BoxFuture<'a, anyhow::Result<()>> {
        Box::pin(async move {
            shared::log(run, HUB, run.filled).await?;
            shared::postgres_es(run).await
        })
    }

    fn round<'a>(&'a mut self, run: &'a Run, _: u32, report: &'a mut Report) -> BoxFuture<'a, anyhow::Result<()>> {
        Box::pin(async move {
            for &batch in BATCHES {
                run.servers.settle().await?;
                let pool = run.servers.pool(HUB, 2).await?;
                let sample = timed(Hub::open(&pool, batch).await?, batch, run.window).await?;
                report.add("import", batch, "hub", sample);
                pool.close().await;
                let pool = run.servers.pool(POSTGRES_ES, 2).await?;
                let repository = PostgresEventRepository::new(pool.clone());
                let sample = timed(PostgresEs { repository, batch }, batch, run.window).await?;
                report.add("import", batch, "postgres-es", sample);
                pool.close().await;
            }
            Ok(())
        })
    }
}

/// hub's bulk append, given the batch at once.
struct Hub {
    import: LogImport,
    clock: Clock,
    batch: usize,
}

impl Hub {
    async fn open(pool: &PgPool, batch: usize) -> anyhow::Result<Self> {
        let clock = system_clock();
        let import_id = Uuid::now_v7();
        let identity = Identity { import_id, actor: "import:bench".to_owned() };
        let import = LogImport::open(pool, identity, &format!("bench {import_id}"), clock()).await?;
        Ok(Self { import, clock, batch })
    }
}

impl Client for Hub {
    async fn step(&mut self) -> anyhow::Result<()> {
        let now = (self.clock)();
        let mut events = Vec::with_capacity(self.batch);
        for account in accounts(self.batch) {
            // The metadata that the peer's events have is what the source knew.
            let source = to_raw_value(&metadata(account))?;
            for (place, payload) in entries().enumerate() {
                events.push(ImportEvent {
                    tenant_id: tenant(account.as_u64_pair().1),
                    aggregate_type: "account".to_owned(),
                    aggregate_id: account,
                    sequence: i64::try_from(place)? + 1,
                    event_type: "account.entered".to_owned(),
                    event_version: 1,
                    occurred_at: now,
                    payload: to_raw_value(&payload)?,
                    source: Some(source.clone()),
                    origin: None,
                });
            }
        }
        self.import.append(&events, now).await?;
        Ok(())
    }
}

/// postgres-es's repository, given the batch at once.
struct PostgresEs {
    repository: PostgresEventRepository,
    batch: usize,
}

impl Client for PostgresEs {
    async fn step(&mut self) -> anyhow::Result<()> {
        let mut events = Vec::with_capacity(self.batch);
        for account in accounts(self.batch) {
            for (place, payload) in entries().enumerate() {
                events.push(SerializedEvent {
                    aggregate_id: account.to_string(),
                    sequence: place + 1,
                    aggregate_type: "account".to_owned(),
                    event_type: "entered".to_owned(),
                    event_version: "1".to_owned(),
                    payload: json!({ "type": "entered", "data": payload }),
                    metadata: serde_json::to_value(metadata_map(account))?,
                });
            }
        }
        self.repository.persist::<Account>(&events, None).await?;
        Ok(())
    }
}

/// New accounts that make up a batch.
fn accounts(batch: usize) -> impl Iterator<Item = Uuid> {
    std::iter::repeat_with(Uuid::now_v7).take(batch / ENTRIES)
}

/// The payloads of one account.
fn entries() -> impl Iterator<Item = serde_json::Value> {
    (1..=ENTRIES).map(|number| {
        let reference = Uuid::now_v7();
        json!({ "amount_minor": 1_250, "balance_minor": 1_250 * number, "reference": reference, "note": NOTE })
    })
}

/// Batch after batch for the window; the first one is the warm-up.
async fn timed(mut importer: impl Client, batch: usize, window: Window) -> anyhow::Result<Sample> {
    importer.step().await?;
    let started = Instant::now();
    let mut latencies_us = Vec::new();
    while started.elapsed() < window.length.max(Duration::from_millis(1)) {
        let sent = Instant::now();
        importer.step().await?;
        latencies_us.push(micros(sent.elapsed()));
    }
    let count = latencies_us.len() as u64 * batch as u64;
    Ok(Sample { count, seconds: started.elapsed().as_secs_f64(), latencies_us, conflicts: 0 })
}
