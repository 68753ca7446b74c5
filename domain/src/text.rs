//! Short texts that are parsed once, at the edge, and trusted afterwards.
//!
//! `FromStr` is the gate and normalises; `Deserialize` trusts what is stored, so that a rule made stricter later never makes an
//! old event unreadable. Request bodies name the gate with `#[serde(deserialize_with = "hub_domain::text::parsed")]`.

use std::{fmt, str::FromStr};

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, de::Error as _};

/// Reads a string through the type's own gate; for request bodies.
///
/// # Errors
/// What `T::from_str` says.
pub fn parsed<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: FromStr<Err: fmt::Display>,
{
    String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
}

/// Reads an optional string through the type's own gate; for request bodies, together with `#[serde(default)]`.
///
/// # Errors
/// What `T::from_str` says.
pub fn parsed_option<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: FromStr<Err: fmt::Display>,
{
    Option::<String>::deserialize(deserializer)?.map(|text| text.parse().map_err(D::Error::custom)).transpose()
}

/// Why a text was refused at the edge.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct InvalidText(pub String);

fn refuse<T>(what: impl Into<String>) -> Result<T, InvalidText> {
    Err(InvalidText(what.into()))
}

/// A tenant's short name in addresses: 3 to 63 of `a-z`, `0-9` and `-`, beginning with a letter, lower case.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Slug(#[schemars(regex(pattern = "^[a-z][a-z0-9-]{1,61}[a-z0-9]$"))] String);

impl FromStr for Slug {
    type Err = InvalidText;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let slug = text.trim().to_ascii_lowercase();
        let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        let shaped =
            slug.starts_with(|c: char| c.is_ascii_lowercase()) && !slug.ends_with('-') && slug.chars().all(allowed);
        if !(3..=63).contains(&slug.len()) || !shaped || slug.contains("--") {
            return refuse(
                "a slug is 3 to 63 letters, digits and single hyphens, begins with a letter and does not end with a hyphen",
            );
        }
        Ok(Self(slug))
    }
}

/// A machine-readable name such as a role's key, a plan's code or a service: 1 to 63 of `a-z`, `0-9`, `_` and `-`, beginning with a letter.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Key(#[schemars(regex(pattern = "^[a-z][a-z0-9_-]{0,62}$"))] String);

impl FromStr for Key {
    type Err = InvalidText;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_' || c == '-';
        let shaped = text.starts_with(|c: char| c.is_ascii_lowercase()) && text.chars().all(allowed);
        if !(1..=63).contains(&text.len()) || !shaped {
            return refuse("a key is 1 to 63 lower-case letters, digits, `_` and `-`, and begins with a letter");
        }
        Ok(Self(text.to_owned()))
    }
}

/// A name for people: 1 to 200 characters after trimming, no control characters.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Name(#[schemars(length(min = 1, max = 200))] String);

impl FromStr for Name {
    type Err = InvalidText;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let name = text.trim();
        if !(1..=200).contains(&name.chars().count()) || name.chars().any(char::is_control) {
            return refuse("a name has 1 to 200 characters and no control characters");
        }
        Ok(Self(name.to_owned()))
    }
}

/// A free remark such as a reason or a description: at most 1,000 characters after trimming.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Remark(#[schemars(length(max = 1000))] String);

impl FromStr for Remark {
    type Err = InvalidText;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let remark = text.trim();
        // A NUL has no place in PostgreSQL's texts.
        if remark.chars().count() > 1_000 || remark.contains('\0') {
            return refuse("a remark has at most 1000 characters and no NUL");
        }
        Ok(Self(remark.to_owned()))
    }
}

/// A mail address, kept as given but for a lower-case domain; at most 254 characters.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Email(#[schemars(email, length(max = 254))] String);

impl FromStr for Email {
    type Err = InvalidText;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let text = text.trim();
        let Some((local, domain)) = text.rsplit_once('@') else {
            return refuse("a mail address looks like name@example.com");
        };
        let local_allowed = |c: char| c.is_alphanumeric() || "!#$%&'*+/=?^_`{|}~.-".contains(c);
        let local_shaped = !local.starts_with('.') && !local.ends_with('.') && !local.contains("..");
        if text.len() > 254 || !(1..=64).contains(&local.len()) || !local.chars().all(local_allowed) || !local_shaped {
            return refuse("a mail address looks like name@example.com and has at most 254 characters");
        }
        let domain: DomainName = domain.parse()?;
        Ok(Self(format!("{local}@{domain}")))
    }
}

/// A domain name in its lower-case ASCII form (IDNA 2008, UTS 46), with at least two labels and no trailing dot.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct DomainName(#[schemars(length(min = 3, max = 253))] String);

impl FromStr for DomainName {
    type Err = InvalidText;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let text = text.trim().trim_end_matches('.');
        let ascii =
            idna::domain_to_ascii_strict(text).map_err(|_| InvalidText(format!("`{text}` is not a domain name")))?;
        let labels_hold = ascii.split('.').all(|label| (1..=63).contains(&label.len()));
        let numeric_end = ascii.rsplit('.').next().is_some_and(|label| label.chars().all(|c| c.is_ascii_digit()));
        if ascii.len() > 253 || !ascii.contains('.') || !labels_hold || numeric_end {
            return refuse(format!("`{text}` is not a domain name"));
        }
        Ok(Self(ascii))
    }
}

impl Email {
    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Slug {
    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Key {
    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Name {
    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Remark {
    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl DomainName {
    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Email {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for Slug {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for DomainName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::{DomainName, Email, Key, Name, Slug};

    #[test]
    fn a_slug_is_normalised() {
        assert_eq!("  Acme-Mail ".parse::<Slug>().unwrap().as_str(), "acme-mail");
    }

    #[test]
    fn a_slug_of_another_shape_is_refused() {
        for slug in ["", "ab", "1abc", "abc-", "a--b", "a_b", "a.b", "ünder", &"a".repeat(64)] {
            assert!(slug.parse::<Slug>().is_err(), "{slug}");
        }
    }

    #[test]
    fn a_domain_becomes_its_ascii_form() {
        assert_eq!("Bücher.Example.".parse::<DomainName>().unwrap().as_str(), "xn--bcher-kva.example");
    }

    #[test]
    fn what_is_not_a_domain_is_refused() {
        for domain in
            ["", "localhost", "a..b", "10.0.0.1", "-a.example", "a b.example", &format!("{}.example", "a".repeat(64))]
        {
            assert!(domain.parse::<DomainName>().is_err(), "{domain}");
        }
    }

    #[test]
    fn a_mail_address_keeps_its_local_part() {
        let email: Email = "Ops.Team@Example.COM".parse().unwrap();
        assert_eq!(serde_json::to_string(&email).unwrap(), "\"Ops.Team@example.com\"");
    }

    #[test]
    fn what_is_not_a_mail_address_is_refused() {
        for email in ["", "a", "@example.com", "a@", "a@b", "a b@example.com", ".a@example.com"] {
            assert!(email.parse::<Email>().is_err(), "{email}");
        }
    }

    #[test]
    fn names_and_keys_have_bounds() {
        assert!(" ".parse::<Name>().is_err());
        assert!("a".repeat(201).parse::<Name>().is_err());
        assert!("mail-pro".parse::<Key>().is_ok());
        assert!("Mail".parse::<Key>().is_err());
    }
}
