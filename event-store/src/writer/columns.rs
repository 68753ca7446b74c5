//! A batch in the form that the SQL function takes, and its verdicts in the form that callers take.

use chrono::{DateTime, Utc};
use serde_json::value::RawValue;
use sqlx::{Row, postgres::PgRow};
use uuid::Uuid;

use crate::{
    append::{APPEND, Accepted, Append, Direction, Rejection},
    event::{Leaf, leaf_hash, optional_json},
};

use super::Answer;

/// The batch as the arrays that the SQL function takes.
#[derive(Default)]
pub(super) struct Columns<'a> {
    id: Vec<Uuid>,
    fingerprint: Vec<&'a [u8]>,
    tenant: Vec<Uuid>,
    kind: Vec<&'a str>,
    aggregate: Vec<Uuid>,
    expected: Vec<Option<i64>>,
    count: Vec<i32>,
    outcome: Vec<Option<&'a str>>,
    at: Vec<DateTime<Utc>>,
    event_command: Vec<i32>,
    event_index: Vec<i32>,
    event_id: Vec<Uuid>,
    event_type: Vec<&'a str>,
    event_version: Vec<i32>,
    event_payload: Vec<&'a str>,
    event_metadata: Vec<String>,
    event_at: Vec<DateTime<Utc>>,
    event_hash: Vec<Vec<u8>>,
    claim_command: Vec<i32>,
    claim_realm: Vec<Uuid>,
    claim_scope: Vec<&'a str>,
    claim_key: Vec<&'a str>,
    claim_take: Vec<bool>,
    counter_command: Vec<i32>,
    counter_tenant: Vec<Uuid>,
    counter_name: Vec<&'a str>,
    counter_delta: Vec<i64>,
    counter_maximum: Vec<Option<i64>>,
    counter_expected: Vec<Option<i64>>,
    guard_command: Vec<i32>,
    guard_tenant: Vec<Uuid>,
    guard_type: Vec<&'a str>,
    guard_aggregate: Vec<Uuid>,
    guard_sequence: Vec<i64>,
}

impl<'a> Columns<'a> {
    pub(super) fn of(appends: &'a [Append], now: DateTime<Utc>) -> Self {
        let mut columns = Self::default();
        for (place, append) in (1..).zip(appends) {
            columns.push(place, append, now);
        }
        columns
    }

    fn push(&mut self, place: i32, append: &'a Append, now: DateTime<Utc>) {
        self.id.push(append.metadata.command_id);
        self.fingerprint.push(&append.fingerprint);
        self.tenant.push(append.stream.tenant_id);
        self.kind.push(append.stream.aggregate_type);
        self.aggregate.push(append.stream.aggregate_id);
        self.expected.push(append.expected_sequence);
        self.count.push(i32::try_from(append.events.len()).expect("a command's events are bounded"));
        self.outcome.push(append.outcome.as_deref().map(RawValue::get));
        self.at.push(now);
        self.push_events(place, append, now);
        for claim in &append.claims {
            self.claim_command.push(place);
            self.claim_realm.push(claim.realm_id);
            self.claim_scope.push(claim.scope);
            self.claim_key.push(&claim.key);
            self.claim_take.push(claim.direction == Direction::Take);
        }
        for counter in &append.counters {
            self.counter_command.push(place);
            self.counter_tenant.push(counter.tenant_id);
            self.counter_name.push(counter.name);
            self.counter_delta.push(counter.delta);
            self.counter_maximum.push(counter.maximum);
            self.counter_expected.push(counter.expected);
        }
        for guard in &append.guards {
            self.guard_command.push(place);
            self.guard_tenant.push(guard.stream.tenant_id);
            self.guard_type.push(guard.stream.aggregate_type);
            self.guard_aggregate.push(guard.stream.aggregate_id);
            self.guard_sequence.push(guard.sequence);
        }
    }

    fn push_events(&mut self, place: i32, append: &'a Append, now: DateTime<Utc>) {
        if append.events.is_empty() {
            return;
        }
        let metadata = serde_json::to_string(&append.metadata).expect("metadata is plain data");
        let expected = append.expected_sequence.expect("an append with events names the sequence it expects");
        for (index, event) in (1..).zip(&append.events) {
            let hash = leaf_hash(&Leaf {
                event_id: event.event_id,
                tenant_id: append.stream.tenant_id,
                aggregate_type: append.stream.aggregate_type,
                aggregate_id: append.stream.aggregate_id,
                sequence: expected + i64::from(index),
                event_type: &event.event_type,
                event_version: event.event_version,
                occurred_at: now,
                payload: event.payload.get(),
                metadata: &metadata,
            });
            self.event_command.push(place);
            self.event_index.push(index);
            self.event_id.push(event.event_id);
            self.event_type.push(&event.event_type);
            self.event_version.push(event.event_version);
            self.event_payload.push(event.payload.get());
            self.event_metadata.push(metadata.clone());
            self.event_at.push(now);
            self.event_hash.push(hash.to_vec());
        }
    }

    pub(super) fn query(&self) -> sqlx::query::Query<'_, sqlx::Postgres, sqlx::postgres::PgArguments> {
        sqlx::query(APPEND)
            .bind(&self.id)
            .bind(&self.fingerprint)
            .bind(&self.tenant)
            .bind(&self.kind)
            .bind(&self.aggregate)
            .bind(&self.expected)
            .bind(&self.count)
            .bind(&self.outcome)
            .bind(&self.at)
            .bind(&self.event_command)
            .bind(&self.event_index)
            .bind(&self.event_id)
            .bind(&self.event_type)
            .bind(&self.event_version)
            .bind(&self.event_payload)
            .bind(&self.event_metadata)
            .bind(&self.event_at)
            .bind(&self.event_hash)
            .bind(&self.claim_command)
            .bind(&self.claim_realm)
            .bind(&self.claim_scope)
            .bind(&self.claim_key)
            .bind(&self.claim_take)
            .bind(&self.counter_command)
            .bind(&self.counter_tenant)
            .bind(&self.counter_name)
            .bind(&self.counter_delta)
            .bind(&self.counter_maximum)
            .bind(&self.counter_expected)
            .bind(&self.guard_command)
            .bind(&self.guard_tenant)
            .bind(&self.guard_type)
            .bind(&self.guard_aggregate)
            .bind(&self.guard_sequence)
    }
}

pub(super) fn verdict_of(row: &PgRow) -> Result<Answer, sqlx::Error> {
    let verdict: i16 = row.try_get("verdict")?;
    let position: i64 = row.try_get("position")?;
    let sequence: i64 = row.try_get("sequence")?;
    let detail = || row.try_get::<Option<String>, _>("detail").map(Option::unwrap_or_default);
    let rejection = match verdict {
        0 | 1 => {
            return Ok(Ok(Accepted {
                tenant_id: row.try_get("tenant_id")?,
                aggregate_id: row.try_get("aggregate_id")?,
                position,
                sequence,
                event_count: row.try_get("event_count")?,
                replayed: verdict == 1,
                outcome: optional_json(row, "outcome")?,
            }));
        }
        2 => Rejection::CommandIdReused,
        3 => Rejection::SequenceConflict { actual: sequence },
        4 => Rejection::NameTaken {
            scope: detail()?,
            key: row.try_get::<Option<String>, _>("outcome")?.unwrap_or_default(),
        },
        5 => Rejection::CounterAtMaximum { counter: detail()?, value: position },
        6 => Rejection::CounterMoved { counter: detail()?, value: position },
        7 => Rejection::GuardMoved { aggregate_type: detail()? },
        other => return Err(sqlx::Error::Protocol(format!("unknown verdict {other}"))),
    };
    Ok(Err(rejection.into()))
}
