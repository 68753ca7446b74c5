//! Sending one delivery: on a connection that is there, else on a new one whose address is checked.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, Method};
use hub_outbound::{Connection, Error, Outbound, Request};
use tokio::time::{Instant, timeout};
use url::Url;

/// So many bytes of an answer are read; what is longer is cut off.
const ANSWER_BYTES_MAX: usize = 16 * 1024;

/// So many bytes of it are kept.
const KEPT_BYTES_MAX: usize = 512;

/// A connection is used for so long; then the name is resolved and checked anew.
const CONNECTION_AGE_MAX: Duration = Duration::from_secs(60);

/// The headers of an answer that are kept, which are no secrets.
const KEPT_HEADERS: &[&str] = &["content-length", "content-type", "date", "location", "retry-after", "server"];

/// Longest header value that is kept, in bytes.
const HEADER_BYTES_MAX: usize = 200;

/// Longest reason why there is no answer that is kept, in bytes.
const ERROR_BYTES_MAX: usize = 500;

/// The open connections of one endpoint that nobody uses at the moment.
#[derive(Debug, Clone, Default)]
pub(crate) struct Connections(Arc<Mutex<Vec<Connection>>>);

impl Connections {
    fn take(&self) -> Option<Connection> {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        std::iter::from_fn(|| kept.pop()).find(usable)
    }

    fn give(&self, connection: Connection) {
        if usable(&connection) {
            self.0.lock().unwrap_or_else(PoisonError::into_inner).push(connection);
        }
    }

    /// Closes those that are too old, or that the other side has closed.
    pub(crate) fn sweep(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).retain(usable);
    }
}

fn usable(connection: &Connection) -> bool {
    connection.reusable() && connection.opened_at().elapsed() < CONNECTION_AGE_MAX
}

/// What came of an attempt.
#[derive(Debug, Default)]
pub(crate) struct Answer {
    pub(crate) status: Option<u16>,
    pub(crate) error: Option<String>,
    pub(crate) headers: Vec<(String, String)>,
    /// The first bytes as text.
    pub(crate) body: String,
    pub(crate) latency: Duration,
}

impl Answer {
    pub(crate) fn succeeded(&self) -> bool {
        self.status.is_some_and(|status| (200..300).contains(&status))
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(own, _)| own == name).map(|(_, value)| value.as_str())
    }
}

/// What is sent, and for how long an answer is waited for.
pub(crate) struct Sending {
    pub(crate) url: Url,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    pub(crate) time_max: Duration,
}

/// Sends; whatever happens is an answer.
pub(crate) async fn send(outbound: &Outbound, connections: &Connections, sending: Sending) -> Answer {
    let started = Instant::now();
    let Sending { url, headers, body, time_max } = sending;
    let request = Request { method: Method::POST, url, headers, body };
    let answer = match timeout(time_max, exchange(outbound, connections, request)).await {
        Ok(Ok(answer)) => answer,
        // May name what the other side's certificate says.
        Ok(Err(error)) => Answer { error: Some(cut(&error.to_string(), ERROR_BYTES_MAX)), ..Answer::default() },
        Err(_) => Answer { error: Some(Error::Time.to_string()), ..Answer::default() },
    };
    Answer { latency: started.elapsed(), ..answer }
}

async fn exchange(outbound: &Outbound, connections: &Connections, request: Request) -> Result<Answer, Error> {
    if let Some(mut connection) = connections.take() {
        // The other side may have closed it at this moment; then it is one of no use, and says nothing of the endpoint.
        match connection.exchange(request.clone(), ANSWER_BYTES_MAX, true).await {
            Ok(answer) => return Ok(kept(connections, connection, answer)),
            Err(Error::Exchange(_)) => {}
            Err(error) => return Err(error),
        }
    }
    // Apart, since it is large and seldom needed, and every delivery is moved into a task of its own.
    let mut connection = Box::pin(outbound.open(&request.url)).await?;
    let answer = connection.exchange(request, ANSWER_BYTES_MAX, true).await?;
    Ok(kept(connections, connection, answer))
}

fn kept(connections: &Connections, connection: Connection, answer: hub_outbound::Answer) -> Answer {
    if !answer.truncated {
        connections.give(connection);
    }
    let (head, body) = answer.response.into_parts();
    let kept = |name: &&str| {
        let value = head.headers.get(*name)?.to_str().ok()?;
        Some(((*name).to_owned(), cut(value, HEADER_BYTES_MAX)))
    };
    Answer {
        status: Some(head.status.as_u16()),
        error: head.status.is_redirection().then(|| "redirects are not followed".to_owned()),
        headers: KEPT_HEADERS.iter().filter_map(kept).collect(),
        body: cut(&String::from_utf8_lossy(&body), KEPT_BYTES_MAX),
        latency: Duration::ZERO,
    }
}

/// The first bytes of a text of the other side, as PostgreSQL can keep it.
fn cut(text: &str, bytes_max: usize) -> String {
    text[..text.floor_char_boundary(bytes_max)].replace('\0', "\u{fffd}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_of_the_other_side_is_cut_between_characters_and_has_no_nul() {
        assert_eq!(cut("short", 500), "short");
        assert_eq!(cut("aäb", 2), "a", "half a character is none");
        assert_eq!(cut("a\0b\0c", 4), "a\u{fffd}b\u{fffd}");
    }
}
