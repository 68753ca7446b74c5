//! Every aggregate of the platform, for whoever does the same with each of them.

use std::fmt;

use schemars::JsonSchema;

use crate::{
    access_record::AccessRecord, access_request::AccessRequest, aggregate::Decide, api_key::ApiKey,
    break_glass::BreakGlass, checkpoint::Checkpoints, control_check::ControlCheck, control_run::ControlRun,
    disclosure::Disclosure, duty_set::DutySet, erasure::Erasure, event_subscription::EventSubscription,
    finding::Finding, identity_provider::IdentityProvider, inbound_source::InboundSource, legal_hold::LegalHold,
    nats_credential::NatsCredential, principal::Standing, retention_policy::RetentionPolicy, role::Role,
    role_template::RoleTemplate, self_check::SelfCheck, service_instance::ServiceInstance, signing_key::SigningKeys,
    subscription::Subscription, support_access::SupportAccess, tenant::Tenant, webhook::Webhook,
};

/// What each of them is.
pub trait OwnAggregate: Decide<Event: JsonSchema> + fmt::Debug + 'static {}

impl<A: Decide<Event: JsonSchema> + fmt::Debug + 'static> OwnAggregate for A {}

/// What is done with each aggregate.
pub trait Visit {
    /// With this one.
    fn visit<A: OwnAggregate>(&mut self);
}

/// Visits all aggregates, in the alphabetical order of their types.
pub fn every_aggregate(visitor: &mut impl Visit) {
    visitor.visit::<AccessRecord>();
    visitor.visit::<AccessRequest>();
    visitor.visit::<ApiKey>();
    visitor.visit::<BreakGlass>();
    visitor.visit::<Checkpoints>();
    visitor.visit::<ControlCheck>();
    visitor.visit::<ControlRun>();
    visitor.visit::<Disclosure>();
    visitor.visit::<DutySet>();
    visitor.visit::<Erasure>();
    visitor.visit::<EventSubscription>();
    visitor.visit::<Finding>();
    visitor.visit::<IdentityProvider>();
    visitor.visit::<InboundSource>();
    visitor.visit::<LegalHold>();
    visitor.visit::<NatsCredential>();
    visitor.visit::<Standing>();
    visitor.visit::<RetentionPolicy>();
    visitor.visit::<Role>();
    visitor.visit::<RoleTemplate>();
    visitor.visit::<SelfCheck>();
    visitor.visit::<ServiceInstance>();
    visitor.visit::<SigningKeys>();
    visitor.visit::<Subscription>();
    visitor.visit::<SupportAccess>();
    visitor.visit::<Tenant>();
    visitor.visit::<Webhook>();
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, fs, path::Path};

    use super::{OwnAggregate, Visit, every_aggregate};

    #[derive(Default)]
    struct Types(Vec<&'static str>);

    impl Visit for Types {
        fn visit<A: OwnAggregate>(&mut self) {
            self.0.push(A::TYPE);
        }
    }

    #[test]
    fn no_aggregate_is_left_out() {
        let folders = fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("src")).unwrap();
        let is_aggregate = |folder: &Path| {
            fs::read_to_string(folder.join("mod.rs")).is_ok_and(|text| text.contains("impl Aggregate for"))
        };
        let folders = folders.map(|entry| entry.unwrap().path()).filter(|folder| is_aggregate(folder));
        let written: BTreeSet<String> =
            folders.map(|folder| folder.file_name().unwrap().to_str().unwrap().to_owned()).collect();
        let mut types = Types::default();
        every_aggregate(&mut types);
        assert!(types.0.is_sorted());
        assert_eq!(types.0.iter().map(|name| (*name).to_owned()).collect::<BTreeSet<_>>(), written);
    }
}
