//! rebuild: a keyed read model built anew from the whole log.
//!
//! The limit is a client that reads the same columns by one binary COPY in order and throws them away. The peer is cqrs-es's `GenericQuery` with
//! postgres-es's `PostgresViewRepository`, given the same events one after the other for the length of the window: a whole rebuild
//! of that kind takes too long to wait for.
//!
//! `reading` is a reader of the live table who asks for one row after the other at a fixed pace, alone and during a rebuild with its switch.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use cqrs_es::{EventEnvelope, Query as _, persist::GenericQuery};
use futures::{TryStreamExt as _, future::BoxFuture};
use hub_event_store::{log::Log, upcast::Upcasters};
use hub_projections::{keyed::KeyedProjection, model::ReadModel as _, projection::Projection, rebuild::rebuild};
use postgres_es::PostgresViewRepository;
use sqlx::{Executor as _, PgPool, postgres::PgPoolCopyExt as _};
use uuid::Uuid;

use super::{REBUILT, Run, Size, Workload, append::POSTGRES_ES, shared};
use crate::{
    account::{Account, AccountRow, Accounts},
    measure::{Sample, Window, micros},
    report::Report,
};

/// Every column that a reader of the log gets.
const COPY: &str = "COPY (SELECT position, tenant_position, event_id, tenant_id, aggregate_type, aggregate_id, sequence, event_type, \
                    event_version, occurred_at, payload, metadata, leaf_hash FROM events ORDER BY position) TO STDOUT (FORMAT binary)";

/// Rows that are read, and how.
const KEYS: &str = "SELECT tenant_id, id FROM bench_accounts LIMIT 1000";
const READ: &str = "SELECT to_jsonb(r) FROM bench_accounts r WHERE tenant_id = $1 AND id = $2";

/// Between two reads.
const READ_PAUSE: Duration = Duration::from_millis(5);

/// More rounds than this say nothing new.
const ROUND_COUNT_MAX: u32 = 3;

/// So many events are kept at hand for the peer.
const SAMPLE_SIZE: i64 = 20_000;

/// The connections of the rebuild.
const POOL_SIZE: u32 = 6;

/// The workload.
#[derive(Debug)]
pub struct Rebuild;

impl Workload for Rebuild {
    fn name(&self) -> &'static str {
        "rebuild"
    }

    fn prepare<'a>(&'a mut self, run: &'a Run) -> BoxFuture<'a, anyhow::Result<()>> {
        Box::pin(async move {
            shared::size(run, size(run)).await?;
            shared::postgres_es(run).await
        })
    }

    fn round<'a>(&'a mut self, run: &'a Run, number: u32, report: &'a mut Report) -> BoxFuture<'a, anyhow::Result<()>> {
        Box::pin(async move {
            if number >= ROUND_COUNT_MAX {
                return Ok(());
            }
            run.servers.settle().await?;
            let pool = run.servers.pool(&size(run).database(), POOL_SIZE).await?;
            report.add("rebuild", 1, "copy-limit", copy(&pool).await?);
            let projections: Vec<Arc<dyn Projection>> = vec![Arc::new(KeyedProjection::<Accounts>::new())];
            let started = Instant::now();
            let upcasters = Upcasters::default();
            let built = rebuild(&pool, &upcasters, &projections, Accounts::NAME, &|_, _| {}).await?;
            report.add("rebuild", 1, "hub", Sample::rate(u64::try_from(built.position)?, started.elapsed()));
            report.add("rebuild", 1, "postgres-es", generic_query(run, &pool, run.window).await?);
            let readers = run.servers.pool(&size(run).database(), 1).await?;
            let keys: Vec<(Uuid, Uuid)> = sqlx::query_as(KEYS).fetch_all(&readers).await?;
            let ((), alone) = read_during(&readers, &keys, tokio::time::sleep(run.window.length)).await?;
            report.add("reading", 1, "alone", alone);
            let rebuilding = async { rebuild(&pool, &upcasters, &projections, Accounts::NAME, &|_, _| {}).await };
            let (built, disturbed) = read_during(&readers, &keys, rebuilding).await?;
            built?;
            report.add("reading", 1, "during-rebuild", disturbed);
            readers.close().await;
            pool.close().await;
            Ok(())
        })
    }
}

/// Reads at a fixed pace until `work` is done.
async fn read_during<T>(
    pool: &PgPool,
    keys: &[(Uuid, Uuid)],
    work: impl Future<Output = T>,
) -> anyhow::Result<(T, Sample)> {
    let started = Instant::now();
    let mut latencies_us = Vec::new();
    let reading = async {
        for (tenant_id, id) in keys.iter().cycle() {
            let sent = Instant::now();
            sqlx::query(READ).bind(tenant_id).bind(id).fetch_one(pool).await?;
            latencies_us.push(micros(sent.elapsed()));
            tokio::time::sleep(READ_PAUSE).await;
        }
        anyhow::Ok(())
    };
    let done = tokio::select! {
        done = work => done,
        failed = reading => return Err(failed.err().unwrap_or_else(|| anyhow::anyhow!("the read model is empty"))),
    };
    let count = latencies_us.len() as u64;
    Ok((done, Sample { count, seconds: started.elapsed().as_secs_f64(), latencies_us, conflicts: 0 }))
}

/// The log that is built from: a million events, or the largest there is in a quick run.
pub fn size(run: &Run) -> Size {
    let wanted = run.sizes.iter().find(|size| size.name == REBUILT);
    *wanted.or(run.sizes.last()).expect("a run has a size")
}

async fn copy(pool: &PgPool) -> anyhow::Result<Sample> {
    let count = Log::new(pool.clone()).head().await?;
    let started = Instant::now();
    let mut bytes = 0;
    let mut stream = pool.copy_out_raw(COPY).await?;
    while let Some(chunk) = stream.try_next().await? {
        bytes += chunk.len();
    }
    anyhow::ensure!(bytes > 0, "the log is empty");
    Ok(Sample::rate(u64::try_from(count)?, started.elapsed()))
}

async fn generic_query(run: &Run, log: &PgPool, window: Window) -> anyhow::Result<Sample> {
    let events = Log::new(log.clone()).page(0, SAMPLE_SIZE).await?;
    let pool = run.servers.pool(POSTGRES_ES, 2).await?;
    pool.execute("TRUNCATE account_view").await?;
    let failed = Arc::new(AtomicBool::new(false));
    let mut query =
        GenericQuery::new(Arc::new(PostgresViewRepository::<AccountRow, Account>::new("account_view", pool.clone())));
    let noticed = failed.clone();
    query.use_error_handler(Box::new(move |_| noticed.store(true, Ordering::Relaxed)));
    let started = Instant::now();
    let mut count = 0;
    for event in &events {
        if started.elapsed() > window.length {
            break;
        }
        let envelope = EventEnvelope::<Account> {
            aggregate_id: event.aggregate_id.to_string(),
            sequence: usize::try_from(event.sequence)?,
            payload: event.decode()?,
            metadata: std::collections::HashMap::new(),
        };
        query.dispatch(&envelope.aggregate_id.clone(), &[envelope]).await;
        count += 1;
    }
    let elapsed = started.elapsed();
    pool.close().await;
    anyhow::ensure!(!failed.load(Ordering::Relaxed), "the view of the peer cannot be written");
    Ok(Sample::rate(count, elapsed))
}
