//! Billing: the account statement of a tenant, one charge for each opened period.
//!
//! A statement with a hole is worse than a late one, so this projection stops at an event that it cannot take in.

use chrono::{DateTime, Utc};
use hub_domain::{
    money::Currency,
    subscription::{Event, Interval, PeriodKind},
    text::{Key, Name},
};
use hub_event_store::event::Recorded;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::model::{FoldError, OnPoison, ReadModel, to_micros};

/// The only event that charges.
const PERIOD_OPENED: &str = "subscription.period_opened";

/// The read model.
#[derive(Debug)]
pub struct Charges;

/// What one period costs; charged in full as the period opens.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "Charge")]
pub struct ChargeRow {
    pub tenant_id: Uuid,
    pub subscription_id: Uuid,
    /// The period's number within its subscription, from 1.
    pub period_number: u32,
    /// A period of the kind `pause` costs nothing.
    pub kind: PeriodKind,
    pub plan_code: Key,
    pub plan_name: Name,
    pub interval: Interval,
    pub seats: u32,
    /// Included.
    pub starts_at: DateTime<Utc>,
    /// Excluded.
    pub ends_at: DateTime<Utc>,
    /// The price of a seat. Minor units of the currency.
    pub price_minor: i64,
    /// Minor units of the currency.
    pub amount_minor: i64,
    pub currency: Currency,
    /// When the period was opened.
    pub opened_at: DateTime<Utc>,
}

/// One period of one subscription.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ChargeKey {
    pub tenant_id: Uuid,
    pub subscription_id: Uuid,
    pub period_number: u32,
}

impl ReadModel for Charges {
    type Row = ChargeRow;
    type Key = ChargeKey;

    const NAME: &'static str = "charges";
    const TABLE: &'static str = "charges";
    const KEY: &'static [&'static str] = &["tenant_id", "subscription_id", "period_number"];
    const ON_POISON: OnPoison = OnPoison::Stop;

    fn concerns(event_type: &str) -> bool {
        event_type == PERIOD_OPENED
    }

    fn key_of(row: &ChargeRow) -> ChargeKey {
        ChargeKey { tenant_id: row.tenant_id, subscription_id: row.subscription_id, period_number: row.period_number }
    }

    fn keys(event: &Recorded) -> Result<Vec<ChargeKey>, FoldError> {
        let Event::PeriodOpened { number, .. } = event.decode()? else { return Ok(Vec::new()) };
        Ok(vec![ChargeKey { tenant_id: event.tenant_id, subscription_id: event.aggregate_id, period_number: number }])
    }

    fn fold(row: Option<ChargeRow>, key: &ChargeKey, event: &Recorded) -> Result<Option<ChargeRow>, FoldError> {
        if row.is_some() {
            return Err(FoldError::row_exists(event));
        }
        let Event::PeriodOpened {
            number: _,
            kind,
            starts_at,
            ends_at,
            amount,
            seats,
            plan_code,
            plan_name,
            price,
            interval,
            next_due_at: _,
        } = event.decode()?
        else {
            return Ok(None);
        };
        Ok(Some(ChargeRow {
            tenant_id: key.tenant_id,
            subscription_id: key.subscription_id,
            period_number: key.period_number,
            kind,
            plan_code,
            plan_name,
            interval,
            seats,
            starts_at: to_micros(starts_at),
            ends_at: to_micros(ends_at),
            price_minor: price.minor,
            amount_minor: amount.minor,
            currency: amount.currency,
            opened_at: event.occurred_at,
        }))
    }
}

#[cfg(test)]
mod tests {
    use cqrs_es::DomainEvent;

    use super::{Charges, PERIOD_OPENED};
    use crate::testing::{History, rows, subscription as given};

    #[test]
    fn each_opened_period_is_one_charge_also_a_free_one() {
        let mut history = History::default();
        history.subscription(given::created(0));
        history.subscription(given::activated(3_000));
        history.subscription(given::period_opened(1, 3_000));
        history.subscription(given::paused(3_000));
        history.subscription(given::period_opened(2, 0));
        let rows = rows::<Charges>(&history).unwrap();
        let charges: Vec<_> = rows.iter().map(|row| (row.period_number, row.amount_minor)).collect();
        assert_eq!(charges, [(1, 3_000), (2, 0)]);
        assert_eq!((rows[0].plan_code.as_str(), rows[0].seats, rows[0].currency.code()), ("mail-pro", 3, "EUR"));
        assert_eq!(rows[0].opened_at, history.events[2].occurred_at);
    }

    #[test]
    fn the_event_that_charges_is_known_by_its_stored_name() {
        assert_eq!(given::period_opened(1, 0).event_type(), PERIOD_OPENED);
    }

    #[test]
    fn a_period_opened_twice_is_never_charged_twice() {
        let mut history = History::default();
        history.subscription(given::created(0));
        history.subscription(given::period_opened(1, 3_000));
        history.subscription(given::period_opened(1, 3_000));
        assert!(rows::<Charges>(&history).is_err());
    }
}
