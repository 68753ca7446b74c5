//! The settings of what stands between the network and the handlers. Described in `docs/guides/edges.md`.

use std::{path::PathBuf, time::Duration};

use hub_http::{Limit, ProxyHeader, Rates, TrustedProxies};
use ipnet::IpNet;

use super::{Error, Sources, parsed, path};

/// Most networks of proxies, and most origins.
const LIST_MAX: usize = 64;

/// Largest bound on how far back readers may begin.
const HISTORY_MAX: i64 = 1_000_000_000_000;

/// Largest rate and burst.
const RATE_MAX: u32 = 10_000_000;

/// The settings as flags.
#[derive(Clone, Debug, Default, clap::Args)]
#[command(next_help_heading = "At the edge")]
pub struct EdgeFlags {
    /// Longest request body in bytes, 1024 to 16777216 [env: HUB_BODY_BYTES_MAX] [default: 65536]
    #[arg(long, global = true, value_name = "BYTES")]
    pub body_bytes_max: Option<String>,
    /// Seconds for a request body to arrive, 1 to 300 [env: HUB_BODY_TIMEOUT_SECONDS] [default: 10]
    #[arg(long, global = true, value_name = "SECONDS")]
    pub body_timeout_seconds: Option<String>,
    /// Most open connections, 1 to 1000000 [env: HUB_CONNECTIONS_MAX] [default: 4096]
    #[arg(long, global = true, value_name = "NUMBER")]
    pub connections_max: Option<String>,
    /// Origins whose pages may read answers, with commas between [env: HUB_CORS_ALLOWED_ORIGINS] [default: none]
    #[arg(long, global = true, value_name = "ORIGINS")]
    pub cors_allowed_origins: Option<String>,
    /// All headers of a request together in bytes, 1024 to 32768 [env: HUB_HEADER_BYTES_MAX] [default: 16384]
    #[arg(long, global = true, value_name = "BYTES")]
    pub header_bytes_max: Option<String>,
    /// Seconds for the headers of a request to arrive, 1 to 300 [env: HUB_HEADER_TIMEOUT_SECONDS] [default: 10]
    #[arg(long, global = true, value_name = "SECONDS")]
    pub header_timeout_seconds: Option<String>,
    /// Seconds a connection stays open between requests, 1 to 3600 [env: HUB_IDLE_TIMEOUT_SECONDS] [default: 75]
    #[arg(long, global = true, value_name = "SECONDS")]
    pub idle_timeout_seconds: Option<String>,
    /// Where trusted proxies name the client: x-forwarded-for or forwarded [env: HUB_PROXY_HEADER] [default: x-forwarded-for]
    #[arg(long, global = true, value_name = "HEADER")]
    pub proxy_header: Option<String>,
    /// Failed logins of one address at once [env: HUB_RATE_LIMIT_FAILED_LOGINS_BURST] [default: twice the rate]
    #[arg(long, global = true, value_name = "NUMBER")]
    pub rate_limit_failed_logins_burst: Option<String>,
    /// Failed logins of one address in a second, 0 for no limit [env: HUB_RATE_LIMIT_FAILED_LOGINS_PER_SECOND] [default: 50]
    #[arg(long, global = true, value_name = "NUMBER")]
    pub rate_limit_failed_logins_per_second: Option<String>,
    /// Requests of one principal at once [env: HUB_RATE_LIMIT_PRINCIPAL_BURST] [default: twice the rate]
    #[arg(long, global = true, value_name = "NUMBER")]
    pub rate_limit_principal_burst: Option<String>,
    /// Requests of one principal in a second, 0 for no limit [env: HUB_RATE_LIMIT_PRINCIPAL_PER_SECOND] [default: 2000]
    #[arg(long, global = true, value_name = "NUMBER")]
    pub rate_limit_principal_per_second: Option<String>,
    /// Requests for one tenant at once [env: HUB_RATE_LIMIT_TENANT_BURST] [default: twice the rate]
    #[arg(long, global = true, value_name = "NUMBER")]
    pub rate_limit_tenant_burst: Option<String>,
    /// Requests for one tenant in a second, 0 for no limit [env: HUB_RATE_LIMIT_TENANT_PER_SECOND] [default: 5000]
    #[arg(long, global = true, value_name = "NUMBER")]
    pub rate_limit_tenant_per_second: Option<String>,
    /// Seconds until an answer must have begun, 1 to 300 [env: HUB_REQUEST_TIMEOUT_SECONDS] [default: 30]
    #[arg(long, global = true, value_name = "SECONDS")]
    pub request_timeout_seconds: Option<String>,
    /// Events before the end of a tenant's log from which on readers may begin, 1 to 1000000000000 [env: HUB_STREAM_HISTORY_MAX] [default: all]
    #[arg(long, global = true, value_name = "NUMBER")]
    pub stream_history_max: Option<String>,
    /// Most open event streams, 1 to 1000000 [env: HUB_STREAMS_MAX] [default: 4000]
    #[arg(long, global = true, value_name = "NUMBER")]
    pub streams_max: Option<String>,
    /// Most open event streams of one tenant, 1 to 1000000 [env: HUB_STREAMS_OF_TENANT_MAX] [default: 2000]
    #[arg(long, global = true, value_name = "NUMBER")]
    pub streams_of_tenant_max: Option<String>,
    /// Certificate chain in PEM; with it the API speaks TLS only [env: HUB_TLS_CERTIFICATE_FILE] [default: none]
    #[arg(long, global = true, value_name = "FILE")]
    pub tls_certificate_file: Option<String>,
    /// Private key of the certificate in PEM [env: HUB_TLS_KEY_FILE] [default: none]
    #[arg(long, global = true, value_name = "FILE")]
    pub tls_key_file: Option<String>,
    /// Networks of proxies that may say whom they speak for, with commas between [env: HUB_TRUSTED_PROXIES] [default: none]
    #[arg(long, global = true, value_name = "NETWORKS")]
    pub trusted_proxies: Option<String>,
    /// Path and query of a request in bytes, 256 to 32768 [env: HUB_URI_BYTES_MAX] [default: 8192]
    #[arg(long, global = true, value_name = "BYTES")]
    pub uri_bytes_max: Option<String>,
    /// Seconds that a client may take nothing of an answer, 1 to 300 [env: HUB_WRITE_TIMEOUT_SECONDS] [default: 30]
    #[arg(long, global = true, value_name = "SECONDS")]
    pub write_timeout_seconds: Option<String>,
}

impl EdgeFlags {
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        let flag = match name {
            "body_bytes_max" => &self.body_bytes_max,
            "body_timeout_seconds" => &self.body_timeout_seconds,
            "connections_max" => &self.connections_max,
            "cors_allowed_origins" => &self.cors_allowed_origins,
            "header_bytes_max" => &self.header_bytes_max,
            "header_timeout_seconds" => &self.header_timeout_seconds,
            "idle_timeout_seconds" => &self.idle_timeout_seconds,
            "proxy_header" => &self.proxy_header,
            "rate_limit_failed_logins_burst" => &self.rate_limit_failed_logins_burst,
            "rate_limit_failed_logins_per_second" => &self.rate_limit_failed_logins_per_second,
            "rate_limit_principal_burst" => &self.rate_limit_principal_burst,
            "rate_limit_principal_per_second" => &self.rate_limit_principal_per_second,
            "rate_limit_tenant_burst" => &self.rate_limit_tenant_burst,
            "rate_limit_tenant_per_second" => &self.rate_limit_tenant_per_second,
            "request_timeout_seconds" => &self.request_timeout_seconds,
            "stream_history_max" => &self.stream_history_max,
            "streams_max" => &self.streams_max,
            "streams_of_tenant_max" => &self.streams_of_tenant_max,
            "tls_certificate_file" => &self.tls_certificate_file,
            "tls_key_file" => &self.tls_key_file,
            "trusted_proxies" => &self.trusted_proxies,
            "uri_bytes_max" => &self.uri_bytes_max,
            "write_timeout_seconds" => &self.write_timeout_seconds,
            _ => return None,
        };
        flag.as_deref()
    }
}

/// What stands between the network and the handlers.
#[derive(Clone, Debug)]
pub struct Edge {
    /// Longest request body in bytes.
    pub body_bytes_max: usize,
    /// For a request body to arrive.
    pub body_timeout: Duration,
    /// Most open connections.
    pub connections_max: usize,
    /// Origins whose pages may read answers, as browsers write them.
    pub cors_allowed_origins: Vec<String>,
    /// All headers of a request together, in bytes.
    pub header_bytes_max: usize,
    /// For the headers of a request to arrive.
    pub header_timeout: Duration,
    /// Between two requests of a connection.
    pub idle_timeout: Duration,
    /// How much may be asked in a time.
    pub rates: Rates,
    /// Until an answer must have begun.
    pub request_timeout: Duration,
    /// So many events before the end of a tenant's log readers may begin at most; `None` for anywhere.
    pub stream_history_max: Option<i64>,
    /// Most open event streams.
    pub streams_max: usize,
    /// Most open event streams of one tenant.
    pub streams_of_tenant_max: usize,
    /// Certificate chain and key, when the API speaks TLS.
    pub tls: Option<TlsFiles>,
    /// Who may say whom he speaks for.
    pub trusted_proxies: TrustedProxies,
    /// Path and query of a request, in bytes.
    pub uri_bytes_max: usize,
    /// For a client that takes nothing of an answer.
    pub write_timeout: Duration,
}

/// Where the certificate is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// PEM, the server's own first.
    pub certificate: PathBuf,
    /// PEM.
    pub key: PathBuf,
}

impl Edge {
    pub(super) fn from_sources(sources: &Sources<'_>) -> Result<Self, Error> {
        Ok(Self {
            body_bytes_max: sources.number(
                "body_bytes_max",
                "a number from 1024 to 16777216",
                1_024,
                16 << 20,
                65_536,
            )?,
            body_timeout: sources.seconds("body_timeout_seconds", "a number from 1 to 300", 300, 10)?,
            connections_max: sources.number("connections_max", "a number from 1 to 1000000", 1, 1_000_000, 4_096)?,
            cors_allowed_origins: sources
                .get("cors_allowed_origins", "a list of origins such as https://console.example", |text| {
                    list(text, origin)
                })?
                .unwrap_or_default(),
            header_bytes_max: sources.number(
                "header_bytes_max",
                "a number from 1024 to 32768",
                1_024,
                32_768,
                16_384,
            )?,
            header_timeout: sources.seconds("header_timeout_seconds", "a number from 1 to 300", 300, 10)?,
            idle_timeout: sources.seconds("idle_timeout_seconds", "a number from 1 to 3600", 3_600, 75)?,
            rates: rates(sources)?,
            request_timeout: sources.seconds("request_timeout_seconds", "a number from 1 to 300", 300, 30)?,
            stream_history_max: sources.get("stream_history_max", "a number from 1 to 1000000000000", |text| {
                parsed(text).filter(|number| (1..=HISTORY_MAX).contains(number))
            })?,
            streams_max: sources.number("streams_max", "a number from 1 to 1000000", 1, 1_000_000, 4_000)?,
            streams_of_tenant_max: sources.number(
                "streams_of_tenant_max",
                "a number from 1 to 1000000",
                1,
                1_000_000,
                2_000,
            )?,
            tls: tls(sources)?,
            trusted_proxies: TrustedProxies {
                networks: sources
                    .get("trusted_proxies", "a list of networks such as 10.0.0.0/8", |text| list(text, network))?
                    .unwrap_or_default(),
                header: sources.get("proxy_header", "x-forwarded-for or forwarded", proxy_header)?.unwrap_or_default(),
            },
            uri_bytes_max: sources.number("uri_bytes_max", "a number from 256 to 32768", 256, 32_768, 8_192)?,
            write_timeout: sources.seconds("write_timeout_seconds", "a number from 1 to 300", 300, 30)?,
        })
    }
}

impl Sources<'_> {
    fn number(
        &self,
        name: &'static str,
        expected: &'static str,
        least: usize,
        most: usize,
        default: usize,
    ) -> Result<usize, Error> {
        let read = |text: &str| parsed(text).filter(|number| (least..=most).contains(number));
        Ok(self.get(name, expected, read)?.unwrap_or(default))
    }

    fn seconds(
        &self,
        name: &'static str,
        expected: &'static str,
        most: usize,
        default: usize,
    ) -> Result<Duration, Error> {
        self.number(name, expected, 1, most, default).map(|seconds| Duration::from_secs(seconds as u64))
    }

    fn limit(&self, rate: &'static str, burst: &'static str, default: u32) -> Result<Limit, Error> {
        let number = |least: u32| move |text: &str| parsed(text).filter(|number| (least..=RATE_MAX).contains(number));
        let per_second = self.get(rate, "a number from 0 to 10000000", number(0))?.unwrap_or(default);
        let burst = self.get(burst, "a number from 1 to 10000000", number(1))?;
        Ok(Limit { per_second, burst: burst.unwrap_or(per_second.saturating_mul(2).max(1)) })
    }
}

fn rates(sources: &Sources<'_>) -> Result<Rates, Error> {
    let default = Rates::default();
    Ok(Rates {
        principal: sources.limit(
            "rate_limit_principal_per_second",
            "rate_limit_principal_burst",
            default.principal.per_second,
        )?,
        tenant: sources.limit("rate_limit_tenant_per_second", "rate_limit_tenant_burst", default.tenant.per_second)?,
        failed_logins: sources.limit(
            "rate_limit_failed_logins_per_second",
            "rate_limit_failed_logins_burst",
            default.failed_logins.per_second,
        )?,
    })
}

/// Both files or neither.
fn tls(sources: &Sources<'_>) -> Result<Option<TlsFiles>, Error> {
    let certificate = sources.get("tls_certificate_file", "a path", path)?;
    let key = sources.get("tls_key_file", "a path", path)?;
    match (certificate, key) {
        (Some(certificate), Some(key)) => Ok(Some(TlsFiles { certificate, key })),
        (None, None) => Ok(None),
        (Some(_), None) => Err(Error::Missing { key: "tls_key_file", with: "tls_certificate_file" }),
        (None, Some(_)) => Err(Error::Missing { key: "tls_certificate_file", with: "tls_key_file" }),
    }
}

/// The pieces between commas; an empty text is an empty list.
fn list<T>(text: &str, read: impl Fn(&str) -> Option<T>) -> Option<Vec<T>> {
    let pieces = text.split(',').map(str::trim).filter(|piece| !piece.is_empty());
    let list = pieces.map(read).collect::<Option<Vec<_>>>()?;
    (list.len() <= LIST_MAX).then_some(list)
}

/// A network, or one address.
fn network(text: &str) -> Option<IpNet> {
    text.parse().ok().or_else(|| text.parse().ok().map(|address: std::net::IpAddr| IpNet::from(address)))
}

/// An origin exactly as browsers write it: scheme and host in small letters, no path, and nothing that stands for several.
fn origin(text: &str) -> Option<String> {
    let host = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"))?;
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b".-:[]".contains(&byte);
    (!host.is_empty() && host.bytes().all(plain)).then(|| text.to_owned())
}

fn proxy_header(text: &str) -> Option<ProxyHeader> {
    match text {
        "x-forwarded-for" => Some(ProxyHeader::XForwardedFor),
        "forwarded" => Some(ProxyHeader::Forwarded),
        _ => None,
    }
}
