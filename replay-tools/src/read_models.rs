//! Proving every read model against the log: what stands in the tables is what the log leads to.

use std::sync::Arc;

use hub_event_store::upcast::Upcasters;
use hub_projections::{projection::Projection, verify};
use serde::Serialize;
use serde_json::Value;
use sqlx::PgPool;

/// The result for one read model.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ReadModelReport {
    /// Its name.
    pub name: &'static str,
    /// The position at which it was compared.
    pub position: i64,
    /// How many events are parked, which are left out of the comparison and count as wrong.
    pub parked_count: usize,
    /// The first differences.
    pub differences: Vec<RowDifference>,
}

/// A row that is not what the log says.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RowDifference {
    /// The key columns and their values.
    pub key: Value,
    /// The row in the table; null when it is missing.
    pub found: Option<Value>,
    /// The row that the log leads to; null when there should be none.
    pub expected: Option<Value>,
}

impl ReadModelReport {
    /// Whether nothing is wrong.
    #[must_use]
    pub fn passed(&self) -> bool {
        self.parked_count == 0 && self.differences.is_empty()
    }
}

/// Compares each read model with the fold of the log up to its own checkpoint, one after the other.
///
/// `progress` is told the read model's name and how far of how much.
///
/// # Errors
/// When a comparison could not be made.
pub async fn verify_read_models(
    pool: &PgPool,
    upcasters: &Upcasters,
    projections: &[Arc<dyn Projection>],
    progress: &(dyn Fn(&str, i64, i64) + Send + Sync),
) -> Result<Vec<ReadModelReport>, verify::VerifyError> {
    let mut reports = Vec::with_capacity(projections.len());
    for projection in projections {
        let name = projection.name();
        let of_this = |done, all| progress(name, done, all);
        let verified = verify::verify(pool, upcasters, projections, name, &of_this).await?;
        let differences = verified.differences.into_iter();
        reports.push(ReadModelReport {
            name,
            position: verified.position,
            parked_count: verified.parked,
            differences: differences
                .map(|row| RowDifference { key: row.key, found: row.found, expected: row.expected })
                .collect(),
        });
    }
    Ok(reports)
}
