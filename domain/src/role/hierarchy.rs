//! Which role inherits from which within one tenant, as a whole, so that a new edge can be judged.
//!
//! It is folded from the tenant's role events. It never holds a cycle, and no chain of it is longer than [`DEPTH_MAX`] roles.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::id::RoleId;

use super::{Error, Event};

/// At most so many roles on one chain from a role to the farthest of its ancestors, both included.
pub const DEPTH_MAX: usize = 10;
/// At most so many parents a role.
pub const PARENT_COUNT_MAX: usize = 10;

/// The live roles of one tenant, each with its parents.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Hierarchy(BTreeMap<RoleId, BTreeSet<RoleId>>);

impl Hierarchy {
    /// The events that change it; all others may be left out when it is folded.
    pub const TAGS: &[&str] = &["created", "cloned", "parent_added", "parent_removed", "archived"];

    /// Takes in one event of one role of the tenant.
    pub fn apply(&mut self, role: RoleId, event: &Event) {
        match event {
            Event::Created { .. } | Event::Cloned { .. } => drop(self.0.entry(role).or_default()),
            Event::ParentAdded { parent } => drop(self.0.entry(role).or_default().insert(*parent)),
            Event::ParentRemoved { parent } => drop(self.0.entry(role).or_default().remove(parent)),
            Event::Archived {} => drop(self.0.remove(&role)),
            Event::PermissionGranted { .. }
            | Event::PermissionRevoked { .. }
            | Event::Assigned { .. }
            | Event::Unassigned { .. }
            | Event::AssignmentEnded { .. }
            | Event::TemplateApplied { .. } => {}
        }
    }

    /// Whether the role is live.
    #[must_use]
    pub fn contains(&self, role: RoleId) -> bool {
        self.0.contains_key(&role)
    }

    /// The roles that `role` inherits from directly.
    #[must_use]
    pub fn parents(&self, role: RoleId) -> BTreeSet<RoleId> {
        self.0.get(&role).cloned().unwrap_or_default()
    }

    /// The roles that inherit from `role` directly.
    #[must_use]
    pub fn children(&self, role: RoleId) -> BTreeSet<RoleId> {
        self.0.iter().filter(|(_, parents)| parents.contains(&role)).map(|(child, _)| *child).collect()
    }

    /// Whether `child` may inherit from `parent`.
    ///
    /// # Errors
    /// [`Error::ParentUnknown`] when the parent is not live, [`Error::Cycle`] when it inherits from the child or is the child,
    /// [`Error::HierarchyTooDeep`] when a chain would become longer than [`DEPTH_MAX`] roles.
    pub fn check_new_parent(&self, child: RoleId, parent: RoleId) -> Result<(), Error> {
        if !self.contains(parent) {
            return Err(Error::ParentUnknown(parent));
        }
        let above = self.levels(parent);
        if above.iter().any(|level| level.contains(&child)) {
            return Err(Error::Cycle { child, parent });
        }
        let below = self.reversed().levels(child);
        if above.len() + below.len() > DEPTH_MAX {
            return Err(Error::HierarchyTooDeep);
        }
        Ok(())
    }

    /// The roles reached from `start` in 0, 1, 2, ... steps; there are as many levels as roles on the longest chain.
    fn levels(&self, start: RoleId) -> Vec<BTreeSet<RoleId>> {
        let mut levels = Vec::new();
        let mut level = BTreeSet::from([start]);
        // Without a cycle no chain has more roles than there are; the bound also ends the walk if one had slipped in.
        while !level.is_empty() && levels.len() <= self.0.len() {
            let next = level.iter().filter_map(|role| self.0.get(role)).flatten().copied().collect();
            levels.push(std::mem::replace(&mut level, next));
        }
        levels
    }

    /// Each role with its children in place of its parents.
    fn reversed(&self) -> Self {
        let mut children = BTreeMap::<_, BTreeSet<_>>::new();
        for (child, parents) in &self.0 {
            for parent in parents {
                children.entry(*parent).or_default().insert(*child);
            }
        }
        Self(children)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use uuid::Uuid;

    use super::{DEPTH_MAX, Hierarchy};
    use crate::{
        id::RoleId,
        role::{Error, Event},
    };

    fn role(n: usize) -> RoleId {
        RoleId(Uuid::from_u128(n as u128))
    }

    fn created() -> Event {
        Event::Created {
            key: "support".parse().unwrap(),
            name: "Support".parse().unwrap(),
            description: "".parse().unwrap(),
            system: false,
            permissions: vec![],
        }
    }

    /// Roles 0 to `count` - 1 with the given edges from child to parent.
    fn hierarchy(count: usize, edges: &[(usize, usize)]) -> Hierarchy {
        let mut hierarchy = Hierarchy::default();
        for n in 0..count {
            hierarchy.apply(role(n), &created());
        }
        for (child, parent) in edges {
            hierarchy.apply(role(*child), &Event::ParentAdded { parent: role(*parent) });
        }
        hierarchy
    }

    fn chain(range: std::ops::Range<usize>) -> Vec<(usize, usize)> {
        range.clone().zip(range.skip(1)).collect()
    }

    #[test]
    fn a_role_may_inherit_from_another() {
        assert_eq!(hierarchy(2, &[]).check_new_parent(role(0), role(1)), Ok(()));
    }

    #[test]
    fn two_ways_to_one_ancestor_are_no_cycle() {
        assert_eq!(hierarchy(4, &[(0, 1), (1, 3), (2, 3)]).check_new_parent(role(0), role(2)), Ok(()));
    }

    #[test]
    fn an_unknown_or_archived_parent_is_refused() {
        let mut roles = hierarchy(2, &[]);
        assert_eq!(roles.check_new_parent(role(0), role(7)), Err(Error::ParentUnknown(role(7))));
        roles.apply(role(1), &Event::Archived {});
        assert_eq!(roles.check_new_parent(role(0), role(1)), Err(Error::ParentUnknown(role(1))));
    }

    #[test]
    fn a_role_is_not_its_own_parent() {
        let cycle = Error::Cycle { child: role(0), parent: role(0) };
        assert_eq!(hierarchy(1, &[]).check_new_parent(role(0), role(0)), Err(cycle));
    }

    #[test]
    fn a_descendant_is_not_a_parent() {
        let roles = hierarchy(4, &[(0, 1), (1, 2), (2, 3)]);
        for descendant in 0..3 {
            let cycle = Error::Cycle { child: role(3), parent: role(descendant) };
            assert_eq!(roles.check_new_parent(role(3), role(descendant)), Err(cycle));
        }
    }

    #[test]
    fn a_removed_edge_no_longer_makes_a_cycle() {
        let mut roles = hierarchy(2, &[(0, 1)]);
        roles.apply(role(0), &Event::ParentRemoved { parent: role(1) });
        assert_eq!(roles.check_new_parent(role(1), role(0)), Ok(()));
    }

    #[test]
    fn the_chain_counts_ancestors_and_descendants() {
        // Two chains of together as many roles as are allowed, then of one more.
        for (count, expected) in [(DEPTH_MAX, Ok(())), (DEPTH_MAX + 1, Err(Error::HierarchyTooDeep))] {
            for middle in 1..count {
                let edges = [chain(0..middle), chain(middle..count)].concat();
                let answer = hierarchy(count, &edges).check_new_parent(role(middle - 1), role(middle));
                assert_eq!(answer, expected, "{middle} below and {} above", count - middle);
            }
        }
    }

    #[test]
    fn the_longest_of_several_ways_counts() {
        let mut edges = chain(0..DEPTH_MAX);
        edges.push((0, DEPTH_MAX - 1));
        let roles = hierarchy(DEPTH_MAX + 1, &edges);
        assert_eq!(roles.check_new_parent(role(DEPTH_MAX), role(0)), Err(Error::HierarchyTooDeep));
        assert_eq!(roles.check_new_parent(role(DEPTH_MAX), role(1)), Ok(()));
    }

    #[test]
    fn many_ways_through_a_dense_hierarchy_are_judged_quickly() {
        // Nine layers of ten roles, each the child of all ten above: a thousand million ways.
        let layers = DEPTH_MAX - 1;
        let layered =
            (0..layers - 1).flat_map(|layer| (0..100).map(move |n| (layer * 10 + n / 10, (layer + 1) * 10 + n % 10)));
        let edges: Vec<_> = layered.collect();
        let count = layers * 10;
        let roles = hierarchy(count + 2, &edges);
        assert_eq!(roles.check_new_parent(role(count), role(0)), Ok(()));
        assert!(matches!(roles.check_new_parent(role(count - 1), role(0)), Err(Error::Cycle { .. })));
    }

    #[test]
    fn children_are_the_direct_ones() {
        let roles = hierarchy(4, &[(0, 1), (1, 2), (3, 2)]);
        assert_eq!(roles.children(role(2)), BTreeSet::from([role(1), role(3)]));
        assert_eq!(roles.children(role(0)), BTreeSet::new());
    }

    #[test]
    fn an_archived_role_is_gone_with_its_edges() {
        let mut roles = hierarchy(2, &[(0, 1)]);
        roles.apply(role(0), &Event::Archived {});
        assert!(!roles.contains(role(0)));
        assert!(roles.children(role(1)).is_empty());
    }
}
