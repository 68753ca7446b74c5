//! Who can end and come back, and what decisions read of it.

use uuid::Uuid;

use crate::{
    aggregate::Decide,
    effect::Effect,
    fact::{EndedFact, Fact},
    id::TenantId,
    role::Principal,
    text::Remark,
};

use super::{Command, Error, Event, Standing};

/// The counter of a tenant's ended principals; its maximum is [`ENDED_COUNT_MAX`](super::ENDED_COUNT_MAX), and a command that would exceed it
/// is refused as [`LIMIT_REACHED`](super::LIMIT_REACHED).
pub const ENDED_COUNT: &str = "principals_ended";
/// The fact of an ended principal.
pub const ENDED: &str = "ended";

/// The stream of a principal: UUIDv5 of the id of the tenant where it is at home, and its name.
#[must_use]
pub fn stream_id(home: TenantId, principal: &Principal) -> Uuid {
    Uuid::new_v5(&home.0, format!("principal/{principal}").as_bytes())
}

impl Decide for Standing {
    fn decide(&self, command: Command) -> Result<Vec<Event>, Error> {
        let (Command::End { principal, reason, .. } | Command::Reinstate { principal, reason, .. }) = &command;
        checked(principal, reason)?;
        match (self, command) {
            (Self::Absent | Self::Reinstated(_), Command::End { last_owner: true, .. }) => Err(Error::LastOwner),
            (Self::Absent | Self::Reinstated(_), Command::End { principal, by, reason, .. }) => {
                Ok(vec![Event::Ended { principal, by, reason }])
            }
            (Self::Ended(_), Command::End { .. }) | (Self::Reinstated(_), Command::Reinstate { .. }) => Ok(vec![]),
            (Self::Absent, Command::Reinstate { .. }) => Err(Error::NotFound),
            (Self::Ended(_), Command::Reinstate { wound_up: false, .. }) => Err(Error::NotWoundUp),
            (Self::Ended(_), Command::Reinstate { principal, by, reason, .. }) => {
                Ok(vec![Event::Reinstated { principal, by, reason }])
            }
        }
    }

    fn effects(&self, _id: Uuid, event: &Event) -> Vec<Effect> {
        match event {
            Event::Ended { principal, .. } => {
                let fact = Fact::Ended(EndedFact { principal: principal.clone() });
                vec![Effect::Count { counter: ENDED_COUNT, delta: 1 }, Effect::Show { part: ENDED.to_owned(), fact }]
            }
            Event::Reinstated { .. } => {
                vec![Effect::Count { counter: ENDED_COUNT, delta: -1 }, Effect::Hide { part: ENDED.to_owned() }]
            }
        }
    }
}

/// What holds of both commands in every state.
fn checked(principal: &Principal, reason: &Remark) -> Result<(), Error> {
    if principal.as_str().starts_with("key:") {
        return Err(Error::Key);
    }
    if reason.as_str().is_empty() { Err(Error::ReasonMissing) } else { Ok(()) }
}
