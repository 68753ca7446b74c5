//! The check of sets of duties: the same rule as when a role is granted, over what is granted now.

use std::collections::BTreeMap;

use hub_domain::{
    control_check::FINDING_COUNT_MAX,
    duty_set::{Picture, violations},
    fact::Fact,
    text::Key,
};
use sqlx::types::Json;
use uuid::Uuid;

use super::{Asked, Found, Thing};

/// Tenants that have sets of duties, with how many.
pub(crate) const TENANTS: &str =
    "SELECT tenant_id, count(*) FROM facts WHERE aggregate_type = 'duty_set' GROUP BY tenant_id ORDER BY tenant_id";

/// What is judged together.
pub(crate) const FACTS: &str = "SELECT aggregate_id, fact FROM facts \
     WHERE tenant_id = $1 AND fact ->> 'kind' IN ('role', 'grant', 'duty_set')";

/// Judges every tenant's grants by its sets, one tenant after the other. A finding is a set; who does not keep to it is in the tenant's report.
pub(super) async fn violations_of_all(asked: Asked<'_>) -> Result<Found, sqlx::Error> {
    let mut found = Found::default();
    let tenants: Vec<(Uuid, i64)> = sqlx::query_as(TENANTS).fetch_all(asked.pool).await?;
    for (tenant_id, set_count) in tenants {
        let facts: Vec<(Uuid, Json<Fact>)> = sqlx::query_as(FACTS).bind(tenant_id).fetch_all(asked.pool).await?;
        let mut picture = Picture::default();
        facts.into_iter().for_each(|(stream, Json(fact))| picture.take(stream, fact));
        found.checked_count += super::unsigned(set_count);
        let mut holders: BTreeMap<Key, usize> = BTreeMap::new();
        for violation in violations(&picture, None, asked.now) {
            *holders.entry(violation.set).or_default() += 1;
        }
        for (set, count) in holders {
            found.finding_count += 1;
            if found.findings.len() < FINDING_COUNT_MAX {
                let what = format!("{count} principals hold more of its roles at a time than it allows");
                let about = format!("duty_set/{}", set.as_str());
                found.findings.push(Thing { tenant_id: Some(tenant_id), about, what });
            }
        }
    }
    Ok(found)
}
