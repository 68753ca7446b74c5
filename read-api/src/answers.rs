//! Finished answers, given again as long as they are still the right ones.
//!
//! An answer is kept for the caller, path and query that it was made for, with the position of its read model. It is given again while
//! its tenant has had no event since then or since the decision to let the caller pass (`changes`), and never for longer than `LIFE_MAX`, which bounds what no event of the tenant tells: an
//! operator who retries parked events or changes to another build of a table, a right that has come to its end. Who sends a consistency
//! token is given only what was allowed by decisions that knew the log up to there. The position that an answer bears is the one it was read at.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use axum::{
    body::{Body, HttpBody as _, to_bytes},
    extract::{MatchedPath, Request, State},
    http::{HeaderMap, Method, StatusCode, header, uri::PathAndQuery},
    middleware::Next,
    response::{IntoResponse, Response},
};
use hub_http::{
    Caller, Gate, IfNoneMatch, PeerAddress, Presented, ShortAnswer, Shortcut, etag,
    headers::{CONSISTENCY_TOKEN, PROJECTION_POSITION},
    rate_limit::admit,
};
use moka::{ops::compute::Op, sync::Cache};
use tokio::sync::watch;
use uuid::Uuid;

use crate::{changes::Changes, state::Queries};

/// An answer is given again for so long at most.
const LIFE_MAX: Duration = Duration::from_secs(1);

/// All kept answers together, in bytes.
const BYTES_MAX: u64 = 32 << 20;

/// Larger bodies are not kept.
const BODY_BYTES_MAX: usize = 256 << 10;

/// What a kept answer takes beside its body and its key, in bytes, roughly.
const OVERHEAD_BYTES: usize = 1_024;

/// Where things of the platform are found; no other answer is kept.
const PREFIX: &str = "/v1/";

/// What an answer is made for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Key {
    caller: Caller,
    target: PathAndQuery,
}

/// Tells the routes that the shortcut has looked in vain, and for what.
#[derive(Clone, Debug)]
struct Missed(Key);

/// A finished answer.
#[derive(Debug)]
struct Kept {
    /// Of the read model, at least.
    position: i64,
    /// The caller was let pass by a decision that knew the log up to here.
    decided_up_to: i64,
    /// Whose events change the answer; `None` for everybody's.
    tenant: Option<Uuid>,
    /// Who has this version is told 304.
    sequence: Option<i64>,
    route: MatchedPath,
    headers: HeaderMap,
    body: axum::body::Bytes,
}

/// The kept answers of one process; cheap to clone.
#[derive(Clone)]
pub(crate) struct Answers(Arc<Inner>);

struct Inner {
    gate: Arc<dyn Gate>,
    changes: Changes,
    kept: Cache<Key, Arc<Kept>>,
    /// What is being made at this moment; bounded by the requests in flight.
    flights: Mutex<HashMap<Key, watch::Receiver<()>>>,
}

impl fmt::Debug for Answers {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Answers").field("kept", &self.0.kept.entry_count()).finish_non_exhaustive()
    }
}

impl Queries {
    /// Gives the answers that are at hand, in front of the routes.
    #[must_use]
    pub fn shortcut(&self) -> Shortcut {
        let answers = self.answers.clone();
        Arc::new(move |request| answers.answer(request))
    }
}

impl Answers {
    pub(crate) fn new(gate: Arc<dyn Gate>, changes: Changes) -> Self {
        let weight = |key: &Key, kept: &Arc<Kept>| {
            let bytes = OVERHEAD_BYTES + kept.body.len() + 2 * key.target.as_str().len() + key.caller.principal.len();
            u32::try_from(bytes).unwrap_or(u32::MAX)
        };
        let kept = Cache::builder().max_capacity(BYTES_MAX).weigher(weight).time_to_live(LIFE_MAX).build();
        Self(Arc::new(Inner { gate, changes, kept, flights: Mutex::default() }))
    }

    fn answer(&self, request: &mut Request) -> Option<ShortAnswer> {
        let target = request.uri().path_and_query().filter(|_| *request.method() == Method::GET)?;
        if !target.path().starts_with(PREFIX) {
            return None;
        }
        let peer = request.extensions().get::<PeerAddress>().map(|PeerAddress(address)| *address);
        let presented = Presented::of(request.headers(), peer).ok()?;
        let caller = self.0.gate.recognise(presented)?;
        admit(request.extensions(), &caller).ok()?;
        let key = Key { caller, target: target.clone() };
        if let Some(answer) = self.find(&key, presented.at_least, request.headers()) {
            return Some(answer);
        }
        request.extensions_mut().insert(Missed(key));
        None
    }

    /// A kept answer that is right for a request with these headers. What cannot be read is for the handler to refuse.
    fn find(&self, key: &Key, at_least: Option<i64>, headers: &HeaderMap) -> Option<ShortAnswer> {
        self.0.changes.follow();
        let kept = self.0.kept.get(key)?;
        let right = at_least.is_none_or(|at_least| at_least <= kept.position.min(kept.decided_up_to))
            && self.0.changes.still(kept.tenant, kept.position.min(kept.decided_up_to));
        if !right {
            return None;
        }
        let known = IfNoneMatch::of(headers).ok()?;
        Some(ShortAnswer { response: kept.response(&known), route: kept.route.clone() })
    }

    /// Keeps an answer unless a newer one is there.
    fn keep(&self, key: &Key, kept: &Arc<Kept>) {
        // The request's own target is a piece of its connection's buffer, which must not live as long as the answer.
        let Ok(target) = PathAndQuery::try_from(key.target.as_str()) else { return };
        let key = Key { caller: key.caller.clone(), target };
        self.0.kept.entry(key).and_compute_with(|there| match there {
            Some(there) if there.value().position > kept.position => Op::Nop,
            _ => Op::Put(Arc::clone(kept)),
        });
    }

    /// Whether somebody makes this answer at the moment; if not, the caller does.
    fn join(&self, key: &Key) -> Result<Flight, watch::Receiver<()>> {
        let mut flights = self.0.flights.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(flight) = flights.get(key) {
            return Err(flight.clone());
        }
        let (landed, flight) = watch::channel(());
        flights.insert(key.clone(), flight);
        Ok(Flight { answers: self.clone(), key: key.clone(), _landed: landed })
    }
}

/// The making of one answer; others wait until this is dropped.
struct Flight {
    answers: Answers,
    key: Key,
    _landed: watch::Sender<()>,
}

impl Drop for Flight {
    fn drop(&mut self) {
        self.answers.0.flights.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.key);
    }
}

impl Kept {
    /// The answer as it is kept; an answer that is of another kind is given back as it was.
    async fn of(key: &Key, decided_up_to: i64, route: MatchedPath, response: Response) -> Result<Self, Response> {
        let position = response.headers().get(PROJECTION_POSITION).and_then(|value| value.to_str().ok()?.parse().ok());
        let bounded = response.body().size_hint().exact().is_some_and(|bytes| bytes <= BODY_BYTES_MAX as u64);
        let (Some(position), true, StatusCode::OK) = (position, bounded, response.status()) else {
            return Err(response);
        };
        let (parts, body) = response.into_parts();
        let Ok(body) = to_bytes(body, BODY_BYTES_MAX).await else {
            return Err(StatusCode::INTERNAL_SERVER_ERROR.into_response());
        };
        let tag = parts.headers.get(header::ETAG).and_then(|tag| tag.to_str().ok());
        let replaces = parts.extensions.get::<etag::Replaces>().is_some();
        let sequence = tag.and_then(etag::parse_strong).filter(|_| !replaces);
        let tenant = tenant_of(key.target.path());
        Ok(Self { position, decided_up_to, tenant, sequence, route, headers: parts.headers, body })
    }

    fn response(&self, known: &IfNoneMatch) -> Response {
        let mut headers = self.headers.clone();
        let unchanged = self.sequence.is_some_and(|sequence| known.matches(sequence));
        let mut response = if unchanged {
            headers.remove(header::CONTENT_TYPE);
            headers.remove(header::CONTENT_LENGTH);
            StatusCode::NOT_MODIFIED.into_response()
        } else {
            Response::new(Body::from(self.body.clone()))
        };
        *response.headers_mut() = headers;
        response
    }
}

/// The tenant that a path is about.
fn tenant_of(path: &str) -> Option<Uuid> {
    path.strip_prefix("/v1/tenants/")?.split('/').next()?.parse().ok()
}

/// Has an answer made by the routes behind, once for all who ask for it at the same moment, and keeps it.
pub(crate) async fn keep(State(queries): State<Queries>, mut request: Request, next: Next) -> Response {
    let route = request.extensions().get::<MatchedPath>().cloned();
    let missed = request.extensions_mut().remove::<Missed>();
    let (Some(Missed(key)), Some(route)) = (missed, route) else { return next.run(request).await };
    let answers = &queries.answers;
    // Who waits for a read model has a time of its own for it.
    let alone = request.headers().contains_key(CONSISTENCY_TOKEN);
    let flight = if alone { None } else { Some(answers.join(&key)) };
    if let Some(Err(mut flight)) = flight {
        // It says nothing: it ends.
        drop(flight.changed().await);
        if let Some(answer) = answers.find(&key, None, request.headers()) {
            return answer.response;
        }
        return next.run(request).await;
    }
    // The whole answer is made, whatever this caller knows of it.
    let known = IfNoneMatch::of(request.headers()).unwrap_or_default();
    if known != IfNoneMatch::default() {
        request.headers_mut().remove(header::IF_NONE_MATCH);
    }
    // Before the decision, which then knows at least as much.
    let decided_up_to = answers.0.gate.decided_up_to();
    match Kept::of(&key, decided_up_to, route, next.run(request).await).await {
        Ok(kept) => {
            let kept = Arc::new(kept);
            answers.keep(&key, &kept);
            kept.response(&known)
        }
        Err(response) => response,
    }
}

#[cfg(test)]
mod tests {
    use hub_event_store::tail::Tail;
    use tokio_util::sync::CancellationToken;

    use super::*;

    fn key(target: &'static str) -> Key {
        let caller = Caller {
            principal: "key:test".to_owned(),
            scope: hub_http::Scope::Platform,
            expires_at_ms: None,
            secret_id: None,
        };
        Key { caller, target: PathAndQuery::from_static(target) }
    }

    #[tokio::test]
    async fn an_answer_is_made_once_for_all_who_ask_meanwhile() {
        let pool = sqlx::PgPool::connect_lazy("postgres://localhost/nowhere").unwrap();
        let changes = Changes::new(crate::read::Database::new(pool), Tail::default(), CancellationToken::new());
        let answers = Answers::new(Arc::new(hub_http::access::Closed), changes);
        let flight = answers.join(&key("/v1/a")).map_err(|_| "taken").unwrap();
        assert!(answers.join(&key("/v1/b")).is_ok());
        let mut waiting = answers.join(&key("/v1/a")).map(|_| "free").unwrap_err();
        drop(flight);
        assert!(waiting.changed().await.is_err(), "the flight has ended");
        assert!(answers.join(&key("/v1/a")).is_ok());
    }

    #[test]
    fn the_tenant_of_a_path_is_known_or_everybody_counts() {
        let id = Uuid::from_u128(7);
        assert_eq!(tenant_of(&format!("/v1/tenants/{id}")), Some(id));
        assert_eq!(tenant_of(&format!("/v1/tenants/{id}/roles")), Some(id));
        for path in ["/v1/tenants", "/v1/audit", "/v1/tenants/%30/roles", "/v1/tenants/"] {
            assert_eq!(tenant_of(path), None, "{path}");
        }
    }
}
