//! Where an identity provider is: its issuer, which tokens name letter by letter, and the address of its keys.

use std::{fmt, str::FromStr};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use url::{Host, Url};

use crate::text::InvalidText;

/// At most so many bytes in an issuer; it is a unique name within its tenant.
const ISSUER_LENGTH_MAX: usize = 500;
/// At most so many bytes in the address of keys.
const KEYS_ADDRESS_LENGTH_MAX: usize = 2_048;

/// An `https` address without query and fragment, or an `http` one of the same machine, kept as given: at most 500 visible ASCII characters.
///
/// It is never normalised, since tokens carry it and both are compared letter by letter.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Issuer(#[schemars(url, length(max = ISSUER_LENGTH_MAX))] String);

/// An `https` address without fragment, or an `http` one of the same machine, in its normalised form: at most 2,048 characters.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct KeysAddress(#[schemars(url, length(max = KEYS_ADDRESS_LENGTH_MAX))] String);

impl FromStr for Issuer {
    type Err = InvalidText;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let url = address(text, ISSUER_LENGTH_MAX, "an issuer")?;
        if url.query().is_some() {
            return refuse("an issuer", "has no query");
        }
        Ok(Self(text.to_owned()))
    }
}

impl FromStr for KeysAddress {
    type Err = InvalidText;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let url = address(text, KEYS_ADDRESS_LENGTH_MAX, "the address of keys")?;
        if url.as_str().len() > KEYS_ADDRESS_LENGTH_MAX {
            return refuse("the address of keys", "is too long once it is escaped");
        }
        Ok(Self(url.into()))
    }
}

fn address(text: &str, length_max: usize, what: &str) -> Result<Url, InvalidText> {
    if text.len() > length_max || !text.chars().all(|c| c.is_ascii_graphic()) {
        return refuse(what, &format!("has at most {length_max} visible ASCII characters"));
    }
    let Ok(url) = Url::parse(text) else {
        return refuse(what, "is absolute, such as https://login.example.com");
    };
    let local = match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => return refuse(what, "names a host"),
    };
    if url.scheme() != "https" && !(url.scheme() == "http" && local) {
        return refuse(what, "begins with https://, or with http:// and names the same machine");
    }
    if !url.username().is_empty() || url.password().is_some() {
        return refuse(what, "has no user name and no password");
    }
    if url.fragment().is_some() {
        return refuse(what, "has no fragment");
    }
    Ok(url)
}

fn refuse<T>(what: &str, rule: &str) -> Result<T, InvalidText> {
    Err(InvalidText(format!("{what} {rule}")))
}

/// Whether an address is without TLS, which its gate lets through for the same machine only.
fn plain(text: &str) -> bool {
    !text.get(..8).is_some_and(|start| start.eq_ignore_ascii_case("https://"))
}

impl Issuer {
    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub(super) fn plain(&self) -> bool {
        plain(&self.0)
    }
}

impl KeysAddress {
    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub(super) fn plain(&self) -> bool {
        plain(&self.0)
    }
}

impl fmt::Display for Issuer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for KeysAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::{ISSUER_LENGTH_MAX, Issuer, KeysAddress};

    #[test]
    fn an_issuer_is_kept_letter_by_letter() {
        for text in [
            "https://login.example.com",
            "https://login.example.com/",
            "https://Login.Example.com:443/realms/acme",
            "http://localhost:8080/realms/dev",
            "http://127.0.0.1:8080",
            "http://[::1]:8080/",
        ] {
            assert_eq!(text.parse::<Issuer>().unwrap().as_str(), text);
        }
    }

    #[test]
    fn the_address_of_keys_is_normalised_and_may_have_a_query() {
        let address: KeysAddress = "https://Login.Example.com:443/a/../keys?v=2".parse().unwrap();
        assert_eq!(address.as_str(), "https://login.example.com/keys?v=2");
        assert!("https://login.example.com/?v=2".parse::<Issuer>().is_err());
    }

    #[test]
    fn what_is_no_plain_address_by_https_is_refused() {
        for text in [
            "",
            "login.example.com",
            "https://",
            "http://login.example.com",
            "http://localhost.example.com",
            "http://10.0.0.1/",
            "http://127.0.0.1.example.com/",
            "ftp://localhost/",
            "file:///etc/passwd",
            "https://user@login.example.com",
            "https://user:pass@login.example.com",
            "https://login.example.com/#keys",
            "https://login.example.com/#",
            " https://login.example.com",
            "https://login.example.com/a b",
            "https://login.example.com/\n",
            "https://b\u{fc}cher.example",
        ] {
            assert!(text.parse::<Issuer>().is_err(), "{text}");
            assert!(text.parse::<KeysAddress>().is_err(), "{text}");
        }
    }

    #[test]
    fn the_length_of_an_issuer_is_bounded() {
        let start = "https://login.example.com/";
        let rest = ISSUER_LENGTH_MAX - start.len();
        assert!(format!("{start}{}", "a".repeat(rest)).parse::<Issuer>().is_ok());
        assert!(format!("{start}{}", "a".repeat(rest + 1)).parse::<Issuer>().is_err());
    }

    #[test]
    fn an_address_without_tls_is_known_as_such() {
        for (text, plain) in [
            ("https://login.example.com", false),
            ("HTTPS://login.example.com", false),
            ("https:login.example.com", true),
            ("http://localhost", true),
            ("HTTP://localhost", true),
        ] {
            assert_eq!(text.parse::<Issuer>().unwrap().plain(), plain, "{text}");
        }
    }
}
