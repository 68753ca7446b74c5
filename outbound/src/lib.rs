//! HTTP requests to URLs that tenants choose: over TLS, to public addresses only, and with a bound on everything.
//!
//! The name is resolved once, every address of the answer is checked, and the connection goes to one that was checked, so
//! a name that changes its mind in between leads nowhere. There are no redirects, no proxies and no connections that several
//! owners share; whoever wants a redirect followed asks again with its own judgement. It speaks HTTP/1.1 through `hyper`:
//! `reqwest` would pin addresses per client, and with its TLS switched on but without aws-lc every other
//! client of the program panics unless a default provider of cryptography has been installed before.

mod address;
mod connection;

use std::{
    fmt, io,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use futures::future::BoxFuture;
use http::{HeaderMap, Method, Response};
use rustls::{ClientConfig, RootCertStore, pki_types::ServerName};
use tokio::{
    net::{TcpStream, lookup_host},
    time::timeout,
};
use tokio_rustls::TlsConnector;
use url::{Host, Url};

pub use crate::connection::{Answer, Connection};

/// Longest URL, in bytes.
pub const URL_BYTES_MAX: usize = 2048;

/// Most addresses of a name that are looked at; a name with more is refused, since all are checked.
const ADDRESSES_MAX: usize = 16;

/// For how long one address is tried before the next.
const CONNECT_TIME_MAX: Duration = Duration::from_secs(2);

/// For how long a name is looked up before its URL is taken as one that cannot be resolved yet.
const RESOLVE_TIME_MAX: Duration = Duration::from_secs(2);

/// Where requests may go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// `https` to public addresses.
    Public,
    /// Besides, `http` without TLS to public addresses.
    PublicWithoutTls,
    /// Besides, this machine itself, and `http` without TLS. For development and tests.
    PublicAndLoopback,
}

/// How the addresses of a name are found; every one of them is checked by whoever asks.
pub type Resolve = Arc<dyn Fn(String) -> BoxFuture<'static, io::Result<Vec<IpAddr>>> + Send + Sync>;

/// What an exchange may take.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// For all of it: the name, the connection, the request and the answer.
    pub time: Duration,
    /// Of the answer's body; a longer one is not read to its end.
    pub body_bytes_max: usize,
}

/// A request. `Host`, `Connection` and the length are set by the sending.
#[derive(Clone, Debug)]
pub struct Request {
    /// What to do.
    pub method: Method,
    /// Where; a fragment is left out.
    pub url: Url,
    /// Those of the caller's own.
    pub headers: HeaderMap,
    /// All of it; empty for none.
    pub body: Bytes,
}

impl Request {
    /// A GET without headers.
    pub fn get(url: Url) -> Self {
        Self { method: Method::GET, url, headers: HeaderMap::new(), body: Bytes::new() }
    }
}

/// Why there is no answer. Never contains the path or the query of a URL, which may be secrets of whoever chose it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The URL itself is not one that is asked.
    #[error("the URL {0}")]
    Url(&'static str),
    /// The name cannot be resolved, or has no address or too many.
    #[error("the name cannot be resolved: {0}")]
    Name(String),
    /// One of the name's addresses is not public.
    #[error("the address is not public: {0}")]
    Address(&'static str),
    /// None of the addresses takes a connection.
    #[error("no connection: {0}")]
    Connect(io::Error),
    /// No TLS with a certificate that is trusted for the name.
    #[error("no TLS connection: {0}")]
    Tls(io::Error),
    /// The server does not speak HTTP, or stopped amid its answer.
    #[error("no answer: {0}")]
    Exchange(String),
    /// The body of the answer is longer than it may be.
    #[error("the answer is too long")]
    TooLong,
    /// It took longer than it may.
    #[error("no answer in time")]
    Time,
}

/// Sends requests. Cloning it is cheap.
#[derive(Clone)]
pub struct Outbound {
    reach: Reach,
    resolve: Resolve,
    tls: Arc<ClientConfig>,
}

impl fmt::Debug for Outbound {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Outbound").field("reach", &self.reach).finish_non_exhaustive()
    }
}

/// A URL that has been looked at: whom to connect to, and how.
struct Target {
    host: Host<String>,
    port: u16,
    tls: bool,
}

impl Outbound {
    /// Requests within `reach`, with the system's resolver, trusting the certificates that the system trusts.
    pub fn new(reach: Reach) -> Self {
        Self { reach, resolve: Arc::new(|name| Box::pin(system_addresses(name))), tls: tls(system_roots()) }
    }

    /// The same with another way to resolve names.
    #[must_use]
    pub fn resolving_with(self, resolve: Resolve) -> Self {
        Self { resolve, ..self }
    }

    /// The same trusting these certificates and no others.
    #[must_use]
    pub fn trusting(self, roots: RootCertStore) -> Self {
        Self { tls: tls(roots), ..self }
    }

    /// Whether `url` can be asked at all, as far as that is seen without resolving its name: what a command that takes a URL
    /// checks. The name's addresses are checked each time it is asked.
    pub fn check(&self, url: &Url) -> Result<(), Error> {
        let target = self.target(url)?;
        match target.host {
            Host::Domain(_) => Ok(()),
            Host::Ipv4(address) => self.check_address(address.into()),
            Host::Ipv6(address) => self.check_address(address.into()),
        }
    }

    /// Sends a request and reads the answer, whatever its status; redirects are answers like any other.
    pub async fn send(&self, request: Request, limits: Limits) -> Result<Response<Bytes>, Error> {
        timeout(limits.time, self.exchange(request, limits.body_bytes_max)).await.map_err(|_| Error::Time)?
    }

    async fn exchange(&self, request: Request, body_bytes_max: usize) -> Result<Response<Bytes>, Error> {
        let mut connection = self.open(&request.url).await?;
        let answer = connection.exchange(request, body_bytes_max, false).await?;
        if answer.truncated { Err(Error::TooLong) } else { Ok(answer.response) }
    }

    /// A connection to where `url` leads, whose address has been checked. The caller bounds the time.
    pub async fn open(&self, url: &Url) -> Result<Connection, Error> {
        let target = self.target(url)?;
        let stream = connect(&self.addresses(&target).await?).await?;
        // Requests are small and written at once; waiting for more only delays them.
        stream.set_nodelay(true).map_err(Error::Connect)?;
        if !target.tls {
            return Connection::over(stream).await;
        }
        let name = match target.host {
            Host::Domain(name) => ServerName::try_from(name).map_err(|_| Error::Url("has no valid host"))?,
            Host::Ipv4(address) => ServerName::from(IpAddr::V4(address)),
            Host::Ipv6(address) => ServerName::from(IpAddr::V6(address)),
        };
        Connection::over(TlsConnector::from(self.tls.clone()).connect(name, stream).await.map_err(Error::Tls)?).await
    }

    /// The same as [`Outbound::check`], and whether the name, as far as it can be resolved now, leads to public addresses only.
    /// A name that has no address yet passes.
    pub async fn check_resolved(&self, url: &Url) -> Result<(), Error> {
        self.check(url)?;
        let target = self.target(url)?;
        match timeout(RESOLVE_TIME_MAX, self.addresses(&target)).await {
            Ok(Err(error @ Error::Address(_))) => Err(error),
            Ok(_) | Err(_) => Ok(()),
        }
    }

    fn target(&self, url: &Url) -> Result<Target, Error> {
        if url.as_str().len() > URL_BYTES_MAX {
            return Err(Error::Url("is too long"));
        }
        let tls = match (url.scheme(), self.reach) {
            ("https", _) => true,
            ("http", Reach::PublicWithoutTls | Reach::PublicAndLoopback) => false,
            _ => return Err(Error::Url("is not https")),
        };
        if !url.username().is_empty() || url.password().is_some() {
            return Err(Error::Url("has a user"));
        }
        let host = url.host().ok_or(Error::Url("has no host"))?.to_owned();
        let port = url.port_or_known_default().filter(|port| *port != 0).ok_or(Error::Url("has no port"))?;
        Ok(Target { host, port, tls })
    }

    /// All addresses of the target, each of which may be connected to.
    async fn addresses(&self, target: &Target) -> Result<Vec<SocketAddr>, Error> {
        let addresses = match &target.host {
            Host::Ipv4(address) => vec![IpAddr::V4(*address)],
            Host::Ipv6(address) => vec![IpAddr::V6(*address)],
            Host::Domain(name) => (self.resolve)(name.clone()).await.map_err(|error| Error::Name(error.to_string()))?,
        };
        if addresses.is_empty() || addresses.len() > ADDRESSES_MAX {
            return Err(Error::Name(format!("it has {} addresses", addresses.len())));
        }
        for address in &addresses {
            self.check_address(*address)?;
        }
        Ok(addresses.into_iter().map(|address| SocketAddr::new(address, target.port)).collect())
    }

    fn check_address(&self, address: IpAddr) -> Result<(), Error> {
        match address::refused(address) {
            Some(_) if self.reach == Reach::PublicAndLoopback && address::loopback(address) => Ok(()),
            Some(what) => Err(Error::Address(what)),
            None => Ok(()),
        }
    }
}

async fn system_addresses(name: String) -> io::Result<Vec<IpAddr>> {
    // One more than may be, so that a name with too many is known as one.
    Ok(lookup_host((name, 0)).await?.map(|address| address.ip()).take(ADDRESSES_MAX + 1).collect())
}

/// What the system trusts, or, where it has no such list (a bare container), what Mozilla does.
fn system_roots() -> RootCertStore {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if roots.is_empty() {
        roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
    }
    roots
}

fn tls(roots: RootCertStore) -> Arc<ClientConfig> {
    // The provider is named, since a process-wide default may not have been chosen.
    let mut config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("ring has the default versions of TLS")
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Arc::new(config)
}

/// A connection to the first address that takes one.
async fn connect(addresses: &[SocketAddr]) -> Result<TcpStream, Error> {
    let mut last = io::Error::from(io::ErrorKind::AddrNotAvailable);
    for address in addresses {
        match timeout(CONNECT_TIME_MAX, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(error)) => last = error,
            Err(_) => last = io::ErrorKind::TimedOut.into(),
        }
    }
    Err(Error::Connect(last))
}
