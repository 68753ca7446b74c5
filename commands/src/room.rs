//! What every handler of the command API and every process manager works with.

use std::{fmt, sync::Arc};

use axum::extract::FromRef;
use hub_domain::{
    access_request::AccessRequest, aggregate::Decide, api_key::ApiKey, break_glass::BreakGlass,
    checkpoint::Checkpoints, control_run::ControlRun, duty_set::DutySet, erasure::Erasure,
    event_subscription::EventSubscription, finding::Finding, identity_provider::IdentityProvider,
    inbound_source::InboundSource, legal_hold::LegalHold, nats_credential::NatsCredential, principal::Standing,
    refusal::Code, retention_policy::RetentionPolicy, role::Role, role_template::RoleTemplate,
    service_instance::ServiceInstance, subscription::Subscription, support_access::SupportAccess, tenant::Tenant,
    webhook::Webhook,
};
use hub_event_store::{repository::Repository, store::EventStore};
use hub_http::{Access, Gate, Permission};
use hub_outbound::{Outbound, Reach};
use hub_sealing::Sealing;
use hub_vault::Vault;

use crate::{
    access_request, api_key, break_glass, control_run, duty_set, effects::effects_of, erasure, event_subscription,
    finding, identity_provider, in_flight::InFlight, inbound_source, legal_hold, nats_credential, principal,
    resources::OfAggregates, role, role_template, service_instance, subscription, support_access, tenant, webhook,
};

/// Fresh random bytes, injected so that tests can choose them.
pub type Random = Arc<dyn Fn() -> [u8; 32] + Send + Sync>;

/// What the command API is started with.
pub struct Settings {
    /// The log.
    pub store: EventStore,
    /// Who may call.
    pub gate: Arc<dyn Gate>,
    /// The platform's secret key, from which the key that seals webhook secrets is derived.
    pub secret_key: [u8; 32],
    /// Where tokens and secrets come from.
    pub random: Random,
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings").field("store", &self.store).finish_non_exhaustive()
    }
}

/// The command API's state: one repository per context; cheap to clone.
#[derive(Clone)]
pub struct Commands {
    pub(crate) store: EventStore,
    pub(crate) access_requests: Context<AccessRequest>,
    pub(crate) break_glasses: Context<BreakGlass>,
    pub(crate) control_runs: Context<ControlRun>,
    pub(crate) duty_sets: Context<DutySet>,
    pub(crate) erasures: Context<Erasure>,
    pub(crate) event_subscriptions: Context<EventSubscription>,
    pub(crate) findings: Context<Finding>,
    pub(crate) identity_providers: Context<IdentityProvider>,
    pub(crate) inbound_sources: Context<InboundSource>,
    pub(crate) legal_holds: Context<LegalHold>,
    pub(crate) nats_credentials: Context<NatsCredential>,
    pub(crate) api_keys: Context<ApiKey>,
    pub(crate) checkpoints: Repository<Checkpoints>,
    pub(crate) principals: Context<Standing>,
    pub(crate) retention_policies: Context<RetentionPolicy>,
    pub(crate) role_templates: Context<RoleTemplate>,
    pub(crate) roles: Context<Role>,
    pub(crate) service_instances: Context<ServiceInstance>,
    pub(crate) subscriptions: Context<Subscription>,
    pub(crate) support_accesses: Context<SupportAccess>,
    pub(crate) tenants: Context<Tenant>,
    pub(crate) webhooks: Context<Webhook>,
    /// What operations of the platform ask for, which is all that scopes may name.
    pub(crate) permissions: Arc<[Permission]>,
    /// Whether an identity provider may be on the same machine, without TLS.
    pub(crate) loopback_providers: bool,
    /// Where webhooks may lead.
    pub(crate) outbound: Outbound,
    pub(crate) sealing: Sealing,
    /// The keys of personal data; without them nothing personal can be taken in.
    pub(crate) vault: Option<Vault>,
    /// Who signs NATS credentials; without it none can be issued.
    pub(crate) nats: Option<Arc<nats_credential::Issuing>>,
    pub(crate) in_flight: InFlight,
    random: Random,
    access: Access,
}

/// The aggregates of one context, with the codes of what only the log can refuse.
#[derive(Debug, Clone)]
pub(crate) struct Context<A: Decide> {
    pub(crate) repository: Repository<A>,
    /// Scope of a unique name, or counter, and the code that its refusal bears.
    conditions: &'static [(&'static str, &'static str)],
    codes: &'static [Code],
}

impl<A: Decide + Clone + 'static> Context<A> {
    fn new(store: &EventStore, conditions: &'static [(&'static str, &'static str)], codes: &'static [Code]) -> Self {
        let repository = Repository::new(store.clone(), effects_of::<A>).with_snapshots(A::STATE_VERSION);
        Self { repository, conditions, codes }
    }
}

impl<A: Decide> Context<A> {
    /// The code of a refusal by the log: of a taken name by its scope, of a counter at its maximum by its name.
    pub(crate) fn code_of(&self, condition: &str) -> Option<Code> {
        let (_, code) = self.conditions.iter().find(|(name, _)| *name == condition)?;
        self.codes.iter().find(|listed| listed.code == *code).copied()
    }
}

impl Commands {
    /// The command API on these settings.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        let Settings { store, gate, secret_key, random } = settings;
        let roles = Context::new(&store, role::CONDITIONS, hub_domain::role::CODES);
        let service_instances = Context::new(&store, service_instance::CONDITIONS, hub_domain::service_instance::CODES);
        let subscriptions = Context::new(&store, subscription::CONDITIONS, hub_domain::subscription::CODES);
        let resources = OfAggregates {
            roles: roles.repository.clone(),
            service_instances: service_instances.repository.clone(),
            subscriptions: subscriptions.repository.clone(),
        };
        Self {
            access_requests: Context::new(&store, access_request::CONDITIONS, hub_domain::access_request::CODES),
            break_glasses: Context::new(&store, break_glass::CONDITIONS, hub_domain::break_glass::CODES),
            control_runs: Context::new(&store, control_run::CONDITIONS, hub_domain::control_run::CODES),
            duty_sets: Context::new(&store, duty_set::CONDITIONS, hub_domain::duty_set::CODES),
            erasures: Context::new(&store, erasure::CONDITIONS, hub_domain::erasure::CODES),
            event_subscriptions: Context::new(
                &store,
                event_subscription::CONDITIONS,
                hub_domain::event_subscription::CODES,
            ),
            legal_holds: Context::new(&store, legal_hold::CONDITIONS, hub_domain::legal_hold::CODES),
            nats_credentials: Context::new(&store, &[], hub_domain::nats_credential::CODES),
            retention_policies: Context::new(&store, &[], hub_domain::retention_policy::CODES),
            findings: Context::new(&store, finding::CONDITIONS, hub_domain::finding::CODES),
            identity_providers: Context::new(
                &store,
                identity_provider::CONDITIONS,
                hub_domain::identity_provider::CODES,
            ),
            inbound_sources: Context::new(&store, inbound_source::CONDITIONS, hub_domain::inbound_source::CODES),
            api_keys: Context::new(&store, api_key::CONDITIONS, hub_domain::api_key::CODES),
            principals: Context::new(&store, principal::CONDITIONS, hub_domain::principal::CODES),
            role_templates: Context::new(&store, role_template::CONDITIONS, hub_domain::role_template::CODES),
            roles,
            service_instances,
            subscriptions,
            support_accesses: Context::new(&store, support_access::CONDITIONS, hub_domain::support_access::CODES),
            tenants: Context::new(&store, tenant::CONDITIONS, hub_domain::tenant::CODES),
            webhooks: Context::new(&store, webhook::CONDITIONS, hub_domain::webhook::CODES),
            checkpoints: Repository::new(store.clone(), effects_of::<Checkpoints>),
            permissions: crate::catalogue().into_iter().map(|entry| entry.permission).collect(),
            loopback_providers: false,
            outbound: Outbound::new(Reach::Public),
            sealing: Sealing::new(&secret_key),
            vault: None,
            nats: None,
            in_flight: InFlight::default(),
            random,
            access: Access::new(gate, Arc::new(resources)),
            store,
        }
    }

    /// The same beside other operations, which ask for these permissions; without it scopes may name what commands ask for.
    #[must_use]
    pub fn with_permissions(self, permissions: impl IntoIterator<Item = Permission>) -> Self {
        Self { permissions: permissions.into_iter().collect(), ..self }
    }

    /// The same with the keys of personal data.
    #[must_use]
    pub fn with_vault(self, vault: Vault) -> Self {
        Self { vault: Some(vault), ..self }
    }

    /// The same with NATS credentials to issue.
    #[must_use]
    pub fn with_nats(self, issuing: nats_credential::Issuing) -> Self {
        Self { nats: Some(Arc::new(issuing)), ..self }
    }

    /// The same, with identity providers on this machine allowed; for development.
    #[must_use]
    pub fn with_loopback_providers(self, allowed: bool) -> Self {
        Self { loopback_providers: allowed, ..self }
    }

    /// The same, with webhooks allowed where `outbound` reaches.
    #[must_use]
    pub fn with_outbound(self, outbound: Outbound) -> Self {
        Self { outbound, ..self }
    }

    /// 32 fresh random bytes.
    pub(crate) fn random(&self) -> [u8; 32] {
        (self.random)()
    }
}

impl FromRef<Commands> for Access {
    fn from_ref(commands: &Commands) -> Self {
        commands.access.clone()
    }
}

impl fmt::Debug for Commands {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Commands").field("store", &self.store).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use hub_domain::refusal::Code;

    use super::{
        access_request, api_key, break_glass, control_run, duty_set, erasure, event_subscription, finding,
        identity_provider, inbound_source, legal_hold, principal, role, role_template, service_instance, subscription,
        support_access, tenant, webhook,
    };

    /// What the log refuses in a context, and the context's codes.
    type Refusals = (&'static [(&'static str, &'static str)], &'static [Code]);

    #[test]
    fn each_refusal_of_the_log_bears_a_code_of_its_context() {
        let contexts: &[Refusals] = &[
            (access_request::CONDITIONS, hub_domain::access_request::CODES),
            (api_key::CONDITIONS, hub_domain::api_key::CODES),
            (break_glass::CONDITIONS, hub_domain::break_glass::CODES),
            (control_run::CONDITIONS, hub_domain::control_run::CODES),
            (duty_set::CONDITIONS, hub_domain::duty_set::CODES),
            (erasure::CONDITIONS, hub_domain::erasure::CODES),
            (event_subscription::CONDITIONS, hub_domain::event_subscription::CODES),
            (legal_hold::CONDITIONS, hub_domain::legal_hold::CODES),
            (finding::CONDITIONS, hub_domain::finding::CODES),
            (identity_provider::CONDITIONS, hub_domain::identity_provider::CODES),
            (inbound_source::CONDITIONS, hub_domain::inbound_source::CODES),
            (principal::CONDITIONS, hub_domain::principal::CODES),
            (role::CONDITIONS, hub_domain::role::CODES),
            (role_template::CONDITIONS, hub_domain::role_template::CODES),
            (service_instance::CONDITIONS, hub_domain::service_instance::CODES),
            (subscription::CONDITIONS, hub_domain::subscription::CODES),
            (support_access::CONDITIONS, hub_domain::support_access::CODES),
            (tenant::CONDITIONS, hub_domain::tenant::CODES),
            (webhook::CONDITIONS, hub_domain::webhook::CODES),
        ];
        for (conditions, codes) in contexts {
            for (condition, code) in *conditions {
                assert!(codes.iter().any(|listed| listed.code == *code), "{condition}: {code}");
            }
        }
    }
}
