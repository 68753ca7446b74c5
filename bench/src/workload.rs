//! The workloads: each prepares its tables once and is then asked for one round after the other.

pub mod append;
pub mod decide;
pub mod growth;
pub mod hot;
pub mod http;
pub mod import;
pub mod query;
pub mod rebuild;
pub mod relay;
pub mod replay;
pub mod seal;
pub mod stream;
pub mod verify;
pub mod visible;
pub mod webhooks;

use futures::future::BoxFuture;

use crate::{measure::Window, report::Report, servers::Servers};

/// What every workload works with.
#[derive(Debug)]
pub struct Run {
    /// The servers that all share.
    pub servers: Servers,
    /// How long each subject is measured in each round.
    pub window: Window,
    /// Events in the tables that are filled beforehand.
    pub filled: i64,
    /// Sizes of the log that growth and rebuild work on, smallest first.
    pub sizes: Vec<Size>,
}

/// A size of the log and its name.
#[derive(Debug, Clone, Copy)]
pub struct Size {
    pub name: &'static str,
    pub count: i64,
}

/// The sizes of a whole run.
pub const SIZES: &[Size] = &[
    Size { name: "10k", count: 10_000 },
    Size { name: "100k", count: 100_000 },
    Size { name: "1M", count: 1_000_000 },
    Size { name: "5M", count: 5_000_000 },
];

/// The name of the log that is rebuilt and replayed from.
pub const REBUILT: &str = "1M";

impl Size {
    /// The database with a log of this size.
    pub fn database(self) -> String {
        format!("hub_{}", self.name.to_lowercase())
    }
}

/// One workload.
pub trait Workload: Send {
    /// Its name on the command line.
    fn name(&self) -> &'static str;

    /// Makes and fills what it needs.
    fn prepare<'a>(&'a mut self, run: &'a Run) -> BoxFuture<'a, anyhow::Result<()>>;

    /// Measures each subject once; `number` counts from 0.
    fn round<'a>(&'a mut self, run: &'a Run, number: u32, report: &'a mut Report) -> BoxFuture<'a, anyhow::Result<()>>;
}

/// All of them, in the order in which a round goes through them.
pub fn all() -> Vec<Box<dyn Workload>> {
    vec![
        Box::new(append::AppendLoad),
        Box::new(seal::Seal),
        Box::new(hot::Hot),
        Box::new(import::Import),
        Box::new(growth::Growth),
        Box::new(rebuild::Rebuild),
        Box::new(replay::Replay::default()),
        Box::new(verify::Verify),
        Box::new(relay::RelayLoad::default()),
        Box::new(http::Http),
        Box::new(visible::Visible),
        Box::new(query::Query),
        Box::new(stream::Streams),
        Box::new(decide::Decide),
        Box::new(webhooks::Webhooks),
    ]
}

/// The databases that more than one workload uses; made by the first that needs them.
pub mod shared {
    use super::{Run, Size};
    use crate::{account::READ_MODEL_TABLES, fill};
    use sqlx::Executor as _;

    /// Events of the benchmark's account for hub, in a database of this name; filled only once.
    pub async fn log(run: &Run, database: &str, count: i64) -> anyhow::Result<()> {
        let pool = run.servers.create_migrated(database).await?;
        let head: i64 = sqlx::query_scalar("SELECT position FROM log_head").fetch_one(&pool).await?;
        if head == 0 {
            eprintln!("  filling {database} with {count} events");
            pool.execute(READ_MODEL_TABLES).await?;
            fill::hub(&pool, count).await?;
        }
        pool.close().await;
        Ok(())
    }

    /// The log of a size.
    pub async fn size(run: &Run, size: Size) -> anyhow::Result<()> {
        log(run, &size.database(), size.count).await
    }

    /// The same events for postgres-es, in a database of its own.
    pub async fn postgres_es(run: &Run) -> anyhow::Result<()> {
        let pool = run.servers.create(super::append::POSTGRES_ES).await?;
        let there: bool = sqlx::query_scalar("SELECT to_regclass('events') IS NOT NULL").fetch_one(&pool).await?;
        if !there {
            fill::postgres_es(&pool, run.filled).await?;
            pool.execute(READ_MODEL_TABLES).await?;
        }
        pool.close().await;
        Ok(())
    }
}
