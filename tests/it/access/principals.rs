//! Principals that end: refused from the event on, left without roles, and back with nothing.

use std::time::{Duration, Instant};

use futures::future::join;
use hub_event_store::facts::compare;
use hub_http::{Asked, Caller, Gate as _, Permission, Presented, access::NoResources};
use hub_tests::kit::eventually;
use serde_json::{Value, json};
use uuid::Uuid;

use super::{
    Answer, LIMIT, Platform,
    bearer::{House, PROVIDER},
};

/// Nobody who ended longer ago is let in.
const ENDED_WITHIN: Duration = Duration::from_secs(1);

impl Platform {
    async fn principal(&self, tenant_id: Uuid, principal: &str, verb: &str) -> Answer {
        let path = format!("/v1/tenants/{tenant_id}/principals/{}/{verb}", principal.replace('/', "%2F"));
        self.post(&self.administrator, &path, json!({ "reason": "as the test wants" })).await
    }

    /// Whether the principal may read webhooks, and why.
    async fn explained(&self, tenant_id: Uuid, principal: &str) -> (bool, String) {
        let question = json!({ "permission": "webhook:read", "principal": principal });
        let path = format!("/v1/tenants/{tenant_id}/authorization/explain");
        let answer = self.post(&self.administrator, &path, question).await.ok();
        (answer["allowed"].as_bool().unwrap(), answer["reason"].as_str().unwrap().to_owned())
    }

    /// The roles that the principal holds, as reviewers see them.
    async fn held(&self, tenant_id: Uuid, principal: &str) -> Vec<Value> {
        let path = format!("/v1/tenants/{tenant_id}/authorization/review");
        let review = self.get(&self.administrator, &path).await.ok();
        let mut grants = review["grants"].as_array().unwrap().clone();
        grants.retain(|grant| grant["principal"] == principal);
        grants
    }
}

fn system_role(tenant_id: Uuid, key: &str) -> Uuid {
    Uuid::new_v5(&tenant_id, key.as_bytes())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_ended_principal_is_denied_everything_loses_its_roles_and_comes_back_with_none() {
    let platform = Platform::start().await;
    let acme = platform.tenant("acme").await;
    let custom = platform.role(acme, "support", &[]).await;
    for role in [system_role(acme, "viewer"), system_role(acme, "admin"), custom] {
        platform.assign(acme, role, "user:ada").await;
    }
    platform.assign(acme, custom, "user:bob").await;
    assert_eq!(platform.explained(acme, "user:ada").await, (true, "permitted".to_owned()));
    platform.principal(acme, "user:ada", "reinstate").await.refused(404, "principal_not_found");

    platform.principal(acme, "user:ada", "end").await.ok();
    // Nobody has taken the roles away yet.
    assert_eq!(platform.explained(acme, "user:ada").await, (false, "ended".to_owned()));
    assert_eq!(platform.held(acme, "user:ada").await.len(), 3);
    platform.principal(acme, "user:ada", "reinstate").await.refused(409, "principal_not_wound_up");
    assert_eq!(platform.principal(acme, "user:ada", "end").await.ok()["event_count"], 0);

    let _by_itself = platform.by_itself();
    eventually(LIMIT, async || {
        // The process's events are nobody's receipt.
        let head: i64 =
            sqlx::query_scalar("SELECT position FROM log_head").fetch_one(&platform.database.pool).await.unwrap();
        platform.seen.fetch_max(head, std::sync::atomic::Ordering::SeqCst);
        platform.held(acme, "user:ada").await.is_empty().then_some(())
    })
    .await;
    assert_eq!(platform.held(acme, "user:bob").await.len(), 1);
    platform.principal(acme, "user:ada", "reinstate").await.ok();
    assert_eq!(platform.explained(acme, "user:ada").await, (false, "no_role".to_owned()));
    platform.assign(acme, system_role(acme, "viewer"), "user:ada").await;
    assert_eq!(platform.explained(acme, "user:ada").await, (true, "permitted".to_owned()));
    assert!(compare(&platform.database.pool, &hub::migrate::sources(), None).await.unwrap().passed());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_token_of_an_ended_principal_is_refused_with_the_next_request() {
    let platform = Platform::start().await;
    let acme = platform.tenant("acme").await;
    let house = House::on(platform.database.clone(), acme).await;
    let ada = format!("user:{PROVIDER}/ada");
    platform.assign(acme, system_role(acme, "viewer"), &ada).await;
    let token = house.token(&house.claims());
    let seen = || Some(platform.seen.load(std::sync::atomic::Ordering::SeqCst));
    let knock = async |at_least| -> Result<Caller, String> {
        let presented = Presented { token: &token, peer: None, at_least };
        house.gate.authenticate(presented).await.map_err(|problem| problem.code().to_owned())
    };
    let asked = |at_least| Asked {
        permission: Permission { resource: "webhook", action: "read" },
        tenant_id: acme,
        resource_id: None,
        filters: false,
        at_least,
    };
    let caller = eventually(LIMIT, async || knock(seen()).await.ok()).await;
    let allowed = async |at_least| house.gate.authorize(&caller, asked(at_least), &NoResources).await.is_ok();
    assert!(caller.principal == ada && allowed(seen()).await);

    platform.principal(acme, &ada, "end").await.ok();
    // Who has seen the end has it at once.
    assert_eq!(knock(seen()).await.unwrap_err(), "unauthenticated");
    assert!(!allowed(seen()).await, "a connection from before is refused, too");

    // One who has not seen it has it within a second, and so has the return.
    platform.principal(acme, &ada, "reinstate").await.refused(409, "principal_not_wound_up");
    let _by_itself = platform.by_itself();
    eventually(LIMIT, async || (platform.principal(acme, &ada, "reinstate").await.status == 200).then_some(())).await;
    assert!(knock(None).await.is_ok(), "a return is looked for before a token is refused");
    assert!(!allowed(seen()).await, "nothing was brought back");
    platform.principal(acme, &ada, "end").await.ok();
    let ended = Instant::now();
    loop {
        let began = ended.elapsed();
        if knock(None).await.is_err() {
            break;
        }
        assert!(began < ENDED_WITHIN, "let in {began:?} after the end");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_owner_cannot_end_however_close_together_owners_end() {
    let platform = Platform::start().await;
    let acme = platform.tenant("acme").await;
    let owner = system_role(acme, "owner");
    platform.assign(acme, owner, "user:ada").await;
    platform.principal(acme, "user:ada", "end").await.refused(409, "principal_last_owner");
    platform.assign(acme, owner, "user:bob").await;
    let (ada, bob) =
        join(platform.principal(acme, "user:ada", "end"), platform.principal(acme, "user:bob", "end")).await;
    let mut outcomes = [ada.status.as_u16(), bob.status.as_u16()];
    outcomes.sort_unstable();
    assert_eq!(outcomes, [200, 409], "{ada:?} {bob:?}");
    // The role was not taken away yet, and all the same the one who has ended is no owner that counts.
    let left = if ada.status == 409 { "user:ada" } else { "user:bob" };
    platform.principal(acme, left, "end").await.refused(409, "principal_last_owner");
    platform.assign(acme, owner, "user:eve").await;
    platform.principal(acme, left, "end").await.ok();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_owner_who_has_ended_stands_in_for_nobody_who_is_unassigned() {
    let platform = Platform::start().await;
    let acme = platform.tenant("acme").await;
    let owner = system_role(acme, "owner");
    let unassign = async |principal: &str| {
        let path = format!("/v1/tenants/{acme}/roles/{owner}/unassign");
        platform.post(&platform.administrator, &path, json!({ "principal": principal })).await
    };
    platform.assign(acme, owner, "user:ada").await;
    platform.assign(acme, owner, "user:bob").await;
    platform.principal(acme, "user:ada", "end").await.ok();
    // Nobody has taken the role away from the one who has ended yet.
    unassign("user:bob").await.refused(409, "role_last_owner");
    {
        let _by_itself = platform.by_itself();
        eventually(LIMIT, async || {
            (platform.principal(acme, "user:ada", "reinstate").await.status == 200).then_some(())
        })
        .await;
    }
    unassign("user:bob").await.refused(409, "role_last_owner");
    platform.assign(acme, owner, "user:ada").await;
    // However close together, one of the two stays.
    let (ended, unassigned) = join(platform.principal(acme, "user:ada", "end"), unassign("user:bob")).await;
    let mut outcomes = [ended.status.as_u16(), unassigned.status.as_u16()];
    outcomes.sort_unstable();
    assert_eq!(outcomes, [200, 409], "{ended:?} {unassigned:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn staff_of_the_platform_end_there_and_namesakes_in_tenants_do_not() {
    let platform = Platform::start().await;
    let acme = platform.tenant("acme").await;
    platform.assign(acme, system_role(acme, "viewer"), "user:sam").await;
    let home = hub_domain::id::PLATFORM_TENANT.0;
    platform.assign(home, system_role(home, "viewer"), "user:sam").await;
    let of_staff = async || {
        let question = json!({ "permission": "webhook:read", "principal": "user:sam", "home": "platform" });
        let path = format!("/v1/tenants/{acme}/authorization/explain");
        platform.post(&platform.administrator, &path, question).await.ok()["reason"].clone()
    };
    assert_eq!(of_staff().await, "permitted");
    platform.principal(home, "user:sam", "end").await.ok();
    assert_eq!(of_staff().await, "ended");
    assert_eq!(platform.explained(acme, "user:sam").await, (true, "permitted".to_owned()));
}

#[tokio::test]
async fn what_is_no_person_or_service_or_has_no_reason_does_not_end() {
    let platform = Platform::start().await;
    let acme = platform.tenant("acme").await;
    let key = platform.key(acme, &["viewer"]).await;
    platform.principal(acme, &format!("key:{}", key.id), "end").await.refused(422, "principal_key");
    platform.principal(acme, "ada", "end").await.refused(400, "invalid_path");
    let path = format!("/v1/tenants/{acme}/principals/user:ada/end");
    platform
        .post(&platform.administrator, &path, json!({ "reason": "" }))
        .await
        .refused(422, "principal_reason_missing");
    // Nobody without the permission, and nobody in another tenant.
    platform.post(&key.text, &path, json!({ "reason": "no" })).await.refused(403, "forbidden");
    let other = platform.tenant("other").await;
    let stranger = platform.key(other, &["owner"]).await;
    platform.post(&stranger.text, &path, json!({ "reason": "no" })).await.refused(404, "not_found");
}
