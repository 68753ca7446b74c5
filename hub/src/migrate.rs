//! Brings a database up to date with this program: its schema, and the facts that decisions read.

use anyhow::Context as _;
use hub_commands::effects::{FACTS_VERSION, fact_sources};
use hub_event_store::facts::{self, FactSources};
use sqlx::PgPool;
use sqlx::migrate::Migrator;

use crate::serve::upcasters;

/// Every migration, in order, compiled into the program.
pub static MIGRATOR: Migrator = sqlx::migrate!("../migrations");

/// What facts are made of.
#[must_use]
pub fn sources() -> FactSources {
    FactSources::new(fact_sources(), upcasters())
}

/// Applies the migrations that the database does not have yet, each once, and makes the facts anew that an older program has written, or
/// has not; each under a lock, so that several processes may call this at the same moment.
///
/// # Errors
/// When a migration fails, when one that was applied has been changed since, when the database is newer than this program, or when it
/// does not answer.
pub async fn migrate(pool: &PgPool) -> anyhow::Result<()> {
    MIGRATOR.run(pool).await?;
    let made = facts::catch_up(pool, &sources(), FACTS_VERSION).await.context("cannot make the facts anew")?;
    let Some(report) = made else { return Ok(()) };
    if report.difference_count > 0 {
        let (facts, tenants) = (report.difference_count, report.tenants.len());
        tracing::info!(facts, tenants, version = FACTS_VERSION, "facts were made anew from the log");
    }
    for stream in &report.unreadable {
        let (tenant_id, aggregate_type, aggregate_id) = (stream.tenant_id, &stream.aggregate_type, stream.aggregate_id);
        tracing::error!(%tenant_id, aggregate_type, %aggregate_id, "facts stay as they are: {}", stream.what);
    }
    Ok(())
}
