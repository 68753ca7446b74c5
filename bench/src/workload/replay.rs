//! replay: the fold alone, from events in memory to rows in memory, without any database.
//!
//! The peer does what postgres-es does with a row it has read: parse the payload to a JSON value, make the event of it, update the view.

use std::{collections::HashMap, time::Instant};

use cqrs_es::{EventEnvelope, View as _};
use futures::future::BoxFuture;
use hub_event_store::{event::Recorded, log::Log};
use hub_projections::model::{AggregateKey, ReadModel as _};
use serde_json::Value;
use uuid::Uuid;

use super::{Run, Workload, rebuild, shared};
use crate::{
    account::{Account, AccountRow, Accounts},
    measure::{Sample, Window},
    report::Report,
};

/// So many events are folded again and again.
const EVENT_COUNT: i64 = 50_000;

/// The workload.
#[derive(Debug, Default)]
pub struct Replay {
    events: std::sync::Arc<Vec<Recorded>>,
}

impl Workload for Replay {
    fn name(&self) -> &'static str {
        "replay"
    }

    fn prepare<'a>(&'a mut self, run: &'a Run) -> BoxFuture<'a, anyhow::Result<()>> {
        Box::pin(async move {
            let size = rebuild::size(run);
            shared::size(run, size).await?;
            let pool = run.servers.pool(&size.database(), 1).await?;
            self.events = Log::new(pool.clone()).page(0, EVENT_COUNT).await?.into();
            pool.close().await;
            Ok(())
        })
    }

    fn round<'a>(&'a mut self, run: &'a Run, _: u32, report: &'a mut Report) -> BoxFuture<'a, anyhow::Result<()>> {
        Box::pin(async move {
            let (events, window) = (self.events.clone(), run.window);
            let sample = tokio::task::spawn_blocking(move || again(window, events.len(), || fold(&events))).await??;
            report.add("replay", 1, "hub", sample);
            let events = self.events.clone();
            let texts: Vec<(Uuid, usize, String)> = events
                .iter()
                .map(|event| {
                    let text = format!("{{\"type\":\"entered\",\"data\":{}}}", event.payload.get());
                    (event.aggregate_id, usize::try_from(event.sequence).unwrap_or(0), text)
                })
                .collect();
            let sample = tokio::task::spawn_blocking(move || again(window, texts.len(), || update(&texts))).await??;
            report.add("replay", 1, "postgres-es", sample);
            Ok(())
        })
    }
}

/// Does `work`, which handles `count` events, until the window is over.
fn again(window: Window, count: usize, work: impl Fn() -> anyhow::Result<usize>) -> anyhow::Result<Sample> {
    let started = Instant::now();
    let mut done = 0;
    while started.elapsed() < window.length {
        anyhow::ensure!(work()? > 0, "there is nothing to fold");
        done += count as u64;
    }
    Ok(Sample::rate(done, started.elapsed()))
}

fn fold(events: &[Recorded]) -> anyhow::Result<usize> {
    let mut rows: HashMap<AggregateKey, AccountRow> = HashMap::new();
    for event in events {
        for key in Accounts::keys(event)? {
            if let Some(row) = Accounts::fold(rows.remove(&key), &key, event)? {
                rows.insert(key, row);
            }
        }
    }
    Ok(rows.len())
}

fn update(texts: &[(Uuid, usize, String)]) -> anyhow::Result<usize> {
    let mut rows: HashMap<String, AccountRow> = HashMap::new();
    for (id, sequence, text) in texts {
        let value: Value = serde_json::from_str(text)?;
        let envelope = EventEnvelope::<Account> {
            aggregate_id: id.to_string(),
            sequence: *sequence,
            payload: serde_json::from_value(value)?,
            metadata: HashMap::new(),
        };
        rows.entry(envelope.aggregate_id.clone()).or_default().update(&envelope);
    }
    Ok(rows.len())
}
