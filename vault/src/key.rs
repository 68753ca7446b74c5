//! Keys in memory: XChaCha20-Poly1305 to seal and to wrap, HMAC-SHA-256 for look-ups; overwritten when they are dropped.

use std::fmt;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use chacha20poly1305::{
    KeyInit as _, XChaCha20Poly1305, XNonce,
    aead::{Aead as _, Payload},
};
use hmac::{Hmac, Mac as _};
use sha2::{Digest as _, Sha256};
use uuid::Uuid;
use zeroize::Zeroizing;

use crate::{Place, VaultError};

/// Bytes of a key.
const KEY_BYTES: usize = 32;
/// Bytes of a nonce; random ones do not meet again with so many.
const NONCE_BYTES: usize = 24;
/// The first byte of a sealed text.
const VERSION: u8 = 1;

/// The key that wraps the tenants' keys; never shown.
#[derive(Clone)]
pub struct RootKey(Key);

impl RootKey {
    /// Of these bytes, which nobody can guess.
    #[must_use]
    pub fn new(bytes: [u8; KEY_BYTES]) -> Self {
        Self(Key(Zeroizing::new(bytes)))
    }

    /// Tells it from another one and tells nothing about it.
    pub(crate) fn fingerprint(&self) -> [u8; 32] {
        Sha256::new().chain_update(b"service-hub vault root v1\0").chain_update(*self.0.0).finalize().into()
    }

    pub(crate) fn key(&self) -> &Key {
        &self.0
    }
}

impl fmt::Debug for RootKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("RootKey(..)")
    }
}

/// One key of any kind.
#[derive(Clone)]
pub(crate) struct Key(Zeroizing<[u8; KEY_BYTES]>);

impl Key {
    pub(crate) fn generate() -> Self {
        let mut bytes = Zeroizing::new([0; KEY_BYTES]);
        rand::fill(&mut bytes[..]);
        Self(bytes)
    }

    /// `inner` wrapped by this key, to be opened as the same kind of the same owner only.
    pub(crate) fn wrap(&self, inner: &Self, owner: Owner) -> Vec<u8> {
        self.encrypt(&inner.0[..], &owner.bytes())
    }

    /// The key that was wrapped.
    pub(crate) fn unwrap(&self, wrapped: &[u8], owner: Owner) -> Result<Self, VaultError> {
        let opened = self.decrypt(wrapped, &owner.bytes()).map(Zeroizing::new);
        let bytes = opened.and_then(|opened| <[u8; KEY_BYTES]>::try_from(opened.as_slice()).ok());
        bytes
            .map(|bytes| Self(Zeroizing::new(bytes)))
            .ok_or_else(|| VaultError::Corrupt(format!("the key of {owner} does not open with the key that wraps it")))
    }

    /// The text sealed for its place.
    pub(crate) fn seal(&self, text: &str, place: &Place<'_>, key_id: Uuid) -> String {
        STANDARD.encode([&[VERSION], &*self.encrypt(text.as_bytes(), &place.bound_to(key_id))].concat())
    }

    /// The text that was sealed for this place.
    pub(crate) fn open(&self, sealed: &str, place: &Place<'_>, key_id: Uuid) -> Result<String, VaultError> {
        let opened = STANDARD.decode(sealed).ok().and_then(|bytes| match bytes.split_first() {
            Some((&VERSION, rest)) => self.decrypt(rest, &place.bound_to(key_id)),
            Some(_) | None => None,
        });
        opened.and_then(|bytes| String::from_utf8(bytes).ok()).ok_or_else(|| {
            let Place { aggregate_type, aggregate_id, sequence, field, .. } = place;
            VaultError::Corrupt(format!(
                "`{field}` of {aggregate_type} {aggregate_id} at {sequence} is not what was sealed for this place"
            ))
        })
    }

    /// The keyed hash that a subject is found by; `kind` tells what `text` is.
    pub(crate) fn digest(&self, kind: &str, text: &str) -> [u8; 32] {
        let derived = mac(&self.0[..], &[b"service-hub look-ups v1\0"]);
        mac(&derived, &[kind.as_bytes(), b"\0", text.as_bytes()])
    }

    fn encrypt(&self, bytes: &[u8], bound_to: &[u8]) -> Vec<u8> {
        let mut nonce = [0; NONCE_BYTES];
        rand::fill(&mut nonce[..]);
        let sealed = self
            .cipher()
            .encrypt(XNonce::from_slice(&nonce), Payload { msg: bytes, aad: bound_to })
            .expect("a short text can always be sealed");
        [&nonce[..], &sealed].concat()
    }

    fn decrypt(&self, bytes: &[u8], bound_to: &[u8]) -> Option<Vec<u8>> {
        let (nonce, sealed) = bytes.split_at_checked(NONCE_BYTES)?;
        self.cipher().decrypt(XNonce::from_slice(nonce), Payload { msg: sealed, aad: bound_to }).ok()
    }

    fn cipher(&self) -> XChaCha20Poly1305 {
        XChaCha20Poly1305::new((&*self.0).into())
    }
}

fn mac(key: &[u8], parts: &[&[u8]]) -> [u8; 32] {
    let mut mac = <Hmac<Sha256> as hmac::Mac>::new_from_slice(key).expect("a key of any length will do");
    for part in parts {
        mac.update(part);
    }
    mac.finalize().into_bytes().into()
}

/// Whose a wrapped key is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Owner {
    Tenant(Uuid),
    Key { tenant_id: Uuid, key_id: Uuid },
}

impl Owner {
    fn bytes(self) -> Vec<u8> {
        match self {
            Self::Tenant(tenant_id) => [b"tenant\0".as_slice(), tenant_id.as_bytes()].concat(),
            Self::Key { tenant_id, key_id } => [b"key\0".as_slice(), tenant_id.as_bytes(), key_id.as_bytes()].concat(),
        }
    }
}

impl fmt::Display for Owner {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tenant(tenant_id) => write!(formatter, "tenant {tenant_id}"),
            Self::Key { tenant_id, key_id } => write!(formatter, "subject or class {key_id} of tenant {tenant_id}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Key, Owner, Place, Uuid};

    fn place(field: &str) -> Place<'_> {
        Place {
            tenant_id: Uuid::from_u128(1),
            aggregate_type: "tenant",
            aggregate_id: Uuid::from_u128(2),
            sequence: 3,
            field,
        }
    }

    #[test]
    fn a_text_opens_with_its_key_in_its_place_only() {
        let (key, id) = (Key::generate(), Uuid::from_u128(4));
        let here = place("contact_email");
        let sealed = key.seal("ada@example.com", &here, id);
        assert_eq!(key.open(&sealed, &here, id).unwrap(), "ada@example.com");
        for (elsewhere, key_id) in [
            (place("name"), id),
            (Place { sequence: 4, ..here }, id),
            (Place { tenant_id: Uuid::from_u128(9), ..here }, id),
            (Place { aggregate_id: Uuid::from_u128(9), ..here }, id),
            (Place { aggregate_type: "role", ..here }, id),
            (here, Uuid::from_u128(9)),
        ] {
            assert!(key.open(&sealed, &elsewhere, key_id).is_err(), "{elsewhere:?} {key_id}");
        }
        assert!(Key::generate().open(&sealed, &here, id).is_err());
        for broken in ["", "AA==", "no base64!", &sealed[1..]] {
            assert!(key.open(broken, &here, id).is_err(), "{broken}");
        }
        assert_ne!(sealed, key.seal("ada@example.com", &here, id), "the same text never looks the same");
    }

    #[test]
    fn a_wrapped_key_opens_for_its_owner_only() {
        let (outer, inner) = (Key::generate(), Key::generate());
        let (tenant_id, key_id) = (Uuid::from_u128(1), Uuid::from_u128(2));
        let wrapped = outer.wrap(&inner, Owner::Key { tenant_id, key_id });
        assert_eq!(*outer.unwrap(&wrapped, Owner::Key { tenant_id, key_id }).unwrap().0, *inner.0);
        assert!(outer.unwrap(&wrapped, Owner::Tenant(tenant_id)).is_err());
        assert!(outer.unwrap(&wrapped, Owner::Key { tenant_id, key_id: tenant_id }).is_err());
        assert!(inner.unwrap(&wrapped, Owner::Key { tenant_id, key_id }).is_err());
    }

    #[test]
    fn a_digest_depends_on_key_kind_and_text() {
        let key = Key::generate();
        let digest = key.digest("email", "ada@example.com");
        assert_eq!(digest, key.digest("email", "ada@example.com"));
        assert_ne!(digest, key.digest("phone", "ada@example.com"));
        assert_ne!(digest, key.digest("email", "bob@example.com"));
        assert_ne!(digest, Key::generate().digest("email", "ada@example.com"));
    }
}
