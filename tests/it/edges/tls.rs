//! TLS, and HTTP/2 with and without it.

use std::{
    net::SocketAddr,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{
    body::Body,
    http::{HeaderValue, Request, Version},
};
use hub::{api, config::Edge, listener::Connections};
use hub_tests::kit::{directory, eventually};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::{ClientConfig, RootCertStore, pki_types::ServerName};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use super::{SOON, Served, edge, routes, to_the_end};

/// A new certificate for `localhost`, written to two files of the directory.
fn certificate(directory: &Path) -> CertifiedKey<rcgen::KeyPair> {
    let made = generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    std::fs::write(directory.join("key.pem"), made.signing_key.serialize_pem()).unwrap();
    std::fs::write(directory.join("certificate.pem"), made.cert.pem()).unwrap();
    made
}

fn tls_settings(directory: &Path) -> [(&'static str, String); 2] {
    let path = |name: &str| directory.join(name).to_str().unwrap().to_owned();
    [("tls_certificate_file", path("certificate.pem")), ("tls_key_file", path("key.pem"))]
}

fn tls_edge(directory: &Path) -> Edge {
    let settings = tls_settings(directory);
    edge(&settings.iter().map(|(name, value)| (*name, value.as_str())).collect::<Vec<_>>())
}

async fn tls(
    address: SocketAddr,
    trusted: &CertifiedKey<rcgen::KeyPair>,
    protocol: &[u8],
) -> std::io::Result<TlsStream<TcpStream>> {
    let mut roots = RootCertStore::empty();
    roots.add(trusted.cert.der().clone()).unwrap();
    let mut config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![protocol.to_vec()];
    let connection = TcpStream::connect(address).await?;
    TlsConnector::from(Arc::new(config)).connect(ServerName::try_from("localhost").unwrap(), connection).await
}

#[tokio::test]
async fn tls_speaks_both_versions_of_http_and_takes_a_new_certificate() {
    let files = directory();
    let first = certificate(files.path());
    let edge = tls_edge(files.path());
    let served = Served::new(&edge, api::layers(&edge).wrap(routes())).await;

    let stream = tls(served.address, &first, b"h2").await.unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    let (mut requests, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    let connection = tokio::spawn(connection);
    for _ in 0..3 {
        let request = Request::get("https://localhost/peer").body(Body::empty()).unwrap();
        let response = timeout(SOON, requests.send_request(request)).await.unwrap().unwrap();
        assert_eq!((response.status().as_u16(), response.version()), (200, Version::HTTP_2));
        assert_eq!(response.headers()["strict-transport-security"], HeaderValue::from_static("max-age=31536000"));
    }
    drop(requests);
    timeout(SOON, connection).await.unwrap().unwrap().unwrap();

    let mut stream = tls(served.address, &first, b"http/1.1").await.unwrap();
    stream.write_all(b"GET /ok HTTP/1.1\r\nhost: hub\r\nconnection: close\r\n\r\n").await.unwrap();
    let mut text = Vec::new();
    timeout(SOON, stream.read_to_end(&mut text)).await.unwrap().unwrap();
    assert!(text.starts_with(b"HTTP/1.1 200"));

    let mut plain = served.connect().await;
    plain.write_all(b"GET /ok HTTP/1.1\r\nhost: hub\r\n\r\n").await.unwrap();
    assert!(!to_the_end(&mut plain).await.starts_with(b"HTTP/"), "nothing is said in clear");

    // A file that cannot be used changes nothing; a new pair is taken.
    std::fs::write(files.path().join("certificate.pem"), "nonsense").unwrap();
    assert!(tls(served.address, &first, b"h2").await.is_ok());
    let second = certificate(files.path());
    eventually(SOON, async || tls(served.address, &second, b"h2").await.ok()).await;
    assert!(tls(served.address, &first, b"h2").await.is_err());
    served.stop().await;
}

#[tokio::test]
async fn a_certificate_that_cannot_be_used_is_named() {
    let files = directory();
    let refused = || format!("{:#}", Connections::new(&tls_edge(files.path())).unwrap_err());
    let message = refused();
    assert!(message.contains("tls_certificate_file") && message.contains("certificate.pem"), "{message}");
    certificate(files.path());
    let other = generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let key = files.path().join("key.pem");
    std::fs::write(&key, other.signing_key.serialize_pem()).unwrap();
    let message = refused();
    assert!(message.contains("cannot be used together") && message.contains("key.pem"), "{message}");
    std::fs::write(&key, "-----BEGIN PRIVATE KEY-----\nc2VjcmV0\n").unwrap();
    let message = refused();
    assert!(message.contains("tls_key_file") && !message.contains("c2VjcmV0"), "{message}");
    certificate(files.path());
    assert!(Connections::new(&tls_edge(files.path())).is_ok());
}

#[tokio::test]
async fn http2_is_spoken_without_tls_as_well_and_may_rest() {
    let served = Served::small(&[("header_timeout_seconds", "1"), ("idle_timeout_seconds", "3")]).await;
    let connection = TokioIo::new(served.connect().await);
    let (mut requests, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), connection).await.unwrap();
    let connection = tokio::spawn(connection);
    let request = Request::get("http://hub/ok").body(Body::empty()).unwrap();
    assert_eq!(timeout(SOON, requests.send_request(request)).await.unwrap().unwrap().status(), 200);
    let began = Instant::now();
    timeout(SOON, connection).await.expect("it ends").unwrap().ok();
    assert!(began.elapsed() >= Duration::from_millis(2_900), "{:?}", began.elapsed());
    served.stop().await;
}
