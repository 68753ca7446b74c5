//! Looking into the database for what is due.

use std::collections::{BTreeSet, HashMap};

use chrono::TimeDelta;
use hub_domain::webhook::delivery::Ordering;
use uuid::Uuid;

use super::{Engine, EngineError, LANES_AT_ONCE, lazily};
use crate::{
    lane::Lane,
    queue::{self, Room},
};

impl Engine<'_> {
    /// Takes from the database what is due of the endpoints that are to be looked at; answers whether there are more of them.
    pub(super) async fn look(&mut self) -> Result<bool, EngineError> {
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
        // What has come of deliveries must be seen by what follows, so none ends meanwhile.
        if let Some(unwritten) = self.unwritten() {
            self.parts = unwritten.write(self.given).await?;
        }
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
        let webhooks: Vec<Uuid> = due.into_iter().collect();
        // Of the rows that the database has, so many are in memory.
        let mut in_memory: HashMap<Uuid, usize> = HashMap::new();
        for webhook_id in &webhooks {
            if let Some(lane) = self.lanes.get_mut(webhook_id) {
                lane.undisturbed();
                in_memory.insert(*webhook_id, lane.in_memory());
            }
        }
        let pool = &self.given.pool;
        let taken = async {
            let mut transaction = pool.begin().await?;
            lazily(&mut transaction).await?;
            let claimed = queue::claim(&mut transaction, &rooms, now, leased_until).await?;
            let standing = queue::standing(&mut transaction, &webhooks, now).await?;
            transaction.commit().await?;
            Ok::<_, sqlx::Error>((claimed, standing))
        };
        let (claimed, standing) = self.meanwhile(taken).await?;
        for (webhook_id, waiting) in claimed {
            let Some(lane) = self.lanes.get_mut(&webhook_id) else { continue };
            if lane.disturbed() {
                self.changes.release(webhook_id, waiting.event.position, now);
                continue;
            }
            lane.push(waiting);
            *in_memory.entry(webhook_id).or_default() += 1;
            self.list(webhook_id);
        }
        for standing in standing {
            let Some(lane) = self.lanes.get_mut(&standing.webhook_id).filter(|lane| !lane.disturbed()) else {
                continue;
            };
            let in_memory = in_memory.get(&standing.webhook_id).copied().unwrap_or(0);
            let elsewhere = usize::try_from(standing.count).unwrap_or(0) > in_memory;
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
