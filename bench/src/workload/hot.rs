//! hot: 32 clients on 4 streams, all on the same one's next event.
//!
//! When a stream has ten events its clients go on to a new one together, so that the peer, who reads the whole stream each time, does
//! not pay for its length.

use futures::future::BoxFuture;

use super::{
    Run, Workload,
    append::{HUB, POSTGRES_ES, pool_sizes},
    shared,
};
use crate::{
    report::Report,
    subject::{Stream, hub, postgres_es},
};

const CLIENTS: usize = 32;
const STREAMS: usize = 4;

/// The workload.
#[derive(Debug)]
pub struct Hot;

impl Workload for Hot {
    fn name(&self) -> &'static str {
        "hot"
    }

    fn prepare<'a>(&'a mut self, run: &'a Run) -> BoxFuture<'a, anyhow::Result<()>> {
        Box::pin(async move {
            shared::log(run, HUB, run.filled).await?;
            shared::postgres_es(run).await
        })
    }

    fn round<'a>(&'a mut self, run: &'a Run, _: u32, report: &'a mut Report) -> BoxFuture<'a, anyhow::Result<()>> {
        Box::pin(async move {
            run.servers.settle().await?;
            let streams = || Stream::hot(CLIENTS, STREAMS);
            let sample = hub::append(&run.servers, HUB, streams(), run.window).await?;
            report.add("hot", CLIENTS, "hub", sample);
            for size in pool_sizes(CLIENTS)? {
                let sample = postgres_es::append(&run.servers, POSTGRES_ES, streams(), size, run.window).await?;
                report.add_way("hot", CLIENTS, "postgres-es", &format!("pool {size}"), sample);
            }
            Ok(())
        })
    }
}
