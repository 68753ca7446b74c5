//! When a hold is placed and released, and how held scopes are counted.

use uuid::Uuid;

use crate::{aggregate::Decide, effect::Effect, text::Remark};

use super::{Command, Error, Event, LegalHold, MATTER_COUNT_MAX};

/// The counter of a tenant's scopes that are held; its maximum is [`HELD_COUNT_MAX`](super::HELD_COUNT_MAX), and a command that would exceed
/// it is refused as [`LIMIT_REACHED`](super::LIMIT_REACHED).
pub const HELD: &str = "legal_holds";

impl Decide for LegalHold {
    fn decide(&self, command: Command) -> Result<Vec<Event>, Error> {
        match command {
            Command::Place { scope, matter, reason, by, erased } => {
                reasoned(&reason)?;
                if erased {
                    return Err(Error::Erased);
                }
                if self.matters().any(|held| *held == matter) {
                    return Err(Error::AlreadyPlaced(matter));
                }
                if self.matters().count() >= MATTER_COUNT_MAX {
                    return Err(Error::TooManyMatters);
                }
                Ok(vec![Event::Placed { scope, matter, reason, by }])
            }
            Command::Release { scope, matter, reason, by } => match self {
                Self::Absent => Err(Error::NotFound),
                Self::Held { matters } if matters.contains(&matter) => {
                    reasoned(&reason)?;
                    let free = matters.len() == 1;
                    Ok(vec![Event::Released { scope, matter, reason, by, free }])
                }
                Self::Held { .. } | Self::Free => Err(Error::MatterUnknown(matter)),
            },
        }
    }

    fn effects(&self, _id: Uuid, event: &Event) -> Vec<Effect> {
        match event {
            Event::Placed { .. } if !self.held() => vec![Effect::Count { counter: HELD, delta: 1 }],
            Event::Released { free: true, .. } => vec![Effect::Count { counter: HELD, delta: -1 }],
            Event::Placed { .. } | Event::Released { .. } => Vec::new(),
        }
    }
}

fn reasoned(reason: &Remark) -> Result<(), Error> {
    if reason.as_str().is_empty() { Err(Error::ReasonMissing) } else { Ok(()) }
}
