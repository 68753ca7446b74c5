//! What a tenant allows, and what its events take on the platform.

use uuid::Uuid;

use crate::{
    aggregate::Decide,
    effect::{Effect, Reach},
    text::{DomainName, Remark},
};

use super::{Command, DOMAIN_COUNT_MAX, DomainState, Error, Event, Profile, Stage, SuspensionReason, Tenant};

/// The scope in which slugs are unique.
pub const SLUG: &str = "tenant_slug";
/// The scope in which verified domains are unique.
pub const DOMAIN: &str = "tenant_domain";

impl Decide for Tenant {
    fn decide(&self, command: Command) -> Result<Vec<Event>, Error> {
        match (self, command) {
            (Self::Absent, Command::Register { slug, name, contact_email, tier, region, currency }) => {
                Ok(vec![Event::Registered { slug, name, contact_email, tier, region, currency }])
            }
            (Self::Absent, _) => Err(Error::NotFound),
            (Self::Live(_), Command::Register { .. }) => Err(Error::AlreadyRegistered),
            (Self::Live(profile), command) => profile.decide(command),
            (Self::Archived, _) => Err(Error::Archived),
        }
    }

    fn effects(&self, _id: Uuid, event: &Event) -> Vec<Effect> {
        match (self, event) {
            (_, Event::Registered { slug, .. }) => {
                vec![Effect::Take { reach: Reach::Platform, scope: SLUG, key: slug.to_string() }]
            }
            (_, Event::DomainVerified { domain }) => {
                vec![Effect::Take { reach: Reach::Platform, scope: DOMAIN, key: domain.to_string() }]
            }
            (Self::Live(profile), Event::DomainRemoved { domain, .. }) => profile.release(domain).into_iter().collect(),
            (Self::Live(profile), Event::Archived {}) => {
                profile.domains.keys().filter_map(|domain| profile.release(domain)).collect()
            }
            (_, _) => Vec::new(),
        }
    }
}

impl Profile {
    fn decide(&self, command: Command) -> Result<Vec<Event>, Error> {
        match command {
            Command::Activate => self.activate(),
            Command::Suspend { reason, note } => self.suspend(reason, note),
            Command::Resume { reason } => self.resume(reason),
            Command::ChangeContact { contact_email } => Ok(vec![Event::ContactChanged { contact_email }]),
            Command::Rename { name } if name == self.name => Ok(vec![]),
            Command::Rename { name } => Ok(vec![Event::Renamed { name }]),
            Command::ChangeTier { tier } if tier == self.tier => Ok(vec![]),
            Command::ChangeTier { tier } => Ok(vec![Event::TierChanged { from: self.tier, to: tier }]),
            Command::SetQuota { resource, limit } if self.quotas.get(&resource) == Some(&limit) => Ok(vec![]),
            Command::SetQuota { resource, limit } => Ok(vec![Event::QuotaSet { resource, limit }]),
            Command::AddDomain { domain, token } => self.add_domain(domain, token),
            Command::VerifyDomain { domain, token } => self.verify_domain(domain, &token),
            Command::RemoveDomain { domain } => self.remove_domain(domain),
            Command::SetPrimaryDomain { domain } => self.set_primary_domain(domain),
            Command::Archive => Ok(vec![Event::Archived {}]),
            Command::Register { .. } => Err(Error::AlreadyRegistered),
        }
    }

    fn activate(&self) -> Result<Vec<Event>, Error> {
        match self.stage {
            Stage::Pending => Ok(vec![Event::Activated {}]),
            // A suspension ends by clearing its reasons; activating says nothing about them.
            Stage::Active | Stage::Suspended(_) => Ok(vec![]),
        }
    }

    fn suspend(&self, reason: SuspensionReason, note: Remark) -> Result<Vec<Event>, Error> {
        match &self.stage {
            Stage::Pending => Err(Error::NotActivated),
            Stage::Suspended(reasons) if reasons.contains(&reason) => Ok(vec![]),
            Stage::Active | Stage::Suspended(_) => Ok(vec![Event::Suspended { reason, note }]),
        }
    }

    fn resume(&self, reason: SuspensionReason) -> Result<Vec<Event>, Error> {
        match &self.stage {
            Stage::Pending => Err(Error::NotActivated),
            Stage::Suspended(reasons) if reasons.contains(&reason) => {
                Ok(vec![Event::Resumed { reason, active: reasons.len() == 1 }])
            }
            Stage::Active | Stage::Suspended(_) => Err(Error::NotSuspendedFor(reason)),
        }
    }

    fn add_domain(&self, domain: DomainName, token: String) -> Result<Vec<Event>, Error> {
        if self.domains.contains_key(&domain) {
            return Err(Error::DomainAlreadyAdded(domain));
        }
        if self.domains.len() >= DOMAIN_COUNT_MAX {
            return Err(Error::TooManyDomains);
        }
        Ok(vec![Event::DomainAdded { domain, token }])
    }

    fn verify_domain(&self, domain: DomainName, found: &str) -> Result<Vec<Event>, Error> {
        match self.domains.get(&domain) {
            None => Err(Error::DomainUnknown(domain)),
            Some(DomainState::Verified) => Ok(vec![]),
            Some(DomainState::Claimed { token }) if token == found => Ok(vec![Event::DomainVerified { domain }]),
            Some(DomainState::Claimed { .. }) => Err(Error::DomainTokenMismatch(domain)),
        }
    }

    fn remove_domain(&self, domain: DomainName) -> Result<Vec<Event>, Error> {
        if !self.domains.contains_key(&domain) {
            return Err(Error::DomainUnknown(domain));
        }
        let primary = self.primary_domain.as_ref() == Some(&domain);
        Ok(vec![Event::DomainRemoved { domain, primary }])
    }

    fn set_primary_domain(&self, domain: DomainName) -> Result<Vec<Event>, Error> {
        match self.domains.get(&domain) {
            None => Err(Error::DomainUnknown(domain)),
            Some(DomainState::Claimed { .. }) => Err(Error::DomainNotVerified(domain)),
            Some(DomainState::Verified) if self.primary_domain.as_ref() == Some(&domain) => Ok(vec![]),
            Some(DomainState::Verified) => Ok(vec![Event::PrimaryDomainSet { domain }]),
        }
    }

    /// Only a verified domain was ever taken.
    fn release(&self, domain: &DomainName) -> Option<Effect> {
        matches!(self.domains.get(domain), Some(DomainState::Verified)).then(|| Effect::Release {
            reach: Reach::Platform,
            scope: DOMAIN,
            key: domain.to_string(),
        })
    }
}
