//! What needs nothing but files: verifying a bundle, or one event's proof.

use std::{
    fmt::Write as _,
    io::Write as _,
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context as _, bail};
use hub_evidence::{
    bundle::{CheckName, Outcome, Report, SMALL_BYTES_MAX, Trust, read_bounded, verify},
    checkpoint::{Checkpoint, Origin},
    key::{KEYS_BYTES_MAX, VerifierKey, VerifierKeys},
    proof::{EntryProof, PROOF_BYTES_MAX},
    signed::{SIGNED_BYTES_MAX, SignedDocument},
};
use hub_replay_tools::subject::KIND;

use super::{Arguments, What};
use crate::verb::{print, progress};

/// Nothing can be said.
pub(super) const UNKNOWN: u8 = 2;

#[derive(Debug, clap::Args)]
pub(super) struct Verify {
    /// The directory that was exported
    #[arg(value_name = "BUNDLE")]
    bundle: PathBuf,
    #[command(flatten)]
    trusted: Trusted,
    /// An older checkpoint that was kept: the log must continue it
    #[arg(long, value_name = "NOTE")]
    last: Option<PathBuf>,
    /// How the result is printed
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

#[derive(Debug, clap::Args)]
pub(super) struct VerifyProof {
    /// The file that was proven
    #[arg(value_name = "FILE")]
    file: PathBuf,
    #[command(flatten)]
    trusted: Trusted,
}

#[derive(Debug, clap::Args)]
pub(super) struct VerifySubject {
    /// The document
    #[arg(value_name = "FILE")]
    file: PathBuf,
    #[command(flatten)]
    trusted: Trusted,
}

#[derive(Debug, clap::Args)]
struct Trusted {
    /// A trusted key, or a file with one in each line; may be given more than once
    #[arg(long = "key", value_name = "KEY|FILE", required = true)]
    keys: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Format {
    Text,
    Json,
}

/// Does what needs no platform; nothing for every other verb. What cannot be found out is one line on standard error and exit code 2.
pub(in crate::verb) fn offline(arguments: &Arguments) -> Option<ExitCode> {
    let done = match &arguments.what {
        What::Verify(arguments) => verified(arguments),
        What::VerifyProof(arguments) => proven(arguments),
        What::VerifySubject(arguments) => told(arguments),
        What::Export(_)
        | What::Prove { .. }
        | What::Replay(_)
        | What::Report(_)
        | What::Subject(_)
        | What::SelfCheck(_)
        | What::AcceptRollback(_)
        | What::Keys
        | What::RotateKey => return None,
    };
    Some(done.unwrap_or_else(|error| {
        let line = format!("{error:#}").replace('\n', " ");
        // Nothing can be done when nobody listens to the error.
        writeln!(std::io::stderr(), "hub: {line}").ok();
        ExitCode::from(UNKNOWN)
    }))
}

fn verified(arguments: &Verify) -> anyhow::Result<ExitCode> {
    let last = arguments.last.as_deref().map(|path| read(path, SMALL_BYTES_MAX)).transpose()?;
    let trust = Trust { keys: arguments.trusted.keys()?, last };
    let bar = progress::events("verify");
    let mut show = |done: u64, all: u64| {
        progress::show(&bar, i64::try_from(done).unwrap_or(i64::MAX), i64::try_from(all).unwrap_or(i64::MAX));
    };
    let report = verify(&arguments.bundle, &trust, &mut show);
    bar.finish_and_clear();
    let report = report?;
    print(&match arguments.format {
        Format::Json => serde_json::to_string_pretty(&report)? + "\n",
        Format::Text => text(&report)?,
    })?;
    Ok(match (report.valid, report.refuted()) {
        (true, _) => ExitCode::SUCCESS,
        (false, true) => ExitCode::FAILURE,
        (false, false) => ExitCode::from(UNKNOWN),
    })
}

fn proven(arguments: &VerifyProof) -> anyhow::Result<ExitCode> {
    let keys = arguments.trusted.keys()?;
    let bytes = read(&arguments.file, PROOF_BYTES_MAX as u64)?;
    let (text, valid) = match proof(&bytes, &keys) {
        Ok(text) => (format!("{text}valid\n"), true),
        Err(what) => (format!("{what}\nnot valid\n"), false),
    };
    print(&text)?;
    Ok(if valid { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn told(arguments: &VerifySubject) -> anyhow::Result<ExitCode> {
    let keys = arguments.trusted.keys()?;
    let bytes = read(&arguments.file, SIGNED_BYTES_MAX as u64)?;
    let (text, valid) = match SignedDocument::verify(&bytes, KIND, &keys) {
        Ok((document, signers)) => {
            let signers: Vec<String> = signers.iter().map(|key| format!("signed by {key}\n")).collect();
            (format!("{document}\n{}valid\n", signers.concat()), true)
        }
        Err(what) => (format!("{what}\nnot valid\n"), false),
    };
    print(&text)?;
    Ok(if valid { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// What a proof proves, or why it does not.
fn proof(bytes: &[u8], keys: &VerifierKeys) -> Result<String, String> {
    let text = std::str::from_utf8(bytes).map_err(|_| "the proof is no UTF-8".to_owned())?;
    let proof = EntryProof::parse(text).map_err(|error| error.to_string())?;
    let opened = Checkpoint::open_any(proof.note.to_string().as_bytes(), keys).map_err(|error| error.to_string())?;
    let origin = opened.checkpoint.origin();
    let (entry, _) = proof.verify_entry(origin, keys).map_err(|error| error.to_string())?;
    let is_host = |key: &VerifierKey| Origin::tenant(key.name(), entry.tenant_id).as_ref() == Ok(origin);
    if !opened.signers.iter().any(is_host) {
        return Err(format!("none of the keys that signed it is of the platform of the log {origin}"));
    }
    let signers: Vec<String> = opened.signers.iter().map(ToString::to_string).collect();
    Ok(format!(
        "log         {origin}\nevent       {} of {} sealed, {} of {}\nwhat        {} version {}, sequence {} of {} {}\n\
         payload     {}\nsigned by   {}\n",
        entry.tenant_position,
        opened.checkpoint.size(),
        entry.event_id,
        entry.occurred_at,
        plain(&entry.event_type),
        entry.event_version,
        entry.sequence,
        plain(&entry.aggregate_type),
        entry.aggregate_id,
        plain(&entry.payload),
        signers.join(", ")
    ))
}

impl Trusted {
    fn keys(&self) -> anyhow::Result<VerifierKeys> {
        let mut keys: Vec<VerifierKey> = Vec::new();
        for given in &self.keys {
            let path = Path::new(given);
            let text = if path.exists() {
                let text = read(path, KEYS_BYTES_MAX as u64)?;
                String::from_utf8(text).with_context(|| format!("{given} is no list of keys"))?
            } else {
                given.clone()
            };
            let found: VerifierKeys = text.parse().with_context(|| format!("{given:?} is neither a file nor a key"))?;
            keys.extend(found.iter().cloned());
        }
        if keys.is_empty() {
            bail!("no key is trusted");
        }
        Ok(VerifierKeys::new(keys)?)
    }
}

fn read(path: &Path, bytes_max: u64) -> anyhow::Result<Vec<u8>> {
    let bytes = read_bounded(path, bytes_max).with_context(|| format!("cannot read {}", path.display()))?;
    if bytes.len() as u64 > bytes_max {
        bail!("{} is longer than {bytes_max} bytes", path.display());
    }
    Ok(bytes)
}

/// On one line, whatever a bundle says of itself.
fn plain(text: &str) -> String {
    text.chars().map(|character| if character.is_control() { '\u{fffd}' } else { character }).collect()
}

fn text(report: &Report) -> Result<String, std::fmt::Error> {
    let mut text = String::new();
    if let Some(origin) = &report.origin {
        writeln!(text, "log         {origin}")?;
    }
    if let (Some(from), Some(to), Some(size)) = (report.from, report.to, report.size) {
        writeln!(text, "range       entries {from} to {to} of {size} sealed")?;
    }
    if let (Some(first), Some(last)) = (report.first_at, report.last_at) {
        writeln!(text, "times       {first} to {last}")?;
    }
    for check in &report.checks {
        let name = match check.name {
            CheckName::Manifest => "manifest",
            CheckName::Files => "files",
            CheckName::Signature => "signature",
            CheckName::Entries => "entries",
            CheckName::Root => "root",
            CheckName::Previous => "previous",
            CheckName::Last => "last",
            CheckName::Platform => "platform",
        };
        let outcome = match check.outcome {
            Outcome::Passed => "passed",
            Outcome::Failed => "FAILED",
            Outcome::Absent => "absent",
            Outcome::Unknown => "UNKNOWN",
        };
        writeln!(text, "{name:<11} {outcome:<8} {}", plain(&check.detail))?;
    }
    if report.wrong_count > 1 {
        writeln!(text, "wrong       {} of the entries that were read", report.wrong_count)?;
    }
    for warning in &report.warnings {
        writeln!(text, "warning     {}", plain(warning))?;
    }
    writeln!(text, "{}", if report.valid { "valid" } else { "not valid" })?;
    Ok(text)
}
