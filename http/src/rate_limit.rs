//! How much may be asked in a time: by one principal, for one tenant, and how many failed logins from one address.
//!
//! Shape: `bucket.rs` is what is counted with, `admission.rs` is one request's way through it. Each limit is a bucket (GCRA): `burst` requests at once, refilled with `per_second`. What is known of a principal, a tenant or an address is
//! kept while it is among the most recently used `KEYS_MAX` of its kind; whoever has been pushed out begins with a full bucket. That bounds
//! the memory at every moment, which clearing away full buckets from time to time would not do against a flood from ever new addresses.
//! Every process counts for itself.

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

pub use self::admission::{Admission, recognise};
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
        match self.0.as_deref().and_then(|inner| inner.addresses.wait(peer)) {
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
            inner.addresses.failed(peer);
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
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use axum::{
        Extension, Router,
        extract::{ConnectInfo, FromRef, MatchedPath, Request},
        response::Response,
        routing::get,
    };
    use tower::ServiceExt as _;

    use super::*;
    use crate::{
        Authenticator, BearerKey, Caller, Layers, Scope, ShortAnswer,
        testing::{body_json, send},
    };

    /// A clock that the test moves, in milliseconds.
    #[derive(Clone, Default)]
    struct Hand(Arc<AtomicU64>);

    impl Hand {
        fn wait(&self, milliseconds: u64) {
            self.0.fetch_add(milliseconds, Ordering::Relaxed);
        }

        fn limits(&self, rates: Rates) -> RateLimits {
            let hand = self.clone();
            RateLimits::with_clock(rates, move || Duration::from_millis(hand.0.load(Ordering::Relaxed)))
        }
    }

    fn rates(principal: (u32, u32), tenant: (u32, u32), failed_logins: (u32, u32)) -> Rates {
        let limit = |(per_second, burst)| Limit { per_second, burst };
        Rates { principal: limit(principal), tenant: limit(tenant), failed_logins: limit(failed_logins) }
    }

    const TENANT: Option<Uuid> = Some(Uuid::from_u128(1));

    #[test]
    fn a_bucket_is_emptied_and_fills_again_in_time() {
        let hand = Hand::default();
        let limits = hand.limits(rates((10, 3), (0, 0), (0, 0)));
        let left = |standing: Standing| standing.principal.unwrap();
        assert_eq!(left(limits.count("a", None).unwrap()), Left { requests: 2, full_in_seconds: 1 });
        assert_eq!(left(limits.count("a", None).unwrap()).requests, 1);
        assert_eq!(left(limits.count("a", None).unwrap()).requests, 0);
        let standing = limits.count("a", None).unwrap();
        assert_eq!(standing.refused, Some((Which::Principal, Duration::from_millis(100))));
        assert_eq!(limits.admit("a", None).unwrap_err().status(), 429);
        hand.wait(99);
        assert!(limits.admit("a", None).is_err());
        hand.wait(1);
        assert!(limits.admit("a", None).is_ok());
        assert!(limits.admit("b", None).is_ok(), "another has a bucket of its own");
        hand.wait(10_000);
        assert_eq!(left(limits.count("a", None).unwrap()).requests, 2, "never more than the burst");
    }

    #[test]
    fn the_principals_of_a_tenant_share_its_limit_and_no_other_tenants() {
        let hand = Hand::default();
        let limits = hand.limits(rates((100, 100), (1, 2), (0, 0)));
        assert!(limits.admit("a", TENANT).is_ok() && limits.admit("b", TENANT).is_ok());
        assert_eq!(limits.count("c", TENANT).unwrap().refused, Some((Which::Tenant, Duration::from_secs(1))));
        assert!(limits.admit("a", Some(Uuid::from_u128(2))).is_ok());
        assert!(limits.admit("a", None).is_ok(), "the platform is no tenant");
    }

    #[test]
    fn who_is_refused_as_a_principal_takes_nothing_from_the_tenant() {
        let limits = Hand::default().limits(rates((1, 1), (1, 3), (0, 0)));
        for _ in 0..10 {
            limits.count("a", TENANT);
        }
        let standing = limits.count("b", TENANT).unwrap();
        assert_eq!(standing.tenant.unwrap().requests, 1);
    }

    #[test]
    fn a_rate_of_zero_limits_nothing() {
        let off = Hand::default().limits(rates((0, 0), (0, 0), (0, 0)));
        let peer = IpAddr::from([192, 0, 2, 1]);
        for limits in [off, RateLimits::default()] {
            for _ in 0..1_000 {
                assert!(limits.admit("a", TENANT).is_ok());
                limits.login_failed(peer);
            }
            assert!(limits.login_allowed(peer).is_ok());
        }
    }

    #[test]
    fn an_address_is_closed_after_too_many_failed_logins_and_opens_again() {
        let hand = Hand::default();
        let limits = hand.limits(rates((0, 0), (0, 0), (10, 2)));
        let [guesser, neighbour, stranger] = ["2001:db8:1:2::1", "2001:db8:1:2::2", "2001:db8:1:3::1"];
        let [guesser, neighbour, stranger] = [guesser, neighbour, stranger].map(|text| text.parse().unwrap());
        for _ in 0..3 {
            assert!(limits.login_allowed(guesser).is_ok());
            limits.login_failed(guesser);
        }
        assert_eq!(limits.login_allowed(guesser).unwrap_err().code(), "rate_limited");
        assert!(limits.login_allowed(neighbour).is_err(), "the same /64");
        assert!(limits.login_allowed(stranger).is_ok());
        hand.wait(100);
        assert!(limits.login_allowed(guesser).is_ok());
        limits.login_failed(guesser);
        limits.login_failed(guesser);
        assert!(limits.login_allowed(guesser).is_err());
    }

    /// A route with a caller and one in the shortcut, both behind `limits`.
    async fn router(limits: RateLimits) -> (Router, BearerKey) {
        #[derive(Clone)]
        struct House(Authenticator);
        impl FromRef<House> for Authenticator {
            fn from_ref(house: &House) -> Self {
                house.0.clone()
            }
        }
        let key = BearerKey::generate([1; 32]);
        let caller = Caller { principal: "key:1".to_owned(), scope: Scope::Tenant(Uuid::from_u128(1)) };
        let authenticator = Authenticator::new([key.stored(caller)]);
        let routes = Router::new().route("/routed", get(async |_: Caller| "ok"));
        let refuses = async |_: Caller| Problem::forbidden("never");
        let routes = routes.route("/refused", get(refuses)).route("/open", get(async || "ok"));
        let routes = routes.with_state(House(authenticator.clone()));
        let short = Router::new().route("/short", get(async |path: MatchedPath| Extension(path)));
        let route = send(&short, "GET", "/short", &[], "").await.extensions().get::<MatchedPath>().unwrap().clone();
        let shortcut = Arc::new(move |request: &mut Request| {
            recognise(request.extensions(), || authenticator.caller_of(request.headers())).ok()?;
            let short = request.uri().path() == "/short";
            short.then(|| ShortAnswer { response: Response::default(), route: route.clone() })
        });
        (Layers { rate_limits: limits, ..Layers::default() }.wrap_behind(shortcut, routes), key)
    }

    #[tokio::test]
    async fn every_answer_to_a_known_caller_says_where_he_stands() {
        let hand = Hand::default();
        let (router, key) = router(hand.limits(rates((2, 4), (5, 10), (0, 0)))).await;
        let bearer = format!("Bearer {}", key.reveal());
        let ask = async |path: &str| send(&router, "GET", path, &[("authorization", &bearer)], "").await;
        let response = ask("/routed").await;
        assert_eq!(response.headers()["ratelimit-policy"], "\"principal\";q=4;w=2, \"tenant\";q=10;w=2");
        assert_eq!(response.headers()["ratelimit"], "\"principal\";r=3;t=1, \"tenant\";r=9;t=1");
        let response = ask("/refused").await;
        assert_eq!((response.status().as_u16(), &response.headers()["ratelimit"]), (403, &value("2;t=1", "8;t=1")));
        let response = ask("/short").await;
        assert_eq!((response.status().as_u16(), &response.headers()["ratelimit"]), (200, &value("1;t=2", "7;t=1")));
        assert_eq!(ask("/short").await.headers()["ratelimit"], value("0;t=2", "6;t=1"));
        let response = ask("/routed").await;
        assert_eq!((response.status().as_u16(), &response.headers()["retry-after"]), (429, &"1".parse().unwrap()));
        assert_eq!(response.headers()["ratelimit"], "\"principal\";r=0;t=2");
        let body = body_json(response).await;
        assert_eq!((&body["code"], &body["limit"]), (&"rate_limited".into(), &"principal".into()));
        hand.wait(500);
        assert_eq!(ask("/routed").await.status(), 200);
        assert!(!send(&router, "GET", "/open", &[], "").await.headers().contains_key("ratelimit"));
    }

    fn value(principal: &str, tenant: &str) -> HeaderValue {
        format!("\"principal\";r={principal}, \"tenant\";r={tenant}").parse().unwrap()
    }

    #[tokio::test]
    async fn guesses_from_one_address_are_refused_before_they_are_looked_at() {
        let hand = Hand::default();
        let (router, key) = router(hand.limits(rates((0, 0), (0, 0), (1, 2)))).await;
        let ask = async |last: u8, bearer: &str| {
            let request = Request::get("/routed").header("authorization", format!("Bearer {bearer}"));
            let mut request = request.body(axum::body::Body::empty()).unwrap();
            let peer = std::net::SocketAddr::from(([192, 0, 2, last], 4711));
            request.extensions_mut().insert(ConnectInfo(peer));
            // Nobody trusts this peer.
            request.headers_mut().insert("x-forwarded-for", "203.0.113.5".parse().unwrap());
            router.clone().oneshot(request).await.unwrap().status().as_u16()
        };
        let statuses = [ask(1, "no").await, ask(1, "no").await, ask(1, "no").await, ask(1, "no").await];
        assert_eq!(statuses, [401, 401, 401, 429], "each counts once");
        assert_eq!(ask(1, key.reveal()).await, 429, "not even looked at");
        assert_eq!(ask(2, key.reveal()).await, 200);
        hand.wait(1_000);
        assert_eq!(ask(1, key.reveal()).await, 200);
    }

    #[test]
    fn counting_is_cheap() {
        let limits = RateLimits::new(rates((1_000_000_000, 1_000_000_000), (1_000_000_000, 1_000_000_000), (50, 100)));
        let (rounds, peer) = (200_000, IpAddr::from([192, 0, 2, 1]));
        let began = Instant::now();
        for _ in 0..rounds {
            let admission = Admission::new(limits.clone(), Some(peer));
            admission.login_allowed().unwrap();
            admission.admit("key:0123456789ab", TENANT).unwrap();
            let mut headers = HeaderMap::new();
            admission.write(&mut headers);
            assert_eq!(headers.len(), 2);
        }
        let each = began.elapsed() / rounds;
        println!("{each:?} a request");
        assert!(each < Duration::from_millis(1), "{each:?}");
    }
}
