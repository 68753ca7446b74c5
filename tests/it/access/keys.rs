//! API keys from their issue to their end.

use std::{
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use axum::{
    body::{Body, BodyDataStream},
    http::Request,
};
use chrono::TimeDelta;
use futures::{StreamExt as _, future::join};
use hub_commands::api_key::Enrolment;
use hub_domain::{api_key::KeyText, id::PLATFORM_TENANT};
use hub_tests::kit::{Database, TestClock, eventually};
use serde_json::{Value, json};
use tokio::time::timeout;
use uuid::Uuid;

use super::{Answer, Key, LIMIT, Platform, from_peer, random, with_key};

/// Nothing that was revoked longer ago is let in.
const REVOKED_WITHIN: Duration = Duration::from_secs(1);

impl Platform {
    /// What the holder of the key is told of himself.
    async fn me(&self, tenant_id: Uuid, key: &str) -> Answer {
        self.get(key, &format!("/v1/tenants/{tenant_id}/me")).await
    }

    async fn revoke(&self, tenant_id: Uuid, key: &Key) {
        self.done(&format!("/v1/tenants/{tenant_id}/api-keys/{}/revoke", key.id), json!({})).await;
    }

    async fn rotate(&self, tenant_id: Uuid, key: &Key, grace_seconds: u32) -> String {
        let path = format!("/v1/tenants/{tenant_id}/api-keys/{}/rotate", key.id);
        self.done(&path, json!({ "grace_seconds": grace_seconds })).await["key"].as_str().unwrap().to_owned()
    }
}

impl Platform {
    /// The tenant's events as they come.
    async fn follow(&self, tenant_id: Uuid, key: &str) -> BodyDataStream {
        let request = with_key(Request::get(format!("/v1/tenants/{tenant_id}/events/stream")), key);
        let response = self.open(request.header("consistency-token", self.seen()).body(Body::empty()).unwrap()).await;
        assert_eq!(response.status(), 200);
        response.into_body().into_data_stream()
    }
}

/// Ends with the stream, whose last words say why.
async fn end_of(mut body: BodyDataStream, reason: &str) {
    let mut said = String::new();
    while let Some(chunk) = timeout(LIMIT, body.next()).await.expect("the stream ends") {
        said.push_str(std::str::from_utf8(&chunk.unwrap()).unwrap());
    }
    let (_, last) = said.rsplit_once("event: end\n").expect("a stream says why it ends");
    assert!(last.contains(&format!("\"reason\":\"{reason}\"")), "{last}");
}

/// Returns when the stream has said it.
async fn says(mut body: BodyDataStream, what: &str) {
    let mut said = String::new();
    while !said.contains(what) {
        let chunk = timeout(LIMIT, body.next()).await.expect("the stream says something in time");
        said.push_str(std::str::from_utf8(&chunk.expect("the stream goes on").unwrap()).unwrap());
    }
}

#[tokio::test]
async fn a_key_has_all_of_its_roles_and_only_within_its_scopes() {
    let platform = Platform::start().await;
    let acme = platform.tenant("acme").await;
    let path = |rest: &str| format!("/v1/tenants/{acme}/{rest}");
    let both = platform.key(acme, &["billing", "viewer"]).await.text;
    platform.get(&both, &path("statement")).await.ok();
    platform.get(&both, &path("webhooks")).await.ok();
    platform.get(&both, &path("audit")).await.refused(403, "forbidden");
    let body = json!({ "name": "Bounded", "roles": ["owner"], "scopes": ["subscription:read", "webhook:*"] });
    let bounded = platform.key_with(acme, body).await.text;
    platform.get(&bounded, &path("subscriptions")).await.ok();
    platform.get(&bounded, &path("webhooks")).await.ok();
    platform.me(acme, &bounded).await.ok();
    platform.get(&bounded, &path("roles")).await.refused(403, "forbidden");
    platform.post(&bounded, &path("rename"), json!({ "name": "Mine" })).await.refused(403, "forbidden");
}

#[tokio::test]
async fn scopes_that_no_operation_asks_for_are_refused_by_their_places_and_append_nothing() {
    let platform = Platform::start().await;
    let acme = platform.tenant("acme").await;
    let issue = async |scopes: Value| {
        let body = json!({ "name": "Bounded", "roles": ["viewer"], "scopes": scopes });
        platform.post(&platform.administrator, &format!("/v1/tenants/{acme}/api-keys"), body).await
    };
    let pointers = async |scopes: Value| {
        let answer = issue(scopes).await;
        answer.refused(422, "invalid_body");
        let errors = answer.body()["errors"].as_array().unwrap().clone();
        errors.iter().map(|error| error["pointer"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    // Of commands, queries and questions about rights alike.
    for good in ["webhook:*", "billing:read", "*:read", "authorization:check", "*:suspend", "*:*"] {
        assert_eq!(issue(json!([good])).await.status, 201, "{good}");
    }
    let scopes = json!(["webhook:read", "audit:read", "webhook:*", "webhoook:*", "*:raed", "audit:register"]);
    assert_eq!(pointers(scopes).await, ["/scopes/3", "/scopes/4", "/scopes/5"]);
    assert_eq!(pointers(json!(["webhook:read", "webhook"])).await, ["/scopes/1"]);
    assert_eq!(pointers(json!(["webhook:read", "Webhook:read"])).await, ["/scopes/1"]);
    assert_eq!(pointers(json!([])).await, ["/scopes"]);
    let keys = platform.get(&platform.administrator, &format!("/v1/tenants/{acme}/api-keys")).await.ok();
    assert_eq!(keys["items"].as_array().unwrap().len(), 6, "{keys}");
}

#[tokio::test]
async fn a_key_is_used_from_its_networks_whatever_a_header_says() {
    let platform = Platform::start().await;
    let acme = platform.tenant("acme").await;
    let body = json!({ "name": "Office", "roles": ["viewer"], "networks": ["10.1.0.0/16", "2001:db8::/32"] });
    let key = platform.key_with(acme, body).await.text;
    let request = || {
        let request = with_key(Request::get(format!("/v1/tenants/{acme}/me")), &key);
        request.header("consistency-token", platform.seen())
    };
    for inside in ["10.1.2.3", "::ffff:10.1.2.3", "2001:db8::7"] {
        platform.send(from_peer(request().body(Body::empty()).unwrap(), inside)).await.ok();
    }
    platform.send(request().body(Body::empty()).unwrap()).await.refused(401, "unauthenticated");
    for outside in ["10.2.0.1", "::1", "127.0.0.1"] {
        for header in ["x-forwarded-for", "x-real-ip"] {
            let request = request().header(header, "10.1.2.3").body(Body::empty()).unwrap();
            platform.send(from_peer(request, outside)).await.refused(401, "unauthenticated");
        }
        let request = request().header("forwarded", "for=10.1.2.3").body(Body::empty()).unwrap();
        platform.send(from_peer(request, outside)).await.refused(401, "unauthenticated");
    }
}

#[tokio::test]
async fn a_key_ends_at_its_time() {
    let platform = Platform::start().await;
    let acme = platform.tenant("acme").await;
    let end = platform.clock.now() + TimeDelta::hours(1);
    let key = platform.key_with(acme, json!({ "name": "Short", "roles": ["viewer"], "expires_at": end })).await.text;
    platform.clock.set(end - TimeDelta::seconds(1));
    platform.me(acme, &key).await.ok();
    platform.clock.set(end);
    platform.me(acme, &key).await.refused(401, "unauthenticated");
}

#[tokio::test]
async fn after_a_rotation_both_secrets_are_good_until_the_grace_is_over() {
    let platform = Platform::start().await;
    let acme = platform.tenant("acme").await;
    let key = platform.key(acme, &["viewer"]).await;
    let second = platform.rotate(acme, &key, 3_600).await;
    platform.clock.advance(TimeDelta::seconds(3_599));
    for good in [&key.text, &second] {
        platform.me(acme, good).await.ok();
    }
    platform.clock.advance(TimeDelta::seconds(1));
    platform.me(acme, &key.text).await.refused(401, "unauthenticated");
    platform.me(acme, &second).await.ok();
    // Of three secrets the oldest is not good, and without a grace there is only one.
    let third = platform.rotate(acme, &key, 3_600).await;
    let fourth = platform.rotate(acme, &key, 3_600).await;
    platform.me(acme, &second).await.refused(401, "unauthenticated");
    platform.me(acme, &third).await.ok();
    let fifth = platform.rotate(acme, &key, 0).await;
    for over in [&third, &fourth] {
        platform.me(acme, over).await.refused(401, "unauthenticated");
    }
    platform.me(acme, &fifth).await.ok();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_key_is_refused_to_whoever_has_seen_it_and_everywhere_within_a_second() {
    let platform = Platform::start().await;
    let acme = platform.tenant("acme").await;
    let other = platform.beside();
    let path = format!("/v1/tenants/{acme}/me");
    let (one, two) = (platform.key(acme, &["viewer"]).await, platform.key(acme, &["viewer"]).await);
    for (process, key) in [(&platform, &one), (&other, &one), (&platform, &two), (&other, &two)] {
        // From here on the process decides from what it keeps.
        eventually(LIMIT, async || process.get_at_once(&key.text, &path).await.status.is_success().then_some(())).await;
    }
    platform.revoke(acme, &one).await;
    // The receipt's token is all that it needs, in any process.
    platform.get(&one.text, &path).await.refused(401, "unauthenticated");
    other.seen.store(platform.seen.load(Ordering::SeqCst), Ordering::SeqCst);
    other.get(&one.text, &path).await.refused(401, "unauthenticated");
    platform.revoke(acme, &two).await;
    let revoked = Instant::now();
    for process in [&platform, &other] {
        loop {
            let asked = revoked.elapsed();
            if process.get_at_once(&two.text, &path).await.status == 401 {
                break;
            }
            assert!(asked < REVOKED_WITHIN, "a revoked key was let in after {asked:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_streams_of_a_revoked_key_are_closed() {
    let platform = Platform::start().await;
    let acme = platform.tenant("acme").await;
    let (gone, stays) = (platform.key(acme, &["auditor"]).await, platform.key(acme, &["auditor"]).await);
    let other = platform.beside();
    let (here, there) = (platform.follow(acme, &gone.text).await, other.follow(acme, &gone.text).await);
    let going_on = platform.follow(acme, &stays.text).await;
    platform.revoke(acme, &gone).await;
    let revoked = Instant::now();
    join(end_of(here, "token_expired"), end_of(there, "token_expired")).await;
    // A second, and what a machine that is busy with other tests adds to it.
    assert!(revoked.elapsed() < Duration::from_secs(5), "the streams were closed after {:?}", revoked.elapsed());
    platform.done(&format!("/v1/tenants/{acme}/rename"), json!({ "name": "Renamed" })).await;
    says(going_on, "tenant.renamed").await;
}

#[tokio::test]
async fn a_stream_ends_with_the_secret_that_it_was_opened_with() {
    let platform = Platform::start().await;
    let acme = platform.tenant("acme").await;
    let key = platform.key(acme, &["auditor"]).await;
    let old = platform.follow(acme, &key.text).await;
    let secret = platform.rotate(acme, &key, 60).await;
    let new = platform.follow(acme, &secret).await;
    platform.clock.advance(TimeDelta::seconds(60));
    end_of(old, "token_expired").await;
    platform.done(&format!("/v1/tenants/{acme}/rename"), json!({ "name": "Renamed" })).await;
    says(new, "tenant.renamed").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_ends_when_the_right_to_read_events_is_gone() {
    let platform = Platform::start().await;
    let acme = platform.tenant("acme").await;
    let reading = |effect: &str| json!({ "resource": "event", "actions": ["read"], "effect": effect });
    let watching = platform.role(acme, "watching", &[reading("allow")]).await;
    let key = platform.key(acme, &[&watching.to_string()]).await;
    let stream = platform.follow(acme, &key.text).await;
    let path = format!("/v1/tenants/{acme}/roles/{watching}/grant-permission");
    platform.done(&path, reading("deny")).await;
    end_of(stream, "forbidden").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_waits_for_an_event_while_his_key_is_revoked_gets_none() {
    let platform = Platform::start().await;
    let acme = platform.tenant("acme").await;
    let key = platform.key(acme, &["auditor"]).await;
    let path = format!("/v1/tenants/{acme}/events?after=latest&types=tenant.renamed&wait=28");
    let (answer, ()) = tokio::join!(platform.get(&key.text, &path), async {
        platform.revoke(acme, &key).await;
        let gone = async || (platform.me(acme, &key.text).await.status == 401).then_some(());
        hub_tests::kit::eventually(LIMIT, gone).await;
        platform.done(&format!("/v1/tenants/{acme}/rename"), json!({ "name": "Renamed" })).await;
    });
    answer.refused(401, "unauthenticated");
}

#[tokio::test]
async fn nobody_issues_a_key_with_more_rights_than_his_own() {
    let platform = Platform::start().await;
    let acme = platform.tenant("acme").await;
    let permission =
        |resource: &str, action: &str| json!({ "resource": resource, "actions": [action], "effect": "allow" });
    let issuing = platform.role(acme, "issuing", &[permission("api_key", "*"), permission("webhook", "read")]).await;
    let hooks = platform.role(acme, "hooks", &[permission("webhook", "read")]).await;
    let (issuing, hooks) = (issuing.to_string(), hooks.to_string());
    let issuer = platform.key(acme, &[&issuing]).await.text;
    let admin = platform.key(acme, &["admin"]).await.text;
    let body = json!({ "name": "Bounded", "roles": ["owner"], "scopes": ["api_key:issue", "webhook:*"] });
    let bounded = platform.key_with(acme, body).await.text;
    let issue = async |key: &str, roles: Value| {
        let body = json!({ "name": "More", "roles": roles });
        platform.post(key, &format!("/v1/tenants/{acme}/api-keys"), body).await
    };
    for (key, roles) in [
        (&issuer, json!(["owner"])),
        (&issuer, json!(["viewer"])),
        (&issuer, json!([hooks, "viewer"])),
        (&admin, json!(["owner"])),
        (&bounded, json!(["viewer"])),
        (&bounded, json!(["owner"])),
    ] {
        issue(key, roles).await.refused(403, "forbidden");
    }
    for (key, roles) in [
        (&issuer, json!([issuing])),
        (&issuer, json!([hooks])),
        (&admin, json!(["admin"])),
        (&admin, json!(["viewer", "billing"])),
        (&bounded, json!([hooks])),
    ] {
        let answer = issue(key, roles).await;
        assert_eq!(answer.status, 201, "{answer:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_processes_that_enrol_at_the_same_moment_one_makes_the_administrator() {
    let database = Arc::new(Database::new().await);
    let keys = [KeyText::generate(random()), KeyText::generate(random())];
    let clock = TestClock::default();
    let process = |key: &KeyText| Platform::on(Arc::clone(&database), clock.clone(), key.reveal());
    let processes = [process(&keys[0]), process(&keys[1])];
    let (one, two) =
        join(processes[0].commands.enrol(&keys[0], false), processes[1].commands.enrol(&keys[1], false)).await;
    let outcomes = [one.unwrap(), two.unwrap()];
    let winner = outcomes.iter().position(|outcome| *outcome == Enrolment::Administrator).expect("one of them");
    assert_eq!(outcomes[1 - winner], Enrolment::AnotherBefore);
    assert_eq!(processes[winner].commands.enrol(&keys[winner], false).await.unwrap(), Enrolment::Administrator);
    for process in &processes {
        process.me(PLATFORM_TENANT.0, keys[winner].reveal()).await.ok();
        process.me(PLATFORM_TENANT.0, keys[1 - winner].reveal()).await.refused(401, "unauthenticated");
    }
}
