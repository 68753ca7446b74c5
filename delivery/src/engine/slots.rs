//! How many deliveries may be under way: to all endpoints together, and to those of one tenant.

use std::collections::{HashMap, VecDeque};

use uuid::Uuid;

/// Most deliveries under way at the same time, to all endpoints together.
const ALL_MAX: usize = 4_096;

/// Most of them to endpoints of one tenant, so that no tenant whose endpoints hang keeps others waiting.
const TENANT_MAX: usize = ALL_MAX / 8;

/// Those that are taken.
#[derive(Debug, Default)]
pub(super) struct Slots {
    taken: usize,
    tenants: HashMap<Uuid, Tenant>,
}

/// Those of one tenant, and the endpoints that wait for one.
#[derive(Debug, Default)]
struct Tenant {
    taken: usize,
    waiting: VecDeque<Uuid>,
}

impl Slots {
    /// How many are taken.
    pub(super) fn taken(&self) -> usize {
        self.taken
    }

    /// Whether any is left for anybody.
    pub(super) fn any(&self) -> bool {
        self.taken < ALL_MAX
    }

    /// Whether the tenant may have one more; when not, the endpoint waits until it may.
    pub(super) fn left(&mut self, tenant_id: Uuid, webhook_id: Uuid) -> bool {
        match self.tenants.get_mut(&tenant_id) {
            Some(tenant) if tenant.taken >= TENANT_MAX => {
                tenant.waiting.push_back(webhook_id);
                false
            }
            Some(_) | None => true,
        }
    }

    /// A delivery begins.
    pub(super) fn take(&mut self, tenant_id: Uuid) {
        self.taken += 1;
        self.tenants.entry(tenant_id).or_default().taken += 1;
    }

    /// A delivery has ended; answers the endpoint of the same tenant that has waited longest.
    pub(super) fn give(&mut self, tenant_id: Uuid) -> Option<Uuid> {
        self.taken -= 1;
        let tenant = self.tenants.get_mut(&tenant_id)?;
        tenant.taken -= 1;
        let next = tenant.waiting.pop_front();
        if tenant.taken == 0 && tenant.waiting.is_empty() {
            self.tenants.remove(&tenant_id);
        }
        next
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::{ALL_MAX, Slots, TENANT_MAX};

    #[test]
    fn one_tenant_takes_its_part_only_and_its_endpoints_wait_in_turn() {
        let [busy, other, one, two] = [1, 2, 3, 4].map(Uuid::from_u128);
        let mut slots = Slots::default();
        for _ in 0..TENANT_MAX {
            assert!(slots.any() && slots.left(busy, one));
            slots.take(busy);
        }
        assert!(!slots.left(busy, one) && !slots.left(busy, two));
        assert!(slots.any() && slots.left(other, one), "there are some for others");
        assert_eq!([slots.give(busy), slots.give(busy), slots.give(busy)], [Some(one), Some(two), None]);
        assert!(slots.left(busy, one));
        assert_eq!(slots.taken(), TENANT_MAX - 3);
    }

    #[test]
    fn all_tenants_together_take_all_and_no_more() {
        let mut slots = Slots::default();
        for number in 0..ALL_MAX {
            assert!(slots.any());
            slots.take(Uuid::from_u128((number / TENANT_MAX) as u128));
        }
        assert!(!slots.any());
        assert_eq!(slots.give(Uuid::from_u128(0)), None);
        assert!(slots.any());
    }
}
