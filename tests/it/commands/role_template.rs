//! Templates of roles, and roles made from them.

use std::sync::{Arc, Mutex};

use hub_http::{Allowed, Asked, Caller, Gate, Granting, Presented, Problem, Resources, Scope, access::BoxFuture};
use serde_json::{Value, json};
use uuid::Uuid;

use super::Api;
use crate::tokens::gate;

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

/// Publishes the next version of a template at the moment at which it has judged the one before.
struct Publishing {
    gate: Arc<dyn Gate>,
    elsewhere: Api,
    path: Mutex<Option<String>>,
}

impl Gate for Publishing {
    fn authenticate<'a>(&'a self, presented: Presented<'a>) -> BoxFuture<'a, Result<Caller, Problem>> {
        self.gate.authenticate(presented)
    }

    fn recognise(&self, presented: Presented<'_>) -> Option<Caller> {
        self.gate.recognise(presented)
    }

    fn authorize<'a>(
        &'a self,
        caller: &'a Caller,
        asked: Asked,
        resources: &'a dyn Resources,
    ) -> BoxFuture<'a, Result<Allowed, Problem>> {
        self.gate.authorize(caller, asked, resources)
    }

    fn may_grant<'a>(
        &'a self,
        caller: &'a Caller,
        tenant_id: Uuid,
        granting: &'a Granting,
    ) -> BoxFuture<'a, Result<(), Problem>> {
        Box::pin(async move {
            let judged = self.gate.may_grant(caller, tenant_id, granting).await;
            let path = self.path.lock().unwrap().take();
            if let Some(path) = path {
                self.elsewhere.done(&path, json!({ "permissions": [permission("*")] })).await;
            }
            judged
        })
    }

    fn decided_up_to(&self) -> i64 {
        self.gate.decided_up_to()
    }
}

#[tokio::test]
async fn a_version_that_comes_after_the_judgement_is_not_taken_without_another() {
    let api = Api::start().await;
    let acme = api.tenant("acme").await;
    let made = api.post("/v1/role-templates", template("operator")).await;
    let apply = json!({ "role_template_id": made.id() });
    let body = json!({ "role_template_id": made.id(), "key": "operator", "name": "Operator" });
    let role = api.post(&acme.path("roles/from-template"), body).await.id();
    let publish = format!("/v1/role-templates/{}/publish", made.id());
    let publishing = || {
        let gate = gate([(1, "key:administrator", Scope::Platform)]);
        let gate = Publishing { gate, elsewhere: api.beside(), path: Mutex::new(Some(publish.clone())) };
        Api::behind(Arc::new(gate), api.database.clone(), api.clock.clone())
    };
    let there = publishing();
    let path = acme.path(&format!("roles/{role}/apply-template"));
    there.post(&path, apply.clone()).await.assert_code("concurrent_change");
    assert_eq!(actions(&api, role).await, ["read"]);
    there.done(&path, apply).await;
    assert_eq!(actions(&api, role).await, ["*"]);

    api.done(&publish, json!({ "permissions": [permission("read")] })).await;
    let there = publishing();
    let body = json!({ "role_template_id": made.id(), "key": "another", "name": "Another" });
    let path = acme.path("roles/from-template");
    there.post(&path, body.clone()).await.assert_code("concurrent_change");
    let role = there.post(&path, body).await.id();
    assert_eq!(actions(&api, role).await, ["*"]);
}
