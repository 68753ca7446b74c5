//! `hub replay verify`: proves the log and every read model.

use std::{fmt::Write as _, process::ExitCode};

use hub_replay_tools::{
    read_models::{ReadModelReport, verify_read_models},
    verify::{LogReport, verify_log},
};
use serde::Serialize;
use sqlx::PgPool;

use super::{print, progress, with_database};
use crate::{config::Config, serve::upcasters};

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// Check that the log is whole and that every read model is what the log leads to; exit code 1 if not
    Verify {
        /// How the result is printed
        #[arg(long, value_enum, default_value_t = Format::Text)]
        format: Format,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    Text,
    Json,
}

/// Everything that was checked.
#[derive(Serialize)]
struct Report {
    passed: bool,
    log: LogReport,
    read_models: Vec<ReadModelReport>,
}

pub(super) async fn run(config: &Config, arguments: Arguments) -> anyhow::Result<ExitCode> {
    let What::Verify { format } = arguments.what;
    let report = with_database(config, async |pool| verify(&pool).await).await?;
    print(&match format {
        Format::Json => serde_json::to_string_pretty(&report)? + "\n",
        Format::Text => text(&report)?,
    })?;
    Ok(if report.passed { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn verify(pool: &PgPool) -> anyhow::Result<Report> {
    let bar = progress::events("log");
    let log = verify_log(pool, |done, all| progress::show(&bar, done, all)).await?;
    let read_models = verify_read_models(pool, &upcasters(), &hub_projections::all(), &|name, done, all| {
        bar.set_message(name.to_owned());
        progress::show(&bar, done, all);
    })
    .await?;
    bar.finish_and_clear();
    let passed = log.passed() && read_models.iter().all(ReadModelReport::passed);
    Ok(Report { passed, log, read_models })
}

fn text(report: &Report) -> Result<String, std::fmt::Error> {
    let mut text = String::new();
    let log = &report.log;
    writeln!(
        text,
        "log               {} events of {} streams of {} tenants, head {}: {}",
        log.event_count,
        log.stream_count,
        log.tenant_count,
        log.head,
        verdict(log.finding_count)
    )?;
    for finding in &log.findings {
        writeln!(text, "  at {}: {}", finding.position, finding.what)?;
    }
    if log.findings.len() < log.finding_count {
        writeln!(text, "  and {} more", log.finding_count - log.findings.len())?;
    }
    for model in &report.read_models {
        let wrong = model.differences.len() + model.parked_count + usize::from(model.trouble.is_some());
        writeln!(text, "{:<17} at position {} of {}: {}", model.name, model.position, model.head, verdict(wrong))?;
        if let Some(trouble) = &model.trouble {
            writeln!(text, "  {trouble}")?;
        }
        if model.parked_count > 0 {
            writeln!(text, "  {} events are parked", model.parked_count)?;
        }
        if model.discarded_count > 0 {
            writeln!(text, "  {} events were left out for good: hub projections parked list", model.discarded_count)?;
        }
        for row in &model.differences {
            let shown = |row: &Option<serde_json::Value>| row.as_ref().map_or("no row".to_owned(), ToString::to_string);
            writeln!(text, "  {}\n    found    {}\n    expected {}", row.key, shown(&row.found), shown(&row.expected))?;
        }
    }
    writeln!(text, "{}", if report.passed { "all is well" } else { "something is wrong" })?;
    Ok(text)
}

fn verdict(wrong: usize) -> String {
    if wrong == 0 { "right".to_owned() } else { format!("{wrong} wrong") }
}
