//! A batch of an import in the form that the SQL function takes.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use sha2::{Digest, Sha256};
use sqlx::{
    Postgres,
    postgres::{PgArguments, PgRow},
    query::QueryAs,
};
use uuid::Uuid;

use super::{Identity, ImportError, ImportEvent};
use crate::partition::names_fit;

/// The batch as arrays: one group for streams, one for tenants, one for events.
#[derive(Default)]
pub(super) struct Columns<'a> {
    stream_command: Vec<Uuid>,
    stream_fingerprint: Vec<Vec<u8>>,
    stream_tenant: Vec<Uuid>,
    stream_type: Vec<&'a str>,
    stream_aggregate: Vec<Uuid>,
    stream_before: Vec<i64>,
    stream_after: Vec<i64>,
    stream_last: Vec<i32>,
    stream_source_type: Vec<Option<&'a str>>,
    stream_source_id: Vec<Option<&'a str>>,
    tenant: Vec<Uuid>,
    tenant_count: Vec<i64>,
    event_tenant_place: Vec<i32>,
    event_tenant_index: Vec<i64>,
    event_tenant: Vec<Uuid>,
    event_aggregate_type: Vec<&'a str>,
    event_aggregate: Vec<Uuid>,
    event_sequence: Vec<i64>,
    event_id: Vec<Uuid>,
    event_type: Vec<&'a str>,
    event_version: Vec<i32>,
    event_payload: Vec<&'a str>,
    event_metadata: Vec<String>,
    event_at: Vec<DateTime<Utc>>,
    event_hash: Vec<Vec<u8>>,
}

impl<'a> Columns<'a> {
    /// # Errors
    /// `Invalid` when the events of a stream do not follow one another, or a name cannot be one.
    pub(super) fn of(identity: &Identity, events: &'a [ImportEvent]) -> Result<Self, ImportError> {
        let mut columns = Self::default();
        let mut streams = HashMap::new();
        let mut tenants = HashMap::new();
        for (place, event) in (1..).zip(events) {
            check_names(event)?;
            let key = (event.tenant_id, event.aggregate_type.as_str(), event.aggregate_id);
            let stream = *streams.entry(key).or_insert_with(|| columns.begin_stream(identity, event));
            if event.sequence != columns.stream_after[stream] + 1 {
                let (kind, id, sequence) = (&event.aggregate_type, event.aggregate_id, event.sequence);
                let after = columns.stream_after[stream];
                return Err(ImportError::Invalid(format!("sequence {sequence} of {kind} {id} follows {after}")));
            }
            columns.stream_after[stream] = event.sequence;
            columns.stream_last[stream] = place;
            let tenant = *tenants.entry(event.tenant_id).or_insert_with(|| columns.begin_tenant(event.tenant_id));
            columns.tenant_count[tenant] += 1;
            columns.push(identity, event, stream, tenant);
        }
        Ok(columns)
    }

    fn begin_stream(&mut self, identity: &Identity, event: &'a ImportEvent) -> usize {
        let command_id = identity.command_id(event);
        self.stream_command.push(command_id);
        self.stream_fingerprint.push(Sha256::digest(command_id.as_bytes()).to_vec());
        self.stream_tenant.push(event.tenant_id);
        self.stream_type.push(&event.aggregate_type);
        self.stream_aggregate.push(event.aggregate_id);
        self.stream_before.push(event.sequence - 1);
        self.stream_after.push(event.sequence - 1);
        self.stream_last.push(0);
        self.stream_source_type.push(event.origin.as_ref().map(|origin| origin.aggregate_type.as_str()));
        self.stream_source_id.push(event.origin.as_ref().map(|origin| origin.aggregate_id.as_str()));
        self.stream_command.len() - 1
    }

    fn begin_tenant(&mut self, tenant_id: Uuid) -> usize {
        self.tenant.push(tenant_id);
        self.tenant_count.push(0);
        self.tenant.len() - 1
    }

    fn push(&mut self, identity: &Identity, event: &'a ImportEvent, stream: usize, tenant: usize) {
        let derived = identity.derive(event, self.stream_command[stream]);
        self.event_tenant_place.push(i32::try_from(tenant + 1).expect("a batch is bounded"));
        self.event_tenant_index.push(self.tenant_count[tenant]);
        self.event_tenant.push(event.tenant_id);
        self.event_aggregate_type.push(&event.aggregate_type);
        self.event_aggregate.push(event.aggregate_id);
        self.event_sequence.push(event.sequence);
        self.event_id.push(derived.event_id);
        self.event_type.push(&event.event_type);
        self.event_version.push(event.event_version);
        self.event_payload.push(event.payload.get());
        self.event_metadata.push(derived.metadata);
        self.event_at.push(event.occurred_at);
        self.event_hash.push(derived.leaf_hash.to_vec());
    }

    pub(super) fn conflict(&self, stream: usize, actual: i64) -> ImportError {
        ImportError::Conflict {
            tenant_id: self.stream_tenant[stream],
            aggregate_type: self.stream_type[stream].to_owned(),
            aggregate_id: self.stream_aggregate[stream],
            expected: self.stream_before[stream],
            actual,
        }
    }

    pub(super) fn bind<'q, T>(
        &'q self,
        query: QueryAs<'q, Postgres, T, PgArguments>,
    ) -> QueryAs<'q, Postgres, T, PgArguments>
    where
        T: for<'r> sqlx::FromRow<'r, PgRow>,
    {
        query
            .bind(&self.stream_command)
            .bind(&self.stream_fingerprint)
            .bind(&self.stream_tenant)
            .bind(&self.stream_type)
            .bind(&self.stream_aggregate)
            .bind(&self.stream_before)
            .bind(&self.stream_after)
            .bind(&self.stream_last)
            .bind(&self.stream_source_type)
            .bind(&self.stream_source_id)
            .bind(&self.tenant)
            .bind(&self.tenant_count)
            .bind(&self.event_tenant_place)
            .bind(&self.event_tenant_index)
            .bind(&self.event_tenant)
            .bind(&self.event_aggregate_type)
            .bind(&self.event_aggregate)
            .bind(&self.event_sequence)
            .bind(&self.event_id)
            .bind(&self.event_type)
            .bind(&self.event_version)
            .bind(&self.event_payload)
            .bind(&self.event_metadata)
            .bind(&self.event_at)
            .bind(&self.event_hash)
    }
}

/// What becomes a part of a subject on NATS and of an event's type must be plain.
fn check_names(event: &ImportEvent) -> Result<(), ImportError> {
    if names_fit(&event.aggregate_type, &event.event_type) {
        return Ok(());
    }
    let (kind, event_type) = (&event.aggregate_type, &event.event_type);
    Err(ImportError::Invalid(format!("`{event_type}` of `{kind}` is no event type")))
}
