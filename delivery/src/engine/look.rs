//! Looking into the database for what is due.

use std::collections::HashMap;

use chrono::TimeDelta;
use hub_domain::webhook::delivery::Ordering;
use uuid::Uuid;

use super::{Engine, EngineError, LANES_AT_ONCE, write::lazily};
use crate::queue::{self, Room};

/// As long as an endpoint that may be sent something has rows, it is looked at again after so long at the latest.
const LOOK_INTERVAL_MAX: TimeDelta = TimeDelta::seconds(60);

impl Engine<'_> {
    /// Takes from the database what is due of the endpoints that are to be looked at; answers whether there are more of them.
    pub(super) async fn look(&mut self) -> Result<bool, EngineError> {
        let now = self.now();
        let mut due = Vec::new();
        while due.len() < LANES_AT_ONCE
            && let Some(webhook_id) = self.looks.take(now)
        {
            // One that becomes active again is looked at then.
            let Some(lane) = self.lanes.get(&webhook_id).filter(|lane| lane.endpoint.active()) else { continue };
            match lane.health.closed_at(now) {
                Ok(()) => due.push(webhook_id),
                Err(until) => self.looks.plan(webhook_id, until),
            }
        }
        if due.is_empty() {
            return Ok(false);
        }
        // What has come of deliveries must be seen by what follows, so none ends meanwhile.
        self.write_all().await?;
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
        // Of the rows that the database has, so many are in memory.
        let mut in_memory: HashMap<Uuid, usize> = HashMap::new();
        for webhook_id in &due {
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
            let standing = queue::standing(&mut transaction, &due, now).await?;
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
            // What was given back meanwhile is looked at again.
            let Some(lane) = self.lanes.get_mut(&standing.webhook_id).filter(|lane| !lane.disturbed()) else {
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
}
