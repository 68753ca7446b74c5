//! Room for open streams: so many in the process, and so many of one tenant that the others have some, too.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use hub_http::Problem;
use uuid::Uuid;

use super::STREAMS_OPEN;

/// The places of one process; cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Places(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    places_max: usize,
    taken: Mutex<Taken>,
}

#[derive(Debug, Default)]
struct Taken {
    count: usize,
    of_tenant: HashMap<Uuid, usize>,
}

impl Places {
    pub(crate) fn new(places_max: usize) -> Self {
        Self(Arc::new(Inner { places_max, taken: Mutex::default() }))
    }

    /// A place for one stream of the tenant; 503 `overloaded` when there is none.
    pub(crate) fn take(&self, tenant_id: Uuid, of_tenant_max: usize) -> Result<Place, Problem> {
        let mut taken = self.0.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let of_tenant = taken.of_tenant.get(&tenant_id).copied().unwrap_or(0);
        if taken.count >= self.0.places_max || of_tenant >= of_tenant_max {
            return Err(Problem::overloaded());
        }
        taken.count += 1;
        taken.of_tenant.insert(tenant_id, of_tenant + 1);
        metrics::gauge!(STREAMS_OPEN).increment(1.0);
        Ok(Place { places: self.clone(), tenant_id })
    }
}

/// Counts an open stream for as long as it lives.
#[derive(Debug)]
pub(crate) struct Place {
    places: Places,
    tenant_id: Uuid,
}

impl Drop for Place {
    fn drop(&mut self) {
        metrics::gauge!(STREAMS_OPEN).decrement(1.0);
        let mut taken = self.places.0.taken.lock().unwrap_or_else(PoisonError::into_inner);
        taken.count -= 1;
        if let Some(of_tenant) = taken.of_tenant.get_mut(&self.tenant_id) {
            *of_tenant -= 1;
            if *of_tenant == 0 {
                taken.of_tenant.remove(&self.tenant_id);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::Places;

    #[test]
    fn one_tenant_cannot_take_all_places() {
        let places = Places::new(3);
        let (one, other) = (Uuid::from_u128(1), Uuid::from_u128(2));
        let held = [places.take(one, 2).unwrap(), places.take(one, 2).unwrap()];
        assert_eq!(places.take(one, 2).unwrap_err().code(), "overloaded");
        let last = places.take(other, 2).unwrap();
        assert_eq!(places.take(other, 2).unwrap_err().code(), "overloaded", "the process has no more");
        drop((held, last));
        assert!(places.0.taken.lock().unwrap().of_tenant.is_empty());
        assert!(places.take(one, 2).is_ok());
    }
}
