//! Gives every registered tenant its system roles, if whoever registered it did not get that far.

use cqrs_es::Aggregate;
use hub_domain::role::Role;
use hub_event_store::event::Recorded;

use crate::Commands;

use super::{ProcessError, passed_over};

/// The event that a tenant's roles begin with.
const REGISTERED: &str = "tenant.registered";

pub(super) fn concerns(event: &Recorded) -> bool {
    event.event_type == REGISTERED
}

pub(super) async fn follow(commands: &Commands, page: &[Recorded]) -> Result<(), ProcessError> {
    for event in page.iter().filter(|event| concerns(event)) {
        if let Err(error) = commands.ensure_system_roles(event.tenant_id).await {
            passed_over(error, Role::TYPE, event.tenant_id)?;
        }
    }
    Ok(())
}
