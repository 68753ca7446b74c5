//! Who is let into the embedded NATS: an operator, one account, and the key that signs for its users.
//!
//! Three seeds are made once and kept in the hub's directory. That of the account gives it its name, under which the server keeps the stream; the
//! signing key alone signs for users, so that another one shuts out every integrator and loses nothing. The server is told public keys and
//! signed claims only.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use chrono::{DateTime, Utc};
use hub_nats_jwt::{Issuer, Key, Kind, account_claims, operator_claims, system_account_claims};

use crate::key;

const OPERATOR_FILE: &str = "nats-operator.key";
const ACCOUNT_FILE: &str = "nats-account.key";
const SIGNING_FILE: &str = "nats-signing.key";

/// The hub's own credentials, made anew at each start; for the tools of NATS, too.
const CREDENTIALS_FILE: &str = "nats.creds";

/// What a server must know of its account, and who signs for the users.
#[derive(Debug)]
pub struct NatsAccount {
    /// The account's public key.
    pub(super) name: String,
    /// Signed by the operator itself.
    pub(super) operator_claims: String,
    /// Signed by the operator.
    pub(super) claims: String,
    /// The public key of the account in which the server speaks of itself, and its claims. Its seed is thrown away: it has no users.
    pub(super) system: (String, String),
    issuer: Issuer,
    credentials: String,
}

impl NatsAccount {
    /// The account of this directory; its keys are made when they are not there. Writes the hub's own credentials beside them.
    ///
    /// # Errors
    /// When a file cannot be read or written, or holds something else.
    pub fn of_directory(directory: &Path, at: DateTime<Utc>) -> anyhow::Result<Self> {
        let operator = seed(&directory.join(OPERATOR_FILE), Kind::Operator)?;
        let account = seed(&directory.join(ACCOUNT_FILE), Kind::Account)?;
        let signing = seed(&directory.join(SIGNING_FILE), Kind::Account)?;
        let name = account.public();
        let claims = account_claims(&operator, &name, &[signing.public()], "hub", at);
        let issuer = Issuer::new(signing, Some(&name)).context("the account of NATS has no name")?;
        let credentials = issuer.owner(key::random(), "hub", at).text.to_string();
        let system = Key::from_random(Kind::Account, key::random()).public();
        let system_claims = system_account_claims(&operator, &system, at);
        key::write_private(&directory.join(CREDENTIALS_FILE), credentials.trim_end())?;
        Ok(Self {
            operator_claims: operator_claims(&operator, "hub", at),
            name,
            claims,
            system: (system, system_claims),
            issuer,
            credentials,
        })
    }

    /// The files with its keys, by the names that they have in findings.
    #[must_use]
    pub fn key_files(directory: &Path) -> Vec<(&'static str, PathBuf)> {
        [OPERATOR_FILE, ACCOUNT_FILE, SIGNING_FILE, CREDENTIALS_FILE]
            .map(|name| (name, directory.join(name)))
            .into_iter()
            .collect()
    }

    /// The account's public key.
    #[must_use]
    pub fn public_key(&self) -> &str {
        &self.name
    }

    /// What the hub itself connects with: the text of a `.creds` file.
    #[must_use]
    pub fn credentials(&self) -> &str {
        &self.credentials
    }

    /// Who signs for integrators.
    #[must_use]
    pub fn issuer(&self) -> &Issuer {
        &self.issuer
    }
}

/// The key in a file, which is made when it is not there.
fn seed(file: &Path, kind: Kind) -> anyhow::Result<Key> {
    let text = match key::read(file)? {
        Some(text) => text,
        None => key::make_private(file, &Key::from_random(kind, key::random()).seed())?,
    };
    Key::from_seed(kind, &text).with_context(|| format!("{} cannot be used", file.display()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use chrono::DateTime;

    use super::{NatsAccount, SIGNING_FILE};

    #[test]
    fn the_account_stays_when_the_key_that_signs_is_another_and_only_the_owner_may_read_the_files() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path();
        let first = NatsAccount::of_directory(path, DateTime::UNIX_EPOCH).unwrap();
        let second = NatsAccount::of_directory(path, DateTime::UNIX_EPOCH).unwrap();
        assert_eq!((&first.name, &first.claims), (&second.name, &second.claims));
        std::fs::remove_file(path.join(SIGNING_FILE)).unwrap();
        let third = NatsAccount::of_directory(path, DateTime::UNIX_EPOCH).unwrap();
        assert_eq!(first.name, third.name);
        assert_ne!(first.claims, third.claims);
        for (name, file) in NatsAccount::key_files(path) {
            assert_eq!(std::fs::metadata(file).unwrap().permissions().mode() & 0o777, 0o600, "{name}");
        }
    }

    #[test]
    fn a_damaged_key_is_refused_and_not_shown() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join(SIGNING_FILE);
        std::fs::write(&file, "SOMETHING").unwrap();
        let error = format!("{:#}", NatsAccount::of_directory(directory.path(), DateTime::UNIX_EPOCH).unwrap_err());
        assert!(error.contains(SIGNING_FILE) && !error.contains("SOMETHING"), "{error}");
    }
}
