//! `hub audit accept-rollback`: the way out when the database is not the one that was sealed on this machine, and no better one is left.

use std::{fmt::Write as _, process::ExitCode};

use anyhow::{Context as _, bail};
use hub_commands::self_check::{BY_OPERATOR, SelfChecks};
use hub_domain::self_check::{Command, Rollback};
use hub_event_store::{store::EventStore, tail::Tail};
use hub_seal::{
    Signer, WitnessFile,
    witness::{Contradiction, contradiction, size},
};

use crate::{
    clock::system_clock,
    config::Config,
    evidence_key::{existing_keys, witness},
    serve::upcasters,
    verb::{print, with_database},
};

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Why what is lost will not come back; this is written down
    #[arg(long, value_name = "TEXT")]
    reason: String,
    /// Do it; without this what is lost is only shown
    #[arg(long)]
    yes: bool,
}

pub(super) async fn run(config: &Config, arguments: Arguments) -> anyhow::Result<ExitCode> {
    let file = witness(&config.evidence_key_file);
    let path = file.path().display().to_string();
    if arguments.reason.trim().is_empty() {
        bail!("--reason needs a text");
    }
    let Some(kept) = file.read().with_context(|| format!("cannot read {path}"))? else {
        bail!("there is no {path}: this machine would seal any database");
    };
    let signer = Signer::new(existing_keys(&config.evidence_key_file)?)?;
    with_database(config, async |pool| {
        let mut connection = pool.acquire().await?;
        let found_size = size(&mut connection).await?;
        let Some(found) = contradiction(&mut connection, &signer, Some(&kept)).await? else {
            print(&format!("the database continues what is in {path}: there is nothing to accept\n"))?;
            return Ok(ExitCode::SUCCESS);
        };
        drop(connection);
        print(&lost(&found, found_size)?)?;
        if !arguments.yes {
            print("nothing was done; with --yes sealing goes on from what the database has\n")?;
            return Ok(ExitCode::FAILURE);
        }
        let rollback = Rollback {
            kept_size: found.kept_size(),
            kept_note: String::from_utf8_lossy(&kept).into_owned(),
            found_size,
            reason: arguments.reason.clone(),
        };
        let store = EventStore::start(pool, Tail::default(), upcasters(), system_clock());
        // First, so that no witness is gone without it.
        let written = SelfChecks::new(store, BY_OPERATOR).try_write(Command::AcceptRollback(rollback)).await;
        written.context("the decision cannot be written into the log")?;
        accept(&file, &found)?;
        Ok(ExitCode::SUCCESS)
    })
    .await
}

fn accept(file: &WitnessFile, found: &Contradiction) -> anyhow::Result<()> {
    let moved = file.give_up(found.kept_size());
    let moved = moved.with_context(|| format!("cannot move {}", file.path().display()))?;
    print(&format!(
        "accepted, and written down as an event; the checkpoint that was given up is in {}\n\
         sealing goes on within a second, or when the process that seals is started\n",
        moved.display()
    ))
}

fn lost(found: &Contradiction, found_size: u64) -> Result<String, std::fmt::Error> {
    let mut text = format!("{found}\n");
    let kept_size = found.kept_size();
    if kept_size > found_size {
        writeln!(
            text,
            "lost are the last {} checkpoints of tenants, with what only they cover",
            kept_size - found_size
        )?;
    } else {
        writeln!(text, "lost is the past that the {kept_size} checkpoints of tenants proved that were signed here")?;
    }
    text += "whoever kept one of them will find that the log does not continue it, and will be right\n\
             if there is a database that does, restore that one instead\n";
    Ok(text)
}
