//! `hub audit`: evidence for whoever trusts neither the platform nor its database.
//!
//! `verify` and `verify-proof` need no database, no configuration and no network; the others need the database only.

mod offline;
mod replay;
mod report;
mod rollback;
mod self_check;
mod subject;

use std::{fs, path::PathBuf, process::ExitCode};

use anyhow::{Context as _, bail};
use chrono::{DateTime, Utc};
use hub_domain::{
    disclosure::{CheckpointRef, Event, ExportForm, Range, Recipient},
    id::TenantId,
};
use hub_evidence::{
    bundle::{SMALL_BYTES_MAX, read_bounded},
    checkpoint::Checkpoint,
};
use hub_replay_tools::evidence::{
    export::{Bound, Exported, Planned, Request, export_announced},
    prove::prove,
    seals,
};
use uuid::Uuid;

pub(super) use self::offline::offline;
use super::{INTERRUPTED, print, progress, with_database};
use crate::{config::Config, disclosures::record, evidence_key::rotate};

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// Write a part of a tenant's log into a directory from which it can be verified; run it again to go on where it was interrupted
    Export(Export),
    /// Verify such a directory, offline; exit code 1 if it is not valid, 2 if that could not be found out
    Verify(offline::Verify),
    /// Write one event with the proof that it is in the log
    Prove {
        /// Whose event
        #[arg(long, value_name = "UUID")]
        tenant: Uuid,
        /// Its place in the tenant's log, from 1
        #[arg(long, value_name = "NUMBER")]
        position: u64,
        /// Write into this new file
        #[arg(long, short, value_name = "FILE")]
        output: PathBuf,
    },
    /// Make a report of a tenant's log, which becomes an event of it
    Report(report::Arguments),
    /// Verify such a proof, offline; exit codes as those of verify
    VerifyProof(offline::VerifyProof),
    /// Write down what a tenant's log has about one person, signed
    Subject(subject::Subject),
    /// Verify such a document, offline; exit codes as those of verify
    VerifySubject(offline::VerifySubject),
    /// Hash what is sealed anew, and write down what that came to; exit code 1 if something is not as it was sealed, 2 if that could not
    /// be found out
    SelfCheck(self_check::Arguments),
    /// Let this machine seal a database that does not continue what was signed here, such as a backup that was played back
    AcceptRollback(rollback::Arguments),
    /// Rebuild any moment beside the live tables, compare two, or hold the live tables to the log; exit code 1 if those differ
    Replay(replay::Arguments),
    /// Print the keys that checkpoints are verified with
    Keys,
    /// Put a new key in the place of the one that signs checkpoints
    RotateKey,
}

#[derive(Debug, clap::Args)]
struct Export {
    /// Whose log
    #[arg(long, value_name = "UUID")]
    tenant: Uuid,
    /// Begin with this place in the tenant's log, or with the first event from this moment on (RFC 3339)
    #[arg(long, value_name = "NUMBER|TIME", value_parser = bound)]
    from: Option<Bound>,
    /// End with this place, or with the last event before this moment
    #[arg(long, value_name = "NUMBER|TIME", value_parser = bound)]
    to: Option<Bound>,
    /// An older checkpoint that was kept, from which it is to be proven that nothing was changed
    #[arg(long, value_name = "NOTE")]
    last: Option<PathBuf>,
    /// Write the log down as it is, also when it is not what was sealed; exit code 1 then
    #[arg(long)]
    as_is: bool,
    /// The directory, which is made
    #[arg(long, short, value_name = "DIR")]
    output: PathBuf,
}

fn bound(text: &str) -> Result<Bound, String> {
    if let Ok(position) = text.parse() {
        return Ok(Bound::Position(position));
    }
    let time: Result<DateTime<Utc>, _> = text.parse();
    time.map(Bound::Time).map_err(|_| "neither a place in the log nor a moment such as 2026-01-31T00:00:00Z".to_owned())
}

/// The exit code of what could not be done at all.
pub(super) fn failure(arguments: &Arguments) -> ExitCode {
    match arguments.what {
        What::SelfCheck(_) => ExitCode::from(offline::UNKNOWN),
        _ => ExitCode::FAILURE,
    }
}

pub(super) async fn run(config: &Config, arguments: Arguments) -> anyhow::Result<ExitCode> {
    match arguments.what {
        What::Export(arguments) => written(config, &arguments).await,
        What::Replay(arguments) => replay::run(config, arguments).await,
        What::Prove { tenant, position, output } => {
            let proof = with_database(config, async |pool| {
                let proof = prove(&pool, tenant, position).await?;
                let checkpoint = Checkpoint::parse(proof.note.text())?;
                let planned = Planned {
                    tenant_id: tenant,
                    from: position,
                    to: position,
                    size: checkpoint.size(),
                    root: checkpoint.root().to_base64(),
                };
                record(&pool, Some(tenant), exported(&planned, ExportForm::Proof, false)).await?;
                Ok(proof)
            });
            let proof = proof.await?;
            let mut file =
                fs::File::create_new(&output).with_context(|| format!("cannot make {}", output.display()))?;
            let written = std::io::Write::write_all(&mut file, proof.to_string().as_bytes());
            written.with_context(|| format!("cannot write {}", output.display()))?;
            print(&format!("the event {position} and its proof are in {}\n", output.display()))?;
            Ok(ExitCode::SUCCESS)
        }
        What::Subject(arguments) => subject::run(config, &arguments).await,
        What::Report(arguments) => report::run(config, arguments).await,
        What::Keys => {
            let keys = with_database(config, async |pool| Ok(seals::keys(&pool).await?)).await?;
            let line = |key: &seals::PublishedKey| {
                let added = key.added_at.format("%Y-%m-%d");
                let until = key.retired_at.map_or_else(String::new, |at| format!(" until {}", at.format("%Y-%m-%d")));
                format!("# signs since {added}{until}\n{}\n", key.verifier_key)
            };
            print(&keys.iter().map(line).collect::<String>())?;
            Ok(ExitCode::SUCCESS)
        }
        What::RotateKey => {
            let file = &config.evidence_key_file;
            let key = rotate(file)?;
            let (new, old) = (file.display(), format!("{}.previous", file.display()));
            print(&format!(
                "{key}\nis the new key, in {new}; the one before it is in {old}\n\
                 1. restart the process that seals: it signs with both and publishes the new one\n\
                 2. give the new key to whoever verifies\n\
                 3. when nobody needs the old one any more, remove {old} and restart again\n"
            ))?;
            Ok(ExitCode::SUCCESS)
        }
        What::SelfCheck(arguments) => self_check::run(config, &arguments).await,
        What::AcceptRollback(arguments) => rollback::run(config, arguments).await,
        What::Verify(_) | What::VerifyProof(_) | What::VerifySubject(_) => unreachable!("these were done offline"),
    }
}

async fn written(config: &Config, arguments: &Export) -> anyhow::Result<ExitCode> {
    let mut request = Request::of_tenant(arguments.tenant, concat!("hub ", env!("CARGO_PKG_VERSION")));
    (request.from, request.to, request.as_is) = (arguments.from, arguments.to, arguments.as_is);
    if let Some(last) = &arguments.last {
        let note = read_bounded(last, SMALL_BYTES_MAX).with_context(|| format!("cannot read {}", last.display()))?;
        request.last = Some(String::from_utf8(note).with_context(|| format!("{} is no checkpoint", last.display()))?);
    }
    let directory = arguments.output.display();
    let bar = progress::events("export");
    let done = with_database(config, async |pool| {
        let announce = async |planned: &Planned| {
            let recorded = record(&pool, Some(planned.tenant_id), exported(planned, ExportForm::Bundle, request.as_is));
            recorded.await.map_err(|error| format!("{error:#}"))
        };
        let show = |done, all| progress::show(&bar, done, all);
        let work = export_announced(&pool, &request, &arguments.output, announce, show);
        tokio::select! {
            // First, so that the signal is listened for before anything is written.
            biased;
            interrupted = tokio::signal::ctrl_c() => {
                interrupted.context("cannot listen for signals")?;
                Ok(None)
            }
            done = work => Ok(Some(done?)),
        }
    });
    let done = done.await;
    bar.finish_and_clear();
    let Some(done) = done? else {
        print(&format!("interrupted: the same command goes on with what is in {directory}\n"))?;
        return Ok(ExitCode::from(INTERRUPTED));
    };
    print(&text(&done, &directory.to_string()))?;
    if done.faults.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    bail!("the log is not what was sealed: {}", done.faults[0]);
}

/// What is taken out of a tenant's log, as it is written down.
fn exported(planned: &Planned, form: ExportForm, as_is: bool) -> impl FnOnce(Recipient) -> Event {
    let Planned { tenant_id, from, to, size, root } = planned.clone();
    move |recipient| Event::Exported {
        recipient,
        form,
        tenant_id: Some(TenantId(tenant_id)),
        range: Range { from, to },
        filter: None,
        entry_count: Some(to + 1 - from),
        checkpoint: Some(CheckpointRef { size, root }),
        as_is,
    }
}

fn text(done: &Exported, directory: &str) -> String {
    let Exported { from, to, size, entry_count, kept_member_count, .. } = done;
    let mut text = format!("{entry_count} events, from {from} to {to} of {size} sealed, are in {directory}\n");
    if *kept_member_count > 0 {
        text += &format!("{kept_member_count} files of entries were there already\n");
    }
    for fault in done.faults.iter().skip(1) {
        text += &format!("  {fault}\n");
    }
    text
}
