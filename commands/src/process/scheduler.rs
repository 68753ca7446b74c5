//! The scheduler: does what is due when its time comes, by commands.
//!
//! It keeps one row per aggregate that has a due time: subscriptions (the end of a trial, the next period, a scheduled change), roles (the end
//! of an assignment), access requests, emergency and support accesses (their ends), erasures (the end of their grace period). The aggregate itself says when and what; the scheduler only looks at the clock. A command's id
//! is derived from the aggregate and its due time, so the same thing is never done twice.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use chrono::{DateTime, TimeDelta, Utc};
use cqrs_es::Aggregate;
use futures::{StreamExt, TryStreamExt, stream};
use hub_domain::{
    access_request::{self, AccessRequest},
    aggregate::Decide,
    break_glass::{self, BreakGlass},
    erasure::{self, Erasure},
    legal_hold::LegalHold,
    role::{self, Role},
    subscription::{self, Subscription},
    support_access::{self, SupportAccess},
};
use hub_event_store::{
    event::Recorded,
    repository::{ExecuteError, Loaded, Prepared, Repository},
};
use hub_http::Problem;
use sqlx::{FromRow, PgConnection, Postgres};
use uuid::Uuid;

use crate::{Commands, dispatch::problem_of};

use super::{
    ProcessError, REST,
    erasure::{LOOK_INTERVAL, Look, act},
    order_of,
};

/// Keeps when aggregates are due.
pub(super) const PUT_DUE: &str = "INSERT INTO scheduler_due (tenant_id, aggregate_type, aggregate_id, due_at, attempt_at) \
     SELECT tenant_id, aggregate_type, aggregate_id, due_at, due_at FROM unnest($1::uuid[], $2::text[], $3::uuid[], $4::timestamptz[]) \
         AS d (tenant_id, aggregate_type, aggregate_id, due_at) \
     ON CONFLICT (tenant_id, aggregate_type, aggregate_id) DO UPDATE SET due_at = EXCLUDED.due_at, attempt_at = EXCLUDED.attempt_at";

/// Forgets aggregates that have nothing due any more.
pub(super) const DROP_DUE: &str = "DELETE FROM scheduler_due s USING unnest($1::uuid[], $2::text[], $3::uuid[]) \
         AS d (tenant_id, aggregate_type, aggregate_id) \
     WHERE s.tenant_id = d.tenant_id AND s.aggregate_type = d.aggregate_type AND s.aggregate_id = d.aggregate_id";

/// What is due at a moment, the longest waiting first.
pub(super) const TAKE_DUE: &str = "SELECT tenant_id, aggregate_type, aggregate_id FROM scheduler_due WHERE attempt_at <= $1 \
     ORDER BY attempt_at LIMIT $2";

/// Puts off what could not be done.
pub(super) const POSTPONE: &str =
    "UPDATE scheduler_due SET attempt_at = $4 WHERE tenant_id = $1 AND aggregate_type = $2 AND aggregate_id = $3";

/// Looks at once at the erasures that the holds of a scope were in the way of: its own, its tenant's, and for a tenant all of them.
pub(super) const WAKE: &str = "UPDATE scheduler_due SET attempt_at = due_at WHERE tenant_id = $1 AND aggregate_type = 'erasure' \
     AND (aggregate_id = $2 OR aggregate_id = $1 OR $2 = $1)";

/// When the scheduler has to act next.
pub(super) const NEXT_DUE: &str = "SELECT min(attempt_at) FROM scheduler_due";

/// So many aggregates are taken at once.
const BATCH_SIZE: i64 = 100;

/// So many aggregates do what is due at the same time; their commands then share batches.
const CONCURRENCY: usize = 16;

/// One aggregate may do so many due things in a row before the others have their turn.
const STEP_COUNT_MAX: usize = 120;

/// What could not be done is tried again after this.
const RETRY_AFTER: TimeDelta = TimeDelta::seconds(60);

/// Namespace of the scheduler's command ids.
const NAMESPACE: Uuid = Uuid::from_u128(0x0c35_9a7e_1d7f_4a56_9d1b_5c5e_6f0e_8b21);

/// The scheduler, on the clock of the store.
#[derive(Debug)]
pub(super) struct Scheduler<'a> {
    commands: &'a Commands,
}

/// Names an aggregate that is due.
#[derive(Debug, Clone, FromRow)]
pub(super) struct Due {
    tenant_id: Uuid,
    aggregate_type: String,
    aggregate_id: Uuid,
}

/// Does now what a subscription has due, by the same commands as the scheduler; the scheduler's own turn then finds nothing to do. It is read
/// anew each time, because another process may have brought something about that is due by now; the command that follows then finds it as it is.
///
/// # Errors
/// `store_unavailable` when it could not be done, or when what is due cannot be known.
pub(crate) async fn catch_up(commands: &Commands, tenant_id: Uuid, id: Uuid) -> Result<(), Problem> {
    let loaded = commands.subscriptions.repository.load_latest(tenant_id, id).await;
    let loaded = loaded.map_err(|error| problem_of(&error))?;
    let now = commands.store.now();
    if loaded.state.due_at().is_none_or(|due_at| due_at > now) {
        return Ok(());
    }
    let due = Due { tenant_id, aggregate_type: Subscription::TYPE.to_owned(), aggregate_id: id };
    Scheduler::new(commands).do_due(&commands.subscriptions.repository, &due, now).await.map_err(|error| {
        tracing::warn!(%error, %id, "what is due could not be done before a command");
        Problem::store_unavailable()
    })
}

/// An aggregate that can be due.
trait Scheduled: Decide<Command: Clone + Send + Sync> + Clone + 'static {
    fn due_at(&self) -> Option<DateTime<Utc>>;
    /// The first thing that is due, with what tells it from all others of this aggregate.
    fn due_step(&self, now: DateTime<Utc>) -> Option<(String, Self::Command)>;
}

impl Scheduled for Subscription {
    fn due_at(&self) -> Option<DateTime<Utc>> {
        Self::due_at(self)
    }

    fn due_step(&self, now: DateTime<Utc>) -> Option<(String, subscription::Command)> {
        let due_at = Self::due_at(self)?;
        Some((due_at.to_rfc3339(), self.due_command(now)?))
    }
}

impl Scheduled for Role {
    fn due_at(&self) -> Option<DateTime<Utc>> {
        Self::due_at(self)
    }

    fn due_step(&self, now: DateTime<Utc>) -> Option<(String, role::Command)> {
        self.due_commands(now).into_iter().find_map(|command| match &command {
            role::Command::EndAssignment { assignment_id, .. } => Some((assignment_id.to_string(), command)),
            _ => None,
        })
    }
}

impl Scheduled for AccessRequest {
    fn due_at(&self) -> Option<DateTime<Utc>> {
        Self::due_at(self)
    }

    fn due_step(&self, now: DateTime<Utc>) -> Option<(String, access_request::Command)> {
        let due_at = Self::due_at(self)?;
        Some((due_at.to_rfc3339(), self.due_command(now)?))
    }
}

impl Scheduled for BreakGlass {
    fn due_at(&self) -> Option<DateTime<Utc>> {
        Self::due_at(self)
    }

    fn due_step(&self, now: DateTime<Utc>) -> Option<(String, break_glass::Command)> {
        let due_at = Self::due_at(self)?;
        Some((due_at.to_rfc3339(), self.due_command(now)?))
    }
}

impl Scheduled for SupportAccess {
    fn due_at(&self) -> Option<DateTime<Utc>> {
        Self::due_at(self)
    }

    fn due_step(&self, now: DateTime<Utc>) -> Option<(String, support_access::Command)> {
        let due_at = Self::due_at(self)?;
        Some((due_at.to_rfc3339(), self.due_command(now)?))
    }
}

impl Scheduled for Erasure {
    fn due_at(&self) -> Option<DateTime<Utc>> {
        Self::due_at(self)
    }

    /// What is due takes more than a command, and is done in `erasure`.
    fn due_step(&self, _now: DateTime<Utc>) -> Option<(String, erasure::Command)> {
        None
    }
}

impl<'a> Scheduler<'a> {
    pub(super) fn new(commands: &'a Commands) -> Self {
        Self { commands }
    }

    /// Looks at every aggregate that these events moved.
    pub(super) async fn moved(&self, page: &[Recorded]) -> Result<Moved, ProcessError> {
        let sequences: BTreeMap<_, _> = page
            .iter()
            .map(|event| ((event.tenant_id, event.aggregate_type.as_str(), event.aggregate_id), event.sequence))
            .collect();
        let mut moved = Moved::default();
        for ((tenant_id, aggregate_type, aggregate_id), sequence) in sequences {
            let due = Due { tenant_id, aggregate_type: aggregate_type.to_owned(), aggregate_id };
            let due_at = match aggregate_type {
                Subscription::TYPE => {
                    let loaded = self.commands.subscriptions.repository.load_up_to(tenant_id, aggregate_id, sequence);
                    self.due_at(loaded.await)?
                }
                Role::TYPE => {
                    let loaded = self.commands.roles.repository.load_up_to(tenant_id, aggregate_id, sequence);
                    self.due_at(loaded.await)?
                }
                AccessRequest::TYPE => {
                    let repository = &self.commands.access_requests.repository;
                    self.due_at(repository.load_up_to(tenant_id, aggregate_id, sequence).await)?
                }
                BreakGlass::TYPE => {
                    let repository = &self.commands.break_glasses.repository;
                    self.due_at(repository.load_up_to(tenant_id, aggregate_id, sequence).await)?
                }
                SupportAccess::TYPE => {
                    let repository = &self.commands.support_accesses.repository;
                    self.due_at(repository.load_up_to(tenant_id, aggregate_id, sequence).await)?
                }
                Erasure::TYPE => {
                    let loaded = self.commands.erasures.repository.load_up_to(tenant_id, aggregate_id, sequence);
                    self.due_at(loaded.await)?
                }
                LegalHold::TYPE => {
                    moved.freed.push((tenant_id, aggregate_id));
                    continue;
                }
                _ => continue,
            };
            moved.due.push((due, due_at));
        }
        Ok(moved)
    }

    /// Does everything that is due now; answers how long there will be nothing to do.
    pub(super) async fn act(&self) -> Result<Duration, ProcessError> {
        let now = self.commands.store.now();
        let pool = self.commands.store.pool();
        let due: Vec<Due> = sqlx::query_as(TAKE_DUE).bind(now).bind(BATCH_SIZE).fetch_all(pool).await?;
        let steps: Vec<_> = due.iter().map(|one| self.do_or_postpone(one, now)).collect();
        let mut done = stream::iter(steps).buffer_unordered(CONCURRENCY);
        while done.try_next().await?.is_some() {}
        if due.len() as i64 == BATCH_SIZE {
            return Ok(Duration::ZERO);
        }
        let next: Option<DateTime<Utc>> = sqlx::query_scalar(NEXT_DUE).fetch_one(pool).await?;
        Ok(next.map_or(REST, |next| (next - self.commands.store.now()).to_std().unwrap_or(Duration::ZERO)))
    }

    async fn do_or_postpone(&self, due: &Due, now: DateTime<Utc>) -> Result<(), ProcessError> {
        let done = match due.aggregate_type.as_str() {
            Subscription::TYPE => self.do_due(&self.commands.subscriptions.repository, due, now).await,
            Role::TYPE => self.do_due(&self.commands.roles.repository, due, now).await,
            AccessRequest::TYPE => self.do_due(&self.commands.access_requests.repository, due, now).await,
            BreakGlass::TYPE => self.do_due(&self.commands.break_glasses.repository, due, now).await,
            SupportAccess::TYPE => self.do_due(&self.commands.support_accesses.repository, due, now).await,
            Erasure::TYPE => self.erase(due, now).await,
            other => Err(ProcessError::Read(format!("nothing of type {other} is ever due"))),
        };
        if let Err(error) = done {
            tracing::warn!(%error, aggregate_type = due.aggregate_type, aggregate_id = %due.aggregate_id, "put off what is due");
            let postpone = due.bind(sqlx::query(POSTPONE)).bind(now + RETRY_AFTER);
            postpone.execute(self.commands.store.pool()).await?;
        }
        Ok(())
    }

    /// Executes an erasure; while holds are in the way it is looked at again now and then.
    async fn erase(&self, due: &Due, now: DateTime<Utc>) -> Result<(), ProcessError> {
        let pool = self.commands.store.pool();
        match act(self.commands, due.tenant_id, due.aggregate_id, now).await? {
            Look::Deferred => {
                due.bind(sqlx::query(POSTPONE)).bind(now + LOOK_INTERVAL).execute(pool).await?;
            }
            // Its events tell when it is due again, or the row is from before a cancellation.
            Look::Over => {
                let loaded = self.commands.erasures.repository.load_latest(due.tenant_id, due.aggregate_id).await;
                let due_at = self.due_at(loaded)?;
                let mut connection = pool.acquire().await?;
                Moved { due: vec![(due.clone(), due_at)], freed: Vec::new() }.keep(&mut connection).await?;
            }
        }
        Ok(())
    }

    async fn do_due<A: Scheduled>(
        &self,
        repository: &Repository<A>,
        due: &Due,
        now: DateTime<Utc>,
    ) -> Result<(), ProcessError> {
        for step_count in 0..STEP_COUNT_MAX {
            let loaded = repository
                .load_latest(due.tenant_id, due.aggregate_id)
                .await
                .map_err(|error| ProcessError::Read(error.to_string()))?;
            let Some((step, command)) = loaded.state.due_step(now) else {
                // After a step its events are followed, and they tell when the aggregate is due again.
                if step_count == 0 {
                    let due_at = self.due_at(Ok(loaded))?;
                    let mut connection = self.commands.store.pool().acquire().await?;
                    Moved { due: vec![(due.clone(), due_at)], freed: Vec::new() }.keep(&mut connection).await?;
                }
                break;
            };
            let name = format!("{}/{}/{}/{step}", due.tenant_id, A::TYPE, due.aggregate_id);
            let command_id = Uuid::new_v5(&NAMESPACE, name.as_bytes());
            let order = order_of("process:scheduler", command_id, None);
            let accepted = repository
                .execute(due.tenant_id, due.aggregate_id, &order, |_| {
                    let prepared = Prepared::new(command.clone());
                    async { Ok(prepared) }
                })
                .await
                .map_err(|error| ProcessError::Command(error.to_string()))?;
            metrics::counter!("hub_scheduler_commands_total").increment(1);
            if accepted.replayed {
                // Done before and still due would go on for ever.
                let latest = repository.load_latest(due.tenant_id, due.aggregate_id).await;
                let latest = latest.map_err(|error| ProcessError::Read(error.to_string()))?;
                if latest.sequence == loaded.sequence {
                    return Err(ProcessError::Command(format!("{name} was done before and is still due")));
                }
            }
        }
        Ok(())
    }

    fn due_at<A: Scheduled>(
        &self,
        loaded: Result<Arc<Loaded<A>>, ExecuteError<A::Error>>,
    ) -> Result<Option<DateTime<Utc>>, ProcessError> {
        match loaded {
            Ok(loaded) => Ok(loaded.state.due_at()),
            // Tried again and again, and reported each time, while the others go on.
            Err(ExecuteError::Corrupt(_)) => Ok(Some(self.commands.store.now())),
            Err(error) => Err(ProcessError::Read(error.to_string())),
        }
    }
}

/// What the events of a page changed about what is due.
#[derive(Debug, Default)]
pub(super) struct Moved {
    /// Aggregates that were moved, and when each is due now.
    due: Vec<(Due, Option<DateTime<Utc>>)>,
    /// Tenants and scopes of legal holds that were moved.
    freed: Vec<(Uuid, Uuid)>,
}

impl Moved {
    pub(super) fn is_empty(&self) -> bool {
        self.due.is_empty() && self.freed.is_empty()
    }

    /// Keeps when what is due.
    pub(super) async fn keep(&self, connection: &mut PgConnection) -> Result<(), ProcessError> {
        let (due, idle): (Vec<_>, Vec<_>) = self.due.iter().partition(|(_, due_at)| due_at.is_some());
        if !due.is_empty() {
            let times: Vec<_> = due.iter().filter_map(|(_, due_at)| *due_at).collect();
            bind_all(sqlx::query(PUT_DUE), &due).bind(times).execute(&mut *connection).await?;
        }
        if !idle.is_empty() {
            bind_all(sqlx::query(DROP_DUE), &idle).execute(&mut *connection).await?;
        }
        for (tenant_id, id) in &self.freed {
            sqlx::query(WAKE).bind(tenant_id).bind(id).execute(&mut *connection).await?;
        }
        Ok(())
    }
}

fn bind_all<'q>(query: Query<'q>, moved: &[&(Due, Option<DateTime<Utc>>)]) -> Query<'q> {
    let tenants: Vec<_> = moved.iter().map(|(due, _)| due.tenant_id).collect();
    let types: Vec<_> = moved.iter().map(|(due, _)| due.aggregate_type.clone()).collect();
    let ids: Vec<_> = moved.iter().map(|(due, _)| due.aggregate_id).collect();
    query.bind(tenants).bind(types).bind(ids)
}

type Query<'q> = sqlx::query::Query<'q, Postgres, sqlx::postgres::PgArguments>;

impl Due {
    fn bind<'q>(&'q self, query: Query<'q>) -> Query<'q> {
        query.bind(self.tenant_id).bind(self.aggregate_type.as_str()).bind(self.aggregate_id)
    }
}
