//! A webhook's signing secret, in the only form that is ever kept.

use std::{fmt, str::FromStr};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::text::InvalidText;

/// At most so many characters of base64.
const LENGTH_MAX: usize = 1024;

/// A secret that was encrypted outside of this crate, as base64 with padding; at most 1,024 characters.
///
/// Sealing and opening are no business of the domain, which never sees the secret itself.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct SealedSecret(#[schemars(length(max = LENGTH_MAX))] String);

impl FromStr for SealedSecret {
    type Err = InvalidText;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let digits = text.trim_end_matches('=');
        let padding = text.len() - digits.len();
        let alphabet = |c: char| c.is_ascii_alphanumeric() || c == '+' || c == '/';
        let shaped = !digits.is_empty() && padding <= 2 && text.len().is_multiple_of(4) && digits.chars().all(alphabet);
        if !shaped || text.len() > LENGTH_MAX {
            return Err(InvalidText(format!("a sealed secret is base64 of at most {LENGTH_MAX} characters")));
        }
        Ok(Self(text.to_owned()))
    }
}

impl SealedSecret {
    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Says nothing of its content, so that it never reaches a log.
impl fmt::Debug for SealedSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SealedSecret(..)")
    }
}

/// A signing secret, the private key made with it, and the id by which both are spoken of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Secret {
    /// Not secret; tells receivers which secret a delivery was signed with.
    pub secret_id: Uuid,
    pub sealed_secret: SealedSecret,
    /// `None` in secrets that were made before there were key pairs.
    pub key_pair: Option<KeyPair>,
}

/// An ed25519 key pair: the public half as `whpk_` and base64, the private one sealed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct KeyPair {
    /// What receivers verify with.
    pub public_key: String,
    pub sealed_signing_key: SealedSecret,
}

#[cfg(test)]
mod tests {
    use super::{LENGTH_MAX, SealedSecret};

    #[test]
    fn base64_is_kept_and_not_shown() {
        for text in ["c2VhbGVk", "c2VhbGU=", "c2VhbA==", "+/+/"] {
            let sealed: SealedSecret = text.parse().unwrap();
            assert_eq!(sealed.as_str(), text);
            assert_eq!(format!("{sealed:?}"), "SealedSecret(..)");
        }
    }

    #[test]
    fn what_is_not_base64_is_refused() {
        for text in ["", "====", "a===", "abc", "ab=c", "ab c", "whsec_ab", &"A".repeat(LENGTH_MAX + 4)] {
            assert!(text.parse::<SealedSecret>().is_err(), "{text}");
        }
    }
}
