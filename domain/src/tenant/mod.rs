//! A tenant: an organisation that buys managed services, from its registration to its archiving.
//!
//! Life: absent, pending, active or suspended, archived. Suspension is a set of reasons: the tenant is active again when the last
//! one is cleared. An archived tenant accepts nothing and gives its domains back; its slug stays taken for ever.

pub mod decide;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use cqrs_es::{Aggregate, DomainEvent, event_sink::EventSink};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use strum::{AsRefStr, VariantNames};

use crate::{
    aggregate,
    money::Currency,
    personal::Pii,
    refusal::{Code, Kind, Refusal},
    text::{DomainName, Email, Key, Name, Remark, Slug},
};

/// At most so many domains a tenant.
pub const DOMAIN_COUNT_MAX: usize = 100;

/// What has happened to a tenant.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema, AsRefStr, VariantNames)]
#[serde(tag = "type", content = "data", rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum Event {
    /// The organisation became known to the platform.
    Registered { slug: Slug, name: Name, contact_email: Pii<Email>, tier: Tier, region: Key, currency: Currency },
    /// The tenant may use services.
    Activated {},
    /// One more reason keeps the tenant from using services.
    Suspended { reason: SuspensionReason, note: Remark },
    /// One reason was cleared; `active` tells whether it was the last.
    Resumed { reason: SuspensionReason, active: bool },
    /// Somebody else is to be written to.
    ContactChanged { contact_email: Pii<Email> },
    /// The display name changed.
    Renamed { name: Name },
    /// The tenant moved to another tier.
    TierChanged { from: Tier, to: Tier },
    /// A limit was set.
    QuotaSet { resource: Resource, limit: u64 },
    /// A domain was claimed; the token must be published to verify it.
    DomainAdded { domain: DomainName, token: String },
    /// The domain was proven to be the tenant's; from here on it is unique on the platform.
    DomainVerified { domain: DomainName },
    /// The domain is no longer the tenant's; `primary` tells whether it was the primary one.
    DomainRemoved { domain: DomainName, primary: bool },
    /// A verified domain became the primary one.
    PrimaryDomainSet { domain: DomainName },
    /// The end of the tenant's life on the platform.
    Archived {},
}

/// What a tenant can be ordered to do.
#[derive(Debug, Clone, PartialEq)]
pub enum Command {
    Register {
        slug: Slug,
        name: Name,
        contact_email: Pii<Email>,
        tier: Tier,
        region: Key,
        currency: Currency,
    },
    Activate,
    Suspend {
        reason: SuspensionReason,
        note: Remark,
    },
    Resume {
        reason: SuspensionReason,
    },
    ChangeContact {
        contact_email: Pii<Email>,
    },
    Rename {
        name: Name,
    },
    ChangeTier {
        tier: Tier,
    },
    SetQuota {
        resource: Resource,
        limit: u64,
    },
    /// `token` is a fresh random text to be published in the domain's DNS.
    AddDomain {
        domain: DomainName,
        token: String,
    },
    /// `token` is what was found in the domain's DNS.
    VerifyDomain {
        domain: DomainName,
        token: String,
    },
    RemoveDomain {
        domain: DomainName,
    },
    SetPrimaryDomain {
        domain: DomainName,
    },
    Archive,
}

/// Why a tenant refuses.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("there is no such tenant")]
    NotFound,
    #[error("the tenant is already registered")]
    AlreadyRegistered,
    #[error("the tenant is archived and accepts nothing")]
    Archived,
    #[error("the tenant is not yet active")]
    NotActivated,
    #[error("the tenant is not suspended for {0}")]
    NotSuspendedFor(SuspensionReason),
    #[error("the domain {0} already belongs to the tenant")]
    DomainAlreadyAdded(DomainName),
    #[error("the domain {0} does not belong to the tenant")]
    DomainUnknown(DomainName),
    #[error("the domain {0} is not verified")]
    DomainNotVerified(DomainName),
    #[error("the token does not match the one given out for the domain {0}")]
    DomainTokenMismatch(DomainName),
    #[error("a tenant has at most {DOMAIN_COUNT_MAX} domains")]
    TooManyDomains,
}

/// Every code of this context.
pub const CODES: &[Code] = &[
    Code { code: "tenant_not_found", kind: Kind::NotFound, meaning: "There is no such tenant." },
    Code { code: "tenant_already_registered", kind: Kind::Conflict, meaning: "A tenant with this id exists already." },
    Code { code: "tenant_archived", kind: Kind::Conflict, meaning: "The tenant is archived and accepts no command." },
    Code { code: "tenant_not_activated", kind: Kind::Conflict, meaning: "The tenant has not been activated yet." },
    Code {
        code: "tenant_not_suspended_for_reason",
        kind: Kind::Conflict,
        meaning: "The tenant is not suspended for the reason given.",
    },
    Code { code: "tenant_slug_taken", kind: Kind::Conflict, meaning: "Another tenant holds this slug." },
    Code { code: "tenant_domain_taken", kind: Kind::Conflict, meaning: "Another tenant has verified this domain." },
    Code {
        code: "tenant_domain_already_added",
        kind: Kind::Conflict,
        meaning: "The domain already belongs to this tenant.",
    },
    Code { code: "tenant_domain_unknown", kind: Kind::Conflict, meaning: "The domain does not belong to this tenant." },
    Code {
        code: "tenant_domain_not_verified",
        kind: Kind::Conflict,
        meaning: "Only a verified domain can be the primary one.",
    },
    Code {
        code: "tenant_domain_token_mismatch",
        kind: Kind::Invalid,
        meaning: "The token found is not the one given out.",
    },
    Code {
        code: "tenant_too_many_domains",
        kind: Kind::LimitReached,
        meaning: "The tenant has as many domains as are allowed.",
    },
];

impl Refusal for Error {
    fn code(&self) -> &'static str {
        match self {
            Self::NotFound => "tenant_not_found",
            Self::AlreadyRegistered => "tenant_already_registered",
            Self::Archived => "tenant_archived",
            Self::NotActivated => "tenant_not_activated",
            Self::NotSuspendedFor(_) => "tenant_not_suspended_for_reason",
            Self::DomainAlreadyAdded(_) => "tenant_domain_already_added",
            Self::DomainUnknown(_) => "tenant_domain_unknown",
            Self::DomainNotVerified(_) => "tenant_domain_not_verified",
            Self::DomainTokenMismatch(_) => "tenant_domain_token_mismatch",
            Self::TooManyDomains => "tenant_too_many_domains",
        }
    }

    fn kind(&self) -> Kind {
        match self {
            Self::NotFound => Kind::NotFound,
            Self::DomainTokenMismatch(_) => Kind::Invalid,
            Self::TooManyDomains => Kind::LimitReached,
            Self::AlreadyRegistered
            | Self::Archived
            | Self::NotActivated
            | Self::NotSuspendedFor(_)
            | Self::DomainAlreadyAdded(_)
            | Self::DomainUnknown(_)
            | Self::DomainNotVerified(_) => Kind::Conflict,
        }
    }
}

/// How large a customer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema, AsRefStr)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum Tier {
    Starter,
    Professional,
    Enterprise,
}

/// Why a tenant is suspended.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    JsonSchema,
    AsRefStr,
    strum::Display,
)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum SuspensionReason {
    Payment,
    Security,
    Request,
    Manual,
}

/// What a quota limits; units are in the name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema, AsRefStr)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum Resource {
    Seats,
    Instances,
    StorageBytes,
    BandwidthBytes,
    CpuMillis,
}

/// A tenant at one moment.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub enum Tenant {
    /// Not registered.
    #[default]
    Absent,
    /// Registered and not archived.
    Live(Profile),
    /// Archived for ever.
    Archived,
}

/// What a live tenant is made of.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Profile {
    pub name: Name,
    pub tier: Tier,
    pub currency: Currency,
    pub stage: Stage,
    pub quotas: BTreeMap<Resource, u64>,
    pub domains: BTreeMap<DomainName, DomainState>,
    pub primary_domain: Option<DomainName>,
}

/// Whether a live tenant may use services.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Stage {
    Pending,
    Active,
    /// Never empty.
    Suspended(BTreeSet<SuspensionReason>),
}

/// Whether a domain is proven to be the tenant's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum DomainState {
    Claimed { token: String },
    Verified,
}

impl Tenant {
    /// What other contexts must know before they give the tenant anything.
    #[must_use]
    pub fn standing(&self) -> Standing {
        match self {
            Self::Absent => Standing::Absent,
            Self::Archived => Standing::Archived,
            Self::Live(profile) => match profile.stage {
                Stage::Pending => Standing::Pending,
                Stage::Active => Standing::Active,
                Stage::Suspended(_) => Standing::Suspended,
            },
        }
    }

    /// The limit set for `resource`; `None` means that none was set.
    #[must_use]
    pub fn quota(&self, resource: Resource) -> Option<u64> {
        match self {
            Self::Live(profile) => profile.quotas.get(&resource).copied(),
            Self::Absent | Self::Archived => None,
        }
    }
}

/// A tenant's stage of life without its details, as other contexts are told it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, strum::Display)]
#[strum(serialize_all = "snake_case")]
pub enum Standing {
    Absent,
    Pending,
    Active,
    Suspended,
    Archived,
}

impl Aggregate for Tenant {
    const TYPE: &'static str = "tenant";
    type Command = Command;
    type Event = Event;
    type Error = Error;
    type Services = ();

    async fn handle(&mut self, command: Command, (): &(), sink: &EventSink<Self>) -> Result<(), Error> {
        aggregate::handle(self, command, sink).await
    }

    fn apply(&mut self, event: Event) {
        match (self, event) {
            (state, Event::Registered { name, tier, currency, .. }) => {
                *state = Self::Live(Profile {
                    name,
                    tier,
                    currency,
                    stage: Stage::Pending,
                    quotas: BTreeMap::new(),
                    domains: BTreeMap::new(),
                    primary_domain: None,
                });
            }
            (state, Event::Archived {}) => *state = Self::Archived,
            (Self::Live(profile), event) => profile.apply(event),
            (Self::Absent | Self::Archived, _) => {} // No such history is ever written.
        }
    }
}

impl Profile {
    fn apply(&mut self, event: Event) {
        match event {
            Event::Activated {} => self.stage = Stage::Active,
            Event::Suspended { reason, .. } => match &mut self.stage {
                Stage::Suspended(reasons) => drop(reasons.insert(reason)),
                Stage::Pending | Stage::Active => self.stage = Stage::Suspended(BTreeSet::from([reason])),
            },
            Event::Resumed { reason, active } => {
                if active {
                    self.stage = Stage::Active;
                } else if let Stage::Suspended(reasons) = &mut self.stage {
                    reasons.remove(&reason);
                }
            }
            Event::Renamed { name } => self.name = name,
            Event::TierChanged { to, .. } => self.tier = to,
            Event::QuotaSet { resource, limit } => drop(self.quotas.insert(resource, limit)),
            Event::DomainAdded { domain, token } => drop(self.domains.insert(domain, DomainState::Claimed { token })),
            Event::DomainVerified { domain } => drop(self.domains.insert(domain, DomainState::Verified)),
            Event::DomainRemoved { domain, primary } => {
                self.domains.remove(&domain);
                if primary {
                    self.primary_domain = None;
                }
            }
            Event::PrimaryDomainSet { domain } => self.primary_domain = Some(domain),
            Event::ContactChanged { .. } => {} // No decision depends on it.
            Event::Registered { .. } | Event::Archived {} => {} // Applied to the tenant as a whole.
        }
    }
}

impl DomainEvent for Event {
    fn event_type(&self) -> String {
        format!("{}.{}", Tenant::TYPE, self.as_ref())
    }

    fn event_version(&self) -> String {
        match self {
            // Version 1 has the contact in clear text.
            Self::Registered { .. } => "2",
            _ => "1",
        }
        .to_owned()
    }
}
