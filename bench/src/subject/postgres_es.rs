//! cqrs-es with postgres-es 0.5: `CqrsFramework::execute_with_metadata` on an event store without snapshots.
//!
//! Snapshots would not help streams of ten events. A conflict is shown to the caller, who tries again until the command is accepted;
//! each is counted, and the latency is that of the command with all its attempts.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use cqrs_es::AggregateError;
use postgres_es::{PostgresCqrs, postgres_cqrs};
use uuid::Uuid;

use super::Stream;
use crate::{
    account::{Account, Command, metadata_map},
    measure::{Client, Sample, Window, drive},
    servers::Servers,
};

/// The size of `default_postgress_pool`.
pub const DEFAULT_POOL_SIZE: u32 = 10;

/// Somebody who never wins ends the run.
const ATTEMPT_COUNT_MAX: u32 = 100_000;

/// Appends for the window, one client a stream, with this many connections.
pub async fn append(
    servers: &Servers,
    database: &str,
    streams: Vec<Stream>,
    pool_size: u32,
    window: Window,
) -> anyhow::Result<Sample> {
    let pool = servers.pool(database, pool_size).await?;
    let framework: Arc<PostgresCqrs<Account>> = Arc::new(postgres_cqrs(pool.clone(), Vec::new(), ()));
    let conflicts = Arc::new(AtomicU64::new(0));
    let clients = streams.into_iter().map(|stream| PeerClient {
        framework: framework.clone(),
        stream,
        conflicts: conflicts.clone(),
    });
    let sample = drive(clients.collect(), window).await;
    pool.close().await;
    Ok(Sample { conflicts: conflicts.load(Ordering::Relaxed), ..sample? })
}

struct PeerClient {
    framework: Arc<PostgresCqrs<Account>>,
    stream: Stream,
    conflicts: Arc<AtomicU64>,
}

impl Client for PeerClient {
    async fn step(&mut self) -> anyhow::Result<()> {
        let (_, account_id) = self.stream.next();
        let reference = Uuid::now_v7();
        let command = Command::new(reference);
        let account_id = account_id.to_string();
        for _ in 0..ATTEMPT_COUNT_MAX {
            let executed =
                self.framework.execute_with_metadata(&account_id, command.clone(), metadata_map(reference)).await;
            match executed {
                Ok(()) => {
                    self.stream.accepted();
                    return Ok(());
                }
                Err(AggregateError::AggregateConflict) => {
                    self.conflicts.fetch_add(1, Ordering::Relaxed);
                }
                Err(error) => return Err(error.into()),
            }
        }
        anyhow::bail!("postgres-es lost {ATTEMPT_COUNT_MAX} races")
    }
}
