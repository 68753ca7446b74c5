//! The audit trail: who did what, when, and in which conversation, newest first.

use aide::transform::TransformOperation;
use axum::extract::State;
use chrono::{DateTime, Utc};
use hub_http::{
    Caller, Page, PageQuery, PlatformCaller, Problem, ReadConsistency, ReadPosition, Routes, TenantCaller,
    openapi::described,
};
use hub_projections::{audit::AuditEntries, model::ReadModel};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sqlx::FromRow;
use uuid::Uuid;

use crate::{
    event_type::EventTypeFilter,
    failure::failed,
    read::Sight,
    rows::known_or_filled,
    state::Queries,
    statement::{Statement, statement},
};

/// The tag of the context.
pub(crate) const TAG: &str = "audit";

/// Longest text to search for, in bytes.
const SEARCH_BYTES_MAX: usize = 200;

macro_rules! entries {
    ($first:literal) => {
        statement!(
            concat!(
                "SELECT a.position, a.tenant_id, a.tenant_position, a.event_id, a.occurred_at, a.event_type, a.aggregate_type, \
                 a.aggregate_id, a.sequence, a.actor, a.command_id, a.correlation_id, a.causation_id \
                 FROM audit_entries a WHERE ",
                $first
            ),
            [
                " AND a.tenant_id = $1",
                " AND a.position < $3",
                " AND a.occurred_at >= $4",
                " AND a.occurred_at < $5",
                " AND a.actor = $6",
                " AND a.event_type = $7",
                " AND starts_with(a.event_type, $8)",
                " AND a.aggregate_type = $9",
                " AND a.aggregate_id = $10",
                " AND a.correlation_id = $11",
                " AND a.search_words @@ websearch_to_tsquery('simple', $12)",
            ],
            " ORDER BY a.position DESC LIMIT $2",
        )
    };
}

/// What happened in one tenant.
pub(crate) const OF_TENANT: Statement = entries!("a.tenant_id = $1");

/// What happened anywhere.
pub(crate) const OF_PLATFORM: Statement = entries!("true");

pub(crate) fn routes() -> Routes<Queries> {
    Routes::new().get("/v1/audit", "audit:read", of_platform, describe_of_platform).get(
        "/v1/tenants/{tenant_id}/audit",
        "audit:read",
        of_tenant,
        describe_of_tenant,
    )
}

/// The filters of one tenant's trail.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct AuditFilter {
    /// Only what happened at this time or later.
    from: Option<DateTime<Utc>>,
    /// Only what happened before this time.
    to: Option<DateTime<Utc>>,
    /// Only what this principal did.
    actor: Option<String>,
    /// Only this type, or all types of an aggregate: `tenant.suspended`, `tenant.*`.
    event_type: Option<String>,
    /// Only what happened to aggregates of this type.
    aggregate_type: Option<String>,
    /// Only what happened to this aggregate.
    aggregate_id: Option<Uuid>,
    /// Only what belongs to this conversation.
    correlation_id: Option<Uuid>,
    /// Words that the entry must hold; `"several words"` for a phrase, `or` between alternatives, `-` before what it must not hold.
    q: Option<String>,
}

/// The filters of the whole trail.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct PlatformAuditFilter {
    /// Only what happened in this tenant.
    tenant_id: Option<Uuid>,
    /// Only what happened at this time or later.
    from: Option<DateTime<Utc>>,
    /// Only what happened before this time.
    to: Option<DateTime<Utc>>,
    /// Only what this principal did.
    actor: Option<String>,
    /// Only this type, or all types of an aggregate: `tenant.suspended`, `tenant.*`.
    event_type: Option<String>,
    /// Only what happened to aggregates of this type.
    aggregate_type: Option<String>,
    /// Only what happened to this aggregate.
    aggregate_id: Option<Uuid>,
    /// Only what belongs to this conversation.
    correlation_id: Option<Uuid>,
    /// Words that the entry must hold; `"several words"` for a phrase, `or` between alternatives, `-` before what it must not hold.
    q: Option<String>,
}

/// What happened, without the payload, which is in the tenant's events.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "AuditEntry")]
struct EntryAnswer {
    /// Place among the tenant's events.
    position: i64,
    /// Place in the whole log; told to the platform only.
    #[serde(skip_serializing_if = "Option::is_none")]
    log_position: Option<i64>,
    tenant_id: Uuid,
    event_id: Uuid,
    /// When it happened; informational, the order is `position`.
    occurred_at: DateTime<Utc>,
    /// What happened.
    event_type: String,
    /// What it happened to.
    aggregate_type: String,
    aggregate_id: Uuid,
    /// Place among the events of the same aggregate.
    sequence: i64,
    /// Who did it.
    actor: String,
    /// The command that led to it.
    command_id: Uuid,
    /// The conversation it belongs to.
    correlation_id: Uuid,
    /// What caused the command.
    causation_id: Option<Uuid>,
}

#[derive(Debug, FromRow)]
struct EntryRow {
    position: i64,
    tenant_id: Uuid,
    tenant_position: i64,
    event_id: Uuid,
    occurred_at: DateTime<Utc>,
    event_type: String,
    aggregate_type: String,
    aggregate_id: Uuid,
    sequence: i64,
    actor: String,
    command_id: Uuid,
    correlation_id: Uuid,
    causation_id: Option<Uuid>,
}

async fn of_tenant(
    TenantCaller { caller, tenant, .. }: TenantCaller,
    consistency: ReadConsistency,
    query: PageQuery<AuditFilter>,
    State(queries): State<Queries>,
) -> Result<Page<EntryAnswer>, Problem> {
    let search = Search { statement: &OF_TENANT, sight: tenant.into(), tenant_id: None, filter: &query.filter };
    let (rows, position) = search.read(&queries, &caller, consistency, &query).await?;
    let page = query.page(&queries.cursor_key, &caller, Some(tenant), rows, |row| row.position);
    Ok(page.map(|row| row.answer(false)).at(position))
}

async fn of_platform(
    PlatformCaller { caller, .. }: PlatformCaller,
    consistency: ReadConsistency,
    query: PageQuery<PlatformAuditFilter>,
    State(queries): State<Queries>,
) -> Result<Page<EntryAnswer>, Problem> {
    let asked = &query.filter;
    let filter = AuditFilter {
        from: asked.from,
        to: asked.to,
        actor: asked.actor.clone(),
        event_type: asked.event_type.clone(),
        aggregate_type: asked.aggregate_type.clone(),
        aggregate_id: asked.aggregate_id,
        correlation_id: asked.correlation_id,
        q: asked.q.clone(),
    };
    let search = Search {
        statement: &OF_PLATFORM,
        sight: caller.platform()?.into(),
        tenant_id: asked.tenant_id,
        filter: &filter,
    };
    let (rows, position) = search.read(&queries, &caller, consistency, &query).await?;
    let page = query.page(&queries.cursor_key, &caller, None, rows, |row| row.position);
    Ok(page.map(|row| row.answer(true)).at(position))
}

struct Search<'a> {
    statement: &'static Statement,
    /// The tenant that the caller is bound to, with which the statement then begins, or the platform.
    sight: Sight,
    /// The tenant that the platform looks for.
    tenant_id: Option<Uuid>,
    filter: &'a AuditFilter,
}

impl Search<'_> {
    async fn read<F>(
        &self,
        queries: &Queries,
        caller: &Caller,
        consistency: ReadConsistency,
        query: &PageQuery<F>,
    ) -> Result<(Vec<EntryRow>, ReadPosition), Problem> {
        let before: Option<i64> = query.open(&queries.cursor_key, caller, self.sight.tenant())?;
        let filter = self.filter;
        let event_type = filter.event_type.as_deref().map(EventTypeFilter::parse).transpose()?;
        let exact = EventTypeFilter::exact(event_type.as_ref());
        let prefix = EventTypeFilter::prefix(event_type.as_ref());
        let words = filter.q.as_deref().map(words).transpose()?;
        let mut reading = queries.reach_projection(self.sight, AuditEntries::NAME, consistency).await?;
        let text = self.statement.with([
            self.tenant_id.is_some(),
            before.is_some(),
            filter.from.is_some(),
            filter.to.is_some(),
            filter.actor.is_some(),
            exact.is_some(),
            prefix.is_some(),
            filter.aggregate_type.is_some(),
            filter.aggregate_id.is_some(),
            filter.correlation_id.is_some(),
            words.is_some(),
        ]);
        let rows = sqlx::query_as(&text)
            .bind(self.sight.tenant().map(|tenant| tenant.id()).or(self.tenant_id))
            .bind(query.fetch_limit())
            .bind(before)
            .bind(filter.from)
            .bind(filter.to)
            .bind(filter.actor.as_deref())
            .bind(exact)
            .bind(prefix)
            .bind(filter.aggregate_type.as_deref())
            .bind(filter.aggregate_id)
            .bind(filter.correlation_id)
            .bind(words)
            .fetch_all(&mut *reading.connection)
            .await
            .map_err(failed)?;
        if let Some(tenant) = self.sight.tenant() {
            known_or_filled(tenant, &rows, &mut reading.connection).await?;
        }
        Ok((rows, reading.position))
    }
}

impl EntryRow {
    fn answer(self, with_log_position: bool) -> EntryAnswer {
        EntryAnswer {
            position: self.tenant_position,
            log_position: with_log_position.then_some(self.position),
            tenant_id: self.tenant_id,
            event_id: self.event_id,
            occurred_at: self.occurred_at,
            event_type: self.event_type,
            aggregate_type: self.aggregate_type,
            aggregate_id: self.aggregate_id,
            sequence: self.sequence,
            actor: self.actor,
            command_id: self.command_id,
            correlation_id: self.correlation_id,
            causation_id: self.causation_id,
        }
    }
}

/// The words to search for; 400 `invalid_query` when there are none or too many.
fn words(text: &str) -> Result<&str, Problem> {
    let text = text.trim();
    if (1..=SEARCH_BYTES_MAX).contains(&text.len()) {
        return Ok(text);
    }
    Err(Problem::invalid_query(Some("q"), format!("q holds 1 to {SEARCH_BYTES_MAX} bytes of words")))
}

fn describe_of_tenant(operation: TransformOperation<'_>) -> TransformOperation<'_> {
    let description = "One entry for each of the tenant's events, newest first: who did what to what, when, by which command, in which \
        conversation. All filters must hold. `q` searches the words of the type, the actor and the texts of the payload, secrets and \
        tokens left out.";
    described(operation, "listAuditEntries", TAG, "Search a tenant's audit trail", description)
}

fn describe_of_platform(operation: TransformOperation<'_>) -> TransformOperation<'_> {
    let description = "The audit trail of all tenants, newest first, in the order of the whole log. Filters are those of a tenant's \
        trail, and `tenant_id`. Needs a key of the platform.";
    described(operation, "listPlatformAuditEntries", TAG, "Search the whole audit trail", description)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_search_has_words_and_a_bound() {
        assert_eq!(words(" ada ").unwrap(), "ada");
        for bad in ["", "  ", &"a".repeat(SEARCH_BYTES_MAX + 1)] {
            assert_eq!(words(bad).unwrap_err().code(), "invalid_query", "{bad}");
        }
    }
}
