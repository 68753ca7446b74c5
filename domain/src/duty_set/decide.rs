//! What a set of duties allows, what its events take and count in the tenant, and what decisions read of it.

use std::collections::BTreeSet;

use uuid::Uuid;

use crate::{
    aggregate::Decide,
    effect::{Effect, Reach},
    fact::{DutySetFact, Fact, GRANTS},
    id::RoleId,
    role::Hierarchy,
    text::Key,
};

use super::{Command, Duties, DutySet, Error, Event, ROLE_COUNT_MAX, ROLE_COUNT_MIN};

/// The scope in which keys are unique within their tenant.
pub const KEY: &str = "duty_set_key";
/// Counts the sets of a tenant; its maximum is [`SET_COUNT_MAX`](super::SET_COUNT_MAX).
pub const SETS: &str = "duty_sets";
/// The fact of a defined set.
pub const SET: &str = "set";

impl Decide for DutySet {
    fn decide(&self, command: Command) -> Result<Vec<Event>, Error> {
        match (self, command) {
            (Self::Absent, Command::Define { key, name, roles, held_max, hierarchy }) => {
                check(&roles, held_max, &hierarchy)?;
                Ok(vec![Event::Defined { key, name, roles, held_max }])
            }
            (Self::Absent, _) => Err(Error::NotFound),
            (Self::Removed, _) => Err(Error::Removed),
            (Self::Defined(_), Command::Define { .. }) => Err(Error::AlreadyDefined),
            (Self::Defined(duties), Command::Change { name, roles, held_max, hierarchy }) => {
                check(&roles, held_max, &hierarchy)?;
                if (&duties.name, &duties.roles, duties.held_max) == (&name, &roles, held_max) {
                    return Ok(vec![]);
                }
                Ok(vec![Event::Changed { name, roles, held_max }])
            }
            (Self::Defined(_), Command::Remove) => Ok(vec![Event::Removed {}]),
        }
    }

    fn effects(&self, _id: Uuid, event: &Event) -> Vec<Effect> {
        match (self, event) {
            (_, Event::Defined { key, roles, held_max, .. }) => vec![
                Effect::Take { reach: Reach::Tenant, scope: KEY, key: key.to_string() },
                Effect::Count { counter: SETS, delta: 1 },
                Effect::Count { counter: GRANTS, delta: 1 },
                shown(key, roles, *held_max),
            ],
            (Self::Defined(duties), Event::Changed { roles, held_max, .. }) => {
                vec![Effect::Count { counter: GRANTS, delta: 1 }, shown(&duties.key, roles, *held_max)]
            }
            (Self::Defined(Duties { key, .. }), Event::Removed {}) => vec![
                Effect::Release { reach: Reach::Tenant, scope: KEY, key: key.to_string() },
                Effect::Count { counter: SETS, delta: -1 },
                Effect::Hide { part: SET.to_owned() },
            ],
            // No such history is ever written.
            (Self::Absent | Self::Removed, Event::Changed { .. } | Event::Removed {}) => Vec::new(),
        }
    }
}

fn check(roles: &BTreeSet<RoleId>, held_max: usize, hierarchy: &Hierarchy) -> Result<(), Error> {
    if !(ROLE_COUNT_MIN..=ROLE_COUNT_MAX).contains(&roles.len()) {
        return Err(Error::RolesOutOfBounds);
    }
    if !(1..roles.len()).contains(&held_max) {
        return Err(Error::HeldMaxOutOfBounds);
    }
    match roles.iter().find(|role| !hierarchy.contains(**role)) {
        Some(unknown) => Err(Error::RoleUnknown(*unknown)),
        None => Ok(()),
    }
}

fn shown(key: &Key, roles: &BTreeSet<RoleId>, held_max: usize) -> Effect {
    let fact = Fact::DutySet(DutySetFact { key: key.clone(), roles: roles.clone(), held_max });
    Effect::Show { part: SET.to_owned(), fact }
}
