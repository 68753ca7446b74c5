//! What conditions of permissions may look at, taken from rows: the same expression for one thing and for the things of a list.

use hub_http::{Attributes, Problem, Resources, access::BoxFuture};
use serde_json::Value;
use sqlx::types::Json;
use uuid::Uuid;

use crate::{failure::failed, read::Database};

/// The attributes of a row `t` of a table as a JSON object; the names are those of the domain's catalogue.
macro_rules! attributes {
    ("roles") => {
        "jsonb_build_object('id', t.id, 'key', t.key, 'system', t.system)"
    };
    ("service_instances") => {
        "jsonb_build_object('id', t.id, 'plan', t.plan, 'service', t.service)"
    };
    ("subscriptions") => {
        "jsonb_build_object('id', t.id, 'plan', t.plan_code, 'stage', t.stage)"
    };
    ($table:literal) => {
        "jsonb_build_object('id', t.id)"
    };
}

/// A condition of a list: the caller may see the row, says the filter of the place given.
macro_rules! permitted {
    ($table:tt, $place:literal) => {
        concat!(" AND access_permits(", $place, ", ", $crate::attributes::attributes!($table), ")")
    };
}

macro_rules! of_one {
    ($table:tt) => {
        concat!("SELECT ", attributes!($table), " FROM ", $table, " t WHERE t.tenant_id = $1 AND t.id = $2")
    };
}

pub(crate) use {attributes, permitted};

/// The attributes of one thing, by its kind; things of other kinds have none.
pub(crate) const OF_ONE: &[(&str, &str)] = &[
    ("role", of_one!("roles")),
    ("service_instance", of_one!("service_instances")),
    ("subscription", of_one!("subscriptions")),
];

/// Reads attributes from the read models.
#[derive(Debug, Clone)]
pub(crate) struct OfRows(pub(crate) Database);

impl Resources for OfRows {
    fn attributes<'a>(
        &'a self,
        tenant_id: Uuid,
        resource: &'a str,
        id: Uuid,
    ) -> BoxFuture<'a, Result<Option<Attributes>, Problem>> {
        Box::pin(async move {
            let Some((_, text)) = OF_ONE.iter().find(|(kind, _)| *kind == resource) else { return Ok(None) };
            let query = sqlx::query_scalar(text).bind(tenant_id).bind(id);
            let mut transaction = self.0.read_for_gate(tenant_id).await.map_err(failed)?;
            let row: Option<Json<Value>> = query.fetch_optional(&mut *transaction).await.map_err(failed)?;
            Ok(row.map(|Json(row)| {
                let offered = names_of(resource);
                offered.iter().filter_map(|name| Some((*name, row.get(*name)?.clone()))).collect()
            }))
        })
    }
}

/// The names of a kind's attributes, as the expressions above have them.
fn names_of(resource: &str) -> &'static [&'static str] {
    match resource {
        "role" => &["key", "system"],
        "service_instance" => &["plan", "service"],
        "subscription" => &["plan", "stage"],
        _ => &[],
    }
}
