//! One event to the local program: signed as in production, again and again under the same id until it is taken.

use std::time::{Duration, Instant};

use hub_signature::{ID_HEADER, Key, SIGNATURE_HEADER, TIMESTAMP_HEADER, sign};
use reqwest::{
    Client, StatusCode,
    header::{CONTENT_TYPE, USER_AGENT},
};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;

/// An event is given up after so many attempts: some minute. In production it would be days.
const ATTEMPTS_MAX: u32 = 10;

/// The wait before the second attempt; each further one is twice as long, up to the longest.
const BACKOFF: Duration = Duration::from_millis(250);
const BACKOFF_MAX: Duration = Duration::from_secs(10);

/// The program must have answered after so long, as webhooks have it by default.
pub(super) const ATTEMPT_LIMIT: Duration = Duration::from_secs(15);

/// Where events go and how they are signed.
pub(super) struct Forward {
    pub(super) http: Client,
    pub(super) url: String,
    pub(super) key: Key,
    pub(super) clock: Clock,
}

/// One event to be sent.
pub(super) struct Message<'a> {
    /// The same at every attempt.
    pub(super) id: &'a str,
    pub(super) body: &'a str,
}

/// How one attempt ended.
pub(super) struct Attempt {
    /// From 1.
    pub(super) number: u32,
    /// The status, or why there is none.
    pub(super) answer: Result<StatusCode, String>,
    pub(super) took: Duration,
    /// After how long it is tried again; `None` when it is not.
    pub(super) again_after: Option<Duration>,
}

/// What became of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Taken,
    GivenUp,
    /// It was to stop before the program had taken it.
    Stopped,
}

impl Forward {
    /// Sends until the program answers 2xx, telling of each attempt. `drain` lets the attempt that is under way end.
    pub(super) async fn deliver(
        &self,
        message: Message<'_>,
        drain: &CancellationToken,
        mut told: impl FnMut(&Attempt) -> anyhow::Result<()>,
    ) -> anyhow::Result<Outcome> {
        let mut backoff = BACKOFF;
        let mut number = 1;
        loop {
            let begun = Instant::now();
            let answer = self.send(&message).await;
            let taken = answer.as_ref().is_ok_and(StatusCode::is_success);
            let again_after = (!taken && number < ATTEMPTS_MAX).then_some(backoff);
            told(&Attempt { number, answer, took: begun.elapsed(), again_after })?;
            let Some(wait) = again_after else {
                return Ok(if taken { Outcome::Taken } else { Outcome::GivenUp });
            };
            tokio::select! {
                biased;
                () = drain.cancelled() => return Ok(Outcome::Stopped),
                () = sleep(wait) => {}
            }
            backoff = backoff.saturating_mul(2).min(BACKOFF_MAX);
            number += 1;
        }
    }

    async fn send(&self, message: &Message<'_>) -> Result<StatusCode, String> {
        let at = (self.clock)().timestamp();
        let request = self
            .http
            .post(&self.url)
            .timeout(ATTEMPT_LIMIT)
            .header(USER_AGENT, concat!("hub-listen/", env!("CARGO_PKG_VERSION")))
            .header(CONTENT_TYPE, hub_cloudevents::STRUCTURED)
            .header(ID_HEADER, message.id)
            .header(TIMESTAMP_HEADER, at)
            .header(SIGNATURE_HEADER, sign([&self.key], message.id, at, message.body.as_bytes()))
            .body(message.body.to_owned());
        match request.send().await {
            Ok(response) => Ok(response.status()),
            Err(error) if error.is_timeout() => Err("no answer in time".to_owned()),
            Err(error) if error.is_connect() => Err("nobody listens".to_owned()),
            Err(_) => Err("the connection broke off".to_owned()),
        }
    }
}
