//! The listener of the API: connections within bounds, TLS if it has a certificate, HTTP/1.1 and HTTP/2, and an end in order.
//!
//! axum-server accepts and serves; the gate in front of it counts connections and puts each under watch (`watched.rs`). The timeouts are
//! kept by the watch and not by hyper, whose header timeout also ends connections that only rest between two requests, and does not see
//! those that never send a first byte.

mod tls;
mod watched;

use std::{fmt, io, net::SocketAddr, pin::Pin, sync::Arc, time::Duration};

use anyhow::Context as _;
use axum::{Router, extract::ConnectInfo, middleware::AddExtension};
use axum_server::{
    Handle, Server,
    accept::{Accept, DefaultAcceptor},
    tls_rustls::RustlsAcceptor,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    sync::Semaphore,
};
use tokio_util::sync::CancellationToken;

use self::{
    tls::Tls,
    watched::{Counted, Life, Patience, Watched},
};
use crate::config;

/// Gauge of the connections that are open.
pub const CONNECTIONS_OPEN: &str = "hub_connections_open";

/// Counter of the connections that were closed at once because too many were open.
pub const CONNECTIONS_REFUSED: &str = "hub_connections_refused_total";

/// Counter of the connections that were closed for being slow, by reason: `header`, `idle`, `write`.
pub const CONNECTIONS_EXPIRED: &str = "hub_connections_expired_total";

/// Counter of the TLS handshakes that failed or took too long.
pub const HANDSHAKES_FAILED: &str = "hub_tls_handshakes_failed_total";

/// A TLS handshake may take so long.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// What the head of a request may take in memory before it is refused without being looked at. Smaller ones that are still too large
/// get a problem from the layers.
const HEAD_BYTES_MAX: u32 = 64 * 1024;

/// Requests of one HTTP/2 connection at the same time.
const STREAMS_MAX: u32 = 128;

/// Tells the metrics recorder what the metrics of this module are.
pub fn describe_metrics() {
    metrics::describe_gauge!(CONNECTIONS_OPEN, "Connections to the API that are open.");
    metrics::describe_counter!(CONNECTIONS_REFUSED, "Connections closed at once because too many were open.");
    metrics::describe_counter!(CONNECTIONS_EXPIRED, "Connections closed for being slow, by reason.");
    metrics::describe_counter!(HANDSHAKES_FAILED, "TLS handshakes that failed or took too long.");
}

/// What connections are held to, with the certificate read; cheap to clone.
#[derive(Clone)]
pub struct Connections {
    patience: Patience,
    permits: Arc<Semaphore>,
    tls: Option<Tls>,
}

impl fmt::Debug for Connections {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Connections").field("patience", &self.patience).finish_non_exhaustive()
    }
}

impl Connections {
    /// Takes the bounds from the settings and reads the certificate, if there is one.
    ///
    /// # Errors
    /// When the certificate or its key cannot be read, or they do not belong together.
    pub fn new(edge: &config::Edge) -> anyhow::Result<Self> {
        let patience = Patience { header: edge.header_timeout, idle: edge.idle_timeout, write: edge.write_timeout };
        let tls = edge.tls.as_ref().map(Tls::read).transpose()?;
        Ok(Self { patience, permits: Arc::new(Semaphore::new(edge.connections_max)), tls })
    }

    /// `https` with a certificate, else `http`.
    #[must_use]
    pub fn scheme(&self) -> &'static str {
        if self.tls.is_some() { "https" } else { "http" }
    }

    /// Serves until `shutdown`; then accepts nothing more and returns when every connection has ended its requests, for which the
    /// caller has a limit.
    ///
    /// # Errors
    /// When the listener fails.
    pub async fn serve(self, listener: TcpListener, router: Router, shutdown: CancellationToken) -> anyhow::Result<()> {
        match self.tls.clone() {
            Some(tls) => {
                let acceptor = RustlsAcceptor::new(tls.config()).handshake_timeout(HANDSHAKE_TIMEOUT);
                tokio::select! {
                    outcome = self.serve_with(acceptor, listener, router, shutdown) => outcome,
                    () = tls.follow() => Ok(()),
                }
            }
            None => self.serve_with(DefaultAcceptor::new(), listener, router, shutdown).await,
        }
    }

    async fn serve_with<A>(
        self,
        inner: A,
        listener: TcpListener,
        router: Router,
        shutdown: CancellationToken,
    ) -> anyhow::Result<()>
    where
        A: Accept<TcpStream, Service, Service = Service> + Clone + Send + Sync + 'static,
        A::Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static,
        A::Future: Send + 'static,
    {
        let handle = Handle::<SocketAddr>::new();
        let gate = Gate { inner, patience: self.patience, permits: self.permits, shutdown: shutdown.clone() };
        let mut server = Server::<SocketAddr>::from_listener(listener).handle(handle.clone()).acceptor(gate);
        let builder = server.http_builder();
        builder.http1().max_buf_size(HEAD_BYTES_MAX as usize);
        builder.http2().max_header_list_size(HEAD_BYTES_MAX).max_concurrent_streams(STREAMS_MAX);
        let serving = server.serve(router.into_make_service_with_connect_info::<SocketAddr>());
        tokio::pin!(serving);
        let outcome = tokio::select! {
            outcome = &mut serving => outcome,
            () = shutdown.cancelled() => {
                handle.graceful_shutdown(None);
                serving.await
            }
        };
        outcome.context("the API listener failed")
    }
}

/// What axum makes of the router for each connection.
type Service = AddExtension<Router, ConnectInfo<SocketAddr>>;

/// Lets connections in while there is room, and puts each under watch.
#[derive(Clone, Debug)]
struct Gate<A> {
    inner: A,
    patience: Patience,
    permits: Arc<Semaphore>,
    shutdown: CancellationToken,
}

impl<A, S> Accept<TcpStream, S> for Gate<A>
where
    A: Accept<TcpStream, S>,
    A::Future: Send + 'static,
    A::Stream: Send + 'static,
    A::Service: Send + 'static,
    S: Send + 'static,
{
    type Stream = Watched<A::Stream>;
    type Service = Counted<A::Service>;
    type Future = Pin<Box<dyn Future<Output = io::Result<(Self::Stream, Self::Service)>> + Send>>;

    fn accept(&self, stream: TcpStream, service: S) -> Self::Future {
        let Ok(permit) = Arc::clone(&self.permits).try_acquire_owned() else {
            metrics::counter!(CONNECTIONS_REFUSED).increment(1);
            return Box::pin(std::future::ready(Err(io::Error::other("too many connections are open"))));
        };
        // Without it an answer is only later.
        stream.set_nodelay(true).ok();
        let accepting = self.inner.accept(stream, service);
        let (patience, shutdown) = (self.patience, self.shutdown.clone());
        Box::pin(async move {
            let accepted = tokio::select! {
                accepted = accepting => accepted,
                // Nobody waits for half a handshake.
                () = shutdown.cancelled() => return Err(io::ErrorKind::ConnectionAborted.into()),
            };
            let (stream, service) = accepted.inspect_err(|error| {
                metrics::counter!(HANDSHAKES_FAILED).increment(1);
                tracing::debug!(%error, "a TLS handshake failed");
            })?;
            let life = Arc::new(Life::default());
            Ok((Watched::new(stream, Arc::clone(&life), patience, permit), Counted::new(service, life)))
        })
    }
}
