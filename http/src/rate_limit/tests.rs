//! Buckets with a clock that is moved by hand, and requests through the layers.

use std::sync::atomic::{AtomicU64, Ordering};

use axum::{
    Extension, Router,
    extract::{ConnectInfo, FromRequestParts, MatchedPath, Request},
    http::request::Parts,
    response::Response,
    routing::get,
};
use tower::ServiceExt as _;

use super::*;
use crate::{
    Caller, Gate as _, Layers, Presented, Scope, ShortAnswer,
    access::fixed::FixedTokens,
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

#[test]
fn signatures_that_fail_close_an_address_for_their_recipient_only() {
    let hand = Hand::default();
    let limits = hand.limits(rates((0, 0), (0, 0), (1, 2)));
    let peer = "192.0.2.1".parse().unwrap();
    let (one, other) = (Uuid::from_u128(1), Uuid::from_u128(2));
    for _ in 0..3 {
        limits.signature_failed(peer, one);
    }
    assert_eq!(limits.signature_allowed(peer, one).unwrap_err().code(), "rate_limited");
    assert!(limits.signature_allowed("192.0.2.2".parse().unwrap(), one).is_ok());
    assert!(limits.signature_allowed(peer, other).is_ok());
    assert!(limits.login_allowed(peer).is_ok());
    hand.wait(1_000);
    assert!(limits.signature_allowed(peer, one).is_ok());
}

/// Who was recognised, in a handler that needs no permission.
struct Known;

impl<S: Send + Sync> FromRequestParts<S> for Known {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let authenticate = async { gate().authenticate(Presented::of(&parts.headers, None)?).await };
        recognise(&parts.extensions, authenticate).await.map(|_| Self)
    }
}

const TOKEN: &str = "token-1";

fn gate() -> FixedTokens {
    let scope = Scope::Tenant(Uuid::from_u128(1));
    FixedTokens::new([(
        TOKEN.to_owned(),
        Caller { principal: "key:1".to_owned(), scope, expires_at_ms: None, secret_id: None },
    )])
}

/// A route with a caller and one in the shortcut, both behind `limits`.
async fn router(limits: RateLimits) -> Router {
    let routes = Router::new().route("/routed", get(async |_: Known| "ok"));
    let refuses = async |_: Known| Problem::forbidden("never");
    let routes = routes.route("/refused", get(refuses)).route("/open", get(async || "ok"));
    let short = Router::new().route("/short", get(async |path: MatchedPath| Extension(path)));
    let route = send(&short, "GET", "/short", &[], "").await.extensions().get::<MatchedPath>().unwrap().clone();
    let shortcut = Arc::new(move |request: &mut Request| {
        let caller = gate().recognise(Presented::of(request.headers(), None).ok()?)?;
        admit(request.extensions(), &caller).ok()?;
        let short = request.uri().path() == "/short";
        short.then(|| ShortAnswer { response: Response::default(), route: route.clone() })
    });
    Layers { rate_limits: limits, ..Layers::default() }.wrap_behind(shortcut, routes)
}

#[tokio::test]
async fn every_answer_to_a_known_caller_says_where_he_stands() {
    let hand = Hand::default();
    let router = router(hand.limits(rates((2, 4), (5, 10), (0, 0)))).await;
    let bearer = format!("Bearer {TOKEN}");
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
    let router = router(hand.limits(rates((0, 0), (0, 0), (1, 2)))).await;
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
    assert_eq!(ask(1, TOKEN).await, 429, "not even looked at");
    assert_eq!(ask(2, TOKEN).await, 200);
    hand.wait(1_000);
    assert_eq!(ask(1, TOKEN).await, 200);
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
