//! `hub events export`: the log as NDJSON.

use std::{io::ErrorKind, path::PathBuf, process::ExitCode};

use anyhow::{Context as _, bail};
use chrono::{DateTime, Utc};
use hub_domain::{
    disclosure::{Event, ExportFilter, ExportForm, Range},
    id::TenantId,
};
use hub_replay_tools::export::{End, ExportError, Filter, end, export_until};
use tokio::io::BufWriter;
use uuid::Uuid;

use super::{progress, with_database};
use crate::{config::Config, disclosures::record};

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// Write events as NDJSON, one a line, in order, with their leaf hashes
    Export {
        /// Only this tenant's events
        #[arg(long, value_name = "UUID")]
        tenant: Option<Uuid>,
        /// Only events of this type, such as tenant.suspended or subscription.*
        #[arg(long = "type", value_name = "TYPE")]
        event_type: Option<String>,
        /// Only events from this moment on (RFC 3339)
        #[arg(long, value_name = "TIME")]
        from: Option<DateTime<Utc>>,
        /// Only events before this moment (RFC 3339)
        #[arg(long, value_name = "TIME")]
        to: Option<DateTime<Utc>>,
        /// Write into this new file instead of standard output
        #[arg(long, short, value_name = "FILE")]
        output: Option<PathBuf>,
    },
}

pub(super) async fn run(config: &Config, arguments: Arguments) -> anyhow::Result<ExitCode> {
    let What::Export { tenant, event_type, from, to, output } = arguments.what;
    let filter = Filter { tenant_id: tenant, event_type, from, to };
    let bar = progress::events("export");
    let show = |done, all| progress::show(&bar, done, all);
    let written = with_database(config, async |pool| {
        if let Some(path) = output.as_ref().filter(|path| path.exists()) {
            bail!("cannot make {}: it is there already", path.display());
        }
        let End { position, place } = end(&pool, filter.tenant_id).await?;
        let place = u64::try_from(place).unwrap_or_default();
        if place > 0 {
            record(&pool, filter.tenant_id, |recipient| Event::Exported {
                recipient,
                form: ExportForm::Events,
                tenant_id: filter.tenant_id.map(TenantId),
                range: Range { from: 1, to: place },
                filter: narrowed(&filter),
                entry_count: narrowed(&filter).is_none().then_some(place),
                checkpoint: None,
                as_is: true,
            })
            .await?;
        }
        let Some(path) = &output else {
            return Ok(export_until(&pool, &filter, position, BufWriter::new(tokio::io::stdout()), show).await?);
        };
        let file = tokio::fs::File::create_new(path).await;
        let file = file.with_context(|| format!("cannot make {}", path.display()))?;
        Ok(export_until(&pool, &filter, position, BufWriter::new(file), show).await?)
    });
    let written = written.await;
    bar.finish_and_clear();
    let written = match written {
        // A reader that has seen enough, such as `head`, is not an error.
        Err(error) if ended_by_reader(&error) => return Ok(ExitCode::SUCCESS),
        written => written?,
    };
    if let Some(path) = output {
        super::print(&format!("{written} events are in {}\n", path.display()))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// What is left out, if anything is.
fn narrowed(filter: &Filter) -> Option<ExportFilter> {
    let Filter { tenant_id: _, event_type, from, to } = filter.clone();
    (event_type.is_some() || from.is_some() || to.is_some()).then_some(ExportFilter { event_type, from, to })
}

fn ended_by_reader(error: &anyhow::Error) -> bool {
    matches!(error.downcast_ref(), Some(ExportError::Write(error)) if error.kind() == ErrorKind::BrokenPipe)
}
