//! Shared secrets and the signatures `v1`: HMAC-SHA256.

use std::fmt;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use hmac::{Hmac, Mac};
use sha2::Sha256;
use zeroize::Zeroizing;

use crate::{KeyError, SECRET_PREFIX, decoded};

/// Shortest and longest secret, in bytes: 192 to 512 bits, as the standard has it.
const BYTES_MIN: usize = 24;
const BYTES_MAX: usize = 64;

/// A secret that sender and receiver share; never printed.
#[derive(Clone)]
pub struct SymmetricSecret(Zeroizing<Vec<u8>>);

impl SymmetricSecret {
    /// Of 24 to 64 bytes; random ones make a new secret.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, KeyError> {
        if (BYTES_MIN..=BYTES_MAX).contains(&bytes.len()) {
            Ok(Self(Zeroizing::new(bytes.to_vec())))
        } else {
            Err(KeyError::Length { bytes: bytes.len(), wanted: "24 to 64" })
        }
    }

    /// A new secret of 256 random bits.
    #[must_use]
    pub fn from_random(random: [u8; 32]) -> Self {
        Self(Zeroizing::new(random.to_vec()))
    }

    /// `whsec_` and the bytes in base64; the prefix may be missing.
    pub fn parse(text: &str) -> Result<Self, KeyError> {
        Self::from_bytes(&decoded(text, SECRET_PREFIX)?)
    }

    /// The secret in clear, `whsec_<base64>`: to be handed over once, or sealed.
    #[must_use]
    pub fn reveal(&self) -> Zeroizing<String> {
        Zeroizing::new(format!("{SECRET_PREFIX}{}", STANDARD.encode(self.0.as_slice())))
    }

    pub(crate) fn signature(&self, id: &str, timestamp: &str, body: &[u8]) -> String {
        format!("v1,{}", STANDARD.encode(self.mac(id, timestamp, body).finalize().into_bytes()))
    }

    /// In constant time for MACs of the right length.
    pub(crate) fn made(&self, mac: &[u8], id: &str, timestamp: &str, body: &[u8]) -> bool {
        self.mac(id, timestamp, body).verify_slice(mac).is_ok()
    }

    fn mac(&self, id: &str, timestamp: &str, body: &[u8]) -> Hmac<Sha256> {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.0).expect("hmac takes keys of any length");
        for part in [id.as_bytes(), b".", timestamp.as_bytes(), b".", body] {
            mac.update(part);
        }
        mac
    }
}

impl fmt::Debug for SymmetricSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SymmetricSecret(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_has_24_to_64_bytes() {
        for bytes in [0, 1, 23, 65, 200] {
            let text = format!("whsec_{}", STANDARD.encode(vec![7; bytes]));
            assert_eq!(
                SymmetricSecret::parse(&text).unwrap_err(),
                KeyError::Length { bytes, wanted: "24 to 64" },
                "{bytes}"
            );
        }
        for bytes in [24, 32, 64] {
            let text = format!("whsec_{}", STANDARD.encode(vec![7; bytes]));
            assert_eq!(*SymmetricSecret::parse(&text).unwrap().reveal(), text);
        }
        assert_eq!(SymmetricSecret::parse("whsec_!").unwrap_err(), KeyError::Base64);
    }

    #[test]
    fn the_prefix_may_be_missing() {
        let secret = SymmetricSecret::from_random([1; 32]);
        let bare = secret.reveal().trim_start_matches(SECRET_PREFIX).to_owned();
        assert_eq!(SymmetricSecret::parse(&bare).unwrap().reveal(), secret.reveal());
    }

    #[test]
    fn a_printed_secret_says_nothing() {
        assert_eq!(format!("{:?}", SymmetricSecret::from_random([1; 32])), "SymmetricSecret(..)");
    }
}
