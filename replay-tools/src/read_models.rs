//! Proving every read model against the log: what stands in the tables is what the log leads to.

use std::sync::Arc;

use hub_event_store::upcast::Upcasters;
use hub_projections::{
    projection::Projection,
    status::{self, ProjectionStatus, State},
    verify,
};
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
    /// The last position of the log when the comparison began.
    pub head: i64,
    /// Why the read model cannot be right whatever its rows are: it stands still, was never built, or an event cannot be read.
    pub trouble: Option<String>,
    /// How many events are parked, which are left out of the comparison and count as wrong.
    pub parked_count: usize,
    /// How many events somebody left out of the read model for good, with a reason; they are left out of the comparison.
    pub discarded_count: usize,
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
        self.trouble.is_none() && self.parked_count == 0 && self.differences.is_empty()
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
    for status in status::list(pool, projections).await? {
        let name = status.name;
        let of_this = |done, all| progress(name, done, all);
        let mut report = ReadModelReport {
            name,
            position: status.position,
            head: status.head,
            trouble: trouble_of(&status),
            parked_count: 0,
            discarded_count: 0,
            differences: Vec::new(),
        };
        match verify::verify(pool, upcasters, projections, name, &of_this).await {
            Ok(verified) => {
                report.position = verified.position;
                report.parked_count = verified.parked;
                report.discarded_count = verified.discarded;
                let differences = verified.differences.into_iter();
                report.differences = differences
                    .map(|row| RowDifference { key: row.key, found: row.found, expected: row.expected })
                    .collect();
            }
            // The others are still worth knowing.
            Err(error @ (verify::VerifyError::Poison { .. } | verify::VerifyError::Unsteady(_))) => {
                report.trouble = Some(error.to_string())
            }
            Err(error) => return Err(error),
        }
        reports.push(report);
    }
    Ok(reports)
}

pub(crate) fn trouble_of(status: &ProjectionStatus) -> Option<String> {
    if status.state == State::Stopped {
        let reason = status.last_error.as_deref().unwrap_or("nobody knows why");
        return Some(format!("it has stopped at position {}: {reason}", status.position));
    }
    (status.position == 0 && status.head > 0).then(|| "it was never built".to_owned())
}
