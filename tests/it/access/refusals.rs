//! What was refused stands in the log of the caller's tenant, with the reason.

use axum::{body::Body, http::Request};
use hub_domain::{api_key::KeyText, id::PLATFORM_TENANT};
use hub_tests::kit::{eventually, vault_in};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{LIMIT, Platform, from_peer, random, with_key};

impl Platform {
    /// The access records of a tenant of this type, as soon as there are so many.
    async fn records(&self, tenant_id: Uuid, event_type: &str, count: usize) -> Vec<Value> {
        let path = format!("/v1/tenants/{tenant_id}/events?limit=200&event_type={event_type}");
        eventually(LIMIT, async || {
            let page = self.get(&self.administrator, &path).await.ok();
            let events = page["items"].as_array().unwrap().clone();
            (events.len() >= count).then_some(events)
        })
        .await
    }

    /// The refusals of a tenant when so many have been recorded. What was refused again within the minute is recorded as when the process ends.
    async fn refused(&self, tenant_id: Uuid, count: u64) -> Vec<Value> {
        eventually(LIMIT, async || {
            let at_once = CancellationToken::new();
            at_once.cancel();
            self.refusals.clone().run(|draft| self.reads.1.write(draft), at_once).await;
            let records = self.records(tenant_id, "access_record.refused", 0).await;
            let counts = records.iter().map(|record| record["payload"]["seen"]["count"].as_u64().unwrap());
            (counts.sum::<u64>() == count).then_some(records)
        })
        .await
    }
}

/// What each record says but for the times.
fn said(records: &[Value], fields: &[&str]) -> Vec<Value> {
    let mut said: Vec<Value> = records
        .iter()
        .map(|record| fields.iter().map(|field| record["payload"][*field].clone()).collect::<Value>())
        .collect();
    said.sort_by_key(Value::to_string);
    said
}

#[tokio::test]
async fn every_denial_is_recorded_in_the_callers_tenant_with_its_reason() {
    let platform = Platform::start().await;
    let (acme, globex) = (platform.tenant("acme").await, platform.tenant("globex").await);
    let path = |rest: &str| format!("/v1/tenants/{acme}/{rest}");
    let viewer = platform.key(acme, &["viewer"]).await;
    let body = json!({ "name": "Bounded", "roles": ["owner"], "scopes": ["webhook:*"] });
    let bounded = platform.key_with(acme, body).await;
    let webhook = Uuid::now_v7();
    for _ in 0..3 {
        platform.post(&viewer.text, &path("archive"), json!({ "reason": "no" })).await.refused(403, "forbidden");
    }
    platform.post(&viewer.text, &path(&format!("webhooks/{webhook}/pause")), json!({})).await.refused(403, "forbidden");
    platform.get(&viewer.text, &format!("/v1/tenants/{globex}")).await.refused(404, "not_found");
    platform.get(&viewer.text, "/v1/tenants").await.refused(403, "forbidden");
    platform.get(&bounded.text, &path("roles")).await.refused(403, "forbidden");

    let records = platform.refused(acme, 7).await;
    let principal = |key: &super::Key| format!("key:{}", key.id);
    let mut expected = vec![
        json!([principal(&viewer), "tenant", "tenant:archive", "no_role", []]),
        json!([principal(&viewer), "tenant", "webhook:pause", "no_role", [webhook]]),
        json!([principal(&viewer), "tenant", "tenant:read", "another_tenant", []]),
        json!([principal(&viewer), "tenant", "tenant:read", "platform_only", []]),
        json!([principal(&bounded), "tenant", "role:read", "scope", []]),
    ];
    expected.sort_by_key(Value::to_string);
    let fields = ["principal", "home", "permission", "reason", "resource_ids"];
    let mut said = said(&records, &fields);
    // A second may have passed between two that are alike.
    said.dedup();
    assert_eq!(said, expected);
    assert!(platform.records(globex, "access_record.refused", 0).await.is_empty());

    // Whoever audits finds them under the name of who was refused.
    let audit = path(&format!("audit?actor={}", principal(&bounded)));
    eventually(LIMIT, async || {
        let entries = platform.get(&platform.administrator, &audit).await.ok();
        entries["items"].to_string().contains("access_record.refused").then_some(())
    })
    .await;
}

#[tokio::test]
async fn every_failed_login_is_recorded_where_the_credential_belongs() {
    let platform = Platform::start().await;
    let acme = platform.tenant("acme").await;
    let office = json!({ "name": "Office", "roles": ["viewer"], "networks": ["10.1.0.0/16"] });
    let (office, revoked) = (platform.key_with(acme, office).await, platform.key(acme, &["viewer"]).await);
    platform.done(&format!("/v1/tenants/{acme}/api-keys/{}/revoke", revoked.id), json!({})).await;
    let public = |key: &str| key.split('_').nth(1).unwrap().to_owned();
    let stranger = KeyText::generate(random());
    let wrong = {
        let text = format!("hub_{}_{}", public(&office.text), "0".repeat(64));
        format!("{text}{:08x}", crc32fast::hash(text.as_bytes()))
    };
    for key in [stranger.reveal(), "nonsense", &office.text, &revoked.text, &wrong] {
        let request = with_key(Request::get(format!("/v1/tenants/{acme}/me")), key);
        let request = request.header("consistency-token", platform.seen()).body(Body::empty()).unwrap();
        platform.send(from_peer(request, "192.0.2.77")).await.refused(401, "unauthenticated");
    }
    let fields = ["reason", "key_id", "network"];
    // Sealed with the key that the tenant has for this class of events in this month.
    let network = async |tenant_id: Uuid| {
        let key = vault_in(&platform.database.pool).class_key(tenant_id, "access", platform.clock.now()).await;
        key.unwrap().key_id().to_string()
    };
    let told = |records: Vec<Value>| -> Vec<Value> {
        let mut told = said(&records, &fields);
        for one in &mut told {
            one[2] = one[2]["key_id"].take();
        }
        told.sort_by_key(Value::to_string);
        told
    };
    let sealed = network(acme).await;
    let mut expected = vec![
        json!(["network", public(&office.text), sealed]),
        json!(["revoked_key", public(&revoked.text), sealed]),
        json!(["wrong_secret", public(&office.text), sealed]),
    ];
    expected.sort_by_key(Value::to_string);
    assert_eq!(told(platform.records(acme, "access_record.login_failed", 3).await), expected);
    let sealed = network(PLATFORM_TENANT.0).await;
    let expected = [json!(["malformed", null, sealed]), json!(["unknown_key", null, sealed])];
    assert_eq!(told(platform.records(PLATFORM_TENANT.0, "access_record.login_failed", 2).await), expected);
}
