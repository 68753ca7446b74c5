//! Private keys.

use std::fmt;

use base64::{Engine, prelude::BASE64_STANDARD};
use ring::{
    rand::{SecureRandom, SystemRandom},
    signature::{Ed25519KeyPair, KeyPair},
};
use zeroize::Zeroizing;

use super::{
    ED25519, KEY_BYTES, SIGNATURE_BYTES,
    verifier::{KeyError, VerifierKey, read_parts},
};

const PREFIX: &str = "PRIVATE+KEY+";

/// A private key. Its text is `PRIVATE+KEY+<name>+<id>+<base64 of a byte 1 and the seed>`.
///
/// The seed is wiped from memory when it is dropped. What `ring` makes of it while it signs cannot be wiped, so it is not kept.
pub struct SigningKey {
    verifier_key: VerifierKey,
    seed: Zeroizing<[u8; KEY_BYTES]>,
}

impl SigningKey {
    /// A new key from the system's random numbers.
    ///
    /// # Errors
    /// When the name cannot be that of a key, or the system has no random numbers.
    pub fn generate(name: &str) -> Result<Self, KeyError> {
        let mut seed = Zeroizing::new([0; KEY_BYTES]);
        SystemRandom::new().fill(seed.as_mut_slice()).map_err(|_| KeyError::Random)?;
        Self::from_seed(name, seed)
    }

    /// The key that RFC 8032 makes of this seed.
    ///
    /// # Errors
    /// When the name cannot be that of a key.
    pub fn from_seed(name: &str, seed: Zeroizing<[u8; KEY_BYTES]>) -> Result<Self, KeyError> {
        let public_key = pair(&seed).public_key().as_ref().try_into().expect("an Ed25519 key has 32 bytes");
        Ok(Self { verifier_key: VerifierKey::new(name, public_key)?, seed })
    }

    /// Reads what `to_text` wrote.
    ///
    /// # Errors
    /// When it is anything else; no error contains any of it but the name.
    pub fn from_text(text: &str) -> Result<Self, KeyError> {
        let text = text.strip_prefix(PREFIX).ok_or(KeyError::Format)?;
        let mut seed = Zeroizing::new([0; KEY_BYTES]);
        let (name, id) = read_parts(text, &mut seed)?;
        let key = Self::from_seed(name, seed)?;
        Ok(Self { verifier_key: key.verifier_key.with_id(id)?, seed: key.seed })
    }

    /// The key as text: secret.
    #[must_use]
    pub fn to_text(&self) -> Zeroizing<String> {
        let mut bytes = Zeroizing::new([ED25519; 1 + KEY_BYTES]);
        bytes[1..].copy_from_slice(self.seed.as_slice());
        let mut encoded = Zeroizing::new([0; 44]);
        let length = BASE64_STANDARD.encode_slice(bytes.as_slice(), encoded.as_mut_slice());
        assert_eq!(length, Ok(encoded.len()), "33 bytes are 44 characters");
        let encoded = std::str::from_utf8(encoded.as_slice()).expect("base64 is ASCII");
        let public = format!("{PREFIX}{}+{}+", self.verifier_key.name(), self.verifier_key.id());
        // As large as it becomes, so that no copy is left behind.
        let mut text = Zeroizing::new(String::with_capacity(public.len() + encoded.len()));
        text.push_str(&public);
        text.push_str(encoded);
        text
    }

    /// The public key that verifies what this one signs.
    #[must_use]
    pub fn verifier_key(&self) -> &VerifierKey {
        &self.verifier_key
    }

    /// Signs. The same key gives the same message the same signature.
    #[must_use]
    pub fn sign(&self, message: &[u8]) -> [u8; SIGNATURE_BYTES] {
        pair(&self.seed).sign(message).as_ref().try_into().expect("an Ed25519 signature has 64 bytes")
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("SigningKey").field("verifier_key", &self.verifier_key).finish_non_exhaustive()
    }
}

fn pair(seed: &[u8; KEY_BYTES]) -> Ed25519KeyPair {
    Ed25519KeyPair::from_seed_unchecked(seed).expect("any 32 bytes are a seed")
}

#[cfg(test)]
mod tests {
    use zeroize::Zeroizing;

    use super::SigningKey;

    const PETER: &str = "PRIVATE+KEY+PeterNeumann+c74f20a3+AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz";

    #[test]
    fn a_published_key_is_read_and_written() {
        let key = SigningKey::from_text(PETER).unwrap();
        assert_eq!(key.to_text().as_str(), PETER);
        let public = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW";
        assert_eq!(key.verifier_key().to_string(), public);
    }

    #[test]
    fn the_key_of_a_seed_of_zeros_is_the_published_one() {
        let key = SigningKey::from_seed("EnochRoot", Zeroizing::new([0; 32])).unwrap();
        let public = "EnochRoot+af0cfe78+ATtqJ7zOtqQtYqOo0CpvDXNlMhV3HeJDpjrASKGLWdop";
        assert_eq!(key.verifier_key().to_string(), public);
    }

    #[test]
    fn no_part_of_a_key_and_no_other_spelling_is_a_key() {
        for begin in 0..PETER.len() {
            for end in begin..=PETER.len() {
                assert_eq!(SigningKey::from_text(&PETER[begin..end]).is_ok(), (begin, end) == (0, PETER.len()));
            }
        }
        for at in 0..PETER.len() {
            let mut other = PETER.as_bytes().to_vec();
            other[at] += 1;
            assert!(SigningKey::from_text(&String::from_utf8(other).unwrap()).is_err(), "{at}");
        }
    }

    #[test]
    fn generated_keys_differ_and_sign() {
        let [one, other] = [0, 1].map(|_| SigningKey::generate("hub.example.com").unwrap());
        assert_ne!(one.verifier_key(), other.verifier_key());
        let signature = one.sign(b"message");
        assert!(one.verifier_key().verify(b"message", &signature));
        assert!(!one.verifier_key().verify(b"messagf", &signature));
        assert!(!other.verifier_key().verify(b"message", &signature));
        for length in 0..64 {
            assert!(!one.verifier_key().verify(b"message", &signature[..length]));
        }
        for bit in 0..512 {
            let mut spoilt = signature;
            spoilt[bit / 8] ^= 1 << (bit % 8);
            assert!(!one.verifier_key().verify(b"message", &spoilt), "{bit}");
        }
        assert!(SigningKey::generate("a b").is_err());
    }

    #[test]
    fn nothing_shows_a_private_key() {
        let key = SigningKey::from_text(PETER).unwrap();
        let shown = format!("{key:?} {key:#?}");
        assert!(!shown.contains("YEKFALVFGyN") && !shown.contains("PRIVATE"), "{shown}");
        let error = SigningKey::from_text(&PETER.replace("c74f", "c74e")).unwrap_err();
        assert!(!format!("{error} {error:?}").contains("YEKFALVFGyN"));
    }
}
