//! esrs 0.18: `AggregateManager` on its `PgStore`, with UUIDv7 event ids.
//!
//! Accounts are loaded without its advisory lock, which would cost a round trip and a second connection more; the unique index still
//! refuses a lost race.

use std::sync::Arc;

use esrs::{
    AggregateState,
    manager::AggregateManager,
    store::postgres::{PgStore, PgStoreBuilder, UuidFormat},
};
use sqlx::PgPool;
use uuid::Uuid;

use super::Stream;
use crate::{
    account::{Command, EsrsAccount, metadata},
    measure::{Client, Sample, Window, drive},
    servers::Servers,
};

/// The table that esrs makes for [`EsrsAccount`].
pub const TABLE: &str = "account_events";

/// Makes the table.
pub async fn create_table(pool: &PgPool) -> anyhow::Result<()> {
    let _: PgStore<EsrsAccount> = PgStoreBuilder::new(pool.clone()).try_build().await?;
    Ok(())
}

/// Appends for the window, one client a stream, with this many connections.
pub async fn append(
    servers: &Servers,
    database: &str,
    streams: Vec<Stream>,
    pool_size: u32,
    window: Window,
) -> anyhow::Result<Sample> {
    let pool = servers.pool(database, pool_size).await?;
    let store: PgStore<EsrsAccount> = PgStoreBuilder::new(pool.clone())
        .without_running_migrations()
        .with_event_id_format(UuidFormat::V7)
        .try_build()
        .await?;
    let manager = Arc::new(AggregateManager::new(store));
    let clients = streams.into_iter().map(|stream| EsrsClient { manager: manager.clone(), stream });
    let sample = drive(clients.collect(), window).await;
    pool.close().await;
    sample
}

struct EsrsClient {
    manager: Arc<AggregateManager<PgStore<EsrsAccount>>>,
    stream: Stream,
}

impl Client for EsrsClient {
    async fn step(&mut self) -> anyhow::Result<()> {
        let (_, account_id) = self.stream.next();
        let reference = Uuid::now_v7();
        let state = self.manager.load(account_id).await?.unwrap_or_else(|| AggregateState::with_id(account_id));
        self.manager.handle_command(state, (Command::new(reference), metadata(reference))).await??;
        self.stream.accepted();
        Ok(())
    }
}
