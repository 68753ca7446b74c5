//! Findings of controls: the list and one of them.

use aide::transform::TransformOperation;
use axum::extract::State;
use hub_http::{
    Detail, IfNoneMatch, Page, PageQuery, Path, PlatformCaller, Problem, ReadConsistency, openapi::described,
};
use hub_projections::{
    finding::{FindingRow, FindingStatus, Findings, Severity},
    model::ReadModel,
};
use schemars::JsonSchema;
use serde::Deserialize;
use uuid::Uuid;

use super::TAG;
use crate::{
    rows::{fetch, name_of, rows_of},
    state::Queries,
    statement::{Statement, statement},
};

/// Findings in the order of their ids.
pub(crate) const LIST: Statement = statement!(
    "SELECT to_jsonb(t) FROM findings t WHERE true",
    [
        " AND t.id > $2",
        " AND t.status = $3",
        " AND t.severity = $4",
        " AND t.control_id = $5",
        " AND t.concerned_tenant_id = $6",
    ],
    " ORDER BY t.id LIMIT $1",
);

/// One finding.
pub(crate) const DETAIL: &str = "SELECT to_jsonb(t) FROM findings t WHERE t.id = $1";

#[derive(Debug, Deserialize, JsonSchema)]
pub(crate) struct FindingPath {
    /// The finding.
    finding_id: Uuid,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct FindingFilter {
    /// Only those in this status.
    status: Option<FindingStatus>,
    /// Only those of this severity.
    severity: Option<Severity>,
    /// Only those of this control.
    control_id: Option<String>,
    /// Only those that concern this tenant.
    concerned_tenant_id: Option<Uuid>,
}

pub(crate) async fn list(
    PlatformCaller { caller, .. }: PlatformCaller,
    consistency: ReadConsistency,
    query: PageQuery<FindingFilter>,
    State(queries): State<Queries>,
) -> Result<Page<FindingRow>, Problem> {
    let after: Option<Uuid> = query.open(&queries.cursor_key, &caller, None)?;
    let mut reading = queries.reach_projection(caller.platform()?, Findings::NAME, consistency).await?;
    let FindingFilter { status, severity, control_id, concerned_tenant_id } = &query.filter;
    let text = LIST.with([
        after.is_some(),
        status.is_some(),
        severity.is_some(),
        control_id.is_some(),
        concerned_tenant_id.is_some(),
    ]);
    let rows = rows_of(&text)
        .bind(query.fetch_limit())
        .bind(after)
        .bind(name_of(status.as_ref()))
        .bind(name_of(severity.as_ref()))
        .bind(control_id.as_deref())
        .bind(concerned_tenant_id);
    let rows = fetch(rows, &mut reading.connection).await?;
    Ok(query.page(&queries.cursor_key, &caller, None, rows, |row: &FindingRow| row.id).at(reading.position))
}

pub(crate) async fn detail(
    PlatformCaller { caller, .. }: PlatformCaller,
    Path(FindingPath { finding_id }): Path<FindingPath>,
    consistency: ReadConsistency,
    known: IfNoneMatch,
    State(queries): State<Queries>,
) -> Result<Detail<FindingRow>, Problem> {
    let mut reading = queries.reach_projection(caller.platform()?, Findings::NAME, consistency).await?;
    let rows: Vec<FindingRow> = fetch(rows_of(DETAIL).bind(finding_id), &mut reading.connection).await?;
    let row = rows.into_iter().next().ok_or_else(Problem::not_found)?;
    let sequence = row.sequence;
    Ok(Detail::new(row, sequence, reading.position).unless(&known))
}

pub(crate) fn describe_list(operation: TransformOperation<'_>) -> TransformOperation<'_> {
    let description = "What controls have found, in the order of ids, and how far people are with it; what is not found any more is \
                       `verified`. Needs a key of the platform.";
    described(operation, "listFindings", TAG, "List findings", description)
}

pub(crate) fn describe_detail(operation: TransformOperation<'_>) -> TransformOperation<'_> {
    let description = "One finding. `ETag` is the sequence of its stream, for `If-Match` on its commands. Needs a key of the platform.";
    described(operation, "getFinding", TAG, "Read a finding", description)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rows::testing::same_names;

    #[test]
    fn filters_are_named_as_the_rows_have_them() {
        same_names(&[FindingStatus::Open, FindingStatus::RiskAccepted], |row: &FindingRow| &row.status);
        same_names(&[Severity::Low, Severity::Critical], |row: &FindingRow| &row.severity);
    }
}
