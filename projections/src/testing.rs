//! Given events, then rows: folding a history in memory, as a batch does it, without a database.

use std::{collections::BTreeSet, sync::Arc};

use chrono::{DateTime, TimeDelta, Utc};
use cqrs_es::{Aggregate, DomainEvent};
use hub_domain::{
    role::Role, service_instance::ServiceInstance, subscription::Subscription, tenant::Tenant, webhook::Webhook,
};
use hub_event_store::event::{Metadata, Recorded};
use serde::Serialize;
use serde_json::value::{RawValue, to_raw_value};
use uuid::Uuid;

use crate::{keyed::Batch, model::ReadModel, projection::ApplyError};

/// The tenant of a history, unless another is named.
pub(crate) const TENANT: Uuid = Uuid::from_u128(0x7e);

/// The aggregate of a history, unless another is named.
pub(crate) const AGGREGATE: Uuid = Uuid::from_u128(0xa9);

/// When the first event happens; each further one comes an hour later.
pub(crate) fn start() -> DateTime<Utc> {
    "2025-03-01T12:00:00Z".parse().unwrap()
}

/// Events as they would stand in the log.
#[derive(Default)]
pub(crate) struct History {
    pub(crate) events: Vec<Arc<Recorded>>,
}

impl History {
    pub(crate) fn tenant(&mut self, event: <Tenant as Aggregate>::Event) {
        self.push::<Tenant>(TENANT, TENANT, &event);
    }

    pub(crate) fn subscription(&mut self, event: <Subscription as Aggregate>::Event) {
        self.push::<Subscription>(TENANT, AGGREGATE, &event);
    }

    pub(crate) fn role(&mut self, event: <Role as Aggregate>::Event) {
        self.push::<Role>(TENANT, AGGREGATE, &event);
    }

    pub(crate) fn service_instance(&mut self, event: <ServiceInstance as Aggregate>::Event) {
        self.push::<ServiceInstance>(TENANT, AGGREGATE, &event);
    }

    pub(crate) fn webhook(&mut self, event: <Webhook as Aggregate>::Event) {
        self.push::<Webhook>(TENANT, AGGREGATE, &event);
    }

    pub(crate) fn push<A: Aggregate>(&mut self, tenant_id: Uuid, aggregate_id: Uuid, event: &A::Event) {
        let data = serde_json::to_value(event).unwrap()["data"].clone();
        self.push_raw(tenant_id, A::TYPE, aggregate_id, &event.event_type(), to_raw_value(&data).unwrap());
    }

    pub(crate) fn push_raw(
        &mut self,
        tenant_id: Uuid,
        aggregate_type: &str,
        aggregate_id: Uuid,
        event_type: &str,
        payload: Box<RawValue>,
    ) {
        let position = self.events.len() + 1;
        let same_stream = self.events.iter().filter(|event| {
            event.aggregate_type == aggregate_type && event.aggregate_id == aggregate_id && event.tenant_id == tenant_id
        });
        let metadata = Metadata {
            actor: "user:ada".to_owned(),
            command_id: Uuid::from_u128(0xc0),
            correlation_id: Uuid::from_u128(0xc1),
            causation_id: None,
            traceparent: None,
        };
        self.events.push(Arc::new(Recorded {
            position: position as i64,
            tenant_position: self.events.iter().filter(|event| event.tenant_id == tenant_id).count() as i64 + 1,
            event_id: Uuid::from_u128(position as u128),
            tenant_id,
            aggregate_type: aggregate_type.to_owned(),
            aggregate_id,
            sequence: same_stream.count() as i64 + 1,
            event_type: event_type.to_owned(),
            event_version: 1,
            occurred_at: start() + TimeDelta::hours(position as i64 - 1),
            payload,
            metadata: to_raw_value(&metadata).unwrap(),
            leaf_hash: Vec::new(),
        }));
    }
}

/// The rows after the history, in the order of their keys.
pub(crate) fn rows<M: ReadModel>(history: &History) -> Result<Vec<M::Row>, ApplyError> {
    let events: Vec<_> = history.events.iter().filter(|event| M::concerns(&event.event_type)).cloned().collect();
    let mut batch = Batch::<M>::collect(&events)?;
    batch.fold(&events)?;
    let mut rows: Vec<_> = batch.rows.into_iter().filter_map(|(key, row)| Some((key, row.after?))).collect();
    rows.sort_by(|(one, _), (other, _)| one.cmp(other));
    for (key, row) in &rows {
        assert_eq!(*key, M::key_of(row), "a row bears the key it is kept under");
        assert_eq!(fields(key), M::KEY.iter().map(|column| (*column).to_owned()).collect(), "the key has its columns");
        let json = serde_json::to_value(row).unwrap();
        assert_eq!(*row, serde_json::from_value(json).unwrap(), "a row comes out of JSON as it went in");
    }
    Ok(rows.into_iter().map(|(_, row)| row).collect())
}

fn fields(key: &impl Serialize) -> BTreeSet<String> {
    serde_json::to_value(key).unwrap().as_object().unwrap().keys().cloned().collect()
}

/// Events of a subscription with three seats at ten euros a month.
pub(crate) mod subscription {
    use hub_domain::{
        money::Money,
        subscription::{Event, Interval, Movement, MrrChange, PeriodKind, Plan, StageName},
    };

    use super::start;

    fn money(minor: i64) -> Money {
        Money::new(minor, "EUR".parse().unwrap())
    }

    fn mrr(before_minor: i64, after_minor: i64, movement: Movement) -> MrrChange {
        let movement = if before_minor == after_minor { Movement::None } else { movement };
        MrrChange { before_minor, after_minor, currency: "EUR".parse().unwrap(), movement }
    }

    pub(crate) fn plan(code: &str, price_minor: i64) -> Plan {
        Plan {
            code: code.parse().unwrap(),
            name: "Mail".parse().unwrap(),
            tier: "professional".parse().unwrap(),
            price: money(price_minor),
            interval: Interval::Month,
        }
    }

    pub(crate) fn created(trial_days: u32) -> Event {
        Event::Created {
            plan: plan("mail-pro", 1_000),
            seats: 3,
            trial_days,
            starts_at: start(),
            trial_ends_at: None,
            recurring: money(3_000),
            mrr: mrr(0, 0, Movement::None),
            next_due_at: Some(start()),
        }
    }

    pub(crate) fn activated(mrr_minor: i64) -> Event {
        let mrr = mrr(0, mrr_minor, Movement::New);
        Event::Activated { anchor_at: start(), recurring: money(mrr_minor), mrr, next_due_at: Some(start()) }
    }

    pub(crate) fn period_opened(number: u32, amount_minor: i64) -> Event {
        Event::PeriodOpened {
            number,
            kind: if amount_minor == 0 { PeriodKind::Pause } else { PeriodKind::Service },
            starts_at: start(),
            ends_at: start() + chrono::TimeDelta::days(31),
            amount: money(amount_minor),
            seats: 3,
            plan_code: "mail-pro".parse().unwrap(),
            plan_name: "Mail".parse().unwrap(),
            price: money(1_000),
            interval: Interval::Month,
            next_due_at: Some(start() + chrono::TimeDelta::days(31)),
        }
    }

    pub(crate) fn plan_changed(code: &str, before_minor: i64, after_minor: i64) -> Event {
        Event::PlanChanged {
            from: plan("mail-pro", before_minor / 3),
            to: plan(code, after_minor / 3),
            scheduled: false,
            seats: 3,
            recurring: money(after_minor),
            mrr: mrr(before_minor, after_minor, Movement::Expansion),
        }
    }

    pub(crate) fn seats_changed(to: u32, before_minor: i64, after_minor: i64) -> Event {
        let mrr = mrr(before_minor, after_minor, Movement::Contraction);
        Event::SeatsChanged { from: 3, to, recurring: money(after_minor), mrr }
    }

    pub(crate) fn paused(mrr_minor: i64) -> Event {
        Event::Paused {
            paused_at: start(),
            paid_until_at: start(),
            recurring: money(mrr_minor),
            mrr: mrr(mrr_minor, 0, Movement::Churn),
            next_due_at: None,
        }
    }

    pub(crate) fn resumed(mrr_minor: i64) -> Event {
        let mrr = mrr(0, mrr_minor, Movement::Reactivation);
        Event::Resumed { resumed_at: start(), recurring: money(mrr_minor), mrr, next_due_at: Some(start()) }
    }

    pub(crate) fn cancelled(mrr_minor: i64) -> Event {
        Event::Cancelled {
            cancelled_at: start(),
            from: StageName::Active,
            scheduled: false,
            reason: "moves in-house".parse().unwrap(),
            recurring: money(0),
            mrr: mrr(mrr_minor, 0, Movement::Churn),
        }
    }
}
