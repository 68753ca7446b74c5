//! The checks: each is one query over the platform's tables, or a look at what its rules say of them.
//!
//! A query says of every thing that it looks at whose it is, what it is, and what is wrong with it, if anything is. What it finds is counted
//! in full and listed up to a bound. Nothing that is found bears the name of a person: it is told by kind and id.

pub(crate) mod access;
pub(crate) mod configured;
pub(crate) mod duties;
pub(crate) mod log;
pub(crate) mod operation;

use chrono::{DateTime, Utc};
use hub_domain::{
    control_check::{Evaluation, FINDING_COUNT_MAX, Listed, Outcome, Sealed},
    finding,
    id::{PLATFORM_TENANT, TenantId},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sqlx::{PgPool, types::Json};
use strum::VariantArray;
use uuid::Uuid;

use crate::catalogue::{Control, catalogue};

/// No check changes anything.
const READ_ONLY: &str = "SET TRANSACTION READ ONLY";

/// One statement of a check may take so long; it ends a check that would hold PostgreSQL up.
const STATEMENT_LIMIT: &str = "SET LOCAL statement_timeout = '60s'";

/// What tells whether a control holds.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize, Serialize, JsonSchema, VariantArray,
)]
#[serde(rename_all = "snake_case")]
pub enum Check {
    /// How long events wait for their seal, in seconds.
    SealLag,
    /// When everything was last hashed anew, in hours.
    SelfCheckRecent,
    /// What self-checks of the last hours found.
    SelfCheckClean,
    /// Triggers on the log.
    AppendOnly,
    /// Row-level security of tables with a tenant.
    RowSecurity,
    /// What the roles of queries may do.
    QueryRoles,
    /// How old the keys are that sign checkpoints, in days.
    EvidenceKeyAge,
    /// Who may read files with keys.
    KeyFileModes,
    /// Whether the API is encrypted where it must be.
    ListenerTls,
    /// Where metrics are shown.
    MetricsListener,
    /// Addresses of webhooks and identity providers.
    OutboundAddresses,
    /// How long emergency accesses wait for their review, in days.
    BreakGlassUnreviewed,
    /// How long access goes on after its end, in seconds.
    TemporaryAccessOverdue,
    /// API keys that never end.
    ApiKeyWithoutEnd,
    /// How long API keys were not used, in days.
    ApiKeyUnused,
    /// How old the secrets of API keys are, in days.
    ApiKeyAge,
    /// For how many days holders of roles used nothing.
    GrantUnused,
    /// Tenants with fewer than two owners.
    SingleOwner,
    /// Sets of duties that somebody does not keep to.
    DutyViolations,
    /// How long ended principals still hold something, in seconds.
    EndedPrincipalGrants,
    /// How many logins of a tenant failed in a day.
    FailedLogins,
    /// Decisions that failed in a day.
    DecisionErrors,
    /// Events that read models have set aside.
    ParkedEvents,
    /// How far read models are behind, in seconds.
    ProjectionLag,
    /// How long events wait to be published, in seconds.
    RelayLag,
    /// How late things are that are due, in seconds.
    DueWorkLate,
    /// How long serious findings have been open, in days.
    FindingOpen,
}

/// What the rows of a check's query are made into: `$1` is now, `$2` the limit, `$3` how many findings are listed. `bound` has the first two;
/// each row is (tenant, thing, what is wrong with it or null), and no two are about the same thing of the same tenant.
macro_rules! check {
    ($looked:literal) => {
        concat!(
            "WITH bound AS (SELECT $1::timestamptz AS now, $2::bigint AS most), looked (tenant_id, about, what) AS (",
            $looked,
            ") SELECT (SELECT count(*) FROM looked), (SELECT count(*) FROM looked WHERE what IS NOT NULL), \
             (SELECT coalesce(jsonb_agg(to_jsonb(f)), '[]'::jsonb) FROM \
              (SELECT * FROM looked WHERE what IS NOT NULL ORDER BY tenant_id NULLS FIRST, about LIMIT $3::bigint) f)"
        )
    };
}
pub(crate) use check;

/// What a check found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Found {
    /// How many things were looked at.
    pub checked_count: u64,
    /// How many of them are not as demanded.
    pub finding_count: u64,
    /// The first of them.
    pub findings: Vec<Thing>,
}

/// A thing that is not as demanded.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Thing {
    /// Whose; nobody's, or the platform's, when it concerns the platform as a whole.
    pub tenant_id: Option<Uuid>,
    /// Kind and id.
    pub about: String,
    pub what: String,
}

/// When a check is made, and how much is too much for it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Asked<'a> {
    pub(crate) pool: &'a PgPool,
    pub(crate) now: DateTime<Utc>,
    pub(crate) limit: i64,
}

impl Check {
    /// What the limit of a control counts; none for a check that has no limit.
    #[must_use]
    pub fn unit(self) -> Option<&'static str> {
        match self {
            Self::SealLag
            | Self::TemporaryAccessOverdue
            | Self::EndedPrincipalGrants
            | Self::ProjectionLag
            | Self::RelayLag
            | Self::DueWorkLate => Some("seconds"),
            Self::SelfCheckRecent | Self::SelfCheckClean => Some("hours"),
            Self::EvidenceKeyAge
            | Self::BreakGlassUnreviewed
            | Self::ApiKeyUnused
            | Self::ApiKeyAge
            | Self::GrantUnused
            | Self::FindingOpen => Some("days"),
            Self::FailedLogins => Some("logins"),
            Self::AppendOnly
            | Self::RowSecurity
            | Self::QueryRoles
            | Self::KeyFileModes
            | Self::ListenerTls
            | Self::MetricsListener
            | Self::OutboundAddresses
            | Self::ApiKeyWithoutEnd
            | Self::SingleOwner
            | Self::DutyViolations
            | Self::DecisionErrors
            | Self::ParkedEvents => None,
        }
    }

    /// The query; none for the check that is more than one.
    fn text(self) -> Option<&'static str> {
        Some(match self {
            Self::SealLag => log::SEAL_LAG,
            Self::SelfCheckRecent => log::SELF_CHECK_RECENT,
            Self::SelfCheckClean => log::SELF_CHECK_CLEAN,
            Self::AppendOnly => log::APPEND_ONLY,
            Self::RowSecurity => log::ROW_SECURITY,
            Self::QueryRoles => log::QUERY_ROLES,
            Self::EvidenceKeyAge => log::EVIDENCE_KEY_AGE,
            Self::KeyFileModes => configured::KEY_FILE_MODES,
            Self::ListenerTls => configured::LISTENER_TLS,
            Self::MetricsListener => configured::METRICS_LISTENER,
            Self::OutboundAddresses => operation::OUTBOUND_ADDRESSES,
            Self::BreakGlassUnreviewed => access::BREAK_GLASS_UNREVIEWED,
            Self::TemporaryAccessOverdue => access::TEMPORARY_ACCESS_OVERDUE,
            Self::ApiKeyWithoutEnd => access::API_KEY_WITHOUT_END,
            Self::ApiKeyUnused => access::API_KEY_UNUSED,
            Self::ApiKeyAge => access::API_KEY_AGE,
            Self::GrantUnused => access::GRANT_UNUSED,
            Self::SingleOwner => access::SINGLE_OWNER,
            Self::EndedPrincipalGrants => access::ENDED_PRINCIPAL_GRANTS,
            Self::FailedLogins => access::FAILED_LOGINS,
            Self::DecisionErrors => access::DECISION_ERRORS,
            Self::ParkedEvents => operation::PARKED_EVENTS,
            Self::ProjectionLag => operation::PROJECTION_LAG,
            Self::RelayLag => operation::RELAY_LAG,
            Self::DueWorkLate => operation::DUE_WORK_LATE,
            Self::FindingOpen => operation::FINDING_OPEN,
            Self::DutyViolations => return None,
        })
    }

    async fn look(self, asked: Asked<'_>) -> Result<Found, sqlx::Error> {
        match self.text() {
            Some(text) => query(text, asked).await,
            None => duties::violations_of_all(asked).await,
        }
    }
}

/// Checks one control at `now`.
///
/// # Errors
/// When PostgreSQL does not answer.
pub async fn evaluate(
    pool: &PgPool,
    control: &Control,
    run_id: Uuid,
    now: DateTime<Utc>,
) -> Result<Evaluation, sqlx::Error> {
    // Before the check: whatever it says can be held against what was sealed by then.
    let sealed: Option<(i64, String)> = sqlx::query_as(log::SEALED).fetch_optional(pool).await?;
    let asked = Asked { pool, now, limit: control.limit.unwrap_or_default() };
    let Found { checked_count, finding_count, findings } = control.check.look(asked).await?;
    let outcome = match (checked_count, finding_count) {
        (0, _) => Outcome::NotApplicable,
        (_, 0) => Outcome::Pass,
        (_, _) => Outcome::Fail,
    };
    Ok(Evaluation {
        run_id,
        control_id: control.id.clone(),
        version: catalogue().version.clone(),
        outcome,
        checked_count,
        finding_count,
        findings: findings.into_iter().map(|thing| listed(control, thing)).collect(),
        sealed: sealed.map(|(size, root)| Sealed { size: unsigned(size), root }),
    })
}

fn listed(control: &Control, Thing { tenant_id, about, what }: Thing) -> Listed {
    let tenant_id = tenant_id.map(TenantId).filter(|tenant| *tenant != PLATFORM_TENANT);
    Listed { finding_id: finding::id_of(&control.id, tenant_id, &about), tenant_id, about, what }
}

async fn query(text: &'static str, Asked { pool, now, limit }: Asked<'_>) -> Result<Found, sqlx::Error> {
    let mut transaction = pool.begin().await?;
    sqlx::query(READ_ONLY).execute(&mut *transaction).await?;
    sqlx::query(STATEMENT_LIMIT).execute(&mut *transaction).await?;
    let (checked, found, Json(findings)): (i64, i64, Json<Vec<Thing>>) =
        sqlx::query_as(text).bind(now).bind(limit).bind(FINDING_COUNT_MAX as i64).fetch_one(&mut *transaction).await?;
    transaction.rollback().await?;
    Ok(Found { checked_count: unsigned(checked), finding_count: unsigned(found), findings })
}

fn unsigned(count: i64) -> u64 {
    u64::try_from(count).unwrap_or_default()
}
