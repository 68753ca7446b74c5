//! Following the log: an event becomes a row for each endpoint that wants it, and changes the endpoint that it is about.

use std::{collections::BTreeSet, sync::Arc};

use chrono::{DateTime, TimeDelta, Utc};
use cqrs_es::Aggregate;
use hub_cloudevents::Event;
use hub_domain::webhook::{self, Replay, Webhook, delivery::Ordering};
use hub_event_store::event::Recorded;
use sqlx::{Connection as _, PgConnection, error::DatabaseError};
use tokio::time::Instant;
use uuid::Uuid;

use super::{Budget, Engine, EngineError, MOVE_CURSOR, PROCESS, write::lazily};
use crate::{
    endpoint::{self, Endpoint},
    health::Health,
    lane::{Lane, Waiting},
    message::Message,
    queue::{self, New},
    replay,
};

/// With so many rows a transaction takes up no more events.
const ROWS_AT_ONCE: usize = 10_000;

impl Engine<'_> {
    /// Follows so many events of the log at most; answers whether there are more.
    pub(super) async fn follow(&mut self, size: usize) -> Result<bool, EngineError> {
        let given = self.given;
        let limit = i64::try_from(size).unwrap_or(i64::MAX);
        let (log, position) = (given.log.clone(), self.position);
        let page = self.meanwhile(async move { log.page(position, limit).await }).await?;
        if page.is_empty() {
            return Ok(false);
        }
        let now = self.now();
        let leased_until = self.leased_until(now);
        let statement = if self.position < self.careful_until { queue::INSERT_MISSING } else { queue::INSERT };
        let mut transaction = given.pool.begin().await?;
        lazily(&mut transaction).await?;
        let mut rows = Vec::new();
        let mut expecting = BTreeSet::new();
        let mut budget = self.budget();
        let (mut count, mut last) = (0, self.position);
        // An event that thousands of endpoints want is as much work as thousands of events.
        for recorded in &page {
            if rows.len() >= ROWS_AT_ONCE {
                break;
            }
            (count, last) = (count + 1, recorded.position);
            let mut asked = None;
            if recorded.aggregate_type == <Webhook as Aggregate>::TYPE {
                // What was decided before this is to be found by it.
                queue::insert(&mut transaction, statement, &std::mem::take(&mut rows), now, leased_until).await?;
                asked = self.webhook(recorded, &mut transaction, now).await?;
            }
            if recorded.position > self.beginning {
                self.fan_out(recorded, asked, (now, leased_until), &mut budget, &mut rows, &mut expecting);
            }
        }
        let written = async move {
            queue::insert(&mut transaction, statement, &rows, now, leased_until).await?;
            let moved = sqlx::query(MOVE_CURSOR).bind(PROCESS).bind(last).execute(&mut *transaction).await?;
            if moved.rows_affected() == 0 {
                return Err(EngineError::Superseded);
            }
            transaction.commit().await?;
            Ok::<_, EngineError>(())
        };
        self.meanwhile(written).await?;
        for webhook_id in expecting {
            let Some(lane) = self.lanes.get_mut(&webhook_id) else { continue };
            for position in lane.arrive() {
                self.changes.release(webhook_id, position, now);
            }
            self.list(webhook_id);
        }
        (self.position, self.followed_at) = (last, Instant::now());
        Ok(count < page.len() || count >= size)
    }

    /// An event for each endpoint that wants it, and for the one that `asked` for it. Nothing is sent before the rows are written: until
    /// then the lanes are `expecting` it.
    fn fan_out(
        &mut self,
        recorded: &Recorded,
        asked: Option<Uuid>,
        (now, leased_until): (DateTime<Utc>, DateTime<Utc>),
        budget: &mut Budget,
        rows: &mut Vec<New>,
        expecting: &mut BTreeSet<Uuid>,
    ) {
        let Some(webhooks) = self.by_tenant.get(&recorded.tenant_id).filter(|webhooks| !webhooks.is_empty()) else {
            return;
        };
        let event = Arc::new(Message::from(Event::from(recorded)));
        for webhook_id in webhooks {
            let Some(lane) = self.lanes.get_mut(webhook_id) else { continue };
            if asked != Some(*webhook_id) && !lane.endpoint.wants(&event) {
                continue;
            }
            let at_once = budget.events > 0 && budget.bytes > 0 && lane.takes(now);
            if at_once {
                budget.events -= 1;
                budget.bytes = budget.bytes.saturating_sub(event.bytes());
                let event = event.clone();
                lane.expect(Waiting { event, attempts: 0, created_at: now, batch_id: None, leased_until });
                expecting.insert(*webhook_id);
            } else {
                // One that is behind is looked at when that is planned; only other aggregates may go before.
                if !lane.behind || lane.ordering() == Ordering::PerAggregate {
                    self.looks.plan(*webhook_id, lane.opens_at(now));
                }
                lane.behind = true;
            }
            rows.push(New {
                webhook_id: *webhook_id,
                tenant_id: recorded.tenant_id,
                position: recorded.tenant_position,
                aggregate_id: recorded.aggregate_id,
                leased: at_once,
            });
        }
    }

    /// Takes in what happened to a webhook; answers it when the event itself is to be delivered to its endpoint.
    async fn webhook(
        &mut self,
        recorded: &Recorded,
        connection: &mut PgConnection,
        now: DateTime<Utc>,
    ) -> Result<Option<Uuid>, EngineError> {
        let (tenant_id, webhook_id) = (recorded.tenant_id, recorded.aggregate_id);
        let event: webhook::Event = match recorded.decode() {
            Ok(event) => event,
            Err(error) => {
                tracing::error!(%error, %webhook_id, "an event of a webhook cannot be read; it is delivered to as before");
                return Ok(None);
            }
        };
        let state = match self.lanes.get(&webhook_id) {
            Some(lane) => lane.endpoint.after(event.clone()),
            None => {
                let mut state = Webhook::default();
                state.apply(event.clone());
                state
            }
        };
        let Some(endpoint) = Endpoint::new(tenant_id, webhook_id, state, &self.given.sealing) else {
            self.forget(tenant_id, webhook_id, connection).await?;
            return Ok(None);
        };
        let mut savepoint = connection.begin().await?;
        match keep(&mut savepoint, &endpoint, recorded, &event, now).await {
            Ok(replays) => {
                savepoint.commit().await?;
                self.replaying |= replays;
            }
            // What one owner asked for is no reason to stop the deliveries of all.
            Err(error) if refuses_values(&error) => {
                savepoint.rollback().await?;
                tracing::error!(%error, %webhook_id, "an event of a webhook cannot be kept; it is delivered to as before");
                return Ok(None);
            }
            Err(error) => return Err(error.into()),
        }
        match self.lanes.get_mut(&webhook_id) {
            Some(lane) => lane.change(endpoint),
            None => {
                let mut lane = Lane::new(endpoint, Health::default());
                // Nothing was kept for it yet.
                lane.behind = false;
                self.add(lane);
            }
        }
        match &event {
            webhook::Event::Tested {} | webhook::Event::Pinged { .. } => return Ok(Some(webhook_id)),
            webhook::Event::Paused {} => self.release(webhook_id, now),
            webhook::Event::Resumed {} => {
                // While nothing was sent nothing has failed.
                if let Some(lane) = self.lanes.get_mut(&webhook_id) {
                    lane.health.failing_since = None;
                }
                self.unhealthy.insert(webhook_id);
            }
            webhook::Event::Disabled(_) => {
                if let Some(lane) = self.lanes.get_mut(&webhook_id) {
                    lane.release();
                }
                self.cleared.insert((tenant_id, webhook_id), false);
            }
            webhook::Event::Enabled { .. } | webhook::Event::UrlChanged { .. } => {
                if let Some(lane) = self.lanes.get_mut(&webhook_id) {
                    lane.health = Health::default();
                }
                self.unhealthy.insert(webhook_id);
                if matches!(event, webhook::Event::Enabled { .. }) {
                    self.cleared.remove(&(tenant_id, webhook_id));
                }
            }
            _ => {}
        }
        self.looks.plan(webhook_id, now);
        Ok(None)
    }

    /// Takes away everything of a webhook that is no more.
    async fn forget(
        &mut self,
        tenant_id: Uuid,
        webhook_id: Uuid,
        connection: &mut PgConnection,
    ) -> Result<(), EngineError> {
        replay::drop_all(connection, (tenant_id, webhook_id)).await?;
        let health = sqlx::query(endpoint::DROP_HEALTH).bind(tenant_id).bind(webhook_id);
        health.execute(&mut *connection).await?;
        endpoint::keep_deleted(connection, (tenant_id, webhook_id)).await?;
        self.cleared.insert((tenant_id, webhook_id), true);
        self.remove(webhook_id);
        Ok(())
    }

    /// A piece of each of some replays; answers whether there is more.
    pub(super) async fn replay(&mut self) -> Result<bool, EngineError> {
        let (pool, log) = (self.given.pool.clone(), self.given.log.clone());
        let pending = self.meanwhile(async move { replay::pending(&pool).await }).await?;
        self.replaying = !pending.is_empty();
        if pending.is_empty() {
            return Ok(false);
        }
        let (pool, now) = (self.given.pool.clone(), self.now());
        self.replayed_at = now.max(self.replayed_at + TimeDelta::microseconds(1));
        let at = self.replayed_at;
        let endpoint = |webhook_id: Uuid| self.lanes.get(&webhook_id).map(|lane| lane.endpoint.clone());
        let pending: Vec<_> = pending.into_iter().map(|replay| (endpoint(replay.webhook_id), replay)).collect();
        let moved = async move {
            let mut transaction = pool.begin().await?;
            lazily(&mut transaction).await?;
            let mut begun = Vec::new();
            for (endpoint, replay) in pending {
                let (rows, next) = match &endpoint {
                    Some(endpoint) => replay.piece(&log, &mut transaction, endpoint).await?,
                    None => (Vec::new(), None),
                };
                queue::insert(&mut transaction, queue::INSERT_MISSING, &rows, now, now).await?;
                replay.moved(&mut transaction, next, at).await?;
                begun.extend((!rows.is_empty()).then_some(replay.webhook_id));
            }
            transaction.commit().await?;
            Ok::<_, sqlx::Error>(begun)
        };
        for webhook_id in self.meanwhile(moved).await? {
            let Some(lane) = self.lanes.get_mut(&webhook_id) else { continue };
            lane.behind = true;
            self.looks.plan(webhook_id, lane.opens_at(now));
        }
        Ok(true)
    }
}

/// Keeps the endpoint as it is after an event, and what follows for its rows; answers whether something is to be delivered again.
async fn keep(
    connection: &mut PgConnection,
    endpoint: &Endpoint,
    recorded: &Recorded,
    event: &webhook::Event,
    now: DateTime<Utc>,
) -> Result<bool, sqlx::Error> {
    endpoint.keep(connection).await?;
    let of = (endpoint.tenant_id, endpoint.webhook_id);
    let (sequence, head) = (recorded.sequence, recorded.tenant_position);
    let mut missed_from = None;
    match event {
        webhook::Event::Disabled(_) => {
            replay::hold(connection, of, sequence, head).await?;
        }
        webhook::Event::Enabled { .. } => {
            // What is left of before is not to be taken for what is delivered again.
            sqlx::query(queue::DROP).bind(endpoint.webhook_id).execute(&mut *connection).await?;
            missed_from = replay::drop_all(connection, of).await?;
        }
        _ => {}
    }
    let Some(replay) = replayed(event, missed_from, head) else { return Ok(false) };
    replay::insert(connection, of, sequence, &replay, head, now).await?;
    Ok(true)
}

/// Whether PostgreSQL refuses the values themselves (classes 22 and 23), so that asking again changes nothing.
fn refuses_values(error: &sqlx::Error) -> bool {
    let code = error.as_database_error().and_then(DatabaseError::code);
    code.is_some_and(|code| code.starts_with("22") || code.starts_with("23"))
}

/// What an event of a webhook at that position asks to be delivered again; `missed_from` is what was held for it since it was disabled.
fn replayed(event: &webhook::Event, missed_from: Option<i64>, position: i64) -> Option<Replay> {
    match event {
        webhook::Event::ReplayRequested(replay) => Some(replay.clone()),
        webhook::Event::Enabled { replay_from: Some(from) } => {
            // The webhook's own story since then is nothing that was missed.
            let to = Some(position - 1);
            let from = missed_from.map_or(*from, |missed_from| missed_from.min(*from));
            Some(Replay { from: Some(from), to, since: None, until: None, only: webhook::Only::All })
        }
        _ => None,
    }
}
