//! The benchmark of Service Hub: one run, everything interleaved in rounds on one PostgreSQL and one NATS, medians and ratios.
//!
//! `make bench` runs all of it. See "Performance" in the README for how to read the result.

mod account;
mod connection;
mod fill;
mod goal;
mod machine;
mod measure;
mod output;
mod plot;
mod program;
mod report;
mod servers;
mod subject;
mod workload;

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail};
use clap::Parser;
use hub::shutdown::Shutdown;

use crate::{
    measure::Window,
    report::Report,
    servers::Servers,
    workload::{Run, SIZES, Size, Workload},
};

/// Events in the tables of everybody before anything is measured.
const FILLED: i64 = 200_000;

/// The same for `--quick`.
const FILLED_QUICK: i64 = 20_000;

/// The warm-up is this part of the window.
const WARM_UP_PART: u32 = 4;

/// The longest run that can be asked for.
const ROUNDS_MAX: u32 = 100;
const SECONDS_MAX: u32 = 600;

/// Measures hub against its peers and its limits.
#[derive(Debug, Parser)]
#[command(name = "bench")]
struct Arguments {
    /// Only these workloads: append, seal, hot, import, growth, rebuild, replay, verify, relay, http, visible, query, stream, decide
    workloads: Vec<String>,
    /// How often everything is measured
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=i64::from(ROUNDS_MAX)))]
    rounds: u32,
    /// How long each subject is measured in each round
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=i64::from(SECONDS_MAX)))]
    seconds: u32,
    /// One short round on small tables, to see that everything works; its figures mean nothing
    #[arg(long)]
    quick: bool,
    /// Where the servers keep their data meanwhile
    #[arg(long, default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/target/servers"))]
    directory: PathBuf,
    /// Where latest.csv, latest.md and latest.svg are written
    #[arg(long, default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/results"))]
    results: PathBuf,
}

fn main() -> ExitCode {
    if let Some(code) = program::play_part() {
        return code;
    }
    let arguments = Arguments::parse();
    let runtime = tokio::runtime::Runtime::new().expect("a runtime needs threads only");
    match runtime.block_on(run(&arguments)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let chosen = chosen(&arguments.workloads)?;
    // Ctrl-C and a polite kill both end everything in order; a second one at once.
    let shutdown = Shutdown::on_signals().context("cannot listen for signals")?;
    eprintln!("starting PostgreSQL and nats-server in {}", arguments.directory.display());
    let servers = tokio::select! {
        servers = Servers::start(&arguments.directory) => servers?,
        () = shutdown.drain.cancelled() => bail!("interrupted"),
    };
    let head = vec![machine::description(servers.work()), servers.settings().await?, plan(arguments)];
    for line in &head {
        println!("{line}");
    }
    let mut setting = Run {
        servers,
        window: Window {
            warm_up: Duration::from_secs(u64::from(arguments.seconds)) / WARM_UP_PART,
            length: Duration::from_secs(u64::from(arguments.seconds)),
        },
        filled: FILLED,
        sizes: SIZES.to_vec(),
    };
    let mut rounds = arguments.rounds;
    if arguments.quick {
        (setting.filled, rounds) = (FILLED_QUICK, 1);
        setting.sizes = vec![Size { name: "10k", count: 10_000 }, Size { name: "100k", count: 100_000 }];
        setting.window = Window { warm_up: Duration::from_millis(200), length: Duration::from_millis(800) };
    }
    let measured = tokio::select! {
        report = measured(&setting, chosen, rounds) => report,
        () = shutdown.drain.cancelled() => Err(anyhow::anyhow!("interrupted")),
    };
    setting.servers.stop(&shutdown.hurry).await;
    show(&arguments.results, &measured?, head)
}

/// The workloads that were asked for, or all.
fn chosen(names: &[String]) -> anyhow::Result<Vec<Box<dyn Workload>>> {
    let all = workload::all();
    if let Some(unknown) = names.iter().find(|name| !all.iter().any(|workload| workload.name() == name.as_str())) {
        bail!("there is no workload `{unknown}`");
    }
    Ok(all
        .into_iter()
        .filter(|workload| names.is_empty() || names.iter().any(|name| name == workload.name()))
        .collect())
}

fn plan(arguments: &Arguments) -> String {
    if arguments.quick {
        return "plan: --quick, the figures mean nothing".to_owned();
    }
    let Arguments { rounds, seconds, .. } = arguments;
    format!(
        "plan: {rounds} rounds, each subject {seconds} s a round after a warm-up of a quarter of that; medians over the rounds"
    )
}

async fn measured(run: &Run, mut workloads: Vec<Box<dyn Workload>>, rounds: u32) -> anyhow::Result<Report> {
    let started = Instant::now();
    for workload in &mut workloads {
        eprintln!("preparing {}", workload.name());
        workload.prepare(run).await.with_context(|| format!("cannot prepare {}", workload.name()))?;
    }
    eprintln!("prepared after {:.0} s", started.elapsed().as_secs_f64());
    let mut report = Report::default();
    for number in 0..rounds {
        eprintln!("round {} of {rounds}, {:.0} s after the start", number + 1, started.elapsed().as_secs_f64());
        for workload in &mut workloads {
            workload.round(run, number, &mut report).await.with_context(|| format!("{} failed", workload.name()))?;
        }
    }
    Ok(report)
}

fn show(results: &Path, report: &Report, mut notes: Vec<String>) -> anyhow::Result<()> {
    let rows = report.rows();
    let goals = goal::goals(&rows);
    let machine = notes.first().cloned().unwrap_or_default();
    notes.extend(report.peak_lines());
    let text = output::markdown(&rows, &goals, &notes);
    println!("\n{text}");
    std::fs::create_dir_all(results).with_context(|| format!("cannot make {}", results.display()))?;
    output::write_csv(&results.join("latest.csv"), &rows)?;
    std::fs::write(results.join("latest.md"), &text).context("cannot write latest.md")?;
    plot::write(&results.join("latest.svg"), &rows, &goals, &machine)?;
    println!("written: latest.csv, latest.md and latest.svg in {}", results.display());
    Ok(())
}
