//! Analytics: events per day and type, and how monthly recurring revenue moved.
//!
//! Days are days of `occurred_at` in UTC. Tenants by status and tier, and instances by service, status and health, are counted from
//! the tables of those contexts.

use std::time::Duration;

use chrono::NaiveDate;
use cqrs_es::Aggregate;
use hub_domain::{
    money::Currency,
    subscription::{self, Movement, MrrChange, Subscription},
};
use hub_event_store::event::Recorded;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::model::{FoldError, ReadModel, of_aggregate};

/// The read model of events per day.
#[derive(Debug)]
pub struct EventCounts;

/// How many events of one type a tenant had on one day.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "EventCount")]
pub struct EventCountRow {
    pub tenant_id: Uuid,
    pub day: NaiveDate,
    pub event_type: String,
    pub count: i64,
}

/// One type on one day of one tenant.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct EventCountKey {
    pub tenant_id: Uuid,
    pub day: NaiveDate,
    pub event_type: String,
}

impl ReadModel for EventCounts {
    type Row = EventCountRow;
    type Key = EventCountKey;

    const NAME: &'static str = "event_counts";
    const TABLE: &'static str = "event_counts";
    const KEY: &'static [&'static str] = &["tenant_id", "day", "event_type"];
    const LINGER: Duration = Duration::from_millis(25);

    fn concerns(_event_type: &str) -> bool {
        true
    }

    fn key_of(row: &EventCountRow) -> EventCountKey {
        EventCountKey { tenant_id: row.tenant_id, day: row.day, event_type: row.event_type.clone() }
    }

    fn keys(event: &Recorded) -> Result<Vec<EventCountKey>, FoldError> {
        Ok(vec![EventCountKey {
            tenant_id: event.tenant_id,
            day: event.occurred_at.date_naive(),
            event_type: event.event_type.clone(),
        }])
    }

    fn fold(row: Option<EventCountRow>, key: &EventCountKey, _: &Recorded) -> Result<Option<EventCountRow>, FoldError> {
        let count = row.map_or(0, |row| row.count) + 1;
        Ok(Some(EventCountRow { tenant_id: key.tenant_id, day: key.day, event_type: key.event_type.clone(), count }))
    }
}

/// The read model of revenue.
#[derive(Debug)]
pub struct MrrMovements;

/// How a tenant's monthly recurring revenue in one currency moved on one day. Minor units; none is negative but `net_minor`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "MrrMovement")]
pub struct MrrMovementRow {
    pub tenant_id: Uuid,
    pub currency: Currency,
    pub day: NaiveDate,
    /// Gained by subscriptions that became active for the first time.
    pub new_minor: i64,
    /// Gained by more seats or a dearer plan.
    pub expansion_minor: i64,
    /// Lost by fewer seats or a cheaper plan.
    pub contraction_minor: i64,
    /// Lost by pauses and cancellations.
    pub churn_minor: i64,
    /// Gained by the end of pauses.
    pub reactivation_minor: i64,
    /// Gains less losses; the sum over all days is the revenue itself.
    pub net_minor: i64,
}

/// One currency on one day of one tenant.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct MrrMovementKey {
    pub tenant_id: Uuid,
    pub currency: String,
    pub day: NaiveDate,
}

impl ReadModel for MrrMovements {
    type Row = MrrMovementRow;
    type Key = MrrMovementKey;

    const NAME: &'static str = "mrr_movements";
    const TABLE: &'static str = "mrr_movements";
    const KEY: &'static [&'static str] = &["tenant_id", "currency", "day"];

    fn concerns(event_type: &str) -> bool {
        of_aggregate(event_type, Subscription::TYPE)
    }

    fn key_of(row: &MrrMovementRow) -> MrrMovementKey {
        MrrMovementKey { tenant_id: row.tenant_id, currency: row.currency.code().to_owned(), day: row.day }
    }

    fn keys(event: &Recorded) -> Result<Vec<MrrMovementKey>, FoldError> {
        let change = mrr_change(event)?.filter(|change| change.before_minor != change.after_minor);
        Ok(change
            .map(|change| MrrMovementKey {
                tenant_id: event.tenant_id,
                currency: change.currency.code().to_owned(),
                day: event.occurred_at.date_naive(),
            })
            .into_iter()
            .collect())
    }

    fn fold(
        row: Option<MrrMovementRow>,
        key: &MrrMovementKey,
        event: &Recorded,
    ) -> Result<Option<MrrMovementRow>, FoldError> {
        let Some(change) = mrr_change(event)? else { return Ok(row) };
        let mut row = row.unwrap_or(MrrMovementRow {
            tenant_id: key.tenant_id,
            currency: change.currency,
            day: key.day,
            new_minor: 0,
            expansion_minor: 0,
            contraction_minor: 0,
            churn_minor: 0,
            reactivation_minor: 0,
            net_minor: 0,
        });
        let moved = change.after_minor - change.before_minor;
        let (bucket, amount) = match change.movement {
            Movement::New => (&mut row.new_minor, moved),
            Movement::Expansion => (&mut row.expansion_minor, moved),
            Movement::Contraction => (&mut row.contraction_minor, -moved),
            Movement::Churn => (&mut row.churn_minor, -moved),
            Movement::Reactivation => (&mut row.reactivation_minor, moved),
            Movement::None => return Ok(Some(row)),
        };
        *bucket = sum(*bucket, amount)?;
        row.net_minor = sum(row.net_minor, moved)?;
        Ok(Some(row))
    }
}

fn sum(one: i64, other: i64) -> Result<i64, FoldError> {
    one.checked_add(other).ok_or_else(|| FoldError::OutOfRange(format!("{one} + {other} minor units leave 64 bits")))
}

/// How the event changed the revenue; `None` for events that never do.
fn mrr_change(event: &Recorded) -> Result<Option<MrrChange>, FoldError> {
    use subscription::Event;
    Ok(match event.decode()? {
        Event::Created { mrr, .. }
        | Event::Activated { mrr, .. }
        | Event::PlanChanged { mrr, .. }
        | Event::SeatsChanged { mrr, .. }
        | Event::Paused { mrr, .. }
        | Event::Resumed { mrr, .. }
        | Event::Cancelled { mrr, .. } => Some(mrr),
        Event::TrialEnded { .. }
        | Event::PeriodOpened { .. }
        | Event::PlanChangeScheduled { .. }
        | Event::PlanChangeWithdrawn { .. }
        | Event::MarkedPastDue {}
        | Event::MarkedPaid {}
        | Event::CancellationScheduled { .. }
        | Event::CancellationUndone { .. } => None,
    })
}

#[cfg(test)]
mod tests {
    use hub_domain::{subscription::Subscription, tenant};
    use uuid::Uuid;

    use super::{EventCounts, MrrMovements};
    use crate::testing::{AGGREGATE, History, TENANT, rows, subscription as given};

    #[test]
    fn events_are_counted_by_tenant_day_and_type() {
        let mut history = History::default();
        // Noon and an hour more each time: the last one falls on the next day.
        for _ in 0..13 {
            history.tenant(tenant::Event::Activated {});
        }
        history.push::<Subscription>(Uuid::from_u128(5), AGGREGATE, &given::created(0));
        let rows = rows::<EventCounts>(&history).unwrap();
        let counts: Vec<_> = rows.iter().map(|row| (row.tenant_id, row.day.to_string(), row.count)).collect();
        assert_eq!(
            counts,
            [
                (Uuid::from_u128(5), "2025-03-02".to_owned(), 1),
                (TENANT, "2025-03-01".to_owned(), 12),
                (TENANT, "2025-03-02".to_owned(), 1),
            ]
        );
        assert_eq!(rows[1].event_type, "tenant.activated");
    }

    #[test]
    fn each_movement_has_its_place_and_the_net_is_their_sum() {
        let mut history = History::default();
        history.subscription(given::created(0));
        history.subscription(given::activated(3_000));
        history.subscription(given::plan_changed("mail-team", 3_000, 4_500));
        history.subscription(given::seats_changed(2, 4_500, 3_500));
        history.subscription(given::paused(3_500));
        history.subscription(given::resumed(3_500));
        let row = rows::<MrrMovements>(&history).unwrap().remove(0);
        assert_eq!((row.new_minor, row.expansion_minor, row.contraction_minor), (3_000, 1_500, 1_000));
        assert_eq!((row.churn_minor, row.reactivation_minor), (3_500, 3_500));
        assert_eq!(row.net_minor, 3_500);
    }

    #[test]
    fn the_sum_of_all_movements_of_a_cancelled_subscription_is_nothing() {
        let mut history = History::default();
        history.subscription(given::created(0));
        history.subscription(given::activated(3_000));
        history.subscription(given::cancelled(3_000));
        let rows = rows::<MrrMovements>(&history).unwrap();
        assert_eq!(rows.iter().map(|row| row.net_minor).sum::<i64>(), 0);
        assert_eq!(rows[0].churn_minor, 3_000);
    }

    #[test]
    fn what_moves_nothing_makes_no_row() {
        let mut history = History::default();
        history.subscription(given::created(14));
        history.subscription(given::period_opened(1, 0));
        assert!(rows::<MrrMovements>(&history).unwrap().is_empty());
    }
}
