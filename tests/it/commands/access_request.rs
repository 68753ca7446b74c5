//! Access requests.

use chrono::TimeDelta;
use serde_json::{Value, json};
use uuid::Uuid;

use super::{ADA, Answer, Api, BOB, Tenant};

/// A tenant with a role, and an API that knows two people of it.
struct Office {
    api: Api,
    role_id: Uuid,
    requests: String,
}

impl Office {
    async fn open() -> Self {
        let first = Api::start().await;
        let acme = first.tenant("acme").await;
        let (role_id, _) = acme.make("roles", json!({ "key": "operator", "name": "Operator" })).await;
        let api = first.with_people(acme.id);
        let requests = Tenant { api: &api, id: acme.id }.path("access-requests");
        Self { api, role_id, requests }
    }

    fn submission(&self) -> Value {
        json!({ "role_id": self.role_id, "reason": "a restore", "duration_seconds": 3600 })
    }

    async fn submit(&self) -> Uuid {
        let answer = self.api.post_as(ADA, &self.requests, self.submission()).await;
        assert_eq!(answer.status, 201, "{answer:?}");
        answer.id()
    }

    async fn act(&self, person: u8, id: Uuid, verb: &str, body: Value) -> Answer {
        self.api.post_as(person, &format!("{}/{id}/{verb}", self.requests), body).await
    }
}

#[tokio::test]
async fn a_request_is_approved_by_another_and_gives_access_until_it_is_revoked() {
    let office = Office::open().await;
    let id = office.submit().await;
    assert!(office.api.granted(id).await.is_empty());
    office.act(ADA, id, "approve", json!({})).await.assert_code("access_request_own");
    let approved = office.act(BOB, id, "approve", json!({ "remark": "for today" })).await;
    assert_eq!((approved.status.as_u16(), &approved.body["event_count"]), (200, &json!(1)), "{approved:?}");
    assert_eq!(office.api.granted(id).await, ["user:ada"]);
    assert_eq!(office.act(BOB, id, "approve", json!({})).await.body["event_count"], 0);
    office.act(ADA, id, "withdraw", Value::Null).await.assert_code("access_request_not_open");
    assert_eq!(office.act(BOB, id, "revoke", json!({})).await.status, 200);
    assert!(office.api.granted(id).await.is_empty());
    assert_eq!(
        office.api.events(id).await,
        ["access_request.submitted", "access_request.approved", "access_request.revoked"]
    );
}

#[tokio::test]
async fn an_own_approval_is_forbidden_and_stays_so_when_it_is_sent_again() {
    let office = Office::open().await;
    let id = office.submit().await;
    let path = format!("{}/{id}/approve", office.requests);
    let headers = [("idempotency-key", "approve-1")];
    let first = office.api.send(Some(&super::token(ADA)), &path, &headers, "{}").await;
    let again = office.api.send(Some(&super::token(ADA)), &path, &headers, "{}").await;
    for answer in [&first, &again] {
        assert_eq!((answer.status.as_u16(), answer.code()), (403, "access_request_own"), "{answer:?}");
    }
    assert!(again.replayed());
}

#[tokio::test]
async fn a_request_is_denied_or_withdrawn() {
    let office = Office::open().await;
    let id = office.submit().await;
    assert_eq!(office.act(BOB, id, "deny", json!({ "remark": "not today" })).await.status, 200);
    office.act(BOB, id, "approve", json!({})).await.assert_code("access_request_not_open");
    let id = office.submit().await;
    office.act(BOB, id, "withdraw", Value::Null).await.assert_code("access_request_not_requester");
    assert_eq!(office.act(ADA, id, "withdraw", Value::Null).await.status, 200);
    office.act(BOB, id, "revoke", json!({})).await.assert_code("access_request_not_approved");
    assert!(office.api.granted(id).await.is_empty());
}

#[tokio::test]
async fn a_request_is_not_approved_late() {
    let office = Office::open().await;
    let id = office.submit().await;
    office.api.clock.advance(TimeDelta::days(7));
    office.act(BOB, id, "approve", json!({})).await.assert_code("access_request_not_open");
    assert!(office.api.granted(id).await.is_empty());
}

#[tokio::test]
async fn only_a_role_that_is_there_is_asked_for_and_given() {
    let office = Office::open().await;
    let mut body = office.submission();
    body["role_id"] = json!(Uuid::from_u128(5));
    office.api.post_as(ADA, &office.requests, body).await.assert_code("access_request_role_unknown");
    let id = office.submit().await;
    let role = office.requests.replace("access-requests", &format!("roles/{}/archive", office.role_id));
    office.api.done(&role, Value::Null).await;
    office.act(BOB, id, "approve", json!({})).await.assert_code("access_request_role_unknown");
}

#[tokio::test]
async fn what_is_asked_for_is_within_its_bounds() {
    let office = Office::open().await;
    for (field, value, code) in [
        ("duration_seconds", json!(299), "access_request_duration_out_of_bounds"),
        ("duration_seconds", json!(2_592_001), "access_request_duration_out_of_bounds"),
        ("reason", json!(" "), "access_request_reason_missing"),
        ("duration_seconds", json!(-1), "invalid_body"),
    ] {
        let mut body = office.submission();
        body[field] = value;
        office.api.post_as(ADA, &office.requests, body).await.assert_code(code);
    }
}

#[tokio::test]
async fn the_platform_asks_for_nothing_and_a_stranger_finds_nothing() {
    let office = Office::open().await;
    let answer = office.api.post(&office.requests, office.submission()).await;
    assert_eq!((answer.status.as_u16(), answer.code()), (403, "forbidden"), "{answer:?}");
    let id = office.submit().await;
    office.act(2, id, "approve", json!({})).await.assert_code("not_found");
    office.act(BOB, Uuid::from_u128(9), "approve", json!({})).await.assert_code("access_request_not_found");
}
