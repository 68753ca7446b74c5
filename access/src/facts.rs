//! A tenant's facts as decisions read them: roles, who holds them, keys and identity providers, all of one moment.
//!
//! They are read whole once and then by what has changed since (`load`, `reader`). A later version shares with the one before whatever is the same, so
//! a decision that is under way keeps what it began with, and a change costs what it changes and not what the tenant has.

pub(crate) mod load;
pub(crate) mod reader;

use std::sync::Arc;

use hub_domain::{
    fact::{CredentialFact, DutySetFact, Fact, GrantFact, Home, IdentityProviderFact, RoleFact, SecretFact},
    id::RoleId,
};
use uuid::Uuid;

use crate::shared::SharedMap;

pub use self::{
    load::{FACT_COUNT_MAX, FactsError, REMOVAL_COUNT_MAX},
    reader::FactsReader,
};

/// One grant with the name that it can be shown by.
#[derive(Debug, Clone)]
pub struct Granted {
    /// Of the aggregate that the grant comes from.
    pub aggregate_id: Uuid,
    /// The grant.
    pub grant: Arc<GrantFact>,
}

/// Which facts of a tenant these are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Version {
    /// The position of the last event that changed something.
    pub position: i64,
    /// How often facts had been repaired, which changes them without an event.
    pub repair_count: i64,
}

/// The name of a fact within its tenant.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct FactName {
    /// The type of its stream.
    pub aggregate_type: String,
    /// The id of its stream.
    pub aggregate_id: Uuid,
    /// Its name within the stream.
    pub part: String,
}

/// What decides who may do what in one tenant, at one moment of the log.
#[derive(Debug, Clone, Default)]
pub struct TenantFacts {
    /// Every event up to here is known.
    pub position: i64,
    /// Two of one version are the same.
    pub version: Version,
    /// The live roles.
    pub roles: SharedMap<RoleId, Arc<RoleFact>>,
    /// Who holds what, or will, or did until a moment ago.
    pub grants: SharedMap<(Home, String), Vec<Granted>>,
    /// The keys that are not revoked, by principal.
    pub credentials: SharedMap<String, Arc<CredentialFact>>,
    /// The same by the ids of their secrets.
    pub secrets: SharedMap<String, Arc<CredentialFact>>,
    /// Whose tokens are accepted.
    pub identity_providers: Arc<Vec<(Uuid, IdentityProviderFact)>>,
    /// The principals at home here that are let in nowhere.
    pub ended: SharedMap<String, ()>,
    /// Roles that nobody may hold together.
    pub duty_sets: Arc<Vec<(Uuid, DutySetFact)>>,
    /// Where each fact that has a name went.
    places: SharedMap<FactName, Place>,
    /// How many facts of the tenant had been removed.
    removal_count: i64,
    /// Whether two facts said something of the same thing, which no program writes. When one of them goes nobody could tell what the other
    /// one says, so such facts are always read whole.
    clashes: bool,
}

/// What one fact has added.
#[derive(Debug, Clone)]
enum Place {
    Role(RoleId),
    Grant(Arc<GrantFact>),
    Credential(Arc<CredentialFact>),
    IdentityProvider(Uuid),
    DutySet(Uuid),
    Ended(String),
}

impl TenantFacts {
    /// Takes in one fact of one stream, for good.
    pub fn add(&mut self, aggregate_id: Uuid, fact: Fact) {
        self.take_in(aggregate_id, fact);
    }

    /// Takes in a fact in place of the one that had its name.
    pub fn set(&mut self, name: FactName, fact: Fact) {
        self.unset(&name);
        let place = self.take_in(name.aggregate_id, fact);
        self.places.insert(name, place);
    }

    /// Takes the fact of this name out, if there is one.
    pub fn unset(&mut self, name: &FactName) {
        if let Some(place) = self.places.remove(name) {
            self.take_out(place);
        }
    }

    fn take_in(&mut self, aggregate_id: Uuid, fact: Fact) -> Place {
        match fact {
            Fact::Role(role) => {
                let id = RoleId(aggregate_id);
                self.clashes |= self.roles.insert(id, Arc::new(role)).is_some();
                Place::Role(id)
            }
            Fact::Grant(grant) => {
                let (holder, grant) = (holder_of(&grant), Arc::new(grant));
                let mut held = self.grants.remove(&holder).unwrap_or_default();
                held.push(Granted { aggregate_id, grant: grant.clone() });
                self.grants.insert(holder, held);
                Place::Grant(grant)
            }
            Fact::Credential(credential) => {
                let credential = Arc::new(credential);
                for id in credential.secrets.keys() {
                    self.clashes |= self.secrets.insert(id.clone(), credential.clone()).is_some();
                }
                let principal = credential.principal.as_str().to_owned();
                self.clashes |= self.credentials.insert(principal, credential.clone()).is_some();
                Place::Credential(credential)
            }
            Fact::IdentityProvider(provider) => {
                self.clashes |= self.identity_providers.iter().any(|(id, _)| *id == aggregate_id);
                Arc::make_mut(&mut self.identity_providers).push((aggregate_id, provider));
                Place::IdentityProvider(aggregate_id)
            }
            Fact::DutySet(set) => {
                self.clashes |= self.duty_sets.iter().any(|(id, _)| *id == aggregate_id);
                Arc::make_mut(&mut self.duty_sets).push((aggregate_id, set));
                Place::DutySet(aggregate_id)
            }
            Fact::Ended(ended) => {
                let principal = ended.principal.as_str().to_owned();
                self.clashes |= self.ended.insert(principal.clone(), ()).is_some();
                Place::Ended(principal)
            }
        }
    }

    fn take_out(&mut self, place: Place) {
        match place {
            Place::Role(id) => drop(self.roles.remove(&id)),
            Place::Grant(grant) => {
                let holder = holder_of(&grant);
                let mut held = self.grants.remove(&holder).unwrap_or_default();
                held.retain(|granted| !Arc::ptr_eq(&granted.grant, &grant));
                if !held.is_empty() {
                    self.grants.insert(holder, held);
                }
            }
            Place::Credential(credential) => {
                for id in credential.secrets.keys() {
                    self.secrets.remove(id);
                }
                self.credentials.remove(credential.principal.as_str());
            }
            Place::IdentityProvider(id) => {
                Arc::make_mut(&mut self.identity_providers).retain(|(known, _)| *known != id)
            }
            Place::DutySet(id) => Arc::make_mut(&mut self.duty_sets).retain(|(known, _)| *known != id),
            Place::Ended(principal) => drop(self.ended.remove(&principal)),
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

/// Whose grant it is.
fn holder_of(grant: &GrantFact) -> (Home, String) {
    (grant.home, grant.principal.as_str().to_owned())
}
