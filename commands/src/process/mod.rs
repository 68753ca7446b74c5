//! What happens by itself: process managers follow the log and send commands; one process is active, elected by a lock.
//!
//! A process manager acts by commands with deterministic ids only, so following the same event twice, or two processes acting for a
//! moment at once, does nothing twice. It is no part of a rebuild.

mod checkpoints;
mod erasure;
mod event_subscription_end;
mod follower;
mod principal_end;
mod retention;
mod scheduler;
mod system_roles;
mod tenant_end;

use std::time::Duration;

use hub_domain::refusal::{Kind, Refusal};
use hub_event_store::{
    append::AppendError,
    election::{bounded, elect},
    event::Metadata,
    repository::{ExecuteError, Order},
};
use sqlx::Connection as _;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::Commands;

use self::{
    checkpoints::Publisher,
    follower::{Follower, LastPage},
    retention::Retention,
    scheduler::Scheduler,
};

pub(crate) use self::{erasure::EXECUTED as ERASURES_EXECUTED, principal_end::holds_from_before, scheduler::catch_up};

/// Takes the lock of the active process managers for as long as the connection lives.
const ELECT: &str = "SELECT pg_try_advisory_lock(7236831003)";

/// Between two attempts to lead, and the longest rest between two looks at the log and the clock.
const REST: Duration = Duration::from_secs(1);

/// The shortest rest: what happens meanwhile is followed at once, and a clock that stands still is not asked without end.
const REST_MIN: Duration = Duration::from_millis(50);

/// One turn of all process managers may take so long.
const TURN_LIMIT: Duration = Duration::from_secs(300);

/// In one turn so many pages are followed, so that what is due is not kept waiting while the log grows.
const PAGE_COUNT_MAX: usize = 4;

/// Counter of commands that a process manager could not execute and passed over.
pub(crate) const PASSED_OVER: &str = "hub_process_passed_over_total";

/// Every SQL text of the process managers, for the test that prepares each against the migrated schema.
pub const QUERIES: &[&str] = &[
    ELECT,
    checkpoints::UNPUBLISHED,
    follower::READ_CURSOR,
    follower::MOVE_CURSOR,
    crate::reapply::DESTRUCTIONS,
    event_subscription_end::FORGET_CURSOR,
    event_subscription_end::FORGET_MESSAGES,
    principal_end::HELD,
    retention::TENANTS,
    scheduler::PUT_DUE,
    scheduler::DROP_DUE,
    scheduler::TAKE_DUE,
    scheduler::POSTPONE,
    scheduler::WAKE,
    scheduler::NEXT_DUE,
];

/// Why the process managers had to stop and try again.
#[derive(Debug, thiserror::Error)]
enum ProcessError {
    #[error("PostgreSQL: {0}")]
    Database(#[from] sqlx::Error),
    #[error("another process leads by now")]
    Superseded,
    #[error("a turn took longer than {} s", TURN_LIMIT.as_secs())]
    TooSlow,
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
    let Some(mut lock) = elect(commands.store.pool(), ELECT).await? else { return Ok(()) };
    tracing::info!("the process managers lead");
    let mut system_roles = Follower::resume("system_roles", commands.store.clone()).await?;
    let mut tenant_end = Follower::resume("tenant_end", commands.store.clone()).await?;
    let mut principal_end = Follower::resume("principal_end", commands.store.clone()).await?;
    let mut subscription_end = Follower::resume("event_subscription_end", commands.store.clone()).await?;
    let mut schedule = Follower::resume("scheduler", commands.store.clone()).await?;
    let scheduler = Scheduler::new(commands);
    let mut publisher = Publisher::default();
    let mut retention = Retention::default();
    let mut head = commands.store.tail().follow();
    let mut last = LastPage::default();
    loop {
        head.borrow_and_update();
        let turn = async {
            let mut followed = Ok(true);
            for _ in 0..PAGE_COUNT_MAX {
                // Each goes on although another cannot.
                let roles = make_system_roles(commands, &mut system_roles, &mut last).await;
                let ended = wind_up_tenants(commands, &mut tenant_end, &mut last).await;
                let left = wind_up_principals(commands, &mut principal_end, &mut last).await;
                let forgotten = forget_consumers(commands, &mut subscription_end, &mut last).await;
                let scheduled = schedule_what_moved(commands, &mut schedule, &scheduler, &mut last).await;
                followed = roles.and_then(|more| Ok(more | ended? | left? | forgotten? | scheduled?));
                if !matches!(followed, Ok(true)) {
                    break;
                }
            }
            let rest = scheduler.act().await?;
            publisher.act(commands).await?;
            retention.act(commands).await?;
            Ok::<_, ProcessError>(if followed? { None } else { Some(rest) })
        };
        let rest = tokio::time::timeout(TURN_LIMIT, turn).await.map_err(|_| ProcessError::TooSlow)??;
        // Also proves that the connection, and with it the lock, still lives.
        bounded(lock.ping()).await?;
        if let Some(rest) = rest {
            tokio::time::sleep(REST_MIN).await;
            let _ = tokio::time::timeout(rest.min(REST).saturating_sub(REST_MIN), head.changed()).await;
        }
    }
}

/// Answers whether there is more to follow.
async fn make_system_roles(
    commands: &Commands,
    follower: &mut Follower,
    last: &mut LastPage,
) -> Result<bool, ProcessError> {
    let page = follower.page(last).await?;
    if page.events.iter().any(system_roles::concerns) {
        system_roles::follow(commands, &page.events).await?;
        follower.done(&page.events, commands.store.pool().begin().await?).await?;
    } else {
        follower.passed(&page.events).await?;
    }
    Ok(page.full)
}

/// Answers whether there is more to follow.
async fn wind_up_tenants(
    commands: &Commands,
    follower: &mut Follower,
    last: &mut LastPage,
) -> Result<bool, ProcessError> {
    let page = follower.page(last).await?;
    if page.events.iter().any(tenant_end::concerns) {
        tenant_end::follow(commands, &page.events).await?;
        follower.done(&page.events, commands.store.pool().begin().await?).await?;
    } else {
        follower.passed(&page.events).await?;
    }
    Ok(page.full)
}

/// Answers whether there is more to follow.
async fn wind_up_principals(
    commands: &Commands,
    follower: &mut Follower,
    last: &mut LastPage,
) -> Result<bool, ProcessError> {
    let page = follower.page(last).await?;
    if page.events.iter().any(principal_end::concerns) {
        principal_end::follow(commands, &page.events).await?;
        follower.done(&page.events, commands.store.pool().begin().await?).await?;
    } else {
        follower.passed(&page.events).await?;
    }
    Ok(page.full)
}

/// Answers whether there is more to follow.
async fn forget_consumers(
    commands: &Commands,
    follower: &mut Follower,
    last: &mut LastPage,
) -> Result<bool, ProcessError> {
    let page = follower.page(last).await?;
    if page.events.iter().any(event_subscription_end::concerns) {
        let mut transaction = commands.store.pool().begin().await?;
        event_subscription_end::follow(&mut transaction, &page.events).await?;
        follower.done(&page.events, transaction).await?;
    } else {
        follower.passed(&page.events).await?;
    }
    Ok(page.full)
}

/// Answers whether there is more to follow.
async fn schedule_what_moved(
    commands: &Commands,
    follower: &mut Follower,
    scheduler: &Scheduler<'_>,
    last: &mut LastPage,
) -> Result<bool, ProcessError> {
    let page = follower.page(last).await?;
    let moved = scheduler.moved(&page.events).await?;
    if moved.is_empty() {
        follower.passed(&page.events).await?;
    } else {
        let mut transaction = commands.store.pool().begin().await?;
        moved.keep(&mut transaction).await?;
        follower.done(&page.events, transaction).await?;
    }
    Ok(page.full)
}

/// Whether a failure concerns one aggregate only, so that the others can go on; it is told here, once.
fn passed_over<E: Refusal>(error: ExecuteError<E>, aggregate_type: &str, id: Uuid) -> Result<(), ProcessError> {
    match error {
        ExecuteError::Append(AppendError::Overloaded | AppendError::Unavailable(_)) | ExecuteError::Contended => {
            Err(ProcessError::Command(error.to_string()))
        }
        // Already so, or not possible in this state.
        ExecuteError::Refused(refusal) if refusal.kind() == Kind::Conflict => Ok(()),
        other => {
            tracing::error!(error = %other, aggregate_type, %id, "a process manager passes over what it cannot do");
            metrics::counter!(PASSED_OVER).increment(1);
            Ok(())
        }
    }
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
