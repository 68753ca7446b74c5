//! What people and controls may do with a finding.

use chrono::{DateTime, TimeDelta, Utc};

use crate::{aggregate::Decide, text::Remark};

use super::{ACCEPTANCE_DAYS_MAX, Command, Error, Event, Finding, ReopenCause};

impl Decide for Finding {
    fn decide(&self, command: Command) -> Result<Vec<Event>, Error> {
        match command {
            Command::Find { control_id, severity, tenant_id, about, what, run_id, now } => Ok(match self {
                Self::Absent => vec![Event::Opened { control_id, severity, tenant_id, about, what, run_id }],
                _ => self.reopened(now).map(|cause| Event::Reopened { cause, what, run_id }).into_iter().collect(),
            }),
            Command::Miss { run_id } => Ok(match self {
                Self::Absent | Self::Verified => vec![],
                Self::Open | Self::Acknowledged | Self::InRemediation | Self::RiskAccepted { .. } | Self::Resolved => {
                    vec![Event::Verified { run_id }]
                }
            }),
            Command::Acknowledge { by, remark } => match self.live()? {
                Self::Acknowledged | Self::InRemediation => Ok(vec![]),
                _ => Ok(vec![Event::Acknowledged { by, remark }]),
            },
            Command::StartRemediation { by, remark } => match self.live()? {
                Self::InRemediation => Ok(vec![]),
                _ => Ok(vec![Event::RemediationStarted { by, remark }]),
            },
            Command::Resolve { by, remark } => match self {
                Self::Resolved => Ok(vec![]),
                _ => self.live().map(|_| vec![Event::Resolved { by, remark }]),
            },
            Command::AcceptRisk { by, reason, until, now } => {
                self.live()?;
                check(&reason, until, now)?;
                Ok(vec![Event::RiskAccepted { by, reason, until }])
            }
        }
    }
}

impl Finding {
    /// Itself, when there is still something to do about it.
    fn live(&self) -> Result<&Self, Error> {
        match self {
            Self::Absent => Err(Error::NotFound),
            Self::Resolved | Self::Verified => Err(Error::Resolved),
            Self::Open | Self::Acknowledged | Self::InRemediation | Self::RiskAccepted { .. } => Ok(self),
        }
    }

    /// Why it is open again when it is found at `now`; nothing when it was open before, or may be so.
    fn reopened(&self, now: DateTime<Utc>) -> Option<ReopenCause> {
        match self {
            Self::Absent | Self::Open | Self::Acknowledged | Self::InRemediation => None,
            Self::RiskAccepted { until } => (now >= *until).then_some(ReopenCause::AcceptanceOver),
            Self::Resolved => Some(ReopenCause::NotResolved),
            Self::Verified => Some(ReopenCause::CameBack),
        }
    }
}

fn check(reason: &Remark, until: DateTime<Utc>, now: DateTime<Utc>) -> Result<(), Error> {
    if reason.as_str().is_empty() {
        return Err(Error::ReasonMissing);
    }
    if until <= now || until > now + TimeDelta::days(ACCEPTANCE_DAYS_MAX) {
        return Err(Error::UntilOutOfBounds);
    }
    Ok(())
}
