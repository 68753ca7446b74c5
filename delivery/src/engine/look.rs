//! Looking into the database for what is due.

use chrono::TimeDelta;
use hub_domain::webhook::delivery::Ordering;

use super::{Engine, EngineError, LANES_AT_ONCE, lazily};
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
        let standing = queue::standing(&mut transaction, &due, now).await?;
        transaction.commit().await?;
        for standing in standing {
            let Some(lane) = self.lanes.get_mut(&standing.webhook_id) else { continue };
            let elsewhere = standing.more_than(lane.in_memory());
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
