//! What lists and details of rows share: reading rows as JSON, and telling an empty list from an unknown tenant.

use hub_http::{Detail, IfNoneMatch, Problem, ReadConsistency, TenantScope};
use hub_projections::model::ReadModel;
use serde::{Serialize, de::DeserializeOwned};
use sqlx::{PgPool, Postgres, postgres::PgArguments, query::QueryScalar, types::Json};

use uuid::Uuid;

use crate::{failure::failed, state::Queries};

/// Which row a detail is, and what the caller asks of it.
#[derive(Debug)]
pub(crate) struct Wanted<'a> {
    pub(crate) tenant: TenantScope,
    pub(crate) id: Uuid,
    pub(crate) consistency: ReadConsistency,
    pub(crate) known: &'a IfNoneMatch,
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
    pool: &PgPool,
) -> Result<Vec<R>, Problem> {
    let rows = query.fetch_all(pool).await.map_err(failed)?;
    Ok(rows.into_iter().map(|Json(row)| row).collect())
}

/// The one row of a statement; 404 `not_found` when there is none, whoever it may belong to.
pub(crate) async fn fetch_one<R: DeserializeOwned + Send + Unpin + 'static>(
    query: RowQuery<'_, R>,
    pool: &PgPool,
) -> Result<R, Problem> {
    let row = query.fetch_optional(pool).await.map_err(failed)?;
    row.map(|Json(row)| row).ok_or_else(Problem::not_found)
}

/// The name of an enum's variant as it is stored; for enums that serde writes as text.
pub(crate) fn name_of(value: Option<&impl Serialize>) -> Option<String> {
    value.and_then(|value| match serde_json::to_value(value) {
        Ok(serde_json::Value::String(name)) => Some(name),
        Ok(_) | Err(_) => None,
    })
}

impl Queries {
    /// One row of a read model by tenant and id, with the sequence of its stream as `ETag`.
    pub(crate) async fn detail<M: ReadModel>(
        &self,
        text: &'static str,
        wanted: Wanted<'_>,
        sequence: impl FnOnce(&M::Row) -> i64,
    ) -> Result<Detail<M::Row>, Problem>
    where
        M::Row: Unpin,
    {
        let position = self.reach_projection(M::NAME, wanted.consistency).await?;
        let row: M::Row = fetch_one(rows_of(text).bind(wanted.tenant.id()).bind(wanted.id), &self.pool).await?;
        let sequence = sequence(&row);
        Ok(Detail::new(row, sequence, position).unless(wanted.known))
    }

    /// Refuses with 404 `not_found` when a list is empty because there is no such tenant. The log knows every tenant from its first
    /// event on, so this is right even while read models are behind; and it costs nothing where there are rows.
    pub(crate) async fn known_or_filled<T>(&self, tenant: TenantScope, rows: &[T]) -> Result<(), Problem> {
        if rows.is_empty() {
            self.tenant_head(tenant).await?;
        }
        Ok(())
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
