//! The header of a token: which key of its issuer has signed it, and with what.
//!
//! A header is the word of whoever sent it. It may choose among the issuer's keys by name, and nothing else: whatever would
//! bring a key along, point to one or change what is signed is refused, not ignored.

use serde_json::{Map, Value};

use crate::{cryptography::Algorithm, refused::Refused};

/// Longest `kid` that is looked up, in bytes. It is compared with the names of keys at hand and used for nothing else.
pub(crate) const KEY_ID_BYTES_MAX: usize = 256;

/// Headers that bring a key (`jku`, `jwk`, `x5u`, `x5c`), change the signed bytes (`b64`) or belong to encryption.
const FORBIDDEN: [&str; 7] = ["b64", "jku", "jwk", "x5u", "x5c", "enc", "zip"];

/// Media types of an access token (RFC 9068, 2.1); `application/` may be left out (RFC 7515, 4.1.9).
const TYPES: [&str; 2] = ["at+jwt", "application/at+jwt"];

/// What a header may say.
#[derive(Debug)]
pub(crate) struct Header {
    /// With what it claims to be signed; must be what the key is for.
    pub(crate) algorithm: Algorithm,
    /// Name of the key, 1 to `KEY_ID_BYTES_MAX` bytes.
    pub(crate) key_id: String,
}

impl Header {
    pub(crate) fn read(members: &Map<String, Value>) -> Result<Self, Refused> {
        if members.contains_key("crit") {
            return Err(Refused::CriticalHeader);
        }
        if let Some(name) = FORBIDDEN.into_iter().find(|name| members.contains_key(*name)) {
            return Err(Refused::ForbiddenHeader(name));
        }
        let typed = members.get("typ").and_then(Value::as_str).ok_or(Refused::WrongType)?;
        if !TYPES.iter().any(|accepted| accepted.eq_ignore_ascii_case(typed)) {
            return Err(Refused::WrongType);
        }
        let algorithm = members.get("alg").and_then(Value::as_str).and_then(Algorithm::named);
        let algorithm = algorithm.ok_or(Refused::AlgorithmNotAccepted)?;
        let key_id = members.get("kid").and_then(Value::as_str).ok_or(Refused::NoKeyNamed)?;
        if key_id.is_empty() || key_id.len() > KEY_ID_BYTES_MAX {
            return Err(Refused::NoKeyNamed);
        }
        Ok(Self { algorithm, key_id: key_id.to_owned() })
    }
}
