//! When an erasure is accepted, put off, begun and completed, and how open ones are counted.

use std::collections::BTreeSet;

use chrono::{DateTime, Utc};
use uuid::Uuid;

use crate::{aggregate::Decide, effect::Effect, text::Remark};

use super::{Command, Erasure, Error, Event, GRACE_DAYS_MAX, Hold, KeyState, Scope, due_after, kept};

/// The counter of a tenant's erasures that are not executed; its maximum is [`OPEN_COUNT_MAX`](super::OPEN_COUNT_MAX), and a command that
/// would exceed it is refused as [`LIMIT_REACHED`](super::LIMIT_REACHED).
pub const OPEN: &str = "erasures_open";

impl Decide for Erasure {
    fn decide(&self, command: Command) -> Result<Vec<Event>, Error> {
        match (self, command) {
            (
                Self::Absent | Self::Cancelled,
                Command::Request { scope, by, reason, grace_days, urgency, key, holds, leaving, now },
            ) => {
                match key {
                    KeyState::Unknown => return Err(Error::SubjectUnknown),
                    KeyState::Destroyed => return Err(Error::AlreadyErased),
                    KeyState::Live => {}
                }
                reasoned(&reason)?;
                timed(grace_days, &urgency)?;
                if scope == Scope::Tenant && !leaving {
                    return Err(Error::TenantNotArchived);
                }
                if let Some(hold) = holds.into_iter().next() {
                    return Err(Error::Held(hold.matter));
                }
                let urgency = if grace_days == 0 { urgency } else { Remark::default() };
                let due_at = due_after(now, grace_days);
                Ok(vec![Event::Requested { scope, by, reason, grace_days, urgency, due_at }])
            }
            (Self::Open { .. } | Self::Begun { .. }, Command::Request { .. }) => Err(Error::AlreadyRequested),
            (Self::Executed, Command::Request { .. }) => Err(Error::AlreadyErased),
            (Self::Absent, Command::Cancel { .. } | Command::Begin { .. } | Command::Complete { .. }) => {
                Err(Error::NotFound)
            }
            (Self::Open { .. }, Command::Cancel { by, reason }) => {
                reasoned(&reason)?;
                Ok(vec![Event::Cancelled { by, reason }])
            }
            (Self::Begun { .. } | Self::Executed, Command::Cancel { .. }) => Err(Error::Begun),
            (Self::Open { due_at, holds, .. }, Command::Begin { holds: found, now }) => {
                begin(*due_at, holds, found, now)
            }
            (Self::Begun { scope }, Command::Complete { key_id, destroyed_at }) => {
                Ok(vec![Event::Executed { scope: *scope, key_id, destroyed_at, kept: kept(*scope) }])
            }
            (Self::Open { .. } | Self::Cancelled, Command::Complete { .. }) => Err(Error::NotBegun),
            (Self::Cancelled, Command::Cancel { .. } | Command::Begin { .. })
            | (Self::Begun { .. }, Command::Begin { .. })
            | (Self::Executed, Command::Begin { .. } | Command::Complete { .. }) => Ok(vec![]),
        }
    }

    fn effects(&self, _id: Uuid, event: &Event) -> Vec<Effect> {
        match event {
            Event::Requested { .. } => vec![Effect::Count { counter: OPEN, delta: 1 }],
            Event::Cancelled { .. } | Event::Executed { .. } => vec![Effect::Count { counter: OPEN, delta: -1 }],
            Event::Deferred { .. } | Event::Begun {} => Vec::new(),
        }
    }
}

fn begin(
    due_at: DateTime<Utc>,
    known: &BTreeSet<Hold>,
    found: BTreeSet<Hold>,
    now: DateTime<Utc>,
) -> Result<Vec<Event>, Error> {
    if now < due_at {
        return Err(Error::NotDue);
    }
    if found.is_empty() {
        return Ok(vec![Event::Begun {}]);
    }
    // Said once, and again only when other holds are in the way.
    if found == *known { Ok(vec![]) } else { Ok(vec![Event::Deferred { holds: found }]) }
}

fn timed(grace_days: u16, urgency: &Remark) -> Result<(), Error> {
    if grace_days > GRACE_DAYS_MAX {
        return Err(Error::GraceOutOfBounds);
    }
    if grace_days == 0 && urgency.as_str().is_empty() {
        return Err(Error::UrgencyMissing);
    }
    Ok(())
}

fn reasoned(reason: &Remark) -> Result<(), Error> {
    if reason.as_str().is_empty() { Err(Error::ReasonMissing) } else { Ok(()) }
}
