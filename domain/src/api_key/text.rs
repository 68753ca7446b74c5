//! The text of an API key: `hub_<id>_<secret><checksum>`.
//!
//! The id is public and finds the key; the secret is 256 random bits, so that its plain SHA-256 is enough to keep. The checksum is the
//! CRC-32 of everything before it, so that a mistyped key, or what a scanner of leaked keys found, is told from a real one without asking
//! anybody.

use std::fmt;

use sha2::{Digest, Sha256};

use super::{SecretHash, SecretId};

const PREFIX: &str = "hub_";
/// Length of the id, in hexadecimal digits.
const ID_DIGITS: usize = 16;
/// Length of the secret, in hexadecimal digits.
const SECRET_DIGITS: usize = 64;
/// Length of the checksum, in hexadecimal digits.
const CHECKSUM_DIGITS: usize = 8;
/// Length of a whole key.
pub const KEY_BYTES: usize = PREFIX.len() + ID_DIGITS + 1 + SECRET_DIGITS + CHECKSUM_DIGITS;

/// An API key in clear text, as it is shown once to whoever asked for it.
#[derive(Clone, PartialEq, Eq)]
pub struct KeyText(String);

impl KeyText {
    /// Makes a key from 32 random bytes: the secret is their hex, the id the beginning of their salted hash.
    #[must_use]
    pub fn generate(random: [u8; 32]) -> Self {
        let id = hex(&Sha256::new().chain_update(b"hub api key id\0").chain_update(random).finalize()[..ID_DIGITS / 2]);
        let text = format!("{PREFIX}{id}_{}", hex(&random));
        let checksum = checksum(&text);
        Self(text + &checksum)
    }

    /// Reads a key; `None` when the text has another shape or the checksum is wrong.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let digits = |part: &str| part.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
        let shaped = text.len() == KEY_BYTES && text.is_ascii();
        let (id, secret) = text.strip_prefix(PREFIX).filter(|_| shaped)?.split_once('_')?;
        let (signed, sum) = text.split_at(KEY_BYTES - CHECKSUM_DIGITS);
        (id.len() == ID_DIGITS && digits(id) && digits(secret) && checksum(signed) == sum)
            .then(|| Self(text.to_owned()))
    }

    /// The public part.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.0[PREFIX.len()..PREFIX.len() + ID_DIGITS]
    }

    /// The public part as events have it.
    #[must_use]
    pub fn secret_id(&self) -> SecretId {
        self.id().parse().expect("the id of a key has the digits of one")
    }

    /// The whole key; the only way to the secret, so that printing one is a choice.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// SHA-256 of the whole key in hexadecimal: what is kept.
    #[must_use]
    pub fn sha256(&self) -> SecretHash {
        hex(&Sha256::digest(self.0.as_bytes())).parse().expect("a hash has the digits of one")
    }
}

impl fmt::Debug for KeyText {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "KeyText({})", self.id())
    }
}

fn checksum(text: &str) -> String {
    format!("{:08x}", crc32fast::hash(text.as_bytes()))
}

/// Lower-case hexadecimal.
fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_read_as_it_was_made() {
        let key = KeyText::generate([7; 32]);
        assert_eq!(key.reveal().len(), KEY_BYTES);
        assert_eq!(KeyText::parse(key.reveal()), Some(key.clone()));
        assert_eq!(key.sha256().as_str().len(), 64);
        assert_ne!(key.sha256(), KeyText::generate([8; 32]).sha256());
        assert!(!format!("{key:?}").contains(&hex(&[7; 32])));
    }

    #[test]
    fn a_key_with_any_byte_changed_is_no_key() {
        let text = KeyText::generate([7; 32]).reveal().to_owned();
        for place in 0..text.len() {
            for other in ["0", "1", "_", "A", "\u{7f}"] {
                let mut changed = text.clone();
                changed.replace_range(place..=place, other);
                assert!(changed == text || KeyText::parse(&changed).is_none(), "{changed}");
            }
        }
        for bad in
            ["", "hub_", "hub__", &text[1..], &format!("{text}0"), &text.replace("hub_", "hub-"), &"é".repeat(46)]
        {
            assert_eq!(KeyText::parse(bad), None, "{bad}");
        }
    }
}
