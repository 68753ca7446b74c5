//! Writing the log out as NDJSON: one event a line, in order, a few pages in memory at a time.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use hub_event_store::{
    event::Recorded,
    log::{Log, PAGE_SIZE},
    scan::{Scan, Wanted},
};
use serde::Serialize;
use sqlx::PgPool;
use tokio::io::{AsyncWrite, AsyncWriteExt};
use uuid::Uuid;

/// Which events are written.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// Only this tenant's.
    pub tenant_id: Option<Uuid>,
    /// Only this type; `subscription.*` means every type of the aggregate.
    pub event_type: Option<String>,
    /// Only from this moment on.
    pub from: Option<DateTime<Utc>>,
    /// Only before this moment.
    pub to: Option<DateTime<Utc>>,
}

/// Why an export ended early.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    #[error("PostgreSQL: {0}")]
    Database(#[from] sqlx::Error),
    #[error("cannot write: {0}")]
    Write(#[from] std::io::Error),
    #[error("cannot write the event at position {position} as JSON: {source}")]
    Encode {
        /// Where the event stands.
        position: i64,
        /// What serde found.
        source: serde_json::Error,
    },
}

/// A line of the export: the event as stored, and its leaf hash in hexadecimal.
#[derive(Serialize)]
struct Line<'a> {
    #[serde(flatten)]
    event: &'a Recorded,
    leaf_hash: String,
}

/// Whether `*` at the end of `wanted` stands for any end of the type.
fn matches(wanted: &str, event_type: &str) -> bool {
    wanted.strip_suffix('*').map_or(event_type == wanted, |prefix| event_type.starts_with(prefix))
}

impl Filter {
    fn wanted(&self) -> Option<Wanted> {
        let wanted = self.event_type.clone()?;
        Some(Arc::new(move |event_type| matches(&wanted, event_type)))
    }

    fn admits(&self, event: &Recorded) -> bool {
        self.event_type.as_deref().is_none_or(|wanted| matches(wanted, &event.event_type))
            && self.from.is_none_or(|from| event.occurred_at >= from)
            && self.to.is_none_or(|to| event.occurred_at < to)
    }
}

/// The last place of a tenant's log, at or before this position.
pub(crate) const END_OF_TENANT: &str =
    "SELECT max(tenant_position) FROM events WHERE tenant_id = $1 AND position <= $2";

/// Where an export ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct End {
    /// The position of the log's last event.
    pub position: i64,
    /// The same in the positions of the tenant, if one is asked for; 0 when there is nothing.
    pub place: i64,
}

/// Where an export that begins now ends.
///
/// # Errors
/// When PostgreSQL does not answer.
pub async fn end(pool: &PgPool, tenant_id: Option<Uuid>) -> Result<End, sqlx::Error> {
    let position = Log::new(pool.clone()).head().await?;
    let Some(tenant_id) = tenant_id else { return Ok(End { position, place: position }) };
    let place: Option<i64> = sqlx::query_scalar(END_OF_TENANT).bind(tenant_id).bind(position).fetch_one(pool).await?;
    Ok(End { position, place: place.unwrap_or(0) })
}

/// Writes every event that the filter admits, up to the head at the beginning; answers how many.
///
/// # Errors
/// See [`export_until`].
pub async fn export(
    pool: &PgPool,
    filter: &Filter,
    output: impl AsyncWrite + Unpin,
    progress: impl FnMut(i64, i64),
) -> Result<u64, ExportError> {
    let head = Log::new(pool.clone()).head().await?;
    export_until(pool, filter, head, output, progress).await
}

/// The same up to a position that the log has reached.
///
/// `progress` is told how far of how much: positions of the log, or of the tenant if one is asked for.
///
/// # Errors
/// When PostgreSQL does not answer or the output takes no more.
pub async fn export_until(
    pool: &PgPool,
    filter: &Filter,
    head: i64,
    mut output: impl AsyncWrite + Unpin,
    mut progress: impl FnMut(i64, i64),
) -> Result<u64, ExportError> {
    let log = Log::new(pool.clone());
    let mut written = 0;
    if let Some(tenant_id) = filter.tenant_id {
        let mut after = 0;
        loop {
            let page = log.page_of_tenant(tenant_id, after, PAGE_SIZE).await?;
            for event in page.iter().filter(|event| event.position <= head) {
                written += write(event, filter, &mut output).await?;
            }
            let Some(last) = page.last().filter(|last| last.position <= head) else { break };
            after = last.tenant_position;
            progress(last.position, head);
        }
    } else {
        let mut scan = Scan::start(pool, 0, head, filter.wanted());
        while let Some(page) = scan.next().await? {
            for event in &page.events {
                written += write(event, filter, &mut output).await?;
            }
            progress(page.until, head);
        }
    }
    output.flush().await?;
    Ok(written)
}

async fn write(event: &Recorded, filter: &Filter, output: &mut (impl AsyncWrite + Unpin)) -> Result<u64, ExportError> {
    if !filter.admits(event) {
        return Ok(0);
    }
    let leaf_hash = event.leaf_hash.iter().map(|byte| format!("{byte:02x}")).collect();
    let mut line = serde_json::to_vec(&Line { event, leaf_hash })
        .map_err(|source| ExportError::Encode { position: event.position, source })?;
    line.push(b'\n');
    output.write_all(&line).await?;
    Ok(1)
}
