//! Public keys, and the set of those that are trusted.

use std::{fmt, str::FromStr};

use base64::{Engine, prelude::BASE64_STANDARD};
use ring::signature;

use super::{ED25519, KEY_BYTES, SIGNATURE_BYTES};
use crate::tree::Sha256;

/// Longest name of a key.
pub const KEY_NAME_BYTES_MAX: usize = 256;
/// Most keys that are trusted at a time.
pub const KEYS_MAX: usize = 64;
/// Longest text of a set of keys.
pub const KEYS_BYTES_MAX: usize = 64 * 1024;

/// Which key of a name it is; eight hexadecimal digits as text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyId(pub u32);

/// A public key. Its text is `<name>+<id>+<base64 of a byte 1 and the key>`.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct VerifierKey {
    name: String,
    id: KeyId,
    public_key: [u8; KEY_BYTES],
}

/// The keys that are trusted: none twice, and no two that have name and id in common. Its text has one key in each line.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct VerifierKeys {
    keys: Vec<VerifierKey>,
}

/// Why something is no key, or no set of keys.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// A name is 1 to 256 bytes without white space, control characters and `+`.
    #[error("not the name of a key")]
    Name,
    /// The text has another form. It is not shown, since it may be a private key.
    #[error("not the text of a key")]
    Format,
    /// The key is for something else than Ed25519.
    #[error("the key is for another algorithm than Ed25519")]
    Algorithm,
    /// The id is not that of the name and the key.
    #[error("the key {name} has the id {expected} and not {found}")]
    Id {
        /// Name of the key.
        name: String,
        /// Its id.
        expected: KeyId,
        /// What stands there.
        found: KeyId,
    },
    /// Two different keys have one name and id.
    #[error("there are two keys {0}+{1}")]
    Ambiguous(String, KeyId),
    /// There are more keys, or their text is longer, than anybody needs.
    #[error("more than {KEYS_MAX} keys")]
    TooMany,
    /// A new key cannot be made.
    #[error("the system gives no random bytes")]
    Random,
}

impl fmt::Display for KeyId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:08x}", self.0)
    }
}

impl FromStr for KeyId {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        let id = u32::from_str_radix(text, 16).map(Self).map_err(|_| KeyError::Format)?;
        if id.to_string() == text { Ok(id) } else { Err(KeyError::Format) }
    }
}

/// Whether a key can have this name.
pub(crate) fn check_name(name: &str) -> Result<(), KeyError> {
    let refused = |character: char| character.is_whitespace() || character.is_control() || character == '+';
    if name.is_empty() || name.len() > KEY_NAME_BYTES_MAX || name.contains(refused) {
        return Err(KeyError::Name);
    }
    Ok(())
}

impl VerifierKey {
    /// The public key of this name.
    ///
    /// # Errors
    /// When no key can have this name.
    pub fn new(name: &str, public_key: [u8; KEY_BYTES]) -> Result<Self, KeyError> {
        check_name(name)?;
        let hash = Sha256::new().with(name.as_bytes()).with(b"\n").with(&[ED25519]).with(&public_key).finish();
        let [first, second, third, fourth, ..] = hash.0;
        let id = KeyId(u32::from_be_bytes([first, second, third, fourth]));
        Ok(Self { name: name.to_owned(), id, public_key })
    }

    /// The key's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The key's id.
    #[must_use]
    pub fn id(&self) -> KeyId {
        self.id
    }

    /// The key itself, as RFC 8032 encodes it.
    #[must_use]
    pub fn public_key(&self) -> &[u8; KEY_BYTES] {
        &self.public_key
    }

    /// Whether this key made the signature of `message`.
    #[must_use]
    pub fn verify(&self, message: &[u8], signature: &[u8]) -> bool {
        signature.len() == SIGNATURE_BYTES
            && signature::UnparsedPublicKey::new(&signature::ED25519, &self.public_key)
                .verify(message, signature)
                .is_ok()
    }
}

impl fmt::Display for VerifierKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut key = [ED25519; 1 + KEY_BYTES];
        key[1..].copy_from_slice(&self.public_key);
        write!(formatter, "{}+{}+{}", self.name, self.id, BASE64_STANDARD.encode(key))
    }
}

impl fmt::Debug for VerifierKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

impl FromStr for VerifierKey {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        let mut public_key = [0; KEY_BYTES];
        let (name, found) = read_parts(text, &mut public_key)?;
        Self::new(name, public_key)?.with_id(found)
    }
}

impl VerifierKey {
    /// This key, if that is its id.
    pub(super) fn with_id(self, found: KeyId) -> Result<Self, KeyError> {
        if self.id == found { Ok(self) } else { Err(KeyError::Id { name: self.name, expected: self.id, found }) }
    }
}

/// Name and id of the text of a key, public or private; the key itself is written to `key`.
pub(super) fn read_parts<'a>(text: &'a str, key: &mut [u8; KEY_BYTES]) -> Result<(&'a str, KeyId), KeyError> {
    let mut parts = text.splitn(3, '+');
    let (Some(name), Some(id), Some(encoded)) = (parts.next(), parts.next(), parts.next()) else {
        return Err(KeyError::Format);
    };
    let mut bytes = zeroize::Zeroizing::new([0; KEY_BYTES + 4]);
    let length = BASE64_STANDARD.decode_slice(encoded, bytes.as_mut_slice()).map_err(|_| KeyError::Format)?;
    match &bytes[..length] {
        [ED25519, rest @ ..] if rest.len() == KEY_BYTES => key.copy_from_slice(rest),
        [ED25519, ..] | [] => return Err(KeyError::Format),
        [_, ..] => return Err(KeyError::Algorithm),
    }
    Ok((name, id.parse()?))
}

impl VerifierKeys {
    /// These keys; one that is named twice counts once.
    ///
    /// # Errors
    /// When there are too many, or two that cannot be told apart.
    pub fn new(keys: impl IntoIterator<Item = VerifierKey>) -> Result<Self, KeyError> {
        let mut set = Self::default();
        for key in keys {
            match set.get(key.name(), key.id()) {
                Some(same) if *same == key => {}
                Some(_) => return Err(KeyError::Ambiguous(key.name, key.id)),
                None if set.keys.len() == KEYS_MAX => return Err(KeyError::TooMany),
                None => set.keys.push(key),
            }
        }
        Ok(set)
    }

    /// The key of this name and id.
    #[must_use]
    pub fn get(&self, name: &str, id: KeyId) -> Option<&VerifierKey> {
        self.keys.iter().find(|key| key.id == id && key.name == name)
    }

    /// All of them, in the order in which they were given.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &VerifierKey> {
        self.keys.iter()
    }

    /// Whether nobody is trusted.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }
}

impl fmt::Display for VerifierKeys {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.keys.iter().try_for_each(|key| writeln!(formatter, "{key}"))
    }
}

impl FromStr for VerifierKeys {
    type Err = KeyError;

    /// Reads one key from each line; empty lines and those that begin with `#` say nothing.
    fn from_str(text: &str) -> Result<Self, KeyError> {
        if text.len() > KEYS_BYTES_MAX {
            return Err(KeyError::TooMany);
        }
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
        Self::new(lines.map(str::parse).collect::<Result<Vec<_>, _>>()?)
    }
}

#[cfg(test)]
mod tests {
    use super::{KEYS_BYTES_MAX, KEYS_MAX, KeyError, KeyId, VerifierKey, VerifierKeys};

    const PETER: &str = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW";
    const ENOCH: &str = "EnochRoot+af0cfe78+ATtqJ7zOtqQtYqOo0CpvDXNlMhV3HeJDpjrASKGLWdop";
    const EXAMPLE: &str = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k";

    #[test]
    fn published_keys_are_read_and_written() {
        for text in [PETER, ENOCH, EXAMPLE] {
            let key: VerifierKey = text.parse().unwrap();
            assert_eq!(key.to_string(), text);
        }
        let key: VerifierKey = PETER.parse().unwrap();
        assert_eq!((key.name(), key.id()), ("PeterNeumann", KeyId(0xc74f_20a3)));
    }

    #[test]
    fn no_part_of_a_key_and_no_other_spelling_is_a_key() {
        for begin in 0..PETER.len() {
            for end in begin..=PETER.len() {
                if (begin, end) != (0, PETER.len()) {
                    assert!(PETER[begin..end].parse::<VerifierKey>().is_err(), "{begin} to {end}");
                }
            }
        }
        for at in 0..PETER.len() {
            let mut other = PETER.as_bytes().to_vec();
            other[at] += 1;
            assert!(String::from_utf8(other).unwrap().parse::<VerifierKey>().is_err(), "{at}");
        }
        for text in [
            // A key that is too long, another algorithm, each with the id that would be right.
            "PeterNeumann+cc469956+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TWBADKEY==",
            "PeterNeumann+173116ae+ZRpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW",
            &PETER.replace("c74f20a3", "C74F20A3"),
            &PETER.replace("c74f20a3", "0c74f20a3"),
            &PETER.replace("c74f20a3", "+c74f20a3"),
            &format!("{PETER}\n"),
            &format!(" {PETER}"),
        ] {
            assert!(text.parse::<VerifierKey>().is_err(), "{text}");
        }
    }

    #[test]
    fn names_that_would_break_a_line_are_refused() {
        for name in ["", "a b", "a+b", "a\nb", "a\tb", "a\u{a0}b", "a\u{2003}b", "a\u{7f}b", "a\0", &"a".repeat(257)] {
            assert_eq!(VerifierKey::new(name, [1; 32]), Err(KeyError::Name), "{name:?}");
        }
        for name in ["a", "hub.example.com/tenant/1", "größe", &"a".repeat(256)] {
            assert!(VerifierKey::new(name, [1; 32]).is_ok(), "{name:?}");
        }
    }

    #[test]
    fn a_set_of_keys_is_read_line_by_line() {
        let keys: VerifierKeys = format!("# ours\r\n{PETER}\r\n\n  {ENOCH}\n{PETER}").parse().unwrap();
        assert_eq!(keys.to_string(), format!("{PETER}\n{ENOCH}\n"));
        assert_eq!(keys.to_string().parse(), Ok(keys.clone()));
        assert!(keys.get("EnochRoot", KeyId(0xaf0c_fe78)).is_some());
        assert!(keys.get("EnochRoot", KeyId(0xc74f_20a3)).is_none());
        assert!(keys.get("PeterNeuman", KeyId(0xc74f_20a3)).is_none());
        assert!(format!("{PETER}\nx").parse::<VerifierKeys>().is_err());
        assert!("".parse::<VerifierKeys>().unwrap().is_empty());
    }

    #[test]
    fn a_set_of_keys_is_bounded_and_unambiguous() {
        let key = |number: usize| VerifierKey::new(&format!("key{number}"), [1; 32]).unwrap();
        assert!(VerifierKeys::new((0..KEYS_MAX).map(key)).is_ok());
        assert_eq!(VerifierKeys::new((0..=KEYS_MAX).map(key)), Err(KeyError::TooMany));
        assert_eq!("#".repeat(KEYS_BYTES_MAX + 1).parse::<VerifierKeys>(), Err(KeyError::TooMany));
        let one: VerifierKey = PETER.parse().unwrap();
        let other = VerifierKey { public_key: [2; 32], ..one.clone() };
        let ambiguous = KeyError::Ambiguous("PeterNeumann".to_owned(), KeyId(0xc74f_20a3));
        assert_eq!(VerifierKeys::new([one, other]), Err(ambiguous));
    }
}
