//! The events of a tenant's log as they are read: in the tenant's own positions, without what is secret, and only those that are wanted.

use chrono::{DateTime, Utc};
use futures::TryStreamExt as _;
use hub_cloudevents::{Event, columns};
use hub_event_store::event::Metadata;
use hub_filter::{Filter, TypeHint};
use hub_http::Problem;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Map, Value, value::RawValue};
use sqlx::{FromRow, PgConnection, Row, postgres::PgRow};
use uuid::Uuid;

use crate::{
    event_type::EventTypeFilter,
    statement::{Statement, statement},
};

/// A page of a tenant's log, within a window of its positions so that a rare type cannot make it read the whole log.
pub(crate) const PAGE: Statement = statement!(
    concat!(
        "SELECT ",
        columns!(),
        " FROM events WHERE tenant_id = $1 AND tenant_position > $2 AND tenant_position <= $3"
    ),
    [
        " AND event_type = $5",
        " AND starts_with(event_type, $6)",
        " AND aggregate_id = $7",
        " AND (event_type = ANY($8) OR EXISTS (SELECT FROM unnest($9::text[]) AS begin WHERE starts_with(event_type, begin)))",
    ],
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

/// An event as it is read, which can be answered in every form.
#[derive(Clone, Debug)]
pub(crate) struct Read {
    pub(crate) event: Event,
    /// As recorded, byte for byte.
    metadata: Box<RawValue>,
}

impl FromRow<'_, PgRow> for Read {
    fn from_row(row: &PgRow) -> Result<Self, sqlx::Error> {
        let text: String = row.try_get("metadata")?;
        let metadata = RawValue::from_string(text).map_err(|error| sqlx::Error::Decode(Box::new(error)))?;
        Ok(Self { event: Event::from_row(row)?, metadata })
    }
}

impl From<Read> for EventAnswer {
    fn from(Read { event, metadata }: Read) -> Self {
        Self {
            position: event.position,
            event_id: event.event_id,
            event_type: event.event_type,
            event_version: event.event_version,
            aggregate_type: event.aggregate_type,
            aggregate_id: event.aggregate_id,
            sequence: event.sequence,
            occurred_at: event.occurred_at,
            payload: event.data,
            metadata,
        }
    }
}

/// Which events of a tenant are wanted.
#[derive(Clone, Debug, Default)]
pub(crate) struct Wanted {
    event_type: Option<EventTypeFilter>,
    aggregate_id: Option<Uuid>,
    filter: Filter,
    /// What the filter tells of the types, so that PostgreSQL leaves out most others: exact ones, and beginnings.
    hint: Option<(Vec<String>, Vec<String>)>,
}

impl Wanted {
    /// What a filter wants; nothing else narrows it.
    pub(crate) fn of(filter: Filter) -> Self {
        let hint = filter.types_hint().map(|hints| {
            let (mut exact, mut begins) = (Vec::new(), Vec::new());
            for hint in hints {
                match hint {
                    TypeHint::Exact(event_type) => exact.push(event_type),
                    TypeHint::Prefix(begin) => begins.push(begin),
                }
            }
            (exact, begins)
        });
        Self { filter, hint, ..Self::default() }
    }

    /// The same with these conditions besides.
    pub(crate) fn and(self, event_type: Option<EventTypeFilter>, aggregate_id: Option<Uuid>) -> Self {
        Self { event_type, aggregate_id, ..self }
    }

    /// Whether the filter, which only `wants` looks at, may leave something out.
    pub(crate) fn filters(&self) -> bool {
        !self.filter.wants_everything()
    }

    /// Whether an event is wanted, wherever it comes from.
    pub(crate) fn wants(&self, event: &Event) -> bool {
        self.event_type.as_ref().is_none_or(|event_type| event_type.fits(&event.event_type))
            && self.aggregate_id.is_none_or(|aggregate_id| aggregate_id == event.aggregate_id)
            && self.filter.matches(event)
    }

    /// Whether every event is read, so that positions show whether one is missing.
    pub(crate) fn reads_all(&self) -> bool {
        self.event_type.is_none() && self.aggregate_id.is_none() && self.hint.is_none()
    }
}

/// The query parameters of a filter, as everything that follows events takes them.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct FilterQuery<'a> {
    pub(crate) types: Option<&'a str>,
    pub(crate) subjects: Option<&'a str>,
    pub(crate) filter: Option<&'a str>,
    pub(crate) filters: Option<&'a str>,
}

impl FilterQuery<'_> {
    /// The filter; 400 `invalid_query` names the parameter that is none.
    pub(crate) fn parse(self) -> Result<Wanted, Problem> {
        let filter = Filter::from_query(self.types, self.subjects, self.filter, self.filters);
        filter.map(Wanted::of).map_err(|invalid| {
            let parameter = match invalid.at.split('/').next() {
                Some("types") => Some("types"),
                Some("subjects") => Some("subjects"),
                Some("filters") => Some("filters"),
                Some("sql") => Some("filter"),
                Some(_) | None => None,
            };
            Problem::invalid_query(parameter, invalid.to_string())
        })
    }
}

/// A piece of a tenant's log: positions greater than `after`, up to and with `until`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Window {
    pub(crate) tenant_id: Uuid,
    pub(crate) after: i64,
    pub(crate) until: i64,
}

/// So many events, and so many bytes of them, but for the last one, which may be larger than what is left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Most {
    pub(crate) count: usize,
    pub(crate) bytes: usize,
}

impl Most {
    /// Whether one more fits.
    pub(crate) fn is_left(self) -> bool {
        self.count > 0 && self.bytes > 0
    }

    /// Takes in one more of this size; false when nothing was left.
    pub(crate) fn take(&mut self, bytes: usize) -> bool {
        let fits = self.is_left();
        self.count = self.count.saturating_sub(1);
        self.bytes = self.bytes.saturating_sub(bytes);
        fits
    }
}

/// What was read of a window: everything up to and with `until` has been looked at.
#[derive(Debug)]
pub(crate) struct Looked<R> {
    pub(crate) rows: Vec<R>,
    pub(crate) until: i64,
}

impl Window {
    /// At most so many events, in order, of those that PostgreSQL can tell to be wanted.
    pub(crate) async fn read<R>(
        self,
        connection: &mut PgConnection,
        wanted: &Wanted,
        most: Most,
    ) -> Result<Looked<R>, sqlx::Error>
    where
        R: Positioned + for<'r> FromRow<'r, PgRow> + Send + Unpin,
    {
        let exact = EventTypeFilter::exact(wanted.event_type.as_ref());
        let prefix = EventTypeFilter::prefix(wanted.event_type.as_ref());
        let (types, begins) = wanted.hint.as_ref().map_or((&[][..], &[][..]), |(types, begins)| (types, begins));
        let text = PAGE.with([exact.is_some(), prefix.is_some(), wanted.aggregate_id.is_some(), wanted.hint.is_some()]);
        let query = sqlx::query_as(&text).bind(self.tenant_id).bind(self.after).bind(self.until);
        let limit = i64::try_from(most.count).unwrap_or(i64::MAX);
        let query = query.bind(limit);
        let query = query.bind(exact).bind(prefix).bind(wanted.aggregate_id).bind(types).bind(begins);
        let (mut rows, mut room) = (Vec::new(), most);
        // What is read no further is thrown away before the connection is used again.
        let mut found = query.fetch(connection);
        while room.is_left() {
            let Some(row): Option<R> = found.try_next().await? else { return Ok(Looked { rows, until: self.until }) };
            room.take(row.size());
            rows.push(row);
        }
        let until = rows.last().map_or(self.after, R::position);
        Ok(Looked { rows, until })
    }
}

/// Something with a place in its tenant's log.
pub(crate) trait Positioned {
    fn position(&self) -> i64;

    /// In bytes, as far as it varies.
    fn size(&self) -> usize;
}

impl Positioned for Event {
    fn position(&self) -> i64 {
        self.position
    }

    fn size(&self) -> usize {
        self.data.get().len()
    }
}

impl Positioned for Read {
    fn position(&self) -> i64 {
        self.event.position
    }

    fn size(&self) -> usize {
        self.event.size() + self.metadata.get().len()
    }
}

#[cfg(test)]
mod tests {
    use super::FilterQuery;

    #[test]
    fn a_bad_filter_names_its_parameter() {
        let named = |query: FilterQuery<'_>| query.parse().unwrap_err().to_json()["parameter"].clone();
        assert_eq!(named(FilterQuery { types: Some("a b"), ..FilterQuery::default() }), "types");
        assert_eq!(named(FilterQuery { subjects: Some(""), ..FilterQuery::default() }), "subjects");
        assert_eq!(named(FilterQuery { filter: Some("type ="), ..FilterQuery::default() }), "filter");
        assert_eq!(named(FilterQuery { filters: Some("{"), ..FilterQuery::default() }), "filters");
        assert_eq!(named(FilterQuery { filters: Some("[{}]"), ..FilterQuery::default() }), "filters");
    }
}
