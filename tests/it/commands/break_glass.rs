//! Emergency access.

use serde_json::{Value, json};
use uuid::Uuid;

use super::{ADA, Api, BOB, Tenant};

fn opening(role_id: Uuid) -> Value {
    json!({ "role_id": role_id, "reason": "mail is down", "ticket": "OPS-12", "minutes": 30 })
}

/// An API that knows two people of a tenant, a role of the tenant, and the path.
async fn office() -> (Api, Uuid, String) {
    let first = Api::start().await;
    let acme = first.tenant("acme").await;
    let (role_id, _) = acme.make("roles", json!({ "key": "operator", "name": "Operator" })).await;
    let api = first.with_people(acme.id);
    let path = Tenant { api: &api, id: acme.id }.path("break-glass");
    (api, role_id, path)
}

#[tokio::test]
async fn the_glass_is_broken_at_once_closed_and_reviewed_by_another() {
    let (api, role_id, path) = office().await;
    let opened = api.post_as(ADA, &path, opening(role_id)).await;
    assert_eq!(opened.status, 201, "{opened:?}");
    let id = opened.id();
    assert_eq!(api.granted(id).await, ["user:ada"]);
    let verb = |verb: &str| format!("{path}/{id}/{verb}");
    let review = json!({ "verdict": "justified", "remark": "as agreed" });
    api.post_as(BOB, &verb("review"), review.clone()).await.assert_code("break_glass_still_open");
    assert_eq!(api.post_as(ADA, &verb("close"), Value::Null).await.body["event_count"], 1);
    assert_eq!(api.post_as(BOB, &verb("close"), Value::Null).await.body["event_count"], 0);
    assert!(api.granted(id).await.is_empty());
    let own = api.post_as(ADA, &verb("review"), review.clone()).await;
    assert_eq!((own.status.as_u16(), own.code()), (403, "break_glass_own_review"));
    assert_eq!(api.post_as(BOB, &verb("review"), review.clone()).await.status, 200);
    api.post_as(BOB, &verb("review"), review).await.assert_code("break_glass_already_reviewed");
    assert_eq!(api.events(id).await, ["break_glass.opened", "break_glass.closed", "break_glass.reviewed"]);
}

#[tokio::test]
async fn what_is_taken_is_within_its_bounds() {
    let (api, role_id, path) = office().await;
    for (field, value, code) in [
        ("minutes", json!(0), "break_glass_minutes_out_of_bounds"),
        ("minutes", json!(61), "break_glass_minutes_out_of_bounds"),
        ("reason", json!(""), "break_glass_reason_missing"),
        ("ticket", json!(""), "invalid_body"),
        ("role_id", json!(Uuid::from_u128(5)), "break_glass_role_unknown"),
    ] {
        let mut body = opening(role_id);
        body[field] = value;
        api.post_as(ADA, &path, body).await.assert_code(code);
    }
}

#[tokio::test]
async fn the_platform_takes_nothing_and_a_stranger_finds_nothing() {
    let (api, role_id, path) = office().await;
    assert_eq!(api.post(&path, opening(role_id)).await.code(), "forbidden");
    let id = api.post_as(ADA, &path, opening(role_id)).await.id();
    api.post_as(2, &format!("{path}/{id}/close"), Value::Null).await.assert_code("not_found");
    let unknown = format!("{path}/{}/close", Uuid::from_u128(9));
    api.post_as(ADA, &unknown, Value::Null).await.assert_code("break_glass_not_found");
}
