//! Cursors: a key to go on from, sealed with a MAC over whom and what it was given for.
//!
//! Shape: URL-safe base64 of HMAC-SHA256 (32 bytes) and the JSON of the payload. The payload is not secret: it holds
//! sort keys of a row that the caller was just shown.

use std::fmt;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use hmac::{Hmac, Mac};
use serde::{Serialize, de::DeserializeOwned};
use sha2::Sha256;
use uuid::Uuid;

use crate::problem::Problem;

/// Longest cursor that is looked at, in bytes.
pub const CURSOR_BYTES_MAX: usize = 2048;

const MAC_BYTES: usize = 32;

/// The secret that seals cursors; the same in every process that serves the same lists.
#[derive(Clone)]
pub struct CursorKey([u8; 32]);

/// Whom and what a cursor is for; opening it needs the same.
#[derive(Clone, Copy, Debug)]
pub struct CursorBinding<'a> {
    /// The tenant of the list, `None` for lists of the platform.
    pub tenant: Option<Uuid>,
    /// Who asks.
    pub principal: &'a str,
    /// The list and its filters, in one agreed spelling.
    pub query: &'a str,
}

impl CursorKey {
    /// A key from 32 secret random bytes.
    pub fn new(secret: [u8; 32]) -> Self {
        Self(secret)
    }

    /// Makes a cursor. The payload is a small struct or tuple of sort keys; one that JSON cannot express is a mistake
    /// of the author and panics.
    pub fn seal(&self, binding: &CursorBinding<'_>, payload: &impl Serialize) -> String {
        let payload = serde_json::to_vec(payload).expect("sort keys are plain values that json can express");
        let mut bytes = self.mac(binding, &payload).finalize().into_bytes().to_vec();
        bytes.extend_from_slice(&payload);
        URL_SAFE_NO_PAD.encode(bytes)
    }

    /// Reads a cursor; 400 `invalid_cursor` when it was made for another binding, by another key, or was changed. The
    /// MAC is compared in constant time, before the payload is looked at.
    pub fn open<T: DeserializeOwned>(&self, binding: &CursorBinding<'_>, cursor: &str) -> Result<T, Problem> {
        if cursor.len() > CURSOR_BYTES_MAX {
            return Err(Problem::invalid_cursor());
        }
        let bytes = URL_SAFE_NO_PAD.decode(cursor).map_err(|_| Problem::invalid_cursor())?;
        let (mac, payload) = bytes.split_at_checked(MAC_BYTES).ok_or_else(Problem::invalid_cursor)?;
        self.mac(binding, payload).verify_slice(mac).map_err(|_| Problem::invalid_cursor())?;
        serde_json::from_slice(payload).map_err(|_| Problem::invalid_cursor())
    }

    fn mac(&self, binding: &CursorBinding<'_>, payload: &[u8]) -> Hmac<Sha256> {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.0).expect("hmac takes keys of any length");
        mac.update(b"hub cursor v1\0");
        let tenant = binding.tenant.map(|tenant| *tenant.as_bytes());
        let tenant = tenant.as_ref().map_or(&[][..], |bytes| &bytes[..]);
        for part in [tenant, binding.principal.as_bytes(), binding.query.as_bytes(), payload] {
            mac.update(&(part.len() as u64).to_be_bytes());
            mac.update(part);
        }
        mac
    }
}

impl fmt::Debug for CursorKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("CursorKey").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BINDING: CursorBinding<'static> = CursorBinding { tenant: Some(Uuid::nil()), principal: "ops", query: "/l?" };

    #[test]
    fn a_cursor_opens_with_its_key_and_binding_only() {
        let key = CursorKey::new([1; 32]);
        let cursor = key.seal(&BINDING, &("acme", 7));
        assert_eq!(key.open::<(String, i64)>(&BINDING, &cursor).unwrap(), ("acme".to_owned(), 7));
        let refused = |key: &CursorKey, binding: CursorBinding<'_>, cursor: &str| {
            key.open::<(String, i64)>(&binding, cursor).unwrap_err().code() == "invalid_cursor"
        };
        assert!(refused(&CursorKey::new([2; 32]), BINDING, &cursor));
        assert!(refused(&key, CursorBinding { tenant: None, ..BINDING }, &cursor));
        assert!(refused(&key, CursorBinding { principal: "eve", ..BINDING }, &cursor));
        assert!(refused(&key, CursorBinding { query: "/m?", ..BINDING }, &cursor));
        for bad in ["", "a", "!!!", &cursor[1..], &"A".repeat(CURSOR_BYTES_MAX + 1)] {
            assert!(refused(&key, BINDING, bad), "{bad}");
        }
    }

    #[test]
    fn a_cursor_of_one_tenant_is_none_of_another_and_none_of_the_platform() {
        let key = CursorKey::new([1; 32]);
        let tenants = [None, Some(Uuid::nil()), Some(Uuid::from_u128(1)), Some(Uuid::max())];
        for sealed_for in tenants {
            let cursor = key.seal(&CursorBinding { tenant: sealed_for, ..BINDING }, &7);
            for tenant in tenants {
                let opened = key.open::<i64>(&CursorBinding { tenant, ..BINDING }, &cursor);
                assert_eq!(opened.is_ok(), tenant == sealed_for, "{sealed_for:?} {tenant:?}");
            }
        }
    }

    #[test]
    fn what_one_part_of_the_binding_lacks_no_other_part_makes_up_for() {
        let key = CursorKey::new([1; 32]);
        let cursor = key.seal(&CursorBinding { principal: "ab", query: "c", ..BINDING }, &7);
        for (principal, query) in [("a", "bc"), ("abc", ""), ("", "abc"), ("ab\0c", "")] {
            let binding = CursorBinding { principal, query, ..BINDING };
            assert_eq!(key.open::<i64>(&binding, &cursor).unwrap_err().code(), "invalid_cursor", "{principal} {query}");
        }
    }

    #[test]
    fn every_changed_byte_is_noticed() {
        let key = CursorKey::new([1; 32]);
        let cursor = key.seal(&BINDING, &7);
        let bytes = URL_SAFE_NO_PAD.decode(&cursor).unwrap();
        for index in 0..bytes.len() {
            for bit in 0..8 {
                let mut changed = bytes.clone();
                changed[index] ^= 1 << bit;
                assert!(
                    key.open::<i64>(&BINDING, &URL_SAFE_NO_PAD.encode(changed)).is_err(),
                    "byte {index}, bit {bit}"
                );
            }
        }
        for index in 0..cursor.len() {
            for other in ["A", "z", "-", "=", "+", " ", "\u{e9}"] {
                let mut text = cursor.clone();
                text.replace_range(index..=index, other);
                assert!(text == cursor || key.open::<i64>(&BINDING, &text).is_err(), "{text}");
            }
            assert!(key.open::<i64>(&BINDING, &cursor[..index]).is_err(), "{index} characters");
        }
    }

    /// SplitMix64: the same seed, the same numbers.
    fn next(state: &mut u64) -> u64 {
        *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (*state ^ (*state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// As many cases as the environment variable says.
    #[test]
    fn random_cursors_neither_open_nor_panic() {
        let cases: u64 = std::env::var("HUB_FUZZ_CASES").map_or(5_000, |text| text.parse().unwrap());
        let key = CursorKey::new([1; 32]);
        let sealed = URL_SAFE_NO_PAD.decode(key.seal(&BINDING, &("acme", 7))).unwrap();
        for seed in 0..cases {
            let mut state = seed;
            let length = usize::try_from(next(&mut state) % 120).unwrap();
            let mut bytes: Vec<u8> = (0..length).map(|_| next(&mut state).to_le_bytes()[0]).collect();
            let text = match seed % 4 {
                0 => String::from_utf8_lossy(&bytes).into_owned(),
                1 => URL_SAFE_NO_PAD.encode(&bytes),
                // A real one, cut somewhere and gone on with.
                2 => {
                    bytes.splice(..0, sealed[..length.min(sealed.len() - 1)].iter().copied());
                    URL_SAFE_NO_PAD.encode(&bytes)
                }
                // A real payload with another seal.
                _ => {
                    bytes.resize(MAC_BYTES, 0);
                    bytes.extend_from_slice(&sealed[MAC_BYTES..]);
                    URL_SAFE_NO_PAD.encode(&bytes)
                }
            };
            let opened = key.open::<serde_json::Value>(&BINDING, &text);
            assert_eq!(
                opened.map_err(|problem| problem.code().to_owned()),
                Err("invalid_cursor".into()),
                "seed {seed}"
            );
        }
    }

    #[test]
    fn a_payload_of_another_shape_is_an_invalid_cursor() {
        let key = CursorKey::new([1; 32]);
        let cursor = key.seal(&BINDING, &"text");
        assert_eq!(key.open::<i64>(&BINDING, &cursor).unwrap_err().code(), "invalid_cursor");
    }
}
