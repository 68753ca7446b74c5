//! An endpoint that keeps what it is sent and answers as it is told.

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use axum::{
    Router,
    body::Bytes,
    extract::State,
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
};
use hub_signature::{PublicKey, Received, SymmetricSecret, TOLERANCE, VerifyingKey, verify};
use hub_tests::kit::eventually;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio_util::task::AbortOnDropHandle;

use super::LIMIT;

/// What came.
#[derive(Clone, Debug)]
pub(super) struct Taken {
    pub(super) headers: HashMap<String, String>,
    pub(super) body: Bytes,
    /// What was answered.
    pub(super) status: StatusCode,
    pub(super) at: Instant,
}

impl Taken {
    pub(super) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    pub(super) fn header(&self, name: &str) -> &str {
        self.headers.get(name).unwrap_or_else(|| panic!("no {name} in {:?}", self.headers))
    }

    /// The event's position in its tenant's log.
    pub(super) fn position(&self) -> i64 {
        self.json()["data"]["position"].as_i64().unwrap()
    }

    pub(super) fn verifies_with(&self, key: &str, now: i64) -> bool {
        let received = Received {
            id: self.header("webhook-id"),
            timestamp: self.header("webhook-timestamp"),
            signature: self.header("webhook-signature"),
            body: &self.body,
        };
        let key = if key.starts_with("whpk_") {
            VerifyingKey::Public(PublicKey::parse(key).unwrap())
        } else {
            VerifyingKey::Symmetric(SymmetricSecret::parse(key).unwrap())
        };
        verify(received, [&key], now, TOLERANCE).is_ok()
    }
}

/// How a request is answered: at once, or as late as the answer says.
#[derive(Clone, Debug)]
pub(super) struct Reply {
    status: StatusCode,
    headers: Vec<(&'static str, String)>,
    body: String,
    after: Duration,
}

impl Reply {
    pub(super) fn status(code: u16) -> Self {
        Self {
            status: StatusCode::from_u16(code).unwrap(),
            headers: Vec::new(),
            body: String::new(),
            after: Duration::ZERO,
        }
    }

    pub(super) fn header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    pub(super) fn body(self, body: impl Into<String>) -> Self {
        Self { body: body.into(), ..self }
    }

    pub(super) fn after(self, after: Duration) -> Self {
        Self { after, ..self }
    }
}

type Rule = Box<dyn FnMut(&Value, usize) -> Reply + Send>;

struct Inner {
    rule: Mutex<Rule>,
    taken: Mutex<Vec<Taken>>,
}

/// The endpoint. Dropping it closes its port.
pub(super) struct Receiver {
    address: SocketAddr,
    inner: Arc<Inner>,
    _task: AbortOnDropHandle<()>,
}

impl Receiver {
    /// Takes everything.
    pub(super) async fn start() -> Self {
        Self::answering(|_, _| Reply::status(204)).await
    }

    /// Answers as `rule` says, of the body and the number of requests before.
    pub(super) async fn answering(rule: impl FnMut(&Value, usize) -> Reply + Send + 'static) -> Self {
        let inner = Arc::new(Inner { rule: Mutex::new(Box::new(rule)), taken: Mutex::default() });
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let router = Router::new().fallback(take).with_state(inner.clone());
        let task = AbortOnDropHandle::new(tokio::spawn(async move { axum::serve(listener, router).await.unwrap() }));
        Self { address, inner, _task: task }
    }

    pub(super) fn url(&self) -> String {
        format!("http://{}/hook", self.address)
    }

    pub(super) fn answer(&self, rule: impl FnMut(&Value, usize) -> Reply + Send + 'static) {
        *self.inner.rule.lock().unwrap() = Box::new(rule);
    }

    pub(super) fn taken(&self) -> Vec<Taken> {
        self.inner.taken.lock().unwrap().clone()
    }

    pub(super) fn count(&self) -> usize {
        self.inner.taken.lock().unwrap().len()
    }

    /// What it answered well.
    pub(super) fn accepted(&self) -> Vec<Taken> {
        self.taken().into_iter().filter(|taken| taken.status.is_success()).collect()
    }

    /// Waits for so many that it answered well, and answers all.
    pub(super) async fn accepts(&self, count: usize) -> Vec<Taken> {
        eventually(LIMIT, async || {
            let accepted = self.accepted();
            (accepted.len() >= count).then_some(accepted)
        })
        .await
    }
}

async fn take(State(inner): State<Arc<Inner>>, headers: HeaderMap, body: Bytes) -> Response {
    let json = serde_json::from_slice(&body).unwrap_or(Value::Null);
    let count = inner.taken.lock().unwrap().len();
    let reply = (inner.rule.lock().unwrap())(&json, count);
    let text = |(name, value): (&axum::http::HeaderName, &axum::http::HeaderValue)| {
        (name.as_str().to_owned(), value.to_str().unwrap().to_owned())
    };
    let headers = headers.iter().map(text).collect();
    inner.taken.lock().unwrap().push(Taken { headers, body, status: reply.status, at: Instant::now() });
    tokio::time::sleep(reply.after).await;
    let mut response = (reply.status, reply.body).into_response();
    for (name, value) in reply.headers {
        response.headers_mut().insert(name, value.parse().unwrap());
    }
    response
}
