//! Publishes the last checkpoint of each tenant as an event, once a minute at most, so that whoever reads the tenant's events witnesses it.
//!
//! A checkpoint that covers nothing new but the event of the one before is not published: the log would never come to rest.

use std::time::Duration;

use chrono::TimeDelta;
use cqrs_es::Aggregate as _;
use hub_domain::checkpoint::{Checkpoints, Command};
use hub_event_store::repository::Prepared;
use sqlx::FromRow;
use tokio::time::Instant;
use uuid::Uuid;

use crate::Commands;

use super::{ProcessError, order_of, passed_over};

/// The last checkpoint of each tenant that has events behind its last publication, when that (or its first checkpoint) is old enough.
pub(super) const UNPUBLISHED: &str = "
SELECT s.tenant_id, s.size, c.note, platform.note AS platform_note
FROM sealed_trees s
JOIN checkpoints c ON c.tenant_id = s.tenant_id AND c.size = s.size
CROSS JOIN LATERAL (
    SELECT note FROM checkpoints WHERE tenant_id = '00000000-0000-0000-0000-000000000000' ORDER BY size DESC LIMIT 1
) platform
LEFT JOIN LATERAL (
    SELECT tenant_position, occurred_at FROM events
    WHERE tenant_id = s.tenant_id AND aggregate_type = 'checkpoint' AND aggregate_id = s.tenant_id
    ORDER BY sequence DESC LIMIT 1
) published ON true
CROSS JOIN LATERAL (SELECT sealed_at FROM checkpoints WHERE tenant_id = s.tenant_id ORDER BY size LIMIT 1) first
WHERE s.tenant_id <> '00000000-0000-0000-0000-000000000000' AND s.size > coalesce(published.tenant_position, 0)
  AND coalesce(published.occurred_at, first.sealed_at) <= $1
LIMIT $2";

/// Namespace of this process's command ids.
const NAMESPACE: Uuid = Uuid::from_u128(0x3f60_1c0b_9d52_4e0e_8a55_2f43_7f8b_91d6);

/// Between two publications of one tenant.
const INTERVAL: TimeDelta = TimeDelta::seconds(60);

/// Between two looks.
const LOOK_INTERVAL: Duration = Duration::from_secs(5);

/// So many are published after one look.
const COUNT_MAX: i64 = 200;

/// When this process looked last.
#[derive(Debug, Default)]
pub(super) struct Publisher(Option<Instant>);

#[derive(Debug, FromRow)]
struct Unpublished {
    tenant_id: Uuid,
    size: i64,
    note: String,
    platform_note: String,
}

impl Publisher {
    /// Publishes what is to be published now.
    pub(super) async fn act(&mut self, commands: &Commands) -> Result<(), ProcessError> {
        if self.0.is_some_and(|last| last.elapsed() < LOOK_INTERVAL) {
            return Ok(());
        }
        self.0 = Some(Instant::now());
        let before = commands.store.now() - INTERVAL;
        let query = sqlx::query_as(UNPUBLISHED).bind(before).bind(COUNT_MAX);
        let unpublished: Vec<Unpublished> = query.fetch_all(commands.store.pool()).await?;
        for one in unpublished {
            publish(commands, one).await?;
        }
        Ok(())
    }
}

async fn publish(commands: &Commands, unpublished: Unpublished) -> Result<(), ProcessError> {
    let Unpublished { tenant_id, size, note, platform_note } = unpublished;
    let command_id = Uuid::new_v5(&NAMESPACE, format!("{tenant_id}/{size}").as_bytes());
    let order = order_of("process:sealer", command_id, None);
    let command = Command::Publish { size: u64::try_from(size).unwrap_or_default(), note, platform_note };
    let prepare = |_| {
        let prepared = Prepared::new(command.clone());
        async { Ok(prepared) }
    };
    match commands.checkpoints.execute(tenant_id, tenant_id, &order, prepare).await {
        Ok(_) => Ok(()),
        Err(error) => passed_over(error, Checkpoints::TYPE, tenant_id),
    }
}
