//! verify: one tenant's whole log taken away as evidence, and verified without any database.
//!
//! `hub-export` is `hub audit export` of all events, each held to its sealed hash on the way; `hub` is `hub audit verify` of what came of it,
//! in events a second. The peers are one thread that hashes the same lines in memory by SHA-256 and reads them as JSON: `sha256-skip` skips
//! through it (serde's `IgnoredAny`), which is the least that a check of JSON can be, and `sha256-value` makes a `Value` of it, as a program does
//! that wants to know what is said. The log is filled with what an append would have written, its true leaf hashes among it, and is sealed once.

use std::{
    ops::ControlFlow,
    path::Path,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use futures::future::BoxFuture;
use hub::clock::system_clock;
use hub_event_store::tail::Tail;
use hub_evidence::{
    bundle::{MANIFEST, MEMBER_BYTES_MAX, Manifest, Trust, unpack, verify},
    key::VerifierKeys,
    tree::leaf_hash,
};
use hub_replay_tools::evidence::export::{Request, export};
use hub_seal::Sealer;
use serde::de::IgnoredAny;
use serde_json::Value;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{Run, Workload, rebuild, seal};
use crate::{fill, measure::Sample, report::Report};

/// The database of the one tenant.
const DATABASE: &str = "hub_verify";

/// Its id.
const TENANT: Uuid = Uuid::from_u128(0x0190_0000_0000_7000_8000_0000_0000_0001);

/// The connections of sealing and export.
const POOL_SIZE: u32 = 6;

/// More rounds than this say nothing new.
const ROUND_COUNT_MAX: u32 = 3;

/// The log is sealed within this time.
const SEAL_LIMIT: Duration = Duration::from_secs(600);

/// The workload.
#[derive(Debug)]
pub struct Verify;

impl Workload for Verify {
    fn name(&self) -> &'static str {
        "verify"
    }

    fn prepare<'a>(&'a mut self, run: &'a Run) -> BoxFuture<'a, anyhow::Result<()>> {
        Box::pin(prepare(run))
    }

    fn round<'a>(&'a mut self, run: &'a Run, number: u32, report: &'a mut Report) -> BoxFuture<'a, anyhow::Result<()>> {
        Box::pin(async move {
            if number >= ROUND_COUNT_MAX {
                return Ok(());
            }
            run.servers.settle().await?;
            let bundle = run.servers.work().join("bundle");
            let pool = run.servers.pool(DATABASE, POOL_SIZE).await?;
            let started = Instant::now();
            let exported = export(&pool, &Request::of_tenant(TENANT, "bench"), &bundle, |_, _| {}).await?;
            report.add("verify", 1, "hub-export", Sample::rate(exported.entry_count, started.elapsed()));
            pool.close().await;
            let measured = tokio::task::spawn_blocking({
                let bundle = bundle.clone();
                move || of_bundle(&bundle, exported.entry_count)
            });
            for (subject, sample) in measured.await?? {
                report.add("verify", 1, subject, sample);
            }
            std::fs::remove_dir_all(&bundle).context("cannot remove the bundle")
        })
    }
}

async fn prepare(run: &Run) -> anyhow::Result<()> {
    let count = rebuild::size(run).count;
    run.servers.create_migrated(DATABASE).await?.close().await;
    let pool = run.servers.pool(DATABASE, POOL_SIZE).await?;
    eprintln!("  filling and sealing {DATABASE} with {count} events of one tenant");
    fill::tenant(&pool, TENANT, count).await?;
    let end = CancellationToken::new();
    let sealer = Sealer::new(pool.clone(), Tail::default(), seal::signer()?, system_clock());
    let sealing = tokio::spawn(sealer.run(end.clone()));
    let sealed = seal::reached(&pool, SEAL_LIMIT).await;
    end.cancel();
    sealing.await?;
    pool.close().await;
    sealed
}

/// Verifies the bundle, and does with its lines what everybody must do who wants to know whether they are intact.
fn of_bundle(bundle: &Path, count: u64) -> anyhow::Result<Vec<(&'static str, Sample)>> {
    let keys = VerifierKeys::new([seal::key()?.verifier_key().clone()])?;
    let started = Instant::now();
    let report = verify(bundle, &Trust { keys, last: None }, &mut |_, _| {})?;
    let verified = Sample::rate(count, started.elapsed());
    anyhow::ensure!(report.valid && report.entry_count == count, "the bundle is not valid: {report:?}");
    let pieces = pieces(bundle)?;
    let lines = || pieces.iter().flat_map(|piece| piece.split_inclusive(|byte| *byte == b'\n'));
    anyhow::ensure!(lines().count() as u64 == count, "the bundle has not a line an entry");
    let started = Instant::now();
    for line in lines() {
        std::hint::black_box((leaf_hash(line), serde_json::from_slice::<IgnoredAny>(line)?));
    }
    let skipped = Sample::rate(count, started.elapsed());
    let started = Instant::now();
    for line in lines() {
        std::hint::black_box((leaf_hash(line), serde_json::from_slice::<Value>(line)?));
    }
    let parsed = Sample::rate(count, started.elapsed());
    Ok(vec![("hub", verified), ("sha256-skip", skipped), ("sha256-value", parsed)])
}

/// The lines of the bundle in memory, many in a piece.
fn pieces(bundle: &Path) -> anyhow::Result<Vec<Vec<u8>>> {
    let manifest = Manifest::parse(&std::fs::read(bundle.join(MANIFEST))?)?;
    let mut pieces = Vec::new();
    for member in &manifest.members {
        let path = bundle.join(&member.path);
        let packed = std::fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let unpacked = unpack(&packed, MEMBER_BYTES_MAX, |lines| {
            pieces.push(lines);
            ControlFlow::Continue(())
        });
        anyhow::ensure!(unpacked?.is_continue(), "{} was not unpacked to its end", path.display());
    }
    Ok(pieces)
}
