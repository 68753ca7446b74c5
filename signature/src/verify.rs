//! Whether a message was signed by whoever has the key, and just now.

use std::time::Duration;

use base64::{Engine as _, engine::general_purpose::STANDARD};

use crate::{KeyError, PUBLIC_KEY_PREFIX, PublicKey, SymmetricSecret};

/// How far a message's timestamp may lie from the receiver's clock, both ways, as the reference libraries have it.
pub const TOLERANCE: Duration = Duration::from_secs(5 * 60);

/// So many signatures of a header are looked at, and so many bytes of one; no sender has a reason for more.
const SIGNATURES_MAX: usize = 16;
const SIGNATURE_BYTES_MAX: usize = 128;

/// What a receiver verifies with.
#[derive(Clone, Debug)]
pub enum VerifyingKey {
    /// The shared secret, for signatures `v1`.
    Symmetric(SymmetricSecret),
    /// The sender's public key, for signatures `v1a`.
    Public(PublicKey),
}

/// A message as it came, the values of its headers unparsed.
#[derive(Clone, Copy, Debug)]
pub struct Received<'a> {
    /// `webhook-id`.
    pub id: &'a str,
    /// `webhook-timestamp`.
    pub timestamp: &'a str,
    /// `webhook-signature`.
    pub signature: &'a str,
    /// Byte for byte, before anything has parsed it.
    pub body: &'a [u8],
}

/// Why a message is not believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// A message without an id cannot be told from its repetition.
    #[error("the webhook id is empty")]
    Id,
    /// Not a whole number of seconds in decimal digits.
    #[error("the webhook timestamp is not a whole number of seconds")]
    Timestamp,
    /// It may be a message from long ago that somebody sends again.
    #[error("the webhook timestamp is too old")]
    TooOld,
    /// The sender's clock is ahead, or ours is behind.
    #[error("the webhook timestamp is in the future")]
    TooNew,
    /// No signature of the header is by any of the keys over this message.
    #[error("no signature of the message is by a key that is known here")]
    Signature,
}

/// Verifies a message that came at `now` (seconds since 1970). One signature by one of the keys is enough; those of
/// unknown versions are passed over. Comparing takes the same time whether the first or the last byte is wrong.
pub fn verify<'a>(
    received: Received<'_>,
    keys: impl IntoIterator<Item = &'a VerifyingKey, IntoIter: Clone>,
    now: i64,
    tolerance: Duration,
) -> Result<(), Refused> {
    if received.id.is_empty() {
        return Err(Refused::Id);
    }
    timely(received.timestamp, now, tolerance)?;
    let keys = keys.into_iter();
    for signature in received.signature.split(' ').take(SIGNATURES_MAX) {
        if signature.len() > SIGNATURE_BYTES_MAX {
            continue;
        }
        let Some((version, encoded)) = signature.split_once(',') else { continue };
        let Ok(bytes) = STANDARD.decode(encoded) else { continue };
        if keys.clone().any(|key| key.made(version, &bytes, &received)) {
            return Ok(());
        }
    }
    Err(Refused::Signature)
}

impl VerifyingKey {
    /// A key by its prefix; without one it is a shared secret, as the reference libraries have it.
    ///
    /// # Errors
    /// Why the text is no key.
    pub fn parse(text: &str) -> Result<Self, KeyError> {
        if text.starts_with(PUBLIC_KEY_PREFIX) {
            PublicKey::parse(text).map(Self::Public)
        } else {
            SymmetricSecret::parse(text).map(Self::Symmetric)
        }
    }

    fn made(&self, version: &str, signature: &[u8], received: &Received<'_>) -> bool {
        let Received { id, timestamp, body, .. } = *received;
        match (version, self) {
            ("v1", Self::Symmetric(secret)) => secret.made(signature, id, timestamp, body),
            ("v1a", Self::Public(key)) => key.made(signature, id, timestamp, body),
            _ => false,
        }
    }
}

/// The text itself is what was signed, so it is looked at and handed on unchanged.
pub(crate) fn timely(timestamp: &str, now: i64, tolerance: Duration) -> Result<(), Refused> {
    if timestamp.is_empty() || !timestamp.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(Refused::Timestamp);
    }
    let made: i64 = timestamp.parse().map_err(|_| Refused::Timestamp)?;
    let tolerance = i64::try_from(tolerance.as_secs()).unwrap_or(i64::MAX);
    if made < now.saturating_sub(tolerance) {
        Err(Refused::TooOld)
    } else if made > now.saturating_add(tolerance) {
        Err(Refused::TooNew)
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests;
