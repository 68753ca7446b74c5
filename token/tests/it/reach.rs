//! Where requests go, and where they do not.

use std::{
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::http::{HeaderValue, Method, StatusCode, header};
use bytes::Bytes;
use hub_token::outbound::{Error, Limits, Outbound, Reach, Request, Resolve};
use rcgen::CertifiedKey;
use rustls::{RootCertStore, ServerConfig, pki_types::PrivateKeyDer};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};
use tokio_rustls::TlsAcceptor;
use url::Url;

use crate::kit::{Server, Signer, World, key_set, verifier, verify_at};

const LIMITS: Limits = Limits { time: Duration::from_secs(5), body_bytes_max: 1000 };

fn url(text: &str) -> Url {
    Url::parse(text).unwrap()
}

/// Every name has these addresses; how often it was asked is counted.
fn resolve(addresses: &[&str]) -> (Resolve, Arc<AtomicUsize>) {
    let addresses: Vec<IpAddr> = addresses.iter().map(|text| text.parse().unwrap()).collect();
    let asked = Arc::new(AtomicUsize::new(0));
    let counted = asked.clone();
    let resolve = move |_| -> futures::future::BoxFuture<'static, _> {
        counted.fetch_add(1, Ordering::SeqCst);
        Box::pin(std::future::ready(Ok(addresses.clone())))
    };
    (Arc::new(resolve), asked)
}

async fn get(outbound: &Outbound, text: &str) -> Result<Bytes, Error> {
    Ok(outbound.send(Request::get(url(text)), LIMITS).await?.into_body())
}

/// Answers each connection with the same bytes, over TLS if there is a certificate; what was asked comes back first.
async fn raw(answer: &'static [u8], certificate: Option<&CertifiedKey<rcgen::KeyPair>>) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let acceptor = certificate.map(|certified| {
        let key = PrivateKeyDer::try_from(certified.signing_key.serialize_der()).unwrap();
        let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certified.cert.der().clone()], key);
        TlsAcceptor::from(Arc::new(config.unwrap()))
    });
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            match &acceptor {
                None => tokio::spawn(respond(stream, answer)),
                Some(acceptor) => {
                    let acceptor = acceptor.clone();
                    tokio::spawn(async move {
                        if let Ok(stream) = acceptor.accept(stream).await {
                            respond(stream, answer).await;
                        }
                    })
                }
            };
        }
    });
    port
}

async fn respond(mut stream: impl AsyncReadExt + AsyncWriteExt + Unpin, answer: &[u8]) {
    let mut request = [0; 4096];
    let _ = stream.read(&mut request).await;
    let _ = stream.write_all(answer).await;
    let _ = stream.shutdown().await;
}

fn certificate(name: &str) -> (CertifiedKey<rcgen::KeyPair>, RootCertStore) {
    let certified = rcgen::generate_simple_self_signed([name.to_owned()]).unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(certified.cert.der().clone()).unwrap();
    (certified, roots)
}

const HELLO: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";

#[tokio::test]
async fn a_trusted_certificate_for_the_name_is_a_connection() {
    let (certified, roots) = certificate("idp.example");
    let port = raw(HELLO, Some(&certified)).await;
    let (resolve, _) = resolve(&["127.0.0.1"]);
    let outbound = Outbound::new(Reach::PublicAndLoopback).resolving_with(resolve).trusting(roots);
    assert_eq!(get(&outbound, &format!("https://idp.example:{port}/keys")).await.unwrap(), "hello");
}

#[tokio::test]
async fn a_certificate_that_is_not_trusted_or_for_another_name_is_none() {
    let (certified, roots) = certificate("idp.example");
    let (_, other_roots) = certificate("idp.example");
    let port = raw(HELLO, Some(&certified)).await;
    let loopback = Outbound::new(Reach::PublicAndLoopback).resolving_with(resolve(&["127.0.0.1"]).0);
    for (outbound, host) in [
        (loopback.clone(), "idp.example"),
        (loopback.clone().trusting(other_roots), "idp.example"),
        (loopback.clone().trusting(RootCertStore::empty()), "idp.example"),
        (loopback.clone().trusting(roots.clone()), "other.example"),
        (loopback.trusting(roots), "127.0.0.1"),
    ] {
        let error = get(&outbound, &format!("https://{host}:{port}/keys")).await.unwrap_err();
        assert!(matches!(error, Error::Tls(_)), "{host}: {error}");
    }
}

#[tokio::test]
async fn tls_is_not_spoken_with_a_server_that_does_not() {
    let port = raw(HELLO, None).await;
    let outbound = Outbound::new(Reach::PublicAndLoopback);
    assert!(matches!(get(&outbound, &format!("https://127.0.0.1:{port}/")).await, Err(Error::Tls(_))));
}

#[tokio::test]
async fn a_name_with_one_private_address_is_refused_whatever_the_others_are() {
    let server = Server::start(String::new()).await;
    let port = server.url.port().unwrap();
    for addresses in [
        &["127.0.0.1"][..],
        &["1.1.1.1", "10.0.0.1"],
        &["10.0.0.1", "1.1.1.1"],
        &["2606:4700::1111", "::1"],
        &["169.254.169.254"],
        &["::ffff:169.254.169.254"],
        &["64:ff9b::a00:1"],
        &["fd00:ec2::254"],
    ] {
        let outbound = Outbound::new(Reach::Public).resolving_with(resolve(addresses).0);
        let error = get(&outbound, &format!("https://idp.example:{port}/")).await.unwrap_err();
        assert!(matches!(error, Error::Address(_)), "{addresses:?}: {error}");
    }
    assert_eq!(server.asked(), 0);
}

#[tokio::test]
async fn loopback_is_reached_with_the_setting_and_other_private_addresses_are_not() {
    let outbound = Outbound::new(Reach::PublicAndLoopback);
    for host in
        ["10.0.0.1", "192.168.0.1", "169.254.169.254", "0.0.0.0", "[fe80::1]", "[fd00::1]", "[::]", "[::127.0.0.1]"]
    {
        for scheme in ["http", "https"] {
            let error = get(&outbound, &format!("{scheme}://{host}/")).await.unwrap_err();
            assert!(matches!(error, Error::Address(_)), "{scheme}://{host}: {error}");
        }
    }
    let port = raw(HELLO, None).await;
    for host in ["127.0.0.1", "[::ffff:127.0.0.1]", "localhost", "2130706433", "0x7f.1"] {
        let outcome = get(&outbound, &format!("http://{host}:{port}/")).await;
        assert!(outcome.as_ref().is_ok_and(|body| body == "hello"), "{host}: {outcome:?}");
    }
}

#[tokio::test]
async fn an_address_in_disguise_is_seen() {
    let outbound = Outbound::new(Reach::Public);
    for host in [
        "127.0.0.1",
        "2130706433",
        "0x7f000001",
        "0177.0.0.1",
        "127.1",
        "[::1]",
        "[::ffff:7f00:1]",
        "[::ffff:10.0.0.1]",
        "[64:ff9b::7f00:1]",
        "[2002:7f00:1::]",
        "169.254.169.254",
        "0",
        "①②⑦.0.0.1",
        "localhost",
    ] {
        let error = get(&outbound, &format!("https://{host}/")).await.unwrap_err();
        assert!(matches!(error, Error::Address(_)), "{host}: {error}");
    }
}

#[tokio::test]
async fn a_name_is_resolved_once_and_the_checked_address_is_the_one_connected_to() {
    let port = raw(HELLO, None).await;
    let asked = Arc::new(AtomicUsize::new(0));
    let counted = asked.clone();
    // The second answer would be another address: a name that changes its mind between the check and the connection.
    let changing: Resolve = Arc::new(move |_| {
        let first = counted.fetch_add(1, Ordering::SeqCst) == 0;
        let address: IpAddr = if first { [127, 0, 0, 1] } else { [10, 0, 0, 1] }.into();
        Box::pin(std::future::ready(Ok(vec![address])))
    });
    let outbound = Outbound::new(Reach::PublicAndLoopback).resolving_with(changing);
    assert_eq!(get(&outbound, &format!("http://idp.example:{port}/")).await.unwrap(), "hello");
    assert_eq!(asked.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn the_next_address_is_tried_if_one_takes_no_connection() {
    let port = raw(HELLO, None).await;
    let outbound = Outbound::new(Reach::PublicAndLoopback).resolving_with(resolve(&["127.0.0.2", "127.0.0.1"]).0);
    assert_eq!(get(&outbound, &format!("http://idp.example:{port}/")).await.unwrap(), "hello");
}

#[tokio::test]
async fn a_name_without_addresses_or_with_too_many_is_refused() {
    for addresses in [&[][..], &["1.1.1.1"; 17]] {
        let outbound = Outbound::new(Reach::Public).resolving_with(resolve(addresses).0);
        assert!(matches!(get(&outbound, "https://idp.example/").await, Err(Error::Name(_))));
    }
}

#[test]
fn a_url_is_checked_without_asking_anybody() {
    let (resolve, asked) = resolve(&["1.1.1.1"]);
    let public = Outbound::new(Reach::Public).resolving_with(resolve);
    for text in
        ["https://idp.example/keys", "https://idp.example:8443/?a=b", "https://1.1.1.1/", "https://[2606:4700::1111]/"]
    {
        assert!(public.check(&url(text)).is_ok(), "{text}");
    }
    let long = format!("https://idp.example/{}", "x".repeat(2048));
    for text in [
        "http://idp.example/",
        "ftp://idp.example/",
        "file:///etc/passwd",
        "data:text/plain,{}",
        "https://user@idp.example/",
        "https://user:password@idp.example/",
        "https://idp.example:0/",
        long.as_str(),
    ] {
        assert!(matches!(public.check(&url(text)), Err(Error::Url(_))), "{text}");
    }
    for text in ["https://10.0.0.1/", "https://[::1]/", "https://0x7f.1/"] {
        assert!(matches!(public.check(&url(text)), Err(Error::Address(_))), "{text}");
    }
    assert_eq!(asked.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn an_answer_that_does_not_end_is_given_up() {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let outbound = Outbound::new(Reach::PublicAndLoopback);
    let limits = Limits { time: Duration::from_millis(50), body_bytes_max: 1000 };
    let request = Request::get(url(&format!("http://{}/", silent.local_addr().unwrap())));
    assert!(matches!(outbound.send(request, limits).await, Err(Error::Time)));
}

#[tokio::test]
async fn a_resolver_that_does_not_answer_is_given_up() {
    let outbound = Outbound::new(Reach::Public).resolving_with(Arc::new(|_| Box::pin(std::future::pending())));
    let limits = Limits { time: Duration::from_millis(50), body_bytes_max: 1000 };
    let outcome = outbound.send(Request::get(url("https://idp.example/")), limits).await;
    assert!(matches!(outcome, Err(Error::Time)));
}

#[tokio::test]
async fn a_body_that_is_too_long_is_not_read_to_its_end() {
    let outbound = Outbound::new(Reach::PublicAndLoopback);
    for (bytes, fits) in [(1000, true), (1001, false), (10_000_000, false)] {
        let server = Server::start("x".repeat(bytes)).await;
        let outcome = get(&outbound, server.url.as_str()).await;
        assert!(if fits { outcome.is_ok() } else { matches!(outcome, Err(Error::TooLong)) }, "{bytes}");
    }
}

#[tokio::test]
async fn what_is_no_http_or_has_too_long_a_head_is_no_answer() {
    let outbound = Outbound::new(Reach::PublicAndLoopback);
    let head = format!("HTTP/1.1 200 OK\r\nx: {}\r\nContent-Length: 0\r\n\r\n", "x".repeat(40_000));
    let many = format!("HTTP/1.1 200 OK\r\n{}Content-Length: 0\r\n\r\n", "x: y\r\n".repeat(100));
    for answer in [
        &b""[..],
        b"hello\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nshort",
        head.leak().as_bytes(),
        many.leak().as_bytes(),
    ] {
        let port = raw(answer, None).await;
        let error = get(&outbound, &format!("http://127.0.0.1:{port}/")).await.unwrap_err();
        assert!(matches!(error, Error::Exchange(_)), "{error}");
    }
}

#[tokio::test]
async fn method_headers_and_body_arrive_and_any_status_is_an_answer() {
    use axum::{Router, body, extract::Request as Received};
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let router = Router::new().fallback(|request: Received| async move {
        let (head, content) = request.into_parts();
        let content = body::to_bytes(content, 1000).await.unwrap();
        let shown = |name: &str| format!("{:?}", head.headers.get_all(name).iter().collect::<Vec<_>>());
        let content = String::from_utf8(content.to_vec()).unwrap();
        let lines = [head.method.to_string(), head.uri.to_string(), shown("host"), shown("x-event"), content];
        (StatusCode::GONE, lines.join("\n"))
    });
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    let mut request = Request::get(url(&format!("http://{address}/hook?a=b#fragment")));
    request.method = Method::POST;
    request.headers.insert("x-event", HeaderValue::from_static("created"));
    request.headers.insert(header::HOST, HeaderValue::from_static("internal.example"));
    request.body = Bytes::from_static(b"{}");
    let answer = Outbound::new(Reach::PublicAndLoopback).send(request, LIMITS).await.unwrap();
    assert_eq!(answer.status(), StatusCode::GONE);
    let expected = format!("POST\n/hook?a=b\n[\"{address}\"]\n[\"created\"]\n{{}}");
    assert_eq!(answer.body(), expected.as_bytes());
}

#[tokio::test]
async fn an_error_does_not_show_the_path() {
    let outbound = Outbound::new(Reach::Public).resolving_with(resolve(&["10.0.0.1"]).0);
    for text in ["http://idp.example/secret", "https://idp.example/secret?secret", "https://secret@idp.example/"] {
        let error = get(&outbound, text).await.unwrap_err();
        assert!(!format!("{error} {error:?}").contains("secret"), "{error:?}");
    }
}

#[tokio::test]
async fn a_provider_on_a_private_address_or_without_tls_has_no_keys() {
    let signer = Signer::ed25519("key");
    let world = World::publishing(&[&signer]).await;
    let public = verifier(Outbound::new(Reach::Public));
    let mut provider = world.provider.clone();
    for scheme in ["http", "https"] {
        provider.jwks_uri = url(&format!("{scheme}://127.0.0.1:{}/keys", world.provider.jwks_uri.port().unwrap()));
        let refused = verify_at(&public, &provider, &signer.token(), crate::kit::now()).await.unwrap_err();
        assert_eq!(refused.reason(), "keys_unavailable", "{scheme}");
    }
    assert_eq!(world.asked(), 0);
}

#[tokio::test]
async fn keys_come_over_tls() {
    let signer = Signer::ed25519("key");
    let (certified, roots) = certificate("idp.example");
    let keys = key_set(&[&signer]);
    let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{keys}", keys.len());
    let port = raw(answer.leak().as_bytes(), Some(&certified)).await;
    let outbound = Outbound::new(Reach::PublicAndLoopback).resolving_with(resolve(&["127.0.0.1"]).0).trusting(roots);
    let provider = crate::kit::provider(url(&format!("https://idp.example:{port}/keys")));
    let verified = verify_at(&verifier(outbound), &provider, &signer.token(), crate::kit::now()).await;
    assert_eq!(verified.unwrap().subject, "user-1");
}
