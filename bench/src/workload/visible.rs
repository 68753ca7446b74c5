//! visible: from the acknowledgement of a command until the query API shows what it changed, at 500 events a second.
//!
//! Commands are sent at fixed moments, spread evenly over 64 connections, whatever the answers take. As soon as a command is
//! acknowledged, the changed resource is asked for with the receipt's `Consistency-Token`; the latency runs from the acknowledgement
//! until that GET's 200 has been read, its own round trip included. The answer must show the sequence of the receipt or a later one.
//! `hub-command` is the latency of the commands themselves under that load.

use std::time::{Duration, Instant};

use anyhow::Context as _;
use futures::future::BoxFuture;
use hyper::StatusCode;
use tokio::task::JoinSet;

use super::{
    Run, Workload,
    http::{CLIENTS, Roles, prepare, tenants},
};
use crate::{
    measure::{Sample, micros},
    program::Program,
    report::Report,
};

/// Events a second, over all connections.
const RATE: u32 = 500;

/// This many windows long, since percentiles of a fixed rate need their time.
const WINDOWS: u32 = 2;

/// The end of a round that has got stuck.
const GRACE: Duration = Duration::from_secs(60);

/// The workload.
#[derive(Debug)]
pub struct Visible;

impl Workload for Visible {
    fn name(&self) -> &'static str {
        "visible"
    }

    fn prepare<'a>(&'a mut self, run: &'a Run) -> BoxFuture<'a, anyhow::Result<()>> {
        Box::pin(prepare(run))
    }

    fn round<'a>(&'a mut self, run: &'a Run, _: u32, report: &'a mut Report) -> BoxFuture<'a, anyhow::Result<()>> {
        Box::pin(async move {
            run.servers.settle().await?;
            let program = Program::hub(&run.servers, "all").await?;
            let (visible, commands) = at_rate(run, &program).await?;
            report.add("visible", 1, "hub", visible);
            report.add("visible", 1, "hub-command", commands);
            report.peak(
                &format!("hub serve --role all, {RATE} commands/s and as many queries"),
                program.peak_memory_mib(),
            );
            program.stop().await
        })
    }
}

async fn at_rate(run: &Run, program: &Program) -> anyhow::Result<(Sample, Sample)> {
    let connections = program.connections(CLIENTS).await?;
    let mut clients: Vec<Roles> =
        connections.into_iter().zip(tenants(program).await?).map(|(c, tenant)| Roles::new(c, tenant)).collect();
    // The program has just been started, perhaps behind what was sent to it before: it is measured once it has caught up with that.
    for roles in &mut clients {
        visible(roles).await?;
    }
    let begin = Instant::now() + run.window.warm_up;
    let end = begin + run.window.length * WINDOWS;
    let interval = Duration::from_secs(1) * u32::try_from(CLIENTS)? / RATE;
    let first = Instant::now();
    let mut tasks = JoinSet::new();
    for (number, mut roles) in clients.into_iter().enumerate() {
        let mut due = first + Duration::from_secs(1) * u32::try_from(number)? / RATE;
        tasks.spawn(async move {
            let mut latencies = Vec::new();
            while due < end {
                tokio::time::sleep_until(due.into()).await;
                let latency = visible(&mut roles).await?;
                if due >= begin {
                    latencies.push(latency);
                }
                due += interval;
            }
            anyhow::Ok(latencies)
        });
    }
    let all = async {
        let (mut visible, mut commands) = (Sample::default(), Sample::default());
        while let Some(done) = tasks.join_next().await {
            for (command, shown) in done.context("a client was lost")?? {
                commands.latencies_us.push(command);
                visible.latencies_us.push(shown);
            }
        }
        anyhow::Ok((visible, commands))
    };
    let (mut visible, mut commands) = tokio::time::timeout(run.window.length * WINDOWS + GRACE, all).await??;
    // Late commands are sent after the window: they count, in the time that was really needed.
    let seconds = begin.elapsed().max(end - begin).as_secs_f64();
    for sample in [&mut visible, &mut commands] {
        sample.count = sample.latencies_us.len() as u64;
        sample.seconds = seconds;
    }
    Ok((visible, commands))
}

/// Microseconds of one command, and from its acknowledgement to its visibility.
async fn visible(roles: &mut Roles) -> anyhow::Result<(u32, u32)> {
    let sent = Instant::now();
    let changed = roles.command().await?;
    let acknowledged = Instant::now();
    let answer = roles.connection.get(&changed.path, Some(&changed.token)).await?;
    let shown = acknowledged.elapsed();
    anyhow::ensure!(answer.status == StatusCode::OK, "{}: {}", answer.status, String::from_utf8_lossy(&answer.body));
    let sequence = answer.json()?["sequence"].as_i64().unwrap_or(0);
    anyhow::ensure!(sequence >= changed.sequence, "sequence {sequence} was shown after {}", changed.sequence);
    Ok((micros(acknowledged - sent), micros(shown)))
}
