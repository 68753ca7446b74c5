//! A control of the platform, and what each of its checks came to: evidence that stands in the log, and is sealed like everything else.
//!
//! One stream a control, of the platform itself; its id is derived from the control's ([`id_of`]). The state is what is to be followed up:
//! findings that were listed once and that no complete list has left out since, and those that the last one has.

pub mod decide;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;

use cqrs_es::{Aggregate, DomainEvent, event_sink::EventSink};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use strum::{AsRefStr, VariantNames};
use uuid::Uuid;

use crate::{
    aggregate,
    id::TenantId,
    refusal::{Kind, Refusal},
};

/// So many findings are listed one by one; the count is of all.
pub const FINDING_COUNT_MAX: usize = 200;

/// So many findings of one control are followed at a time; what is beyond waits until others are gone.
pub const FOLLOWED_COUNT_MAX: usize = 1_000;

/// Namespace of the ids of controls' streams.
const NAMESPACE: Uuid = Uuid::from_u128(0x57c1_6b0e_88d4_4c0c_a1b7_3f0f_0b7d_2c19);

/// The stream of a control.
#[must_use]
pub fn id_of(control_id: &str) -> Uuid {
    Uuid::new_v5(&NAMESPACE, control_id.as_bytes())
}

/// What has happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema, AsRefStr, VariantNames)]
#[serde(tag = "type", content = "data", rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum Event {
    /// The control was checked.
    Evaluated(Evaluation),
}

/// What a check came to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Evaluation {
    /// The run that it is part of.
    pub run_id: Uuid,
    pub control_id: String,
    /// The version of the controls, which says what was demanded.
    pub version: String,
    pub outcome: Outcome,
    /// How many things were looked at.
    pub checked_count: u64,
    /// How many of them are not as demanded; [`Evaluation::findings`] has the first of them.
    pub finding_count: u64,
    /// At most [`FINDING_COUNT_MAX`].
    pub findings: Vec<Listed>,
    /// The platform's log of checkpoints before the check began; none when nothing was sealed yet.
    pub sealed: Option<Sealed>,
}

/// Whether a control holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Nothing was found.
    Pass,
    /// Something is not as demanded.
    Fail,
    /// There is nothing to look at, so it says nothing.
    NotApplicable,
}

/// One thing that is not as demanded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Listed {
    /// The same whenever the same thing is found by the same control.
    pub finding_id: Uuid,
    /// The tenant it concerns, or the platform as a whole.
    pub tenant_id: Option<TenantId>,
    /// The thing, by its kind and id; never a person's name.
    pub about: String,
    /// What is wrong with it.
    pub what: String,
}

/// A state of the platform's log of checkpoints.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Sealed {
    /// How many checkpoints of tenants it has.
    pub size: u64,
    /// Its root, Base64.
    pub root: String,
}

impl Evaluation {
    /// Whether every finding is listed, so that what is not listed is not so any more.
    #[must_use]
    pub fn complete(&self) -> bool {
        self.finding_count == self.findings.len() as u64
    }
}

/// What can be ordered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Writes down what a check came to.
    Evaluate(Evaluation),
}

/// Why a command is refused; only the platform itself sends one, so no client meets these.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("more than {FINDING_COUNT_MAX} findings are listed")]
    TooManyFindings,
}

impl Refusal for Error {
    fn code(&self) -> &'static str {
        match self {
            Self::TooManyFindings => "control_check_too_many_findings",
        }
    }

    fn kind(&self) -> Kind {
        match self {
            Self::TooManyFindings => Kind::Invalid,
        }
    }
}

/// A control at one moment: what its last check came to, and what is to be done by it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ControlCheck {
    /// The last evaluation; none before the first.
    pub last: Option<Evaluation>,
    /// Findings whose end nobody has seen, at most [`FOLLOWED_COUNT_MAX`].
    pub followed: BTreeSet<Uuid>,
    /// Findings whose end the last evaluation has seen.
    pub over: BTreeSet<Uuid>,
}

impl ControlCheck {
    /// The findings that the last evaluation lists and that are followed.
    pub fn found(&self) -> impl Iterator<Item = &Listed> {
        let listed = self.last.iter().flat_map(|evaluation| &evaluation.findings);
        listed.filter(|finding| self.followed.contains(&finding.finding_id))
    }

    /// The state after an evaluation. What a complete list leaves out is over; a list that is not complete ends nothing.
    fn after(&self, evaluation: Evaluation) -> Self {
        let listed: BTreeSet<Uuid> = evaluation.findings.iter().map(|finding| finding.finding_id).collect();
        if evaluation.complete() {
            let over = self.followed.difference(&listed).copied().collect();
            return Self { last: Some(evaluation), followed: listed, over };
        }
        let mut followed = self.followed.clone();
        for finding_id in listed {
            if followed.len() < FOLLOWED_COUNT_MAX {
                followed.insert(finding_id);
            }
        }
        Self { last: Some(evaluation), followed, over: BTreeSet::new() }
    }
}

impl Aggregate for ControlCheck {
    const TYPE: &'static str = "control_check";
    type Command = Command;
    type Event = Event;
    type Error = Error;
    type Services = ();

    async fn handle(&mut self, command: Command, (): &(), sink: &EventSink<Self>) -> Result<(), Error> {
        aggregate::handle(self, command, sink).await
    }

    fn apply(&mut self, event: Event) {
        match event {
            Event::Evaluated(evaluation) => *self = self.after(evaluation),
        }
    }
}

impl DomainEvent for Event {
    fn event_type(&self) -> String {
        format!("{}.{}", ControlCheck::TYPE, self.as_ref())
    }

    fn event_version(&self) -> String {
        "1".to_owned()
    }
}
