//! The one that delivers: follows the log, keeps the queue, and hands out what may go.
//!
//! Everything but sending is done here, one thing after the other, so no two parts can disagree about an endpoint; only while PostgreSQL is
//! waited for, deliveries end and others begin. When it does not answer, all of it is forgotten and begun again from what is written.

mod clear;
mod end;
mod follow;
mod look;
mod looks;
mod slots;
pub(crate) mod write;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, VecDeque},
    pin::pin,
    time::Duration,
};

use chrono::{DateTime, TimeDelta, Utc};
use hub_domain::webhook::Webhook;
use hub_event_store::election::{bounded, elect};
use sqlx::{Connection as _, PgPool};
use tokio::{
    sync::mpsc,
    task::{JoinError, JoinSet},
    time::Instant,
};
use tokio_util::task::AbortOnDropHandle;
use uuid::Uuid;

use self::{looks::Looks, slots::Slots};
use crate::{
    Deliveries, REST,
    attempt::Attempt,
    endpoint::{self, Endpoint, Kept},
    lane::{self, Lane, Rest, Unit},
    message::message,
    queue::{self, Changes},
    retention::Parts,
    send::{Answer, Sending, send},
};

/// Takes the lock of the one that delivers for as long as the connection lives.
pub(crate) const ELECT: &str = "SELECT pg_try_advisory_lock(7236831008)";

/// How far the log has been followed; none when it never was.
pub(crate) const READ_CURSOR: &str = "SELECT position FROM process_cursors WHERE process = $1";

/// Keeps how far it has been followed; never back.
pub(crate) const MOVE_CURSOR: &str = "INSERT INTO process_cursors (process, position) VALUES ($1, $2) \
     ON CONFLICT (process) DO UPDATE SET position = EXCLUDED.position WHERE process_cursors.position < EXCLUDED.position";

/// Gauge of the deliveries that are under way.
pub(crate) const UNDER_WAY: &str = "hub_webhook_deliveries_under_way";

/// The cursor.
const PROCESS: &str = "webhooks";

/// Where the log ended when webhooks were first delivered; what was before is not.
const BEGINNING: &str = "webhooks_beginning";

/// So many events are followed at once at most.
const PAGE_SIZE: usize = 500;

/// While an endpoint that keeps up has enough to do, the log is not followed, for so long at most: what does not fit into memory only goes
/// through the database twice, and an endpoint that has fallen behind is no reason to wait.
const FOLLOW_INTERVAL_MAX: Duration = Duration::from_secs(1);

/// The same while another endpoint has nearly nothing to do.
const HUNGRY_INTERVAL_MAX: Duration = Duration::from_millis(50);

/// Most events that wait in memory, for all endpoints together.
const WAITING_MAX: usize = 50_000;

/// Most bytes of payloads of what is in memory, for all endpoints together, and what one transaction takes up beyond.
const BYTES_MAX: usize = 64 * 1024 * 1024;

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
    #[error("a part of the work: {0}")]
    Ended(#[from] JoinError),
}

impl EngineError {
    /// Whether an event was followed that is in the queue already: the cursor was set back, by whoever did so.
    pub(crate) fn followed_twice(&self) -> bool {
        matches!(self, Self::Database(sqlx::Error::Database(error)) if error.is_unique_violation())
    }
}

/// What may still be taken into memory.
#[derive(Debug, Clone, Copy)]
struct Budget {
    events: usize,
    bytes: usize,
}

/// A delivery that has ended.
struct Ended {
    tenant_id: Uuid,
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
    /// Up to there what is followed may be in the queue already.
    careful_until: i64,
    followed_at: Instant,
    /// Lanes that may have something to send.
    ready: VecDeque<Uuid>,
    /// When lanes have to be looked at in the database, on the platform's clock.
    looks: Looks,
    /// When lanes have a token again.
    tokens: BTreeSet<(Instant, Uuid)>,
    slots: Slots,
    changes: Changes,
    attempts: Vec<Attempt>,
    unhealthy: BTreeSet<Uuid>,
    /// Webhooks whose rows go, by tenant, and whether they themselves do.
    cleared: BTreeMap<(Uuid, Uuid), bool>,
    replaying: bool,
    replayed_at: DateTime<Utc>,
    parts: Parts,
    written_at: DateTime<Utc>,
    ends: mpsc::UnboundedSender<Ended>,
    ended: mpsc::UnboundedReceiver<Ended>,
    sending: JoinSet<()>,
    orders: JoinSet<()>,
}

impl<'a> Engine<'a> {
    /// Delivers for as long as it is the only one; at once when another is. `careful` is who knows that the cursor is behind the queue.
    pub(crate) async fn lead(given: &'a Deliveries, careful: bool) -> Result<(), EngineError> {
        let Some(mut lock) = elect(&given.pool, ELECT).await? else { return Ok(()) };
        tracing::info!("webhooks are delivered here");
        let mut engine = Self::load(given).await?;
        if careful {
            engine.careful_until = given.log.head().await?;
        }
        let mut tail = given.tail.follow();
        let mut swept_at = Instant::now();
        loop {
            let head = *tail.borrow_and_update();
            let more = engine.turn(head).await?;
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
                Some(end) = engine.ended.recv() => engine.end(end),
                () = tokio::time::sleep(rest) => {}
            }
        }
    }

    async fn load(given: &'a Deliveries) -> Result<Self, EngineError> {
        let beginning = match cursor(&given.pool, BEGINNING).await? {
            Some(beginning) => beginning,
            None => {
                let head = given.log.head().await?;
                sqlx::query(MOVE_CURSOR).bind(BEGINNING).bind(head).execute(&given.pool).await?;
                head
            }
        };
        let position = cursor(&given.pool, PROCESS).await?.unwrap_or(0);
        let mut engine = Self::new(given, position, beginning);
        sqlx::query(queue::INHERIT).execute(&given.pool).await?;
        let kept: Vec<Kept> = sqlx::query_as(endpoint::ALL).fetch_all(&given.pool).await?;
        let now = engine.now();
        for kept in kept {
            let health = kept.health();
            if matches!(kept.state.0, Webhook::Disabled(..) | Webhook::Deleted) {
                let deleted = kept.state.0 == Webhook::Deleted;
                engine.cleared.insert((kept.tenant_id, kept.webhook_id), deleted);
            }
            if let Some(endpoint) = Endpoint::new(kept.tenant_id, kept.webhook_id, kept.state.0, &given.sealing) {
                engine.looks.plan(endpoint.webhook_id, now);
                engine.add(Lane::new(endpoint, health));
            }
        }
        Ok(engine)
    }

    /// Without any endpoint.
    fn new(given: &'a Deliveries, position: i64, beginning: i64) -> Self {
        // Bounded by what may be under way.
        let (ends, ended) = mpsc::unbounded_channel();
        Self {
            given,
            lanes: HashMap::new(),
            by_tenant: HashMap::new(),
            position,
            beginning,
            careful_until: 0,
            followed_at: Instant::now(),
            ready: VecDeque::new(),
            looks: Looks::default(),
            tokens: BTreeSet::new(),
            slots: Slots::default(),
            changes: Changes::default(),
            attempts: Vec::new(),
            unhealthy: BTreeSet::new(),
            cleared: BTreeMap::new(),
            replaying: true,
            replayed_at: DateTime::UNIX_EPOCH,
            parts: Parts::default(),
            written_at: DateTime::UNIX_EPOCH,
            ends,
            ended,
            sending: JoinSet::new(),
            orders: JoinSet::new(),
        }
    }

    fn now(&self) -> DateTime<Utc> {
        (self.given.clock)()
    }

    fn leased_until(&self, now: DateTime<Utc>) -> DateTime<Utc> {
        now + TimeDelta::from_std(self.given.settings.lease).unwrap_or(TimeDelta::MAX)
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

    /// What may still be taken into memory, for all endpoints together.
    fn budget(&self) -> Budget {
        let events = self.lanes.values().map(Lane::in_memory).sum();
        let bytes = self.lanes.values().map(Lane::bytes_in_memory).sum();
        Budget { events: WAITING_MAX.saturating_sub(events), bytes: BYTES_MAX.saturating_sub(bytes) }
    }

    /// Gives back to the database what waits in memory for an endpoint, until it may be sent something.
    fn release(&mut self, webhook_id: Uuid, now: DateTime<Utc>) {
        let Some(lane) = self.lanes.get_mut(&webhook_id) else { return };
        for position in lane.release() {
            self.changes.release(webhook_id, position, now);
        }
        self.looks.plan(webhook_id, lane.opens_at(now));
    }

    /// So many events are followed next, or how long none is, because an endpoint that keeps up has enough to do.
    fn demand(&self) -> Result<usize, Duration> {
        let mut rooms = self.lanes.values().filter_map(Lane::demand);
        let Some(first) = rooms.next() else { return Ok(PAGE_SIZE) };
        let (least, most) = rooms.fold((first, first), |(least, most), room| (least.min(room), most.max(room)));
        if least >= lane::WAITING_MAX / 2 {
            return Ok(least.min(PAGE_SIZE));
        }
        let hungry = most >= lane::WAITING_MAX - lane::LOW;
        let interval = if hungry { HUNGRY_INTERVAL_MAX } else { FOLLOW_INTERVAL_MAX };
        match interval.saturating_sub(self.followed_at.elapsed()) {
            Duration::ZERO => Ok(PAGE_SIZE),
            rest => Err(rest),
        }
    }

    /// How long there is nothing to do unless something happens.
    fn rest(&self) -> Duration {
        let now = self.now();
        let look = self.looks.next().map(|at| (at - now).to_std().unwrap_or(Duration::ZERO));
        let token = self.tokens.first().map(|(at, _)| at.saturating_duration_since(Instant::now()));
        look.into_iter().chain(token).chain(self.demand().err()).min().unwrap_or(REST).min(REST)
    }

    fn sweep(&self) {
        for lane in self.lanes.values() {
            lane.connections.sweep();
        }
    }

    /// Does what can be done now; answers whether there is more.
    async fn turn(&mut self, head: i64) -> Result<bool, EngineError> {
        let count = self.take_ends();
        while self.sending.try_join_next().is_some() {}
        while self.orders.try_join_next().is_some() {}
        self.dispatch();
        self.write().await?;
        let replayed = if self.replaying { self.replay().await? } else { false };
        let cleared = self.clear().await?;
        let looked = self.look().await?;
        let followed = match self.demand() {
            Ok(size) if self.position < head => self.follow(size).await?,
            Ok(_) | Err(_) => false,
        };
        self.dispatch();
        metrics::gauge!(UNDER_WAY).set(self.slots.taken() as f64);
        Ok(followed || replayed || cleared || looked || count == ENDS_AT_ONCE)
    }

    /// Takes in what has ended by now; answers how many.
    fn take_ends(&mut self) -> usize {
        let mut count = 0;
        while count < ENDS_AT_ONCE
            && let Ok(end) = self.ended.try_recv()
        {
            self.end(end);
            count += 1;
        }
        count
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
        while self.slots.any()
            && let Some(webhook_id) = self.ready.pop_front()
        {
            let Some(lane) = self.lanes.get_mut(&webhook_id) else { continue };
            if !self.slots.left(lane.endpoint.tenant_id, webhook_id) {
                continue;
            }
            lane.listed = false;
            match lane.next(now) {
                Ok(unit) => {
                    let time_max = TimeDelta::seconds(lane.delivery().timeout_seconds.into());
                    if unit.events.iter().any(|waiting| waiting.leased_until < now + time_max + MARGIN) {
                        // It has waited too long: taken up anew, with a new lease.
                        lane.ended(&unit.events);
                        for waiting in &unit.events {
                            self.changes.release(webhook_id, waiting.event.position, now);
                        }
                        self.release(webhook_id, now);
                        continue;
                    }
                    self.send(webhook_id, unit, now);
                    self.list(webhook_id);
                }
                Err(Rest::UntilSomethingHappens) => {}
                Err(Rest::Token(at)) => {
                    self.tokens.insert((at, webhook_id));
                }
                Err(Rest::Closed) => self.release(webhook_id, now),
            }
        }
    }

    fn send(&mut self, webhook_id: Uuid, unit: Unit, now: DateTime<Utc>) {
        let Some(lane) = self.lanes.get(&webhook_id) else { return };
        let (outbound, connections) = (self.given.outbound.clone(), lane.connections.clone());
        let delivery = lane.delivery();
        let (payload, time_max) = (delivery.payload, Duration::from_secs(delivery.timeout_seconds.into()));
        let (url, keys) = (unit.url.clone(), lane.endpoint.keys_at(now));
        let ends = self.ends.clone();
        let tenant_id = lane.endpoint.tenant_id;
        self.slots.take(tenant_id);
        self.sending.spawn(async move {
            let (headers, body) = message(&unit.events, unit.batch_id.is_some(), payload, &keys, now);
            let answer = send(&outbound, &connections, Sending { url, headers, body, time_max }).await;
            // Nobody listens when all of it has been begun again; then the lease brings the events back.
            let _ = ends.send(Ended { tenant_id, webhook_id, unit, answer });
        });
    }

    /// Works with the database, in a task of its own, since putting together thousands of rows takes a while; meanwhile deliveries end,
    /// and others begin.
    async fn meanwhile<T, E>(
        &mut self,
        work: impl Future<Output = Result<T, E>> + Send + 'static,
    ) -> Result<T, EngineError>
    where
        T: Send + 'static,
        E: Send + 'static,
        EngineError: From<E>,
    {
        let mut work = pin!(AbortOnDropHandle::new(tokio::spawn(work)));
        loop {
            tokio::select! {
                biased;
                done = &mut work => return Ok(done??),
                Some(end) = self.ended.recv() => {
                    self.end(end);
                    self.take_ends();
                    self.dispatch();
                }
            }
        }
    }
}

/// How far a process has followed the log; none when it never has.
async fn cursor(pool: &PgPool, process: &str) -> Result<Option<i64>, sqlx::Error> {
    sqlx::query_scalar(READ_CURSOR).bind(process).fetch_optional(pool).await
}
