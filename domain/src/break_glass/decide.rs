//! What an emergency access allows, how it is counted, and what decisions read of it.

use chrono::TimeDelta;
use uuid::Uuid;

use crate::{
    aggregate::Decide,
    effect::Effect,
    fact::{Fact, GRANTS, GrantFact, GrantSource, Home},
};

use super::{BreakGlass, Command, Error, Event, MINUTES_MAX};

/// The counter of a tenant's emergency accesses that nobody has reviewed, open ones included; its maximum is
/// [`UNREVIEWED_COUNT_MAX`](super::UNREVIEWED_COUNT_MAX), and a command that would exceed it is refused as
/// [`LIMIT_REACHED`](super::LIMIT_REACHED).
pub const UNREVIEWED: &str = "break_glass_unreviewed";
/// The fact of an open access.
pub const GRANT: &str = "grant";

impl Decide for BreakGlass {
    fn decide(&self, command: Command) -> Result<Vec<Event>, Error> {
        match (self, command) {
            (Self::Absent, Command::Open { by, role_id, role_live, reason, ticket, minutes, now }) => {
                if reason.as_str().is_empty() {
                    return Err(Error::ReasonMissing);
                }
                if !(1..=MINUTES_MAX).contains(&minutes) {
                    return Err(Error::MinutesOutOfBounds);
                }
                if !role_live {
                    return Err(Error::RoleUnknown);
                }
                let until = now + TimeDelta::minutes(minutes.into());
                Ok(vec![Event::Opened { by, role_id, reason, ticket, from: now, until }])
            }
            (Self::Absent, _) => Err(Error::NotFound),
            (Self::Open(_) | Self::Unreviewed { .. } | Self::Reviewed, Command::Open { .. }) => {
                Err(Error::AlreadyOpened)
            }
            (Self::Open(_), Command::Close { by }) => Ok(vec![Event::Closed { by }]),
            (Self::Open(access), Command::End { now }) => {
                if now < access.until {
                    return Err(Error::NotDue);
                }
                Ok(vec![Event::Ended {}])
            }
            (Self::Open(_), Command::Review { .. }) => Err(Error::StillOpen),
            (Self::Unreviewed { .. } | Self::Reviewed, Command::Close { .. } | Command::End { .. }) => Ok(vec![]),
            (Self::Unreviewed { by: opened_by }, Command::Review { by, verdict, remark }) => {
                if by == *opened_by {
                    return Err(Error::OwnReview);
                }
                Ok(vec![Event::Reviewed { by, verdict, remark }])
            }
            (Self::Reviewed, Command::Review { .. }) => Err(Error::AlreadyReviewed),
        }
    }

    fn effects(&self, _id: Uuid, event: &Event) -> Vec<Effect> {
        match event {
            Event::Opened { by, role_id, from, until, .. } => {
                let fact = Fact::Grant(GrantFact {
                    principal: by.clone(),
                    home: Home::Tenant,
                    role_id: *role_id,
                    from: *from,
                    until: Some(*until),
                    source: GrantSource::BreakGlass,
                });
                vec![
                    Effect::Count { counter: UNREVIEWED, delta: 1 },
                    Effect::Count { counter: GRANTS, delta: 1 },
                    Effect::Show { part: GRANT.to_owned(), fact },
                ]
            }
            Event::Closed { .. } | Event::Ended {} => vec![Effect::Hide { part: GRANT.to_owned() }],
            Event::Reviewed { .. } => vec![Effect::Count { counter: UNREVIEWED, delta: -1 }],
        }
    }
}
