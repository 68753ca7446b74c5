//! What is kept with a command so that the same command is answered the same again.

use hub_domain::refusal::{Kind, Refusal};
use hub_http::{Problem, RefusalKind};
use serde::{Deserialize, Serialize};
use serde_json::{Value, value::RawValue};

/// A command's outcome beside its place in the log.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Outcome {
    /// It was refused.
    Refused(Refused),
    /// It was executed, and this belongs to the answer; never a secret.
    Done(Value),
}

/// A refusal in the form that is kept and answered.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Refused {
    kind: KeptKind,
    code: String,
    detail: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum KeptKind {
    NotFound,
    Conflict,
    Invalid,
    Forbidden,
    LimitReached,
}

impl Refused {
    pub(crate) fn new(kind: Kind, code: &str, detail: String) -> Self {
        let kind = match kind {
            Kind::NotFound => KeptKind::NotFound,
            Kind::Conflict => KeptKind::Conflict,
            Kind::Invalid => KeptKind::Invalid,
            Kind::Forbidden => KeptKind::Forbidden,
            Kind::LimitReached => KeptKind::LimitReached,
        };
        Self { kind, code: code.to_owned(), detail }
    }

    pub(crate) fn of(refusal: &impl Refusal) -> Self {
        Self::new(refusal.kind(), refusal.code(), refusal.to_string())
    }

    pub(crate) fn is_not_found(&self) -> bool {
        self.kind == KeptKind::NotFound
    }

    pub(crate) fn problem(self) -> Problem {
        let kind = match self.kind {
            KeptKind::NotFound => RefusalKind::NotFound,
            KeptKind::Conflict => RefusalKind::Conflict,
            KeptKind::Invalid => RefusalKind::Invalid,
            KeptKind::Forbidden => RefusalKind::Forbidden,
            KeptKind::LimitReached => RefusalKind::LimitExceeded,
        };
        Problem::refusal(kind, self.code, self.detail, Value::Null)
    }
}

impl Outcome {
    pub(crate) fn to_json(&self) -> Box<RawValue> {
        serde_json::value::to_raw_value(self).expect("an outcome is plain data")
    }

    /// What was kept; an outcome that nobody can read any more counts as done without further data.
    pub(crate) fn of(kept: Option<&RawValue>) -> Self {
        kept.and_then(|json| serde_json::from_str(json.get()).ok()).unwrap_or(Self::Done(Value::Null))
    }
}
