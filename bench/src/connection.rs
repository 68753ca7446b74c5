//! A lean HTTP client: one kept-alive connection that sends one request after the other.
//!
//! It runs on the same cores as what it asks; so does everything else that is measured here.

use anyhow::{Context as _, bail};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::{
    Method, Request, StatusCode,
    body::Incoming,
    client::conn::http1::{SendRequest, handshake},
    header::{AUTHORIZATION, CONTENT_TYPE, HOST, HeaderMap},
};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::{net::TcpStream, task::JoinHandle};
use uuid::Uuid;

use std::time::Duration;

/// A request that has no answer by then has failed.
const LIMIT: Duration = Duration::from_secs(30);

/// One connection with a bearer key.
#[derive(Debug)]
pub struct Connection {
    sender: SendRequest<Full<Bytes>>,
    driver: JoinHandle<()>,
    host: String,
    authorization: String,
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

/// An answer, read to its end.
#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Answer {
    /// The body as JSON.
    pub fn json(&self) -> anyhow::Result<Value> {
        Ok(serde_json::from_slice(&self.body)?)
    }

    /// The value of a header that the answer must have.
    pub fn header(&self, name: &str) -> anyhow::Result<String> {
        let value = self.headers.get(name).with_context(|| format!("the answer has no {name}"))?;
        Ok(value.to_str()?.to_owned())
    }

    /// The answer, if it is a success.
    pub fn success(self) -> anyhow::Result<Self> {
        if !self.status.is_success() {
            bail!("{}: {}", self.status, String::from_utf8_lossy(&self.body));
        }
        Ok(self)
    }
}

impl Connection {
    /// Connects to `host`, an address with its port.
    pub async fn open(host: &str, key: &str) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(host).await.with_context(|| format!("cannot connect to {host}"))?;
        stream.set_nodelay(true)?;
        let (sender, connection) = handshake(TokioIo::new(stream)).await?;
        let driver = tokio::spawn(async move {
            // Whoever waits for an answer on a broken connection is told so.
            drop(connection.await);
        });
        Ok(Self { sender, driver, host: host.to_owned(), authorization: format!("Bearer {key}") })
    }

    /// GET, with the `Consistency-Token` of a receipt if there is one.
    pub async fn get(&mut self, path: &str, token: Option<&str>) -> anyhow::Result<Answer> {
        let mut request = self.request(Method::GET, path);
        if let Some(token) = token {
            request = request.header("consistency-token", token);
        }
        self.send(request.body(Full::default())?).await
    }

    /// GET, whose answer is read while it comes; the connection has to live as long.
    pub async fn follow(&mut self, path: &str) -> anyhow::Result<Incoming> {
        let request = self.request(Method::GET, path).body(Full::default())?;
        let answered = async {
            self.sender.ready().await?;
            anyhow::Ok(self.sender.send_request(request).await?)
        };
        let response = tokio::time::timeout(LIMIT, answered).await.context("no answer in time")??;
        if !response.status().is_success() {
            let status = response.status();
            let body = response.into_body().collect().await?.to_bytes();
            bail!("{status}: {}", String::from_utf8_lossy(&body));
        }
        Ok(response.into_body())
    }

    /// POST with an idempotency key of its own.
    pub async fn post(&mut self, path: &str, body: &Value) -> anyhow::Result<Answer> {
        let request = self
            .request(Method::POST, path)
            .header(CONTENT_TYPE, "application/json")
            .header("idempotency-key", Uuid::now_v7().to_string());
        let body = if body.is_null() { Bytes::new() } else { serde_json::to_vec(body)?.into() };
        self.send(request.body(Full::new(body))?).await
    }

    /// POST of a body as it is, with these headers and no others but the host.
    pub async fn post_bytes(&mut self, path: &str, headers: &HeaderMap, body: Bytes) -> anyhow::Result<Answer> {
        let mut request = Request::builder().method(Method::POST).uri(path).body(Full::new(body))?;
        *request.headers_mut() = headers.clone();
        request.headers_mut().insert(HOST, self.host.parse()?);
        self.send(request).await
    }

    fn request(&self, method: Method, path: &str) -> hyper::http::request::Builder {
        Request::builder().method(method).uri(path).header(HOST, &self.host).header(AUTHORIZATION, &self.authorization)
    }

    async fn send(&mut self, request: Request<Full<Bytes>>) -> anyhow::Result<Answer> {
        let answered = async {
            self.sender.ready().await?;
            let response = self.sender.send_request(request).await?;
            let (parts, body) = response.into_parts();
            let body = body.collect().await?.to_bytes();
            anyhow::Ok(Answer { status: parts.status, headers: parts.headers, body })
        };
        tokio::time::timeout(LIMIT, answered).await.context("no answer in time")?
    }
}
