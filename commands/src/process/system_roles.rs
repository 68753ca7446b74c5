//! Gives every registered tenant its system roles, if whoever registered it did not get that far.

use hub_event_store::event::Recorded;

use crate::Commands;

use super::ProcessError;

/// The event that a tenant's roles begin with.
const REGISTERED: &str = "tenant.registered";

pub(super) async fn follow(commands: &Commands, page: &[Recorded]) -> Result<(), ProcessError> {
    for event in page.iter().filter(|event| event.event_type == REGISTERED) {
        commands
            .ensure_system_roles(event.tenant_id)
            .await
            .map_err(|error| ProcessError::Command(error.to_string()))?;
    }
    Ok(())
}
