//! Takes away what the consumers of a deleted event subscription leave behind: how far they were, and what was handed out or parked.
//!
//! No command is needed for it: nothing of that is in the log. It is done in the transaction that says how far this process has followed.

use cqrs_es::Aggregate as _;
use hub_domain::event_subscription::EventSubscription;
use hub_event_store::event::Recorded;
use sqlx::PgConnection;

use super::ProcessError;

/// What was handed out or parked; at most some thousands a subscription.
pub(super) const FORGET_MESSAGES: &str =
    "DELETE FROM event_subscription_messages WHERE tenant_id = $1 AND subscription_id = $2";

/// How far the consumers were. First, since whoever hands out events holds it.
pub(super) const FORGET_CURSOR: &str =
    "DELETE FROM event_subscription_cursors WHERE tenant_id = $1 AND subscription_id = $2";

/// The event that this begins with.
const DELETED: &str = "event_subscription.deleted";

pub(super) fn concerns(event: &Recorded) -> bool {
    event.event_type == DELETED && event.aggregate_type == EventSubscription::TYPE
}

pub(super) async fn follow(connection: &mut PgConnection, page: &[Recorded]) -> Result<(), ProcessError> {
    for event in page.iter().filter(|event| concerns(event)) {
        for text in [FORGET_CURSOR, FORGET_MESSAGES] {
            sqlx::query(text).bind(event.tenant_id).bind(event.aggregate_id).execute(&mut *connection).await?;
        }
    }
    Ok(())
}
