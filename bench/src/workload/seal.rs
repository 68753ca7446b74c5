//! seal: what sealing costs the append: the same commands with and without the sealer beside them.
//!
//! `hub` appends and nobody seals, `hub+sealer` appends while the sealer of the program does its work in the same process, on the same two cores
//! and the same PostgreSQL. Before the latter, all that was appended before is sealed, so that it seals only what it would have to; they
//! take turns at being first. `sealed` counts what it has sealed in that window: as many events a second as were appended, if it keeps up.

use std::time::{Duration, Instant};

use ::hub::clock::system_clock;
use anyhow::Context as _;
use futures::future::BoxFuture;
use hub_event_store::tail::Tail;
use hub_evidence::key::SigningKey;
use hub_seal::{Sealer, Signer};
use sqlx::PgPool;
use tokio_util::sync::CancellationToken;
use zeroize::Zeroizing;

use super::{Run, Workload, shared};
use crate::{
    measure::Sample,
    report::Report,
    subject::{Stream, hub},
};

/// The database that is sealed.
const DATABASE: &str = "hub_seal";

/// Clients that append.
const CLIENTS: usize = 64;

/// The connections of the sealer.
const POOL_SIZE: u32 = 4;

/// Everything is sealed within this time.
const SEAL_LIMIT: Duration = Duration::from_secs(300);

const POLL: Duration = Duration::from_millis(50);

/// How many events of tenants are sealed, and how many there are.
const SEALED: &str = "SELECT coalesce(sum(size), 0)::bigint, (SELECT position FROM log_head) FROM sealed_trees \
                      WHERE tenant_id <> '00000000-0000-0000-0000-000000000000'";

/// The workload.
#[derive(Debug)]
pub struct Seal;

impl Workload for Seal {
    fn name(&self) -> &'static str {
        "seal"
    }

    fn prepare<'a>(&'a mut self, run: &'a Run) -> BoxFuture<'a, anyhow::Result<()>> {
        Box::pin(shared::log(run, DATABASE, run.filled))
    }

    fn round<'a>(&'a mut self, run: &'a Run, number: u32, report: &'a mut Report) -> BoxFuture<'a, anyhow::Result<()>> {
        Box::pin(async move {
            // Whoever is second finds a larger log.
            let sealed_first = number.is_multiple_of(2);
            for sealing in [sealed_first, !sealed_first] {
                if sealing {
                    sealed(run, report).await?;
                } else {
                    run.servers.settle().await?;
                    let sample = hub::append(&run.servers, DATABASE, Stream::own(CLIENTS), run.window).await?;
                    report.add("seal", CLIENTS, "hub", sample);
                }
            }
            Ok(())
        })
    }
}

async fn sealed(run: &Run, report: &mut Report) -> anyhow::Result<()> {
    let pool = run.servers.pool(DATABASE, POOL_SIZE).await?;
    let (tail, end) = (Tail::default(), CancellationToken::new());
    let following = tokio::spawn({
        let (tail, pool, end) = (tail.clone(), pool.clone(), end.clone());
        async move { tail.run(pool, end).await }
    });
    let sealing = tokio::spawn(Sealer::new(pool.clone(), tail, signer()?, system_clock()).run(end.clone()));
    reached(&pool, SEAL_LIMIT).await?;
    run.servers.settle().await?;
    let (before, _) = progress(&pool).await?;
    let started = Instant::now();
    let sample = hub::append(&run.servers, DATABASE, Stream::own(CLIENTS), run.window).await?;
    let (after, _) = progress(&pool).await?;
    let kept_up = Sample::rate(u64::try_from(after - before)?, started.elapsed());
    report.add("seal", CLIENTS, "hub+sealer", sample);
    report.add("seal", CLIENTS, "sealed", kept_up);
    end.cancel();
    sealing.await?;
    following.await?;
    pool.close().await;
    Ok(())
}

/// The key of this benchmark.
pub fn key() -> anyhow::Result<SigningKey> {
    SigningKey::from_seed("hub.bench", Zeroizing::new([7; 32])).context("the key of the benchmark is none")
}

/// Signs with it.
pub fn signer() -> anyhow::Result<Signer> {
    Ok(Signer::new(vec![key()?])?)
}

/// Returns when everything is sealed that is there.
pub async fn reached(pool: &PgPool, limit: Duration) -> anyhow::Result<()> {
    let started = Instant::now();
    loop {
        let (sealed, head) = progress(pool).await?;
        if sealed >= head {
            return Ok(());
        }
        anyhow::ensure!(started.elapsed() < limit, "{sealed} of {head} events are sealed after {} s", limit.as_secs());
        tokio::time::sleep(POLL).await;
    }
}

async fn progress(pool: &PgPool) -> anyhow::Result<(i64, i64)> {
    Ok(sqlx::query_as(SEALED).fetch_one(pool).await?)
}
