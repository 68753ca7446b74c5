//! Roles.

use futures::future::join;
use serde_json::{Value, json};
use uuid::Uuid;

use super::{Api, Tenant, assert_one_wins};

async fn role(tenant: &Tenant<'_>, key: &str) -> (Uuid, String) {
    tenant.make("roles", json!({ "key": key, "name": "A role", "description": "For a test." })).await
}

fn system_role(tenant: &Tenant<'_>, key: &str) -> Uuid {
    Uuid::new_v5(&tenant.id, key.as_bytes())
}

#[tokio::test]
async fn a_role_gets_permissions_parents_and_holders_and_is_archived() {
    let api = Api::start().await;
    let acme = api.tenant("acme").await;
    let ((id, path), (parent, _)) = (role(&acme, "support").await, role(&acme, "desk").await);
    let path = |verb: &str| format!("{path}/{verb}");
    let permission = json!({
        "resource": "subscription",
        "actions": ["read", "change-seats"],
        "effect": "allow",
        "condition": { "equals": { "attribute": "resource.plan", "value": "basic" } },
    });
    let granted = api.done(&path("grant-permission"), permission.clone()).await;
    api.refused(&path("grant-permission"), permission, "role_permission_already_granted").await;
    api.done(&path("revoke-permission"), json!({ "permission_id": granted["permission_id"] })).await;
    api.done(&path("add-parent"), json!({ "parent_id": parent })).await;
    api.nothing(&path("add-parent"), json!({ "parent_id": parent })).await;
    api.refused(&path("add-parent"), json!({ "parent_id": id }), "role_cycle").await;
    api.refused(&path("add-parent"), json!({ "parent_id": Uuid::from_u128(5) }), "role_parent_unknown").await;
    api.refused(&acme.path(&format!("roles/{parent}/archive")), Value::Null, "role_has_children").await;
    api.done(&path("remove-parent"), json!({ "parent_id": parent })).await;

    let assigned = api.done(&path("assign"), json!({ "principal": "user:ada" })).await;
    let later = json!({ "principal": "user:bob", "from": "2026-02-01T00:00:00Z", "until": "2026-03-01T00:00:00Z" });
    api.done(&path("assign"), later.clone()).await;
    api.refused(&path("assign"), later, "role_already_assigned").await;
    api.refused(&path("archive"), Value::Null, "role_still_assigned").await;
    api.done(&path("unassign"), json!({ "assignment_id": assigned["assignment_id"] })).await;
    api.done(&path("unassign"), json!({ "principal": "user:bob" })).await;
    api.done(&path("archive"), Value::Null).await;
    api.refused(&path("archive"), Value::Null, "role_archived").await;
    assert_eq!(api.events(id).await.len(), 10);
    // The key is free again.
    role(&acme, "support").await;
}

#[tokio::test]
async fn either_an_assignment_or_a_principal_is_taken_away() {
    let api = Api::start().await;
    let acme = api.tenant("acme").await;
    let (_, path) = role(&acme, "support").await;
    for body in [json!({}), json!({ "assignment_id": Uuid::from_u128(5), "principal": "user:ada" })] {
        api.refused(&format!("{path}/unassign"), body, "invalid_body").await;
    }
    api.refused(&format!("{path}/unassign"), json!({ "principal": "user:ada" }), "role_not_assigned").await;
}

#[tokio::test]
async fn a_clone_permits_what_its_source_permits() {
    let api = Api::start().await;
    let acme = api.tenant("acme").await;
    let source = acme.path(&format!("roles/{}/clone", system_role(&acme, "billing")));
    let body = json!({ "key": "finance", "name": "Finance", "description": "" });
    let stale = api.post_with(&source, &[("if-match", "\"9\"")], &body).await;
    stale.assert_code("version_conflict");
    assert_eq!(stale.body["current_sequence"], 1);

    let headers = [("if-match", "\"1\""), ("idempotency-key", "clone-1")];
    let first = api.post_with(&source, &headers, &body).await;
    assert_eq!(first.status, 201, "{first:?}");
    assert_eq!(first.headers["location"], acme.path(&format!("roles/{}", first.id())).as_str());
    assert_eq!(api.events(first.id()).await, ["role.cloned"]);
    let count: i32 =
        sqlx::query_scalar("SELECT json_array_length(payload->'permissions') FROM events WHERE aggregate_id = $1")
            .bind(first.id())
            .fetch_one(&api.pool)
            .await
            .unwrap();
    assert_eq!(count, 3);

    // The source has moved on; the same request still answers the same.
    api.done(
        &acme.path(&format!("roles/{}/assign", system_role(&acme, "billing"))),
        json!({ "principal": "user:ada" }),
    )
    .await;
    let again = api.post_with(&source, &headers, &body).await;
    assert!(again.replayed());
    assert_eq!(again.body, first.body);

    api.done(&source, json!({ "key": "finance-2", "name": "Finance" })).await;
    api.refused(&source, json!({ "key": "finance-2", "name": "Finance" }), "role_key_taken").await;
    let nobody = acme.path(&format!("roles/{}/clone", Uuid::from_u128(5)));
    api.refused(&nobody, json!({ "key": "finance-3", "name": "Finance" }), "role_not_found").await;
}

#[tokio::test]
async fn a_system_role_is_held_but_not_changed() {
    let api = Api::start().await;
    let acme = api.tenant("acme").await;
    let path = |verb: &str| acme.path(&format!("roles/{}/{verb}", system_role(&acme, "owner")));
    api.done(&path("assign"), json!({ "principal": "user:ada" })).await;
    api.refused(&path("archive"), Value::Null, "role_system_immutable").await;
    api.refused(&acme.path("roles"), json!({ "key": "owner", "name": "Owner" }), "role_key_reserved").await;
}

#[tokio::test]
async fn of_two_roles_with_one_key_at_the_same_instant_one_is_made() {
    let api = Api::start().await;
    let acme = api.tenant("acme").await;
    let other = api.beside();
    let body = json!({ "key": "support", "name": "Support" });
    let (one, two) =
        join(api.post(&acme.path("roles"), body.clone()), other.post(&acme.path("roles"), body.clone())).await;
    assert_one_wins([one, two], "role_key_taken");
    // Another tenant has keys of its own.
    role(&api.tenant("globex").await, "support").await;
}

#[tokio::test]
async fn of_two_edges_that_would_form_a_circle_at_the_same_instant_one_is_added() {
    let api = Api::start().await;
    let acme = api.tenant("acme").await;
    let other = api.beside();
    for round in 0..5 {
        let one = role(&acme, &format!("one-{round}")).await;
        let two = role(&acme, &format!("two-{round}")).await;
        let (one_path, two_path) = (format!("{}/add-parent", one.1), format!("{}/add-parent", two.1));
        let second = if round % 2 == 0 { &api } else { &other };
        let (first, second) = join(
            api.post(&one_path, json!({ "parent_id": two.0 })),
            second.post(&two_path, json!({ "parent_id": one.0 })),
        )
        .await;
        assert_one_wins([first, second], "role_cycle");
    }
}

#[tokio::test]
async fn a_role_is_not_archived_while_another_becomes_its_child() {
    let api = Api::start().await;
    let acme = api.tenant("acme").await;
    let other = api.beside();
    let ((parent, parent_path), (_, child_path)) = (role(&acme, "parent").await, role(&acme, "child").await);
    let (archived, added) = join(
        api.post(&format!("{parent_path}/archive"), Value::Null),
        other.post(&format!("{child_path}/add-parent"), json!({ "parent_id": parent })),
    )
    .await;
    match (archived.status.as_u16(), added.status.as_u16()) {
        (200, 409) => added.assert_code("role_parent_unknown"),
        (409, 200) => archived.assert_code("role_has_children"),
        _ => panic!("{archived:?} {added:?}"),
    }
}

#[tokio::test]
async fn a_parent_of_another_tenant_is_unknown() {
    let api = Api::start().await;
    let (acme, globex) = (api.tenant("acme").await, api.tenant("globex").await);
    let ((foreign, _), (_, path)) = (role(&globex, "support").await, role(&acme, "support").await);
    api.refused(&format!("{path}/add-parent"), json!({ "parent_id": foreign }), "role_parent_unknown").await;
    // And a role of another tenant is not there at all.
    let path = acme.path(&format!("roles/{foreign}/archive"));
    api.refused(&path, Value::Null, "role_not_found").await;
}

#[tokio::test]
async fn a_tenant_has_so_many_roles_and_no_more() {
    let api = Api::start().await;
    let acme = api.tenant("acme").await;
    sqlx::query("UPDATE counters SET value = 499 WHERE tenant_id = $1 AND name = 'roles'")
        .bind(acme.id)
        .execute(&api.pool)
        .await
        .unwrap();
    let other = api.beside();
    let body = |key: &str| json!({ "key": key, "name": "Support" });
    let path = acme.path("roles");
    let (one, two) = join(api.post(&path, body("one")), other.post(&path, body("two"))).await;
    assert_one_wins([one, two], "role_too_many_roles");
}
