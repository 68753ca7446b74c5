//! Reading the log: whole, of one tenant, of one stream; always in order, always a page at a time.

use futures::Stream;
use sqlx::PgPool;
use uuid::Uuid;

use crate::event::{Recorded, StreamId, event_columns};

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
     ORDER BY aggregate_id, sequence LIMIT $5"
);

/// A counter of a tenant.
pub(crate) const COUNTER: &str = "SELECT value FROM counters WHERE tenant_id = $1 AND name = $2";

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
        sqlx::query_scalar(HEAD).fetch_one(&self.pool).await
    }

    /// At most `limit` events after `position`.
    ///
    /// # Errors
    /// When PostgreSQL does not answer.
    pub async fn page(&self, position: i64, limit: i64) -> Result<Vec<Recorded>, sqlx::Error> {
        sqlx::query_as(PAGE).bind(position).bind(limit).fetch_all(&self.pool).await
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
        sqlx::query_as(PAGE_OF_TENANT).bind(tenant_id).bind(tenant_position).bind(limit).fetch_all(&self.pool).await
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
        sqlx::query_as(PAGE_OF_STREAM)
            .bind(stream.tenant_id)
            .bind(stream.aggregate_type)
            .bind(stream.aggregate_id)
            .bind(sequence)
            .bind(limit)
            .fetch_all(&self.pool)
            .await
    }

    /// All events of one aggregate type in one tenant, stream by stream, each in its order.
    pub fn streams_of_type(
        &self,
        tenant_id: Uuid,
        aggregate_type: &'static str,
    ) -> impl Stream<Item = Result<Recorded, sqlx::Error>> + Send + 'static {
        let pool = self.pool.clone();
        pages((Uuid::nil(), 0_i64), move |(aggregate_id, sequence)| {
            let pool = pool.clone();
            async move {
                let page: Vec<Recorded> = sqlx::query_as(PAGE_OF_TYPE)
                    .bind(tenant_id)
                    .bind(aggregate_type)
                    .bind(aggregate_id)
                    .bind(sequence)
                    .bind(PAGE_SIZE)
                    .fetch_all(&pool)
                    .await?;
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
        let value = sqlx::query_scalar(COUNTER).bind(tenant_id).bind(name).fetch_optional(&self.pool).await?;
        Ok(value.unwrap_or(0))
    }
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
