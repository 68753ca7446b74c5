//! What lists and details of rows share: reading rows as JSON, and telling an empty list from an unknown tenant.

use std::slice;

use hub_http::{
    Detail, IfNoneMatch, Page, PageQuery, Past, Problem, ReadConsistency, ReadPosition, TenantCaller, TenantScope,
};
use hub_projections::model::{AggregateKey, ReadModel};
use serde::{Serialize, de::DeserializeOwned};
use sqlx::{PgConnection, Postgres, postgres::PgArguments, query::QueryScalar, types::Json};
use uuid::Uuid;

use crate::{
    failure::failed, heads::tenant_head, personal::Erased, reach::Source, read::Moment, state::Queries,
    statement::Statement,
};

/// Which row a detail is, and what the caller asks of it.
#[derive(Debug)]
pub(crate) struct Wanted<'a> {
    pub(crate) tenant: TenantScope,
    pub(crate) id: Uuid,
    pub(crate) consistency: ReadConsistency,
    pub(crate) known: &'a IfNoneMatch,
    /// The moment that is asked about; `None` is now.
    pub(crate) past: Option<Past>,
    /// The type of the stream that the row is folded from.
    pub(crate) aggregate_type: &'static str,
}

/// A statement that answers `to_jsonb` of a row, with its values bound.
pub(crate) type RowQuery<'q, R> = QueryScalar<'q, Postgres, Json<R>, PgArguments>;

/// A statement whose one column is a row as JSON.
pub(crate) fn rows_of<R: DeserializeOwned + Send + Unpin + 'static>(text: &str) -> RowQuery<'_, R> {
    sqlx::query_scalar(text)
}

/// The rows of a statement, in its order.
pub(crate) async fn fetch<R: DeserializeOwned + Send + Unpin + 'static>(
    query: RowQuery<'_, R>,
    connection: &mut PgConnection,
) -> Result<Vec<R>, Problem> {
    let rows = query.fetch_all(connection).await.map_err(failed)?;
    Ok(rows.into_iter().map(|Json(row)| row).collect())
}

/// One row of a table by tenant and id, null when there is none, with the checkpoint of its projection, `$3`, at the same moment.
macro_rules! detail {
    ($table:literal) => {
        concat!(
            "SELECT (SELECT min(c.position) FROM projection_checkpoints c WHERE c.projection = $3), \
             (SELECT to_jsonb(t) FROM ",
            $table,
            " t WHERE t.tenant_id = $1 AND t.id = $2)"
        )
    };
}
pub(crate) use detail;

/// Refuses with 404 `not_found` when a list is empty because there is no such tenant. The log knows every tenant from its first
/// event on, so this is right even while read models are behind; and it costs nothing where there are rows.
pub(crate) async fn known_or_filled<T>(
    tenant: TenantScope,
    rows: &[T],
    connection: &mut PgConnection,
) -> Result<(), Problem> {
    if rows.is_empty() {
        tenant_head(tenant, connection).await?;
    }
    Ok(())
}

/// The name of an enum's variant as it is stored; for enums that serde writes as text.
pub(crate) fn name_of(value: Option<&impl Serialize>) -> Option<String> {
    value.and_then(|value| match serde_json::to_value(value) {
        Ok(serde_json::Value::String(name)) => Some(name),
        Ok(_) | Err(_) => None,
    })
}

impl Queries {
    /// A page of a tenant's things in the order of their ids. The values of the statement are the tenant, how many rows, the id to go on behind,
    /// each of `filters`, and the condition that the caller's permission has; all but the first two have a condition each.
    pub(crate) async fn list<M: ReadModel<Key = AggregateKey>, F>(
        &self,
        statement: Statement,
        TenantCaller { caller, tenant, filter, .. }: TenantCaller,
        consistency: ReadConsistency,
        query: &PageQuery<F>,
        filters: &[Option<String>],
    ) -> Result<Page<M::Row>, Problem> {
        let after: Option<Uuid> = query.open(&self.cursor_key, &caller, Some(tenant))?;
        let mut reading = self.reach_projection(tenant, M::NAME, consistency).await?;
        let filtered = filters.iter().map(Option::is_some);
        let applies: Vec<bool> = [after.is_some()].into_iter().chain(filtered).chain([filter.is_some()]).collect();
        let text = statement.with(applies);
        let mut rows = rows_of(&text).bind(tenant.id()).bind(query.fetch_limit()).bind(after);
        for value in filters {
            rows = rows.bind(value.as_deref());
        }
        let mut rows = fetch(rows.bind(filter.as_deref()), &mut reading.connection).await?;
        known_or_filled(tenant, &rows, &mut reading.connection).await?;
        self.open::<M>(&mut rows).await?;
        let id = |row: &M::Row| M::key_of(row).id;
        Ok(query.page(&self.cursor_key, &caller, Some(tenant), rows, id).at(reading.position))
    }

    /// One row of a read model by tenant and id, with the sequence of its stream as `ETag`.
    pub(crate) async fn detail<M: ReadModel<Key = AggregateKey>>(
        &self,
        text: &'static str,
        wanted: Wanted<'_>,
        sequence: impl FnOnce(&M::Row) -> i64,
    ) -> Result<Detail<M::Row>, Problem>
    where
        M::Row: Unpin,
    {
        let (mut row, position) = self.row::<M, M::Row>(text, &wanted).await?;
        let Erased(erased) = self.open::<M>(slice::from_mut(&mut row)).await?;
        let sequence = sequence(&row);
        let detail = Detail::new(row, sequence, position);
        // What the caller has from before an erasure must not be used again.
        Ok(if erased { detail.replacing() } else { detail.unless(wanted.known) })
    }

    /// The same, when the statement answers more than the row; what does not come from events is missing of a row of the past.
    pub(crate) async fn detail_as<M: ReadModel<Key = AggregateKey>, R: DeserializeOwned + Send + Unpin + 'static>(
        &self,
        text: &'static str,
        wanted: Wanted<'_>,
        sequence: impl FnOnce(&R) -> i64,
    ) -> Result<Detail<R>, Problem> {
        let (row, position) = self.row::<M, R>(text, &wanted).await?;
        let sequence = sequence(&row);
        Ok(Detail::new(row, sequence, position).unless(wanted.known))
    }

    /// What the statement answers, or what it would have answered in the past, 404 `not_found` when that is nothing; with the position that it
    /// is of.
    async fn row<M: ReadModel<Key = AggregateKey>, R: DeserializeOwned + Send + Unpin + 'static>(
        &self,
        text: &'static str,
        wanted: &Wanted<'_>,
    ) -> Result<(R, ReadPosition), Problem> {
        if let Some(moment) = wanted.past {
            let (position, row) = self.past::<M>(wanted, moment).await?;
            // The same JSON that the table would have held.
            let row = serde_json::to_value(row).and_then(serde_json::from_value::<R>);
            return Ok((row.map_err(|error| failed(sqlx::Error::Decode(error.into())))?, position));
        }
        let wait = self.wait(Source::Projection(M::NAME), wanted.consistency).await;
        let (position, row) = loop {
            let told = wait.told();
            let mut reading = self.database.read(wanted.tenant.into(), Moment::OfStatement).await.map_err(failed)?;
            let query = sqlx::query_as(text).bind(wanted.tenant.id()).bind(wanted.id).bind(M::NAME);
            let (position, row): (Option<i64>, Option<Json<R>>) =
                query.fetch_one(&mut *reading).await.map_err(failed)?;
            let position = wait.latest(told, position.unwrap_or(0));
            if wait.reached(position) {
                break (ReadPosition(position), row);
            }
            drop(reading);
            wait.again(position).await?;
        };
        let Json(row) = row.ok_or_else(Problem::not_found)?;
        Ok((row, position))
    }
}

#[cfg(test)]
pub(crate) mod testing {
    use serde::{Serialize, de::DeserializeOwned};

    /// Each filter is written as a value that the field of the row can hold, since a filter under another name would find nothing.
    pub(crate) fn same_names<F: Serialize, R, T: DeserializeOwned + Serialize>(filters: &[F], _field: fn(&R) -> &T) {
        for filter in filters {
            let name = serde_json::to_value(filter).unwrap();
            let value: T = serde_json::from_value(name.clone()).unwrap();
            assert_eq!(serde_json::to_value(value).unwrap(), name);
        }
    }
}
