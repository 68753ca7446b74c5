//! Who holds too many roles of a set of duties, or would after one more change.
//!
//! Whoever holds a role holds all that it inherits from as well. Grants count together while their times overlap, whatever brought them; a
//! grant that is over at `now` counts no more. For each set and principal the times are swept once, so the work grows with the number of grants
//! times the number of sets, not with the square of either.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};
use uuid::Uuid;

use crate::{
    fact::{DutySetFact, Fact, GrantFact, Home},
    id::RoleId,
    role::Principal,
    text::Key,
};

/// At most so many violations are told at once.
pub const VIOLATION_COUNT_MAX: usize = 100;

/// What is judged together: the roles, grants and sets of one tenant.
#[derive(Debug, Clone, Default)]
pub struct Picture {
    parents: BTreeMap<RoleId, BTreeSet<RoleId>>,
    grants: Vec<GrantFact>,
    sets: BTreeMap<Key, DutySetFact>,
}

/// One change that is judged before it is made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    Grant(GrantFact),
    Parent {
        child: RoleId,
        parent: RoleId,
    },
    /// In place of the set with the same key, if there is one.
    Set(DutySetFact),
}

/// A principal that holds too many roles of a set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    pub principal: Principal,
    pub home: Home,
    /// The set's key.
    pub set: Key,
    /// Roles of the set that are held at the same time, inherited ones included; more than the set allows.
    pub roles: BTreeSet<RoleId>,
    /// The first time at which it is so.
    pub at: DateTime<Utc>,
}

/// Each granted role, with itself and all that it inherits from.
type Ancestries = BTreeMap<RoleId, BTreeSet<RoleId>>;

/// A role of a set, held for a time.
struct Span {
    role: RoleId,
    from: DateTime<Utc>,
    until: Option<DateTime<Utc>>,
    changed: bool,
}

impl Picture {
    /// Takes in one fact of the tenant; `stream` is the aggregate that shows it. Facts of other kinds say nothing here.
    pub fn take(&mut self, stream: Uuid, fact: Fact) {
        match fact {
            Fact::Role(role) => drop(self.parents.insert(RoleId(stream), role.parents)),
            Fact::Grant(grant) => self.grants.push(grant),
            Fact::DutySet(set) => drop(self.sets.insert(set.key.clone(), set)),
            Fact::Credential(_) | Fact::IdentityProvider(_) | Fact::Ended(_) => {}
        }
    }

    /// The role and everything it inherits from.
    fn ancestry(&self, role: RoleId) -> BTreeSet<RoleId> {
        let mut seen = BTreeSet::from([role]);
        let mut open = vec![role];
        while let Some(role) = open.pop() {
            open.extend(self.parents.get(&role).into_iter().flatten().filter(|parent| seen.insert(**parent)));
        }
        seen
    }

    fn ancestries(&self) -> Ancestries {
        let granted: BTreeSet<_> = self.grants.iter().map(|grant| grant.role_id).collect();
        granted.into_iter().map(|role| (role, self.ancestry(role))).collect()
    }

    fn after(&self, change: &Change) -> Self {
        let mut after = self.clone();
        match change {
            Change::Grant(grant) => {
                // Nobody else holds more by it.
                after.grants.retain(|held| (&held.principal, held.home) == (&grant.principal, grant.home));
                after.grants.push(grant.clone());
            }
            Change::Parent { child, parent } => drop(after.parents.entry(*child).or_default().insert(*parent)),
            Change::Set(set) => after.sets = BTreeMap::from([(set.key.clone(), set.clone())]),
        }
        after
    }
}

/// Who holds too many roles of a set from `now` on; with a change, who would by that change: violations that it has no part in are left out, so
/// that an old one never stands in the way of something else.
///
/// Ordered by set and principal, one for each; at most [`VIOLATION_COUNT_MAX`].
#[must_use]
pub fn violations(picture: &Picture, change: Option<&Change>, now: DateTime<Utc>) -> Vec<Violation> {
    let after = change.map_or_else(|| picture.clone(), |change| picture.after(change));
    let ancestries = after.ancestries();
    let before = picture.ancestries();
    let changed = |place: usize, grant: &GrantFact, role: &RoleId| match change {
        None | Some(Change::Set(_)) => true,
        Some(Change::Grant(_)) => place + 1 == after.grants.len(),
        Some(Change::Parent { .. }) => !before[&grant.role_id].contains(role),
    };
    let mut found = Vec::new();
    for set in after.sets.values() {
        let mut held: BTreeMap<(&Principal, Home), Vec<Span>> = BTreeMap::new();
        for (place, grant) in after.grants.iter().enumerate() {
            let from = grant.from.max(now);
            if grant.until.is_some_and(|until| until <= from) {
                continue;
            }
            let spans = set.roles.intersection(&ancestries[&grant.role_id]).map(|role| Span {
                role: *role,
                from,
                until: grant.until,
                changed: changed(place, grant, role),
            });
            held.entry((&grant.principal, grant.home)).or_default().extend(spans);
        }
        for ((principal, home), spans) in held {
            let Some((at, roles)) = too_many(&spans, set.held_max) else { continue };
            found.push(Violation { principal: principal.clone(), home, set: set.key.clone(), roles, at });
            if found.len() == VIOLATION_COUNT_MAX {
                return found;
            }
        }
    }
    found
}

/// The first time at which more than `held_max` roles are held and the change has a part in it.
fn too_many(spans: &[Span], held_max: usize) -> Option<(DateTime<Utc>, BTreeSet<RoleId>)> {
    // More roles than are allowed are held first at a time at which one begins; what ends at that time ends before.
    let mut begins: Vec<&Span> = spans.iter().collect();
    begins.sort_by_key(|span| span.from);
    let mut ends: Vec<_> = spans.iter().filter_map(|span| Some((span.until?, span))).collect();
    ends.sort_by_key(|(until, _)| *until);
    let mut ends = ends.into_iter().peekable();
    let mut held: BTreeMap<RoleId, usize> = BTreeMap::new();
    let mut changed_count = 0_usize;
    for together in begins.chunk_by(|one, other| one.from == other.from) {
        let at = together[0].from;
        while let Some((_, over)) = ends.next_if(|(until, _)| *until <= at) {
            changed_count -= usize::from(over.changed);
            let count = held.entry(over.role).or_default();
            *count -= 1;
            if *count == 0 {
                held.remove(&over.role);
            }
        }
        for span in together {
            *held.entry(span.role).or_default() += 1;
            changed_count += usize::from(span.changed);
        }
        if held.len() > held_max && changed_count > 0 {
            return Some((at, held.into_keys().collect()));
        }
    }
    None
}
