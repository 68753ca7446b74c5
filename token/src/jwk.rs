//! The keys that a provider publishes (RFC 7517): those of a JWKS document that can verify a token, by their names.
//!
//! A key is of use if it is public, named, meant for signatures and of one of three kinds: `OKP` Ed25519, `EC` P-256, `RSA` of
//! 2048 to 8192 bits. The kind decides the algorithm; an `alg` beside it must say the same. Others are left out, since
//! providers publish keys for other purposes in the same document; only a document that is none is an error.

use std::{collections::BTreeMap, sync::Arc};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::DecodingKey;
use serde_json::{Map, Value};

use crate::{cryptography::Algorithm, header::KEY_ID_BYTES_MAX, strict_json};

/// Most keys that a document may have, of use or not.
pub(crate) const KEYS_MAX: usize = 32;

/// Sizes of RSA moduli, in bits.
const RSA_BITS_MIN: usize = 2048;
const RSA_BITS_MAX: usize = 8192;

/// Longest exponent of an RSA key, in bytes; nearly all have 65537.
const RSA_EXPONENT_BYTES_MAX: usize = 4;

/// Members that only private and symmetric keys have. What has been published is no secret any more.
const SECRETS: [&str; 7] = ["d", "p", "q", "dp", "dq", "qi", "k"];

/// A key, and the one algorithm that it is for.
#[derive(Debug)]
pub(crate) struct PublicKey {
    pub(crate) algorithm: Algorithm,
    pub(crate) decoding: DecodingKey,
}

/// The keys of a document by `kid`.
#[derive(Debug, Default)]
pub(crate) struct KeySet(BTreeMap<String, Arc<PublicKey>>);

/// Why a document is no key set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Error {
    /// No JSON object with an array `keys` of objects, or a member twice.
    #[error("the answer is no key set")]
    Malformed,
    /// More than `KEYS_MAX`.
    #[error("the key set has more than {KEYS_MAX} keys")]
    TooMany,
}

impl KeySet {
    pub(crate) fn read(document: &[u8]) -> Result<Self, Error> {
        let document = strict_json::object(document).map_err(|_| Error::Malformed)?;
        let keys = document.get("keys").and_then(Value::as_array).ok_or(Error::Malformed)?;
        if keys.len() > KEYS_MAX {
            return Err(Error::TooMany);
        }
        let mut named: BTreeMap<String, Option<Arc<PublicKey>>> = BTreeMap::new();
        for members in keys {
            let members = members.as_object().ok_or(Error::Malformed)?;
            if let Some((key_id, key)) = public_key(members) {
                // A name that two keys have names neither.
                named.entry(key_id).and_modify(|key| *key = None).or_insert(Some(Arc::new(key)));
            }
        }
        Ok(Self(named.into_iter().filter_map(|(key_id, key)| Some((key_id, key?))).collect()))
    }

    pub(crate) fn get(&self, key_id: &str) -> Option<&Arc<PublicKey>> {
        self.0.get(key_id)
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }
}

/// The key and its name, if it is of use.
fn public_key(members: &Map<String, Value>) -> Option<(String, PublicKey)> {
    let key_id = members.get("kid")?.as_str().filter(|text| (1..=KEY_ID_BYTES_MAX).contains(&text.len()))?;
    if SECRETS.iter().any(|name| members.contains_key(*name)) || !for_signatures(members) {
        return None;
    }
    let (algorithm, decoding) = match members.get("kty")?.as_str()? {
        "OKP" => (Algorithm::EdDsa, ed25519(members)?),
        "EC" => (Algorithm::Es256, p256(members)?),
        "RSA" => (Algorithm::Rs256, rsa(members)?),
        _ => return None,
    };
    let said = members.get("alg").map(|name| name.as_str().and_then(Algorithm::named));
    (said.is_none() || said == Some(Some(algorithm))).then(|| (key_id.to_owned(), PublicKey { algorithm, decoding }))
}

/// `use` and `key_ops` limit a key when they are there.
fn for_signatures(members: &Map<String, Value>) -> bool {
    let meant = members.get("use").is_none_or(|purpose| purpose == "sig");
    let operations = members.get("key_ops");
    let verifies = |operations: &Value| operations.as_array().is_some_and(|all| all.iter().any(|one| one == "verify"));
    meant && operations.is_none_or(verifies)
}

fn ed25519(members: &Map<String, Value>) -> Option<DecodingKey> {
    if members.get("crv")? != "Ed25519" || bytes(members, "x")?.len() != 32 {
        return None;
    }
    DecodingKey::from_ed_components(members.get("x")?.as_str()?).ok()
}

fn p256(members: &Map<String, Value>) -> Option<DecodingKey> {
    if members.get("crv")? != "P-256" || bytes(members, "x")?.len() != 32 || bytes(members, "y")?.len() != 32 {
        return None;
    }
    DecodingKey::from_ec_components(members.get("x")?.as_str()?, members.get("y")?.as_str()?).ok()
}

fn rsa(members: &Map<String, Value>) -> Option<DecodingKey> {
    let modulus = bytes(members, "n")?;
    let exponent = bytes(members, "e")?;
    let (first, last) = (*modulus.first()?, *modulus.last()?);
    let bits = modulus.len() * 8 - first.leading_zeros() as usize;
    let odd = last % 2 == 1 && exponent.last()? % 2 == 1;
    let in_bounds = (RSA_BITS_MIN..=RSA_BITS_MAX).contains(&bits) && exponent.len() <= RSA_EXPONENT_BYTES_MAX;
    // A leading zero is against RFC 7518, 6.3.1.1, and an exponent of 1 would verify anything.
    let minimal = first != 0 && exponent.first() != Some(&0) && exponent != [1];
    (odd && in_bounds && minimal).then(|| DecodingKey::from_rsa_raw_components(&modulus, &exponent))
}

fn bytes(members: &Map<String, Value>, name: &str) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(members.get(name)?.as_str()?).ok()
}
