//! `hub import postgres-es`: brings a table of postgres-es into the log.

use std::{collections::BTreeMap, fmt::Write as _, process::ExitCode};

use anyhow::Context as _;
use clap::ArgGroup;
use hub_domain::{
    access_record, access_request, api_key, break_glass, checkpoint, control_check, control_run, disclosure, duty_set,
    erasure, event_subscription, finding, identity_provider, inbound_source, legal_hold, nats_credential, principal,
    retention_policy, role, role_template, self_check, service_instance, signing_key, subscription, support_access,
    tenant, webhook,
};
use hub_event_store::import::ImportEvent;
use hub_replay_tools::import::{
    Options, Phase, Report, import_postgres_es,
    mapping::{Mapping, TenantOf},
};
use serde::de::DeserializeOwned;
use sqlx::PgPool;
use uuid::Uuid;

use super::{print, progress, with_database};
use crate::{
    clock::system_clock,
    config::Config,
    migrate::{migrate, sources},
};

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// Bring a table of postgres-es into the log, in order; run it again to go on where it was interrupted
    PostgresEs(Box<PostgresEs>),
}

#[derive(Debug, clap::Args)]
#[command(group(ArgGroup::new("whose").required(true).args(["tenant", "tenant_key"])))]
struct PostgresEs {
    /// PostgreSQL that has the table
    #[arg(long, value_name = "URL", env = "SOURCE_DATABASE_URL", hide_env_values = true)]
    source_url: String,
    /// The table of events
    #[arg(long, value_name = "NAME", default_value = "events")]
    table: String,
    /// The tenant that all events belong to
    #[arg(long, value_name = "UUID")]
    tenant: Option<Uuid>,
    /// The key in the metadata of each event under which its tenant's UUID stands
    #[arg(long, value_name = "KEY")]
    tenant_key: Option<String>,
    /// The key in the metadata of each event under which its time stands (RFC 3339); it also gives the order over streams
    #[arg(long, value_name = "KEY")]
    time_key: Option<String>,
    /// Another name for an aggregate type than its own in snake case; may be given more than once
    #[arg(long, value_name = "OLD=NEW", value_parser = pair)]
    aggregate_type_map: Vec<(String, String)>,
    /// The whole number of an event version that is none; may be given more than once
    #[arg(long, value_name = "OLD=NUMBER", value_parser = version)]
    event_version_map: Vec<(String, i32)>,
    /// Let events of the platform's own aggregates in, if they can be read; the names they hold are not claimed
    #[arg(long)]
    own_aggregates: bool,
    /// So many events are appended at once
    #[arg(long, value_name = "NUMBER", default_value_t = 5_000)]
    batch_size: usize,
    /// Check every row and write nothing
    #[arg(long)]
    dry_run: bool,
}

pub(super) async fn run(config: &Config, arguments: Arguments) -> anyhow::Result<ExitCode> {
    let What::PostgresEs(arguments) = arguments.what;
    let report = with_database(config, async |pool| bring(&pool, &arguments).await).await?;
    print(&text(&report, arguments.dry_run)?)?;
    Ok(if report.passed() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn bring(pool: &PgPool, arguments: &PostgresEs) -> anyhow::Result<Report> {
    if !arguments.dry_run {
        migrate(pool).await.context("the log is not ready for an import")?;
    }
    let tenant = match (arguments.tenant, &arguments.tenant_key) {
        (Some(tenant), _) => TenantOf::All(tenant),
        (None, key) => TenantOf::Key(key.clone().expect("clap asks for one of both")),
    };
    let options = Options {
        source_url: arguments.source_url.clone(),
        table: arguments.table.clone(),
        mapping: Mapping {
            tenant,
            time_key: arguments.time_key.clone(),
            aggregate_types: arguments.aggregate_type_map.iter().cloned().collect(),
            event_versions: arguments.event_version_map.iter().cloned().collect::<BTreeMap<_, _>>(),
        },
        batch_size: arguments.batch_size,
        dry_run: arguments.dry_run,
        facts: sources(),
    };
    let bar = progress::events("check");
    let show = |phase, done, all| {
        bar.set_message(match phase {
            Phase::Check => "check",
            Phase::Import => "import",
            Phase::Verify => "verify",
        });
        progress::show(&bar, done, all);
    };
    let own = arguments.own_aggregates;
    let admit = move |event: &ImportEvent| admit(event, own);
    let report = import_postgres_es(pool, &options, &system_clock(), &admit, &show).await;
    bar.finish_and_clear();
    Ok(report?)
}

/// The platform's own aggregates have names and counters that an import does not know of, and read models that must be able to read
/// their events.
fn admit(event: &ImportEvent, own: bool) -> Result<(), String> {
    let read = match event.aggregate_type.as_str() {
        "access_record" => reads::<access_record::Event>,
        "access_request" => reads::<access_request::Event>,
        "api_key" => reads::<api_key::Event>,
        "break_glass" => reads::<break_glass::Event>,
        "checkpoint" => reads::<checkpoint::Event>,
        "control_check" => reads::<control_check::Event>,
        "control_run" => reads::<control_run::Event>,
        "disclosure" => reads::<disclosure::Event>,
        "duty_set" => reads::<duty_set::Event>,
        "erasure" => reads::<erasure::Event>,
        "event_subscription" => reads::<event_subscription::Event>,
        "finding" => reads::<finding::Event>,
        "identity_provider" => reads::<identity_provider::Event>,
        "inbound_source" => reads::<inbound_source::Event>,
        "legal_hold" => reads::<legal_hold::Event>,
        "nats_credential" => reads::<nats_credential::Event>,
        "principal" => reads::<principal::Event>,
        "retention_policy" => reads::<retention_policy::Event>,
        "role" => reads::<role::Event>,
        "role_template" => reads::<role_template::Event>,
        "self_check" => reads::<self_check::Event>,
        "service_instance" => reads::<service_instance::Event>,
        "signing_key" => reads::<signing_key::Event>,
        "subscription" => reads::<subscription::Event>,
        "support_access" => reads::<support_access::Event>,
        "tenant" => reads::<tenant::Event>,
        "webhook" => reads::<webhook::Event>,
        _ => return Ok(()),
    };
    if !own {
        let name = &event.aggregate_type;
        return Err(format!(
            "`{name}` is an aggregate of the platform itself; give it another name with --aggregate-type-map, \
             or say --own-aggregates"
        ));
    }
    read(event)
}

fn reads<E: DeserializeOwned>(event: &ImportEvent) -> Result<(), String> {
    match event.decode::<E>() {
        Ok(_) => Ok(()),
        Err(error) => Err(format!("the platform cannot read it as {}: {error}", event.event_type)),
    }
}

fn text(report: &Report, dry_run: bool) -> Result<String, std::fmt::Error> {
    let mut text = format!("source     {} events of {} streams\n", report.row_count, report.stream_count);
    for ((aggregate_type, event_type), count) in &report.kinds {
        writeln!(text, "  {count:>10} {aggregate_type} as {event_type}")?;
    }
    let present = report.present_count;
    if dry_run {
        writeln!(text, "every row can be imported, {present} are in the log already; nothing was written")?;
        return Ok(text);
    }
    writeln!(text, "imported   {} events, {present} were in the log already", report.imported_count)?;
    if report.fact_count > 0 {
        writeln!(text, "facts      {} were made for decisions about access", report.fact_count)?;
    }
    writeln!(text, "verified   {} events are in the log as in the source", report.verified_count)?;
    for finding in &report.findings {
        let (kind, id, sequence) = (&finding.aggregate_type, finding.aggregate_id, finding.sequence);
        writeln!(text, "  {kind} {id} sequence {sequence}: {}", finding.what)?;
    }
    let listed = i64::try_from(report.findings.len()).unwrap_or(i64::MAX);
    if listed < report.finding_count {
        writeln!(text, "  and {} more", report.finding_count - listed)?;
    }
    writeln!(text, "{}", if report.passed() { "all is well" } else { "something is wrong" })?;
    Ok(text)
}

fn pair(text: &str) -> Result<(String, String), String> {
    let (old, new) = text.split_once('=').ok_or_else(|| "it is written OLD=NEW".to_owned())?;
    Ok((old.to_owned(), new.to_owned()))
}

fn version(text: &str) -> Result<(String, i32), String> {
    let (old, new) = pair(text)?;
    let number = new.parse().ok().filter(|number| *number > 0);
    Ok((old, number.ok_or_else(|| format!("`{new}` is no whole number from 1"))?))
}
