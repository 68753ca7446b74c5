//! A key pair, written as nats-server and its tools do: `SU...` for the seed of a user, `U...` for the public key.

use std::fmt;

use nkeys::{KeyPair, KeyPairType};
use zeroize::Zeroizing;

/// Whose a key is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Vouches for accounts.
    Operator,
    /// Vouches for users; its users see the same subjects and streams.
    Account,
    /// Connects.
    User,
}

impl Kind {
    const fn pair(self) -> KeyPairType {
        match self {
            Self::Operator => KeyPairType::Operator,
            Self::Account => KeyPairType::Account,
            Self::User => KeyPairType::User,
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Operator => "an operator",
            Self::Account => "an account",
            Self::User => "a user",
        }
    }
}

/// Why a text is no key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    #[error("it is not the seed of {}", .0.name())]
    Seed(Kind),
    #[error("it is not the public key of {}", .0.name())]
    Public(Kind),
}

/// A key pair. Its secret half is never shown by `Debug`.
#[derive(Clone)]
pub struct Key(KeyPair);

impl Key {
    /// The pair of this kind that is made of 32 random bytes.
    #[must_use]
    pub fn from_random(kind: Kind, random: [u8; 32]) -> Self {
        Self(KeyPair::new_from_raw(kind.pair(), random).expect("any 32 bytes make a key pair"))
    }

    /// The pair of a seed.
    ///
    /// # Errors
    /// When it is no seed of this kind.
    pub fn from_seed(kind: Kind, seed: &str) -> Result<Self, KeyError> {
        // The seed of another kind is the right one for something else.
        match KeyPair::from_seed(seed) {
            Ok(pair) if pair.key_pair_type() == kind.pair() => Ok(Self(pair)),
            Ok(_) | Err(_) => Err(KeyError::Seed(kind)),
        }
    }

    /// The public half, 56 characters.
    #[must_use]
    pub fn public(&self) -> String {
        self.0.public_key()
    }

    /// The secret half, 58 characters.
    #[must_use]
    pub fn seed(&self) -> Zeroizing<String> {
        Zeroizing::new(self.0.seed().expect("every key here was made of its seed"))
    }

    pub(crate) fn sign(&self, bytes: &[u8]) -> Vec<u8> {
        self.0.sign(bytes).expect("every key here was made of its seed")
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_tuple("Key").field(&self.public()).finish()
    }
}

/// Takes `text` for a public key of this kind.
///
/// # Errors
/// When it is none.
pub(crate) fn public(kind: Kind, text: &str) -> Result<String, KeyError> {
    match KeyPair::from_public_key(text) {
        Ok(pair) if pair.key_pair_type() == kind.pair() => Ok(text.to_owned()),
        Ok(_) | Err(_) => Err(KeyError::Public(kind)),
    }
}

#[cfg(test)]
mod tests {
    use super::{Key, KeyError, Kind, public};

    #[test]
    fn a_key_is_found_again_by_its_seed() {
        for (kind, letter) in [(Kind::Operator, 'O'), (Kind::Account, 'A'), (Kind::User, 'U')] {
            let key = Key::from_random(kind, [7; 32]);
            let again = Key::from_seed(kind, &key.seed()).unwrap();
            assert_eq!(again.public(), key.public());
            assert_eq!(key.seed().get(..2), Some(&*format!("S{letter}")));
            assert_eq!(public(kind, &key.public()), Ok(key.public()));
            assert!(key.public().starts_with(letter) && key.public().len() == 56);
        }
    }

    #[test]
    fn a_key_of_another_kind_is_refused() {
        let user = Key::from_random(Kind::User, [7; 32]);
        assert_eq!(Key::from_seed(Kind::Account, &user.seed()).unwrap_err(), KeyError::Seed(Kind::Account));
        assert_eq!(public(Kind::Account, &user.public()), Err(KeyError::Public(Kind::Account)));
        for text in ["", "rubbish", &user.public()] {
            assert_eq!(Key::from_seed(Kind::User, text).unwrap_err(), KeyError::Seed(Kind::User), "{text}");
        }
    }

    #[test]
    fn the_secret_half_is_not_shown() {
        let key = Key::from_random(Kind::User, [7; 32]);
        assert!(!format!("{key:?}").contains(key.seed().as_str()));
    }
}
