//! What bounds a key: the permissions it can ever use, and the networks it may be used from.

use std::{collections::BTreeSet, fmt, net::IpAddr, str::FromStr};

use ipnet::IpNet;
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, de::Error as _};

use crate::{role::KeyPattern, text::InvalidText};

/// At most so many scopes a key.
pub const SCOPE_COUNT_MAX: usize = 50;

/// At most so many networks a key.
pub const NETWORK_COUNT_MAX: usize = 50;

/// The public id of a secret: 16 lower-case hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct SecretId(#[schemars(regex(pattern = "^[0-9a-f]{16}$"))] String);

/// The SHA-256 of a whole key: 64 lower-case hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct SecretHash(#[schemars(regex(pattern = "^[0-9a-f]{64}$"))] String);

macro_rules! digits {
    ($name:ident, $count:literal) => {
        impl $name {
            /// The text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = InvalidText;

            fn from_str(text: &str) -> Result<Self, InvalidText> {
                let digit = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
                if text.len() == $count && text.bytes().all(digit) {
                    return Ok(Self(text.to_owned()));
                }
                Err(InvalidText(concat!($count, " lower-case hexadecimal digits were expected").into()))
            }
        }
    };
}

digits!(SecretId, 16);
digits!(SecretHash, 64);

/// One thing that a key may be used for: `<resource>:<action>`, each a name or `*`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct KeyScope(
    #[schemars(length(max = 127), regex(pattern = "^([a-z][a-z0-9_-]{0,62}|\\*):([a-z][a-z0-9_-]{0,62}|\\*)$"))] String,
);

impl KeyScope {
    /// What kind of resource the scope covers, a name or `*`.
    #[must_use]
    pub fn resource(&self) -> &str {
        self.0.split_once(':').map_or("", |(resource, _)| resource)
    }

    /// What may be done to it, a name or `*`.
    #[must_use]
    pub fn action(&self) -> &str {
        self.0.split_once(':').map_or("", |(_, action)| action)
    }
}

impl FromStr for KeyScope {
    type Err = InvalidText;

    fn from_str(text: &str) -> Result<Self, InvalidText> {
        let parts = text.split_once(':').map(|(resource, action)| (resource.parse(), action.parse()));
        match parts {
            Some((Ok(resource), Ok(action))) => {
                let _: (KeyPattern, KeyPattern) = (resource, action);
                Ok(Self(text.to_owned()))
            }
            Some(_) | None => Err(InvalidText("a scope is `<resource>:<action>`, each a name or `*`".into())),
        }
    }
}

impl fmt::Display for KeyScope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The scopes of a key: 1 to 50, each once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct KeyScopes(#[schemars(length(min = 1, max = 50))] BTreeSet<KeyScope>);

impl KeyScopes {
    /// Takes the scopes as a set.
    ///
    /// # Errors
    /// When there is none, or more than [`SCOPE_COUNT_MAX`].
    pub fn new(scopes: impl IntoIterator<Item = KeyScope>) -> Result<Self, InvalidText> {
        let scopes: BTreeSet<_> = scopes.into_iter().collect();
        if !(1..=SCOPE_COUNT_MAX).contains(&scopes.len()) {
            return Err(InvalidText(format!("a key has 1 to {SCOPE_COUNT_MAX} scopes")));
        }
        Ok(Self(scopes))
    }

    /// Each scope, in alphabetical order.
    pub fn iter(&self) -> impl Iterator<Item = &KeyScope> {
        self.0.iter()
    }
}

impl Default for KeyScopes {
    /// Whatever the key's roles permit.
    fn default() -> Self {
        Self(BTreeSet::from([KeyScope("*:*".to_owned())]))
    }
}

/// A network in CIDR notation, such as `10.1.0.0/16`, or one address.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Network(String);

impl FromStr for Network {
    type Err = InvalidText;

    /// Host bits are cut off, so that one network has one text.
    fn from_str(text: &str) -> Result<Self, InvalidText> {
        let network = text.parse::<IpNet>().or_else(|error| text.parse::<IpAddr>().map(IpNet::from).map_err(|_| error));
        match network {
            Ok(network) => Ok(Self(network.trunc().to_string())),
            Err(_) => Err(InvalidText("a network is an address, or one in CIDR notation as `10.1.0.0/16`".into())),
        }
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The networks a key may be used from: at most 50; from everywhere when there is none.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Networks(#[schemars(length(max = 50))] BTreeSet<Network>);

impl Networks {
    /// Takes the networks as a set.
    ///
    /// # Errors
    /// When there are more than [`NETWORK_COUNT_MAX`].
    pub fn new(networks: impl IntoIterator<Item = Network>) -> Result<Self, InvalidText> {
        let networks: BTreeSet<_> = networks.into_iter().collect();
        if networks.len() > NETWORK_COUNT_MAX {
            return Err(InvalidText(format!("a key has at most {NETWORK_COUNT_MAX} networks")));
        }
        Ok(Self(networks))
    }

    /// Each network, in the order of their texts.
    pub fn iter(&self) -> impl Iterator<Item = &Network> {
        self.0.iter()
    }
}

/// Reads a list of scopes in the order in which they are sent; for request bodies. [`KeyScopes::new`] makes a key's scopes of it.
///
/// # Errors
/// What [`KeyScope`] says, at its place in the list.
pub fn parsed_scopes<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<KeyScope>, D::Error> {
    parsed_list(deserializer)
}

/// Reads a list of networks through its gate; for request bodies.
///
/// # Errors
/// What [`Network`] and [`Networks::new`] say.
pub fn parsed_networks<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Networks, D::Error> {
    Networks::new(parsed_list(deserializer)?).map_err(D::Error::custom)
}

fn parsed_list<'de, D, T>(deserializer: D) -> Result<Vec<T>, D::Error>
where
    D: Deserializer<'de>,
    T: FromStr<Err = InvalidText>,
{
    let items = Vec::<Parsed<T>>::deserialize(deserializer)?;
    Ok(items.into_iter().map(|Parsed(item)| item).collect())
}

/// One item of a list, refused at its own place.
struct Parsed<T>(T);

impl<'de, T: FromStr<Err = InvalidText>> Deserialize<'de> for Parsed<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map(Self).map_err(D::Error::custom)
    }
}
