//! Sets of duties.

use serde_json::{Value, json};
use uuid::Uuid;

use super::{Api, Tenant};

async fn roles<const N: usize>(tenant: Tenant<'_>, keys: [&str; N]) -> Vec<Uuid> {
    let mut roles = Vec::new();
    for key in keys {
        roles.push(tenant.make("roles", json!({ "key": key, "name": key })).await.0);
    }
    roles
}

fn definition(roles: &[Uuid], held_max: u32) -> Value {
    json!({ "key": "payments", "name": "Payments", "role_ids": roles, "held_max": held_max })
}

#[tokio::test]
async fn a_set_is_defined_changed_and_removed() {
    let api = Api::start().await;
    let acme = api.tenant("acme").await;
    let roles = roles(acme, ["order", "approve", "pay"]).await;
    let (id, path) = acme.make("duty-sets", definition(&roles[..2], 1)).await;
    api.refused(&acme.path("duty-sets"), definition(&roles, 1), "duty_set_key_taken").await;
    let change = json!({ "name": "All payments", "role_ids": roles, "held_max": 2 });
    api.done(&format!("{path}/change"), change.clone()).await;
    api.nothing(&format!("{path}/change"), change).await;
    let held_max: Value = sqlx::query_scalar("SELECT fact::jsonb->'held_max' FROM facts WHERE aggregate_id = $1")
        .bind(id)
        .fetch_one(&api.pool)
        .await
        .unwrap();
    assert_eq!(held_max, json!(2));
    api.done(&format!("{path}/remove"), Value::Null).await;
    api.refused(&format!("{path}/remove"), Value::Null, "duty_set_removed").await;
    acme.make("duty-sets", definition(&roles, 1)).await;
    assert_eq!(api.events(id).await, ["duty_set.defined", "duty_set.changed", "duty_set.removed"]);
}

#[tokio::test]
async fn a_set_has_roles_that_are_there_and_leaves_some_out() {
    let api = Api::start().await;
    let (acme, other) = (api.tenant("acme").await, api.tenant("other").await);
    let mine = roles(acme, ["order", "approve"]).await;
    let theirs = roles(other, ["pay"]).await;
    let path = acme.path("duty-sets");
    for (roles, held_max, code) in [
        (vec![mine[0]], 1, "duty_set_roles_out_of_bounds"),
        (vec![mine[0], mine[0]], 1, "duty_set_roles_out_of_bounds"),
        (mine.clone(), 0, "duty_set_held_max_out_of_bounds"),
        (mine.clone(), 2, "duty_set_held_max_out_of_bounds"),
        (vec![mine[0], theirs[0]], 1, "duty_set_role_unknown"),
    ] {
        api.refused(&path, definition(&roles, held_max), code).await;
    }
}
