//! relay: hub's relay publishes a log on JetStream, against publishing one message after the other with its acknowledgement awaited.
//!
//! Both write the same messages to a stream of files. The relay is timed from its start until its cursor stands at the end
//! of the log, so electing, reading the log and moving the cursor are part of it; the peer has its events in memory already.

use std::time::{Duration, Instant};

use anyhow::Context as _;
use async_nats::{HeaderMap, jetstream};
use futures::future::BoxFuture;
use hub_event_store::{
    event::Recorded,
    log::Log,
    partition::{POSITION_HEADER, PREVIOUS_POSITION_HEADER, STREAM_NAME, subject_of},
    relay::Relay,
    tail::Tail,
};
use sqlx::{Executor as _, PgPool};
use tokio_util::sync::CancellationToken;

use super::{Run, Workload, shared};
use crate::{
    measure::{Sample, Window, micros},
    report::Report,
};

const DATABASE: &str = "hub_relay";

/// The length of the log that is published.
const EVENT_COUNT: i64 = 50_000;

/// The peer's stream and its subjects.
const PEER_STREAM: &str = "BENCH_ONE_BY_ONE";
const PEER_SUBJECTS: &str = "bench.one.>";

/// The relay has failed when it takes longer.
const LIMIT: Duration = Duration::from_secs(120);

/// How often the cursor is looked at.
const POLL: Duration = Duration::from_millis(5);

const BACK_TO_BEGIN: &str =
    "UPDATE relay_cursor SET position = 0, partition_positions = array_fill(0::bigint, ARRAY[16])";

/// The workload.
#[derive(Debug, Default)]
pub struct RelayLoad {
    events: Vec<Recorded>,
}

impl Workload for RelayLoad {
    fn name(&self) -> &'static str {
        "relay"
    }

    fn prepare<'a>(&'a mut self, run: &'a Run) -> BoxFuture<'a, anyhow::Result<()>> {
        Box::pin(async move {
            shared::log(run, DATABASE, EVENT_COUNT).await?;
            let pool = run.servers.pool(DATABASE, 1).await?;
            self.events = Log::new(pool.clone()).page(0, EVENT_COUNT).await?;
            pool.close().await;
            Ok(())
        })
    }

    fn round<'a>(&'a mut self, run: &'a Run, _: u32, report: &'a mut Report) -> BoxFuture<'a, anyhow::Result<()>> {
        Box::pin(async move {
            let nats = async_nats::connect(run.servers.relay_nats_url()).await?;
            let pool = run.servers.pool(DATABASE, 4).await?;
            report.add("relay", 1, "hub", relayed(&pool, &nats).await?);
            pool.close().await;
            report.add("relay", 1, "one-by-one", one_by_one(&nats, &self.events, run.window).await?);
            Ok(())
        })
    }
}

async fn relayed(pool: &PgPool, nats: &async_nats::Client) -> anyhow::Result<Sample> {
    // The same messages again are refused as duplicates, so each round has a new stream.
    let jetstream = jetstream::new(nats.clone());
    forget(&jetstream, STREAM_NAME).await;
    pool.execute(BACK_TO_BEGIN).await?;
    let tail = Tail::default();
    tail.advance(EVENT_COUNT);
    let end = CancellationToken::new();
    let relay = Relay::new(pool.clone(), nats.clone(), tail);
    let started = Instant::now();
    let running = tokio::spawn({
        let end = end.clone();
        async move { relay.run(end).await }
    });
    loop {
        let position: i64 = sqlx::query_scalar("SELECT position FROM relay_cursor").fetch_one(pool).await?;
        if position >= EVENT_COUNT {
            break;
        }
        anyhow::ensure!(started.elapsed() < LIMIT, "the relay is at {position} after {} s", LIMIT.as_secs());
        tokio::time::sleep(POLL).await;
    }
    let elapsed = started.elapsed();
    end.cancel();
    running.await.context("the relay was lost")?;
    let mut stream = jetstream.get_stream(STREAM_NAME).await.map_err(|error| anyhow::anyhow!("no stream: {error}"))?;
    let messages = stream.info().await?.state.messages;
    let count = u64::try_from(EVENT_COUNT)?;
    anyhow::ensure!(messages == count, "the stream has {messages} messages for {count} events");
    forget(&jetstream, STREAM_NAME).await;
    Ok(Sample::rate(count, elapsed))
}

async fn one_by_one(nats: &async_nats::Client, events: &[Recorded], window: Window) -> anyhow::Result<Sample> {
    let jetstream = jetstream::new(nats.clone());
    forget(&jetstream, PEER_STREAM).await;
    let config = jetstream::stream::Config {
        name: PEER_STREAM.to_owned(),
        subjects: vec![PEER_SUBJECTS.to_owned()],
        storage: jetstream::stream::StorageType::File,
        ..jetstream::stream::Config::default()
    };
    jetstream.create_stream(config).await.map_err(|error| anyhow::anyhow!("no stream for the peer: {error}"))?;
    let started = Instant::now();
    let mut latencies_us = Vec::new();
    for event in events {
        if started.elapsed() > window.length {
            break;
        }
        let sent = Instant::now();
        let mut headers = HeaderMap::new();
        headers.insert(async_nats::header::NATS_MESSAGE_ID, event.event_id.to_string());
        headers.insert(POSITION_HEADER, event.position.to_string());
        headers.insert(PREVIOUS_POSITION_HEADER, (event.position - 1).to_string());
        let subject = format!("bench.one.{}", subject_of(event));
        let acknowledgement = jetstream.publish_with_headers(subject, headers, serde_json::to_vec(event)?.into()).await;
        acknowledgement.map_err(|error| anyhow::anyhow!("not published: {error}"))?.await?;
        latencies_us.push(micros(sent.elapsed()));
    }
    let sample = Sample { latencies_us, ..Sample::default() };
    let count = sample.latencies_us.len() as u64;
    let sample = Sample { count, seconds: started.elapsed().as_secs_f64(), ..sample };
    forget(&jetstream, PEER_STREAM).await;
    Ok(sample)
}

/// Deletes a stream, if there is one.
async fn forget(jetstream: &jetstream::Context, name: &str) {
    // It fails where there is none, as in the first round; a stream that stays is noticed by its count of messages.
    drop(jetstream.delete_stream(name).await);
}
