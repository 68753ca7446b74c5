//! query: a tenant's detail asked for again and again, against a bare axum handler that answers a body of the same size.
//!
//! 32 connections, the same load. hub authenticates, traces, counts, and answers with its position and an `ETag`; the bare handler
//! has one route and no layer, and serialises the same JSON for each request.

use futures::future::BoxFuture;

use super::{
    Run, Workload,
    http::{prepare, tenants},
};
use crate::{
    connection::Connection,
    measure::{Client, drive},
    program::Program,
    report::Report,
};

const CLIENTS: usize = 32;

/// The workload.
#[derive(Debug)]
pub struct Query;

impl Workload for Query {
    fn name(&self) -> &'static str {
        "query"
    }

    fn prepare<'a>(&'a mut self, run: &'a Run) -> BoxFuture<'a, anyhow::Result<()>> {
        Box::pin(prepare(run))
    }

    fn round<'a>(&'a mut self, run: &'a Run, _: u32, report: &'a mut Report) -> BoxFuture<'a, anyhow::Result<()>> {
        Box::pin(async move {
            run.servers.settle().await?;
            let program = Program::hub(&run.servers, "all").await?;
            let paths: Vec<String> = tenants(&program).await?.iter().map(|id| format!("/v1/tenants/{id}")).collect();
            let body = program.connect().await?.get(&paths[0], None).await?.success()?.body;
            let readers = program.connections(CLIENTS).await?.into_iter();
            let readers = readers.zip(&paths).map(|(connection, path)| Reader { connection, path: path.clone() });
            report.add("query", CLIENTS, "hub", drive(readers.collect(), run.window).await?);
            report.peak(&format!("hub serve --role all, {CLIENTS} connections asking"), program.peak_memory_mib());
            program.stop().await?;

            let program = Program::axum(&run.servers, &body).await?;
            let readers = program.connections(CLIENTS).await?.into_iter();
            let readers = readers.map(|connection| Reader { connection, path: "/".to_owned() });
            report.add("query", CLIENTS, "axum", drive(readers.collect(), run.window).await?);
            program.stop().await
        })
    }
}

struct Reader {
    connection: Connection,
    path: String,
}

impl Client for Reader {
    async fn step(&mut self) -> anyhow::Result<()> {
        self.connection.get(&self.path, None).await?.success()?;
        Ok(())
    }
}
