//! The signatures of providers that have a scheme of their own; verified here, never made.
//!
//! All are HMAC-SHA256 with the bytes of the secret's text. Sources:
//! <https://docs.github.com/webhooks/using-webhooks/validating-webhook-deliveries>, <https://docs.stripe.com/webhooks/signature>.

use std::{fmt, time::Duration};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use hmac::{Hmac, Mac};
use sha2::Sha256;
use zeroize::Zeroizing;

use crate::{Refused, verify::timely};

/// So many signatures of a `Stripe-Signature` are looked at.
const SIGNATURES_MAX: usize = 16;

const MAC_BYTES: usize = 32;

/// A secret whose text, as it is, is the key; never printed.
#[derive(Clone)]
pub struct TextSecret(Zeroizing<String>);

impl TextSecret {
    /// This text.
    #[must_use]
    pub fn new(text: String) -> Self {
        Self(Zeroizing::new(text))
    }

    fn made(&self, mac: &[u8], parts: &[&[u8]]) -> bool {
        let mut own = Hmac::<Sha256>::new_from_slice(self.0.as_bytes()).expect("hmac takes keys of any length");
        parts.iter().for_each(|part| own.update(part));
        own.verify_slice(mac).is_ok()
    }
}

impl fmt::Debug for TextSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TextSecret(..)")
    }
}

/// Verifies a signature over the body alone, in hex or base64 behind `prefix`, as GitHub's `X-Hub-Signature-256` is behind `sha256=`.
///
/// # Errors
/// [`Refused::Signature`].
pub fn verify_body<'a>(
    signature: &str,
    prefix: &str,
    body: &[u8],
    secrets: impl IntoIterator<Item = &'a TextSecret>,
) -> Result<(), Refused> {
    let text = signature.strip_prefix(prefix).ok_or(Refused::Signature)?;
    let mac = mac_of(text).ok_or(Refused::Signature)?;
    if secrets.into_iter().any(|secret| secret.made(&mac, &[body])) { Ok(()) } else { Err(Refused::Signature) }
}

/// Verifies a `Stripe-Signature`, `t=<seconds>,v1=<hex>,..`, over `<seconds>.<body>`, that came at `now` (seconds since 1970).
///
/// # Errors
/// As [`verify`](crate::verify()), but for the id, which Stripe has in the body.
pub fn verify_stripe<'a>(
    header: &str,
    body: &[u8],
    secrets: impl IntoIterator<Item = &'a TextSecret, IntoIter: Clone>,
    now: i64,
    tolerance: Duration,
) -> Result<(), Refused> {
    let items = || header.split(',').filter_map(|item| item.trim().split_once('='));
    let timestamp = items().find_map(|(name, value)| (name == "t").then_some(value)).ok_or(Refused::Timestamp)?;
    timely(timestamp, now, tolerance)?;
    let secrets = secrets.into_iter();
    let macs = items().filter(|(name, _)| *name == "v1").take(SIGNATURES_MAX).filter_map(|(_, text)| mac_of(text));
    for mac in macs {
        if secrets.clone().any(|secret| secret.made(&mac, &[timestamp.as_bytes(), b".", body])) {
            return Ok(());
        }
    }
    Err(Refused::Signature)
}

/// 64 hex digits, or base64; a MAC has other lengths in each, so neither is taken for the other.
fn mac_of(text: &str) -> Option<[u8; MAC_BYTES]> {
    if text.len() != 2 * MAC_BYTES {
        return STANDARD.decode(text).ok()?.try_into().ok();
    }
    let mut mac = [0; MAC_BYTES];
    for (byte, digits) in mac.iter_mut().zip(text.as_bytes().chunks(2)) {
        let digit = |at: usize| char::from(digits[at]).to_digit(16);
        *byte = u8::try_from(digit(0)? * 16 + digit(1)?).ok()?;
    }
    Some(mac)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::TOLERANCE;

    /// Facts from GitHub's page on validating deliveries.
    const GITHUB_SECRET: &str = "It's a Secret to Everybody";
    const GITHUB_BODY: &[u8] = b"Hello, World!";
    const GITHUB_SIGNATURE: &str = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";

    fn secret(text: &str) -> TextSecret {
        TextSecret::new(text.to_owned())
    }

    fn signed(secret: &str, parts: &[&[u8]]) -> String {
        let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).unwrap();
        parts.iter().for_each(|part| mac.update(part));
        mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect()
    }

    #[test]
    fn the_example_of_github_is_verified() {
        let github = |signature: &str, body: &[u8], key: &str| verify_body(signature, "sha256=", body, &[secret(key)]);
        assert_eq!(github(GITHUB_SIGNATURE, GITHUB_BODY, GITHUB_SECRET), Ok(()));
        let refused = Err(Refused::Signature);
        assert_eq!(github(GITHUB_SIGNATURE, b"Hello, World?", GITHUB_SECRET), refused);
        assert_eq!(github(GITHUB_SIGNATURE, GITHUB_BODY, "another"), refused);
        for garbage in [
            "",
            "sha256=",
            "sha1=00",
            &GITHUB_SIGNATURE[7..],
            &GITHUB_SIGNATURE[..70],
            "sha256=äää",
            &"sha256=".repeat(9),
        ] {
            assert_eq!(github(garbage, GITHUB_BODY, GITHUB_SECRET), refused, "{garbage}");
        }
        let both = [secret("another"), secret(GITHUB_SECRET)];
        assert_eq!(verify_body(GITHUB_SIGNATURE, "sha256=", GITHUB_BODY, &both), Ok(()));
    }

    #[test]
    fn a_signature_may_be_hex_or_base64() {
        let hex = &GITHUB_SIGNATURE["sha256=".len()..];
        let mac: [u8; 32] = mac_of(hex).unwrap();
        for text in [hex.to_owned(), hex.to_uppercase(), STANDARD.encode(mac)] {
            assert_eq!(verify_body(&text, "", GITHUB_BODY, &[secret(GITHUB_SECRET)]), Ok(()), "{text}");
        }
    }

    #[test]
    fn a_stripe_signature_is_good_for_its_time_and_body() {
        let (key, body) = ("whsec_test", b"{\"id\":\"evt_1\"}");
        let v1 = signed(key, &[b"1700000000.", body]);
        let header = format!("t=1700000000,v1={},v1={v1},v0=00", "0".repeat(64));
        let verify = |header: &str, body: &[u8], now| {
            verify_stripe(header, body, &[secret("other"), secret(key)], now, TOLERANCE)
        };
        assert_eq!(verify(&header, body, 1_700_000_300), Ok(()));
        assert_eq!(verify(&header, body, 1_700_000_301), Err(Refused::TooOld));
        assert_eq!(verify(&header, b"{}", 1_700_000_000), Err(Refused::Signature));
        assert_eq!(verify(&header.replace("t=17", "t=18"), body, 1_800_000_000), Err(Refused::Signature));
        assert_eq!(verify(&format!("v1={v1}"), body, 1_700_000_000), Err(Refused::Timestamp));
        assert_eq!(verify("t=1700000000", body, 1_700_000_000), Err(Refused::Signature));
        assert_eq!(verify("", body, 1_700_000_000), Err(Refused::Timestamp));
    }

    #[test]
    fn a_printed_secret_says_nothing() {
        assert_eq!(format!("{:?}", secret("hidden")), "TextSecret(..)");
    }
}
