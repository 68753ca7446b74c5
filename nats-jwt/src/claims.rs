//! Signed claims: JSON Web Tokens as nats-server reads them, signed with the issuer's Ed25519 key.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use chrono::{DateTime, Utc};
use data_encoding::BASE32_NOPAD;
use serde::Serialize;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha512_256};

use crate::key::Key;

const UNLIMITED: i64 = -1;

const HEADER: &str = r#"{"typ":"JWT","alg":"ed25519-nkey"}"#;

/// What somebody is said to be. Times are whole seconds.
#[derive(Debug, Serialize)]
pub(crate) struct Claims<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    exp: Option<i64>,
    iat: i64,
    iss: String,
    /// Names the token: a hash of everything else.
    #[serde(skip_serializing_if = "Option::is_none")]
    jti: Option<String>,
    name: &'a str,
    nats: Value,
    sub: &'a str,
}

impl<'a> Claims<'a> {
    pub(crate) fn new(subject: &'a str, name: &'a str, at: DateTime<Utc>, nats: Value) -> Self {
        Self { exp: None, iat: at.timestamp(), iss: String::new(), jti: None, name, nats, sub: subject }
    }

    pub(crate) fn until(self, expires_at: DateTime<Utc>) -> Self {
        Self { exp: Some(expires_at.timestamp()), ..self }
    }

    /// The token.
    pub(crate) fn signed(mut self, issuer: &Key) -> String {
        self.iss = issuer.public();
        self.jti = Some(BASE32_NOPAD.encode(&Sha512_256::digest(self.json())));
        let signed = format!("{}.{}", URL_SAFE_NO_PAD.encode(HEADER), URL_SAFE_NO_PAD.encode(self.json()));
        let signature = URL_SAFE_NO_PAD.encode(issuer.sign(signed.as_bytes()));
        format!("{signed}.{signature}")
    }

    fn json(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("claims are texts and numbers")
    }
}

/// The claims of an operator, signed by itself.
#[must_use]
pub fn operator_claims(operator: &Key, name: &str, at: DateTime<Utc>) -> String {
    let nats = json!({ "type": "operator", "version": 2 });
    Claims::new(&operator.public(), name, at, nats).signed(operator)
}

/// The claims of an account with JetStream and without limits, signed by its operator. `signing_keys` are the public keys that may sign for
/// users beside the account's own.
#[must_use]
pub fn account_claims(operator: &Key, account: &str, signing_keys: &[String], name: &str, at: DateTime<Utc>) -> String {
    let mut nats = account_without_jetstream();
    nats["signing_keys"] = json!(signing_keys);
    for limit in ["mem_storage", "disk_storage", "streams", "consumer"] {
        nats["limits"][limit] = UNLIMITED.into();
    }
    Claims::new(account, name, at, nats).signed(operator)
}

/// The claims of the account in which a server speaks of itself, signed by its operator. JetStream needs that there is one.
#[must_use]
pub fn system_account_claims(operator: &Key, account: &str, at: DateTime<Utc>) -> String {
    Claims::new(account, "SYS", at, account_without_jetstream()).signed(operator)
}

/// No other server may connect to it as a leaf.
fn account_without_jetstream() -> Value {
    json!({
        "type": "account",
        "version": 2,
        "limits": {
            "subs": UNLIMITED,
            "data": UNLIMITED,
            "payload": UNLIMITED,
            "imports": UNLIMITED,
            "exports": UNLIMITED,
            "wildcards": true,
            "conn": UNLIMITED,
            "leaf": 0,
        },
        "default_permissions": { "pub": {}, "sub": {} },
    })
}
