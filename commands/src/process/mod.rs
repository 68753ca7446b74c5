//! What happens by itself: process managers follow the log and send commands; one process is active, elected by a lock.
//!
//! A process manager acts by commands with deterministic ids only, so following the same event twice, or two processes acting for a
//! moment at once, does nothing twice. It is no part of a rebuild.

mod follower;
mod scheduler;
mod system_roles;
mod tenant_end;

use std::time::Duration;

use hub_event_store::{event::Metadata, repository::Order};
use sqlx::{Connection, PgConnection};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::Commands;

use self::{follower::Follower, scheduler::Scheduler};

/// Takes the lock of the active process managers for as long as the connection lives.
const ELECT: &str = "SELECT pg_try_advisory_lock(7236831003)";

/// Between two attempts to lead, and the longest rest between two looks at the log and the clock.
const REST: Duration = Duration::from_secs(1);

/// The shortest rest, so that a clock that stands still is not asked without end.
const REST_MIN: Duration = Duration::from_millis(50);

/// Every SQL text of the process managers, for the test that prepares each against the migrated schema.
pub const QUERIES: &[&str] = &[
    ELECT,
    follower::READ_CURSOR,
    follower::MOVE_CURSOR,
    scheduler::PUT_DUE,
    scheduler::DROP_DUE,
    scheduler::TAKE_DUE,
    scheduler::POSTPONE,
    scheduler::NEXT_DUE,
];

/// Why the process managers had to stop and try again.
#[derive(Debug, thiserror::Error)]
enum ProcessError {
    #[error("PostgreSQL: {0}")]
    Database(#[from] sqlx::Error),
    #[error("another process leads by now")]
    Superseded,
    #[error("the event cannot be read: {0}")]
    Read(String),
    #[error("the command was not executed: {0}")]
    Command(String),
}

/// Leads when it can and waits when another process does, until `shutdown`.
pub async fn run(commands: Commands, shutdown: CancellationToken) {
    let mut reported = String::new();
    while !shutdown.is_cancelled() {
        let led = tokio::select! {
            () = shutdown.cancelled() => return,
            led = lead(&commands) => led,
        };
        // Once for each reason, however long it lasts.
        let reason = led.err().map_or_else(String::new, |error| error.to_string());
        if !reason.is_empty() && reason != reported {
            tracing::warn!(reason, "the process managers stopped, trying again");
        }
        reported = reason;
        tokio::select! {
            () = shutdown.cancelled() => {}
            () = tokio::time::sleep(REST) => {}
        }
    }
}

async fn lead(commands: &Commands) -> Result<(), ProcessError> {
    let pool = commands.store.pool();
    let mut lock = PgConnection::connect_with(&pool.connect_options()).await?;
    if !sqlx::query_scalar::<_, bool>(ELECT).fetch_one(&mut lock).await? {
        return Ok(());
    }
    tracing::info!("the process managers lead");
    let mut system_roles = Follower::resume("system_roles", commands.store.clone()).await?;
    let mut tenant_end = Follower::resume("tenant_end", commands.store.clone()).await?;
    let mut schedule = Follower::resume("scheduler", commands.store.clone()).await?;
    let scheduler = Scheduler::new(commands);
    let mut head = commands.store.tail().follow();
    loop {
        head.borrow_and_update();
        // Each goes on although another cannot.
        let roles = make_system_roles(commands, &mut system_roles).await;
        let ended = wind_up_tenants(commands, &mut tenant_end).await;
        let rest = do_what_is_due(commands, &mut schedule, &scheduler).await;
        roles?;
        ended?;
        let rest = rest?;
        // Also proves that the connection, and with it the lock, still lives.
        lock.ping().await?;
        let _ = tokio::time::timeout(rest.clamp(REST_MIN, REST), head.changed()).await;
    }
}

async fn make_system_roles(commands: &Commands, follower: &mut Follower) -> Result<(), ProcessError> {
    while let Some(page) = follower.page().await? {
        system_roles::follow(commands, &page).await?;
        follower.done(&page, commands.store.pool().begin().await?).await?;
    }
    Ok(())
}

async fn wind_up_tenants(commands: &Commands, follower: &mut Follower) -> Result<(), ProcessError> {
    while let Some(page) = follower.page().await? {
        tenant_end::follow(commands, &page).await?;
        follower.done(&page, commands.store.pool().begin().await?).await?;
    }
    Ok(())
}

/// The order of a command that a process manager sends: the same id always stands for the same command.
fn order_of(actor: &str, command_id: Uuid, causation_id: Option<Uuid>) -> Order {
    Order {
        metadata: Metadata {
            actor: actor.to_owned(),
            command_id,
            correlation_id: causation_id.unwrap_or(command_id),
            causation_id,
            traceparent: None,
        },
        fingerprint: [0; 32],
        repeatable: true,
        expected_sequence: None,
    }
}

/// Answers how long there will be nothing to do.
async fn do_what_is_due(
    commands: &Commands,
    follower: &mut Follower,
    scheduler: &Scheduler<'_>,
) -> Result<Duration, ProcessError> {
    while let Some(page) = follower.page().await? {
        let mut transaction = commands.store.pool().begin().await?;
        scheduler.follow(&page, &mut transaction).await?;
        follower.done(&page, transaction).await?;
    }
    scheduler.act().await
}
