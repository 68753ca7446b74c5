//! `hub compliance`: asks the running platform for a run over all controls, and shows what it came to.
//!
//! The controls are run by a process that serves commands, since how the platform is configured is known there and not here.

use std::{
    fmt::Write as _,
    process::ExitCode,
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail};
use hub_commands::control_check::ControlChecks;
use hub_compliance::{catalogue, catalogue::NOTICE};
use hub_domain::control_check::{Evaluation, Outcome};
use hub_event_store::{store::EventStore, tail::Tail};
use sqlx::{PgPool, types::Json};
use uuid::Uuid;

use super::{print, with_database};
use crate::{clock::system_clock, config::Config, serve::upcasters};

/// Whether a run is completed.
pub(crate) const COMPLETED: &str = "SELECT EXISTS (SELECT FROM events \
     WHERE tenant_id = '00000000-0000-0000-0000-000000000001' AND aggregate_type = 'control_run' AND aggregate_id = $1 \
       AND event_type = 'control_run.completed')";

/// What the controls came to in a run.
pub(crate) const EVALUATED: &str = "SELECT payload FROM events \
     WHERE tenant_id = '00000000-0000-0000-0000-000000000001' AND aggregate_type = 'control_check' AND payload ->> 'run_id' = $1 \
     ORDER BY payload ->> 'control_id'";

/// A run takes no longer, unless nobody does it.
const WAIT: Duration = Duration::from_secs(120);

/// Between two looks whether it is done.
const LOOK_INTERVAL: Duration = Duration::from_millis(250);

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// Have all controls checked now by the platform that runs, and show what they came to; exit code 1 if one fails
    Run {
        /// Why, for the log
        #[arg(long, default_value = "asked for on the command line")]
        reason: String,
    },
}

pub(super) async fn run(config: &Config, arguments: Arguments) -> anyhow::Result<ExitCode> {
    let What::Run { reason } = arguments.what;
    let evaluations = with_database(config, async |pool| ask(&pool, &reason).await).await?;
    print(&text(&evaluations))?;
    let failed = evaluations.iter().any(|evaluation| evaluation.outcome == Outcome::Fail);
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

async fn ask(pool: &PgPool, reason: &str) -> anyhow::Result<Vec<Evaluation>> {
    let reason = reason.parse().context("the reason")?;
    let store = EventStore::start(pool.clone(), Tail::default(), upcasters(), system_clock());
    let run_id: Uuid = ControlChecks::new(store).request(reason).await?;
    let begun = Instant::now();
    while !sqlx::query_scalar::<_, bool>(COMPLETED).bind(run_id).fetch_one(pool).await? {
        if begun.elapsed() > WAIT {
            bail!(
                "the run {run_id} was asked for and nobody has done it within {} s: does a process serve commands? It is done when one does",
                WAIT.as_secs()
            );
        }
        tokio::time::sleep(LOOK_INTERVAL).await;
    }
    let rows: Vec<Json<Evaluation>> = sqlx::query_scalar(EVALUATED).bind(run_id.to_string()).fetch_all(pool).await?;
    Ok(rows.into_iter().map(|Json(evaluation)| evaluation).collect())
}

fn text(evaluations: &[Evaluation]) -> String {
    let mut text = String::new();
    for evaluation in evaluations {
        let Evaluation { control_id, outcome, checked_count, finding_count, findings, .. } = evaluation;
        let outcome = match outcome {
            Outcome::Pass => "pass",
            Outcome::Fail => "FAIL",
            Outcome::NotApplicable => "n/a",
        };
        let title = catalogue().control(control_id).map_or("", |control| &*control.title);
        let known = "a string takes everything";
        writeln!(text, "{outcome:<5} {control_id:<26} {title} ({checked_count} looked at)").expect(known);
        for finding in findings {
            let whose = finding.tenant_id.map_or_else(String::new, |tenant| format!(" of {}", tenant.0));
            writeln!(text, "        {}{whose}: {}", finding.about, finding.what).expect(known);
        }
        let more = finding_count.saturating_sub(findings.len() as u64);
        if more > 0 {
            writeln!(text, "        and {more} more").expect(known);
        }
    }
    text + "\n" + NOTICE + "\n"
}
