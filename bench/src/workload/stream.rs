//! stream: a tenant's events to 200 busy streams of the running program while 2,000 idle ones are open, on other tenants.
//!
//! `hub` is 200 connections that read the last few thousand events of one tenant, as server-sent events, again and again; they are near the end of
//! the log, so the program has them in memory. `axum-sse` is a bare handler that sends the very same bytes, which it has ready, to as
//! many connections: what any server could do at best, with the same clients on the same two cores. `hub-live` is events as they come: 200 connections
//! wait at the end of the log while others send commands as fast as they are answered; each event counts once for each connection.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::Context as _;
use bytes::Bytes;
use futures::future::BoxFuture;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use serde_json::json;
use tokio::task::JoinSet;

use super::{
    Run, Workload,
    http::{prepare, tenants},
};
use crate::{
    connection::Connection,
    measure::{Sample, Window, to_f64},
    program::Program,
    report::Report,
};

/// Streams that nothing happens on.
const IDLE: usize = 2_000;

/// Streams that are sent as much as they take.
const BUSY: usize = 200;

/// Connections that send commands.
const WRITERS: usize = 8;

/// So many events are read again and again.
const HISTORY: u64 = 3_000;

/// Open files of this process and of the program: a socket for each stream and some more.
const FILES: u64 = 8_192;

/// The events are there, and read once, within this time.
const FILL_LIMIT: Duration = Duration::from_secs(120);

/// The workload.
#[derive(Debug)]
pub struct Streams;

impl Workload for Streams {
    fn name(&self) -> &'static str {
        "stream"
    }

    fn prepare<'a>(&'a mut self, run: &'a Run) -> BoxFuture<'a, anyhow::Result<()>> {
        Box::pin(async move {
            allow_files()?;
            prepare(run).await
        })
    }

    fn round<'a>(&'a mut self, run: &'a Run, _: u32, report: &'a mut Report) -> BoxFuture<'a, anyhow::Result<()>> {
        Box::pin(async move {
            run.servers.settle().await?;
            let program = Program::hub(&run.servers, "all").await?;
            let all = tenants(&program).await?;
            let (busy, others) = all.split_first().context("there are tenants")?;

            let before = program.peak_memory_mib();
            let idle = idle(&program, others).await?;
            let after = program.peak_memory_mib();
            if let (Some(before), Some(after)) = (before, after) {
                let kib = to_f64(after.saturating_sub(before)) * 1_024.0 / to_f64(IDLE as u64);
                eprintln!("  stream   {IDLE} idle streams take {kib:.1} KiB each");
            }
            report.peak("hub serve --role all before any stream is open", before);
            report.peak(&format!("hub serve --role all, {IDLE} idle streams"), after);

            let path = format!("/v1/tenants/{busy}/events/stream");
            let live = live(&program, busy, &path, run.window).await?;
            report.add("stream", BUSY, "hub-live", live);
            // As long as somebody follows, the events stay where they are read from.
            let (bytes, kept) = fill(&program, busy, &path).await?;
            let history = history(&program, busy).await?;
            let path = format!("{path}?after={history}");
            report.add("stream", BUSY, "hub", again(&program, &path, run.window).await?);
            report
                .peak(&format!("hub serve --role all, {IDLE} idle and {BUSY} busy streams"), program.peak_memory_mib());
            drop((idle, kept));
            program.stop().await?;

            let program = Program::sse(&run.servers, &bytes).await?;
            report.add("stream", BUSY, "axum-sse", again(&program, "/", run.window).await?);
            program.stop().await
        })
    }
}

/// Raises the bound on open files, which the program takes over.
fn allow_files() -> anyhow::Result<()> {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    if limit.current.is_some_and(|current| current < FILES) {
        setrlimit(Resource::Nofile, Rlimit { current: Some(FILES), maximum: limit.maximum })
            .context("this many streams need this many open files, see ulimit -n")?;
    }
    Ok(())
}

/// Opens the idle streams, spread over the tenants.
async fn idle(program: &Program, tenants: &[String]) -> anyhow::Result<Vec<(Connection, Incoming)>> {
    let mut streams = Vec::with_capacity(IDLE);
    for tenant in tenants.iter().cycle().take(IDLE) {
        let mut connection = program.connect().await?;
        let body = connection.follow(&format!("/v1/tenants/{tenant}/events/stream")).await?;
        streams.push((connection, body));
    }
    Ok(streams)
}

/// Appends the events that are read again and again while somebody follows, and answers the frames of the last of them.
async fn fill(program: &Program, tenant: &str, path: &str) -> anyhow::Result<(Bytes, (Connection, Incoming))> {
    let mut connection = program.connect().await?;
    let mut body = connection.follow(path).await?;
    let filled = async {
        let mut frames = Frames::default();
        let mut bytes = Vec::new();
        let writers = writers(program, tenant).await?;
        while frames.count <= HISTORY {
            let data = next(&mut body).await?.context("the stream has ended")?;
            frames.add(&data);
            bytes.extend_from_slice(&data);
        }
        drop(writers);
        anyhow::Ok(Bytes::from(bytes))
    };
    let bytes = tokio::time::timeout(FILL_LIMIT, filled).await.context("the events are not there in time")??;
    Ok((bytes, (connection, body)))
}

/// The position from which on so many events are left.
async fn history(program: &Program, tenant: &str) -> anyhow::Result<u64> {
    let path = format!("/v1/tenants/{tenant}/events?after=latest");
    let page = program.connect().await?.get(&path, None).await?.success()?.json()?;
    Ok(page["next_after"].as_u64().unwrap_or(0).saturating_sub(HISTORY))
}

/// Connections that rename the tenant as fast as they are answered, until this is dropped.
async fn writers(program: &Program, tenant: &str) -> anyhow::Result<JoinSet<anyhow::Result<()>>> {
    let mut writers = JoinSet::new();
    for (number, mut connection) in program.connections(WRITERS).await?.into_iter().enumerate() {
        let path = format!("/v1/tenants/{tenant}/rename");
        writers.spawn(async move {
            for count in 0_u64.. {
                let name = json!({ "name": format!("Benchmark {number} {count}") });
                connection.post(&path, &name).await?.success()?;
            }
            Ok(())
        });
    }
    Ok(writers)
}

/// Events as they come.
async fn live(program: &Program, tenant: &str, path: &str, window: Window) -> anyhow::Result<Sample> {
    let mut readers = Readers::default();
    for _ in 0..BUSY {
        let mut connection = program.connect().await?;
        let body = connection.follow(path).await?;
        let counted = readers.counted.clone();
        readers.tasks.spawn(async move {
            let _connection = connection;
            read(body, u64::MAX, &counted).await
        });
    }
    let writers = writers(program, tenant).await?;
    let sample = readers.sample(window).await;
    drop(writers);
    sample
}

/// The same events again and again.
async fn again(program: &Program, path: &str, window: Window) -> anyhow::Result<Sample> {
    let mut readers = Readers::default();
    for _ in 0..BUSY {
        let (counted, path) = (readers.counted.clone(), path.to_owned());
        let (host, key) = (program.host.clone(), program.key.clone());
        readers.tasks.spawn(async move {
            loop {
                let mut connection = Connection::open(&host, &key).await?;
                let body = connection.follow(&path).await?;
                read(body, HISTORY, &counted).await?;
            }
        });
    }
    readers.sample(window).await
}

/// Reads at least so many frames, or to the end.
async fn read(mut body: Incoming, count: u64, counted: &AtomicU64) -> anyhow::Result<()> {
    let mut frames = Frames::default();
    while frames.count < count {
        let Some(data) = next(&mut body).await? else { return Ok(()) };
        let before = frames.count;
        frames.add(&data);
        counted.fetch_add(frames.count - before, Ordering::Relaxed);
    }
    Ok(())
}

async fn next(body: &mut Incoming) -> anyhow::Result<Option<Bytes>> {
    let frame = body.frame().await.transpose()?;
    Ok(frame.and_then(|frame| frame.into_data().ok()))
}

/// Counts frames: each ends with an empty line.
#[derive(Debug, Default)]
struct Frames {
    count: u64,
    ended: bool,
}

impl Frames {
    fn add(&mut self, data: &[u8]) {
        for byte in data {
            let end = *byte == b'\n';
            self.count += u64::from(end && self.ended);
            self.ended = end && !self.ended;
        }
    }
}

/// Those who read side by side, and what they have read together.
#[derive(Debug, Default)]
struct Readers {
    counted: Arc<AtomicU64>,
    tasks: JoinSet<anyhow::Result<()>>,
}

impl Readers {
    /// What they read in the window; none may end by itself.
    async fn sample(mut self, window: Window) -> anyhow::Result<Sample> {
        tokio::time::sleep(window.warm_up).await;
        let (began, before) = (Instant::now(), self.counted.load(Ordering::Relaxed));
        tokio::time::sleep(window.length).await;
        let sample = Sample::rate(self.counted.load(Ordering::Relaxed) - before, began.elapsed());
        if let Some(ended) = self.tasks.try_join_next() {
            ended.context("a reader was lost")??;
            anyhow::bail!("a stream has ended");
        }
        Ok(sample)
    }
}

#[cfg(test)]
mod tests {
    use super::Frames;

    #[test]
    fn frames_are_counted_however_they_are_cut() {
        let text = b"id: 1\ndata: {}\n\n: heartbeat\n\nid: 2\ndata: {}\n\n";
        for size in 1..text.len() {
            let mut frames = Frames::default();
            text.chunks(size).for_each(|piece| frames.add(piece));
            assert_eq!(frames.count, 3, "{size}");
        }
    }
}
