//! What a report is of: said at its head, and written down before it is handed over.

use chrono::{DateTime, Utc};
use hub_evidence::{checkpoint::Checkpoint, note::Note};
use serde::Serialize;
use sqlx::PgConnection;
use uuid::Uuid;

use crate::{Bound, Kind, ReportError, Request};

/// The place of a tenant's last event, and the time.
pub(crate) const HEAD: &str = "SELECT max(tenant_position), statement_timestamp() FROM events WHERE tenant_id = $1";

/// The place of the first event from this moment on, and of the last one before it. Times are no order, so there may be others between.
pub(crate) const FIRST_AT: &str = "SELECT min(tenant_position) FROM events WHERE tenant_id = $1 AND occurred_at >= $2";
pub(crate) const LAST_BEFORE: &str =
    "SELECT max(tenant_position) FROM events WHERE tenant_id = $1 AND occurred_at < $2";

/// The last checkpoint of a log.
pub(crate) const CHECKPOINT_LAST: &str =
    "SELECT note, sealed_at FROM checkpoints WHERE tenant_id = $1 ORDER BY size DESC LIMIT 1";

/// What a report is of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Head {
    /// The kind of report.
    pub report: Kind,
    /// Whose log it was made of.
    pub tenant_id: Uuid,
    /// The period as it was asked for.
    pub asked_from: Option<String>,
    /// The same.
    pub asked_to: Option<String>,
    /// The place of the first event of the period; one more than `to` when nothing happened in it.
    pub from: u64,
    /// The place of the last event of the period.
    pub to: u64,
    /// What the report was narrowed to.
    pub principal: Option<String>,
    /// The same.
    pub aggregate_type: Option<String>,
    /// The same.
    pub aggregate_id: Option<Uuid>,
    /// The place of the tenant's last event when the report was made.
    pub position: u64,
    /// When, by the clock of the database.
    pub made_at: DateTime<Utc>,
    /// The last signed checkpoint then; none when nothing was sealed yet.
    pub checkpoint: Option<LastCheckpoint>,
    /// How many rows there are.
    pub row_count: u64,
    /// Whether these are all. If not, the period is to be shortened, or the report made again from `continue_from` on.
    pub complete: bool,
    /// The place of the first event whose rows are left out.
    pub continue_from: Option<u64>,
}

/// A signed checkpoint of the tenant's log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LastCheckpoint {
    /// How many events it covers.
    pub size: u64,
    /// Their root, in base64.
    pub root: String,
    /// The whole signed note.
    pub note: String,
    /// When it was signed.
    pub sealed_at: DateTime<Utc>,
}

/// What is known before anything is read.
#[derive(Debug, Clone)]
pub(crate) struct Begun {
    pub(crate) from: i64,
    pub(crate) to: i64,
    position: i64,
    made_at: DateTime<Utc>,
    checkpoint: Option<LastCheckpoint>,
}

impl Begun {
    /// Finds the period, which must be one and not too long.
    pub(crate) async fn read(connection: &mut PgConnection, request: &Request) -> Result<Self, ReportError> {
        let tenant = request.tenant_id;
        let (position, made_at): (Option<i64>, DateTime<Utc>) =
            sqlx::query_as(HEAD).bind(tenant).fetch_one(&mut *connection).await?;
        let position = position.ok_or(ReportError::NoEvents)?;
        let refused = |parameter, detail: String| Err(ReportError::Invalid { parameter, detail });
        let from = match request.from {
            None => 1,
            Some(Bound::Position(place)) => i64::try_from(place).unwrap_or(i64::MAX),
            Some(Bound::Time(time)) => place(connection, FIRST_AT, tenant, time).await?.unwrap_or(position + 1),
        };
        let to = match request.to {
            None => position,
            Some(Bound::Position(place)) => i64::try_from(place).unwrap_or(i64::MAX),
            Some(Bound::Time(time)) => place(connection, LAST_BEFORE, tenant, time).await?.unwrap_or(0),
        };
        if !(1..=position + 1).contains(&from) {
            return refused("from", format!("the log of the tenant has the places 1 to {position}"));
        }
        if to > position {
            return refused("to", format!("the log of the tenant ends at {position}"));
        }
        if from > to + 1 {
            return refused("to", "the period ends before it begins".to_owned());
        }
        let (count, count_max) = (u64::try_from(to + 1 - from).unwrap_or(0), request.limits.position_count_max);
        if count > count_max && request.kind != Kind::History {
            return refused("from", format!("the period has {count} events, and a report is of {count_max} at most"));
        }
        let checkpoint = last_checkpoint(connection, tenant).await?;
        Ok(Self { from, to, position, made_at, checkpoint })
    }

    pub(crate) fn head(self, request: &Request, row_count: usize, complete: bool, continue_from: Option<i64>) -> Head {
        let unsigned = |place: i64| u64::try_from(place).unwrap_or_default();
        Head {
            report: request.kind,
            tenant_id: request.tenant_id,
            asked_from: request.from.map(Bound::text),
            asked_to: request.to.map(Bound::text),
            from: unsigned(self.from),
            to: unsigned(self.to),
            principal: request.principal.clone(),
            aggregate_type: request.aggregate_type.clone(),
            aggregate_id: request.aggregate_id,
            position: unsigned(self.position),
            made_at: self.made_at,
            checkpoint: self.checkpoint,
            row_count: row_count as u64,
            complete,
            continue_from: continue_from.map(unsigned),
        }
    }
}

async fn place(
    connection: &mut PgConnection,
    query: &'static str,
    tenant_id: Uuid,
    time: DateTime<Utc>,
) -> Result<Option<i64>, sqlx::Error> {
    sqlx::query_scalar(query).bind(tenant_id).bind(time).fetch_one(connection).await
}

/// The checkpoint as it was signed. One that cannot be read was changed by somebody, and is no checkpoint.
async fn last_checkpoint(
    connection: &mut PgConnection,
    tenant_id: Uuid,
) -> Result<Option<LastCheckpoint>, sqlx::Error> {
    let kept: Option<(String, DateTime<Utc>)> =
        sqlx::query_as(CHECKPOINT_LAST).bind(tenant_id).fetch_optional(connection).await?;
    Ok(kept.and_then(|(note, sealed_at)| {
        let parsed = Note::parse(note.as_bytes()).ok()?;
        let checkpoint = Checkpoint::parse(parsed.text()).ok()?;
        Some(LastCheckpoint { size: checkpoint.size(), root: checkpoint.root().to_base64(), note, sealed_at })
    }))
}
