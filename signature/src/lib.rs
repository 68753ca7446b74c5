//! Signatures of webhooks as Standard Webhooks has them: made, and verified in constant time. Those of providers that have a scheme of
//! their own are verified in [`provider`].
//!
//! What is signed is `<webhook-id>.<webhook-timestamp>.<body>`, the body byte for byte. A signature is `v1,<base64>`
//! (HMAC-SHA256 with a shared secret) or `v1a,<base64>` (ed25519); the header `webhook-signature` has one or several,
//! separated by spaces, so that a sender can change its secret and a receiver may verify with the old or the new one.
//!
//! Source: <https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md>

mod asymmetric;
pub mod provider;
mod symmetric;
mod verify;

pub use asymmetric::{PublicKey, SigningKey};
pub use symmetric::SymmetricSecret;
pub use verify::{Received, Refused, TOLERANCE, VerifyingKey, verify};

/// Names the message; the same at every attempt to deliver it.
pub const ID_HEADER: &str = "webhook-id";

/// When this attempt was made, in whole seconds since 1970.
pub const TIMESTAMP_HEADER: &str = "webhook-timestamp";

/// The signatures, separated by spaces.
pub const SIGNATURE_HEADER: &str = "webhook-signature";

/// Before the base64 of a shared secret.
pub const SECRET_PREFIX: &str = "whsec_";

/// Before the base64 of an ed25519 secret key.
pub const SIGNING_KEY_PREFIX: &str = "whsk_";

/// Before the base64 of an ed25519 public key.
pub const PUBLIC_KEY_PREFIX: &str = "whpk_";

/// Why a text is no key. Says nothing of what the text was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// It is not standard base64, with or without the prefix of its kind.
    #[error("the key is not standard base64 behind its prefix")]
    Base64,
    /// It has another number of bytes than its kind may have.
    #[error("the key has {bytes} bytes; it must have {wanted}")]
    Length {
        /// So many it has.
        bytes: usize,
        /// So many it may have, in words.
        wanted: &'static str,
    },
    /// The public half beside an ed25519 secret key belongs to another one.
    #[error("the two halves of the key do not belong together")]
    Halves,
}

/// What a sender signs with.
#[derive(Clone, Debug)]
pub enum Key {
    /// A shared secret: signatures `v1`.
    Symmetric(SymmetricSecret),
    /// An ed25519 key: signatures `v1a`.
    Asymmetric(SigningKey),
}

impl Key {
    /// A secret key by its prefix; without one it is a shared secret, as the reference libraries have it.
    pub fn parse(text: &str) -> Result<Self, KeyError> {
        if text.starts_with(SIGNING_KEY_PREFIX) {
            SigningKey::parse(text).map(Self::Asymmetric)
        } else {
            SymmetricSecret::parse(text).map(Self::Symmetric)
        }
    }

    /// What a receiver verifies the signatures of this key with. That of a shared secret is the secret.
    #[must_use]
    pub fn verifying(&self) -> VerifyingKey {
        match self {
            Self::Symmetric(secret) => VerifyingKey::Symmetric(secret.clone()),
            Self::Asymmetric(key) => VerifyingKey::Public(key.public()),
        }
    }

    fn signature(&self, id: &str, timestamp: &str, body: &[u8]) -> String {
        match self {
            Self::Symmetric(secret) => secret.signature(id, timestamp, body),
            Self::Asymmetric(key) => key.signature(id, timestamp, body),
        }
    }
}

impl From<SymmetricSecret> for Key {
    fn from(secret: SymmetricSecret) -> Self {
        Self::Symmetric(secret)
    }
}

impl From<SigningKey> for Key {
    fn from(key: SigningKey) -> Self {
        Self::Asymmetric(key)
    }
}

/// The value of `webhook-signature` for one attempt: a signature by each key, in their order. `timestamp` is in seconds
/// since 1970 and goes out as `webhook-timestamp`, in decimal digits; without keys the value is empty.
#[must_use]
pub fn sign<'a>(keys: impl IntoIterator<Item = &'a Key>, id: &str, timestamp: i64, body: &[u8]) -> String {
    let timestamp = timestamp.to_string();
    let signatures: Vec<String> = keys.into_iter().map(|key| key.signature(id, &timestamp, body)).collect();
    signatures.join(" ")
}

/// The bytes behind a prefix, which may be missing.
fn decoded(text: &str, prefix: &str) -> Result<zeroize::Zeroizing<Vec<u8>>, KeyError> {
    use base64::{Engine as _, engine::general_purpose::STANDARD};
    let text = text.strip_prefix(prefix).unwrap_or(text);
    STANDARD.decode(text).map(zeroize::Zeroizing::new).map_err(|_| KeyError::Base64)
}
