//! What was refused, which credentials were not accepted, and who read what is sensitive, on its way into the log.
//!
//! The gate notes each refusal and each such read in memory, where what is alike is counted together; one task hands what was noted to whoever writes it down
//! as access records, each second. What was handed on once is counted for a minute before it is handed on again, so a flood of refusals
//! becomes a few events. A process that is killed loses what it noted in its last second. Reads are noted apart from refusals, so that nobody hides
//! the ones behind a flood of the others.

use std::{
    collections::{BTreeMap, HashMap},
    fmt,
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use chrono::{DateTime, Utc};
use futures::future::join_all;
use hub_domain::{
    access_record::{Draft, Event, LoginFailure, OBSERVATION_COUNT_MAX, RESOURCE_COUNT_MAX, Reason, Seen},
    fact::Home,
    id::PLATFORM_TENANT,
    personal::Pii,
    role::Principal,
};
use hub_http::{Caller, Permission, Scope};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::judge;

/// Counter of refusals that were too many to be noted even as a number.
pub const UNRECORDED: &str = "hub_access_refusals_unrecorded_total";

/// Between two turns of the task.
const INTERVAL: Duration = Duration::from_secs(1);

/// What was handed on is only counted for so long.
const QUIET: Duration = Duration::from_secs(60);

/// One turn may take so long.
const WRITE_LIMIT: Duration = Duration::from_secs(3);

/// So many kinds of refusals are told apart in one tenant; the others are counted together.
const KIND_COUNT_MAX: usize = 500;

/// The same in all tenants.
const KIND_COUNT_TOTAL_MAX: usize = 20_000;

/// So many records are written in one turn.
const DRAFT_COUNT_MAX: usize = 200;

const _: () = assert!(KIND_COUNT_MAX < OBSERVATION_COUNT_MAX);

/// Shared by all who refuse in this process; cheap to clone.
#[derive(Clone, Default)]
pub struct Refusals(Arc<Mutex<Noted>>);

#[derive(Default)]
struct Noted {
    kinds: HashMap<Kind, Count>,
    /// How many kinds each tenant has among them.
    of_tenant: HashMap<Uuid, usize>,
    /// Handed on, but not written yet.
    unwritten: Vec<Draft>,
}

/// What is counted together.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Kind {
    tenant_id: Uuid,
    what: What,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum What {
    Refused { principal: Principal, home: Home, permission: Permission, reason: Reason },
    LoginFailed { reason: LoginFailure, key_id: Option<String>, network: Option<IpNet> },
    SensitiveRead { principal: Principal, home: Home, permission: Permission },
    Unlisted,
}

#[derive(Debug)]
struct Count {
    /// `None` when all was handed on.
    seen: Option<Seen>,
    resource_ids: Vec<Uuid>,
    quiet_until: Instant,
}

impl fmt::Debug for Refusals {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Refusals").field("kinds", &self.noted().kinds.len()).finish()
    }
}

impl Refusals {
    /// Notes that a caller was refused a permission, about these things.
    pub fn refused(
        &self,
        caller: &Caller,
        permission: Permission,
        reason: Reason,
        about: impl IntoIterator<Item = Uuid>,
        now: DateTime<Utc>,
    ) {
        let Ok(principal) = caller.principal.parse() else { return };
        let home = home_of(caller);
        let tenant_id = match caller.scope {
            Scope::Tenant(tenant_id) => tenant_id,
            Scope::Platform => PLATFORM_TENANT.0,
        };
        let what = What::Refused { principal, home, permission, reason };
        self.noted().note(Kind { tenant_id, what }, about, now);
    }

    /// Notes that a caller was let in to read what is sensitive in a tenant, one thing or many.
    pub fn sensitive_read(
        &self,
        caller: &Caller,
        tenant_id: Uuid,
        permission: Permission,
        about: Option<Uuid>,
        now: DateTime<Utc>,
    ) {
        let Ok(principal) = caller.principal.parse() else { return };
        let what = What::SensitiveRead { principal, home: home_of(caller), permission };
        self.noted().note(Kind { tenant_id, what }, about, now);
    }

    /// Notes that a credential was not accepted, which is or was one of this tenant's; of nobody's it is the platform's affair.
    pub fn login_failed(
        &self,
        tenant_id: Option<Uuid>,
        reason: LoginFailure,
        key_id: Option<&str>,
        peer: Option<IpAddr>,
        now: DateTime<Utc>,
    ) {
        let network = peer.and_then(network_of);
        let what = What::LoginFailed { reason, key_id: key_id.map(str::to_owned), network };
        self.noted().note(Kind { tenant_id: tenant_id.unwrap_or(PLATFORM_TENANT.0), what }, [], now);
    }

    /// Hands what was noted to `write` each second until `end`, and all of it then. `write` answers whether it is written, and may be given
    /// the same draft again when it is not.
    pub async fn run<W, F>(self, write: W, end: CancellationToken)
    where
        W: Fn(Draft) -> F,
        F: Future<Output = bool>,
    {
        loop {
            let ended = tokio::select! {
                () = end.cancelled() => true,
                () = sleep(INTERVAL) => false,
            };
            let turn = self.turn(&write, Instant::now(), ended);
            if timeout(WRITE_LIMIT, turn).await.is_err() {
                tracing::warn!("writing access records was given up after {} s", WRITE_LIMIT.as_secs());
            }
            if ended {
                return;
            }
        }
    }

    async fn turn<W, F>(&self, write: &W, at: Instant, all: bool)
    where
        W: Fn(Draft) -> F,
        F: Future<Output = bool>,
    {
        let drafts = {
            let mut noted = self.noted();
            // There may be no turn after one that takes all.
            if noted.unwritten.is_empty() || all {
                let due = noted.due(at, all);
                noted.unwritten.extend(due);
            }
            noted.unwritten.clone()
        };
        let written = join_all(drafts.iter().map(|draft| async { (draft.id, write(draft.clone()).await) })).await;
        self.noted().unwritten.retain(|draft| !written.contains(&(draft.id, true)));
    }

    fn noted(&self) -> MutexGuard<'_, Noted> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Noted {
    fn note(&mut self, kind: Kind, about: impl IntoIterator<Item = Uuid>, now: DateTime<Utc>) {
        let kind = if self.kinds.contains_key(&kind) || self.has_room(kind.tenant_id) {
            kind
        } else {
            Kind { what: What::Unlisted, ..kind }
        };
        // One more kind for a tenant that has reached its bound, and none beyond the bound of all.
        if !self.kinds.contains_key(&kind) {
            if self.kinds.len() >= KIND_COUNT_TOTAL_MAX {
                metrics::counter!(UNRECORDED).increment(1);
                return;
            }
            *self.of_tenant.entry(kind.tenant_id).or_default() += 1;
        }
        let count = self.kinds.entry(kind).or_insert_with(|| Count {
            seen: None,
            resource_ids: Vec::new(),
            quiet_until: Instant::now(),
        });
        let seen = count.seen.get_or_insert(Seen { count: 0, first_at: now, last_at: now });
        *seen = Seen { count: seen.count + 1, first_at: seen.first_at.min(now), last_at: seen.last_at.max(now) };
        for id in about {
            if count.resource_ids.len() < RESOURCE_COUNT_MAX && !count.resource_ids.contains(&id) {
                count.resource_ids.push(id);
            }
        }
    }

    fn has_room(&self, tenant_id: Uuid) -> bool {
        self.kinds.len() < KIND_COUNT_TOTAL_MAX
            && self.of_tenant.get(&tenant_id).is_none_or(|count| *count < KIND_COUNT_MAX)
    }

    /// What is to be handed on at a moment, and forgets what was quiet for long enough.
    fn due(&mut self, at: Instant, all: bool) -> Vec<Draft> {
        let Self { kinds, of_tenant, .. } = self;
        kinds.retain(|kind, count| {
            let kept = count.seen.is_some() || count.quiet_until > at;
            if !kept && let Some(of_tenant) = of_tenant.get_mut(&kind.tenant_id) {
                *of_tenant -= 1;
            }
            kept
        });
        of_tenant.retain(|_, count| *count > 0);
        let mut drafts: BTreeMap<(Uuid, Option<Principal>), Vec<Event>> = BTreeMap::new();
        for (kind, count) in kinds.iter_mut().filter(|(_, count)| all || count.quiet_until <= at) {
            let whose = (kind.tenant_id, kind.principal().cloned());
            let room = drafts.len() < DRAFT_COUNT_MAX || drafts.contains_key(&whose);
            if let Some(seen) = count.seen.take_if(|_| room) {
                let event = kind.event(seen, std::mem::take(&mut count.resource_ids));
                drafts.entry(whose).or_default().push(event);
                count.quiet_until = at + QUIET;
            }
        }
        let drafts = drafts.into_iter().map(|((tenant_id, principal), mut observations)| {
            observations.sort_by_key(|event| seen_of(event).first_at);
            Draft { id: Uuid::now_v7(), tenant_id, principal, observations }
        });
        drafts.collect()
    }
}

impl Kind {
    fn principal(&self) -> Option<&Principal> {
        match &self.what {
            What::Refused { principal, .. } | What::SensitiveRead { principal, .. } => Some(principal),
            What::LoginFailed { .. } | What::Unlisted => None,
        }
    }

    fn event(&self, seen: Seen, resource_ids: Vec<Uuid>) -> Event {
        match self.what.clone() {
            What::Refused { principal, home, permission, reason } => {
                Event::Refused { principal, home, permission: permission.to_string(), reason, resource_ids, seen }
            }
            What::LoginFailed { reason, key_id, network } => Event::LoginFailed {
                reason,
                key_id,
                network: network.map(|network| Pii::Clear(network.to_string())),
                seen,
            },
            What::SensitiveRead { principal, home, permission } => {
                Event::SensitiveRead { principal, home, permission: permission.to_string(), resource_ids, seen }
            }
            What::Unlisted => Event::Unlisted { seen },
        }
    }
}

fn seen_of(event: &Event) -> Seen {
    match event {
        Event::Refused { seen, .. }
        | Event::LoginFailed { seen, .. }
        | Event::SensitiveRead { seen, .. }
        | Event::Unlisted { seen } => *seen,
    }
}

fn home_of(caller: &Caller) -> Home {
    match caller.scope {
        Scope::Tenant(_) => Home::Tenant,
        Scope::Platform => Home::Platform,
    }
}

/// The network of an address: what a log that is never changed may say of somebody's connection.
fn network_of(peer: IpAddr) -> Option<IpNet> {
    match peer.to_canonical() {
        IpAddr::V4(address) => Ipv4Net::new(address, 24).ok().map(|network| network.trunc().into()),
        IpAddr::V6(address) => Ipv6Net::new(address, 48).ok().map(|network| network.trunc().into()),
    }
}

/// The reason of a denial as it is recorded.
pub(crate) fn recorded(reason: judge::Reason) -> Option<Reason> {
    match reason {
        judge::Reason::Denied => Some(Reason::Denied),
        judge::Reason::NoRole => Some(Reason::NoRole),
        judge::Reason::Ended => Some(Reason::Ended),
        judge::Reason::Credential => Some(Reason::Credential),
        judge::Reason::Scope => Some(Reason::Scope),
        judge::Reason::Rule => Some(Reason::Rule),
        judge::Reason::Error => Some(Reason::Error),
        judge::Reason::Permitted | judge::Reason::Everybody => None,
    }
}

#[cfg(test)]
mod tests;
