//! A PostgreSQL of its own for a test, which can be stopped and started again.

use std::time::Duration;

use hub::embedded::{DATABASE, Directory, Durability, Place, Postgres, PostgresBinaries};
use hub::migrate::migrate;
use sqlx::PgPool;
use sqlx::postgres::PgPoolOptions;
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

use super::environment::directory;
use super::nats::binaries;

/// A server with one migrated database; stopped, and its data removed, when it is dropped. It takes some seconds to
/// make: [`super::Database`] is for tests that need no outage.
#[derive(Debug)]
pub struct OwnPostgres {
    /// Connections to the database. They come back by themselves after an outage; waiting for one ends after 2 s.
    pub pool: PgPool,
    /// The URL of the database, the same after a restart.
    pub url: String,
    // Fields are dropped in this order: first the server, then its files.
    server: Option<Postgres>,
    binaries: PostgresBinaries,
    place: Place,
    port: u16,
    _lock: Directory,
    _files: TempDir,
}

impl OwnPostgres {
    /// Makes one on a free port.
    ///
    /// # Panics
    /// When it does not start.
    pub async fn start() -> Self {
        let files = directory();
        let lock = Directory::lock(files.path()).expect("the directory is new");
        let place = Place::prepare(&lock).expect("the directory can be written");
        let binaries = binaries().postgres;
        let server = Postgres::start(&place, &binaries, None, Durability::Disposable).await.expect("PostgreSQL starts");
        server.create_database(DATABASE).await.expect("the server is new");
        let url = server.url(DATABASE);
        let pool = PgPoolOptions::new()
            .max_connections(16)
            .acquire_timeout(Duration::from_secs(2))
            .connect(&url)
            .await
            .expect("the database was just made");
        migrate(&pool).await.expect("the migrations apply to an empty database");
        let port = server.port();
        Self { pool, url, server: Some(server), binaries, place, port, _lock: lock, _files: files }
    }

    /// Stops it in the middle of whatever goes on: an outage begins. What was committed stays.
    pub async fn stop(&mut self) {
        if let Some(server) = self.server.take() {
            let hurry = CancellationToken::new();
            hurry.cancel();
            server.stop(&hurry).await;
        }
    }

    /// Ends it as `pg_ctl stop -m immediate` does: nothing is finished and nothing written; the next start recovers from its log.
    pub fn crash(&mut self) {
        // Dropping it sends that signal.
        drop(self.server.take());
    }

    /// Starts it again on the same port with the same data, after stopping it when it runs.
    ///
    /// # Panics
    /// When it does not start.
    pub async fn restart(&mut self) {
        self.stop().await;
        let server = Postgres::start(&self.place, &self.binaries, Some(self.port), Durability::Disposable)
            .await
            .expect("PostgreSQL starts again");
        self.server = Some(server);
    }
}
