//! `hub audit replay`: any moment of a log rebuilt beside the live tables, two moments compared, or the live tables held to the log.

use std::{fmt::Write as _, io::Write as _, process::ExitCode};

use anyhow::Context as _;
use hub_projections::history::{drop_schema, kept_schemas};
use hub_replay_tools::replay::{
    Change, Changes, Comparison, Deviation, Kind, Moment, Replay, Replayed, Scope,
    aggregates::{AggregateReport, Selector},
    between, compare_live,
};
use indicatif::ProgressBar;
use serde::Serialize;
use serde_json::Value;
use sqlx::PgPool;
use uuid::Uuid;

use super::bound;
use crate::{
    config::Config,
    serve::upcasters,
    verb::{INTERRUPTED, print, progress, with_database},
};

/// The answer could not be found out.
const UNKNOWN: u8 = 2;

#[derive(Debug, clap::Args)]
#[command(group = clap::ArgGroup::new("whose").required(true).args(["tenant", "platform", "clean"]))]
#[command(group = clap::ArgGroup::new("what").required(true).args(["as_of", "compare", "clean"]))]
pub(super) struct Arguments {
    /// Whose log
    #[arg(long, value_name = "UUID")]
    tenant: Option<Uuid>,
    /// The log of all tenants; positions are the platform's then
    #[arg(long)]
    platform: bool,
    /// Rebuild everything up to and with the event of this place in the tenant's log, or up to and with this moment (RFC 3339)
    #[arg(long, value_name = "NUMBER|TIME", value_parser = bound)]
    as_of: Option<Moment>,
    /// Tell what came between that moment and this one, and which events did it
    #[arg(long, value_name = "NUMBER|TIME", value_parser = bound, requires = "as_of")]
    against: Option<Moment>,
    /// Show the aggregates of this type, or one of them: state and rows
    #[arg(long, value_name = "TYPE[/ID]", requires = "as_of", conflicts_with = "against")]
    aggregate: Option<Selector>,
    /// Hold the live read models to the log; exit code 1 if they differ
    #[arg(long, conflicts_with_all = ["as_of", "against", "aggregate"])]
    compare: bool,
    /// Leave the schema with the rebuilt tables in the database
    #[arg(long)]
    keep: bool,
    /// Remove all schemas that were kept
    #[arg(long, conflicts_with_all = ["tenant", "platform", "as_of", "against", "aggregate", "compare", "keep"])]
    clean: bool,
    /// How the result is printed
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    Text,
    Json,
}

/// What was asked for.
enum Done {
    Replayed(Box<Replayed>),
    Changes(Box<Changes>),
    Compared(Box<Comparison>),
}

/// Whatever keeps it from being done is one line on standard error and exit code 2.
pub(super) async fn run(config: &Config, arguments: Arguments) -> anyhow::Result<ExitCode> {
    let done = if arguments.clean { clean(config).await } else { replayed(config, &arguments).await };
    Ok(done.unwrap_or_else(|error| {
        let line = format!("{error:#}").replace('\n', " ");
        // Nothing can be done when nobody listens to the error.
        writeln!(std::io::stderr(), "hub: {line}").ok();
        ExitCode::from(UNKNOWN)
    }))
}

async fn clean(config: &Config) -> anyhow::Result<ExitCode> {
    let text = with_database(config, async |pool| {
        let mut text = String::new();
        for schema in kept_schemas(&pool).await? {
            drop_schema(&pool, &schema).await.with_context(|| format!("cannot remove {}", schema.name))?;
            writeln!(text, "removed {} ({})", schema.name, schema.about)?;
        }
        Ok(text)
    });
    let text = text.await?;
    print(if text.is_empty() { "no schema was kept\n" } else { &text })?;
    Ok(ExitCode::SUCCESS)
}

async fn replayed(config: &Config, arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let bar = progress::events("replay");
    let done = with_database(config, async |pool| {
        let work = work(&pool, arguments, &bar);
        tokio::select! {
            // First, so that the signal is listened for before anything is done.
            biased;
            interrupted = tokio::signal::ctrl_c() => {
                interrupted.context("cannot listen for signals")?;
                Ok(None)
            }
            done = work => done.map(Some),
        }
    });
    let done = done.await;
    bar.finish_and_clear();
    let Some((done, kept)) = done? else {
        print("interrupted: nothing is left behind\n")?;
        return Ok(ExitCode::from(INTERRUPTED));
    };
    let (mut text, same) = match &done {
        Done::Replayed(done) => (shown(arguments.format, &**done, text_of_moment)?, true),
        Done::Changes(done) => (shown(arguments.format, &**done, text_of_changes)?, true),
        Done::Compared(done) => (shown(arguments.format, &**done, text_of_comparison)?, done.same),
    };
    if arguments.format == Format::Text {
        text += &kept;
    }
    print(&text)?;
    Ok(if same { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Does it; answers also which schemas are left from before.
async fn work(pool: &PgPool, arguments: &Arguments, bar: &ProgressBar) -> anyhow::Result<(Done, String)> {
    let scope = arguments.tenant.map_or(Scope::Platform, Scope::Tenant);
    let replay = Replay {
        pool: pool.clone(),
        upcasters: upcasters(),
        projections: hub_projections::all(),
        scope,
        keep: arguments.keep,
    };
    let mut kept = String::new();
    for schema in kept_schemas(pool).await? {
        writeln!(kept, "{} is left from before ({}); --clean removes it", schema.name, schema.about)?;
    }
    let show = |done, all| progress::show(bar, done, all);
    let done = match (arguments.as_of, arguments.against) {
        (Some(one), Some(other)) => Done::Changes(Box::new(between(&replay, one, other, &show).await?)),
        (Some(moment), None) => {
            Done::Replayed(Box::new(replay.as_of(moment, arguments.aggregate.as_ref(), &show).await?))
        }
        (None, _) => Done::Compared(Box::new(compare_live(&replay, &show).await?)),
    };
    Ok((done, kept))
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

fn whose(tenant_id: Option<Uuid>) -> String {
    tenant_id.map_or_else(|| Scope::Platform.to_string(), |tenant_id| Scope::Tenant(tenant_id).to_string())
}

fn text_of_moment(done: &Replayed) -> Result<String, std::fmt::Error> {
    let mut text = format!("{} as of {}\n", whose(done.tenant_id), done.as_of);
    for model in &done.read_models {
        writeln!(text, "  {:<20} {}", model.name, counted(model.row_count, "row"))?;
        write_notes(&mut text, model.unreadable_count, model.left_out_count)?;
    }
    if let Some(aggregates) = &done.aggregates {
        write_aggregates(&mut text, aggregates)?;
    }
    write_schema(&mut text, done.schema.as_deref())?;
    Ok(text)
}

fn write_aggregates(text: &mut String, aggregates: &AggregateReport) -> std::fmt::Result {
    for aggregate in &aggregates.shown {
        writeln!(text, "{} {}", aggregate.aggregate_type, aggregate.aggregate_id)?;
        writeln!(text, "  last event {}", aggregate.last_event)?;
        if let Some(reason) = &aggregate.unreadable {
            writeln!(text, "  the state is older: {reason}")?;
        }
        writeln!(text, "  state {}", aggregate.state)?;
        for (model, rows) in &aggregate.rows {
            for row in rows {
                writeln!(text, "  {model} {row}")?;
            }
        }
    }
    write_more(text, aggregates.shown.len(), i64::try_from(aggregates.count).unwrap_or(i64::MAX))
}

fn text_of_changes(done: &Changes) -> Result<String, std::fmt::Error> {
    let mut text = format!("{} from {} to {}\n", whose(done.tenant_id), done.from, done.to);
    for model in &done.read_models {
        let (name, before, after) = (model.name, model.row_count_before, model.row_count_after);
        writeln!(text, "  {name:<20} {before} to {}: {} not the same", counted(after, "row"), model.change_count)?;
        write_notes(&mut text, model.unreadable_count, 0)?;
        for change in &model.changes {
            write_change(&mut text, change)?;
        }
        write_more(&mut text, model.changes.len(), model.change_count)?;
    }
    write_schema(&mut text, done.schema.as_deref())?;
    Ok(text)
}

fn write_change(text: &mut String, change: &Change) -> std::fmt::Result {
    let kind = match change.kind {
        Kind::Added => "added",
        Kind::Removed => "removed",
        Kind::Changed => "changed",
    };
    writeln!(text, "    {kind} {}", change.key)?;
    for (column, values) in &change.columns {
        writeln!(text, "      {column}: {} -> {}", value(values.before.as_ref()), value(values.after.as_ref()))?;
    }
    let unnamed = change.event_count.saturating_sub(change.events.len());
    if unnamed > 0 {
        writeln!(text, "      by {unnamed} earlier events and")?;
    }
    for event in &change.events {
        writeln!(text, "      by {}: {}", event.event, event.columns.join(", "))?;
    }
    Ok(())
}

fn text_of_comparison(done: &Comparison) -> Result<String, std::fmt::Error> {
    let mut text = format!("{} against the log, which ends at {}\n", whose(done.tenant_id), done.head);
    for model in &done.read_models {
        let (name, at) = (model.name, model.platform_position);
        let (rows, wrong) = (counted(model.row_count, "row"), model.difference_count);
        let verdict = if model.passed() { "right".to_owned() } else { format!("{wrong} differ") };
        writeln!(text, "  {name:<20} {rows} at position {at} of the platform: {verdict}")?;
        if let Some(trouble) = &model.trouble {
            writeln!(text, "    {trouble}")?;
        }
        write_notes(&mut text, model.unreadable_count, model.left_out_count)?;
        for row in &model.differences {
            write_deviation(&mut text, row)?;
        }
        write_more(&mut text, model.differences.len(), model.difference_count)?;
    }
    write_schema(&mut text, done.schema.as_deref())?;
    writeln!(text, "{}", if done.same { "the read models are what the log leads to" } else { "something differs" })?;
    Ok(text)
}

fn write_deviation(text: &mut String, row: &Deviation) -> std::fmt::Result {
    writeln!(text, "    {}: {}", row.key, row.verdict)?;
    for (column, values) in &row.columns {
        writeln!(text, "      {column}: {}, not {}", value(values.found.as_ref()), value(values.expected.as_ref()))?;
    }
    Ok(())
}

fn value(value: Option<&Value>) -> String {
    value.map_or_else(|| "no row".to_owned(), ToString::to_string)
}

fn counted(count: i64, what: &str) -> String {
    if count == 1 { format!("1 {what}") } else { format!("{count} {what}s") }
}

fn write_notes(text: &mut String, unreadable_count: usize, left_out_count: usize) -> std::fmt::Result {
    if unreadable_count > 0 {
        writeln!(text, "    {unreadable_count} events cannot be taken in; their streams stand still there")?;
    }
    if left_out_count > 0 {
        writeln!(text, "    {left_out_count} events are parked or were left out for good, and are not in it")?;
    }
    Ok(())
}

fn write_more(text: &mut String, named: usize, count: i64) -> std::fmt::Result {
    let more = count - i64::try_from(named).unwrap_or(i64::MAX);
    if more > 0 { writeln!(text, "    and {more} more") } else { Ok(()) }
}

fn write_schema(text: &mut String, schema: Option<&str>) -> std::fmt::Result {
    schema.map_or(Ok(()), |schema| writeln!(text, "the tables are kept in {schema}; --clean removes them"))
}
