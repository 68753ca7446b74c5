//! One token, verified: parts, header, claims, the provider, its key, the signature and then the time.

use std::collections::BTreeSet;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use chrono::{DateTime, Utc};
use jsonwebtoken::{Validation, errors::ErrorKind};
use serde::de::IgnoredAny;
use serde_json::{Map, Value};
use url::Url;
use uuid::Uuid;

use crate::{
    claims::Claims,
    cryptography,
    header::Header,
    jwk::PublicKey,
    keys::Keys,
    refused::Refused,
    strict_json::{self, Error},
};

/// Longest token that is looked at, in bytes.
pub const TOKEN_BYTES_MAX: usize = 8 * 1024;

/// An identity provider as somebody has registered it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Provider {
    /// Whose registration this is; two providers never share kept keys, whatever their URLs.
    pub id: Uuid,
    /// What `iss` must be, to the byte.
    pub issuer: String,
    /// What `aud` must be, or have among others.
    pub audience: String,
    /// Where its keys are published.
    pub jwks_uri: Url,
}

/// Who speaks, according to a provider.
///
/// A subject is somebody only together with `provider_id`: whoever may register a provider may register one that calls itself
/// like another's issuer and signs what it likes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    /// `Provider::id`.
    pub provider_id: Uuid,
    /// `iss`.
    pub issuer: String,
    /// `sub`: unique and never given to another within the issuer; 1 to 255 bytes, no control characters.
    pub subject: String,
    /// The provider's audience, which is among those of `aud`.
    pub audience: String,
    /// `exp`. A connection that outlives it ends then, `SKEW` later at most.
    pub expires_at: DateTime<Utc>,
    /// `iat`.
    pub issued_at: Option<DateTime<Utc>>,
    /// `jti`: 1 to 255 bytes, no control characters.
    pub token_id: Option<String>,
    /// The words of `scope`. `None` is a token without the claim; an empty set is one that allows nothing.
    pub scope: Option<BTreeSet<String>>,
}

/// Verifies tokens with the keys that their providers publish. Cloning it shares the keys.
#[derive(Clone, Debug)]
pub struct Verifier {
    keys: Keys,
}

impl Verifier {
    /// A verifier that gets its keys from `keys`.
    pub fn new(keys: Keys) -> Self {
        cryptography::install();
        Self { keys }
    }

    /// Who speaks with `token`, or why nobody does.
    ///
    /// `find` is asked once, with the issuer and the audiences that an unverified token names, and answers the provider that
    /// is registered so, or `Refused::ProvidersUnavailable` if it cannot tell. Waits for the provider's keys if there are
    /// none at hand, and no longer than a fetch may take.
    pub async fn verify<Find, Finding>(&self, token: &str, now: DateTime<Utc>, find: Find) -> Result<Verified, Refused>
    where
        Find: FnOnce(String, BTreeSet<String>) -> Finding,
        Finding: Future<Output = Result<Option<Provider>, Refused>>,
    {
        let (header, claims) = read(token)?;
        let found = find(claims.issuer.clone(), claims.audiences.clone()).await?;
        let provider = found.ok_or(Refused::UnknownIssuer)?;
        claims.fit(&provider)?;
        let key = self.keys.key(&provider, &header.key_id, now).await?;
        check_signature(token, &header, &key, &provider)?;
        // Behind the signature, so that a refusal for its time is the issuer's word and not a forger's.
        claims.valid_at(now)?;
        Ok(Verified {
            provider_id: provider.id,
            issuer: claims.issuer,
            subject: claims.subject,
            audience: provider.audience,
            expires_at: claims.expires_at,
            issued_at: claims.issued_at,
            token_id: claims.token_id,
            scope: claims.scope,
        })
    }
}

/// What the token says, not yet believed.
fn read(token: &str) -> Result<(Header, Claims), Refused> {
    if token.len() > TOKEN_BYTES_MAX {
        return Err(Refused::TooLarge);
    }
    let mut parts = token.split('.');
    let (Some(header), Some(claims), Some(signature), None) = (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(Refused::Malformed);
    };
    decode(signature)?;
    Ok((Header::read(&object(header)?)?, Claims::read(&object(claims)?)?))
}

fn object(part: &str) -> Result<Map<String, Value>, Refused> {
    strict_json::object(&decode(part)?).map_err(|error| match error {
        Error::Malformed => Refused::Malformed,
        Error::Duplicate => Refused::DuplicateMember,
    })
}

/// Strict: no padding, no stray bits behind the last byte, so a token has one spelling.
fn decode(part: &str) -> Result<Vec<u8>, Refused> {
    let bytes = URL_SAFE_NO_PAD.decode(part).map_err(|_| Refused::Malformed)?;
    if bytes.is_empty() { Err(Refused::Malformed) } else { Ok(bytes) }
}

/// The algorithm is the key's; the header may agree or be refused.
fn check_signature(token: &str, header: &Header, key: &PublicKey, provider: &Provider) -> Result<(), Refused> {
    if header.algorithm != key.algorithm {
        return Err(Refused::AlgorithmMismatch);
    }
    let mut validation = Validation::new(key.algorithm.as_named());
    validation.set_issuer(&[&provider.issuer]);
    validation.set_audience(&[&provider.audience]);
    validation.set_required_spec_claims(&["iss", "aud", "exp", "sub"]);
    validation.validate_exp = false; // It would read the system's clock; `Claims::valid_at` has the time.
    jsonwebtoken::decode::<IgnoredAny>(token, &key.decoding, &validation).map(drop).map_err(|error| {
        match error.kind() {
            ErrorKind::InvalidSignature => Refused::BadSignature,
            _ => Refused::Malformed, // A header of a type that the crate does not expect; everything else is checked.
        }
    })
}
