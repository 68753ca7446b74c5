//! Where a service instance is reached.

use std::{fmt, str::FromStr};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::text::InvalidText;

/// Where a service instance is reached, such as `https://mail.acme.example` or `db7.example:5432`: 1 to 2,048 printable ASCII
/// characters without spaces, and without user names or passwords before the host.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Endpoint(#[schemars(length(min = 1, max = 2048))] String);

impl FromStr for Endpoint {
    type Err = InvalidText;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let endpoint = text.trim();
        let printable = endpoint.chars().all(|c| c.is_ascii_graphic());
        let after_scheme = endpoint.split_once("://").map_or(endpoint, |(_, rest)| rest);
        let authority = after_scheme.split(['/', '?', '#']).next().unwrap_or_default();
        if !(1..=2048).contains(&endpoint.len()) || !printable || authority.is_empty() || authority.contains('@') {
            return Err(InvalidText(
                "an endpoint is a host or an address with one, of at most 2048 printable ASCII characters, \
                 without spaces, user names and passwords"
                    .to_owned(),
            ));
        }
        Ok(Self(endpoint.to_owned()))
    }
}

impl Endpoint {
    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::Endpoint;

    #[test]
    fn addresses_and_hosts_with_ports_are_endpoints() {
        for endpoint in ["https://mail.acme.example/inbox?a=b@c", "db7.example:5432", "[2001:db8::1]:25"] {
            assert_eq!(format!(" {endpoint} ").parse::<Endpoint>().unwrap().as_str(), endpoint);
        }
    }

    #[test]
    fn empty_long_spaced_and_credentialed_texts_are_no_endpoints() {
        for endpoint in [
            "",
            "https://",
            "a b.example",
            "postgres://u:p@db.example",
            "u@db.example",
            "bücher.example",
            &"a".repeat(2049),
        ] {
            assert!(endpoint.parse::<Endpoint>().is_err(), "{endpoint}");
        }
    }
}
