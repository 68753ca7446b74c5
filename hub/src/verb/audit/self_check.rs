//! `hub audit self-check`: hashes what is sealed anew at once, as happens by itself each hour and each night.

use std::{fmt::Write as _, io::Write as _, process::ExitCode};

use anyhow::bail;
use hub_commands::self_check::{BY_OPERATOR, SelfChecks};
use hub_event_store::{store::EventStore, tail::Tail};
use hub_seal::{
    PLATFORM_LOG,
    check::{Finding, Kind, Report, Scope, check},
};
use serde_json::{Value, json};
use uuid::Uuid;

use super::offline::{Format, UNKNOWN};
use crate::{
    clock::system_clock,
    config::Config,
    self_check::completed,
    serve::upcasters,
    verb::{print, progress, with_database},
};

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Only this tenant's log and checkpoints; without it all of them, and the platform's own log
    #[arg(long, value_name = "UUID")]
    tenant: Option<Uuid>,
    /// A part of it, taken by chance (the default)
    #[arg(long, conflicts_with = "full")]
    sample: bool,
    /// Everything that is sealed
    #[arg(long)]
    full: bool,
    /// How the result is printed
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

pub(super) async fn run(config: &Config, arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let kind = if arguments.full { Kind::Full } else { Kind::Sample };
    let scope = Scope { kind, tenant_id: arguments.tenant };
    if scope.tenant_id == Some(PLATFORM_LOG) {
        bail!("the nil id is no tenant's: the platform's own log is checked when no tenant is named");
    }
    let bar = progress::events("self-check");
    let done = with_database(config, async |pool| {
        let signed = |count| i64::try_from(count).unwrap_or(i64::MAX);
        let report = check(&pool, scope, |done, all| progress::show(&bar, signed(done), signed(all))).await?;
        if let Some(tenant_id) = scope.tenant_id
            && report.log_count == 0
        {
            bail!("nothing of the tenant {tenant_id} is sealed");
        }
        let store = EventStore::start(pool, Tail::default(), upcasters(), system_clock());
        let written = SelfChecks::new(store, BY_OPERATOR).try_write(completed(report.clone())).await;
        Ok((report, written))
    });
    let done = done.await;
    bar.finish_and_clear();
    let (report, written) = done?;
    print(&match arguments.format {
        Format::Json => serde_json::to_string_pretty(&value(&report))? + "\n",
        Format::Text => text(&report)?,
    })?;
    if let Err(error) = &written {
        // The result itself must not be lost for it.
        writeln!(std::io::stderr(), "hub: the result cannot be written into the log: {error}").ok();
    }
    Ok(match (report.finding_count, written) {
        (0, Ok(())) => ExitCode::SUCCESS,
        (0, Err(_)) => ExitCode::from(UNKNOWN),
        _ => ExitCode::FAILURE,
    })
}

fn kind(report: &Report) -> &'static str {
    match report.scope.kind {
        Kind::Sample => "sample",
        Kind::Full => "full",
    }
}

fn value(report: &Report) -> Value {
    let Report { scope, log_count, event_count, checkpoint_count, finding_count, findings } = report;
    let finding = |Finding { tenant_id, position, what }: &Finding| json!({ "tenant_id": tenant_id, "position": position, "what": what });
    json!({
        "clean": *finding_count == 0,
        "scope": kind(report),
        "tenant_id": scope.tenant_id,
        "log_count": log_count,
        "event_count": event_count,
        "checkpoint_count": checkpoint_count,
        "finding_count": finding_count,
        "findings": findings.iter().map(finding).collect::<Vec<_>>(),
    })
}

fn text(report: &Report) -> Result<String, std::fmt::Error> {
    let whose = report.scope.tenant_id.map_or("all tenants and the platform".to_owned(), |id| format!("tenant {id}"));
    let mut text = format!("scope        {} of {whose}\n", kind(report));
    let Report { log_count, event_count, checkpoint_count, finding_count, findings, .. } = report;
    writeln!(text, "logs         {log_count}\nevents       {event_count}\ncheckpoints  {checkpoint_count}")?;
    writeln!(text, "findings     {finding_count}")?;
    for Finding { tenant_id, position, what } in findings {
        let log = if *tenant_id == PLATFORM_LOG { "platform".to_owned() } else { format!("tenant {tenant_id}") };
        writeln!(text, "  {log} at {position}: {what}")?;
    }
    let listed = u64::try_from(findings.len()).unwrap_or(u64::MAX);
    if listed < *finding_count {
        writeln!(text, "  and {} more", finding_count - listed)?;
    }
    writeln!(text, "{}", if *finding_count == 0 { "clean" } else { "not as it was sealed" })?;
    Ok(text)
}
