//! The command API: a body becomes a command, the command is executed on its aggregate, and the sender gets a receipt.
//!
//! Each context is one file with its routes, bodies and handlers. What happens by itself is in `process`.

mod acting;
pub mod dispatch;
mod documented;
mod duties;
pub mod effects;
mod forgetting;
mod in_flight;
mod moment;
mod outcome;
mod personal;
pub mod process;
mod reapply;
mod resources;
pub mod room;
mod surroundings;
mod verb;

pub mod access_record;
pub mod access_request;
pub mod api_key;
pub mod break_glass;
pub mod control_check;
pub mod control_run;
pub mod disclosure;
pub mod duty_set;
pub mod erasure;
pub mod event_subscription;
pub mod finding;
pub mod identity_provider;
pub mod inbound_source;
pub mod legal_hold;
pub mod nats_credential;
pub mod principal;
pub mod retention_policy;
pub mod role;
pub mod role_template;
pub mod self_check;
pub mod service_instance;
pub mod signing_key;
pub mod subscription;
pub mod support_access;
pub mod tenant;
pub mod webhook;
pub mod webhook_delivery;

pub use reapply::{ReapplyError, reapply_erasures};
pub use room::{Commands, Settings};

use aide::axum::ApiRouter;
use hub_http::{Routes, routes::Entry};

/// Every route of the command API, each with its permission.
fn all() -> Routes<Commands> {
    Routes::new()
        .merge(access_request::routes())
        .merge(api_key::routes())
        .merge(break_glass::routes())
        .merge(control_run::routes())
        .merge(duty_set::routes())
        .merge(erasure::routes())
        .merge(event_subscription::routes())
        .merge(finding::routes())
        .merge(identity_provider::routes())
        .merge(inbound_source::routes())
        .merge(legal_hold::routes())
        .merge(nats_credential::routes())
        .merge(principal::routes())
        .merge(retention_policy::routes())
        .merge(role::routes())
        .merge(role_template::routes())
        .merge(service_instance::routes())
        .merge(subscription::routes())
        .merge(support_access::routes())
        .merge(tenant::routes())
        .merge(webhook::routes())
}

/// The command API, to be served with the query API beside it.
pub fn routes(commands: Commands) -> ApiRouter {
    all().into_router().merge(inbound_source::receive::routes()).with_state(commands)
}

/// What the command API asks permission for.
#[must_use]
pub fn catalogue() -> Vec<Entry> {
    all().entries().to_vec()
}

/// Tells the metrics recorder what the metrics of this room are.
pub fn describe_metrics() {
    metrics::describe_counter!(
        break_glass::OPENED,
        "Emergency accesses that were opened; somebody should look at each."
    );
    metrics::describe_counter!(inbound_source::receive::RECEIVED, "Deliveries of providers that became events.");
    metrics::describe_counter!(inbound_source::receive::REFUSED, "Deliveries that were not let in, by reason.");
    metrics::describe_counter!(process::ERASURES_EXECUTED, "Erasures whose key was destroyed.");
    metrics::describe_counter!(process::PASSED_OVER, "Commands of process managers that could not be executed.");
}
