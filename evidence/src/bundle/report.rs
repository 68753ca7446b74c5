//! What a verification has found.

use serde::Serialize;
use uuid::Uuid;

use crate::{entry::Timestamp, tree::Hash};

/// What was checked, and what came of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Whether everything is right. A check that could not be made is not right.
    pub valid: bool,
    /// The name of the log.
    pub origin: Option<String>,
    /// Whose log it is.
    pub tenant_id: Option<Uuid>,
    /// The place of the first entry that should be there.
    pub from: Option<u64>,
    /// The place of the last one.
    pub to: Option<u64>,
    /// How many entries the checkpoint covers.
    pub size: Option<u64>,
    /// The root of their tree.
    pub root: Option<Hash>,
    /// The trusted keys that signed the checkpoint.
    pub signers: Vec<String>,
    /// How many entries were read.
    pub entry_count: u64,
    /// Of how many streams they are.
    pub stream_count: u64,
    /// How long their lines are.
    pub content_bytes: u64,
    /// The earliest time of an entry.
    pub first_at: Option<Timestamp>,
    /// The latest time of an entry.
    pub last_at: Option<Timestamp>,
    /// One line for each thing that was looked at.
    pub checks: Vec<Check>,
    /// The first entry that is not what it should be.
    pub first_wrong: Option<Wrong>,
    /// How many of the entries that were read are not what they should be.
    pub wrong_count: u64,
    /// What is strange, and no reason to doubt the log.
    pub warnings: Vec<String>,
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Check {
    /// What.
    pub name: CheckName,
    /// What came of it.
    pub outcome: Outcome,
    /// The same in words.
    pub detail: String,
}

/// The things that are looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum CheckName {
    /// Whether the manifest can be one.
    Manifest,
    /// Whether every file is there as the manifest says, and no other.
    Files,
    /// Whether a trusted key signed the checkpoint.
    Signature,
    /// Whether every entry is the one that was sealed at its place.
    Entries,
    /// Whether the sealed hashes lead to the root in the checkpoint.
    Root,
    /// Whether the checkpoint continues the older one in the bundle.
    Previous,
    /// Whether it continues the one that the verifier has kept.
    Last,
    /// Whether it stands in the platform's log.
    Platform,
}

/// What came of a check.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It is right.
    Passed,
    /// It is wrong.
    Failed,
    /// The bundle has nothing for it, and need not have.
    Absent,
    /// It was asked for, and the bundle does not say enough.
    Unknown,
}

/// An entry that is not what it should be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Wrong {
    /// Its place in the tenant's log, from 1.
    pub position: u64,
    /// What is wrong with it.
    pub what: String,
}

impl Report {
    /// One that has found nothing yet.
    pub(super) fn new() -> Self {
        Self {
            valid: false,
            origin: None,
            tenant_id: None,
            from: None,
            to: None,
            size: None,
            root: None,
            signers: Vec::new(),
            entry_count: 0,
            stream_count: 0,
            content_bytes: 0,
            first_at: None,
            last_at: None,
            checks: Vec::new(),
            first_wrong: None,
            wrong_count: 0,
            warnings: Vec::new(),
        }
    }

    pub(super) fn add(&mut self, name: CheckName, outcome: Outcome, detail: impl Into<String>) {
        self.checks.push(Check { name, outcome, detail: detail.into() });
    }

    /// `passed` in words, or what went wrong.
    pub(super) fn note(&mut self, name: CheckName, result: Result<String, String>) {
        match result {
            Ok(detail) => self.add(name, Outcome::Passed, detail),
            Err(detail) => self.add(name, Outcome::Failed, detail),
        }
    }

    pub(super) fn concluded(mut self) -> Self {
        self.checks.sort_by_key(|check| check.name);
        self.valid = self.checks.iter().all(|check| matches!(check.outcome, Outcome::Passed | Outcome::Absent));
        self
    }

    /// What came of a check that was made.
    #[must_use]
    pub fn outcome(&self, name: CheckName) -> Option<Outcome> {
        self.checks.iter().find(|check| check.name == name).map(|check| check.outcome)
    }

    /// Whether something is wrong, rather than nothing but unknown.
    #[must_use]
    pub fn refuted(&self) -> bool {
        self.checks.iter().any(|check| check.outcome == Outcome::Failed)
    }
}
