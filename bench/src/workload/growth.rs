//! growth: appending, and reading one account, with ever more events in the log.
//!
//! There is no checkpoint right before: after one, PostgreSQL writes each page whole when it is first touched. Command ids are random, so
//! in a large index nearly every one touches another page, and a window of seconds would show that and nothing else.

use futures::future::BoxFuture;
use hub_event_store::{event::StreamId, log::Log};
use uuid::Uuid;

use super::{Run, Workload, shared};
use crate::{
    account::tenant,
    measure::{Client, drive},
    report::Report,
    subject::{Stream, hub},
};

const CLIENTS: usize = 32;

/// As many connections read as the default pool of the program has.
const READERS: u32 = 24;

/// Events asked for of one account; more than it has.
const LIMIT: i64 = 100;

/// The workload.
#[derive(Debug)]
pub struct Growth;

impl Workload for Growth {
    fn name(&self) -> &'static str {
        "growth"
    }

    fn prepare<'a>(&'a mut self, run: &'a Run) -> BoxFuture<'a, anyhow::Result<()>> {
        Box::pin(async move {
            for &size in &run.sizes {
                shared::size(run, size).await?;
            }
            Ok(())
        })
    }

    fn round<'a>(&'a mut self, run: &'a Run, _: u32, report: &'a mut Report) -> BoxFuture<'a, anyhow::Result<()>> {
        Box::pin(async move {
            for &size in &run.sizes {
                let sample = hub::append(&run.servers, &size.database(), Stream::own(CLIENTS), run.window).await?;
                report.add("growth", CLIENTS, &format!("hub@{}", size.name), sample);
            }
            for &size in &run.sizes {
                let pool = run.servers.pool(&size.database(), READERS).await?;
                let accounts = u64::try_from(size.count / 10)?;
                let readers = (0..CLIENTS as u64).map(|number| Reader {
                    log: Log::new(pool.clone()),
                    accounts,
                    // Far from each other, and never twice the same for a long time.
                    next: accounts / CLIENTS as u64 * number,
                });
                let sample = drive(readers.collect(), run.window).await;
                pool.close().await;
                report.add("growth", CLIENTS, &format!("hub-read@{}", size.name), sample?);
            }
            Ok(())
        })
    }
}

/// Reads filled accounts all over the log.
struct Reader {
    log: Log,
    accounts: u64,
    next: u64,
}

impl Client for Reader {
    async fn step(&mut self) -> anyhow::Result<()> {
        // A step that shares no factor with any of the sizes goes through all accounts.
        self.next = (self.next + 7_919) % self.accounts;
        let aggregate_id = Uuid::from_u128(0x0000_0000_0000_7000_8000_0000_0000_0000 + u128::from(self.next));
        let stream = StreamId { tenant_id: tenant(self.next), aggregate_type: "account", aggregate_id };
        let events = self.log.page_of_stream(&stream, 0, LIMIT).await?;
        anyhow::ensure!(events.len() == 10, "account {aggregate_id} has {} events", events.len());
        Ok(())
    }
}
