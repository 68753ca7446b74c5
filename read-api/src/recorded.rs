//! An event of a tenant's log as callers see it: in the tenant's own positions, and without what is secret.

use chrono::{DateTime, Utc};
use hub_cloudevents::without_secrets;
use hub_event_store::event::Metadata;
use hub_http::Problem;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Map, Value, value::RawValue};
use sqlx::{FromRow, PgConnection, Row, postgres::PgRow};
use uuid::Uuid;

use crate::{
    event_type::EventTypeFilter,
    failure::failed,
    statement::{Statement, statement},
};

/// A page of a tenant's log, within a window of its positions so that a rare type cannot make it read the whole log.
pub(crate) const PAGE: Statement = statement!(
    "SELECT tenant_position, event_id, event_type, event_version, aggregate_type, aggregate_id, sequence, occurred_at, \
     payload::text AS payload, metadata::text AS metadata \
     FROM events WHERE tenant_id = $1 AND tenant_position > $2 AND tenant_position <= $3",
    [" AND event_type = $5", " AND starts_with(event_type, $6)", " AND aggregate_id = $7"],
    " ORDER BY tenant_position LIMIT $4",
);

/// One event of a tenant's log.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[schemars(rename = "RecordedEvent")]
pub(crate) struct EventAnswer {
    /// Place among the tenant's events: from 1, without gaps, in the order in which they were recorded.
    pub(crate) position: i64,
    /// Identifies the event.
    pub(crate) event_id: Uuid,
    /// What happened, such as `tenant.suspended`.
    pub(crate) event_type: String,
    /// The version of the payload's shape, from 1.
    pub(crate) event_version: i32,
    /// What it happened to, such as `tenant`.
    pub(crate) aggregate_type: String,
    /// The id of what it happened to.
    pub(crate) aggregate_id: Uuid,
    /// Place among the events of the same aggregate, from 1.
    pub(crate) sequence: i64,
    /// When it happened; informational, the order is `position`.
    pub(crate) occurred_at: DateTime<Utc>,
    /// What else is to be known, in the shape of the event's type and version. Secrets are left out.
    #[schemars(with = "Map<String, Value>")]
    pub(crate) payload: Box<RawValue>,
    /// Who caused it, and in which conversation.
    #[schemars(with = "Metadata")]
    pub(crate) metadata: Box<RawValue>,
}

impl FromRow<'_, PgRow> for EventAnswer {
    fn from_row(row: &PgRow) -> Result<Self, sqlx::Error> {
        let aggregate_type: String = row.try_get("aggregate_type")?;
        let payload = without_secrets(&aggregate_type, json(row, "payload")?);
        Ok(Self {
            position: row.try_get("tenant_position")?,
            event_id: row.try_get("event_id")?,
            event_type: row.try_get("event_type")?,
            event_version: row.try_get("event_version")?,
            aggregate_type,
            aggregate_id: row.try_get("aggregate_id")?,
            sequence: row.try_get("sequence")?,
            occurred_at: row.try_get("occurred_at")?,
            payload,
            metadata: json(row, "metadata")?,
        })
    }
}

fn json(row: &PgRow, column: &str) -> Result<Box<RawValue>, sqlx::Error> {
    let text: String = row.try_get(column)?;
    RawValue::from_string(text).map_err(|e| sqlx::Error::ColumnDecode { index: column.to_owned(), source: Box::new(e) })
}

/// Which events of a tenant are wanted.
#[derive(Clone, Debug, Default)]
pub(crate) struct Wanted {
    pub(crate) event_type: Option<EventTypeFilter>,
    pub(crate) aggregate_id: Option<Uuid>,
}

/// A piece of a tenant's log: positions greater than `after`, up to and with `until`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Window {
    pub(crate) tenant_id: Uuid,
    pub(crate) after: i64,
    pub(crate) until: i64,
}

impl Window {
    /// At most `limit` of the wanted events, in order.
    pub(crate) async fn read(
        self,
        connection: &mut PgConnection,
        wanted: &Wanted,
        limit: i64,
    ) -> Result<Vec<EventAnswer>, sqlx::Error> {
        let exact = EventTypeFilter::exact(wanted.event_type.as_ref());
        let prefix = EventTypeFilter::prefix(wanted.event_type.as_ref());
        let text = PAGE.with([exact.is_some(), prefix.is_some(), wanted.aggregate_id.is_some()]);
        sqlx::query_as(&text)
            .bind(self.tenant_id)
            .bind(self.after)
            .bind(self.until)
            .bind(limit)
            .bind(exact)
            .bind(prefix)
            .bind(wanted.aggregate_id)
            .fetch_all(connection)
            .await
    }

    /// The same for handlers.
    pub(crate) async fn answer(
        self,
        connection: &mut PgConnection,
        wanted: &Wanted,
        limit: i64,
    ) -> Result<Vec<EventAnswer>, Problem> {
        self.read(connection, wanted, limit).await.map_err(failed)
    }
}
