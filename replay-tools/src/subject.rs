//! Everything that a tenant's log has about one person, as a document that can be signed and handed over.

use chrono::{DateTime, Utc};
use hub_vault::{KeyKind, OPENED_COUNT_MAX, Opened, Place, SealedText, Vault, VaultError};
use serde::Serialize;
use sqlx::{FromRow, PgPool, types::Json};
use uuid::Uuid;

use crate::evidence;

/// What the signature of such a document begins with.
pub const KIND: &str = "service-hub subject export v1";

/// More records than this are not written into one document.
pub const RECORD_COUNT_MAX: usize = 100_000;

/// How far the records of subjects are known.
pub(crate) const POSITION: &str =
    "SELECT coalesce(min(position), 0) FROM projection_checkpoints WHERE projection = 'subject_records'";

/// The fields that are sealed with a subject's key, with what they hold.
pub(crate) const RECORDS: &str = "
SELECT r.position, r.tenant_position, r.event_id, r.event_type, r.aggregate_type, r.aggregate_id, r.sequence, r.occurred_at, r.field,
    e.payload -> r.field AS value
FROM subject_records r
JOIN events e ON e.position = r.position
WHERE r.tenant_id = $1 AND r.subject_id = $2 AND (r.position, r.field) > ($3, $4)
ORDER BY r.position, r.field
LIMIT $5";

/// Why there is no document.
#[derive(Debug, thiserror::Error)]
pub enum SubjectError {
    #[error("PostgreSQL: {0}")]
    Database(#[from] sqlx::Error),
    #[error(transparent)]
    Vault(#[from] VaultError),
    #[error("the tenant's log has nothing about such a person")]
    Unknown,
    #[error("there are more than {RECORD_COUNT_MAX} records")]
    TooMany,
}

/// The document.
#[derive(Debug, Serialize)]
pub struct SubjectExport {
    /// The tenant whose log it is.
    pub tenant_id: Uuid,
    /// The person.
    pub subject_id: Uuid,
    /// When it was written.
    pub exported_at: DateTime<Utc>,
    /// When the person's data was erased; null while it can be read.
    pub erased_at: Option<DateTime<Utc>>,
    /// Every event up to this place of the whole log was looked at.
    pub position: i64,
    /// The last checkpoint of the tenant's log, a C2SP signed note; null when nothing is sealed yet.
    pub checkpoint: Option<String>,
    /// What there is, in the order of the log.
    pub records: Vec<Record>,
}

/// One field of one event.
#[derive(Debug, Serialize)]
pub struct Record {
    /// Place in the tenant's log, by which the event can be proven.
    pub tenant_position: i64,
    pub event_id: Uuid,
    pub event_type: String,
    pub aggregate_type: String,
    pub aggregate_id: Uuid,
    pub occurred_at: DateTime<Utc>,
    pub field: String,
    /// What it says; null when the key is destroyed.
    pub value: Option<String>,
}

#[derive(Debug, FromRow)]
struct Row {
    position: i64,
    tenant_position: i64,
    event_id: Uuid,
    event_type: String,
    aggregate_type: String,
    aggregate_id: Uuid,
    sequence: i64,
    occurred_at: DateTime<Utc>,
    field: String,
    value: Json<SealedField>,
}

#[derive(Debug, serde::Deserialize)]
struct SealedField {
    key_id: Uuid,
    sealed: String,
}

/// Gathers what the tenant's log has about the person.
///
/// # Errors
/// When there is no such person or too much, a text is not what was sealed for its place, or a database does not answer.
pub async fn export(
    pool: &PgPool,
    vault: &Vault,
    tenant_id: Uuid,
    subject_id: Uuid,
    now: DateTime<Utc>,
) -> Result<SubjectExport, SubjectError> {
    let state = vault.key_state(tenant_id, subject_id).await?.filter(|state| state.kind == KeyKind::Subject);
    let erased_at = state.ok_or(SubjectError::Unknown)?.destroyed_at;
    let position = sqlx::query_scalar(POSITION).fetch_one(pool).await?;
    let checkpoint = evidence::last_checkpoint(pool, tenant_id).await?;
    let mut records = Vec::new();
    let (mut after, mut field) = (0, String::new());
    let page = i64::try_from(OPENED_COUNT_MAX).expect("the bound is small");
    loop {
        let query = sqlx::query_as(RECORDS).bind(tenant_id).bind(subject_id).bind(after).bind(&field).bind(page);
        let rows: Vec<Row> = query.fetch_all(pool).await?;
        let Some(last) = rows.last() else { break };
        (after, field) = (last.position, last.field.clone());
        records.extend(opened(vault, tenant_id, rows).await?);
        if records.len() > RECORD_COUNT_MAX {
            return Err(SubjectError::TooMany);
        }
    }
    Ok(SubjectExport { tenant_id, subject_id, exported_at: now, erased_at, position, checkpoint, records })
}

async fn opened(vault: &Vault, tenant_id: Uuid, rows: Vec<Row>) -> Result<Vec<Record>, VaultError> {
    let texts: Vec<(Place<'_>, SealedText)> = rows
        .iter()
        .map(|row| {
            let Row { aggregate_type, aggregate_id, sequence, field, value: Json(value), .. } = row;
            let place = Place { tenant_id, aggregate_type, aggregate_id: *aggregate_id, sequence: *sequence, field };
            (place, SealedText { key_id: value.key_id, sealed: value.sealed.clone() })
        })
        .collect();
    let texts: Vec<_> = texts.iter().map(|(place, text)| (*place, text)).collect();
    let values = vault.open(&texts).await?;
    let record = |(row, value): (Row, Opened)| Record {
        tenant_position: row.tenant_position,
        event_id: row.event_id,
        event_type: row.event_type,
        aggregate_type: row.aggregate_type,
        aggregate_id: row.aggregate_id,
        occurred_at: row.occurred_at,
        field: row.field,
        value: match value {
            Opened::Text(text) => Some(text),
            Opened::Erased | Opened::Missing => None,
        },
    };
    Ok(rows.into_iter().zip(values).map(record).collect())
}
