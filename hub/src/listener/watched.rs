//! A connection under watch: it ends when its client is too slow with a request, with the next one, or with taking an answer.
//!
//! While a request is being answered only the last of these counts: its body and its handler have time limits of their own. A client
//! takes nothing when the socket takes no more bytes, or when all requests of the connection have something for it that HTTP/2 does not
//! send because its window is closed.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use axum::http::{Request, Response, StatusCode, Version};
use http_body::{Body, Frame, SizeHint};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    sync::OwnedSemaphorePermit,
    time::{Instant, Sleep, sleep_until},
};
use tower::Service;

use super::{CONNECTIONS_EXPIRED, CONNECTIONS_OPEN};

/// How long a client may take.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patience {
    /// From the first byte of a request, or from the beginning of the connection, until its head is complete.
    pub(super) header: Duration,
    /// From the end of an answer until the next request.
    pub(super) idle: Duration,
    /// While it takes nothing of what is to be sent.
    pub(super) write: Duration,
}

/// What the two halves of a connection know of each other: the stream, and the service that is called when a head is complete.
#[derive(Debug)]
pub(super) struct Life {
    began: Instant,
    requests: AtomicU64,
    in_flight: AtomicUsize,
    /// Of those in flight, so many wait for their handler or for more of their body; the others wait for the client to take something.
    with_us: AtomicUsize,
    /// When the client last took a piece of an answer, in milliseconds since the beginning.
    taken_ms: AtomicU64,
    http2: AtomicBool,
    /// It speaks something else than HTTP by now, and has no requests any more.
    upgraded: AtomicBool,
}

impl Default for Life {
    fn default() -> Self {
        Self {
            began: Instant::now(),
            requests: AtomicU64::new(0),
            in_flight: AtomicUsize::new(0),
            with_us: AtomicUsize::new(0),
            taken_ms: AtomicU64::new(0),
            http2: AtomicBool::new(false),
            upgraded: AtomicBool::new(false),
        }
    }
}

impl Life {
    fn begin(self: &Arc<Self>, version: Version) -> InFlight {
        self.http2.store(version == Version::HTTP_2, Ordering::Relaxed);
        self.in_flight.fetch_add(1, Ordering::Relaxed);
        self.with_us.fetch_add(1, Ordering::Relaxed);
        self.requests.fetch_add(1, Ordering::Relaxed);
        InFlight { life: Arc::clone(self), with_us: true }
    }

    fn rests(&self) -> bool {
        self.in_flight.load(Ordering::Relaxed) == 0
    }

    fn note_taken(&self) {
        let taken_ms = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.taken_ms.store(taken_ms, Ordering::Relaxed);
    }

    fn taken(&self) -> Instant {
        self.began + Duration::from_millis(self.taken_ms.load(Ordering::Relaxed))
    }
}

/// A request, from the moment that its head is complete until its answer is sent.
#[derive(Debug)]
struct InFlight {
    life: Arc<Life>,
    with_us: bool,
}

impl InFlight {
    /// From now on it waits for its handler or its body.
    fn come(&mut self) {
        if !self.with_us {
            self.with_us = true;
            self.life.with_us.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// From now on it waits for the client.
    fn go(&mut self) {
        self.life.note_taken();
        if self.with_us {
            self.with_us = false;
            self.life.with_us.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.go();
        self.life.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A service that says when it has requests.
#[derive(Clone, Debug)]
pub(super) struct Counted<S> {
    service: S,
    life: Arc<Life>,
}

impl<S> Counted<S> {
    pub(super) fn new(service: S, life: Arc<Life>) -> Self {
        Self { service, life }
    }
}

impl<S, A, B> Service<Request<A>> for Counted<S>
where
    S: Service<Request<A>, Response = Response<B>>,
    S::Future: Send + 'static,
{
    type Response = Response<Sent<B>>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.service.poll_ready(context)
    }

    fn call(&mut self, request: Request<A>) -> Self::Future {
        let mut in_flight = self.life.begin(request.version());
        let answering = self.service.call(request);
        let life = Arc::clone(&self.life);
        Box::pin(async move {
            let response = answering.await?;
            life.upgraded.fetch_or(response.status() == StatusCode::SWITCHING_PROTOCOLS, Ordering::Relaxed);
            in_flight.go();
            Ok(response.map(|body| Sent { body, in_flight }))
        })
    }
}

/// The body of an answer; its request is over when this is dropped.
#[derive(Debug)]
pub(super) struct Sent<B> {
    body: B,
    in_flight: InFlight,
}

impl<B: Body + Unpin> Body for Sent<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        // Over HTTP/2 a body is not asked for more while the client's window is closed.
        self.in_flight.come();
        let frame = ready!(Pin::new(&mut self.body).poll_frame(context));
        self.in_flight.go();
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// A stream that fails with `TimedOut` when its client is too slow.
#[derive(Debug)]
pub(super) struct Watched<S> {
    stream: S,
    life: Arc<Life>,
    patience: Patience,
    /// When the first bytes after so many requests came.
    head: Option<(u64, Instant)>,
    /// Since when the client takes nothing.
    stalled: Option<Instant>,
    /// Never later than what is due: it is set to the shortest patience at most, and looked at again then.
    timer: Pin<Box<Sleep>>,
    _permit: OwnedSemaphorePermit,
}

impl<S> Watched<S> {
    pub(super) fn new(stream: S, life: Arc<Life>, patience: Patience, permit: OwnedSemaphorePermit) -> Self {
        metrics::gauge!(CONNECTIONS_OPEN).increment(1);
        let timer = Box::pin(sleep_until(life.began + patience.shortest()));
        Self { stream, life, patience, head: None, stalled: None, timer, _permit: permit }
    }

    /// When the patience ends, and with what.
    fn due(&self) -> Option<(Instant, &'static str)> {
        if let Some(stalled) = self.stalled {
            return Some((stalled + self.patience.write, "write"));
        }
        if self.life.upgraded.load(Ordering::Relaxed) {
            // Whoever speaks on it looks after its silence.
            return None;
        }
        if !self.life.rests() {
            let waits_for_us = self.life.with_us.load(Ordering::Relaxed) > 0;
            return (!waits_for_us).then(|| (self.life.taken() + self.patience.write, "write"));
        }
        let requests = self.life.requests.load(Ordering::Relaxed);
        if requests == 0 {
            return Some((self.life.began + self.patience.header, "header"));
        }
        // Over HTTP/2 bytes between two requests need not be the next one.
        let http2 = self.life.http2.load(Ordering::Relaxed);
        match self.head.filter(|(after, _)| *after == requests && !http2) {
            Some((_, began)) => Some((began + self.patience.header, "header")),
            None => Some((self.life.taken() + self.patience.idle, "idle")),
        }
    }

    /// Ends when the patience has; called whenever the client lets the connection wait.
    fn poll_expired(&mut self, context: &mut Context<'_>) -> Poll<io::Error> {
        loop {
            ready!(self.timer.as_mut().poll(context));
            let (now, due) = (Instant::now(), self.due());
            if let Some((at, reason)) = due
                && at <= now
            {
                metrics::counter!(CONNECTIONS_EXPIRED, "reason" => reason).increment(1);
                return Poll::Ready(io::ErrorKind::TimedOut.into());
            }
            let look = now + self.patience.shortest();
            self.timer.as_mut().reset(due.map_or(look, |(at, _)| at.min(look)));
        }
    }

    fn note_read(&mut self) {
        let requests = self.life.requests.load(Ordering::Relaxed);
        if self.life.rests() && self.head.is_none_or(|(after, _)| after != requests) {
            self.head = Some((requests, Instant::now()));
        }
    }

    /// The last piece of an answer may be long, and is taken bit by bit.
    fn note_written(&self, sent: &Poll<io::Result<usize>>) {
        if sent.is_ready() && self.life.rests() {
            self.life.note_taken();
        }
    }

    /// Whether what is to be sent gets on.
    fn note_sent<T>(&mut self, context: &mut Context<'_>, sent: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if sent.is_ready() {
            self.stalled = None;
            return sent;
        }
        self.stalled.get_or_insert_with(Instant::now);
        self.poll_expired(context).map(Err)
    }
}

impl Patience {
    fn shortest(&self) -> Duration {
        self.header.min(self.idle).min(self.write)
    }
}

impl<S> Drop for Watched<S> {
    fn drop(&mut self) {
        metrics::gauge!(CONNECTIONS_OPEN).decrement(1);
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        match Pin::new(&mut self.stream).poll_read(context, buffer) {
            Poll::Pending => self.poll_expired(context).map(Err),
            Poll::Ready(outcome) => {
                if buffer.filled().len() > before {
                    self.note_read();
                }
                Poll::Ready(outcome)
            }
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let sent = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.note_written(&sent);
        self.note_sent(context, sent)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let sent = Pin::new(&mut self.stream).poll_write_vectored(context, pieces);
        self.note_written(&sent);
        self.note_sent(context, sent)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let sent = Pin::new(&mut self.stream).poll_flush(context);
        self.note_sent(context, sent)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let sent = Pin::new(&mut self.stream).poll_shutdown(context);
        self.note_sent(context, sent)
    }
}
