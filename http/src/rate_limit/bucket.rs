//! Buckets by key, and the failed logins of addresses.

use std::{
    hash::Hash,
    net::{IpAddr, Ipv4Addr},
    num::NonZeroU32,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use equivalent::Equivalent;
use governor::{
    NotUntil, Quota, RateLimiter,
    clock::Clock,
    middleware::{StateInformationMiddleware, StateSnapshot},
    state::{InMemoryState, NotKeyed},
};
use moka::{policy::EvictionPolicy, sync::Cache};
use uuid::Uuid;

use super::{KEYS_MAX, Left, Limit};

/// The time since a fixed moment.
#[derive(Clone)]
pub(super) struct Ticks(pub(super) Arc<dyn Fn() -> Duration + Send + Sync>);

impl Clock for Ticks {
    type Instant = Duration;

    fn now(&self) -> Duration {
        (self.0)()
    }
}

/// A principal is one of its tenant: two tenants may have a principal of the same name.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct PrincipalKey {
    tenant: Option<Uuid>,
    name: Box<str>,
}

/// The same, to look it up without making one. It hashes alike: same fields, same order.
#[derive(Clone, Copy, Hash)]
pub(super) struct PrincipalRef<'a> {
    pub(super) tenant: Option<Uuid>,
    pub(super) name: &'a str,
}

impl PrincipalRef<'_> {
    pub(super) fn owned(self) -> PrincipalKey {
        PrincipalKey { tenant: self.tenant, name: self.name.into() }
    }
}

impl Equivalent<PrincipalKey> for PrincipalRef<'_> {
    fn equivalent(&self, key: &PrincipalKey) -> bool {
        self.tenant == key.tenant && self.name == &*key.name
    }
}

type Bucket = RateLimiter<NotKeyed, InMemoryState, Ticks, StateInformationMiddleware>;

/// What taking one from a bucket came to.
pub(super) struct Taken {
    pub(super) left: Left,
    /// Until there is one again, when there was none.
    pub(super) wait: Option<Duration>,
}

/// The buckets of one kind.
pub(super) struct Buckets<K> {
    limit: Limit,
    quota: Option<Quota>,
    clock: Ticks,
    buckets: Cache<K, Arc<Bucket>>,
}

impl<K: Eq + Hash + Send + Sync + 'static> Buckets<K> {
    pub(super) fn new(limit: Limit, clock: &Ticks) -> Self {
        Self { limit, quota: quota(limit), clock: clock.clone(), buckets: remembered() }
    }

    /// Takes one from the bucket of `key`; `None` when this kind is not limited.
    pub(super) fn take<Q: Hash + Equivalent<K>>(&self, key: &Q, owned: impl FnOnce() -> K) -> Option<Taken> {
        let quota = self.quota?;
        let bucket = match self.buckets.get(key) {
            Some(bucket) => bucket,
            None => self.buckets.get_with(owned(), || Arc::new(bucket(quota, &self.clock))),
        };
        Some(self.taken(bucket.check()))
    }

    fn taken(&self, outcome: Result<StateSnapshot, NotUntil<Duration>>) -> Taken {
        let left = |requests: u32| Left {
            requests,
            full_in_seconds: self.limit.burst.saturating_sub(requests).div_ceil(self.limit.per_second),
        };
        match outcome {
            Ok(state) => Taken { left: left(state.remaining_burst_capacity()), wait: None },
            Err(refused) => Taken { left: left(0), wait: Some(refused.wait_time_from(self.clock.now())) },
        }
    }
}

/// `None` for no limit.
fn quota(limit: Limit) -> Option<Quota> {
    let per_second = NonZeroU32::new(limit.per_second)?;
    Some(Quota::per_second(per_second).allow_burst(NonZeroU32::new(limit.burst).unwrap_or(NonZeroU32::MIN)))
}

fn bucket(quota: Quota, clock: &Ticks) -> Bucket {
    RateLimiter::direct_with_clock(quota, clock.clone()).with_middleware()
}

/// Keeps the most recently used. The usual policy, which weighs how often a key was seen, would not let new ones in during a flood.
fn remembered<K: Eq + Hash + Send + Sync + 'static, V: Clone + Send + Sync + 'static>() -> Cache<K, V> {
    Cache::builder().max_capacity(KEYS_MAX).eviction_policy(EvictionPolicy::lru()).build()
}

/// What one customer of a network usually has: one IPv4 address, or a /64 of IPv6.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Network {
    V4(Ipv4Addr),
    /// The upper half.
    V6(u64),
}

impl Network {
    fn of(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(address) => Self::V4(address),
            IpAddr::V6(address) => Self::V6((address.to_bits() >> 64) as u64),
        }
    }
}

/// Failures by address, and by the recipient of what was not signed well. Only addresses with a failure are known.
pub(super) struct Addresses {
    quota: Option<Quota>,
    clock: Ticks,
    failures: Cache<(Network, Option<Uuid>), Arc<Failures>>,
    /// The latest `closed_until` of all: after it nobody has to be looked up.
    closed_until_max: AtomicU64,
}

struct Failures {
    bucket: Bucket,
    /// In nanoseconds of the clock: nothing from here is looked at before.
    closed_until: AtomicU64,
}

impl Addresses {
    pub(super) fn new(limit: Limit, clock: &Ticks) -> Self {
        Self { quota: quota(limit), clock: clock.clone(), failures: remembered(), closed_until_max: AtomicU64::new(0) }
    }

    /// How long nothing from this address is looked at, of what is about `recipient`.
    pub(super) fn wait(&self, address: IpAddr, recipient: Option<Uuid>) -> Option<Duration> {
        self.quota?;
        let now = self.clock.now();
        let after = |until: &AtomicU64| {
            Duration::from_nanos(until.load(Ordering::Relaxed)).checked_sub(now).filter(|wait| !wait.is_zero())
        };
        after(&self.closed_until_max)?;
        after(&self.failures.get(&(Network::of(address), recipient))?.closed_until)
    }

    /// Takes one; when none was left, the address is closed until there is one again, for this recipient or at all.
    pub(super) fn failed(&self, address: IpAddr, recipient: Option<Uuid>) {
        let Some(quota) = self.quota else { return };
        let new = || Arc::new(Failures { bucket: bucket(quota, &self.clock), closed_until: AtomicU64::new(0) });
        let failures = self.failures.get_with((Network::of(address), recipient), new);
        if let Err(refused) = failures.bucket.check() {
            let until = u64::try_from(refused.earliest_possible().as_nanos()).unwrap_or(u64::MAX);
            failures.closed_until.fetch_max(until, Ordering::Relaxed);
            self.closed_until_max.fetch_max(until, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_is_an_ipv4_address_or_the_upper_half_of_an_ipv6_address() {
        let network = |text: &str| Network::of(text.parse().unwrap());
        assert_eq!(network("2001:db8:1:2::1"), network("2001:db8:1:2:ffff::9"));
        assert_ne!(network("2001:db8:1:2::1"), network("2001:db8:1:3::1"));
        assert_eq!(network("::ffff:192.0.2.1"), network("192.0.2.1"));
        assert_ne!(network("192.0.2.1"), network("192.0.2.2"));
    }

    #[test]
    fn a_principal_is_found_by_what_it_was_kept_under() {
        let hash = |value: &dyn Fn(&mut std::hash::DefaultHasher)| {
            let mut hasher = std::hash::DefaultHasher::new();
            value(&mut hasher);
            std::hash::Hasher::finish(&hasher)
        };
        let key = PrincipalRef { tenant: Some(Uuid::from_u128(1)), name: "user:anna" };
        assert_eq!(hash(&|hasher| key.hash(hasher)), hash(&|hasher| key.owned().hash(hasher)));
        assert!(key.equivalent(&key.owned()));
        let namesake = PrincipalRef { tenant: Some(Uuid::from_u128(2)), ..key };
        assert!(!namesake.equivalent(&key.owned()));
    }
}
