//! A tenant's facts as decisions read them: roles, who holds them, keys and identity providers, all of one moment.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use hub_domain::{
    fact::{CredentialFact, DutySetFact, Fact, GrantFact, Home, IdentityProviderFact, RoleFact, SecretFact},
    id::RoleId,
};
use sqlx::PgPool;
use uuid::Uuid;

/// The facts of one tenant, its version, and the end of the log at the same moment.
pub(crate) const FACTS: &str = "
SELECT l.position, coalesce(h.position, 0), s.repair_count, f.aggregate_id, f.part, f.fact::text
FROM log_head l
CROSS JOIN facts_state s
LEFT JOIN fact_heads h ON h.tenant_id = $1
LEFT JOIN facts f ON f.tenant_id = $1
LIMIT $2";

/// A tenant with more facts is refused everything: nobody's rights could be known in time.
pub const FACT_COUNT_MAX: usize = 200_000;

/// One grant with the name that it can be shown by.
#[derive(Debug, Clone)]
pub struct Granted {
    /// Of the aggregate that the grant comes from.
    pub aggregate_id: Uuid,
    /// The grant.
    pub grant: GrantFact,
}

/// Which facts of a tenant these are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Version {
    /// The position of the last event that changed something.
    pub position: i64,
    /// How often facts had been repaired, which changes them without an event.
    pub repair_count: i64,
}

/// What decides who may do what in one tenant, at one moment of the log.
#[derive(Debug, Default)]
pub struct TenantFacts {
    /// Every event up to here is known.
    pub position: i64,
    /// Two of one version are the same.
    pub version: Version,
    /// The live roles.
    pub roles: HashMap<RoleId, RoleFact>,
    /// Who holds what, or will, or did until a moment ago.
    pub grants: HashMap<(Home, String), Vec<Granted>>,
    /// The keys that are not revoked, by principal.
    pub credentials: HashMap<String, Arc<CredentialFact>>,
    /// The same by the ids of their secrets.
    pub secrets: HashMap<String, Arc<CredentialFact>>,
    /// Whose tokens are accepted.
    pub identity_providers: Vec<(Uuid, IdentityProviderFact)>,
    /// The principals at home here that are let in nowhere.
    pub ended: HashSet<String>,
    /// Roles that nobody may hold together.
    pub duty_sets: Vec<(Uuid, DutySetFact)>,
}

/// Why facts are not there.
#[derive(Debug, Clone, thiserror::Error)]
pub enum FactsError {
    /// PostgreSQL does not answer, or not in time.
    #[error("the facts cannot be read: {0}")]
    Unavailable(String),
    /// More than `FACT_COUNT_MAX`.
    #[error("the tenant has too many facts")]
    TooMany,
    /// A fact that this version of the program does not understand.
    #[error("a fact cannot be understood: {0}")]
    Corrupt(String),
}

impl TenantFacts {
    /// Reads all facts of the tenant in one statement.
    pub(crate) async fn load(pool: &PgPool, tenant_id: Uuid) -> Result<Self, FactsError> {
        type Row = (i64, i64, i64, Option<Uuid>, Option<String>, Option<String>);
        let limit = i64::try_from(FACT_COUNT_MAX).expect("the bound is small") + 1;
        let rows: Vec<Row> = sqlx::query_as(FACTS)
            .bind(tenant_id)
            .bind(limit)
            .fetch_all(pool)
            .await
            .map_err(|error| FactsError::Unavailable(error.to_string()))?;
        if rows.len() > FACT_COUNT_MAX {
            return Err(FactsError::TooMany);
        }
        let mut facts = Self::default();
        for (position, changed, repair_count, aggregate_id, part, fact) in rows {
            (facts.position, facts.version) = (position, Version { position: changed, repair_count });
            if let (Some(aggregate_id), Some(part), Some(fact)) = (aggregate_id, part, fact) {
                let fact = serde_json::from_str(&fact).map_err(|e| FactsError::Corrupt(format!("{part}: {e}")))?;
                facts.add(aggregate_id, fact);
            }
        }
        Ok(facts)
    }

    /// Takes in one fact of one stream.
    pub fn add(&mut self, aggregate_id: Uuid, fact: Fact) {
        match fact {
            Fact::Role(role) => drop(self.roles.insert(RoleId(aggregate_id), role)),
            Fact::Grant(grant) => {
                let holder = (grant.home, grant.principal.as_str().to_owned());
                self.grants.entry(holder).or_default().push(Granted { aggregate_id, grant });
            }
            Fact::Credential(credential) => {
                let credential = Arc::new(credential);
                for id in credential.secrets.keys() {
                    self.secrets.insert(id.clone(), credential.clone());
                }
                self.credentials.insert(credential.principal.as_str().to_owned(), credential);
            }
            Fact::IdentityProvider(provider) => self.identity_providers.push((aggregate_id, provider)),
            Fact::DutySet(set) => self.duty_sets.push((aggregate_id, set)),
            Fact::Ended(ended) => drop(self.ended.insert(ended.principal.as_str().to_owned())),
        }
    }

    /// One of the secrets of a principal's key, by its public number.
    pub(crate) fn secret(&self, principal: &str, secret_id: u64) -> Option<&SecretFact> {
        self.credentials.get(principal)?.secrets.get(&format!("{secret_id:016x}"))
    }

    /// What the principal holds by grants of this tenant.
    pub(crate) fn grants_of(&self, home: Home, principal: &str) -> &[Granted] {
        self.grants.get(&(home, principal.to_owned())).map_or(&[], Vec::as_slice)
    }

    /// The role and all that it inherits from, each once; a role that is not live permits nothing.
    pub(crate) fn with_ancestors(&self, role_id: RoleId) -> Vec<(RoleId, &RoleFact)> {
        let mut reached: Vec<(RoleId, &RoleFact)> = Vec::new();
        let mut open = vec![role_id];
        while let Some(next) = open.pop() {
            if reached.iter().any(|(known, _)| *known == next) {
                continue;
            }
            if let Some(role) = self.roles.get(&next) {
                reached.push((next, role));
                open.extend(&role.parents);
            }
        }
        reached
    }
}
