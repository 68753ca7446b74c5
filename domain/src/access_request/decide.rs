//! What an access request allows, how it is counted, and what decisions read of it.

use chrono::{DateTime, TimeDelta, Utc};
use uuid::Uuid;

use crate::{
    aggregate::Decide,
    effect::Effect,
    fact::{Fact, GRANTS, GrantFact, GrantSource, Home},
    role::Principal,
    text::Remark,
};

use super::{
    AccessRequest, Closing, Command, DURATION_SECONDS_MAX, DURATION_SECONDS_MIN, Ending, Error, Event, OPEN_FOR,
    Request,
};

/// The counter of a tenant's requests that are open or approved; its maximum is [`REQUEST_COUNT_MAX`](super::REQUEST_COUNT_MAX), and a
/// command that would exceed it is refused as [`LIMIT_REACHED`](super::LIMIT_REACHED).
pub const REQUESTS: &str = "access_requests";
/// The fact of an approved request.
pub const GRANT: &str = "grant";

impl Decide for AccessRequest {
    fn decide(&self, command: Command) -> Result<Vec<Event>, Error> {
        match (self, command) {
            (Self::Absent, Command::Submit { by, role_id, role_live, reason, duration_seconds, now }) => {
                if reason.as_str().is_empty() {
                    return Err(Error::ReasonMissing);
                }
                if !(DURATION_SECONDS_MIN..=DURATION_SECONDS_MAX).contains(&duration_seconds) {
                    return Err(Error::DurationOutOfBounds);
                }
                if !role_live {
                    return Err(Error::RoleUnknown);
                }
                Ok(vec![Event::Submitted { by, role_id, reason, duration_seconds, expires_at: now + OPEN_FOR }])
            }
            (Self::Absent, _) => Err(Error::NotFound),
            (Self::Open(_) | Self::Approved(_) | Self::Closed(_) | Self::Over(_), Command::Submit { .. }) => {
                Err(Error::AlreadySubmitted)
            }
            (Self::Open(request), Command::Approve { by, role_live, remark, now }) => {
                request.approve(by, role_live, remark, now)
            }
            (Self::Open(request), Command::Deny { by, remark, now }) => {
                request.must_wait(now)?;
                Ok(vec![Event::Denied { by, remark }])
            }
            (Self::Open(request), Command::Withdraw { by, now }) => {
                if by != request.by {
                    return Err(Error::NotRequester);
                }
                request.must_wait(now)?;
                Ok(vec![Event::Withdrawn {}])
            }
            (Self::Open(request), Command::Expire { now }) => match request.must_wait(now) {
                Ok(()) => Err(Error::NotDue),
                Err(_) => Ok(vec![Event::Expired {}]),
            },
            (Self::Approved(grant), Command::Approve { by, .. }) if by == grant.principal => Err(Error::Own),
            (Self::Approved(_), Command::Approve { .. })
            | (Self::Closed(Closing::Denied), Command::Deny { .. })
            | (Self::Over(Ending::Revoked), Command::Revoke { .. }) => Ok(vec![]),
            (Self::Approved(grant), Command::Revoke { by, remark, now }) => {
                if grant.until <= now {
                    return Err(Error::NotApproved);
                }
                Ok(vec![Event::Revoked { by, remark }])
            }
            (Self::Approved(grant), Command::Finish { now }) => {
                if now < grant.until {
                    return Err(Error::NotDue);
                }
                Ok(vec![Event::Finished {}])
            }
            // Decided upon or ended in the meantime.
            (Self::Approved(_) | Self::Closed(_) | Self::Over(_), Command::Expire { .. })
            | (Self::Closed(_) | Self::Over(_), Command::Finish { .. }) => Ok(vec![]),
            (Self::Open(_), Command::Finish { .. }) => Err(Error::NotDue),
            (
                Self::Approved(_) | Self::Closed(_) | Self::Over(_),
                Command::Approve { .. } | Command::Deny { .. } | Command::Withdraw { .. },
            ) => Err(Error::NotOpen),
            (Self::Open(_) | Self::Closed(_) | Self::Over(_), Command::Revoke { .. }) => Err(Error::NotApproved),
        }
    }

    fn effects(&self, _id: Uuid, event: &Event) -> Vec<Effect> {
        let one_less = Effect::Count { counter: REQUESTS, delta: -1 };
        match event {
            Event::Submitted { .. } => vec![Effect::Count { counter: REQUESTS, delta: 1 }],
            Event::Approved { from, until, .. } => {
                let Self::Open(request) = self else { return Vec::new() }; // No such history is ever written.
                let fact = Fact::Grant(request.grant(*from, *until));
                vec![Effect::Count { counter: GRANTS, delta: 1 }, Effect::Show { part: GRANT.to_owned(), fact }]
            }
            Event::Denied { .. } | Event::Withdrawn {} | Event::Expired {} => vec![one_less],
            Event::Revoked { .. } | Event::Finished {} => vec![one_less, Effect::Hide { part: GRANT.to_owned() }],
        }
    }
}

impl Request {
    /// What decisions read of an approval.
    pub(super) fn grant(&self, from: DateTime<Utc>, until: DateTime<Utc>) -> GrantFact {
        GrantFact {
            principal: self.by.clone(),
            home: Home::Tenant,
            role_id: self.role_id,
            from,
            until: Some(until),
            source: GrantSource::AccessRequest,
        }
    }

    fn approve(&self, by: Principal, role_live: bool, remark: Remark, now: DateTime<Utc>) -> Result<Vec<Event>, Error> {
        if by == self.by {
            return Err(Error::Own);
        }
        self.must_wait(now)?;
        if !role_live {
            return Err(Error::RoleUnknown);
        }
        let until = now + TimeDelta::seconds(self.duration_seconds.into());
        Ok(vec![Event::Approved { by, remark, from: now, until }])
    }

    /// A request whose time has come is open no longer, also before it is made to expire.
    fn must_wait(&self, now: DateTime<Utc>) -> Result<(), Error> {
        if now < self.expires_at { Ok(()) } else { Err(Error::NotOpen) }
    }
}
