//! Tenants.

use futures::future::join;
use serde_json::{Value, json};
use uuid::Uuid;

use super::{Api, assert_one_wins, registration};

#[tokio::test]
async fn a_tenant_lives_from_its_registration_to_its_archiving() {
    let api = Api::start().await;
    let id: Uuid = api.done("/v1/tenants", registration(" Acme ")).await["id"].as_str().unwrap().parse().unwrap();
    let path = |verb: &str| format!("/v1/tenants/{id}/{verb}");
    api.refused(&path("suspend"), json!({ "reason": "manual" }), "tenant_not_activated").await;
    api.done(&path("activate"), Value::Null).await;
    api.nothing(&path("activate"), Value::Null).await;
    api.done(&path("suspend"), json!({ "reason": "payment", "note": "third reminder" })).await;
    api.done(&path("suspend"), json!({ "reason": "security" })).await;
    api.done(&path("resume"), json!({ "reason": "payment" })).await;
    api.done(&path("resume"), json!({ "reason": "security" })).await;
    api.done(&path("rename"), json!({ "name": "Acme Group" })).await;
    api.done(&path("change-tier"), json!({ "tier": "enterprise" })).await;
    api.done(&path("set-quota"), json!({ "resource": "storage_bytes", "limit": 1_u64 << 40 })).await;
    let challenge = api.done(&path("add-domain"), json!({ "domain": "Acme.Example" })).await;
    assert_eq!(challenge["record_name"], "_service-hub.acme.example");
    let token = challenge["token"].as_str().unwrap();
    assert_eq!(token.len(), 32);
    api.refused(
        &path("verify-domain"),
        json!({ "domain": "acme.example", "token": "x" }),
        "tenant_domain_token_mismatch",
    )
    .await;
    api.done(&path("verify-domain"), json!({ "domain": "acme.example", "token": token })).await;
    api.done(&path("set-primary-domain"), json!({ "domain": "acme.example" })).await;
    api.done(&path("remove-domain"), json!({ "domain": "acme.example" })).await;
    api.done(&path("archive"), Value::Null).await;
    api.refused(&path("rename"), json!({ "name": "Acme" }), "tenant_archived").await;
    let events = api.events(id).await;
    assert_eq!(events.first().map(String::as_str), Some("tenant.registered"));
    assert_eq!((events.len(), events.last().map(String::as_str)), (14, Some("tenant.archived")));
}

#[tokio::test]
async fn a_new_tenant_has_the_five_system_roles() {
    let api = Api::start().await;
    let acme = api.tenant("acme").await;
    let keys: Vec<String> = sqlx::query_scalar(
        "SELECT payload->>'key' FROM events WHERE tenant_id = $1 AND event_type = 'role.created' ORDER BY position",
    )
    .bind(acme.id)
    .fetch_all(&api.pool)
    .await
    .unwrap();
    assert_eq!(keys, ["owner", "admin", "billing", "auditor", "viewer"]);
}

#[tokio::test]
async fn of_two_tenants_with_one_slug_at_the_same_instant_one_is_registered() {
    let (api, body) = (Api::start().await, registration("acme"));
    let other = api.beside();
    let (one, two) = join(api.post("/v1/tenants", body.clone()), other.post("/v1/tenants", body.clone())).await;
    assert_one_wins([one, two], "tenant_slug_taken");
    let (one, two) =
        join(api.post("/v1/tenants", registration("globex")), api.post("/v1/tenants", registration("Globex"))).await;
    assert_one_wins([one, two], "tenant_slug_taken");
}

#[tokio::test]
async fn of_two_registrations_under_one_key_one_happens() {
    let api = Api::start().await;
    let other = api.beside();
    let (headers, body) = ([("idempotency-key", "register-1")], registration("acme"));
    let (one, two) =
        join(api.post_with("/v1/tenants", &headers, &body), other.post_with("/v1/tenants", &headers, &body)).await;
    assert_eq!((one.status.as_u16(), two.status.as_u16()), (201, 201), "{one:?} {two:?}");
    assert_eq!((one.id(), &one.headers["location"]), (two.id(), &two.headers["location"]));
    assert_eq!(one.replayed() as u8 + two.replayed() as u8, 1);
}

#[tokio::test]
async fn a_domain_is_verified_by_one_tenant() {
    let api = Api::start().await;
    let (acme, globex) = (api.tenant("acme").await, api.tenant("globex").await);
    let mut orders = Vec::new();
    for tenant in [acme, globex] {
        let challenge = api.done(&tenant.path("add-domain"), json!({ "domain": "shared.example" })).await;
        orders.push(json!({ "domain": "shared.example", "token": challenge["token"] }));
    }
    let (one, two) = join(
        api.post(&acme.path("verify-domain"), orders[0].clone()),
        api.post(&globex.path("verify-domain"), orders[1].clone()),
    )
    .await;
    assert_one_wins([one, two], "tenant_domain_taken");
}

#[tokio::test]
async fn in_an_archived_tenant_nothing_is_made_but_what_was_made_is_answered_again() {
    let api = Api::start().await;
    let acme = api.tenant("acme").await;
    let role = json!({ "key": "support", "name": "Support" });
    let headers = [("idempotency-key", "role-1")];
    let first = api.post_with(&acme.path("roles"), &headers, &role).await;
    // The other process still knows the tenant as it was.
    let other = api.beside();
    other.done(&acme.path("webhooks"), json!({ "url": "https://acme.example", "events": ["*"] })).await;
    api.done(&acme.path("archive"), Value::Null).await;
    let plan = json!({ "code": "mail", "name": "Mail", "tier": "basic", "interval": "month",
                       "price": { "minor": 500, "currency": "EUR" } });
    for (noun, body) in [
        ("roles", json!({ "key": "other", "name": "Other" })),
        ("subscriptions", json!({ "plan": plan, "seats": 1 })),
        ("service-instances", json!({ "service": "mail", "plan": "basic" })),
        ("webhooks", json!({ "url": "https://acme.example", "events": ["*"] })),
    ] {
        api.refused(&acme.path(noun), body.clone(), "tenant_archived").await;
        other.refused(&acme.path(noun), body.clone(), "tenant_archived").await;
        api.refused(&format!("/v1/tenants/{}/{noun}", Uuid::from_u128(5)), body, "tenant_not_found").await;
    }
    let again = api.post_with(&acme.path("roles"), &headers, &role).await;
    assert!(again.replayed());
    assert_eq!((again.status, again.body), (first.status, first.body));
}
