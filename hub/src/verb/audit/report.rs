//! `hub audit report`: a report made of the log, recorded in it, and then handed over.

use std::{fs, io::Write as _, path::PathBuf, process::ExitCode};

use anyhow::{Context as _, bail};
use hub_report::{Bound, Format, Kind, Limits, Report, Request};
use sqlx::{Connection as _, PgPool};
use uuid::Uuid;

use crate::{
    config::Config,
    disclosures::{record, report_run},
    serve::upcasters,
    verb::{print, with_database},
};

/// A report is made in memory, so it ends somewhere.
const LIMITS: Limits = Limits { position_count_max: 20_000_000, row_count_max: 500_000 };

/// Everything that is read is of one moment.
const SNAPSHOT: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// What the report is about
    #[arg(value_enum)]
    kind: KindName,
    /// Whose log
    #[arg(long, value_name = "UUID")]
    tenant: Uuid,
    /// Begin with this place in the tenant's log, or with the first event from this moment on (RFC 3339)
    #[arg(long, value_name = "NUMBER|TIME")]
    from: Option<Bound>,
    /// End with this place, or with the last event before this moment
    #[arg(long, value_name = "NUMBER|TIME")]
    to: Option<Bound>,
    /// Whose activity; only whose access, or only whose emergency access
    #[arg(long, value_name = "PRINCIPAL")]
    principal: Option<String>,
    /// Of a history: the type of the aggregate, such as subscription
    #[arg(long, value_name = "TYPE")]
    aggregate_type: Option<String>,
    /// Of a history: the aggregate
    #[arg(long, value_name = "UUID")]
    aggregate_id: Option<Uuid>,
    /// How the report is written
    #[arg(long, value_enum, default_value_t = FormatName::Csv)]
    format: FormatName,
    /// Write into this new file instead of standard output
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum KindName {
    /// Who had access to what when
    Access,
    /// Everything that a principal did
    Activity,
    /// Emergency and support access, and what was done with it
    Emergency,
    /// What each event changed of one aggregate
    History,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum FormatName {
    Csv,
    Ndjson,
}

pub(super) async fn run(config: &Config, arguments: Arguments) -> anyhow::Result<ExitCode> {
    let Arguments { kind, tenant, from, to, principal, aggregate_type, aggregate_id, format, output } = arguments;
    let kind = match kind {
        KindName::Access => Kind::Access,
        KindName::Activity => Kind::Activity,
        KindName::Emergency => Kind::Emergency,
        KindName::History => Kind::History,
    };
    let format = match format {
        FormatName::Csv => Format::Csv,
        FormatName::Ndjson => Format::Ndjson,
    };
    let request =
        Request { tenant_id: tenant, kind, from, to, principal, aggregate_type, aggregate_id, limits: LIMITS };
    if let Some(path) = output.as_ref().filter(|path| path.exists()) {
        bail!("{} is there already", path.display());
    }
    let report = with_database(config, async |pool| {
        let report = made(&pool, &request).await?;
        record(&pool, Some(tenant), |recipient| report_run(recipient, &report.head, format)).await?;
        Ok(report)
    });
    let report = report.await?;
    let written = report.written(format);
    let Some(path) = output else {
        let mut out = std::io::stdout().lock();
        // A reader that has gone away is not an error.
        return match out.write_all(&written).and_then(|()| out.flush()) {
            Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
                Err(error).context("cannot write the report")
            }
            Ok(()) | Err(_) => Ok(ExitCode::SUCCESS),
        };
    };
    let mut file = fs::File::create_new(&path).with_context(|| format!("cannot make {}", path.display()))?;
    file.write_all(&written).with_context(|| format!("cannot write {}", path.display()))?;
    print(&said(&report, &path.display().to_string()))?;
    Ok(ExitCode::SUCCESS)
}

async fn made(pool: &PgPool, request: &Request) -> anyhow::Result<Report> {
    let mut connection = pool.acquire().await?;
    let mut snapshot = connection.begin_with(SNAPSHOT).await?;
    let report = hub_report::make(&mut snapshot, request, &upcasters()).await?;
    snapshot.rollback().await?;
    Ok(report)
}

fn said(report: &Report, path: &str) -> String {
    let head = &report.head;
    let (rows, from, to, position) = (head.row_count, head.from, head.to, head.position);
    let mut text = format!("{rows} rows, of the events {from} to {to} of {position}, are in {path}\n");
    if !head.complete {
        text += "the report was cut: choose a shorter period";
        if let Some(place) = head.continue_from {
            text += &format!(", or go on with --from {place}");
        }
        text += "\n";
    }
    text
}
