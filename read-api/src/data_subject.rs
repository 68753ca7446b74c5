//! Data subjects: the people that personal data in a tenant's log is about, found by what they are known by, and told what there is.

use aide::transform::TransformOperation;
use axum::{Json, extract::State};
use chrono::{DateTime, Utc};
use hub_http::{
    Body, Page, PageQuery, Path, Problem, ReadConsistency, Routes, TenantCaller, TenantScope, openapi::described,
};
use hub_projections::{
    model::ReadModel,
    personal::{PersonalField, PersonalText},
    subject_record::{SubjectRecordRow, SubjectRecords},
};
use hub_vault::{KeyKind, KeyState, Vault};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sqlx::{FromRow, types::Json as Column};
use uuid::Uuid;

use crate::{
    failure::{failed, unreachable_keys},
    state::Queries,
    statement::{Statement, statement},
};

/// The tag of the context.
pub(crate) const TAG: &str = "data-subjects";

/// The fields that are sealed with a subject's key, in the order of their events, each as it stands in the log.
pub(crate) const RECORDS: Statement = statement!(
    "SELECT to_jsonb(r) AS record, e.payload -> r.field AS value FROM subject_records r JOIN events e ON e.position = r.position \
     WHERE r.tenant_id = $1 AND r.subject_id = $3",
    [" AND (r.position, r.field) > ($4, $5)"],
    " ORDER BY r.position, r.field LIMIT $2",
);

/// Longest mail address, in bytes.
const EMAIL_BYTES_MAX: usize = 254;

pub(crate) fn routes() -> Routes<Queries> {
    let all = "/v1/tenants/{tenant_id}/data-subjects";
    Routes::new()
        .post(&format!("{all}/find"), "data_subject:read", find, describe_find)
        .get(&format!("{all}/{{subject_id}}"), "data_subject:read", detail, describe_detail)
        .get(&format!("{all}/{{subject_id}}/records"), "data_subject:read", records, describe_records)
}

#[derive(Debug, Deserialize, JsonSchema)]
struct SubjectPath {
    /// The data subject.
    subject_id: Uuid,
}

/// What a person is known by; in a body, so that it stands in no log of addresses.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct FindDataSubject {
    /// In whatever case its letters are.
    #[schemars(email, length(max = EMAIL_BYTES_MAX))]
    email: String,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct NoFilter {}

/// A person whose data is in the tenant's log.
#[derive(Debug, Serialize, JsonSchema)]
struct DataSubject {
    subject_id: Uuid,
    /// When the first of the data was taken in.
    created_at: DateTime<Utc>,
    /// When the key was destroyed that all of it is sealed with; null while it can be read.
    erased_at: Option<DateTime<Utc>>,
}

/// One thing that the log has about a person.
#[derive(Debug, Serialize, JsonSchema)]
struct DataSubjectRecord {
    #[serde(flatten)]
    record: SubjectRecordRow,
    /// What it says; `[erased]` when the subject's key is destroyed.
    value: PersonalText,
}

#[derive(Debug, FromRow)]
struct RecordRow {
    record: Column<SubjectRecordRow>,
    value: Column<Value>,
}

async fn find(
    TenantCaller { tenant, .. }: TenantCaller,
    State(queries): State<Queries>,
    body: Body<FindDataSubject>,
) -> Result<Json<DataSubject>, Problem> {
    let email = body.value.email;
    if email.len() > EMAIL_BYTES_MAX {
        return Err(Problem::not_found());
    }
    let vault = queries.vault()?;
    let found = vault.subject_by_email(tenant.id(), &email).await.map_err(unreachable_keys)?;
    subject(vault, tenant, found.ok_or_else(Problem::not_found)?).await.map(Json)
}

async fn detail(
    TenantCaller { tenant, .. }: TenantCaller,
    Path(path): Path<SubjectPath>,
    State(queries): State<Queries>,
) -> Result<Json<DataSubject>, Problem> {
    subject(queries.vault()?, tenant, path.subject_id).await.map(Json)
}

async fn records(
    TenantCaller { caller, tenant, .. }: TenantCaller,
    Path(SubjectPath { subject_id }): Path<SubjectPath>,
    consistency: ReadConsistency,
    query: PageQuery<NoFilter>,
    State(queries): State<Queries>,
) -> Result<Page<DataSubjectRecord>, Problem> {
    subject(queries.vault()?, tenant, subject_id).await?;
    let after: Option<(i64, String)> = query.open(&queries.cursor_key, &caller, Some(tenant))?;
    let mut reading = queries.reach_projection(tenant, SubjectRecords::NAME, consistency).await?;
    let text = RECORDS.with([after.is_some()]);
    let (position, field) = after.unzip();
    let rows =
        sqlx::query_as(&text).bind(tenant.id()).bind(query.fetch_limit()).bind(subject_id).bind(position).bind(field);
    let rows: Vec<RecordRow> = rows.fetch_all(&mut *reading.connection).await.map_err(failed)?;
    let mut records: Vec<DataSubjectRecord> = rows.into_iter().map(DataSubjectRecord::from).collect();
    let mut fields: Vec<PersonalField<'_>> = records.iter_mut().map(DataSubjectRecord::field).collect();
    queries.open_fields(&mut fields).await?;
    let last = |record: &DataSubjectRecord| (record.record.position, record.record.field.clone());
    Ok(query.page(&queries.cursor_key, &caller, Some(tenant), records, last).at(reading.position))
}

/// What is known of a subject; 404 when the tenant has no such.
async fn subject(vault: &Vault, tenant: TenantScope, subject_id: Uuid) -> Result<DataSubject, Problem> {
    match vault.key_state(tenant.id(), subject_id).await.map_err(unreachable_keys)? {
        Some(KeyState { kind: KeyKind::Subject, created_at, destroyed_at }) => {
            Ok(DataSubject { subject_id, created_at, erased_at: destroyed_at })
        }
        Some(_) | None => Err(Problem::not_found()),
    }
}

impl From<RecordRow> for DataSubjectRecord {
    fn from(RecordRow { record: Column(record), value: Column(value) }: RecordRow) -> Self {
        let sealed = |name: &str| value[name].as_str().unwrap_or_default().to_owned();
        let value =
            PersonalText::Sealed { key_id: record.subject_id, sealed: sealed("sealed"), sequence: record.sequence };
        Self { record, value }
    }
}

impl DataSubjectRecord {
    fn field(&mut self) -> PersonalField<'_> {
        PersonalField {
            tenant_id: self.record.tenant_id,
            aggregate_type: &self.record.aggregate_type,
            aggregate_id: self.record.aggregate_id,
            field: &self.record.field,
            text: &mut self.value,
        }
    }
}

fn describe_find(operation: TransformOperation<'_>) -> TransformOperation<'_> {
    let description = "Finds the person with a mail address by a keyed hash of it; 404 when the tenant's log has nothing about anybody with \
        it, or all of it was erased.";
    described(operation, "findDataSubject", TAG, "Find a data subject", description)
}

fn describe_detail(operation: TransformOperation<'_>) -> TransformOperation<'_> {
    let description = "One data subject, erased or not.";
    described(operation, "getDataSubject", TAG, "Read a data subject", description)
}

fn describe_records(operation: TransformOperation<'_>) -> TransformOperation<'_> {
    let description = "Everything that the tenant's log has about a person, in the order of the log, opened: what an access request asks for.";
    described(operation, "listDataSubjectRecords", TAG, "List what is known of a data subject", description)
}
