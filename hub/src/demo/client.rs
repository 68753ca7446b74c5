//! Speaks HTTP with a platform: JSON, a bearer key, and patience with what passes by itself.

use std::time::Duration;

use anyhow::{Context as _, bail};
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue, RETRY_AFTER};
use reqwest::{Method, StatusCode};
use serde_json::Value;
use tokio::time::sleep;
use uuid::Uuid;

/// A request is sent so many times at most.
const ATTEMPTS_MAX: u32 = 10;

/// The first request is sent so many times at most, so that a platform that is not there is soon found out.
const FIRST_ATTEMPTS_MAX: u32 = 3;

/// The first wait before a request is sent again; each further one is twice as long.
const BACKOFF: Duration = Duration::from_millis(100);

/// The longest wait before a request is sent again, also when the platform asks for more.
const BACKOFF_MAX: Duration = Duration::from_secs(5);

/// One attempt ends after so long.
const REQUEST_LIMIT: Duration = Duration::from_secs(30);

/// How long a query waits on the other side for its read model, in seconds.
const PREFER_WAIT: &str = "wait=10";

/// Conflicts that pass by themselves: the same command is still at work, or others were faster again and again.
const PASSING: [&str; 2] = ["idempotency_key_in_flight", "concurrent_change"];

/// A platform that can be talked to.
#[derive(Clone)]
pub struct Client {
    http: reqwest::Client,
    base: String,
    key: HeaderValue,
}

impl std::fmt::Debug for Client {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Client").field("base", &self.base).finish_non_exhaustive()
    }
}

/// What a command is sent under.
#[derive(Clone, Debug)]
pub struct Envelope {
    /// The platform executes a command with this key once.
    pub idempotency_key: String,
    /// What the events of one piece of work share.
    pub correlation_id: Uuid,
}

/// What was answered.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// The body; null when it is empty or no JSON.
    pub body: Value,
    /// What a query sends to see this command.
    pub token: Option<String>,
    /// Whether this is the outcome of an earlier request with the same key.
    pub replayed: bool,
    /// The position of the read model behind an answer.
    pub position: Option<i64>,
}

impl Answer {
    /// Whether the platform did as it was told.
    #[must_use]
    pub fn succeeded(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// The code of the problem, if it is one.
    #[must_use]
    pub fn code(&self) -> Option<&str> {
        self.body["code"].as_str()
    }

    /// Status, code and detail of a problem in one line.
    #[must_use]
    pub fn problem(&self) -> String {
        let code = self.code().unwrap_or("no problem code");
        let mut text = format!("{} {code}", self.status);
        if let Some(detail) = self.body["detail"].as_str() {
            text += &format!(" ({detail})");
        }
        let errors = self.body["errors"].as_array().map(Vec::as_slice).unwrap_or_default();
        for error in errors.iter().take(3) {
            let (pointer, detail) = (error["pointer"].as_str(), error["detail"].as_str());
            text += &format!("; {}: {}", pointer.unwrap_or_default(), detail.unwrap_or_default());
        }
        text
    }
}

impl Client {
    /// A client of the platform at `base`, such as `http://127.0.0.1:8080`.
    ///
    /// # Errors
    /// When the address is no `http` address, or the key has characters that no key has.
    pub fn new(base: &str, key: &str) -> anyhow::Result<Self> {
        let base = base.trim_end_matches('/');
        if base.starts_with("https://") {
            bail!("the demo speaks plain HTTP only; give an http:// address, {base} is none");
        }
        if !base.starts_with("http://") {
            bail!("`{base}` is no address such as http://127.0.0.1:8080");
        }
        let mut key = HeaderValue::from_str(&format!("Bearer {}", key.trim()))
            .context("the key has characters that no key has")?;
        key.set_sensitive(true);
        let http = reqwest::Client::builder()
            .timeout(REQUEST_LIMIT)
            .redirect(reqwest::redirect::Policy::none())
            .user_agent(concat!("hub-demo/", env!("CARGO_PKG_VERSION")))
            .build()
            .context("cannot set up the HTTP client")?;
        Ok(Self { http, base: base.to_owned(), key })
    }

    /// The address of the platform, without a slash at the end.
    #[must_use]
    pub fn base(&self) -> &str {
        &self.base
    }

    /// Sees whether the platform answers and takes the key.
    ///
    /// # Errors
    /// When it does not.
    pub async fn meet(&self) -> anyhow::Result<()> {
        let path = "/v1/tenants?limit=1";
        let answer = self.send(Method::GET, path, HeaderMap::new(), None, FIRST_ATTEMPTS_MAX).await?;
        match answer.status {
            401 | 403 => bail!("the key is not one of an administrator of {}: {}", self.base, answer.problem()),
            _ if answer.succeeded() => Ok(()),
            _ => bail!("GET {path} at {} was answered {}; is it a hub with both APIs?", self.base, answer.problem()),
        }
    }

    /// Sends a command.
    ///
    /// # Errors
    /// When the platform does not answer, or keeps answering that it cannot now. A refusal is an answer.
    pub async fn order(&self, path: &str, envelope: &Envelope, body: &Value) -> anyhow::Result<Answer> {
        let mut headers = HeaderMap::new();
        headers.insert("idempotency-key", HeaderValue::from_str(&envelope.idempotency_key)?);
        headers.insert("correlation-id", HeaderValue::from_str(&envelope.correlation_id.to_string())?);
        let bytes = if body.is_null() {
            None
        } else {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
            Some(body.to_string())
        };
        self.send(Method::POST, path, headers, bytes, ATTEMPTS_MAX).await
    }

    /// Asks; with the token of a command the answer shows what that command did.
    ///
    /// # Errors
    /// As [`Client::order`].
    pub async fn ask(&self, path: &str, token: Option<&str>) -> anyhow::Result<Answer> {
        let mut headers = HeaderMap::new();
        if let Some(token) = token {
            headers.insert("consistency-token", HeaderValue::from_str(token)?);
            headers.insert("prefer", HeaderValue::from_static(PREFER_WAIT));
        }
        self.send(Method::GET, path, headers, None, ATTEMPTS_MAX).await
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        headers: HeaderMap,
        body: Option<String>,
        attempts_max: u32,
    ) -> anyhow::Result<Answer> {
        let url = format!("{}{path}", self.base);
        let mut backoff = BACKOFF;
        let mut attempt = 1;
        loop {
            let mut request = self.http.request(method.clone(), &url).headers(headers.clone());
            request = request.header(AUTHORIZATION, self.key.clone());
            if let Some(body) = &body {
                request = request.body(body.clone());
            }
            let outcome = read(request).await;
            let last = attempt == attempts_max;
            let wait = match outcome {
                Ok((answer, retry_after)) => {
                    if !passing(&answer) {
                        return Ok(answer);
                    }
                    if last {
                        bail!("{method} {path} was answered {} {attempts_max} times", answer.problem());
                    }
                    retry_after.unwrap_or(backoff)
                }
                Err(error) if last || error.is_builder() => {
                    return Err(anyhow::Error::new(error.without_url())
                        .context(format!("{method} {path} at {} was not answered", self.base)));
                }
                Err(_) => backoff,
            };
            sleep(wait.min(BACKOFF_MAX)).await;
            backoff *= 2;
            attempt += 1;
        }
    }
}

/// Sends a request once; with the answer, how long the platform asks to wait.
async fn read(request: reqwest::RequestBuilder) -> reqwest::Result<(Answer, Option<Duration>)> {
    let response = request.send().await?;
    let header = |name: &str| Some(response.headers().get(name)?.to_str().ok()?.to_owned());
    let retry_after = header(RETRY_AFTER.as_str()).and_then(|text| text.parse().ok()).map(Duration::from_secs);
    let (status, token) = (response.status().as_u16(), header("consistency-token"));
    let replayed = header("idempotent-replayed").as_deref() == Some("true");
    let position = header("projection-position").and_then(|text| text.parse().ok());
    let body = serde_json::from_slice(&response.bytes().await?).unwrap_or(Value::Null);
    Ok((Answer { status, body, token, replayed, position }, retry_after))
}

/// Whether the same request may be answered otherwise in a moment. Every command has a key, so that none acts twice.
fn passing(answer: &Answer) -> bool {
    match StatusCode::from_u16(answer.status) {
        Ok(StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT) => true,
        Ok(StatusCode::CONFLICT) => answer.code().is_some_and(|code| PASSING.contains(&code)),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use axum::Router;
    use axum::extract::State;
    use axum::http::{HeaderMap, StatusCode};
    use axum::response::{IntoResponse, Response};
    use serde_json::{Value, json};
    use uuid::Uuid;

    use super::{Answer, Client, Envelope, passing};

    fn answer(status: u16, body: Value) -> Answer {
        Answer { status, body, token: None, replayed: false, position: None }
    }

    #[test]
    fn what_passes_by_itself_is_told_from_a_refusal() {
        for status in [503, 429, 408] {
            assert!(passing(&answer(status, Value::Null)), "{status}");
        }
        assert!(passing(&answer(409, json!({ "code": "concurrent_change" }))));
        for (status, code) in [(409, "tenant_slug_taken"), (500, "internal"), (404, "not_found"), (201, "")] {
            assert!(!passing(&answer(status, json!({ "code": code }))), "{status}");
        }
    }

    #[test]
    fn a_problem_is_one_line() {
        let body =
            json!({ "code": "invalid_body", "detail": "no", "errors": [{ "pointer": "/a", "detail": "is wrong" }] });
        assert_eq!(answer(422, body).problem(), "422 invalid_body (no); /a: is wrong");
        assert_eq!(answer(500, Value::Null).problem(), "500 no problem code");
    }

    #[test]
    fn only_plain_http_addresses_are_taken() {
        assert_eq!(Client::new("http://127.0.0.1:8080/", "k").unwrap().base(), "http://127.0.0.1:8080");
        for base in ["https://hub.example", "127.0.0.1:8080", "ftp://hub.example"] {
            assert!(Client::new(base, "k").is_err(), "{base}");
        }
        assert!(Client::new("http://hub.example", "a\nb").is_err());
    }

    type Seen = Arc<Mutex<Vec<(String, String)>>>;

    /// Is busy the first two times, then does as it is told.
    async fn busy_twice(State(seen): State<Seen>, headers: HeaderMap, body: String) -> Response {
        let text = |name: &str| headers.get(name).map(|value| value.to_str().unwrap().to_owned()).unwrap_or_default();
        let mut seen = seen.lock().unwrap();
        seen.push((text("idempotency-key"), body));
        match seen.len() {
            1 => (StatusCode::SERVICE_UNAVAILABLE, [("retry-after", "0")]).into_response(),
            2 => (StatusCode::CONFLICT, json!({ "code": "idempotency_key_in_flight" }).to_string()).into_response(),
            _ => ([("consistency-token", "t"), ("idempotent-replayed", "true")], r#"{"id":"7"}"#).into_response(),
        }
    }

    #[tokio::test]
    async fn a_command_is_sent_again_under_the_same_key_until_it_is_answered() {
        let seen = Seen::default();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let routes = Router::new().fallback(busy_twice).with_state(seen.clone());
        let serving = tokio::spawn(async move { axum::serve(listener, routes).await });
        let client = Client::new(&base, "k").unwrap();
        let envelope = Envelope { idempotency_key: "demo-1".to_owned(), correlation_id: Uuid::nil() };
        let answer = client.order("/v1/tenants", &envelope, &json!({ "a": 1 })).await.unwrap();
        serving.abort();
        assert!(answer.succeeded() && answer.replayed);
        assert_eq!((answer.token.as_deref(), &answer.body["id"]), (Some("t"), &json!("7")));
        assert_eq!(*seen.lock().unwrap(), vec![("demo-1".to_owned(), r#"{"a":1}"#.to_owned()); 3]);
    }

    #[tokio::test]
    async fn a_platform_that_is_not_there_is_soon_found_out() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        drop(listener);
        let error = Client::new(&base, "k").unwrap().meet().await.unwrap_err();
        assert!(format!("{error:#}").contains(&base), "{error:#}");
    }

    #[test]
    fn the_key_is_not_shown() {
        assert!(!format!("{:?}", Client::new("http://hub.example", "hub_secret").unwrap()).contains("secret"));
    }
}
