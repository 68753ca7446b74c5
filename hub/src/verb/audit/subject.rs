//! What the log has about one person, as a signed document: written with the database and the vault, verified offline.

use std::{fs, io::Write as _, path::PathBuf, process::ExitCode};

use anyhow::{Context as _, bail};
use hub_domain::disclosure::Event;
use hub_evidence::signed::SignedDocument;
use hub_replay_tools::subject::{KIND, export};
use serde_json::value::RawValue;
use sqlx::PgPool;
use uuid::Uuid;

use crate::{
    clock::system_clock,
    config::Config,
    disclosures::record,
    evidence_key::signing_keys,
    vault,
    verb::{print, with_database_and_vault},
};

/// Whose data is asked for.
#[derive(Debug, clap::Args)]
#[group(required = true, multiple = false)]
struct Who {
    /// The person, by the id of the data subject
    #[arg(long, value_name = "UUID")]
    subject: Option<Uuid>,
    /// The person, by mail address; standard input when it is `-`
    #[arg(long, value_name = "ADDRESS")]
    email: Option<String>,
}

#[derive(Debug, clap::Args)]
pub(super) struct Subject {
    /// Whose log
    #[arg(long, value_name = "UUID")]
    tenant: Uuid,
    #[command(flatten)]
    who: Who,
    /// Write into this new file
    #[arg(long, short, value_name = "FILE")]
    output: PathBuf,
}

pub(super) async fn run(config: &Config, arguments: &Subject) -> anyhow::Result<ExitCode> {
    let Subject { tenant, who, output } = arguments;
    let now = system_clock()();
    let (document, count) = with_database_and_vault(config, async |pool: PgPool, default_url: Option<String>| {
        let vault = vault::open(config, &pool, default_url.as_deref()).await?;
        let subject_id = match (who.subject, &who.email) {
            (Some(subject_id), _) => Some(subject_id),
            (None, Some(email)) => vault.subject_by_email(*tenant, &given(email)?).await?,
            (None, None) => None,
        };
        let Some(subject_id) = subject_id else { bail!("the tenant's log has nothing about such a person") };
        let document = export(&pool, &vault, *tenant, subject_id, now).await?;
        let record_count = document.records.len();
        let handed_over =
            move |recipient| Event::SubjectExported { recipient, subject_id, record_count: record_count as u64 };
        record(&pool, Some(*tenant), handed_over).await?;
        Ok((RawValue::from_string(serde_json::to_string_pretty(&document)?)?, record_count))
    })
    .await?;
    let keys = signing_keys(&config.evidence_key_file, &config.evidence_name)?;
    let signed = SignedDocument::sign(KIND, document, &keys)?;
    let mut file = fs::File::create_new(output).with_context(|| format!("cannot make {}", output.display()))?;
    let written = serde_json::to_vec(&signed)?;
    file.write_all(&written)
        .and_then(|()| file.sync_all())
        .with_context(|| format!("cannot write {}", output.display()))?;
    let records = if count == 1 { "record" } else { "records" };
    print(&format!("{count} {records}, signed, in {}\n", output.display()))?;
    Ok(ExitCode::SUCCESS)
}

/// What was given, or the first line of standard input, so that an address need not stand in a list of processes.
fn given(email: &str) -> anyhow::Result<String> {
    if email != "-" {
        return Ok(email.to_owned());
    }
    let mut line = String::new();
    std::io::stdin().read_line(&mut line).context("cannot read standard input")?;
    Ok(line.trim().to_owned())
}
