//! What a support access allows, how it is counted, and what decisions read of it.

use uuid::Uuid;

use crate::{
    aggregate::Decide,
    effect::Effect,
    fact::{Fact, GRANTS, GrantFact, GrantSource, Home},
};

use super::{Command, DURATION_MAX, Error, Event, SupportAccess};

/// The counter of a tenant's granted support accesses; its maximum is [`GRANTED_COUNT_MAX`](super::GRANTED_COUNT_MAX), and a command that
/// would exceed it is refused as [`LIMIT_REACHED`](super::LIMIT_REACHED).
pub const GRANTED: &str = "support_accesses";
/// The fact of a granted access.
pub const GRANT: &str = "grant";

impl Decide for SupportAccess {
    fn decide(&self, command: Command) -> Result<Vec<Event>, Error> {
        match (self, command) {
            (Self::Absent, Command::Grant { by, staff, role_id, role_live, reason, until, now }) => {
                if reason.as_str().is_empty() {
                    return Err(Error::ReasonMissing);
                }
                if until <= now {
                    return Err(Error::EndInThePast);
                }
                if until - now > DURATION_MAX {
                    return Err(Error::TooLong);
                }
                if !role_live {
                    return Err(Error::RoleUnknown);
                }
                Ok(vec![Event::Granted { by, staff, role_id, reason, from: now, until }])
            }
            (Self::Absent, _) => Err(Error::NotFound),
            (Self::Granted { .. } | Self::Over, Command::Grant { .. }) => Err(Error::AlreadyGranted),
            (Self::Granted { .. }, Command::Revoke { by }) => Ok(vec![Event::Revoked { by }]),
            (Self::Granted { until }, Command::End { now }) => {
                if now < *until {
                    return Err(Error::NotDue);
                }
                Ok(vec![Event::Ended {}])
            }
            (Self::Over, Command::Revoke { .. } | Command::End { .. }) => Ok(vec![]),
        }
    }

    fn effects(&self, _id: Uuid, event: &Event) -> Vec<Effect> {
        match event {
            Event::Granted { staff, role_id, from, until, .. } => {
                let fact = Fact::Grant(GrantFact {
                    principal: staff.clone(),
                    home: Home::Platform,
                    role_id: *role_id,
                    from: *from,
                    until: Some(*until),
                    source: GrantSource::SupportAccess,
                });
                vec![
                    Effect::Count { counter: GRANTED, delta: 1 },
                    Effect::Count { counter: GRANTS, delta: 1 },
                    Effect::Show { part: GRANT.to_owned(), fact },
                ]
            }
            Event::Revoked { .. } | Event::Ended {} => {
                vec![Effect::Count { counter: GRANTED, delta: -1 }, Effect::Hide { part: GRANT.to_owned() }]
            }
        }
    }
}
