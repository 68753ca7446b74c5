//! How a provider signs what it sends.

use std::{fmt, str::FromStr};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::text::InvalidText;

/// Longest name of a header, in characters.
const HEADER_LENGTH_MAX: usize = 64;

/// Longest text before a signature, in characters.
const PREFIX_LENGTH_MAX: usize = 32;

/// Headers that have a meaning of their own, or that something on the way may add or change.
const HEADERS_RESERVED: &[&str] =
    &["authorization", "connection", "content-length", "content-type", "cookie", "host", "transfer-encoding"];

/// How a provider signs what it sends.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Scheme {
    /// `webhook-id`, `webhook-timestamp` and `webhook-signature`, by a shared secret or ed25519.
    StandardWebhooks {},
    /// `X-Hub-Signature-256`: HMAC-SHA256 over the body, in hex behind `sha256=`.
    Github {},
    /// `Stripe-Signature`: a timestamp and HMAC-SHA256 over it and the body, in hex.
    Stripe {},
    /// HMAC-SHA256 over the body, in hex or base64, in a header of the provider's.
    HmacSha256 {
        header: SignatureHeader,
        /// What stands before the signature, such as `sha256=`.
        #[serde(default)]
        prefix: SignaturePrefix,
    },
}

/// The name of the header that has the signature, in lower case: 1 to 64 of `a-z`, `0-9` and `-`, and none of HTTP's own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
pub struct SignatureHeader(#[schemars(regex(pattern = "^[A-Za-z0-9-]{1,64}$"))] String);

/// What stands before a signature: at most 32 visible ASCII characters.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
pub struct SignaturePrefix(#[schemars(regex(pattern = "^[!-~]{0,32}$"))] String);

impl SignatureHeader {
    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl SignaturePrefix {
    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for SignatureHeader {
    type Err = InvalidText;

    fn from_str(text: &str) -> Result<Self, InvalidText> {
        let name = text.to_ascii_lowercase();
        let plain = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
        if !plain || !(1..=HEADER_LENGTH_MAX).contains(&name.len()) {
            return Err(InvalidText(format!(
                "a header is named by 1 to {HEADER_LENGTH_MAX} letters, digits and hyphens"
            )));
        }
        if HEADERS_RESERVED.contains(&name.as_str()) {
            return Err(InvalidText(format!("`{name}` has a meaning of its own")));
        }
        Ok(Self(name))
    }
}

impl FromStr for SignaturePrefix {
    type Err = InvalidText;

    fn from_str(text: &str) -> Result<Self, InvalidText> {
        if text.len() > PREFIX_LENGTH_MAX || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(InvalidText(format!("a prefix has at most {PREFIX_LENGTH_MAX} visible ascii characters")));
        }
        Ok(Self(text.to_owned()))
    }
}

impl TryFrom<String> for SignatureHeader {
    type Error = InvalidText;

    fn try_from(text: String) -> Result<Self, InvalidText> {
        text.parse()
    }
}

impl TryFrom<String> for SignaturePrefix {
    type Error = InvalidText;

    fn try_from(text: String) -> Result<Self, InvalidText> {
        text.parse()
    }
}

impl From<SignatureHeader> for String {
    fn from(header: SignatureHeader) -> Self {
        header.0
    }
}

impl From<SignaturePrefix> for String {
    fn from(prefix: SignaturePrefix) -> Self {
        prefix.0
    }
}

impl fmt::Display for SignatureHeader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
