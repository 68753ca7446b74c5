//! `hub events export`: the log as NDJSON.

use std::{io::ErrorKind, path::PathBuf, process::ExitCode};

use anyhow::Context as _;
use chrono::{DateTime, Utc};
use hub_replay_tools::export::{ExportError, Filter, export};
use tokio::io::BufWriter;
use uuid::Uuid;

use super::{progress, with_database};
use crate::config::Config;

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
        let Some(path) = &output else {
            return Ok(export(&pool, &filter, BufWriter::new(tokio::io::stdout()), show).await?);
        };
        let file = tokio::fs::File::create_new(path).await;
        let file = file.with_context(|| format!("cannot make {}", path.display()))?;
        Ok(export(&pool, &filter, BufWriter::new(file), show).await?)
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

fn ended_by_reader(error: &anyhow::Error) -> bool {
    matches!(error.downcast_ref(), Some(ExportError::Write(error)) if error.kind() == ErrorKind::BrokenPipe)
}
