//! The address that events are delivered to.

use std::{fmt, str::FromStr};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use url::Url;

use crate::text::InvalidText;

/// At most so many characters in an address.
const LENGTH_MAX: usize = 2048;

/// An absolute `https` or `http` address in its normalised form, without user name, password and fragment; at most 2,048 characters.
///
/// Which networks may be reached is no question of form, and is asked when events are delivered.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct EndpointUrl(#[schemars(url, length(max = LENGTH_MAX))] String);

impl FromStr for EndpointUrl {
    type Err = InvalidText;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let text = text.trim();
        // The parser drops tabs and line breaks silently; an address that needs that was not meant so.
        if text.len() > LENGTH_MAX || text.chars().any(|c| c.is_control() || c.is_whitespace()) {
            return refuse("has at most 2048 characters and no spaces");
        }
        let Ok(url) = Url::parse(text) else {
            return refuse("is absolute, such as https://example.com/hooks");
        };
        if !matches!(url.scheme(), "https" | "http") || !url.has_host() {
            return refuse("begins with https:// or http:// and names a host");
        }
        if !url.username().is_empty() || url.password().is_some() {
            return refuse("has no user name and no password");
        }
        if url.fragment().is_some() {
            return refuse("has no fragment");
        }
        // Escapes make the normalised form longer than what was given.
        if url.as_str().len() > LENGTH_MAX {
            return refuse("has at most 2048 characters once it is escaped");
        }
        Ok(Self(url.into()))
    }
}

fn refuse<T>(what: &str) -> Result<T, InvalidText> {
    Err(InvalidText(format!("the address of a webhook {what}")))
}

impl EndpointUrl {
    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for EndpointUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::{EndpointUrl, LENGTH_MAX};

    #[test]
    fn an_address_is_normalised() {
        for (given, kept) in [
            (" HTTPS://Hooks.Acme.Example ", "https://hooks.acme.example/"),
            ("https://acme.example:443/a/../b?c=d", "https://acme.example/b?c=d"),
            ("http://127.0.0.1:9000/hook", "http://127.0.0.1:9000/hook"),
            ("https://bücher.example/ü", "https://xn--bcher-kva.example/%C3%BC"),
        ] {
            assert_eq!(given.parse::<EndpointUrl>().unwrap().as_str(), kept);
        }
    }

    #[test]
    fn what_is_no_plain_web_address_is_refused() {
        for address in [
            "",
            "/hooks",
            "acme.example/hooks",
            "https://",
            "https:///",
            "ftp://acme.example/",
            "file:///etc/passwd",
            "javascript:alert(1)",
            "https://user@acme.example/",
            "https://user:pass@acme.example/",
            "https://:pass@acme.example/",
            "https://acme.example/#part",
            "https://acme.example/#",
            "https://acme.example/a b",
            "https://acme.ex\nample/",
            "https://acme.example:99999/",
        ] {
            assert!(address.parse::<EndpointUrl>().is_err(), "{address}");
        }
    }

    #[test]
    fn the_length_is_bounded_before_and_after_escaping() {
        let start = "https://acme.example/";
        let rest = LENGTH_MAX - start.len();
        assert!(format!("{start}{}", "a".repeat(rest)).parse::<EndpointUrl>().is_ok());
        assert!(format!("{start}{}", "a".repeat(rest + 1)).parse::<EndpointUrl>().is_err());
        assert!(format!("{start}{}", "ü".repeat(rest / 2)).parse::<EndpointUrl>().is_err());
    }
}
