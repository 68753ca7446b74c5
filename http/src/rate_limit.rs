//! How much may be asked in a time: by one principal, for one tenant, and how many failed logins from one address.
//!
//! Shape: `bucket.rs` is what is counted with, `admission.rs` is one request's way through it. Each limit is a bucket (GCRA): `burst`
//! requests at once, refilled with `per_second`. What is known of a principal, a tenant or an address is kept while it is among the most
//! recently used `KEYS_MAX` of its kind; whoever has been pushed out begins with a full bucket. That bounds the memory at every moment,
//! which clearing away full buckets from time to time would not do against a flood from ever new addresses. Every process counts for
//! itself.

mod admission;
mod bucket;

use std::{
    fmt,
    net::IpAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use axum::http::{HeaderMap, HeaderValue};
use uuid::Uuid;

pub use self::admission::{Admission, admit, recognise};
use self::bucket::{Addresses, Buckets, PrincipalKey, PrincipalRef, Ticks};
use crate::{
    headers::{self, RATE_LIMIT, RATE_LIMIT_POLICY},
    problem::Problem,
};

/// Counter of the requests that were refused, by the limit that refused them: `principal`, `tenant` or `address`.
pub const RATE_LIMITED: &str = "hub_http_rate_limited_total";

/// So many principals, tenants and addresses are remembered, each kind for itself.
pub const KEYS_MAX: u64 = 65_536;

/// Longest value of `RateLimit`, in bytes: two items of a name and two numbers.
const HEADER_BYTES_MAX: usize = 96;

/// A bucket: so many at once, and so many more each second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    /// What comes back in a second; 0 for no limit.
    pub per_second: u32,
    /// What there is when nothing was taken, at least 1.
    pub burst: u32,
}

/// The limits of one process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rates {
    /// Requests of one principal.
    pub principal: Limit,
    /// Requests for one tenant, of all its principals together.
    pub tenant: Limit,
    /// Requests without a valid credential from one address (IPv6: one /64).
    pub failed_logins: Limit,
}

impl Default for Rates {
    /// 2,000 a second for a principal, 5,000 for a tenant, 50 failed logins for an address; twice that at once.
    fn default() -> Self {
        let limit = |per_second| Limit { per_second, burst: 2 * per_second };
        Self { principal: limit(2_000), tenant: limit(5_000), failed_logins: limit(50) }
    }
}

/// Which limit a request has met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which {
    /// That of the principal.
    Principal,
    /// That of the tenant.
    Tenant,
    /// That of failed logins from the address.
    Address,
}

impl Which {
    /// As it is called in answers and metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Principal => "principal",
            Self::Tenant => "tenant",
            Self::Address => "address",
        }
    }
}

/// Where a caller stands after a request was counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Of the principal, when it is limited.
    pub principal: Option<Left>,
    /// Of the tenant, when it is limited and the request is one of a tenant's.
    pub tenant: Option<Left>,
    /// The limit that is used up, and how long until one more request is let through.
    pub refused: Option<(Which, Duration)>,
    /// Whether the limit of a tenant holds for the request; it is not asked when the principal's is used up.
    of_tenant: bool,
}

/// What is left in a bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Left {
    /// Requests that may be sent at once.
    pub requests: u32,
    /// Until the bucket is full, in whole seconds, rounded up.
    pub full_in_seconds: u32,
}

impl Standing {
    /// 429 `rate_limited`, when a limit is used up.
    pub fn refusal(&self) -> Option<Problem> {
        self.refused.map(|(which, wait)| Problem::rate_limited(which.name(), wait))
    }
}

/// The limits and what was used of them; clones share it. The default limits nothing.
#[derive(Clone, Default)]
pub struct RateLimits(Option<Arc<Inner>>);

struct Inner {
    principals: Buckets<PrincipalKey>,
    tenants: Buckets<Uuid>,
    addresses: Addresses,
    policy: HeaderValue,
    policy_with_tenant: HeaderValue,
}

impl fmt::Debug for RateLimits {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("RateLimits").field("on", &self.0.is_some()).finish_non_exhaustive()
    }
}

impl RateLimits {
    /// Counts from now on.
    pub fn new(rates: Rates) -> Self {
        let began = Instant::now();
        Self::with_clock(rates, move || began.elapsed())
    }

    /// The same with another clock: the time since any fixed moment.
    pub fn with_clock(rates: Rates, clock: impl Fn() -> Duration + Send + Sync + 'static) -> Self {
        let clock = Ticks(Arc::new(clock));
        let policy = |limits: &[(Which, Limit)]| {
            let items = limits.iter().filter(|(_, limit)| limit.per_second > 0);
            let items = items.map(|(which, limit)| {
                let window = limit.burst.div_ceil(limit.per_second);
                format!("\"{}\";q={};w={window}", which.name(), limit.burst)
            });
            headers::ascii(&items.collect::<Vec<_>>().join(", "))
        };
        let (principal, tenant) = ((Which::Principal, rates.principal), (Which::Tenant, rates.tenant));
        Self(Some(Arc::new(Inner {
            principals: Buckets::new(rates.principal, &clock),
            tenants: Buckets::new(rates.tenant, &clock),
            addresses: Addresses::new(rates.failed_logins, &clock),
            policy: policy(&[principal]),
            policy_with_tenant: policy(&[principal, tenant]),
        })))
    }

    /// Counts one request of a principal, for its tenant if it has one; `None` when nothing is limited.
    ///
    /// A request that the principal's own limit refuses takes nothing from the tenant's.
    pub fn count(&self, principal: &str, tenant: Option<Uuid>) -> Option<Standing> {
        let inner = self.0.as_deref()?;
        let mut standing = Standing { principal: None, tenant: None, refused: None, of_tenant: tenant.is_some() };
        let key = PrincipalRef { tenant, name: principal };
        if let Some(taken) = inner.principals.take(&key, || key.owned()) {
            standing.principal = Some(taken.left);
            standing.refused = taken.wait.map(|wait| (Which::Principal, wait));
        }
        if standing.refused.is_none()
            && let Some(taken) = tenant.and_then(|tenant| inner.tenants.take(&tenant, || tenant))
        {
            standing.tenant = Some(taken.left);
            standing.refused = taken.wait.map(|wait| (Which::Tenant, wait));
        }
        if let Some((which, _)) = standing.refused {
            metrics::counter!(RATE_LIMITED, "limit" => which.name()).increment(1);
        }
        Some(standing)
    }

    /// Counts one request and refuses it with 429 `rate_limited` when a limit is used up.
    pub fn admit(&self, principal: &str, tenant: Option<Uuid>) -> Result<Option<Standing>, Problem> {
        let standing = self.count(principal, tenant);
        match standing.and_then(|standing| standing.refusal()) {
            Some(problem) => Err(problem),
            None => Ok(standing),
        }
    }

    /// Whether a credential from this address is looked at; 429 `rate_limited` while too many have failed. Takes nothing.
    pub fn login_allowed(&self, peer: IpAddr) -> Result<(), Problem> {
        self.allowed(peer, None)
    }

    /// Whether a signature from this address is verified for this recipient; 429 `rate_limited` while too many have failed. Takes nothing.
    pub fn signature_allowed(&self, peer: IpAddr, recipient: Uuid) -> Result<(), Problem> {
        self.allowed(peer, Some(recipient))
    }

    fn allowed(&self, peer: IpAddr, recipient: Option<Uuid>) -> Result<(), Problem> {
        match self.0.as_deref().and_then(|inner| inner.addresses.wait(peer, recipient)) {
            Some(wait) => {
                metrics::counter!(RATE_LIMITED, "limit" => Which::Address.name()).increment(1);
                Err(Problem::rate_limited(Which::Address.name(), wait))
            }
            None => Ok(()),
        }
    }

    /// Counts a request from this address whose credential was missing or not accepted.
    pub fn login_failed(&self, peer: IpAddr) {
        if let Some(inner) = self.0.as_deref() {
            inner.addresses.failed(peer, None);
        }
    }

    /// Counts a request from this address that was not signed as this recipient's are. Others who are sent something from the same
    /// address, as by a provider that serves many, are not hurt by it.
    pub fn signature_failed(&self, peer: IpAddr, recipient: Uuid) {
        if let Some(inner) = self.0.as_deref() {
            inner.addresses.failed(peer, Some(recipient));
        }
    }

    /// Writes `RateLimit-Policy` and `RateLimit` as the draft of the IETF has them (draft-ietf-httpapi-ratelimit-headers): `q` requests in
    /// `w` seconds, `r` of them left, all of them again in `t` seconds.
    pub(crate) fn write(&self, standing: &Standing, answer: &mut HeaderMap) {
        let Some(inner) = self.0.as_deref() else { return };
        let policy = match standing {
            Standing { principal: None, tenant: None, .. } => return,
            Standing { of_tenant: true, .. } => &inner.policy_with_tenant,
            _ => &inner.policy,
        };
        answer.insert(RATE_LIMIT_POLICY, policy.clone());
        let mut text = Text::default();
        for (which, left) in [(Which::Principal, standing.principal), (Which::Tenant, standing.tenant)] {
            let Some(left) = left else { continue };
            if text.length > 0 {
                text.push(", ");
            }
            text.push("\"");
            text.push(which.name());
            text.push("\";r=");
            text.push_number(left.requests);
            text.push(";t=");
            text.push_number(left.full_in_seconds);
        }
        if let Ok(value) = HeaderValue::from_bytes(text.as_bytes()) {
            answer.insert(RATE_LIMIT, value);
        }
    }
}

/// A short text that is put together without allocating.
struct Text {
    bytes: [u8; HEADER_BYTES_MAX],
    length: usize,
}

impl Default for Text {
    fn default() -> Self {
        Self { bytes: [0; HEADER_BYTES_MAX], length: 0 }
    }
}

impl Text {
    fn push(&mut self, text: &str) {
        let end = self.length + text.len();
        self.bytes[self.length..end].copy_from_slice(text.as_bytes());
        self.length = end;
    }

    fn push_number(&mut self, number: u32) {
        let digits = number.checked_ilog10().unwrap_or(0) as usize + 1;
        let (mut rest, end) = (number, self.length + digits);
        for place in (self.length..end).rev() {
            self.bytes[place] = b'0' + (rest % 10) as u8;
            rest /= 10;
        }
        self.length = end;
    }

    fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
}

#[cfg(test)]
mod tests;
