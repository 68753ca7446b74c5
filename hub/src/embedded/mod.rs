//! PostgreSQL and NATS of our own: found, started below one directory on free loopback ports, and stopped in order.
//!
//! Life: [`Directory::lock`], [`Binaries::find`], [`Place::prepare`], [`Servers::start`], work, [`Servers::stop`]. A
//! process that was killed leaves its servers running; the next one finds and stops them before it starts its own.
//!
//! ```text
//! .hub/lock             held while a hub runs; holds its process id
//! .hub/running.json     addresses of the hub that runs, for the other verbs
//! .hub/admin.key        key of the first administrator
//! .hub/secret.key       key that signs cursors
//! .hub/nats-*.key       keys of the operator and the account of NATS
//! .hub/nats.creds       what the hub connects to NATS with
//! .hub/log/             what the servers say
//! .hub/servers/         postgres/ and nats/, owned by the account that the servers run as
//! ```

mod account;
mod binaries;
mod database;
mod directory;
mod leftover;
mod log;
mod nats;
mod nats_account;
mod place;
mod postgres;
mod process;
mod running;

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use tokio_util::sync::CancellationToken;

pub use account::Account;
pub use binaries::{Binaries, PostgresBinaries};
pub use database::OpenDatabase;
pub use directory::Directory;
pub use leftover::stop_leftovers;
pub use nats::Nats;
pub use nats_account::NatsAccount;
pub use place::Place;
pub use postgres::{Durability, Postgres};
pub use running::Running;

/// The name of the database that holds everything.
pub const DATABASE: &str = "hub";

/// The name of the one beside it that holds the keys of personal data, so that a backup of the events does not.
pub const VAULT_DATABASE: &str = "hub_vault";

/// Between two starts of a NATS that does not stay: at first, and at most.
const NATS_DELAY_MIN: Duration = Duration::from_secs(1);
const NATS_DELAY_MAX: Duration = Duration::from_secs(30);

/// Both servers of one hub.
#[derive(Debug)]
pub struct Servers {
    /// The truth.
    pub postgres: Postgres,
    /// The carrier.
    pub nats: Nats,
    /// Whose users NATS lets in; without it everybody.
    account: Option<Arc<NatsAccount>>,
}

impl Servers {
    /// Starts both at the same time, and makes the database when it does not exist.
    ///
    /// # Errors
    /// When one of them does not start; the other is stopped then. Also when the data was written by another version.
    pub async fn start(place: &Place, binaries: &Binaries) -> anyhow::Result<Self> {
        Self::start_for(place, binaries, None).await
    }

    /// The same with a NATS that lets in only users of this account.
    ///
    /// # Errors
    /// As [`Servers::start`].
    pub async fn start_for(
        place: &Place,
        binaries: &Binaries,
        account: Option<Arc<NatsAccount>>,
    ) -> anyhow::Result<Self> {
        let postgres = async {
            let postgres = Postgres::start(place, &binaries.postgres, None, Durability::Durable).await?;
            postgres.create_database(DATABASE).await?;
            postgres.create_database(VAULT_DATABASE).await?;
            anyhow::Ok(postgres)
        };
        let nats = Nats::start_for(place, &binaries.nats, None, account.as_deref());
        let (postgres, nats) = tokio::try_join!(postgres, nats)?;
        Ok(Self { postgres, nats, account })
    }

    /// Waits until the servers can no longer do their work, and says why. NATS is only a carrier: when it ends by itself it is started
    /// again on its port, after a delay that grows while it does not stay. PostgreSQL is not.
    pub async fn supervise(&mut self, place: &Place, binaries: &Binaries) -> anyhow::Error {
        let mut delay = Duration::ZERO;
        loop {
            let started_at = Instant::now();
            let mut error = tokio::select! {
                error = self.postgres.died() => return error,
                error = self.nats.died() => error,
            };
            if started_at.elapsed() > NATS_DELAY_MAX {
                delay = Duration::ZERO;
            }
            loop {
                tracing::error!("{error:#}; starting it again in {} s", delay.as_secs());
                tokio::select! {
                    error = self.postgres.died() => return error,
                    () = tokio::time::sleep(delay) => {}
                }
                delay = (delay * 2).clamp(NATS_DELAY_MIN, NATS_DELAY_MAX);
                match Nats::start_for(place, &binaries.nats, Some(self.nats.port()), self.account.as_deref()).await {
                    Ok(nats) => {
                        self.nats = nats;
                        break;
                    }
                    Err(failed) => error = failed,
                }
            }
        }
    }

    /// Stops NATS, then PostgreSQL, each within a bound, or both at once when `hurry` is cancelled.
    pub async fn stop(self, hurry: &CancellationToken) {
        let Self { postgres, nats, account: _ } = self;
        nats.stop(hurry).await;
        postgres.stop(hurry).await;
    }
}

/// Runs blocking file and process work away from the threads that drive sockets.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> anyhow::Result<T> + Send + 'static) -> anyhow::Result<T> {
    tokio::task::spawn_blocking(work).await.context("a task of the start was lost")?
}
