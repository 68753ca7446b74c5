//! Sealing the signing secrets that events carry: XChaCha20-Poly1305 under a key derived from the platform's secret key.

use std::fmt;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use chacha20poly1305::{
    KeyInit, XChaCha20Poly1305, XNonce,
    aead::{Aead, Payload},
};
use sha2::{Digest, Sha256};
use uuid::Uuid;

/// Bytes of a nonce before the sealed text.
const NONCE_BYTES: usize = 24;

/// Seals and opens; cheap to clone, never printed.
#[derive(Clone)]
pub struct Sealing(XChaCha20Poly1305);

impl fmt::Debug for Sealing {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Sealing(..)")
    }
}

impl Sealing {
    /// With a key derived from the platform's.
    #[must_use]
    pub fn new(secret_key: &[u8; 32]) -> Self {
        let key: [u8; 32] =
            Sha256::new().chain_update(b"hub webhook secrets v1\0").chain_update(secret_key).finalize().into();
        Self(XChaCha20Poly1305::new(&key.into()))
    }

    /// Base64 of nonce and sealed text; bound to its tenant, owner and secret id, so that it opens nowhere else.
    #[must_use]
    pub fn seal(&self, text: &str, place: [Uuid; 3], random: [u8; 32]) -> String {
        let nonce = XNonce::from_slice(&random[..NONCE_BYTES]);
        let aad = place.map(Uuid::into_bytes).concat();
        let sealed = self
            .0
            .encrypt(nonce, Payload { msg: text.as_bytes(), aad: &aad })
            .expect("a short text can always be sealed");
        STANDARD.encode([nonce.as_slice(), &sealed].concat())
    }

    /// The text that was sealed in this place; `None` when it was not, or not with this key.
    #[must_use]
    pub fn open(&self, sealed: &str, place: [Uuid; 3]) -> Option<String> {
        let bytes = STANDARD.decode(sealed).ok()?;
        let (nonce, sealed) = bytes.split_at_checked(NONCE_BYTES)?;
        let aad = place.map(Uuid::into_bytes).concat();
        let opened = self.0.decrypt(XNonce::from_slice(nonce), Payload { msg: sealed, aad: &aad }).ok()?;
        String::from_utf8(opened).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sealed_text_opens_with_its_key_in_its_place_only() {
        let place = [1, 2, 3].map(Uuid::from_u128);
        let sealing = Sealing::new(&[7; 32]);
        let sealed = sealing.seal("whsec_abc", place, [9; 32]);
        assert_eq!(sealing.open(&sealed, place).as_deref(), Some("whsec_abc"));
        assert_eq!(sealing.open(&sealed, [2, 2, 3].map(Uuid::from_u128)), None);
        assert_eq!(Sealing::new(&[8; 32]).open(&sealed, place), None);
        assert_eq!(sealing.open("c2hvcnQ=", place), None);
        assert!(!sealed.contains("whsec"));
    }
}
