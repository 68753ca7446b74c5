//! hub as a library: `Repository::execute` with idempotent command ids, as the command API calls it.
//!
//! Every command id is derived from a key by UUIDv5 and every body is fingerprinted by SHA-256, because that is what the product does;
//! the outcome of each command is kept. The reading pool is as large as the clients, at most the 24 that the program opens.

use hub::clock::system_clock;
use hub_event_store::{
    repository::{Effects, ExecuteError, Order, Prepared, Repository},
    store::EventStore,
    tail::Tail,
    upcast::Upcasters,
};
use sha2::{Digest as _, Sha256};
use sqlx::PgPool;
use uuid::Uuid;

use super::Stream;
use crate::{
    account::{Account, Command, Error, metadata},
    measure::{Client, Sample, Window, drive},
    servers::Servers,
};

/// The largest pool; the program's default.
const POOL_SIZE_MAX: u32 = 24;

/// Appends for the window, one client a stream.
pub async fn append(servers: &Servers, database: &str, streams: Vec<Stream>, window: Window) -> anyhow::Result<Sample> {
    let clients = u32::try_from(streams.len())?;
    let pool = servers.pool(database, clients.min(POOL_SIZE_MAX)).await?;
    let accounts = Repository::<Account>::new(store(&pool), |_, _, _| Effects::default());
    let sample =
        drive(streams.into_iter().map(|stream| HubClient { accounts: accounts.clone(), stream }).collect(), window)
            .await;
    drop(accounts);
    pool.close().await;
    sample
}

/// The store behind `pool`.
pub fn store(pool: &PgPool) -> EventStore {
    EventStore::start(pool.clone(), Tail::default(), Upcasters::default(), system_clock())
}

struct HubClient {
    accounts: Repository<Account>,
    stream: Stream,
}

impl Client for HubClient {
    async fn step(&mut self) -> anyhow::Result<()> {
        let (tenant_id, account_id) = self.stream.next();
        let reference = Uuid::now_v7();
        let command_id = Uuid::new_v5(&Uuid::NAMESPACE_OID, reference.as_bytes());
        let command = Command::new(reference);
        let Command::Enter { note, .. } = &command;
        let order = Order {
            metadata: metadata(command_id),
            fingerprint: Sha256::new().chain_update(reference.as_bytes()).chain_update(note).finalize().into(),
            repeatable: true,
            expected_sequence: None,
        };
        let prepare = |_| {
            let prepared = Prepared::new(command.clone());
            async { Ok::<_, ExecuteError<Error>>(prepared) }
        };
        // No conflict is counted here: the first one that a caller were shown would end the whole run.
        self.accounts.execute(tenant_id, account_id, &order, prepare).await?;
        self.stream.accepted();
        Ok(())
    }
}
