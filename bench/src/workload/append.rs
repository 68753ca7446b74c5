//! append: one command after the other from 1, 8, 32 and 64 clients.

use futures::future::BoxFuture;

use super::{Run, Workload, shared};
use crate::{
    fill,
    report::Report,
    subject::{Stream, esrs, hub, pgbench, postgres_es},
};

/// Databases, one a subject.
pub const HUB: &str = "hub_append";
pub const POSTGRES_ES: &str = "postgres_es";
const ESRS: &str = "esrs";
const PGBENCH: &str = "pgbench";

/// Numbers of clients.
const CLIENTS: &[usize] = &[1, 8, 32, 64];

/// The workload.
#[derive(Debug)]
pub struct AppendLoad;

impl Workload for AppendLoad {
    fn name(&self) -> &'static str {
        "append"
    }

    fn prepare<'a>(&'a mut self, run: &'a Run) -> BoxFuture<'a, anyhow::Result<()>> {
        Box::pin(async move {
            shared::log(run, HUB, run.filled).await?;
            shared::postgres_es(run).await?;
            let pool = run.servers.create(ESRS).await?;
            esrs::create_table(&pool).await?;
            fill::esrs(&pool, esrs::TABLE, run.filled).await?;
            pool.close().await;
            let pool = run.servers.create(PGBENCH).await?;
            fill::pgbench(&pool, run.filled).await?;
            pool.close().await;
            Ok(())
        })
    }

    fn round<'a>(&'a mut self, run: &'a Run, number: u32, report: &'a mut Report) -> BoxFuture<'a, anyhow::Result<()>> {
        Box::pin(async move {
            for &clients in CLIENTS {
                run.servers.settle().await?;
                let streams = || Stream::own(clients);
                let sample = hub::append(&run.servers, HUB, streams(), run.window).await?;
                report.add("append", clients, "hub", sample);
                for size in pool_sizes(clients)? {
                    let way = format!("pool {size}");
                    let sample = postgres_es::append(&run.servers, POSTGRES_ES, streams(), size, run.window).await?;
                    report.add_way("append", clients, "postgres-es", &way, sample);
                    let sample = esrs::append(&run.servers, ESRS, streams(), size, run.window).await?;
                    report.add_way("append", clients, "esrs", &way, sample);
                }
                let run_number = number * 100 + u32::try_from(clients)?;
                let sample = pgbench::append(&run.servers, PGBENCH, clients, run_number, run.window).await?;
                report.add("append", clients, "pgbench", sample);
            }
            Ok(())
        })
    }
}

/// As large as the clients, and where that is more than the default of postgres-es, as small as that.
pub fn pool_sizes(clients: usize) -> anyhow::Result<Vec<u32>> {
    let clients = u32::try_from(clients)?;
    let default = postgres_es::DEFAULT_POOL_SIZE;
    Ok(if clients > default { vec![clients, default] } else { vec![clients] })
}
