//! Who holds a role, and from when until when.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    str::FromStr,
};

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::text::InvalidText;

use super::{Command, Error, Event};

/// At most so many assignments a role, those still to begin included.
pub const ASSIGNMENT_COUNT_MAX: usize = 1_000;

/// Identifies one assignment of a role to a principal; UUIDv7.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct AssignmentId(pub Uuid);

impl fmt::Display for AssignmentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Who acts: `user:`, `key:` or `service:` and an identifier; at most 200 visible ASCII characters. It stays in the log for ever, so it may be
/// no mail address.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Principal(#[schemars(length(max = 200), regex(pattern = "^(user|key|service):[!-?A-~]+$"))] String);

impl Principal {
    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Principal {
    type Err = InvalidText;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let text = text.trim();
        let name = ["user:", "key:", "service:"].iter().find_map(|kind| text.strip_prefix(kind));
        let shaped =
            name.is_some_and(|name| !name.is_empty() && name.chars().all(|c| c.is_ascii_graphic() && c != '@'));
        if !shaped || text.len() > 200 {
            return Err(InvalidText(
                "a principal is `user:`, `key:` or `service:` and an identifier of visible ASCII characters without `@` (it stays in the log for \
                 ever, so it is no mail address), at most 200 characters"
                    .into(),
            ));
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for Principal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Which assignments are taken away.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unassignment {
    /// This one.
    Assignment(AssignmentId),
    /// Every one of the principal's, those still to begin included.
    Principal(Principal),
}

impl Unassignment {
    fn takes(&self, id: AssignmentId, held: &Assignment) -> bool {
        match self {
            Self::Assignment(taken) => *taken == id,
            Self::Principal(principal) => *principal == held.principal,
        }
    }
}

/// A principal holds the role from `from` (included) until `until` (excluded), or without end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Assignment {
    pub principal: Principal,
    pub from: DateTime<Utc>,
    pub until: Option<DateTime<Utc>>,
}

impl Assignment {
    /// Whether its end has come.
    fn due(&self, now: DateTime<Utc>) -> bool {
        self.until.is_some_and(|until| until <= now)
    }

    /// Whether it has begun and has no end.
    fn lasting(&self, now: DateTime<Utc>) -> bool {
        self.until.is_none() && self.from <= now
    }

    fn overlaps(&self, other: &Self) -> bool {
        let begins_in = |one: &Self, other: &Self| other.until.is_none_or(|until| one.from < until);
        begins_in(self, other) && begins_in(other, self)
    }
}

/// The assignments of one role that have neither been taken away nor ended.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Assignments(BTreeMap<AssignmentId, Assignment>);

impl Assignments {
    /// Each assignment, oldest id first.
    pub fn iter(&self) -> impl Iterator<Item = (AssignmentId, &Assignment)> {
        self.0.iter().map(|(id, assignment)| (*id, assignment))
    }

    pub(super) fn insert(&mut self, id: AssignmentId, assignment: Assignment) {
        self.0.insert(id, assignment);
    }

    pub(super) fn remove(&mut self, id: AssignmentId) {
        self.0.remove(&id);
    }

    /// How many still run or are still to begin at `now`.
    pub(super) fn live_count(&self, now: DateTime<Utc>) -> usize {
        self.0.values().filter(|assignment| !assignment.due(now)).count()
    }

    /// Who holds the role at `now` and without end.
    pub(super) fn lasting_holders(&self, now: DateTime<Utc>) -> BTreeSet<&Principal> {
        self.0.values().filter(|held| held.lasting(now)).map(|held| &held.principal).collect()
    }

    /// The same without these assignments.
    pub(super) fn lasting_holders_without(&self, which: &Unassignment, now: DateTime<Utc>) -> BTreeSet<&Principal> {
        let left = self.iter().filter(|(id, held)| held.lasting(now) && !which.takes(*id, held));
        left.map(|(_, held)| &held.principal).collect()
    }

    pub(super) fn assign(
        &self,
        id: AssignmentId,
        principal: Principal,
        from: Option<DateTime<Utc>>,
        until: Option<DateTime<Utc>>,
        now: DateTime<Utc>,
    ) -> Result<Vec<Event>, Error> {
        if let Some(held) = self.0.get(&id) {
            let same = held.principal == principal && held.until == until && from.is_none_or(|from| from == held.from);
            return if same { Ok(vec![]) } else { Err(Error::AssignmentIdTaken(id)) };
        }
        let wanted = Assignment { principal, from: from.unwrap_or(now), until };
        if wanted.due(now) {
            return Err(Error::AssignmentInThePast);
        }
        if until.is_some_and(|until| until <= wanted.from) {
            return Err(Error::AssignmentPeriodEmpty);
        }
        let collides =
            |held: &Assignment| held.principal == wanted.principal && !held.due(now) && held.overlaps(&wanted);
        if self.0.values().any(collides) {
            return Err(Error::AlreadyAssigned(wanted.principal));
        }
        if self.0.len() >= ASSIGNMENT_COUNT_MAX {
            return Err(Error::TooManyAssignments);
        }
        let Assignment { principal, from, until } = wanted;
        Ok(vec![Event::Assigned { assignment_id: id, principal, from, until }])
    }

    pub(super) fn unassign(&self, which: Unassignment) -> Result<Vec<Event>, Error> {
        match which {
            Unassignment::Assignment(id) => match self.0.get(&id) {
                None => Err(Error::AssignmentUnknown(id)),
                Some(held) => Ok(vec![Event::Unassigned { assignment_id: id, principal: held.principal.clone() }]),
            },
            Unassignment::Principal(principal) => {
                let of_principal = self.0.iter().filter(|(_, held)| held.principal == principal);
                let events: Vec<_> = of_principal
                    .map(|(id, held)| Event::Unassigned { assignment_id: *id, principal: held.principal.clone() })
                    .collect();
                if events.is_empty() { Err(Error::NotAssigned(principal)) } else { Ok(events) }
            }
        }
    }

    /// Whether this takes away one that has begun and has no end, and leaves none that is of somebody who has not ended.
    pub(super) fn lose_the_last_lasting(
        &self,
        which: &Unassignment,
        ended: &BTreeSet<Principal>,
        now: DateTime<Utc>,
    ) -> bool {
        self.iter().any(|(id, held)| held.lasting(now) && which.takes(id, held))
            && self.lasting_holders_without(which, now).into_iter().all(|left| ended.contains(left))
    }

    pub(super) fn end(&self, id: AssignmentId, now: DateTime<Utc>) -> Result<Vec<Event>, Error> {
        match self.0.get(&id) {
            None => Ok(vec![]), // Ended or taken away in the meantime.
            Some(Assignment { principal, until: Some(until), .. }) if *until <= now => {
                Ok(vec![Event::AssignmentEnded { assignment_id: id, principal: principal.clone(), until: *until }])
            }
            Some(_) => Err(Error::AssignmentNotDue(id)),
        }
    }

    /// The events that end every assignment whose end has come.
    pub(super) fn end_due(&self, now: DateTime<Utc>) -> Vec<Event> {
        let ended = |(id, held): (&AssignmentId, &Assignment)| {
            let until = held.until.filter(|until| *until <= now)?;
            Some(Event::AssignmentEnded { assignment_id: *id, principal: held.principal.clone(), until })
        };
        self.0.iter().filter_map(ended).collect()
    }

    pub(super) fn due_at(&self) -> Option<DateTime<Utc>> {
        self.0.values().filter_map(|assignment| assignment.until).min()
    }

    pub(super) fn due_commands(&self, now: DateTime<Utc>) -> Vec<Command> {
        let due = self.0.iter().filter(|(_, assignment)| assignment.due(now));
        due.map(|(id, _)| Command::EndAssignment { assignment_id: *id, now }).collect()
    }
}
