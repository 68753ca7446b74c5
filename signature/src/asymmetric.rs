//! Ed25519 keys and the signatures `v1a`: only the sender has the secret, everybody may verify.

use std::{fmt, sync::Arc};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use ring::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};
use zeroize::Zeroizing;

use crate::{KeyError, PUBLIC_KEY_PREFIX, SIGNING_KEY_PREFIX, decoded};

const HALF_BYTES: usize = 32;

/// A secret ed25519 key; never printed. Cheap to clone.
#[derive(Clone)]
pub struct SigningKey {
    seed: Zeroizing<[u8; HALF_BYTES]>,
    pair: Arc<Ed25519KeyPair>,
}

impl SigningKey {
    /// The key of a seed (RFC 8032, section 5.1.5); 32 random bytes make a new one.
    #[must_use]
    pub fn from_seed(seed: [u8; HALF_BYTES]) -> Self {
        let pair = Ed25519KeyPair::from_seed_unchecked(&seed).expect("every 32 bytes are a seed");
        Self { seed: Zeroizing::new(seed), pair: Arc::new(pair) }
    }

    /// `whsk_` and, in base64, the seed, alone or with the public key behind it; the prefix may be missing.
    pub fn parse(text: &str) -> Result<Self, KeyError> {
        let bytes = decoded(text, SIGNING_KEY_PREFIX)?;
        let wrong = || KeyError::Length { bytes: bytes.len(), wanted: "32 or 64" };
        let (seed, public) = bytes.split_first_chunk::<HALF_BYTES>().ok_or_else(wrong)?;
        let key = Self::from_seed(*seed);
        match public.len() {
            0 => Ok(key),
            HALF_BYTES if public == key.public().0 => Ok(key),
            HALF_BYTES => Err(KeyError::Halves),
            _ => Err(wrong()),
        }
    }

    /// The key in clear, `whsk_<base64 of seed and public key>`, as other implementations take it.
    #[must_use]
    pub fn reveal(&self) -> Zeroizing<String> {
        let both = Zeroizing::new([self.seed.as_slice(), &self.public().0].concat());
        Zeroizing::new(format!("{SIGNING_KEY_PREFIX}{}", STANDARD.encode(both.as_slice())))
    }

    /// The half that is published.
    #[must_use]
    pub fn public(&self) -> PublicKey {
        PublicKey(self.pair.public_key().as_ref().try_into().expect("a public key has 32 bytes"))
    }

    pub(crate) fn signature(&self, id: &str, timestamp: &str, body: &[u8]) -> String {
        format!("v1a,{}", STANDARD.encode(self.pair.sign(&content(id, timestamp, body))))
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKey({})", self.public())
    }
}

/// A public ed25519 key; written `whpk_<base64>`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct PublicKey([u8; HALF_BYTES]);

impl PublicKey {
    /// `whpk_` and 32 bytes in base64; the prefix may be missing.
    pub fn parse(text: &str) -> Result<Self, KeyError> {
        let bytes = decoded(text, PUBLIC_KEY_PREFIX)?;
        match bytes.as_slice().try_into() {
            Ok(bytes) => Ok(Self(bytes)),
            Err(_) => Err(KeyError::Length { bytes: bytes.len(), wanted: "32" }),
        }
    }

    /// As it stands in a JWK's `x`, before its encoding.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; HALF_BYTES] {
        &self.0
    }

    pub(crate) fn made(&self, signature: &[u8], id: &str, timestamp: &str, body: &[u8]) -> bool {
        UnparsedPublicKey::new(&ED25519, self.0).verify(&content(id, timestamp, body), signature).is_ok()
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PUBLIC_KEY_PREFIX}{}", STANDARD.encode(self.0))
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Ed25519 needs what it signs in one piece.
fn content(id: &str, timestamp: &str, body: &[u8]) -> Vec<u8> {
    [id.as_bytes(), b".", timestamp.as_bytes(), b".", body].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_key_is_its_seed_with_or_without_the_public_half() {
        let key = SigningKey::from_seed([3; 32]);
        let seed = format!("whsk_{}", STANDARD.encode([3; 32]));
        assert_eq!(SigningKey::parse(&seed).unwrap().public(), key.public());
        assert_eq!(SigningKey::parse(&key.reveal()).unwrap().public(), key.public());
        assert_eq!(PublicKey::parse(&key.public().to_string()).unwrap(), key.public());
    }

    #[test]
    fn halves_of_different_keys_are_no_key() {
        let both = [[3; 32], [4; 32]].concat();
        assert_eq!(SigningKey::parse(&STANDARD.encode(both)).unwrap_err(), KeyError::Halves);
        for bytes in [0, 31, 33, 63, 65] {
            let text = format!("whsk_{}", STANDARD.encode(vec![3; bytes]));
            assert_eq!(SigningKey::parse(&text).unwrap_err(), KeyError::Length { bytes, wanted: "32 or 64" });
            let text = text.replace("whsk_", "whpk_");
            assert_eq!(PublicKey::parse(&text).unwrap_err(), KeyError::Length { bytes, wanted: "32" });
        }
    }

    #[test]
    fn a_printed_key_shows_its_public_half_only() {
        let key = SigningKey::from_seed([3; 32]);
        let printed = format!("{key:?}");
        assert!(printed.contains("whpk_") && !printed.contains(&STANDARD.encode([3; 32])[..20]), "{printed}");
    }
}
