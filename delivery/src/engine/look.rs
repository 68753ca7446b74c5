//! Looking into the database for what is due.

use std::collections::{HashMap, HashSet};

use chrono::{DateTime, TimeDelta, Utc};
use hub_domain::webhook::delivery::Ordering;
use uuid::Uuid;

use super::{Engine, EngineError, LANES_AT_ONCE, write::lazily};
use crate::{
    attempt::{ATTEMPTS, Outcome},
    expiry::{self, Paused},
    lane::Waiting,
    queue::{self, Room},
};

/// As long as an endpoint that may be sent something has rows, it is looked at again after so long at the latest.
const LOOK_INTERVAL_MAX: TimeDelta = TimeDelta::seconds(60);

/// The same for one that has not run low since it was given as much as it had room for.
const FULL_INTERVAL_MAX: TimeDelta = TimeDelta::seconds(1);

/// So often it is looked whether what waits for a webhook that is paused is too old.
const EXPIRY_INTERVAL: TimeDelta = TimeDelta::minutes(15);

impl Engine<'_> {
    /// Takes from the database what is due of the endpoints that are to be looked at; answers whether there are more of them.
    pub(super) async fn look(&mut self) -> Result<bool, EngineError> {
        let now = self.now();
        let (mut due, mut paused) = (Vec::new(), Vec::new());
        while due.len() + paused.len() < LANES_AT_ONCE
            && let Some(webhook_id) = self.looks.take(now)
        {
            // One that becomes active again is looked at then.
            let Some(lane) = self.lanes.get(&webhook_id).filter(|lane| lane.endpoint.listens()) else { continue };
            if lane.endpoint.paused() {
                let before = now - TimeDelta::hours(lane.delivery().retry.age_max_hours.into());
                paused.push(Paused { webhook_id, before, after: lane.young_up_to });
                continue;
            }
            match lane.health.closed_at(now) {
                Ok(()) => due.push(webhook_id),
                Err(until) => self.looks.plan(webhook_id, until),
            }
        }
        if !paused.is_empty() {
            self.expire(paused, now).await?;
        }
        if due.is_empty() {
            return Ok(self.looks.next().is_some_and(|at| at <= now));
        }
        // What has come of deliveries must be seen by what follows, so none ends meanwhile.
        self.flush().await?;
        let leased_until = self.leased_until(now);
        // Half of what is left for those that are looked at now, so that some is left for who comes next.
        let budget = self.budget();
        let (mut events, bytes) = (budget.events, budget.bytes / 2 / due.len());
        let rooms: Vec<Room> = due
            .iter()
            .filter_map(|webhook_id| {
                let lane = self.lanes.get(webhook_id)?;
                if lane.room() == 0 || lane.bytes_room() == 0 {
                    return None;
                }
                // Without room for its bytes none is taken.
                let room = if bytes == 0 { 0 } else { lane.room().min(events) };
                events -= room;
                let ordering = match lane.ordering() {
                    Ordering::Parallel => "parallel",
                    Ordering::PerAggregate => "per_aggregate",
                    Ordering::Strict => "strict",
                };
                Some(Room { webhook_id: *webhook_id, room, bytes: lane.bytes_room().min(bytes), ordering })
            })
            .collect();
        // Of the rows that the database has, so many are in memory.
        let mut in_memory: HashMap<Uuid, usize> = HashMap::new();
        for webhook_id in &due {
            if let Some(lane) = self.lanes.get_mut(webhook_id) {
                lane.note_releases();
                in_memory.insert(*webhook_id, lane.in_memory());
            }
        }
        let pool = self.given.pool.clone();
        let taken = async move {
            let mut transaction = pool.begin().await?;
            lazily(&mut transaction).await?;
            let claimed = queue::claim(&mut transaction, &rooms, now, leased_until).await?;
            let (full, others) = filled(&due, &rooms, &claimed);
            let standing = queue::standing(&mut transaction, &others, now).await?;
            transaction.commit().await?;
            Ok::<_, sqlx::Error>((claimed, full, standing))
        };
        let (claimed, full, standing) = self.meanwhile(taken).await?;
        for (webhook_id, waiting) in claimed {
            let Some(lane) = self.lanes.get_mut(&webhook_id) else { continue };
            if lane.was_released() {
                self.changes.release(webhook_id, waiting.event.position, now);
                continue;
            }
            lane.push(waiting);
            *in_memory.entry(webhook_id).or_default() += 1;
            self.list(webhook_id);
        }
        for webhook_id in full {
            // There is probably more, which is taken when there is room again. Where that takes long, retries that are due go first.
            if let Some(lane) = self.lanes.get_mut(&webhook_id) {
                lane.behind = true;
                self.looks.plan(webhook_id, now + FULL_INTERVAL_MAX);
            }
        }
        for standing in standing {
            // What was given back meanwhile is looked at again.
            let Some(lane) = self.lanes.get_mut(&standing.webhook_id).filter(|lane| !lane.was_released()) else {
                continue;
            };
            let elsewhere = standing.more_than(in_memory.get(&standing.webhook_id).copied().unwrap_or(0));
            // Without an order what waits for its next attempt is in nobody's way.
            lane.behind = if lane.ordering() == Ordering::Parallel { standing.overdue } else { elsewhere };
            // What there was no room for is taken when there is; what waits behind another one, when that is due. Rows are never forgotten.
            if standing.count > 0 {
                let latest = now + LOOK_INTERVAL_MAX;
                let next = standing.next.filter(|_| elsewhere).map_or(latest, |next| next.min(latest));
                self.looks.plan(standing.webhook_id, next);
            }
        }
        Ok(self.looks.next().is_some_and(|at| at <= now))
    }

    /// Gives up what has waited too long for webhooks that are paused, a slice of each.
    async fn expire(&mut self, paused: Vec<Paused>, now: DateTime<Utc>) -> Result<(), EngineError> {
        for Paused { webhook_id, .. } in &paused {
            self.looks.plan(*webhook_id, now + EXPIRY_INTERVAL);
            if let Some(lane) = self.lanes.get_mut(webhook_id) {
                lane.young_up_to = i64::MIN;
            }
        }
        let (pool, at) = (self.given.pool.clone(), self.written_next());
        let given_up = async move {
            let mut transaction = pool.begin().await?;
            lazily(&mut transaction).await?;
            let slices = expiry::give_up(&mut transaction, &paused, at).await?;
            transaction.commit().await?;
            Ok::<_, sqlx::Error>(slices)
        };
        let slices = self.meanwhile(given_up).await?;
        let count = slices.first().and_then(|slice| u64::try_from(slice.given_up).ok()).unwrap_or(0);
        metrics::counter!(ATTEMPTS, "outcome" => Outcome::GivenUp.name()).increment(count);
        for slice in slices.into_iter().filter(|slice| slice.more) {
            if let Some(lane) = self.lanes.get_mut(&slice.webhook_id) {
                lane.young_up_to = slice.last;
                self.looks.plan(slice.webhook_id, now);
            }
        }
        Ok(())
    }
}

/// Which of the endpoints got as many as they had room for, if any, and which did not.
fn filled(due: &[Uuid], rooms: &[Room], claimed: &[(Uuid, Waiting)]) -> (Vec<Uuid>, Vec<Uuid>) {
    let mut counts: HashMap<Uuid, usize> = HashMap::new();
    for (webhook_id, _) in claimed {
        *counts.entry(*webhook_id).or_default() += 1;
    }
    let full: HashSet<Uuid> = rooms
        .iter()
        .filter(|room| counts.get(&room.webhook_id).copied().unwrap_or(0) >= room.room)
        .map(|room| room.webhook_id)
        .collect();
    due.iter().partition(|webhook_id| full.contains(webhook_id))
}
