//! The one that delivers: follows the log, keeps the queue, and hands out what may go.
//!
//! Everything but sending is done here, one thing after the other, so no two parts can disagree about an endpoint. When PostgreSQL does not
//! answer, all of it is forgotten and begun again from what is written.

use std::{
    collections::{BTreeSet, HashMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use chrono::{DateTime, TimeDelta, Utc};
use cqrs_es::Aggregate;
use hub_cloudevents::Event;
use hub_domain::webhook::{self, DisabledReason, Disablement, Replay, Webhook, delivery::Ordering};
use hub_event_store::{
    election::{bounded, elect},
    event::Recorded,
};
use rand::RngExt as _;
use sqlx::{Connection as _, PgConnection, PgPool};
use tokio::{
    sync::mpsc,
    task::JoinSet,
    time::{Instant, timeout},
};
use uuid::Uuid;

use crate::{
    Deliveries, REST,
    attempt::{self, ATTEMPTS, Attempt, LATENCY, Outcome},
    endpoint::{self, Endpoint, Kept, keep_health},
    health::Health,
    lane::{Lane, Rest, Unit, Waiting},
    message::{message, message_id},
    queue::{self, Changes, New, Room},
    replay,
    retention::Parts,
    send::{Answer, Sending, send},
};

/// Takes the lock of the one that delivers for as long as the connection lives.
pub(crate) const ELECT: &str = "SELECT pg_try_advisory_lock(7236831006)";

/// How far the log has been followed; none when it never was.
pub(crate) const READ_CURSOR: &str = "SELECT position FROM process_cursors WHERE process = $1";

/// Keeps how far it has been followed; never back.
pub(crate) const MOVE_CURSOR: &str = "INSERT INTO process_cursors (process, position) VALUES ($1, $2) \
     ON CONFLICT (process) DO UPDATE SET position = EXCLUDED.position WHERE process_cursors.position < EXCLUDED.position";

/// Gauge of the deliveries that are under way.
pub(crate) const UNDER_WAY: &str = "hub_webhook_deliveries_under_way";

/// What a transaction begins with whose end need not be on disk.
const LAZILY: &str = "SET LOCAL synchronous_commit = off";

/// The cursor.
const PROCESS: &str = "webhooks";

/// Where the log ended when webhooks were first delivered; what was before is not.
const BEGINNING: &str = "webhooks_beginning";

/// So many events are followed at once.
const PAGE_SIZE: i64 = 500;

/// Most deliveries under way at the same time, to all endpoints together.
const UNDER_WAY_MAX: usize = 4_096;

/// Most events that wait in memory, for all endpoints together.
const WAITING_MAX: usize = 50_000;

/// So many endpoints are looked at in the database at once.
const LANES_AT_ONCE: usize = 200;

/// So many ends of deliveries are written at once.
const ENDS_AT_ONCE: usize = 2_000;

/// A delivery that would end when its lease does is not begun.
const MARGIN: TimeDelta = TimeDelta::seconds(3);

/// Longest wait that an endpoint may ask for.
const RETRY_AFTER_MAX: TimeDelta = TimeDelta::hours(24);

/// So often old connections are closed, and it is asked whether the lock is still held.
const SWEEP_INTERVAL: Duration = Duration::from_secs(5);

/// The event that asks the endpoint for its challenge.
const PINGED: &str = "webhook.pinged";

/// Why it had to stop and try again.
#[derive(Debug, thiserror::Error)]
pub(crate) enum EngineError {
    #[error("PostgreSQL: {0}")]
    Database(#[from] sqlx::Error),
    #[error("another process leads by now")]
    Superseded,
}

/// A delivery that has ended.
struct Ended {
    webhook_id: Uuid,
    unit: Unit,
    answer: Answer,
}

pub(crate) struct Engine<'a> {
    given: &'a Deliveries,
    lanes: HashMap<Uuid, Lane>,
    by_tenant: HashMap<Uuid, Vec<Uuid>>,
    position: i64,
    beginning: i64,
    /// Lanes that may have something to send.
    ready: VecDeque<Uuid>,
    /// When lanes have to be looked at in the database, on the platform's clock.
    looks: BTreeSet<(DateTime<Utc>, Uuid)>,
    /// When lanes have a token again.
    tokens: BTreeSet<(Instant, Uuid)>,
    under_way: usize,
    changes: Changes,
    attempts: Vec<Attempt>,
    unhealthy: BTreeSet<Uuid>,
    replaying: bool,
    parts: Parts,
    written_at: DateTime<Utc>,
    ends: mpsc::UnboundedSender<Ended>,
    sending: JoinSet<()>,
    orders: JoinSet<()>,
}

impl<'a> Engine<'a> {
    /// Delivers for as long as it is the only one; at once when another is.
    pub(crate) async fn lead(given: &'a Deliveries) -> Result<(), EngineError> {
        let Some(mut lock) = elect(&given.pool, ELECT).await? else { return Ok(()) };
        tracing::info!("webhooks are delivered here");
        // Bounded by what may be under way.
        let (ends, mut ended) = mpsc::unbounded_channel();
        let mut engine = Self::load(given, ends).await?;
        let mut tail = given.tail.follow();
        let mut swept_at = Instant::now();
        loop {
            let head = *tail.borrow_and_update();
            let more = engine.turn(head, &mut ended).await?;
            if swept_at.elapsed() >= SWEEP_INTERVAL {
                swept_at = Instant::now();
                engine.sweep();
                // Also proves that the connection, and with it the lock, still lives.
                bounded(lock.ping()).await?;
            }
            if more {
                continue;
            }
            let rest = engine.rest();
            tokio::select! {
                _ = tail.changed() => {}
                end = ended.recv() => if let Some(end) = end { engine.end(end) },
                () = tokio::time::sleep(rest) => {}
            }
        }
    }

    async fn load(given: &'a Deliveries, ends: mpsc::UnboundedSender<Ended>) -> Result<Self, EngineError> {
        let cursor = async |process: &str| {
            sqlx::query_scalar::<_, i64>(READ_CURSOR).bind(process).fetch_optional(&given.pool).await
        };
        let beginning = match cursor(BEGINNING).await? {
            Some(beginning) => beginning,
            None => {
                let head = given.log.head().await?;
                sqlx::query(MOVE_CURSOR).bind(BEGINNING).bind(head).execute(&given.pool).await?;
                head
            }
        };
        let position = cursor(PROCESS).await?.unwrap_or(0);
        let mut engine = Self {
            given,
            lanes: HashMap::new(),
            by_tenant: HashMap::new(),
            position,
            beginning,
            ready: VecDeque::new(),
            looks: BTreeSet::new(),
            tokens: BTreeSet::new(),
            under_way: 0,
            changes: Changes::default(),
            attempts: Vec::new(),
            unhealthy: BTreeSet::new(),
            replaying: true,
            parts: Parts::default(),
            written_at: DateTime::UNIX_EPOCH,
            ends,
            sending: JoinSet::new(),
            orders: JoinSet::new(),
        };
        let kept: Vec<Kept> = sqlx::query_as(endpoint::ALL).fetch_all(&given.pool).await?;
        let now = engine.now();
        for kept in kept {
            let health = kept.health();
            if let Some(endpoint) = Endpoint::new(kept.tenant_id, kept.webhook_id, kept.state.0, &given.sealing) {
                engine.looks.insert((now, endpoint.webhook_id));
                engine.add(Lane::new(endpoint, health));
            }
        }
        Ok(engine)
    }

    fn now(&self) -> DateTime<Utc> {
        (self.given.clock)()
    }

    fn add(&mut self, lane: Lane) {
        let (tenant_id, webhook_id) = (lane.endpoint.tenant_id, lane.endpoint.webhook_id);
        self.by_tenant.entry(tenant_id).or_default().push(webhook_id);
        self.lanes.insert(webhook_id, lane);
    }

    fn remove(&mut self, webhook_id: Uuid) {
        if let Some(lane) = self.lanes.remove(&webhook_id)
            && let Some(webhooks) = self.by_tenant.get_mut(&lane.endpoint.tenant_id)
        {
            webhooks.retain(|other| *other != webhook_id);
        }
    }

    fn list(&mut self, webhook_id: Uuid) {
        if let Some(lane) = self.lanes.get_mut(&webhook_id)
            && !lane.listed
        {
            lane.listed = true;
            self.ready.push_back(webhook_id);
        }
    }

    /// How long there is nothing to do unless something happens.
    fn rest(&self) -> Duration {
        let now = self.now();
        let look = self.looks.first().map(|(at, _)| (*at - now).to_std().unwrap_or(Duration::ZERO));
        let token = self.tokens.first().map(|(at, _)| at.saturating_duration_since(Instant::now()));
        look.into_iter().chain(token).min().unwrap_or(REST).min(REST)
    }

    fn sweep(&self) {
        for lane in self.lanes.values() {
            lane.connections.sweep();
        }
    }

    /// Does what can be done now; answers whether there is more.
    async fn turn(&mut self, head: i64, ended: &mut mpsc::UnboundedReceiver<Ended>) -> Result<bool, EngineError> {
        let mut count = 0;
        while count < ENDS_AT_ONCE
            && let Ok(end) = ended.try_recv()
        {
            self.end(end);
            count += 1;
        }
        while self.sending.try_join_next().is_some() {}
        while self.orders.try_join_next().is_some() {}
        self.dispatch();
        self.write().await?;
        let followed = if self.position < head { self.follow().await? } else { false };
        let replayed = if self.replaying { self.replay().await? } else { false };
        let looked = self.look().await?;
        self.dispatch();
        metrics::gauge!(UNDER_WAY).set(self.under_way as f64);
        Ok(followed || replayed || looked || count == ENDS_AT_ONCE)
    }

    /// Sends what may go, an endpoint after the other.
    fn dispatch(&mut self) {
        let now = self.now();
        while let Some((at, webhook_id)) = self.tokens.first().copied()
            && at <= Instant::now()
        {
            self.tokens.remove(&(at, webhook_id));
            self.list(webhook_id);
        }
        while self.under_way < UNDER_WAY_MAX
            && let Some(webhook_id) = self.ready.pop_front()
        {
            let Some(lane) = self.lanes.get_mut(&webhook_id) else { continue };
            lane.listed = false;
            match lane.next(now) {
                Ok(unit) => {
                    let time_max = TimeDelta::seconds(lane.delivery().timeout_seconds.into());
                    if unit.events.iter().any(|waiting| waiting.leased_until < now + time_max + MARGIN) {
                        // It has waited too long: taken up anew, with a new lease.
                        lane.ended(&unit.events);
                        let positions = unit.events.iter().map(|waiting| waiting.event.position);
                        for position in positions.chain(lane.release()) {
                            self.changes.release(webhook_id, position, now);
                        }
                        self.looks.insert((now, webhook_id));
                        continue;
                    }
                    self.send(webhook_id, unit, now);
                    self.list(webhook_id);
                }
                Err(Rest::UntilSomethingHappens) => {}
                Err(Rest::Token(at)) => {
                    self.tokens.insert((at, webhook_id));
                }
                Err(Rest::Until(at)) => {
                    for position in lane.release() {
                        self.changes.release(webhook_id, position, now);
                    }
                    self.looks.insert((at, webhook_id));
                }
            }
        }
    }

    fn send(&mut self, webhook_id: Uuid, unit: Unit, now: DateTime<Utc>) {
        let Some(lane) = self.lanes.get(&webhook_id) else { return };
        let (outbound, connections) = (self.given.outbound.clone(), lane.connections.clone());
        let delivery = lane.delivery();
        let (payload, time_max) = (delivery.payload, Duration::from_secs(delivery.timeout_seconds.into()));
        let (url, keys) = (lane.endpoint.url().clone(), lane.endpoint.keys_at(now));
        let ends = self.ends.clone();
        self.under_way += 1;
        self.sending.spawn(async move {
            let (headers, body) = message(&unit.events, unit.batch_id.is_some(), payload, &keys, now);
            let answer = send(&outbound, &connections, Sending { url, headers, body, time_max }).await;
            // Nobody listens when all of it has been begun again; then the lease brings the events back.
            let _ = ends.send(Ended { webhook_id, unit, answer });
        });
    }

    /// Takes in what came of a delivery.
    fn end(&mut self, Ended { webhook_id, unit, answer }: Ended) {
        self.under_way -= 1;
        let now = self.now();
        let Some(lane) = self.lanes.get_mut(&webhook_id) else { return };
        lane.ended(&unit.events);
        let outcome = if answer.succeeded() {
            if lane.health.succeeded() {
                self.unhealthy.insert(webhook_id);
            }
            for waiting in &unit.events {
                self.changes.finish(webhook_id, waiting.event.position);
            }
            (Outcome::Delivered, None)
        } else {
            self.failed(webhook_id, &unit, &answer, now)
        };
        self.record(webhook_id, &unit, &answer, outcome, now);
        if answer.succeeded() {
            self.verify(webhook_id, &unit, &answer);
            if self.lanes.get(&webhook_id).is_some_and(Lane::runs_low) {
                self.looks.insert((now, webhook_id));
            }
        }
        self.list(webhook_id);
    }

    fn failed(
        &mut self,
        webhook_id: Uuid,
        unit: &Unit,
        answer: &Answer,
        now: DateTime<Utc>,
    ) -> (Outcome, Option<DateTime<Utc>>) {
        let Some(lane) = self.lanes.get_mut(&webhook_id) else { return (Outcome::Retrying, None) };
        let retry = lane.delivery().retry.clone();
        let asked = matches!(answer.status, Some(429 | 503)).then(|| retry_after(answer, now)).flatten();
        match asked {
            Some(until) => lane.health.asked_to_wait(until),
            None => lane.health.failed(now),
        }
        self.unhealthy.insert(webhook_id);
        let attempts = unit.events.iter().map(|waiting| waiting.attempts).max().unwrap_or(0) + 1;
        let wait = f64::from(retry.wait_seconds(attempts)) * rand::rng().random_range(0.8..1.2);
        let wait = TimeDelta::milliseconds((wait * 1_000.0) as i64);
        let next = asked.unwrap_or(now + wait).max(now + TimeDelta::seconds(1));
        let oldest = unit.events.iter().map(|waiting| waiting.created_at).min().unwrap_or(now);
        let gone = answer.status == Some(410);
        let give_up = gone || next > oldest + TimeDelta::hours(retry.age_max_hours.into());
        for waiting in &unit.events {
            let position = waiting.event.position;
            if give_up {
                self.changes.finish(webhook_id, position);
            } else {
                let waiting = Waiting { attempts, ..waiting.clone() };
                self.changes.retry(webhook_id, &waiting, unit.batch_id, next);
            }
        }
        // What comes behind it must not pass it; and of an endpoint that fails little is kept in memory.
        let in_the_way = !give_up && lane.ordering() != Ordering::Parallel;
        if in_the_way || lane.health.closed_at(now).is_err() {
            for position in lane.release() {
                self.changes.release(webhook_id, position, now);
            }
            let at = lane.health.closed_at(now).err().unwrap_or(now);
            self.looks.insert((at, webhook_id));
        }
        self.looks.insert((next, webhook_id));
        let since = lane.health.failing_since.unwrap_or(now);
        let disabled_after = TimeDelta::from_std(self.given.settings.disabled_after).unwrap_or(TimeDelta::MAX);
        if gone || now - since >= disabled_after {
            let reason = if gone { DisabledReason::Gone } else { DisabledReason::Failing };
            self.disable(webhook_id, reason, since, unit);
        }
        if give_up { (Outcome::GivenUp, None) } else { (Outcome::Retrying, Some(next)) }
    }

    /// Orders that the webhook be disabled, with the first position that it may have missed.
    fn disable(&mut self, webhook_id: Uuid, reason: DisabledReason, failing_since: DateTime<Utc>, unit: &Unit) {
        let Some(lane) = self.lanes.get(&webhook_id) else { return };
        let tenant_id = lane.endpoint.tenant_id;
        let tried = unit.events.iter().map(|waiting| waiting.event.position).min().unwrap_or(1);
        let (pool, orders) = (self.given.pool.clone(), self.given.orders.clone());
        let now = self.now();
        self.orders.spawn(async move {
            let first = first_waiting(&pool, webhook_id, now).await.ok().flatten();
            let missed_from = first.map_or(tried, |first| first.min(tried));
            let disablement = Disablement { reason, failing_since, missed_from };
            if let Err(error) = orders.disable(tenant_id, webhook_id, disablement).await {
                tracing::warn!(error, %webhook_id, "a webhook could not be disabled; the next failure tries again");
            }
        });
    }

    fn verify(&mut self, webhook_id: Uuid, unit: &Unit, answer: &Answer) {
        let Some(lane) = self.lanes.get(&webhook_id) else { return };
        let pinged = unit
            .events
            .iter()
            .filter(|waiting| waiting.event.event_type == PINGED && waiting.event.aggregate_id == webhook_id);
        for waiting in pinged {
            #[derive(serde::Deserialize)]
            struct Pinged {
                challenge: String,
            }
            let Ok(Pinged { challenge }) = serde_json::from_str(waiting.event.data.get()) else { continue };
            if !answer.body.contains(&challenge) {
                continue;
            }
            let verified = self.given.orders.verify(lane.endpoint.tenant_id, webhook_id, challenge);
            self.orders.spawn(async move {
                if let Err(error) = verified.await {
                    tracing::warn!(error, %webhook_id, "a webhook could not be marked as verified");
                }
            });
        }
    }

    fn record(
        &mut self,
        webhook_id: Uuid,
        unit: &Unit,
        answer: &Answer,
        (outcome, next_attempt_at): (Outcome, Option<DateTime<Utc>>),
        now: DateTime<Utc>,
    ) {
        let id = message_id(&unit.events, unit.batch_id.is_some());
        for waiting in &unit.events {
            metrics::counter!(ATTEMPTS, "outcome" => outcome.name()).increment(1);
            if waiting.attempts == 0 {
                let age = (now - waiting.event.occurred_at).to_std().unwrap_or_default();
                metrics::histogram!(LATENCY).record(age.as_secs_f64());
            }
            self.attempts.push(Attempt {
                tenant_id: waiting.event.tenant_id,
                webhook_id,
                position: waiting.event.position,
                event_id: waiting.event.event_id,
                event_type: waiting.event.event_type.clone(),
                message_id: id.clone(),
                attempt: i32::try_from(waiting.attempts + 1).unwrap_or(i32::MAX),
                outcome,
                status: answer.status.map(i32::from),
                error: answer.error.clone(),
                latency_ms: i32::try_from(answer.latency.as_millis()).unwrap_or(i32::MAX),
                headers: answer.headers.clone(),
                body: answer.body.clone(),
                next_attempt_at,
            });
        }
    }

    /// Writes what has become of rows, attempts and endpoints. What is lost of it with the database's last moment is delivered again,
    /// so nobody waits until it is on disk.
    async fn write(&mut self) -> Result<(), EngineError> {
        if self.changes.is_empty() && self.attempts.is_empty() && self.unhealthy.is_empty() {
            return Ok(());
        }
        let now = self.now().max(self.written_at + TimeDelta::microseconds(1));
        let mut transaction = self.given.pool.begin().await?;
        lazily(&mut transaction).await?;
        let kept = TimeDelta::from_std(self.given.settings.attempts_kept).unwrap_or(TimeDelta::MAX);
        self.parts.keep(&mut transaction, now, kept).await?;
        std::mem::take(&mut self.changes).write(&mut transaction).await?;
        attempt::insert(&mut transaction, &std::mem::take(&mut self.attempts), now).await?;
        for webhook_id in std::mem::take(&mut self.unhealthy) {
            if let Some(lane) = self.lanes.get(&webhook_id) {
                keep_health(&mut transaction, &lane.endpoint, &lane.health).await?;
            }
        }
        transaction.commit().await?;
        self.written_at = now;
        Ok(())
    }

    /// Follows a page of the log; answers whether there is more.
    async fn follow(&mut self) -> Result<bool, EngineError> {
        let page = self.given.log.page(self.position, PAGE_SIZE).await?;
        let Some(last) = page.last().map(|event| event.position) else { return Ok(false) };
        let now = self.now();
        let mut transaction = self.given.pool.begin().await?;
        lazily(&mut transaction).await?;
        let mut rows = Vec::new();
        let mut room = WAITING_MAX.saturating_sub(self.lanes.values().map(Lane::in_memory).sum());
        for recorded in &page {
            let mut asked = None;
            if recorded.aggregate_type == <Webhook as Aggregate>::TYPE {
                // What was decided before this is to be found by it.
                queue::insert(&mut transaction, &std::mem::take(&mut rows)).await?;
                asked = self.webhook(recorded, &mut transaction, now).await?;
            }
            if recorded.position > self.beginning {
                self.fan_out(recorded, asked, now, &mut room, &mut rows);
            }
        }
        queue::insert(&mut transaction, &rows).await?;
        let moved = sqlx::query(MOVE_CURSOR).bind(PROCESS).bind(last).execute(&mut *transaction).await?;
        if moved.rows_affected() == 0 {
            return Err(EngineError::Superseded);
        }
        transaction.commit().await?;
        self.position = last;
        Ok(i64::try_from(page.len()).is_ok_and(|length| length >= PAGE_SIZE))
    }

    /// An event for each endpoint that wants it, and for the one that `asked` for it. Nothing is sent before the rows are written.
    fn fan_out(
        &mut self,
        recorded: &Recorded,
        asked: Option<Uuid>,
        now: DateTime<Utc>,
        room: &mut usize,
        rows: &mut Vec<New>,
    ) {
        let Some(webhooks) = self.by_tenant.get(&recorded.tenant_id).filter(|webhooks| !webhooks.is_empty()) else {
            return;
        };
        let event = Arc::new(Event::from(recorded));
        let leased_until = now + TimeDelta::from_std(self.given.settings.lease).unwrap_or(TimeDelta::MAX);
        for webhook_id in webhooks {
            let Some(lane) = self.lanes.get_mut(webhook_id) else { continue };
            if asked != Some(*webhook_id) && !lane.endpoint.wants(&event) {
                continue;
            }
            let at_once = *room > 0 && lane.takes(now);
            if at_once {
                *room -= 1;
                let event = event.clone();
                lane.push(Waiting { event, attempts: 0, created_at: now, batch_id: None, leased_until });
                if !lane.listed {
                    lane.listed = true;
                    self.ready.push_back(*webhook_id);
                }
            } else {
                lane.behind = true;
                self.looks.insert((lane.health.closed_at(now).err().unwrap_or(now), *webhook_id));
            }
            rows.push(New {
                webhook_id: *webhook_id,
                tenant_id: recorded.tenant_id,
                position: recorded.tenant_position,
                aggregate_id: recorded.aggregate_id,
                created_at: now,
                due_at: if at_once { leased_until } else { now },
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
            sqlx::query(queue::DROP).bind(webhook_id).execute(&mut *connection).await?;
            sqlx::query(replay::DROP).bind(tenant_id).bind(webhook_id).execute(&mut *connection).await?;
            sqlx::query(endpoint::DROP).bind(tenant_id).bind(webhook_id).execute(&mut *connection).await?;
            self.remove(webhook_id);
            return Ok(None);
        };
        endpoint.keep(connection).await?;
        match self.lanes.get_mut(&webhook_id) {
            Some(lane) => lane.change(endpoint),
            None => {
                let mut lane = Lane::new(endpoint, Health::default());
                // Nothing was kept for it yet.
                lane.behind = false;
                self.add(lane);
            }
        }
        let Some(lane) = self.lanes.get_mut(&webhook_id) else { return Ok(None) };
        let from_to = |from, to| Replay { from, to, since: None, until: None, only: webhook::Only::All };
        let replayed = match &event {
            webhook::Event::Tested {} | webhook::Event::Pinged { .. } => return Ok(Some(webhook_id)),
            webhook::Event::ReplayRequested(replay) => Some(replay.clone()),
            webhook::Event::Enabled { replay_from: Some(from) } => {
                // The webhook's own story since then is nothing that was missed.
                Some(from_to(Some(*from), Some(recorded.tenant_position - 1)))
            }
            webhook::Event::Paused {} => {
                for position in lane.release() {
                    self.changes.release(webhook_id, position, now);
                }
                None
            }
            webhook::Event::Disabled(_) => {
                lane.release();
                sqlx::query(queue::DROP).bind(webhook_id).execute(&mut *connection).await?;
                None
            }
            _ => None,
        };
        if matches!(event, webhook::Event::Enabled { .. } | webhook::Event::UrlChanged { .. }) {
            lane.health = Health::default();
            self.unhealthy.insert(webhook_id);
        }
        self.looks.insert((now, webhook_id));
        if let Some(replay) = replayed {
            let sequence = recorded.sequence;
            replay::insert(connection, (tenant_id, webhook_id), sequence, &replay, recorded.tenant_position).await?;
            self.replaying = true;
        }
        Ok(None)
    }

    /// A piece of each replay; answers whether there is more.
    async fn replay(&mut self) -> Result<bool, EngineError> {
        let now = self.now();
        let mut transaction = self.given.pool.begin().await?;
        lazily(&mut transaction).await?;
        let pending = replay::pending(&mut transaction).await?;
        for replay in &pending {
            let rows = match self.lanes.get(&replay.webhook_id) {
                Some(lane) => replay.piece(&self.given.log, &mut transaction, &lane.endpoint, now).await?,
                None => Vec::new(),
            };
            queue::insert(&mut transaction, &rows).await?;
            replay.done(&mut transaction).await?;
            if let Some(lane) = self.lanes.get_mut(&replay.webhook_id)
                && !rows.is_empty()
            {
                lane.behind = true;
                self.looks.insert((lane.health.closed_at(now).err().unwrap_or(now), replay.webhook_id));
            }
        }
        transaction.commit().await?;
        self.replaying = !pending.is_empty();
        Ok(self.replaying)
    }

    /// Takes from the database what is due of the endpoints that are to be looked at; answers whether there are more of them.
    async fn look(&mut self) -> Result<bool, EngineError> {
        let now = self.now();
        let mut due = BTreeSet::new();
        while due.len() < LANES_AT_ONCE
            && let Some((at, webhook_id)) = self.looks.first().copied()
            && at <= now
        {
            self.looks.remove(&(at, webhook_id));
            let open = |lane: &Lane| lane.endpoint.active() && lane.health.closed_at(now).is_ok();
            match self.lanes.get(&webhook_id) {
                Some(lane) if open(lane) => {
                    due.insert(webhook_id);
                }
                Some(lane) if lane.endpoint.active() => {
                    if let Err(until) = lane.health.closed_at(now) {
                        self.looks.insert((until, webhook_id));
                    }
                }
                Some(_) | None => {}
            }
        }
        if due.is_empty() {
            return Ok(false);
        }
        // What has come of deliveries must be seen by what follows.
        self.write().await?;
        let leased_until = now + TimeDelta::from_std(self.given.settings.lease).unwrap_or(TimeDelta::MAX);
        let rooms: Vec<Room> = due
            .iter()
            .filter_map(|webhook_id| {
                let lane = self.lanes.get(webhook_id)?;
                let ordering = match lane.ordering() {
                    Ordering::Parallel => "parallel",
                    Ordering::PerAggregate => "per_aggregate",
                    Ordering::Strict => "strict",
                };
                Some(Room { webhook_id: *webhook_id, room: lane.room(), ordering })
            })
            .filter(|room| room.room > 0)
            .collect();
        let mut transaction = self.given.pool.begin().await?;
        lazily(&mut transaction).await?;
        for (webhook_id, waiting) in queue::claim(&mut transaction, &rooms, now, leased_until).await? {
            if let Some(lane) = self.lanes.get_mut(&webhook_id) {
                lane.push(waiting);
            }
            self.list(webhook_id);
        }
        let webhooks: Vec<Uuid> = due.iter().copied().collect();
        let standing = queue::standing(&mut transaction, &webhooks, now).await?;
        transaction.commit().await?;
        for standing in standing {
            let Some(lane) = self.lanes.get_mut(&standing.webhook_id) else { continue };
            let elsewhere = usize::try_from(standing.count).unwrap_or(0) > lane.in_memory();
            // Without an order what waits for its next attempt is in nobody's way.
            lane.behind = if lane.ordering() == Ordering::Parallel { standing.overdue } else { elsewhere };
            // What there was no room for is taken when there is; what waits behind another one, when that is due.
            if let Some(next) = standing.next.filter(|_| elsewhere) {
                self.looks.insert((next, standing.webhook_id));
            }
        }
        Ok(self.looks.first().is_some_and(|(at, _)| *at <= now))
    }
}

/// The first position that waits for an endpoint.
async fn first_waiting(pool: &PgPool, webhook_id: Uuid, now: DateTime<Utc>) -> Result<Option<i64>, sqlx::Error> {
    let mut connection = pool.acquire().await?;
    let standing = timeout(REST, queue::standing(&mut connection, &[webhook_id], now)).await;
    let standing = standing.unwrap_or(Err(sqlx::Error::PoolTimedOut))?;
    Ok(standing.first().and_then(|standing| standing.first))
}

/// When the endpoint wants to be asked again, by seconds or by a date.
fn retry_after(answer: &Answer, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
    let text = answer.header("retry-after")?;
    let until = match text.parse::<u32>() {
        Ok(seconds) => now + TimeDelta::seconds(seconds.into()),
        Err(_) => DateTime::parse_from_rfc2822(text).ok()?.to_utc(),
    };
    Some(until.clamp(now, now + RETRY_AFTER_MAX))
}

/// A transaction whose end nobody waits for until it is on disk.
async fn lazily(connection: &mut PgConnection) -> Result<(), sqlx::Error> {
    sqlx::query(LAZILY).execute(connection).await.map(|_| ())
}
