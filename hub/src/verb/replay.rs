//! `hub replay`: proves the log, the facts that decisions read and every read model; and makes facts anew.

use std::{fmt::Write as _, process::ExitCode};

use hub_event_store::facts::{self, FactReport};
use hub_replay_tools::{
    read_models::{ReadModelReport, verify_read_models},
    verify::{LogReport, verify_log},
};
use serde::Serialize;
use sqlx::PgPool;

use super::{print, progress, with_database};
use crate::{config::Config, migrate::sources, serve::upcasters};

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// Check that the log is whole and that all facts and read models are what the log leads to; exit code 1 if not
    Verify {
        /// How the result is printed
        #[arg(long, value_enum, default_value_t = Format::Text)]
        format: Format,
    },
    /// Check that the facts which decide about access are what the log leads to; exit code 1 if not
    Facts {
        /// Make them so; commands wait meanwhile
        #[arg(long)]
        repair: bool,
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
    facts: FactReport,
    read_models: Vec<ReadModelReport>,
}

pub(super) async fn run(config: &Config, arguments: Arguments) -> anyhow::Result<ExitCode> {
    let (text, passed) = match arguments.what {
        What::Verify { format } => {
            let report = with_database(config, async |pool| verify(&pool).await).await?;
            (shown(format, &report, text)?, report.passed)
        }
        What::Facts { repair, format } => {
            let report = with_database(config, async |pool| {
                Ok(match repair {
                    true => facts::repair(&pool, &sources(), None).await?,
                    false => facts::compare(&pool, &sources(), None).await?,
                })
            });
            let report = report.await?;
            let passed = if repair { report.unreadable_count == 0 } else { report.passed() };
            (shown(format, &report, |report| text_of_facts(report, repair))?, passed)
        }
    };
    print(&text)?;
    Ok(if passed { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn shown<R: Serialize>(
    format: Format,
    report: &R,
    text: impl Fn(&R) -> Result<String, std::fmt::Error>,
) -> anyhow::Result<String> {
    Ok(match format {
        Format::Json => serde_json::to_string_pretty(report)? + "\n",
        Format::Text => text(report)?,
    })
}

async fn verify(pool: &PgPool) -> anyhow::Result<Report> {
    let bar = progress::events("log");
    let log = verify_log(pool, |done, all| progress::show(&bar, done, all)).await?;
    bar.set_message("facts");
    let facts = facts::compare(pool, &sources(), None).await?;
    let read_models = verify_read_models(pool, &upcasters(), &hub_projections::all(), &|name, done, all| {
        bar.set_message(name.to_owned());
        progress::show(&bar, done, all);
    })
    .await?;
    bar.finish_and_clear();
    let passed = log.passed() && facts.passed() && read_models.iter().all(ReadModelReport::passed);
    Ok(Report { passed, log, facts, read_models })
}

fn text(report: &Report) -> Result<String, std::fmt::Error> {
    let mut text = String::new();
    write_log(&mut text, &report.log)?;
    write_facts(&mut text, &report.facts)?;
    for model in &report.read_models {
        write_read_model(&mut text, model)?;
    }
    writeln!(text, "{}", if report.passed { "all is well" } else { "something is wrong" })?;
    Ok(text)
}

fn write_log(text: &mut String, log: &LogReport) -> std::fmt::Result {
    writeln!(
        text,
        "log                 {} events of {} streams of {} tenants, head {}: {}",
        log.event_count,
        log.stream_count,
        log.tenant_count,
        log.head,
        verdict(log.finding_count)
    )?;
    for finding in &log.findings {
        writeln!(text, "  at {}: {}", finding.position, finding.what)?;
    }
    write_more(text, log.findings.len(), log.finding_count)
}

fn write_facts(text: &mut String, facts: &FactReport) -> std::fmt::Result {
    writeln!(
        text,
        "facts               {} of {} streams, head {}: {}",
        facts.fact_count,
        facts.stream_count,
        facts.head,
        verdict(facts.difference_count + facts.unreadable_count)
    )?;
    for stream in &facts.unreadable {
        let (tenant_id, kind, id) = (stream.tenant_id, &stream.aggregate_type, stream.aggregate_id);
        writeln!(text, "  tenant {tenant_id} {kind} {id}: {}", stream.what)?;
    }
    write_more(text, facts.unreadable.len(), facts.unreadable_count)?;
    for fact in &facts.differences {
        let (tenant_id, kind, id, part) = (fact.tenant_id, &fact.aggregate_type, fact.aggregate_id, &fact.part);
        let shown = |fact: &Option<String>| fact.clone().unwrap_or_else(|| "no fact".to_owned());
        writeln!(text, "  tenant {tenant_id} {kind} {id} {part}")?;
        writeln!(text, "    found    {}\n    expected {}", shown(&fact.found), shown(&fact.expected))?;
    }
    write_more(text, facts.differences.len(), facts.difference_count)
}

fn text_of_facts(facts: &FactReport, repaired: bool) -> Result<String, std::fmt::Error> {
    let mut text = String::new();
    write_facts(&mut text, facts)?;
    let outcome = match (facts.difference_count, facts.unreadable_count, repaired) {
        (0, 0, _) => "all is well".to_owned(),
        (count, 0, true) => format!("{count} facts were made anew, all is well now"),
        (count, _, true) => format!("{count} facts were made anew, those of streams that cannot be read were left"),
        (_, 0, false) => "something is wrong; --repair makes the facts anew".to_owned(),
        (_, _, false) => "something is wrong".to_owned(),
    };
    writeln!(text, "{outcome}")?;
    Ok(text)
}

fn write_read_model(text: &mut String, model: &ReadModelReport) -> std::fmt::Result {
    let wrong = model.differences.len() + model.parked_count + usize::from(model.trouble.is_some());
    writeln!(text, "{:<19} at position {} of {}: {}", model.name, model.position, model.head, verdict(wrong))?;
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
    Ok(())
}

fn write_more(text: &mut String, listed: usize, count: usize) -> std::fmt::Result {
    if listed < count { writeln!(text, "  and {} more", count - listed) } else { Ok(()) }
}

fn verdict(wrong: usize) -> String {
    if wrong == 0 { "right".to_owned() } else { format!("{wrong} wrong") }
}
