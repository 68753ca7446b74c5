//! A provider that answers what a test says, keys to sign with, and a verifier that may reach this machine.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::{
    Router,
    body::Body,
    http::{Response, StatusCode},
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use chrono::{DateTime, TimeDelta, Utc};
use hub_token::{
    Keys, Provider, Refused, Settings, Verified, Verifier,
    outbound::{Outbound, Reach},
};
use ring::{
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair, RSA_PKCS1_SHA256, RsaKeyPair},
};
use rsa::{RsaPrivateKey, pkcs8::EncodePrivateKey, rand_core::OsRng, traits::PublicKeyParts};
use serde_json::{Value, json};
use tokio::{net::TcpListener, sync::watch};
use url::Url;
use uuid::Uuid;

pub(crate) const ISSUER: &str = "https://idp.example";
pub(crate) const AUDIENCE: &str = "https://hub.example";

/// When tests begin.
pub(crate) fn now() -> DateTime<Utc> {
    DateTime::from_timestamp(1_767_225_600, 0).unwrap()
}

pub(crate) fn after(seconds: i64) -> DateTime<Utc> {
    now() + TimeDelta::seconds(seconds)
}

/// A key pair and the name that it is published under.
pub(crate) struct Signer {
    pub(crate) key_id: String,
    pair: Pair,
}

enum Pair {
    Ed25519(Ed25519KeyPair),
    P256(EcdsaKeyPair),
    Rsa { pair: Box<RsaKeyPair>, modulus: Vec<u8>, exponent: Vec<u8> },
}

impl Signer {
    pub(crate) fn ed25519(key_id: &str) -> Self {
        let pkcs8 = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).unwrap();
        Self { key_id: key_id.to_owned(), pair: Pair::Ed25519(Ed25519KeyPair::from_pkcs8(pkcs8.as_ref()).unwrap()) }
    }

    pub(crate) fn p256(key_id: &str) -> Self {
        let random = SystemRandom::new();
        let pkcs8 = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random).unwrap();
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pkcs8.as_ref(), &random).unwrap();
        Self { key_id: key_id.to_owned(), pair: Pair::P256(pair) }
    }

    pub(crate) fn rsa(key_id: &str) -> Self {
        let key = RsaPrivateKey::new(&mut OsRng, 2048).unwrap();
        let pair = Box::new(RsaKeyPair::from_pkcs8(key.to_pkcs8_der().unwrap().as_bytes()).unwrap());
        let (modulus, exponent) = (key.n().to_bytes_be(), key.e().to_bytes_be());
        Self { key_id: key_id.to_owned(), pair: Pair::Rsa { pair, modulus, exponent } }
    }

    /// One of each kind.
    pub(crate) fn all() -> [Self; 3] {
        [Self::ed25519("ed"), Self::p256("ec"), Self::rsa("rsa")]
    }

    pub(crate) fn algorithm(&self) -> &'static str {
        match &self.pair {
            Pair::Ed25519(_) => "EdDSA",
            Pair::P256(_) => "ES256",
            Pair::Rsa { .. } => "RS256",
        }
    }

    /// The public key as it is published, without what is optional.
    pub(crate) fn jwk(&self) -> Value {
        let kid = &self.key_id;
        match &self.pair {
            Pair::Ed25519(pair) => {
                json!({"kty": "OKP", "crv": "Ed25519", "kid": kid, "x": base64(pair.public_key().as_ref())})
            }
            Pair::P256(pair) => {
                let point = pair.public_key().as_ref();
                json!({"kty": "EC", "crv": "P-256", "kid": kid, "x": base64(&point[1..33]), "y": base64(&point[33..])})
            }
            Pair::Rsa { modulus, exponent, .. } => {
                json!({"kty": "RSA", "kid": kid, "n": base64(modulus), "e": base64(exponent)})
            }
        }
    }

    pub(crate) fn signature(&self, message: &[u8]) -> Vec<u8> {
        let random = SystemRandom::new();
        match &self.pair {
            Pair::Ed25519(pair) => pair.sign(message).as_ref().to_vec(),
            Pair::P256(pair) => pair.sign(&random, message).unwrap().as_ref().to_vec(),
            Pair::Rsa { pair, .. } => {
                let mut signature = vec![0; pair.public().modulus_len()];
                pair.sign(&RSA_PKCS1_SHA256, &random, message, &mut signature).unwrap();
                signature
            }
        }
    }

    /// A genuine signature over whatever is given, JSON or not.
    pub(crate) fn sign(&self, header: &str, claims: &str) -> String {
        let message = format!("{}.{}", base64(header.as_bytes()), base64(claims.as_bytes()));
        let signature = base64(&self.signature(message.as_bytes()));
        format!("{message}.{signature}")
    }

    pub(crate) fn header(&self) -> Value {
        json!({"alg": self.algorithm(), "typ": "at+jwt", "kid": self.key_id})
    }

    /// A token that is good as it is.
    pub(crate) fn token(&self) -> String {
        self.sign(&self.header().to_string(), &claims().to_string())
    }

    pub(crate) fn token_with_header(&self, header: &Value) -> String {
        self.sign(&header.to_string(), &claims().to_string())
    }

    pub(crate) fn token_with_claims(&self, claims: &Value) -> String {
        self.sign(&self.header().to_string(), &claims.to_string())
    }
}

/// The claims of a token that is good from `now` for an hour.
pub(crate) fn claims() -> Value {
    json!({"iss": ISSUER, "aud": AUDIENCE, "sub": "user-1", "exp": after(3600).timestamp()})
}

/// `value` with a member set, or taken away if it is null.
pub(crate) fn with(mut value: Value, name: &str, member: Value) -> Value {
    let members = value.as_object_mut().unwrap();
    if member.is_null() {
        members.remove(name)
    } else {
        members.insert(name.to_owned(), member)
    };
    value
}

pub(crate) fn base64(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

pub(crate) fn key_set(signers: &[&Signer]) -> String {
    json!({"keys": signers.iter().map(|signer| signer.jwk()).collect::<Vec<_>>()}).to_string()
}

/// What the provider answers.
#[derive(Clone)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: BTreeMap<&'static str, String>,
    pub(crate) body: String,
}

/// A provider on a socket, and a verifier that knows it.
pub(crate) struct World {
    pub(crate) provider: Provider,
    pub(crate) verifier: Verifier,
    server: Server,
}

/// An HTTP server that answers one thing and counts how often it was asked.
pub(crate) struct Server {
    pub(crate) url: Url,
    answer: Arc<Mutex<Answer>>,
    asked: Arc<AtomicUsize>,
    /// Answers wait for this to be true.
    open: watch::Sender<bool>,
}

impl Server {
    pub(crate) async fn start(body: String) -> Self {
        let answer = Arc::new(Mutex::new(Answer { status: StatusCode::OK, headers: BTreeMap::new(), body }));
        let asked = Arc::new(AtomicUsize::new(0));
        let open = watch::Sender::new(true);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = Url::parse(&format!("http://{}/keys", listener.local_addr().unwrap())).unwrap();
        let served = (answer.clone(), asked.clone(), open.clone());
        let router = Router::new().fallback(move || {
            let (answer, asked, open) = served.clone();
            async move {
                asked.fetch_add(1, Ordering::SeqCst);
                open.subscribe().wait_for(|open| *open).await.unwrap();
                let answer = answer.lock().unwrap().clone();
                let headers = answer.headers.into_iter();
                let response = Response::builder().status(answer.status);
                let response = headers.fold(response, |response, (name, value)| response.header(name, value));
                response.body(Body::from(answer.body)).unwrap()
            }
        });
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { url, answer, asked, open }
    }

    pub(crate) fn set(&self, change: impl FnOnce(&mut Answer)) {
        change(&mut self.answer.lock().unwrap());
    }

    pub(crate) fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

impl World {
    /// A provider that publishes these keys.
    pub(crate) async fn publishing(signers: &[&Signer]) -> Self {
        Self::answering(key_set(signers)).await
    }

    pub(crate) async fn answering(body: String) -> Self {
        let server = Server::start(body).await;
        let verifier = verifier(Outbound::new(Reach::PublicAndLoopback));
        Self { provider: provider(server.url.clone()), verifier, server }
    }

    pub(crate) async fn verify_at(&self, token: &str, time: DateTime<Utc>) -> Result<Verified, Refused> {
        verify_at(&self.verifier, &self.provider, token, time).await
    }

    pub(crate) async fn verify(&self, token: &str) -> Result<Verified, Refused> {
        self.verify_at(token, now()).await
    }

    /// The code of the refusal, or `verified`.
    pub(crate) async fn reason(&self, token: &str) -> &'static str {
        self.verify(token).await.map_or_else(Refused::reason, |_| "verified")
    }

    pub(crate) fn publish(&self, signers: &[&Signer]) {
        self.set(|answer| answer.body = key_set(signers));
    }

    pub(crate) fn set(&self, change: impl FnOnce(&mut Answer)) {
        self.server.set(change);
    }

    /// Answers wait from now on until `open`.
    pub(crate) fn close(&self) {
        self.server.open.send_replace(false);
    }

    pub(crate) fn open(&self) {
        self.server.open.send_replace(true);
    }

    /// How often the provider was asked.
    pub(crate) fn asked(&self) -> usize {
        self.server.asked()
    }
}

pub(crate) fn provider(jwks_uri: Url) -> Provider {
    Provider { id: Uuid::new_v4(), issuer: ISSUER.to_owned(), audience: AUDIENCE.to_owned(), jwks_uri }
}

pub(crate) fn verifier(outbound: Outbound) -> Verifier {
    Verifier::new(Keys::new(outbound, Settings::default()))
}

/// Finds the provider as a table of registrations would: by the issuer.
pub(crate) async fn verify_at(
    verifier: &Verifier,
    provider: &Provider,
    token: &str,
    time: DateTime<Utc>,
) -> Result<Verified, Refused> {
    verifier
        .verify(
            token,
            time,
            |issuer, _audiences| async move { Ok((issuer == provider.issuer).then(|| provider.clone())) },
        )
        .await
}

/// Waits until something holds, ten seconds at most.
pub(crate) async fn eventually(holds: impl Fn() -> bool) {
    let looking = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), looking).await.expect("it never came to hold");
}
