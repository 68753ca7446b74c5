//! A tenant's event stream that comes back by itself to where it was.

use std::{collections::VecDeque, time::Duration};

use anyhow::{Context as _, anyhow, bail};
use reqwest::{
    Client, Response, StatusCode, Url,
    header::{ACCEPT, AUTHORIZATION, HeaderValue},
};
use serde_json::Value;
use tokio::time::{Instant, sleep, timeout};

use super::frames::{Frame, Frames};

/// The first connection is tried so often, so that a platform that is not there is soon found out; later ones for some ten
/// minutes, which is a restart with time to spare.
const FIRST_ATTEMPTS_MAX: u32 = 3;
const ATTEMPTS_MAX: u32 = 120;

/// The wait before the second attempt; each further one is twice as long, up to the longest.
const BACKOFF: Duration = Duration::from_millis(250);
const BACKOFF_MAX: Duration = Duration::from_secs(5);

/// The answer must have begun after so long.
const ANSWER_LIMIT: Duration = Duration::from_secs(15);

/// The platform sends something every 15 s. After three times that the connection is taken for dead.
const SILENCE_MAX: Duration = Duration::from_secs(45);

/// Longest body of a problem that is read, in bytes.
const PROBLEM_BYTES_MAX: usize = 16 << 10;

/// What comes out of a stream.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Item {
    /// An event of the log; the frame's id is its position.
    Event(Frame),
    /// So far the stream has looked, and there is nothing for us.
    Passed(String),
    /// The platform ends the stream, and says why.
    End(String),
}

/// Where to follow, from where, as whom.
pub(super) struct Follower {
    http: Client,
    url: Url,
    key: HeaderValue,
    /// Where to begin, as the query parameter `after` has it; absent: now.
    after: Option<String>,
    /// The position to come back to.
    cursor: Option<String>,
    connection: Option<Connection>,
    attempt: u32,
    connected_once: bool,
}

struct Connection {
    opened_at: Instant,
    response: Response,
    frames: Frames,
    waiting: VecDeque<Item>,
}

/// Why there is no connection now.
enum Refusal {
    /// It may be otherwise in a moment.
    Passing(anyhow::Error),
    Final(anyhow::Error),
}

impl Follower {
    /// Of the stream at `url`.
    pub(super) fn new(http: Client, url: Url, key: &str, after: Option<String>) -> anyhow::Result<Self> {
        let mut key =
            HeaderValue::from_str(&format!("Bearer {key}")).context("the key has characters that no key has")?;
        key.set_sensitive(true);
        Ok(Self { http, url, key, after, cursor: None, connection: None, attempt: 0, connected_once: false })
    }

    /// The position up to which everything has been dealt with, once it is known.
    pub(super) fn cursor(&self) -> Option<&str> {
        self.cursor.as_deref()
    }

    /// Everything up to here has been dealt with, so the next connection begins behind it.
    pub(super) fn advance(&mut self, position: &str) {
        self.cursor = Some(position.to_owned());
    }

    /// What comes next, over as many connections as it takes. May be dropped and asked again without loss.
    ///
    /// # Errors
    /// When the platform refuses for good, or has not been there for too long.
    pub(super) async fn next(&mut self) -> anyhow::Result<Item> {
        loop {
            let lost = match &mut self.connection {
                Some(connection) => match connection.next().await {
                    Ok(item) => {
                        // A greeting alone is no sign that it will stay.
                        if matches!(item, Item::Event(_)) || connection.opened_at.elapsed() >= BACKOFF_MAX {
                            self.attempt = 0;
                        }
                        return Ok(item);
                    }
                    Err(error) => error,
                },
                None => match self.connect().await {
                    Ok(connection) => {
                        self.connection = Some(connection);
                        self.connected_once = true;
                        continue;
                    }
                    Err(Refusal::Final(error)) => return Err(error),
                    Err(Refusal::Passing(error)) => error,
                },
            };
            self.connection = None;
            self.attempt += 1;
            let attempts_max = if self.connected_once { ATTEMPTS_MAX } else { FIRST_ATTEMPTS_MAX };
            if self.attempt >= attempts_max {
                return Err(lost);
            }
            tracing::debug!(error = format!("{lost:#}"), attempt = self.attempt, "the stream is opened again");
            sleep(BACKOFF.saturating_mul(1 << (self.attempt - 1).min(10)).min(BACKOFF_MAX)).await;
        }
    }

    async fn connect(&self) -> Result<Connection, Refusal> {
        let mut url = self.url.clone();
        if let (None, Some(after)) = (&self.cursor, &self.after) {
            url.query_pairs_mut().append_pair("after", after);
        }
        let mut request = self.http.get(url).header(ACCEPT, "text/event-stream").header(AUTHORIZATION, &self.key);
        if let Some(cursor) = &self.cursor {
            request = request.header("last-event-id", cursor);
        }
        let unanswered = |error| Refusal::Passing(anyhow::Error::new(error).context("the platform did not answer"));
        let response = match timeout(ANSWER_LIMIT, request.send()).await {
            Ok(answer) => answer.map_err(unanswered)?,
            Err(elapsed) => return Err(Refusal::Passing(anyhow!(elapsed).context("the platform did not answer"))),
        };
        let status = response.status();
        if status == StatusCode::OK {
            let opened_at = Instant::now();
            return Ok(Connection { opened_at, response, frames: Frames::default(), waiting: VecDeque::new() });
        }
        let error = anyhow!("the platform does not let us follow: {}", problem(response).await);
        let passes =
            status.is_server_error() || [StatusCode::TOO_MANY_REQUESTS, StatusCode::REQUEST_TIMEOUT].contains(&status);
        Err(if passes { Refusal::Passing(error) } else { Refusal::Final(error) })
    }
}

impl Connection {
    async fn next(&mut self) -> anyhow::Result<Item> {
        loop {
            if let Some(item) = self.waiting.pop_front() {
                return Ok(item);
            }
            let bytes = timeout(SILENCE_MAX, self.response.chunk()).await.context("the stream is silent")?;
            let Some(bytes) = bytes.context("the stream broke off")? else { bail!("the stream ended") };
            self.waiting.extend(self.frames.push(&bytes)?.into_iter().filter_map(item));
        }
    }
}

/// `hello`, `checkpoint` and `end` are the stream's own; everything else with data is an event.
fn item(mut frame: Frame) -> Option<Item> {
    frame.id = frame.id.filter(|id| !id.is_empty());
    match frame.event.as_str() {
        "end" => Some(Item::End(frame.data)),
        "hello" | "checkpoint" => frame.id.map(Item::Passed),
        _ if frame.data.is_empty() => frame.id.map(Item::Passed),
        _ => Some(Item::Event(frame)),
    }
}

/// Status, code and detail of a problem in one line.
async fn problem(mut response: Response) -> String {
    let status = response.status();
    let mut bytes = Vec::new();
    while bytes.len() < PROBLEM_BYTES_MAX {
        let Ok(Ok(Some(more))) = timeout(ANSWER_LIMIT, response.chunk()).await else { break };
        bytes.extend_from_slice(&more);
    }
    let body: Value = serde_json::from_slice(&bytes).unwrap_or_default();
    let code = body["code"].as_str().unwrap_or("no problem code");
    let detail = body["detail"].as_str().map_or_else(String::new, |detail| format!(" ({detail})"));
    format!("{} {code}{detail}", status.as_u16())
}

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::TcpListener,
    };

    use super::*;

    /// A platform that says this on each connection and closes it.
    async fn saying(streams: &'static [&'static str]) -> Follower {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap()).parse().unwrap();
        tokio::spawn(async move {
            for stream in streams {
                let (mut connection, _) = listener.accept().await.unwrap();
                let mut request = Vec::new();
                while !request.ends_with(b"\r\n\r\n") {
                    request.push(connection.read_u8().await.unwrap());
                }
                let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n";
                connection.write_all(format!("{head}{stream}").as_bytes()).await.unwrap();
            }
        });
        Follower::new(Client::new(), url, "key", None).unwrap()
    }

    #[tokio::test]
    async fn a_platform_that_only_greets_is_waited_for_longer_and_longer_until_it_has_an_event() {
        const HELLO: &str = "id: 7\nevent: hello\ndata: {}\n\n";
        const EVENT: &str = "id: 8\nevent: tenant.registered\ndata: {}\n\n";
        let mut follower = saying(&[HELLO, HELLO, HELLO, EVENT]).await;
        for attempt in 0..3 {
            assert_eq!(follower.next().await.unwrap(), Item::Passed("7".to_owned()));
            assert_eq!(follower.attempt, attempt);
        }
        assert!(matches!(follower.next().await.unwrap(), Item::Event(_)));
        assert_eq!(follower.attempt, 0);
    }

    fn frame(id: Option<&str>, event: &str, data: &str) -> Frame {
        Frame { id: id.map(str::to_owned), event: event.to_owned(), data: data.to_owned() }
    }

    #[test]
    fn the_frames_of_the_stream_itself_are_told_from_events() {
        assert_eq!(item(frame(Some("7"), "hello", "{}")), Some(Item::Passed("7".to_owned())));
        assert_eq!(item(frame(Some("8"), "checkpoint", "{}")), Some(Item::Passed("8".to_owned())));
        assert_eq!(item(frame(Some("9"), "", "")), Some(Item::Passed("9".to_owned())));
        assert_eq!(
            item(frame(None, "end", "{\"reason\":\"shutdown\"}")),
            Some(Item::End("{\"reason\":\"shutdown\"}".to_owned()))
        );
        let event = frame(Some("9"), "tenant.registered", "{}");
        assert_eq!(item(event.clone()), Some(Item::Event(event)));
        assert_eq!(item(frame(None, "checkpoint", "{}")), None);
        assert_eq!(item(frame(Some(""), "", "")), None);
    }
}
