//! Reading the log: whole, of one tenant, of one stream; always in order, always a page at a time.

use std::time::Duration;

use chrono::{DateTime, Utc};
use futures::Stream;
use sqlx::{
    FromRow, PgPool, Postgres, Row,
    postgres::{PgArguments, PgRow},
    query::Query,
};
use tokio::time::timeout;
use uuid::Uuid;

use crate::{
    event::{Recorded, StreamId, event_columns},
    moment::position_before,
};

/// The position of the last event.
pub(crate) const HEAD: &str = "SELECT position FROM log_head";

/// A page of the whole log.
pub(crate) const PAGE: &str =
    concat!("SELECT ", event_columns!(), " FROM events WHERE position > $1 ORDER BY position LIMIT $2");

/// A page of one tenant's events.
pub(crate) const PAGE_OF_TENANT: &str = concat!(
    "SELECT ",
    event_columns!(),
    " FROM events WHERE tenant_id = $1 AND tenant_position > $2 ORDER BY tenant_position LIMIT $3"
);

/// The last position of a tenant's log.
pub(crate) const TENANT_HEAD: &str = "SELECT position FROM tenant_heads WHERE tenant_id = $1";

/// A page of one stream.
pub(crate) const PAGE_OF_STREAM: &str = concat!(
    "SELECT ",
    event_columns!(),
    " FROM events WHERE tenant_id = $1 AND aggregate_type = $2 AND aggregate_id = $3 AND sequence > $4 ORDER BY sequence LIMIT $5"
);

/// A page of all streams of one type in one tenant, in the order of their ids.
pub(crate) const PAGE_OF_TYPE: &str = concat!(
    "SELECT ",
    event_columns!(),
    " FROM events WHERE tenant_id = $1 AND aggregate_type = $2 AND (aggregate_id, sequence) > ($3, $4) \
     AND ($6::text[] IS NULL OR event_type = ANY($6)) ORDER BY aggregate_id, sequence LIMIT $5"
);

/// What identifies the events of a range of positions.
pub(crate) const LEAVES: &str =
    "SELECT position, tenant_position, leaf_hash FROM events WHERE position BETWEEN $1 AND $2 ORDER BY position";

/// A counter of a tenant.
pub(crate) const COUNTER: &str = "SELECT value FROM counters WHERE tenant_id = $1 AND name = $2";

/// A tenant's facts.
pub(crate) const FACTS: &str = "SELECT aggregate_id, fact::text FROM facts WHERE tenant_id = $1";

/// One read may take so long; a server that is gone without a word must not keep anybody waiting.
const READ_TIMEOUT: Duration = Duration::from_secs(15);

/// So many events are in memory at once.
pub const PAGE_SIZE: i64 = 1_000;

/// The log, for reading.
#[derive(Debug, Clone)]
pub struct Log {
    pool: PgPool,
}

impl Log {
    /// The log behind this pool.
    #[must_use]
    pub const fn new(pool: PgPool) -> Self {
        Self { pool }
    }

    /// The position of the last event, 0 for an empty log.
    ///
    /// # Errors
    /// When PostgreSQL does not answer.
    pub async fn head(&self) -> Result<i64, sqlx::Error> {
        let rows = fetch(&self.pool, sqlx::query(HEAD)).await?;
        rows.first().ok_or(sqlx::Error::RowNotFound)?.try_get("position")
    }

    /// At most `limit` events after `position`.
    ///
    /// # Errors
    /// When PostgreSQL does not answer.
    pub async fn page(&self, position: i64, limit: i64) -> Result<Vec<Recorded>, sqlx::Error> {
        events(fetch(&self.pool, sqlx::query(PAGE).bind(position).bind(limit)).await?)
    }

    /// At most `limit` events of `tenant_id` after `tenant_position`.
    ///
    /// # Errors
    /// When PostgreSQL does not answer.
    pub async fn page_of_tenant(
        &self,
        tenant_id: Uuid,
        tenant_position: i64,
        limit: i64,
    ) -> Result<Vec<Recorded>, sqlx::Error> {
        let query = sqlx::query(PAGE_OF_TENANT).bind(tenant_id).bind(tenant_position).bind(limit);
        events(fetch(&self.pool, query).await?)
    }

    /// The position of the last event of `tenant_id`, counted in its own positions; `None` when nothing ever happened to it.
    ///
    /// # Errors
    /// When PostgreSQL does not answer.
    pub async fn tenant_head(&self, tenant_id: Uuid) -> Result<Option<i64>, sqlx::Error> {
        let rows = fetch(&self.pool, sqlx::query(TENANT_HEAD).bind(tenant_id)).await?;
        rows.first().map(|row| row.try_get("position")).transpose()
    }

    /// The position before the first event of `tenant_id` that happened at `time` or later, in a log of it that ends at `head`.
    ///
    /// # Errors
    /// When PostgreSQL does not answer.
    pub async fn tenant_position_before(
        &self,
        tenant_id: Uuid,
        time: DateTime<Utc>,
        head: i64,
    ) -> Result<i64, sqlx::Error> {
        let mut connection = self.pool.acquire().await?;
        match timeout(READ_TIMEOUT, position_before(&mut connection, tenant_id, time, head)).await {
            Ok(position) => position,
            Err(_) => {
                connection.close_on_drop();
                Err(sqlx::Error::PoolTimedOut)
            }
        }
    }

    /// At most `limit` events of one stream after `sequence`.
    ///
    /// # Errors
    /// When PostgreSQL does not answer.
    pub async fn page_of_stream(
        &self,
        stream: &StreamId,
        sequence: i64,
        limit: i64,
    ) -> Result<Vec<Recorded>, sqlx::Error> {
        let query = sqlx::query(PAGE_OF_STREAM)
            .bind(stream.tenant_id)
            .bind(stream.aggregate_type)
            .bind(stream.aggregate_id)
            .bind(sequence)
            .bind(limit);
        events(fetch(&self.pool, query).await?)
    }

    /// The events of one aggregate type in one tenant, stream by stream, each in its order; only those of `event_types` if given.
    pub fn streams_of_type(
        &self,
        tenant_id: Uuid,
        aggregate_type: &'static str,
        event_types: Option<Vec<String>>,
    ) -> impl Stream<Item = Result<Recorded, sqlx::Error>> + Send + 'static {
        let pool = self.pool.clone();
        pages((Uuid::nil(), 0_i64), move |(aggregate_id, sequence)| {
            let (pool, event_types) = (pool.clone(), event_types.clone());
            async move {
                let query = sqlx::query(PAGE_OF_TYPE)
                    .bind(tenant_id)
                    .bind(aggregate_type)
                    .bind(aggregate_id)
                    .bind(sequence)
                    .bind(PAGE_SIZE)
                    .bind(event_types);
                let page = events(fetch(&pool, query).await?)?;
                let last = page.last().map(|event| (event.aggregate_id, event.sequence));
                Ok((page, last))
            }
        })
    }

    /// Every event after `position` up to and with `until`, in order, a page in memory at a time.
    pub fn read(
        &self,
        position: i64,
        until: i64,
    ) -> impl Stream<Item = Result<Recorded, sqlx::Error>> + Send + 'static {
        let log = self.clone();
        pages(position, move |after| {
            let log = log.clone();
            async move {
                let limit = PAGE_SIZE.min(until.saturating_sub(after));
                let page = if limit > 0 { log.page(after, limit).await? } else { Vec::new() };
                let last = page.last().map(|event| event.position);
                Ok((page, last))
            }
        })
    }

    /// A tenant's counter, 0 when it was never moved.
    ///
    /// # Errors
    /// When PostgreSQL does not answer.
    pub async fn counter(&self, tenant_id: Uuid, name: &str) -> Result<i64, sqlx::Error> {
        let rows = fetch(&self.pool, sqlx::query(COUNTER).bind(tenant_id).bind(name)).await?;
        rows.first().map_or(Ok(0), |row| row.try_get("value"))
    }

    /// The tenant's facts of this moment, each with its stream and as its JSON text.
    ///
    /// # Errors
    /// When PostgreSQL does not answer.
    pub async fn facts(&self, tenant_id: Uuid) -> Result<Vec<(Uuid, String)>, sqlx::Error> {
        let rows = fetch(&self.pool, sqlx::query(FACTS).bind(tenant_id)).await?;
        rows.iter().map(<(Uuid, String)>::from_row).collect()
    }

    /// Whether these events, which came another way, stand in the log as they are; they follow one another and have their leaf hashes.
    ///
    /// # Errors
    /// When PostgreSQL does not answer.
    pub async fn confirms(&self, events: &[&Recorded]) -> Result<bool, sqlx::Error> {
        let (Some(first), Some(last)) = (events.first(), events.last()) else { return Ok(true) };
        let rows = fetch(&self.pool, sqlx::query(LEAVES).bind(first.position).bind(last.position)).await?;
        let leaves = rows.iter().map(<(i64, i64, Vec<u8>)>::from_row).collect::<Result<Vec<_>, _>>()?;
        let same = |(event, leaf): (&&Recorded, &(i64, i64, Vec<u8>))| {
            (event.position, event.tenant_position) == (leaf.0, leaf.1) && event.leaf_hash == leaf.2
        };
        Ok(leaves.len() == events.len() && events.iter().zip(&leaves).all(same))
    }
}

/// Runs one query within a bound. A connection that did not answer in time is not used again.
pub(crate) async fn fetch(pool: &PgPool, query: Query<'_, Postgres, PgArguments>) -> Result<Vec<PgRow>, sqlx::Error> {
    let mut connection = pool.acquire().await?;
    match timeout(READ_TIMEOUT, query.fetch_all(&mut *connection)).await {
        Ok(rows) => rows,
        Err(_) => {
            connection.close_on_drop();
            Err(sqlx::Error::PoolTimedOut)
        }
    }
}

fn events(rows: Vec<PgRow>) -> Result<Vec<Recorded>, sqlx::Error> {
    rows.iter().map(Recorded::from_row).collect()
}

/// Page after page as one stream; `fetch` answers a page and where the next one begins, nothing after an empty page.
fn pages<C, F, Fut>(first: C, fetch: F) -> impl Stream<Item = Result<Recorded, sqlx::Error>> + Send + 'static
where
    C: Send + 'static,
    F: Fn(C) -> Fut + Send + 'static,
    Fut: Future<Output = Result<(Vec<Recorded>, Option<C>), sqlx::Error>> + Send,
{
    use futures::{StreamExt, TryStreamExt, stream};
    stream::try_unfold((Some(first), fetch), |(cursor, fetch)| async move {
        let Some(cursor) = cursor else { return Ok(None) };
        let (page, next) = fetch(cursor).await?;
        Ok::<_, sqlx::Error>((!page.is_empty()).then_some((page, (next, fetch))))
    })
    .map_ok(|page| stream::iter(page).map(Ok))
    .try_flatten()
}
