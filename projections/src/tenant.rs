//! Tenants: one row each, for lists, details and counts by status and tier.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};
use cqrs_es::Aggregate;
use hub_domain::{
    id::TenantId,
    money::Currency,
    tenant::{Event, Resource, SuspensionReason, Tenant, Tier},
    text::{DomainName, Key, Name, Slug},
};
use hub_event_store::event::Recorded;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{
    model::{AggregateKey, FoldError, ReadModel, of_aggregate},
    personal::{PersonalField, PersonalText},
};

/// The read model.
#[derive(Debug)]
pub struct Tenants;

/// One tenant.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "Tenant")]
pub struct TenantRow {
    pub tenant_id: TenantId,
    /// The same as `tenant_id`.
    pub id: Uuid,
    pub slug: Slug,
    pub name: Name,
    pub contact_email: PersonalText,
    pub tier: Tier,
    pub region: Key,
    pub currency: Currency,
    pub status: TenantStatus,
    /// Why it is suspended; empty in every other status.
    pub suspension_reasons: BTreeSet<SuspensionReason>,
    /// The limits that were set.
    pub quotas: BTreeMap<Resource, u64>,
    pub domains: Vec<DomainEntry>,
    pub primary_domain: Option<DomainName>,
    pub created_at: DateTime<Utc>,
    pub updated_at: DateTime<Utc>,
    /// The sequence of the tenant's stream.
    pub sequence: i64,
}

/// Whether a tenant may use services.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum TenantStatus {
    Pending,
    Active,
    Suspended,
    Archived,
}

/// A domain of a tenant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "TenantDomain")]
pub struct DomainEntry {
    pub domain: DomainName,
    pub verified: bool,
    /// What must be published in the domain's DNS to verify it; null once that is done.
    pub token: Option<String>,
}

impl ReadModel for Tenants {
    type Row = TenantRow;
    type Key = AggregateKey;

    const NAME: &'static str = "tenants";
    const TABLE: &'static str = "tenants";
    const KEY: &'static [&'static str] = AggregateKey::COLUMNS;

    fn concerns(event_type: &str) -> bool {
        of_aggregate(event_type, Tenant::TYPE)
    }

    fn key_of(row: &TenantRow) -> AggregateKey {
        AggregateKey { tenant_id: row.tenant_id.0, id: row.id }
    }

    fn keys(event: &Recorded) -> Result<Vec<AggregateKey>, FoldError> {
        Ok(vec![AggregateKey::of(event)])
    }

    fn personal(row: &mut TenantRow) -> Vec<PersonalField<'_>> {
        vec![PersonalField {
            tenant_id: row.tenant_id.0,
            aggregate_type: Tenant::TYPE,
            aggregate_id: row.id,
            field: "contact_email",
            text: &mut row.contact_email,
        }]
    }

    fn fold(row: Option<TenantRow>, key: &AggregateKey, event: &Recorded) -> Result<Option<TenantRow>, FoldError> {
        match (row, event.decode()?) {
            (None, Event::Registered { slug, name, contact_email, tier, region, currency }) => Ok(Some(TenantRow {
                tenant_id: TenantId(key.tenant_id),
                id: key.id,
                slug,
                name,
                contact_email: PersonalText::of(contact_email, event),
                tier,
                region,
                currency,
                status: TenantStatus::Pending,
                suspension_reasons: BTreeSet::new(),
                quotas: BTreeMap::new(),
                domains: Vec::new(),
                primary_domain: None,
                created_at: event.occurred_at,
                updated_at: event.occurred_at,
                sequence: event.sequence,
            })),
            (None, _) => Err(FoldError::row_missing(event)),
            (Some(row), change) => row.after(change, event).map(Some),
        }
    }
}

impl TenantRow {
    fn after(mut self, change: Event, event: &Recorded) -> Result<Self, FoldError> {
        self.updated_at = event.occurred_at;
        self.sequence = event.sequence;
        match change {
            Event::Registered { .. } => return Err(FoldError::row_exists(event)),
            Event::Activated {} => self.status = TenantStatus::Active,
            Event::Suspended { reason, .. } => {
                self.suspension_reasons.insert(reason);
                self.status = TenantStatus::Suspended;
            }
            Event::Resumed { reason, active } => {
                self.suspension_reasons.remove(&reason);
                self.status = if active { TenantStatus::Active } else { TenantStatus::Suspended };
            }
            Event::ContactChanged { contact_email } => self.contact_email = PersonalText::of(contact_email, event),
            Event::Renamed { name } => self.name = name,
            Event::TierChanged { to, .. } => self.tier = to,
            Event::QuotaSet { resource, limit } => drop(self.quotas.insert(resource, limit)),
            Event::DomainAdded { domain, token } => {
                self.domains.push(DomainEntry { domain, verified: false, token: Some(token) });
            }
            Event::DomainVerified { domain } => {
                for entry in self.domains.iter_mut().filter(|entry| entry.domain == domain) {
                    entry.verified = true;
                    entry.token = None;
                }
            }
            Event::DomainRemoved { domain, primary } => {
                self.domains.retain(|entry| entry.domain != domain);
                if primary {
                    self.primary_domain = None;
                }
            }
            Event::PrimaryDomainSet { domain } => self.primary_domain = Some(domain),
            Event::Archived {} => {
                self.status = TenantStatus::Archived;
                self.suspension_reasons.clear();
                self.domains.clear();
                self.primary_domain = None;
            }
        }
        Ok(self)
    }
}

#[cfg(test)]
mod tests {
    use hub_domain::{
        personal::{Pii, Sealed},
        tenant::{Event, Resource, SuspensionReason, Tier},
        text::Email,
    };
    use uuid::Uuid;

    use super::{TenantRow, TenantStatus, Tenants};
    use crate::testing::{History, rows};

    fn sealed(subject: u128) -> Pii<Email> {
        Pii::Sealed(Sealed { key_id: Uuid::from_u128(subject), sealed: "AQ==".to_owned() })
    }

    fn registered() -> Event {
        Event::Registered {
            slug: "acme".parse().unwrap(),
            name: "Acme".parse().unwrap(),
            contact_email: sealed(7),
            tier: Tier::Starter,
            region: "eu-central".parse().unwrap(),
            currency: "EUR".parse().unwrap(),
        }
    }

    fn row(events: Vec<Event>) -> TenantRow {
        let mut history = History::default();
        history.tenant(registered());
        for event in events {
            history.tenant(event);
        }
        let mut rows = rows::<Tenants>(&history).unwrap();
        assert_eq!(rows.len(), 1);
        rows.remove(0)
    }

    fn suspended(reason: SuspensionReason) -> Event {
        Event::Suspended { reason, note: "".parse().unwrap() }
    }

    #[test]
    fn a_registered_tenant_is_pending() {
        let row = row(vec![]);
        assert_eq!((row.slug.as_str(), row.status, row.sequence), ("acme", TenantStatus::Pending, 1));
        assert_eq!(row.created_at, row.updated_at);
        assert_eq!(row.tenant_id.0, row.id);
    }

    #[test]
    fn a_tenant_is_active_again_when_the_last_reason_is_cleared() {
        let (payment, manual) = (SuspensionReason::Payment, SuspensionReason::Manual);
        let mut events = vec![Event::Activated {}, suspended(payment), suspended(manual)];
        events.push(Event::Resumed { reason: payment, active: false });
        let still = row(events.clone());
        assert_eq!((still.status, still.suspension_reasons), (TenantStatus::Suspended, [manual].into()));
        events.push(Event::Resumed { reason: manual, active: true });
        let active = row(events);
        assert_eq!((active.status, active.suspension_reasons.len()), (TenantStatus::Active, 0));
    }

    #[test]
    fn name_tier_and_quotas_are_the_last_ones() {
        let quota = |limit| Event::QuotaSet { resource: Resource::Instances, limit };
        let row = row(vec![
            Event::Renamed { name: "Acme SE".parse().unwrap() },
            Event::TierChanged { from: Tier::Starter, to: Tier::Enterprise },
            quota(3),
            quota(5),
        ]);
        assert_eq!((row.name.as_str(), row.tier), ("Acme SE", Tier::Enterprise));
        assert_eq!(row.quotas, [(Resource::Instances, 5)].into());
        assert_eq!(row.sequence, 5);
        assert!(row.updated_at > row.created_at);
    }

    #[test]
    fn a_domain_shows_its_token_until_it_is_verified() {
        let domain = || "acme.example".parse().unwrap();
        let added = Event::DomainAdded { domain: domain(), token: "t0ken".into() };
        assert_eq!(row(vec![added.clone()]).domains[0].token.as_deref(), Some("t0ken"));
        let verified = Event::DomainVerified { domain: domain() };
        let primary = Event::PrimaryDomainSet { domain: domain() };
        let with_primary = row(vec![added.clone(), verified.clone(), primary.clone()]);
        assert!(with_primary.domains[0].verified);
        assert_eq!((with_primary.domains[0].token.clone(), with_primary.primary_domain), (None, Some(domain())));
        let removed = Event::DomainRemoved { domain: domain(), primary: true };
        let without = row(vec![added, verified, primary, removed]);
        assert_eq!((without.domains.len(), without.primary_domain), (0, None));
    }

    #[test]
    fn an_archived_tenant_stays_as_a_row_without_domains() {
        let row = row(vec![
            Event::DomainAdded { domain: "acme.example".parse().unwrap(), token: "t".into() },
            Event::Archived {},
        ]);
        assert_eq!((row.status, row.domains.len()), (TenantStatus::Archived, 0));
    }

    #[test]
    fn a_history_without_its_beginning_is_not_guessed_at() {
        let mut history = History::default();
        history.tenant(Event::Activated {});
        assert!(rows::<Tenants>(&history).is_err());
    }

    #[test]
    fn the_contact_stays_sealed_with_the_place_of_its_event() {
        let contact = |row: TenantRow| serde_json::to_value(row.contact_email).unwrap();
        let at = |subject: u128, sequence: i64| serde_json::json!({ "key_id": Uuid::from_u128(subject), "sealed": "AQ==", "sequence": sequence });
        assert_eq!(contact(row(vec![])), at(7, 1));
        let changed = Event::ContactChanged { contact_email: sealed(8) };
        assert_eq!(contact(row(vec![Event::Activated {}, changed])), at(8, 3));
        let clear = Event::ContactChanged { contact_email: Pii::Clear("old@acme.example".parse().unwrap()) };
        assert_eq!(contact(row(vec![clear])), "old@acme.example", "as events of earlier versions have it");
    }
}
