//! Every aggregate, with what its events look like.

use super::generate::{Generated, generated};

/// Names an aggregate, and makes the schemas of its events.
type Aggregate = (&'static str, fn() -> Vec<Generated>);

/// In alphabetical order.
pub(super) fn aggregates() -> Vec<Aggregate> {
    vec![
        ("access_record", || generated::<hub_domain::access_record::Event>("access_record")),
        ("access_request", || generated::<hub_domain::access_request::Event>("access_request")),
        ("api_key", || generated::<hub_domain::api_key::Event>("api_key")),
        ("break_glass", || generated::<hub_domain::break_glass::Event>("break_glass")),
        ("checkpoint", || generated::<hub_domain::checkpoint::Event>("checkpoint")),
        ("control_check", || generated::<hub_domain::control_check::Event>("control_check")),
        ("control_run", || generated::<hub_domain::control_run::Event>("control_run")),
        ("disclosure", || generated::<hub_domain::disclosure::Event>("disclosure")),
        ("duty_set", || generated::<hub_domain::duty_set::Event>("duty_set")),
        ("erasure", || generated::<hub_domain::erasure::Event>("erasure")),
        ("event_subscription", || generated::<hub_domain::event_subscription::Event>("event_subscription")),
        ("finding", || generated::<hub_domain::finding::Event>("finding")),
        ("identity_provider", || generated::<hub_domain::identity_provider::Event>("identity_provider")),
        ("inbound_source", || generated::<hub_domain::inbound_source::Event>("inbound_source")),
        ("legal_hold", || generated::<hub_domain::legal_hold::Event>("legal_hold")),
        ("nats_credential", || generated::<hub_domain::nats_credential::Event>("nats_credential")),
        ("principal", || generated::<hub_domain::principal::Event>("principal")),
        ("retention_policy", || generated::<hub_domain::retention_policy::Event>("retention_policy")),
        ("role", || generated::<hub_domain::role::Event>("role")),
        ("role_template", || generated::<hub_domain::role_template::Event>("role_template")),
        ("self_check", || generated::<hub_domain::self_check::Event>("self_check")),
        ("service_instance", || generated::<hub_domain::service_instance::Event>("service_instance")),
        ("signing_key", || generated::<hub_domain::signing_key::Event>("signing_key")),
        ("subscription", || generated::<hub_domain::subscription::Event>("subscription")),
        ("support_access", || generated::<hub_domain::support_access::Event>("support_access")),
        ("tenant", || generated::<hub_domain::tenant::Event>("tenant")),
        ("webhook", || generated::<hub_domain::webhook::Event>("webhook")),
    ]
}
