//! Erasures of a tenant: the list, one of them, and the certificate of an executed one.

use aide::transform::TransformOperation;
use axum::{Json, extract::State};
use hub_evidence::entry::{Entry, Timestamp};
use hub_http::{
    AsOf, Detail, IfNoneMatch, Page, PageQuery, Path, Problem, ReadConsistency, Routes, TenantCaller,
    openapi::described,
};
use hub_projections::erasure::{ErasureRow, ErasureStatus, Erasures, Executed};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{
    attributes::permitted,
    evidence::{EventAnswer as Proof, KeyAnswer, unusable},
    failure::failed,
    recorded::{EventAnswer, Read},
    rows::{Wanted, detail, name_of},
    state::Queries,
    statement::{Statement, statement},
};

/// The tag of the context.
pub(crate) const TAG: &str = "erasures";

/// Erasures of a tenant in the order of their ids.
pub(crate) const LIST: Statement = statement!(
    "SELECT to_jsonb(t) FROM erasures t WHERE t.tenant_id = $1",
    [" AND t.id > $3", " AND t.status = $4", permitted!("erasures", "$5")],
    " ORDER BY t.id LIMIT $2",
);

/// One erasure.
pub(crate) const DETAIL: &str = detail!("erasures");

/// The event that an erasure was executed with.
pub(crate) const EXECUTED: &str = "
SELECT tenant_id, tenant_position, event_id, event_type, event_version, aggregate_type, aggregate_id, sequence, occurred_at,
       payload::text AS payload, metadata::text AS metadata
FROM events
WHERE tenant_id = $1 AND aggregate_type = 'erasure' AND aggregate_id = $2 AND event_type = 'erasure.executed'
ORDER BY sequence DESC
LIMIT 1";

pub(crate) fn routes() -> Routes<Queries> {
    let all = "/v1/tenants/{tenant_id}/erasures";
    Routes::new().list(all, "erasure:read", list, describe_list).get_as_of(
        &format!("{all}/{{erasure_id}}"),
        "erasure:read",
        detail,
        describe_detail,
    )
}

/// Apart, since what was sealed moves without an event of the tenant, and answers are not to be kept.
pub(crate) fn certificate_routes() -> Routes<Queries> {
    let one = "/v1/tenants/{tenant_id}/erasures/{erasure_id}";
    Routes::new().get(&format!("{one}/certificate"), "erasure:read", certificate, describe_certificate)
}

#[derive(Debug, Deserialize, JsonSchema)]
struct ErasurePath {
    /// The data subject's id, or the tenant's own for its off-boarding.
    erasure_id: Uuid,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct ErasureFilter {
    /// Only those in this status.
    status: Option<ErasureStatus>,
}

/// That personal data was erased, with everything that is needed to verify it offline.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "ErasureCertificate")]
struct Certificate {
    tenant_id: Uuid,
    #[serde(flatten)]
    executed: Executed,
    /// The event that says so, as it stands in the tenant's log.
    event: EventAnswer,
    /// That the event is in a signed checkpoint. Its `proof`, saved to a file, is what `hub audit verify-proof` takes.
    evidence: Proof,
    /// The public keys of the platform; keep them elsewhere, too.
    keys: Vec<KeyAnswer>,
}

async fn list(
    caller: TenantCaller,
    consistency: ReadConsistency,
    query: PageQuery<ErasureFilter>,
    State(queries): State<Queries>,
) -> Result<Page<ErasureRow>, Problem> {
    let ErasureFilter { status } = &query.filter;
    queries.list::<Erasures, _>(LIST, caller, consistency, &query, &[name_of(status.as_ref())]).await
}

async fn detail(
    TenantCaller { tenant, .. }: TenantCaller,
    Path(path): Path<ErasurePath>,
    consistency: ReadConsistency,
    known: IfNoneMatch,
    as_of: AsOf,
    State(queries): State<Queries>,
) -> Result<Detail<ErasureRow>, Problem> {
    let wanted =
        Wanted { tenant, id: path.erasure_id, consistency, known: &known, past: as_of.0, aggregate_type: "erasure" };
    queries.detail::<Erasures>(DETAIL, wanted, |row| row.sequence).await
}

async fn certificate(
    caller: TenantCaller,
    Path(path): Path<ErasurePath>,
    consistency: ReadConsistency,
    State(queries): State<Queries>,
) -> Result<Json<Certificate>, Problem> {
    let tenant_id = caller.tenant.id();
    let mut seals = queries.seals(&caller, consistency).await?;
    let query = sqlx::query_as(EXECUTED).bind(tenant_id).bind(path.erasure_id);
    let event: Option<Read> = query.fetch_optional(&mut *seals.connection).await.map_err(failed)?;
    let event = event.map(EventAnswer::from).ok_or_else(Problem::not_found)?;
    let executed: Executed = serde_json::from_str(event.payload.get()).map_err(unusable)?;
    let entry = entry(&event, tenant_id);
    let line = entry.to_line().map_err(unusable)?;
    let evidence = seals.prove(tenant_id, entry.tenant_position, None, Some(line.into_bytes())).await?;
    let keys = seals.keys().await?;
    Ok(Json(Certificate { tenant_id, executed, event, evidence, keys }))
}

/// The event as evidence writes it, byte for byte.
fn entry(event: &EventAnswer, tenant_id: Uuid) -> Entry<'_> {
    Entry {
        tenant_position: event.position.unsigned_abs(),
        event_id: event.event_id,
        tenant_id,
        aggregate_type: (&*event.aggregate_type).into(),
        aggregate_id: event.aggregate_id,
        sequence: event.sequence,
        event_type: (&*event.event_type).into(),
        event_version: event.event_version,
        occurred_at: Timestamp::from_micros(event.occurred_at.timestamp_micros()),
        payload: event.payload.get().into(),
        metadata: event.metadata.get().into(),
    }
}

fn describe_list(operation: TransformOperation<'_>) -> TransformOperation<'_> {
    let description = "Whose personal data was asked to be erased and how far that is, in the order of ids.";
    described(operation, "listErasures", TAG, "List erasures", description)
}

fn describe_detail(operation: TransformOperation<'_>) -> TransformOperation<'_> {
    let description = "One erasure: when it is due, what defers it, and once it is executed what remains. `ETag` is the sequence of its \
                       stream, for `If-Match` on its commands.";
    described(operation, "getErasure", TAG, "Read an erasure", description)
}

fn describe_certificate(operation: TransformOperation<'_>) -> TransformOperation<'_> {
    let description = "Proves that an erasure was executed: what was destroyed and when, what remains and on what basis, the event that says \
                       so, and the proof that it stands in the tenant's signed log. 404 until the erasure is executed; it is covered by a \
                       checkpoint within a second, for which this waits up to two seconds and answers 503 `not_sealed` then.";
    described(operation, "getErasureCertificate", TAG, "Get the certificate of an erasure", description)
}
