//! One thing as it was: its row folded anew from the events of its stream, up to the last event of its tenant that belongs to the moment.
//!
//! What has one row an aggregate depends on one stream only, so the index of streams finds all that is needed. Every statement runs in the same transaction as
//! those of the live read, as the role that sees one tenant. Nothing is remembered between two questions.

use chrono::{DateTime, Utc};
use hub_event_store::event::Recorded;
use hub_http::{Past, Problem, ReadPosition};
use hub_projections::{
    history::fold,
    model::{AggregateKey, ReadModel},
};
use sqlx::{FromRow as _, PgConnection, postgres::PgRow};

use crate::{failure::failed, reach::Source, rows::Wanted, state::Queries};

/// The last position of a tenant's log, and the event at another, with its place in the platform's log.
pub(crate) const AT_POSITION: &str = "SELECT h.position AS head, e.position FROM tenant_heads h \
     LEFT JOIN events e ON e.tenant_id = h.tenant_id AND e.tenant_position = $2 WHERE h.tenant_id = $1";

/// The last event of a tenant that had happened at a moment: the last in the order of the log, which times need not follow.
pub(crate) const AT_TIME: &str = "SELECT e.tenant_position, e.position FROM events e \
     WHERE e.tenant_id = $1 AND e.occurred_at <= $2 ORDER BY e.tenant_position DESC LIMIT 1";

/// Whether a time has not come yet.
pub(crate) const FUTURE: &str = "SELECT $1::timestamptz > now()";

/// A page of a stream, up to a place in the tenant's log.
pub(crate) const EVENTS: &str = "SELECT position, tenant_position, event_id, tenant_id, aggregate_type, aggregate_id, sequence, event_type, \
     event_version, occurred_at, payload::text AS payload, metadata::text AS metadata, leaf_hash FROM events \
     WHERE tenant_id = $1 AND aggregate_type = $2 AND aggregate_id = $3 AND sequence > $4 AND tenant_position <= $5 \
     ORDER BY sequence LIMIT $6";

/// At most so many events are folded for one answer.
pub(crate) const EVENT_COUNT_MAX: i64 = 10_000;

/// So many are in memory at once.
const PAGE_SIZE: i64 = 1_000;

/// The last event of a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place {
    tenant_position: i64,
    position: i64,
}

impl Queries {
    /// The row as it was, with the position of the platform's log at which it stood; 404 `not_found` when there was none.
    pub(crate) async fn past<M: ReadModel<Key = AggregateKey>>(
        &self,
        wanted: &Wanted<'_>,
        moment: Past,
    ) -> Result<(ReadPosition, M::Row), Problem> {
        // The log is always complete, so this waits for nothing but a token of the future.
        let mut reading = self.reach(wanted.tenant, Source::Log, wanted.consistency).await?;
        let place = place(wanted, moment, &mut reading.connection).await?;
        let key = AggregateKey { tenant_id: wanted.tenant.id(), id: wanted.id };
        let (mut row, mut sequence, mut event_count) = (None, 0_i64, 0_i64);
        loop {
            let events = page(wanted, sequence, place, &mut reading.connection).await?;
            let Some(last) = events.last() else { break };
            sequence = last.sequence;
            let count = i64::try_from(events.len()).unwrap_or(PAGE_SIZE);
            event_count += count;
            if event_count > EVENT_COUNT_MAX {
                return Err(Problem::history_too_long(EVENT_COUNT_MAX));
            }
            row = fold::<M>(&self.upcasters, &key, row, events).map_err(|error| {
                tracing::error!(%error, model = M::NAME, id = %wanted.id, "a thing cannot be told as it was");
                Problem::internal()
            })?;
            if count < PAGE_SIZE {
                break;
            }
        }
        let row = row.ok_or_else(Problem::not_found)?;
        Ok((ReadPosition(place.position), row))
    }
}

async fn place(wanted: &Wanted<'_>, moment: Past, connection: &mut PgConnection) -> Result<Place, Problem> {
    match moment {
        Past::Position(position) => at_position(wanted, position, connection).await,
        Past::Time(time) => at_time(wanted, time, connection).await,
    }
}

async fn at_position(wanted: &Wanted<'_>, position: i64, connection: &mut PgConnection) -> Result<Place, Problem> {
    let query = sqlx::query_as(AT_POSITION).bind(wanted.tenant.id()).bind(position);
    let found: Option<(i64, Option<i64>)> = query.fetch_optional(connection).await.map_err(failed)?;
    match found {
        None => Err(Problem::not_found()),
        Some((_, Some(of_platform))) => Ok(Place { tenant_position: position, position: of_platform }),
        Some((head, None)) => Err(Problem::invalid_query(
            Some("as_of"),
            format!("the tenant's log ends at position {head}, before {position}"),
        )),
    }
}

async fn at_time(wanted: &Wanted<'_>, time: DateTime<Utc>, connection: &mut PgConnection) -> Result<Place, Problem> {
    let future: bool = sqlx::query_scalar(FUTURE).bind(time).fetch_one(&mut *connection).await.map_err(failed)?;
    if future {
        return Err(Problem::invalid_query(Some("as_of"), "the moment is in the future"));
    }
    let query = sqlx::query_as(AT_TIME).bind(wanted.tenant.id()).bind(time);
    let found: Option<(i64, i64)> = query.fetch_optional(connection).await.map_err(failed)?;
    // Nothing of the tenant was there at the time.
    let (tenant_position, position) = found.ok_or_else(Problem::not_found)?;
    Ok(Place { tenant_position, position })
}

async fn page(
    wanted: &Wanted<'_>,
    sequence: i64,
    place: Place,
    connection: &mut PgConnection,
) -> Result<Vec<Recorded>, Problem> {
    let query = sqlx::query(EVENTS)
        .bind(wanted.tenant.id())
        .bind(wanted.aggregate_type)
        .bind(wanted.id)
        .bind(sequence)
        .bind(place.tenant_position)
        .bind(PAGE_SIZE);
    let rows: Vec<PgRow> = query.fetch_all(connection).await.map_err(failed)?;
    rows.iter().map(Recorded::from_row).collect::<Result<_, _>>().map_err(failed)
}
