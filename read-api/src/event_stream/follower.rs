//! One open stream, whatever it speaks: it says what is there, then what comes, and why it ends.

use std::{collections::VecDeque, time::Duration};

use tokio::{
    sync::watch,
    time::{Instant, sleep, sleep_until, timeout},
};
use tokio_util::sync::CancellationToken;

use super::{
    ENDS, STREAMED_EVENTS, StreamSettings,
    message::{End, Hello, Message},
    places::Place,
    reader::{ReadError, Reader},
};

/// So often in a row PostgreSQL may fail to answer before the stream is ended.
const FAILURES_MAX: u32 = 5;

/// After the first failure; each further one waits twice as long.
const RETRY_DELAY: Duration = Duration::from_millis(200);

/// The client is gone, and nobody is there to be told anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Left;

/// How a stream speaks to its client.
pub(crate) trait Outlet: Send {
    /// Returns when the client has taken enough of what was said before for the next thing to be made ready.
    fn room(&mut self) -> impl Future<Output = Result<(), Left>> + Send;

    /// Says something.
    fn say(&mut self, message: Message) -> impl Future<Output = Result<(), Left>> + Send;

    /// Says why the stream ends, and ends it.
    fn end(self, end: End, position: i64) -> impl Future<Output = ()> + Send;
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Follower {
    pub(crate) reader: Reader,
    pub(crate) settings: StreamSettings,
    pub(crate) right: watch::Receiver<Option<End>>,
    pub(crate) shutdown: CancellationToken,
    pub(crate) place: Place,
}

impl Follower {
    /// Follows until one of the two sides ends it; `left` returns when the client does, with a reason when it is to be told one.
    pub(crate) async fn run<O: Outlet>(self, mut outlet: O, left: impl Future<Output = Option<End>> + Send) {
        let Self { mut reader, settings, right, shutdown, place } = self;
        let end = tokio::select! {
            biased;
            end = left => end,
            end = ended(right, shutdown, settings.life_max) => Some(end),
            end = tell(&mut reader, settings, &mut outlet) => end,
        };
        // Room for somebody else, whatever the last words take.
        drop(place);
        metrics::counter!(ENDS, "reason" => end.map_or("left", End::reason)).increment(1);
        if let Some(end) = end {
            // Whoever is that slow is not waited for again.
            drop(timeout(settings.patience, outlet.end(end, reader.told)).await);
        }
    }
}

/// Returns when the stream has to end whatever it is doing.
async fn ended(mut right: watch::Receiver<Option<End>>, shutdown: CancellationToken, life_max: Duration) -> End {
    tokio::select! {
        biased;
        () = shutdown.cancelled() => End::Shutdown,
        // Without anybody who asks the gate nobody may go on.
        lost = right.wait_for(Option::is_some) => lost.ok().and_then(|end| *end).unwrap_or(End::Unavailable),
        () = sleep(life_max) => End::TooLong,
    }
}

/// Says everything that there is to say; `None` when the client has left.
async fn tell<O: Outlet>(reader: &mut Reader, settings: StreamSettings, outlet: &mut O) -> Option<End> {
    let hello = Hello {
        tenant_id: reader.tenant.id(),
        position: reader.cursor,
        head: reader.head(),
        heartbeat: settings.heartbeat,
        checkpoint: settings.checkpoint_after,
    };
    let mut quiet = Quiet::new(reader.cursor, settings);
    let mut failures = 0;
    let mut messages = VecDeque::from([Message::Hello(hello)]);
    loop {
        while let Some(message) = messages.pop_front() {
            if let Message::Events(events) = &message {
                metrics::counter!(STREAMED_EVENTS).increment(u64::try_from(events.len()).unwrap_or(u64::MAX));
            }
            let (checked, position) = (matches!(message, Message::Checkpoint(_)), message.position());
            if let Err(end) = patiently(settings, outlet.say(message)).await {
                return end;
            }
            quiet.said(checked, position);
            reader.told = position.unwrap_or(reader.told);
        }
        if let Err(end) = patiently(settings, outlet.room()).await {
            return end;
        }
        messages = match reader.next().await {
            Ok(events) => {
                failures = 0;
                if events.is_empty() && !reader.behind() && quiet.due(reader.cursor).is_none() {
                    let next = quiet.next(reader.cursor);
                    tokio::select! {
                        grown = reader.grown() => if grown.is_err() { return Some(End::Unavailable) },
                        () = sleep_until(next) => {}
                    }
                }
                if events.is_empty() { quiet.due(reader.cursor).into_iter().collect() } else { Message::pieces(events) }
            }
            Err(error @ (ReadError::Gap { .. } | ReadError::Unwatched)) => {
                tracing::error!(%error, "an event stream cannot go on");
                return Some(End::Unavailable);
            }
            Err(error) => {
                failures += 1;
                tracing::warn!(%error, failures, "an event stream cannot read the log");
                if failures >= FAILURES_MAX {
                    return Some(End::Unavailable);
                }
                sleep(RETRY_DELAY * 2_u32.pow(failures - 1)).await;
                VecDeque::new()
            }
        };
    }
}

/// Waits for the client, but not for ever.
async fn patiently(
    settings: StreamSettings,
    saying: impl Future<Output = Result<(), Left>>,
) -> Result<(), Option<End>> {
    match timeout(settings.patience, saying).await {
        Ok(said) => said.map_err(|Left| None),
        Err(_) => Err(Some(End::TooSlow)),
    }
}

/// Since when nothing was said, and what is to be said then.
#[derive(Debug)]
struct Quiet {
    settings: StreamSettings,
    /// When anything was said.
    said_at: Instant,
    /// When the client was told a position, and which.
    told_at: Instant,
    told: i64,
    /// Whether that was a checkpoint, so that the next one has something new to say only when the position has moved.
    checked: bool,
}

impl Quiet {
    fn new(position: i64, settings: StreamSettings) -> Self {
        let now = Instant::now();
        Self { settings, said_at: now, told_at: now, told: position, checked: false }
    }

    /// What silence asks for, if it has lasted.
    fn due(&self, cursor: i64) -> Option<Message> {
        let now = Instant::now();
        if (!self.checked || cursor > self.told) && now >= self.told_at + self.settings.checkpoint_after {
            return Some(Message::Checkpoint(cursor));
        }
        (now >= self.said_at + self.settings.heartbeat).then_some(Message::Heartbeat)
    }

    /// When silence asks for something at the earliest.
    fn next(&self, cursor: i64) -> Instant {
        let heartbeat = self.said_at + self.settings.heartbeat;
        let silent = self.checked && cursor == self.told;
        if silent { heartbeat } else { heartbeat.min(self.told_at + self.settings.checkpoint_after) }
    }

    /// Takes note of what the client has been told.
    fn said(&mut self, checked: bool, position: Option<i64>) {
        self.said_at = Instant::now();
        if let Some(position) = position {
            (self.told_at, self.told, self.checked) = (self.said_at, position, checked);
        }
    }
}
