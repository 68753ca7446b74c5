//! One look for events to hand out: in one transaction, first what was handed out before and is free again, then what the log has after the cursor.

use std::collections::{BTreeMap, HashSet};

use chrono::{DateTime, TimeDelta, Utc};
use futures::TryStreamExt as _;
use hub_cloudevents::{Event, columns};
use hub_domain::event_subscription::{Mode, TAKEN};
use hub_filter::{Filter, TypeHint};
use hub_http::Problem;
use serde_json::json;
use sqlx::FromRow as _;
use uuid::Uuid;

use crate::{
    HANDED_OUT, OUTSTANDING_MAX,
    cursor::Locked,
    failure::failed,
    messages::{self, Blocked},
    state::Consumers,
    subscription::{Subscription, refusal},
};

/// The events at some positions.
pub(crate) const EVENTS: &str = concat!(
    "SELECT ",
    columns!(),
    " FROM events WHERE tenant_id = $1 AND tenant_position = ANY($2) ORDER BY tenant_position"
);

/// A page of the tenant's log within a window of its positions; without those that no filter with these types can want.
pub(crate) const SCAN: &str = concat!(
    "SELECT ",
    columns!(),
    " FROM events WHERE tenant_id = $1 AND tenant_position > $2 AND tenant_position <= $3 \
     AND ($4::text[] IS NULL OR event_type = ANY($4) OR EXISTS (SELECT FROM unnest($5::text[]) AS p(start) WHERE starts_with(event_type, p.start))) \
     ORDER BY tenant_position LIMIT $6"
);

/// One window of the log is so many positions wide, so that a rare type cannot make it read the whole log.
const WINDOW_SIZE: i64 = 5_000;

/// One statement looks at so many events.
const PAGE_SIZE: i64 = 500;

/// With so many bytes of data no further event is handed out in the same answer.
const HANDED_BYTES_MAX: usize = 4 << 20;

/// So many pages are looked at while the cursor is locked.
const PAGE_COUNT_MAX: usize = 4;

/// What a consumer asks for.
#[derive(Debug, Clone)]
pub(crate) struct Ask {
    /// So many events at most.
    pub(crate) max: usize,
    /// Who asks.
    pub(crate) consumer: String,
    /// How much longer he waits at most if there is nothing; he has an exclusive subscription meanwhile.
    pub(crate) waits: TimeDelta,
}

/// An event that is handed out.
#[derive(Debug, Clone)]
pub(crate) struct Handed {
    pub(crate) event: Event,
    /// So often it was handed out, this time included.
    pub(crate) deliveries: i32,
}

/// What one look came to.
#[derive(Debug, Clone)]
pub(crate) struct Round {
    pub(crate) handed: Vec<Handed>,
    pub(crate) lease_until: DateTime<Utc>,
    pub(crate) lease: i64,
    pub(crate) epoch: i64,
    /// Every event up to here was looked at.
    pub(crate) position: i64,
    /// The end of the tenant's log at the time.
    pub(crate) head: i64,
    /// When the next message becomes free by itself.
    pub(crate) free_at: Option<DateTime<Utc>>,
    /// Whether the look ended before the end of the log although there was room for more.
    pub(crate) more: bool,
}

impl Consumers {
    /// Looks once; what is handed out is committed when this returns.
    pub(crate) async fn look(&self, subscription: &Subscription, ask: &Ask) -> Result<Round, Problem> {
        let mut locked = self.lock(subscription).await.map_err(failed)?;
        // Not before: others may have been waited for, and leases are not to be over when they begin.
        let now = (self.clock)();
        if locked.hold(ask, now)? {
            locked.fence(now).await.map_err(failed)?;
        }
        let round = locked.hand_out(ask, now).await.map_err(failed)?;
        locked.commit().await.map_err(failed)?;
        metrics::counter!(HANDED_OUT).increment(round.handed.len() as u64);
        Ok(round)
    }
}

impl Locked<'_> {
    /// Takes an exclusive subscription, or keeps it; refused while another consumer has it. Answers whether another one had it before.
    fn hold(&mut self, ask: &Ask, now: DateTime<Utc>) -> Result<bool, Problem> {
        let handling = &self.subscription.definition.handling;
        let cursor = &mut self.cursor;
        if handling.mode == Mode::Competing {
            (cursor.holder, cursor.holder_until) = (None, None);
            return Ok(false);
        }
        let held_until = cursor.holder_until.filter(|until| *until > now);
        if let (Some(holder), Some(until)) = (&cursor.holder, held_until)
            && *holder != ask.consumer
        {
            let detail = format!("`{holder}` has the event subscription until {until}");
            return Err(refusal(TAKEN, detail, json!({ "consumer": holder, "until": until })));
        }
        let until = now + handling.lease() + ask.waits;
        cursor.holder_until = Some(held_until.map_or(until, |held| held.max(until)));
        let before = cursor.holder.replace(ask.consumer.clone());
        Ok(before.is_some_and(|before| before != ask.consumer))
    }

    /// Leases that are over count no more, so that whoever had the subscription once cannot extend one behind the back of who has it now.
    async fn fence(&mut self, now: DateTime<Utc>) -> Result<(), sqlx::Error> {
        let query = sqlx::query(messages::FENCE).bind(self.subscription.tenant.id()).bind(self.subscription.id);
        query.bind(now).execute(&mut *self.transaction).await.map(|_| ())
    }

    /// Whether all events go one after the other.
    fn exclusive(&self) -> bool {
        self.subscription.definition.handling.mode == Mode::Exclusive
    }

    async fn hand_out(&mut self, ask: &Ask, now: DateTime<Utc>) -> Result<Round, sqlx::Error> {
        let head = self.head().await?;
        self.settle_exhausted(now).await?;
        let blocked = self.blocked(now).await?;
        let lease = self.cursor.lease + 1;
        let lease_until = now + self.subscription.definition.handling.lease();
        let mut room = Room { count: ask.max, bytes: HANDED_BYTES_MAX };
        let mut handed = self.again(ask, &mut room, &blocked, now, lease, lease_until).await?;
        let mut more = false;
        let exclusive = self.exclusive();
        if room.is_left() && (!exclusive || blocked.is_empty()) {
            // Whatever was ready is among what is handed out, so only what is not ready holds up what comes after it.
            let mut scan = Scan {
                blocked: blocked.iter().map(|one| (one.aggregate_type.clone(), one.aggregate_id)).collect(),
                room,
                outstanding_room: usize::try_from(OUTSTANDING_MAX - self.outstanding().await?).unwrap_or(0),
                position: self.cursor.position,
                found: Found::default(),
                handed: Vec::new(),
            };
            self.scan(&mut scan, head).await?;
            self.keep_found(&scan.found, ask, now, lease, lease_until).await?;
            more = scan.has_room() && scan.position < head;
            self.cursor.position = scan.position;
            handed.extend(scan.handed.into_iter().map(|event| Handed { event, deliveries: 1 }));
        }
        if !handed.is_empty() {
            self.cursor.lease = lease;
        }
        Ok(Round {
            handed,
            lease_until,
            lease,
            epoch: self.cursor.epoch,
            position: self.cursor.position,
            head,
            free_at: blocked.iter().map(|one| one.free_at).min(),
            more,
        })
    }

    /// Hands out what was looked at before and may be handed out now.
    async fn again(
        &mut self,
        ask: &Ask,
        room: &mut Room,
        blocked: &[Blocked],
        now: DateTime<Utc>,
        lease: i64,
        lease_until: DateTime<Utc>,
    ) -> Result<Vec<Handed>, sqlx::Error> {
        let (tenant_id, id) = (self.subscription.tenant.id(), self.subscription.id);
        let ready: Vec<i64> = sqlx::query_scalar(messages::READY)
            .bind(tenant_id)
            .bind(id)
            .bind(now)
            .bind(blocked.iter().map(|one| one.aggregate_type.as_str()).collect::<Vec<_>>())
            .bind(blocked.iter().map(|one| one.aggregate_id).collect::<Vec<_>>())
            .bind(blocked.iter().map(|one| one.position).collect::<Vec<_>>())
            .bind(blocked.iter().map(|one| one.position).min().filter(|_| self.exclusive()))
            .bind(i64::try_from(ask.max).unwrap_or(OUTSTANDING_MAX))
            .fetch_all(&mut *self.transaction)
            .await?;
        if ready.is_empty() {
            return Ok(Vec::new());
        }
        let mut events: Vec<Event> = Vec::new();
        let mut rows = sqlx::query(EVENTS).bind(tenant_id).bind(&ready).fetch(&mut *self.transaction);
        while room.is_left()
            && let Some(row) = rows.try_next().await?
        {
            let event = Event::from_row(&row)?;
            room.take(&event);
            events.push(event);
        }
        drop(rows);
        let positions: Vec<i64> = events.iter().map(|event| event.position).collect();
        let leased: Vec<(i64, i32)> = sqlx::query_as(messages::LEASE)
            .bind(tenant_id)
            .bind(id)
            .bind(&positions)
            .bind(lease)
            .bind(lease_until)
            .bind(&ask.consumer)
            .fetch_all(&mut *self.transaction)
            .await?;
        let deliveries: BTreeMap<i64, i32> = leased.into_iter().collect();
        let count_of = |event: &Event| deliveries.get(&event.position).copied().unwrap_or(1);
        Ok(events.into_iter().map(|event| Handed { deliveries: count_of(&event), event }).collect())
    }

    /// Looks at the log after the cursor, page by page.
    async fn scan(&mut self, scan: &mut Scan, head: i64) -> Result<(), sqlx::Error> {
        let filter = &self.subscription.definition.filter;
        let (exact, prefixes) = hinted(filter);
        for _ in 0..PAGE_COUNT_MAX {
            if !scan.has_room() || scan.position >= head {
                return Ok(());
            }
            let until = head.min(scan.position + WINDOW_SIZE);
            let mut rows = sqlx::query(SCAN)
                .bind(self.subscription.tenant.id())
                .bind(scan.position)
                .bind(until)
                .bind(&exact)
                .bind(&prefixes)
                .bind(PAGE_SIZE)
                .fetch(&mut *self.transaction);
            let mut looked = 0;
            while let Some(row) = rows.try_next().await? {
                if !scan.has_room() {
                    return Ok(());
                }
                looked += 1;
                let event = Event::from_row(&row)?;
                let position = event.position;
                if filter.matches(&event) {
                    scan.take(event);
                }
                scan.position = position;
            }
            if looked < PAGE_SIZE {
                scan.position = until;
            }
        }
        Ok(())
    }

    /// Writes down what a scan has found.
    async fn keep_found(
        &mut self,
        found: &Found,
        ask: &Ask,
        now: DateTime<Utc>,
        lease: i64,
        lease_until: DateTime<Utc>,
    ) -> Result<(), sqlx::Error> {
        if found.positions.is_empty() {
            return Ok(());
        }
        sqlx::query(messages::INSERT)
            .bind(self.subscription.tenant.id())
            .bind(self.subscription.id)
            .bind(&found.positions)
            .bind(&found.aggregate_types)
            .bind(&found.aggregate_ids)
            .bind(&found.leased)
            .bind(lease)
            .bind(lease_until)
            .bind(now)
            .bind(&ask.consumer)
            .execute(&mut *self.transaction)
            .await
            .map(|_| ())
    }
}

/// The types that a filter can want at all: named ones, and beginnings of names; `None` for all.
fn hinted(filter: &Filter) -> (Option<Vec<String>>, Vec<String>) {
    let Some(hints) = filter.types_hint() else { return (None, Vec::new()) };
    let (mut exact, mut prefixes) = (Vec::new(), Vec::new());
    for hint in hints {
        match hint {
            TypeHint::Exact(name) => exact.push(name),
            TypeHint::Prefix(start) => prefixes.push(start),
        }
    }
    (Some(exact), prefixes)
}

/// What one answer can take in.
#[derive(Debug, Clone, Copy)]
struct Room {
    count: usize,
    bytes: usize,
}

impl Room {
    fn is_left(self) -> bool {
        self.count > 0 && self.bytes > 0
    }

    /// The last one may be larger than what is left.
    fn take(&mut self, event: &Event) {
        self.count = self.count.saturating_sub(1);
        self.bytes = self.bytes.saturating_sub(event.data.get().len());
    }
}

/// Going along the log.
struct Scan {
    /// Aggregates whose events have to wait.
    blocked: HashSet<(String, Uuid)>,
    /// So much more may be handed out.
    room: Room,
    /// So many more messages may there be.
    outstanding_room: usize,
    /// Every event up to here was looked at.
    position: i64,
    found: Found,
    handed: Vec<Event>,
}

/// The new messages, as a statement takes them.
#[derive(Default)]
struct Found {
    positions: Vec<i64>,
    aggregate_types: Vec<String>,
    aggregate_ids: Vec<Uuid>,
    leased: Vec<bool>,
}

impl Scan {
    fn has_room(&self) -> bool {
        self.room.is_left() && self.outstanding_room > 0
    }

    /// Takes an event that is wanted: hands it out, or lets it wait for those before it.
    fn take(&mut self, event: Event) {
        let aggregate = (event.aggregate_type.clone(), event.aggregate_id);
        let leased = !self.blocked.contains(&aggregate);
        self.outstanding_room -= 1;
        self.found.positions.push(event.position);
        self.found.aggregate_types.push(aggregate.0);
        self.found.aggregate_ids.push(aggregate.1);
        self.found.leased.push(leased);
        if leased {
            self.room.take(&event);
            self.handed.push(event);
        }
    }
}
