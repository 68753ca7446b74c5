//! Going through all streams that have facts, or should not have them, a batch at a time on one connection.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    time::Duration,
};

use sqlx::PgConnection;
use uuid::Uuid;

use crate::{
    event::{Recorded, event_columns},
    log::{HEAD, PAGE_SIZE},
};

use super::{
    Difference, FactReport, FactSources, Unreadable,
    fold::{Expected, Wrong},
};

/// So many streams at most are one batch.
const STREAM_COUNT_MAX: i64 = 500;

/// So many events at most are read for several streams at once; a longer stream is read by itself, a page at a time.
const EVENT_COUNT_MAX: i64 = PAGE_SIZE;

/// So many tenants at most are asked for at once: each page is picked from all that is left of theirs.
const TENANT_COUNT_MAX: usize = 20;

/// The server ends a statement by itself before that; this is for one that is gone without a word.
const STATEMENT_TIMEOUT: Duration = Duration::from_secs(70);

/// The next streams that have facts or should have, with their sequences; `$filter` says of which tenants.
macro_rules! next_streams {
    ($filter:literal) => {
        concat!(
            "SELECT tenant_id, aggregate_type, aggregate_id, max(sequence) FROM ( \
             (SELECT tenant_id, aggregate_type, aggregate_id, sequence FROM streams \
              WHERE aggregate_type = ANY($1) AND (tenant_id, aggregate_type, aggregate_id) > ($2, $3, $4)",
            $filter,
            " ORDER BY tenant_id, aggregate_type, aggregate_id LIMIT $5) \
             UNION ALL \
             (SELECT DISTINCT tenant_id, aggregate_type, aggregate_id, 0::bigint FROM facts \
              WHERE (tenant_id, aggregate_type, aggregate_id) > ($2, $3, $4)",
            $filter,
            " ORDER BY tenant_id, aggregate_type, aggregate_id LIMIT $5) \
             ) AS s (tenant_id, aggregate_type, aggregate_id, sequence) \
             GROUP BY tenant_id, aggregate_type, aggregate_id ORDER BY tenant_id, aggregate_type, aggregate_id LIMIT $5"
        )
    };
}

/// Those of all tenants.
pub(crate) const STREAMS: &str = next_streams!("");

/// Those of some.
pub(crate) const STREAMS_OF: &str = next_streams!(" AND tenant_id = ANY($6)");

/// Of each of these streams the next events, in order.
pub(crate) const EVENTS: &str = concat!(
    "SELECT e.* FROM unnest($1::uuid[], $2::text[], $3::uuid[]) WITH ORDINALITY AS s (of_tenant, of_type, of_aggregate, place) \
     JOIN LATERAL (SELECT ",
    event_columns!(),
    " FROM events WHERE tenant_id = of_tenant AND aggregate_type = of_type AND aggregate_id = of_aggregate AND sequence > $4 \
     ORDER BY sequence LIMIT $5) e ON true ORDER BY s.place, e.sequence"
);

/// The facts of these streams.
pub(crate) const FOUND: &str = "SELECT f.tenant_id, f.aggregate_type, f.aggregate_id, f.part, f.fact::text \
     FROM unnest($1::uuid[], $2::text[], $3::uuid[]) AS s (tenant_id, aggregate_type, aggregate_id) \
     JOIN facts f ON f.tenant_id = s.tenant_id AND f.aggregate_type = s.aggregate_type AND f.aggregate_id = s.aggregate_id";

/// Sets facts, or removes those that are NULL; without a position of its own one is of the end of the log.
pub(crate) const SET: &str = "SELECT count(set_fact(f.tenant_id, f.aggregate_type, f.aggregate_id, f.part, f.fact::json, coalesce(f.position, l.position))) \
     FROM log_head l, unnest($1::uuid[], $2::text[], $3::uuid[], $4::text[], $5::text[], $6::bigint[]) \
     AS f (tenant_id, aggregate_type, aggregate_id, part, fact, position)";

/// Tenant, aggregate type, aggregate.
type Key = (Uuid, String, Uuid);

/// One pass.
pub(super) struct Walk<'a> {
    pub(super) sources: &'a FactSources,
    /// All tenants when there are none.
    pub(super) tenants: Option<&'a BTreeSet<Uuid>>,
    /// Whether what differs is written.
    pub(super) writes: bool,
}

impl Walk<'_> {
    pub(super) async fn run(&self, connection: &mut PgConnection) -> Result<FactReport, sqlx::Error> {
        let head = bounded(sqlx::query_scalar(HEAD).fetch_one(&mut *connection)).await?;
        let mut report = FactReport { head, ..FactReport::default() };
        let Some(tenants) = self.tenants else {
            self.range(connection, None, &mut report).await?;
            return Ok(report);
        };
        let tenants: Vec<Uuid> = tenants.iter().copied().collect();
        for some in tenants.chunks(TENANT_COUNT_MAX) {
            self.range(connection, Some(some), &mut report).await?;
        }
        Ok(report)
    }

    /// All streams of these tenants, or of all.
    async fn range(
        &self,
        connection: &mut PgConnection,
        tenants: Option<&[Uuid]>,
        report: &mut FactReport,
    ) -> Result<(), sqlx::Error> {
        let mut after: Key = (Uuid::nil(), String::new(), Uuid::nil());
        loop {
            let page = self.page(connection, tenants, &after).await?;
            let Some((last, _)) = page.last() else { return Ok(()) };
            after = last.clone();
            for batch in batches(page) {
                self.batch(connection, &batch, report).await?;
            }
        }
    }

    async fn page(
        &self,
        connection: &mut PgConnection,
        tenants: Option<&[Uuid]>,
        after: &Key,
    ) -> Result<Vec<(Key, i64)>, sqlx::Error> {
        let query = sqlx::query_as(if tenants.is_some() { STREAMS_OF } else { STREAMS })
            .bind(self.sources.aggregate_types())
            .bind(after.0)
            .bind(&after.1)
            .bind(after.2)
            .bind(STREAM_COUNT_MAX);
        let query = match tenants {
            Some(tenants) => query.bind(tenants),
            None => query,
        };
        let rows: Vec<(Uuid, String, Uuid, i64)> = bounded(query.fetch_all(connection)).await?;
        Ok(rows.into_iter().map(|(tenant, kind, id, sequence)| ((tenant, kind, id), sequence)).collect())
    }

    async fn batch(
        &self,
        connection: &mut PgConnection,
        keys: &[Key],
        report: &mut FactReport,
    ) -> Result<(), sqlx::Error> {
        let mut expected = self.expected(connection, keys).await?;
        let mut found = facts_of(connection, keys).await?;
        let mut changes = Vec::new();
        for key in keys {
            let Some(expected) = expected.remove(key) else { continue };
            let found = found.remove(key).unwrap_or_default();
            report.stream_count += 1;
            report.fact_count += expected.fact_count();
            let (tenant_id, aggregate_type, aggregate_id) = key.clone();
            if let Some(what) = expected.unreadable() {
                let what = what.to_owned();
                report.cannot_read(Unreadable { tenant_id, aggregate_type, aggregate_id, what });
                continue;
            }
            for wrong in expected.differing(found) {
                report.differs(Difference {
                    tenant_id,
                    aggregate_type: aggregate_type.clone(),
                    aggregate_id,
                    part: wrong.part.clone(),
                    expected: wrong.expected.as_ref().map(|(fact, _)| fact.clone()),
                    found: wrong.found.clone(),
                });
                changes.push((key, wrong));
            }
        }
        if self.writes && !changes.is_empty() { set(connection, &changes).await } else { Ok(()) }
    }

    /// What the events of these streams lead to.
    async fn expected(
        &self,
        connection: &mut PgConnection,
        keys: &[Key],
    ) -> Result<HashMap<Key, Expected>, sqlx::Error> {
        let begin = |key: &Key| (key.clone(), Expected::new(self.sources.begin(&key.1, key.0, key.2)));
        let mut expected: HashMap<Key, Expected> = keys.iter().map(begin).collect();
        let mut after = 0;
        loop {
            let (tenants, types, ids) = columns(keys);
            let query = sqlx::query_as(EVENTS).bind(tenants).bind(types).bind(ids).bind(after).bind(PAGE_SIZE);
            let events: Vec<Recorded> = bounded(query.fetch_all(&mut *connection)).await?;
            let longer = keys.len() == 1 && i64::try_from(events.len()).is_ok_and(|count| count == PAGE_SIZE);
            after = events.last().map_or(after, |event| event.sequence);
            for event in events {
                let key = (event.tenant_id, event.aggregate_type.clone(), event.aggregate_id);
                if let Some(expected) = expected.get_mut(&key) {
                    expected.apply(&self.sources.upcasters, event);
                }
            }
            if !longer {
                return Ok(expected);
            }
        }
    }
}

/// The streams in their order, together as long as their events are few enough.
fn batches(page: Vec<(Key, i64)>) -> Vec<Vec<Key>> {
    let mut batches: Vec<Vec<Key>> = Vec::new();
    let mut event_count = EVENT_COUNT_MAX;
    for (key, sequence) in page {
        event_count = event_count.saturating_add(sequence);
        match batches.last_mut() {
            Some(batch) if event_count <= EVENT_COUNT_MAX => batch.push(key),
            Some(_) | None => {
                batches.push(vec![key]);
                event_count = sequence;
            }
        }
    }
    batches
}

async fn facts_of(
    connection: &mut PgConnection,
    keys: &[Key],
) -> Result<HashMap<Key, BTreeMap<String, String>>, sqlx::Error> {
    let (tenants, types, ids) = columns(keys);
    let query = sqlx::query_as(FOUND).bind(tenants).bind(types).bind(ids);
    let rows: Vec<(Uuid, String, Uuid, String, String)> = bounded(query.fetch_all(connection)).await?;
    let mut found: HashMap<Key, BTreeMap<String, String>> = HashMap::new();
    for (tenant_id, aggregate_type, aggregate_id, part, fact) in rows {
        found.entry((tenant_id, aggregate_type, aggregate_id)).or_default().insert(part, fact);
    }
    Ok(found)
}

async fn set(connection: &mut PgConnection, changes: &[(&Key, Wrong)]) -> Result<(), sqlx::Error> {
    let query = sqlx::query(SET)
        .bind(changes.iter().map(|(key, _)| key.0).collect::<Vec<_>>())
        .bind(changes.iter().map(|(key, _)| key.1.as_str()).collect::<Vec<_>>())
        .bind(changes.iter().map(|(key, _)| key.2).collect::<Vec<_>>())
        .bind(changes.iter().map(|(_, wrong)| wrong.part.as_str()).collect::<Vec<_>>())
        .bind(
            changes.iter().map(|(_, wrong)| wrong.expected.as_ref().map(|(fact, _)| fact.as_str())).collect::<Vec<_>>(),
        )
        .bind(
            changes.iter().map(|(_, wrong)| wrong.expected.as_ref().map(|(_, position)| *position)).collect::<Vec<_>>(),
        );
    bounded(query.execute(connection)).await.map(|_| ())
}

fn columns(keys: &[Key]) -> (Vec<Uuid>, Vec<&str>, Vec<Uuid>) {
    let tenants = keys.iter().map(|key| key.0).collect();
    (tenants, keys.iter().map(|key| key.1.as_str()).collect(), keys.iter().map(|key| key.2).collect())
}

/// Waits for one statement within a bound; the transaction that it belongs to is not gone on with after that.
pub(super) async fn bounded<T>(statement: impl Future<Output = Result<T, sqlx::Error>>) -> Result<T, sqlx::Error> {
    tokio::time::timeout(STATEMENT_TIMEOUT, statement).await.unwrap_or(Err(sqlx::Error::PoolTimedOut))
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::{EVENT_COUNT_MAX, Key, batches};

    fn stream(number: u128) -> Key {
        (Uuid::nil(), "role".to_owned(), Uuid::from_u128(number))
    }

    #[test]
    fn short_streams_are_read_together_and_a_long_one_alone() {
        let lengths = [1, 0, EVENT_COUNT_MAX - 1, 1, EVENT_COUNT_MAX + 1, 2, 3];
        let page = lengths.iter().zip(0..).map(|(length, number)| (stream(number), *length)).collect();
        let read: Vec<Vec<u128>> =
            batches(page).iter().map(|batch| batch.iter().map(|key| key.2.as_u128()).collect()).collect();
        assert_eq!(read, [vec![0, 1, 2], vec![3], vec![4], vec![5, 6]]);
    }
}
