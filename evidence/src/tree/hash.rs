//! SHA-256 hashes, and the two ways a Merkle tree of RFC 6962 makes them.

use std::{fmt, str::FromStr};

use base64::{Engine, prelude::BASE64_STANDARD};
use ring::digest;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Length of a hash, in bytes.
pub const HASH_BYTES: usize = 32;

const LEAF_PREFIX: u8 = 0;
const NODE_PREFIX: u8 = 1;

/// A SHA-256 hash: of a leaf, of a node, or a root. As text, and for serde, it is 64 lower-case hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Hash(pub [u8; HASH_BYTES]);

/// Why a text is no hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a SHA-256 hash")]
pub struct ParseHashError;

impl Hash {
    /// The hash in standard base64 with padding, 44 characters, as checkpoints and proofs of C2SP write it.
    #[must_use]
    pub fn to_base64(&self) -> String {
        BASE64_STANDARD.encode(self.0)
    }

    /// Reads what `to_base64` writes, and no other spelling of it.
    ///
    /// # Errors
    /// When `text` is anything else.
    pub fn from_base64(text: &str) -> Result<Self, ParseHashError> {
        let mut bytes = [0; HASH_BYTES + 1];
        match BASE64_STANDARD.decode_slice(text, &mut bytes) {
            Ok(HASH_BYTES) => Self::try_from(&bytes[..HASH_BYTES]),
            Ok(_) | Err(_) => Err(ParseHashError),
        }
    }

    /// The hash's bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; HASH_BYTES] {
        &self.0
    }
}

impl From<[u8; HASH_BYTES]> for Hash {
    fn from(bytes: [u8; HASH_BYTES]) -> Self {
        Self(bytes)
    }
}

impl TryFrom<&[u8]> for Hash {
    type Error = ParseHashError;

    fn try_from(bytes: &[u8]) -> Result<Self, ParseHashError> {
        bytes.try_into().map(Self).map_err(|_| ParseHashError)
    }
}

impl AsRef<[u8]> for Hash {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Display for Hash {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(formatter, "{byte:02x}"))
    }
}

impl fmt::Debug for Hash {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

impl FromStr for Hash {
    type Err = ParseHashError;

    fn from_str(text: &str) -> Result<Self, ParseHashError> {
        let digits = text.as_bytes();
        if digits.len() != 2 * HASH_BYTES {
            return Err(ParseHashError);
        }
        let mut bytes = [0; HASH_BYTES];
        for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
            *byte = (digit(pair[0])? << 4) | digit(pair[1])?;
        }
        Ok(Self(bytes))
    }
}

fn digit(character: u8) -> Result<u8, ParseHashError> {
    match character {
        b'0'..=b'9' => Ok(character - b'0'),
        b'a'..=b'f' => Ok(character - b'a' + 10),
        _ => Err(ParseHashError),
    }
}

impl Serialize for Hash {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Hash {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// SHA-256 of what is put in piece by piece.
pub(crate) struct Sha256(digest::Context);

impl Sha256 {
    /// One that has taken nothing.
    pub(crate) fn new() -> Self {
        Self(digest::Context::new(&digest::SHA256))
    }

    /// One that has taken the prefix of a leaf.
    pub(crate) fn of_leaf() -> Self {
        Self::new().with(&[LEAF_PREFIX])
    }

    pub(crate) fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    pub(crate) fn with(mut self, bytes: &[u8]) -> Self {
        self.update(bytes);
        self
    }

    pub(crate) fn finish(self) -> Hash {
        Hash(self.0.finish().as_ref().try_into().expect("SHA-256 has 32 bytes"))
    }
}

/// The hash of a leaf: SHA-256 of a byte 0 and the leaf's bytes.
#[must_use]
pub fn leaf_hash(leaf: &[u8]) -> Hash {
    Sha256::of_leaf().with(leaf).finish()
}

/// The hash of a node: SHA-256 of a byte 1, the left and the right hash.
#[must_use]
pub fn node_hash(left: &Hash, right: &Hash) -> Hash {
    let mut bytes = [NODE_PREFIX; 1 + 2 * HASH_BYTES];
    bytes[1..=HASH_BYTES].copy_from_slice(&left.0);
    bytes[1 + HASH_BYTES..].copy_from_slice(&right.0);
    Hash(digest::digest(&digest::SHA256, &bytes).as_ref().try_into().expect("SHA-256 has 32 bytes"))
}

/// The root of a tree without leaves: SHA-256 of nothing.
#[must_use]
pub fn empty_root() -> Hash {
    Sha256::new().finish()
}

#[cfg(test)]
mod tests {
    use sha2::Digest;

    use super::{Hash, ParseHashError, empty_root, leaf_hash, node_hash};

    const EMPTY: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[test]
    fn hashes_are_those_of_the_reference() {
        assert_eq!(empty_root().to_string(), EMPTY);
        assert_eq!(leaf_hash(b"").to_string(), "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d");
        assert_eq!(
            leaf_hash(b"L123456").to_string(),
            "395aa064aa4c29f7010acfe3f25db9485bbd4b91897b6ad7ad547639252b4d56"
        );
    }

    #[test]
    fn another_library_makes_the_same_hashes() {
        let (left, right) = (leaf_hash(b"left"), leaf_hash(b"right"));
        let other = sha2::Sha256::new().chain_update([1]).chain_update(left).chain_update(right).finalize();
        assert_eq!(node_hash(&left, &right).as_bytes(), other.as_slice());
    }

    #[test]
    fn a_hash_is_read_back_from_its_text() {
        let hash = leaf_hash(b"a");
        assert_eq!(hash.to_string().parse(), Ok(hash));
        assert_eq!(Hash::from_base64(&hash.to_base64()), Ok(hash));
        assert_eq!(serde_json::from_str::<Hash>(&serde_json::to_string(&hash).unwrap()).unwrap(), hash);
        assert_eq!(format!("{hash:?}"), hash.to_string());
    }

    #[test]
    fn what_is_no_hash_is_refused() {
        for text in ["", &EMPTY[1..], &EMPTY.to_uppercase(), &format!("{EMPTY}0"), &EMPTY.replace('e', "g")] {
            assert_eq!(text.parse::<Hash>(), Err(ParseHashError), "{text}");
        }
        let base64 = empty_root().to_base64();
        // The last but one character has two bits that no byte needs: only zeros are right.
        let other_bits = base64.replace("FU=", "FV=");
        assert_ne!(base64, other_bits);
        for text in ["", &base64[1..], &base64[..43], &other_bits, &format!("{base64}\n"), &format!("AAAA{base64}")] {
            assert_eq!(Hash::from_base64(text), Err(ParseHashError), "{text}");
        }
    }
}
