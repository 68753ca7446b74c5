//! A batch in the form that the SQL function takes, and its verdicts in the form that callers take.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use serde_json::value::RawValue;
use sqlx::{Row, postgres::PgRow};
use uuid::Uuid;

use crate::{
    append::{APPEND, Accepted, Append, AppendError, Direction, Rejection},
    event::{Leaf, NewEvent, leaf_hash, optional_json},
};

use super::Answer;

/// A command as it goes to PostgreSQL: with its time, and with what its events have in common and what covers each of them.
pub(super) struct Sealed {
    pub(super) append: Append,
    at: DateTime<Utc>,
    metadata: String,
    hashes: Vec<[u8; 32]>,
}

impl Sealed {
    /// Computed by whoever sends the command, so that the writer has little to do between two batches.
    pub(super) fn new(append: Append, at: DateTime<Utc>) -> Result<Self, AppendError> {
        let metadata = match append.events.is_empty() {
            true => String::new(),
            false => serde_json::to_string(&append.metadata).map_err(|e| AppendError::Invalid(e.to_string()))?,
        };
        let first = append.expected_sequence.unwrap_or(0);
        let hash = |(index, event): (i64, &NewEvent)| {
            leaf_hash(&Leaf {
                event_id: event.event_id,
                tenant_id: append.stream.tenant_id,
                aggregate_type: append.stream.aggregate_type,
                aggregate_id: append.stream.aggregate_id,
                sequence: first + index,
                event_type: &event.event_type,
                event_version: event.event_version,
                occurred_at: at,
                payload: event.payload.get(),
                metadata: &metadata,
            })
        };
        let hashes = (1..).zip(&append.events).map(hash).collect();
        Ok(Self { append, at, metadata, hashes })
    }
}

/// The batch as the arrays that the SQL function takes.
#[derive(Default)]
pub(super) struct Columns<'a> {
    id: Vec<Uuid>,
    fingerprint: Vec<&'a [u8]>,
    tenant: Vec<Uuid>,
    kind: Vec<&'a str>,
    aggregate: Vec<Uuid>,
    expected: Vec<Option<i64>>,
    follows: Vec<i32>,
    count: Vec<i32>,
    before: Vec<i64>,
    tenant_before: Vec<i64>,
    outcome: Vec<Option<&'a str>>,
    at: Vec<DateTime<Utc>>,
    event_command: Vec<i32>,
    event_index: Vec<i32>,
    event_tenant: Vec<Uuid>,
    event_kind: Vec<&'a str>,
    event_aggregate: Vec<Uuid>,
    event_sequence: Vec<i64>,
    event_id: Vec<Uuid>,
    event_type: Vec<&'a str>,
    event_version: Vec<i32>,
    event_payload: Vec<&'a str>,
    event_metadata: Vec<&'a str>,
    event_at: Vec<DateTime<Utc>>,
    event_hash: Vec<&'a [u8]>,
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
    fact_command: Vec<i32>,
    fact_part: Vec<&'a str>,
    fact: Vec<Option<&'a str>>,
    guard_command: Vec<i32>,
    guard_tenant: Vec<Uuid>,
    guard_type: Vec<&'a str>,
    guard_aggregate: Vec<Uuid>,
    guard_sequence: Vec<i64>,
}

impl<'a> Columns<'a> {
    /// Of these commands, each with the place of the one that it follows.
    pub(super) fn of(commands: impl Iterator<Item = (&'a Sealed, i32)>) -> Self {
        let mut columns = Self::default();
        let mut before = 0;
        let mut tenants: HashMap<Uuid, i64> = HashMap::new();
        for (place, (sealed, follows)) in (1..).zip(commands) {
            columns.follows.push(follows);
            let count = i32::try_from(sealed.append.events.len()).expect("a command's events are bounded");
            let tenant_before = tenants.entry(sealed.append.stream.tenant_id).or_default();
            columns.count.push(count);
            columns.before.push(before);
            columns.tenant_before.push(*tenant_before);
            before += i64::from(count);
            *tenant_before += i64::from(count);
            columns.push(place, sealed);
        }
        columns
    }

    fn push(&mut self, place: i32, sealed: &'a Sealed) {
        let append = &sealed.append;
        self.id.push(append.metadata.command_id);
        self.fingerprint.push(&append.fingerprint);
        self.tenant.push(append.stream.tenant_id);
        self.kind.push(append.stream.aggregate_type);
        self.aggregate.push(append.stream.aggregate_id);
        self.expected.push(append.expected_sequence);
        self.outcome.push(append.outcome.as_deref().map(RawValue::get));
        self.at.push(sealed.at);
        self.push_events(place, sealed);
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
        for change in &append.facts {
            self.fact_command.push(place);
            self.fact_part.push(&change.part);
            self.fact.push(change.fact.as_deref().map(RawValue::get));
        }
        for guard in &append.guards {
            self.guard_command.push(place);
            self.guard_tenant.push(guard.stream.tenant_id);
            self.guard_type.push(guard.stream.aggregate_type);
            self.guard_aggregate.push(guard.stream.aggregate_id);
            self.guard_sequence.push(guard.sequence);
        }
    }

    fn push_events(&mut self, place: i32, sealed: &'a Sealed) {
        let append = &sealed.append;
        let first = append.expected_sequence.unwrap_or(0);
        for ((index, event), hash) in (1..).zip(&append.events).zip(&sealed.hashes) {
            self.event_command.push(place);
            self.event_index.push(index);
            self.event_tenant.push(append.stream.tenant_id);
            self.event_kind.push(append.stream.aggregate_type);
            self.event_aggregate.push(append.stream.aggregate_id);
            self.event_sequence.push(first + i64::from(index));
            self.event_id.push(event.event_id);
            self.event_type.push(&event.event_type);
            self.event_version.push(event.event_version);
            self.event_payload.push(event.payload.get());
            self.event_metadata.push(&sealed.metadata);
            self.event_at.push(sealed.at);
            self.event_hash.push(hash);
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
            .bind(&self.follows)
            .bind(&self.count)
            .bind(&self.before)
            .bind(&self.tenant_before)
            .bind(&self.outcome)
            .bind(&self.at)
            .bind(&self.event_command)
            .bind(&self.event_index)
            .bind(&self.event_tenant)
            .bind(&self.event_kind)
            .bind(&self.event_aggregate)
            .bind(&self.event_sequence)
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
            .bind(&self.fact_command)
            .bind(&self.fact_part)
            .bind(&self.fact)
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
