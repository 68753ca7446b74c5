//! Templates of roles, and roles made from them.

use serde_json::{Value, json};
use uuid::Uuid;

use super::Api;

fn permission(action: &str) -> Value {
    json!({ "resource": "service_instance", "actions": [action], "effect": "allow" })
}

fn template(key: &str) -> Value {
    json!({ "key": key, "name": "Operator", "description": "", "permissions": [permission("read")] })
}

/// What the role permits, as decisions read it.
async fn actions(api: &Api, role: Uuid) -> Vec<String> {
    let found: Vec<String> = sqlx::query_scalar(
        "SELECT jsonb_path_query(fact::jsonb, '$.permissions[*].actions[*]') #>> '{}' FROM facts \
         WHERE aggregate_id = $1 AND part = 'role' ORDER BY 1",
    )
    .bind(role)
    .fetch_all(&api.pool)
    .await
    .unwrap();
    found
}

#[tokio::test]
async fn a_role_is_made_from_a_template_and_follows_it() {
    let api = Api::start().await;
    let acme = api.tenant("acme").await;
    let made = api.post("/v1/role-templates", template("operator")).await;
    assert_eq!(made.status, 201, "{made:?}");
    let path = format!("/v1/role-templates/{}", made.id());
    let body = json!({ "role_template_id": made.id(), "key": "operator", "name": "Operator" });
    let role = api.post(&acme.path("roles/from-template"), body).await;
    assert_eq!(role.status, 201, "{role:?}");
    assert_eq!(actions(&api, role.id()).await, ["read"]);
    let role_path = acme.path(&format!("roles/{}", role.id()));
    api.done(&format!("{role_path}/grant-permission"), permission("suspend")).await;
    let apply = json!({ "role_template_id": made.id() });
    api.nothing(&format!("{role_path}/apply-template"), apply.clone()).await;
    api.done(&format!("{path}/publish"), json!({ "permissions": [permission("list"), permission("resume")] })).await;
    api.done(&format!("{role_path}/apply-template"), apply.clone()).await;
    assert_eq!(actions(&api, role.id()).await, ["list", "resume", "suspend"]);
    api.done(&format!("{path}/retire"), Value::Null).await;
    api.refused(&format!("{role_path}/apply-template"), apply, "role_template_retired").await;
    assert_eq!(actions(&api, role.id()).await.len(), 3);
}

#[tokio::test]
async fn a_template_is_versioned_and_its_key_is_free_when_it_is_retired() {
    let api = Api::start().await;
    let made = api.post("/v1/role-templates", template("operator")).await;
    let path = format!("/v1/role-templates/{}", made.id());
    api.refused("/v1/role-templates", template("operator"), "role_template_key_taken").await;
    api.nothing(&format!("{path}/publish"), json!({ "permissions": [permission("read")] })).await;
    let none = json!({ "permissions": [] });
    api.refused(&format!("{path}/publish"), none, "role_template_permissions_out_of_bounds").await;
    api.done(&format!("{path}/retire"), Value::Null).await;
    let again = json!({ "permissions": [permission("read")] });
    api.refused(&format!("{path}/publish"), again, "role_template_retired").await;
    api.done("/v1/role-templates", template("operator")).await;
}

#[tokio::test]
async fn only_the_platform_makes_templates_and_only_known_ones_are_taken() {
    let api = Api::start().await;
    let acme = api.tenant("acme").await;
    api.post_as(2, "/v1/role-templates", template("operator")).await.assert_code("forbidden");
    let body = json!({ "role_template_id": Uuid::from_u128(9), "key": "operator", "name": "Operator" });
    api.refused(&acme.path("roles/from-template"), body, "role_template_not_found").await;
    let (_, role) = acme.make("roles", json!({ "key": "own", "name": "Own" })).await;
    let made = api.post("/v1/role-templates", template("operator")).await;
    let apply = json!({ "role_template_id": made.id() });
    api.refused(&format!("{role}/apply-template"), apply, "role_not_from_template").await;
}
