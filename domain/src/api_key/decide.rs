//! What a key allows, and what decisions read of it.

use std::collections::BTreeMap;

use chrono::{DateTime, Duration, Utc};
use cqrs_es::Aggregate as _;
use uuid::Uuid;

use crate::{
    aggregate::Decide,
    effect::{Effect, Reach},
    fact::{CredentialFact, Fact, GRANTS, GrantFact, GrantSource, Home, SecretFact, part},
    id::RoleId,
    role::Principal,
};

use super::{
    ApiKey, Command, Credential, Error, Event, GRACE_SECONDS_MAX, KEY_ID, ROLE_COUNT_MAX, Secret, SecretHash, SecretId,
};

/// The counter of a tenant's keys that are not revoked; its maximum is [`super::API_KEY_COUNT_MAX`].
pub const API_KEYS: &str = "api_keys";

/// The name of the key's own fact.
const CREDENTIAL: &str = "credential";

/// The principal that a key stands for.
#[must_use]
pub fn principal_of(api_key_id: Uuid) -> Principal {
    format!("key:{api_key_id}").parse().expect("a key's id is made of visible characters")
}

impl Decide for ApiKey {
    fn decide(&self, command: Command) -> Result<Vec<Event>, Error> {
        match (self, command) {
            (
                Self::Absent,
                Command::Issue { name, secret_id, sha256, roles, scopes, networks, expires_at, now: issued_at },
            ) => {
                if expires_at.is_some_and(|end| end <= issued_at) {
                    return Err(Error::ExpiryInThePast);
                }
                if !(1..=ROLE_COUNT_MAX).contains(&roles.len()) {
                    return Err(Error::RolesOutOfRange);
                }
                Ok(vec![Event::Issued { name, secret_id, sha256, roles, scopes, networks, issued_at, expires_at }])
            }
            (Self::Absent, _) => Err(Error::NotFound),
            (Self::Valid(_), Command::Issue { .. }) => Err(Error::AlreadyIssued),
            (Self::Valid(credential), Command::Rotate { secret_id, sha256, grace_seconds, now }) => {
                credential.rotate(secret_id, sha256, grace_seconds, now)
            }
            (Self::Valid(_), Command::Revoke { reason }) => Ok(vec![Event::Revoked { reason }]),
            (Self::Revoked, Command::Revoke { .. }) => Ok(vec![]), // Already so.
            (Self::Revoked, _) => Err(Error::Revoked),
        }
    }

    fn effects(&self, id: Uuid, event: &Event) -> Vec<Effect> {
        let take = |secret_id: &SecretId| Effect::Take {
            reach: Reach::Platform,
            scope: KEY_ID,
            key: secret_id.as_str().to_owned(),
        };
        let facts = |key: &Self| match key {
            Self::Valid(credential) => credential.facts(&principal_of(id)),
            Self::Absent | Self::Revoked => BTreeMap::new(),
        };
        let mut after = self.clone();
        after.apply(event.clone());
        let shown = facts(&after).into_iter().map(|(part, fact)| Effect::Show { part, fact });
        match event {
            Event::Issued { secret_id, .. } => {
                let counted = [(API_KEYS, 1), (GRANTS, 1)];
                let counted = counted.map(|(counter, delta)| Effect::Count { counter, delta });
                [take(secret_id)].into_iter().chain(counted).chain(shown).collect()
            }
            Event::Rotated { secret_id, .. } => [take(secret_id)].into_iter().chain(shown).collect(),
            Event::Revoked { .. } => {
                let hidden = facts(self).into_keys().map(|part| Effect::Hide { part });
                [Effect::Count { counter: API_KEYS, delta: -1 }].into_iter().chain(hidden).collect()
            }
        }
    }
}

impl Credential {
    fn rotate(
        &self,
        secret_id: SecretId,
        sha256: SecretHash,
        grace_seconds: u32,
        now: DateTime<Utc>,
    ) -> Result<Vec<Event>, Error> {
        if self.secret.secret_id == secret_id {
            return Ok(vec![]);
        }
        if self.expires_at.is_some_and(|end| end <= now) {
            return Err(Error::Expired);
        }
        if grace_seconds > GRACE_SECONDS_MAX {
            return Err(Error::GraceOutOfRange);
        }
        let previous_until = now + Duration::seconds(i64::from(grace_seconds));
        Ok(vec![Event::Rotated { secret_id, sha256, previous_until }])
    }

    fn facts(&self, principal: &Principal) -> BTreeMap<String, Fact> {
        let secret = |secret: &Secret, expires_at| {
            let sha256 = secret.sha256.as_str().to_owned();
            (secret.secret_id.as_str().to_owned(), SecretFact { sha256, expires_at })
        };
        let previous = self.previous.as_ref().map(|(before, until)| secret(before, Some(*until)));
        let credential = CredentialFact {
            principal: principal.clone(),
            secrets: previous.into_iter().chain([secret(&self.secret, None)]).collect(),
            scopes: self.scopes.iter().map(ToString::to_string).collect(),
            networks: self.networks.iter().map(ToString::to_string).collect(),
            expires_at: self.expires_at,
        };
        let grant = |role_id: &RoleId| {
            let grant = GrantFact {
                principal: principal.clone(),
                home: Home::Tenant,
                role_id: *role_id,
                from: self.issued_at,
                until: self.expires_at,
                source: GrantSource::ApiKey,
            };
            (part("grant", role_id.0), Fact::Grant(grant))
        };
        let own = (CREDENTIAL.to_owned(), Fact::Credential(credential));
        self.roles.iter().map(grant).chain([own]).collect()
    }
}
