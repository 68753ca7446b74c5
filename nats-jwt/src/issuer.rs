//! Who lets users in: makes a key pair for each, and signs what it may do.

use std::fmt;

use chrono::{DateTime, Utc};
use serde_json::{Value, json};
use zeroize::Zeroizing;

use crate::{
    claims::Claims,
    key::{Key, KeyError, Kind, public},
};

/// So many subscriptions at a time are enough for a reader; a number because the server keeps each of them in memory.
const READER_SUBSCRIPTION_COUNT_MAX: i64 = 64;

/// A key that signs for the users of one account.
#[derive(Debug, Clone)]
pub struct Issuer {
    key: Key,
    /// The public key of the account, when `key` is another one that the account lets sign.
    account: Option<String>,
}

/// What a user connects with.
pub struct Credentials {
    /// The user's public key.
    pub user: String,
    /// The text of a `.creds` file: the user's claims, and its seed, which nobody else has.
    pub text: Zeroizing<String>,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Credentials").field("user", &self.user).finish_non_exhaustive()
    }
}

impl Issuer {
    /// One that signs with `key`: the account's own, or a signing key of the account with this public key.
    ///
    /// # Errors
    /// When `account` is no public key of an account.
    pub fn new(key: Key, account: Option<&str>) -> Result<Self, KeyError> {
        let account = account.map(|account| public(Kind::Account, account)).transpose()?;
        let account = account.filter(|account| *account != key.public());
        Ok(Self { key, account })
    }

    /// Credentials of a user that may do everything in the account, without an end.
    #[must_use]
    pub fn owner(&self, random: [u8; 32], name: &str, at: DateTime<Utc>) -> Credentials {
        let user = Key::from_random(Kind::User, random);
        let nats = self.of_user(json!({ "pub": {}, "sub": {}, "subs": -1, "data": -1, "payload": -1 }));
        credentials(&user, &Claims::new(&user.public(), name, at, nats).signed(&self.key))
    }

    /// Credentials of a user that may subscribe to these subjects, publishes nothing, and is shut out at the second of the times; the first is
    /// now.
    #[must_use]
    pub fn reader(&self, random: [u8; 32], name: &str, subjects: &[String], times: [DateTime<Utc>; 2]) -> Credentials {
        let [at, expires_at] = times;
        let user = Key::from_random(Kind::User, random);
        // What is allowed shuts out everything else. An inbox is for answers, and there is nothing to ask.
        let nats = self.of_user(json!({
            "pub": { "deny": [">"] },
            "sub": { "allow": subjects },
            "subs": READER_SUBSCRIPTION_COUNT_MAX,
            "data": -1,
            "payload": -1,
            "allowed_connection_types": ["STANDARD", "WEBSOCKET"],
        }));
        credentials(&user, &Claims::new(&user.public(), name, at, nats).until(expires_at).signed(&self.key))
    }

    fn of_user(&self, mut nats: Value) -> Value {
        nats["type"] = "user".into();
        nats["version"] = 2.into();
        if let Some(account) = &self.account {
            nats["issuer_account"] = account.as_str().into();
        }
        nats
    }
}

/// As the tools of NATS write it, and its clients read it.
fn credentials(user: &Key, token: &str) -> Credentials {
    let text = format!(
        "-----BEGIN NATS USER JWT-----\n{token}\n------END NATS USER JWT------\n\n\
         ************************* IMPORTANT *************************\n\
         The seed below is a secret: whoever has it is this user.\n\n\
         -----BEGIN USER NKEY SEED-----\n{}\n------END USER NKEY SEED------\n\n\
         *************************************************************\n",
        user.seed().as_str()
    );
    Credentials { user: user.public(), text: Zeroizing::new(text) }
}

#[cfg(test)]
mod tests {
    use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
    use chrono::{DateTime, TimeDelta};
    use nkeys::KeyPair;
    use serde_json::{Value, json};

    use super::{Credentials, Issuer};
    use crate::key::{Key, KeyError, Kind};

    fn account(byte: u8) -> Key {
        Key::from_random(Kind::Account, [byte; 32])
    }

    /// The claims of a token whose signature is that of `iss`.
    fn verified(credentials: &Credentials) -> Value {
        let token = credentials.text.lines().nth(1).unwrap();
        let (signed, signature) = token.rsplit_once('.').unwrap();
        let (header, claims) = signed.split_once('.').unwrap();
        let decoded = |text: &str| URL_SAFE_NO_PAD.decode(text).unwrap();
        assert_eq!(
            serde_json::from_slice::<Value>(&decoded(header)).unwrap(),
            json!({ "typ": "JWT", "alg": "ed25519-nkey" })
        );
        let claims: Value = serde_json::from_slice(&decoded(claims)).unwrap();
        let issuer = KeyPair::from_public_key(claims["iss"].as_str().unwrap()).unwrap();
        issuer.verify(signed.as_bytes(), &decoded(signature)).unwrap();
        claims
    }

    #[test]
    fn a_reader_may_subscribe_to_its_subjects_until_it_expires_and_nothing_else() {
        let (at, subjects) = (DateTime::UNIX_EPOCH, ["hub.events.*.a.>".to_owned()]);
        let issuer = Issuer::new(account(2), Some(&account(1).public())).unwrap();
        let credentials = issuer.reader([3; 32], "ledger", &subjects, [at, at + TimeDelta::days(7)]);
        let claims = verified(&credentials);
        assert_eq!([&claims["iss"], &claims["sub"]], [&*account(2).public(), &*credentials.user]);
        assert_eq!((&claims["iat"], &claims["exp"], &claims["name"]), (&json!(0), &json!(604_800), &json!("ledger")));
        let nats = &claims["nats"];
        assert_eq!(nats["sub"], json!({ "allow": subjects }));
        assert_eq!(nats["pub"], json!({ "deny": [">"] }));
        assert_eq!(nats["issuer_account"], *account(1).public());
        assert_eq!((&nats["type"], &nats["version"]), (&json!("user"), &json!(2)));
    }

    #[test]
    fn the_seed_in_the_text_is_that_of_the_user() {
        let issuer = Issuer::new(account(1), None).unwrap();
        let credentials = issuer.owner([3; 32], "hub", DateTime::UNIX_EPOCH);
        let seed = credentials.text.lines().find(|line| line.starts_with("SU")).unwrap();
        assert_eq!(Key::from_seed(Kind::User, seed).unwrap().public(), credentials.user);
        assert!(!format!("{credentials:?}").contains(seed));
        assert_eq!(verified(&credentials).get("exp"), None);
    }

    #[test]
    fn the_account_is_named_only_when_another_key_signs_for_it() {
        let own = account(1).public();
        let issuer = Issuer::new(account(1), Some(&own)).unwrap();
        let claims = verified(&issuer.owner([3; 32], "hub", DateTime::UNIX_EPOCH));
        assert_eq!(claims["nats"].get("issuer_account"), None);
        assert_eq!(Issuer::new(account(1), Some("ABC")).unwrap_err(), KeyError::Public(Kind::Account));
    }
}
