//! What somebody with a key of one tenant tries, to get at another tenant or beyond his own rights.
//!
//! Two commands at the same moment that would form a circle of roles are tried in `commands::role`, credentials of every bad shape in the
//! crate `token`, and cursors of every bad shape in `hub_http`.

use std::collections::BTreeSet;

use axum::{body::Body, http::Request};
use serde_json::{Value, json};
use tower::ServiceExt as _;
use uuid::Uuid;

use super::{Answer, Key, Platform, id_of, read, with_json, with_key};

/// What the program sets itself, and no body may.
const SERVER_SET: &[&str] = &[
    "id",
    "tenant_id",
    "sequence",
    "position",
    "status",
    "stage",
    "system",
    "created_at",
    "actor",
    "principal",
    "sha256",
    "secret_id",
    "scope",
    "home",
    "by",
    "now",
    "no_such_field",
];

/// So many requests at the same time.
const REQUEST_COUNT: usize = 200;

/// Two tenants, each with the key of an owner.
struct Two {
    platform: Platform,
    acme: Uuid,
    other: Uuid,
    owner: Key,
    stranger: Key,
}

impl Two {
    async fn start() -> Self {
        let platform = Platform::start().await;
        let (acme, other) = (platform.tenant("acme").await, platform.tenant("other").await);
        let (owner, stranger) = (platform.key(acme, &["owner"]).await, platform.key(other, &["owner"]).await);
        Self { platform, acme, other, owner, stranger }
    }

    fn path(&self, rest: &str) -> String {
        format!("/v1/tenants/{}/{rest}", self.acme)
    }

    /// As the owner of acme.
    async fn post(&self, rest: &str, body: Value) -> Answer {
        self.platform.post(&self.owner.text, &self.path(rest), body).await
    }

    async fn get(&self, rest: &str) -> Answer {
        self.platform.get(&self.owner.text, &self.path(rest)).await
    }

    /// Something of the other tenant's: its id.
    async fn foreign(&self, noun: &str, body: Value) -> Uuid {
        id_of(&self.platform.done(&format!("/v1/tenants/{}/{noun}", self.other), body).await)
    }
}

fn subscription() -> Value {
    let price = json!({ "minor": 500, "currency": "EUR" });
    let plan = json!({ "code": "mail", "name": "Mail", "tier": "basic", "price": price, "interval": "month" });
    json!({ "plan": plan, "seats": 1 })
}

fn webhook() -> Value {
    json!({ "url": "https://acme.example/hooks", "events": ["tenant.*"] })
}

/// A body for each way to make something, with `role_id` for the role that some of them name.
fn creations(role_id: Uuid, another: Uuid, until: &str) -> Vec<(&'static str, Value)> {
    vec![
        ("access-requests", json!({ "role_id": role_id, "reason": "a restore", "duration_seconds": 3600 })),
        ("api-keys", json!({ "name": "Key", "roles": [role_id] })),
        ("break-glass", json!({ "role_id": role_id, "reason": "mail is down", "ticket": "OPS-12", "minutes": 30 })),
        ("duty-sets", json!({ "key": "duties", "name": "Duties", "role_ids": [role_id, another], "held_max": 1 })),
        ("erasures", json!({ "whom": { "email": "it@acme.example" }, "reason": "asked by letter" })),
        (
            "identity-providers",
            json!({ "issuer": "https://id.acme.example", "jwks_uri": "https://id.acme.example/keys" }),
        ),
        ("event-subscriptions", json!({ "name": "billing" })),
        ("inbound-sources", json!({ "name": "payments", "scheme": { "kind": "standard_webhooks" } })),
        ("legal-holds", json!({ "whom": "tenant", "matter": "case-7", "reason": "a claim" })),
        ("roles", json!({ "key": "made", "name": "Made" })),
        ("service-instances", json!({ "service": "mail", "plan": "business" })),
        ("subscriptions", subscription()),
        ("support-access", json!({ "staff": "user:sam", "role_id": role_id, "reason": "slow", "until": until })),
        ("webhooks", webhook()),
    ]
}

/// The same but for the ids that were asked for.
fn same(one: &Answer, one_id: Uuid, two: &Answer, two_id: Uuid) {
    let text = |answer: &Answer, id: Uuid| String::from_utf8_lossy(&answer.bytes).replace(&id.to_string(), "<id>");
    assert!(one.status.is_client_error(), "{one:?}");
    assert_eq!(
        (one.status, without_request_id(&text(one, one_id))),
        (two.status, without_request_id(&text(two, two_id)))
    );
}

fn without_request_id(text: &str) -> Value {
    let mut body: Value = serde_json::from_str(text).unwrap();
    body.as_object_mut().unwrap().remove("request_id");
    body
}

#[tokio::test]
async fn a_foreign_id_in_a_path_answers_as_an_unknown_one() {
    let two = Two::start().await;
    let role = two.foreign("roles", json!({ "key": "support", "name": "Support" })).await;
    let subscription = two.foreign("subscriptions", subscription()).await;
    let webhook = two.foreign("webhooks", webhook()).await;
    let unknown = Uuid::from_u128(0xbad);
    for (noun, id, verb, body) in [
        ("roles", role, "archive", Value::Null),
        ("roles", role, "assign", json!({ "principal": "user:eve" })),
        ("roles", role, "clone", json!({ "key": "mine", "name": "Mine" })),
        ("roles", role, "grant-permission", json!({ "resource": "role", "actions": ["read"], "effect": "allow" })),
        ("subscriptions", subscription, "activate", Value::Null),
        ("subscriptions", subscription, "cancel", json!({ "timing": "immediate", "reason": "" })),
        ("webhooks", webhook, "delete", Value::Null),
        ("webhooks", webhook, "rotate-secret", json!({})),
        ("api-keys", two.stranger.id, "revoke", json!({})),
        ("api-keys", two.stranger.id, "rotate", json!({ "grace_seconds": 0 })),
    ] {
        let foreign = two.post(&format!("{noun}/{id}/{verb}"), body.clone()).await;
        same(&foreign, id, &two.post(&format!("{noun}/{unknown}/{verb}"), body).await, unknown);
        assert_eq!(foreign.status, 404, "{noun} {verb}: {foreign:?}");
        if noun != "api-keys" {
            let foreign = two.get(&format!("{noun}/{id}")).await;
            same(&foreign, id, &two.get(&format!("{noun}/{unknown}")).await, unknown);
        }
    }
    // Nothing has happened to any of them.
    let me = format!("/v1/tenants/{}/me", two.other);
    two.platform.get(&two.stranger.text, &me).await.ok();
    let role = two.platform.get(&two.stranger.text, &format!("/v1/tenants/{}/roles/{role}", two.other)).await.ok();
    assert_eq!(role["status"], "live", "{role}");
}

#[tokio::test]
async fn a_reference_to_a_foreign_thing_answers_as_one_to_an_unknown_thing() {
    let two = Two::start().await;
    let role = two.foreign("roles", json!({ "key": "support", "name": "Support" })).await;
    let subscription = two.foreign("subscriptions", subscription()).await;
    let own = id_of(&two.post("roles", json!({ "key": "own", "name": "Own" })).await.body());
    let until = "2026-01-02T12:00:00Z";
    let references = |id: Uuid| {
        let with_role =
            creations(id, own, until).into_iter().filter(|(_, body)| body.to_string().contains(&id.to_string()));
        let mut references: Vec<(String, Value)> = with_role.map(|(noun, body)| (noun.to_owned(), body)).collect();
        references.push((format!("roles/{own}/add-parent"), json!({ "parent_id": id })));
        references
    };
    let unknown = Uuid::from_u128(0xbad);
    let before = two.platform.seen();
    for ((rest, foreign), (_, random)) in references(role).into_iter().zip(references(unknown)) {
        same(&two.post(&rest, foreign).await, role, &two.post(&rest, random).await, unknown);
    }
    let provision = |id: Uuid| json!({ "service": "mail", "plan": "business", "subscription_id": id });
    let foreign = two.post("service-instances", provision(subscription)).await;
    same(&foreign, subscription, &two.post("service-instances", provision(unknown)).await, unknown);
    assert_eq!(two.platform.seen(), before, "nothing was appended");
}

#[tokio::test]
async fn a_cursor_is_good_for_its_tenant_and_its_principal_only() {
    let two = Two::start().await;
    let page = two.get("roles?limit=1").await.ok();
    let cursor = page["next_cursor"].as_str().unwrap();
    let next = format!("roles?limit=1&cursor={cursor}");
    assert_ne!(two.get(&next).await.ok()["items"], page["items"]);
    let colleague = two.platform.key(two.acme, &["owner"]).await;
    two.platform.get(&colleague.text, &two.path(&next)).await.refused(400, "invalid_cursor");
    let elsewhere = format!("/v1/tenants/{}/{next}", two.other);
    for key in [&two.stranger.text, &two.platform.administrator] {
        two.platform.get(key, &elsewhere).await.refused(400, "invalid_cursor");
    }
    two.platform.get(&two.owner.text, &elsewhere).await.refused(404, "not_found");
    two.get(&format!("webhooks?limit=1&cursor={cursor}")).await.refused(400, "invalid_cursor");
    two.get(&format!("{next}&status=live")).await.refused(400, "invalid_cursor");
}

#[tokio::test]
async fn nobody_sets_what_the_program_sets_itself() {
    let two = Two::start().await;
    let roles = ["one", "another"].map(|key| json!({ "key": key, "name": key }));
    let [one, another] = roles.map(async |body| id_of(&two.post("roles", body).await.body()));
    let (one, another) = (one.await, another.await);
    let until = "2026-01-02T12:00:00Z";
    let registration = json!({
        "slug": "third", "name": "Third", "contact_email": "it@third.example", "tier": "starter", "region": "eu-central",
        "currency": "EUR",
    });
    let mut all: Vec<(String, &str, Value)> =
        vec![("/v1/tenants".to_owned(), &two.platform.administrator, registration)];
    for (noun, body) in creations(one, another, until) {
        all.push((two.path(noun), &two.owner.text, body));
    }
    all.push((two.path(&format!("roles/{one}/clone")), &two.owner.text, json!({ "key": "twin", "name": "Twin" })));
    let templates = "/v1/role-templates";
    let template = |key: &str| {
        let permission = json!({ "resource": "webhook", "actions": ["read"], "effect": "allow" });
        json!({ "key": key, "name": key, "permissions": [permission] })
    };
    let template_id = id_of(&two.platform.done(templates, template("offered")).await);
    all.push((templates.to_owned(), &two.platform.administrator, template("another")));
    let from_template = json!({ "role_template_id": template_id, "key": "taken", "name": "Taken" });
    all.push((two.path("roles/from-template"), &two.owner.text, from_template));
    let gone = two.platform.tenant("gone").await;
    two.platform.done(&format!("/v1/tenants/{gone}/archive"), Value::Null).await;
    let off_board = json!({ "reason": "the contract ended" });
    all.push((format!("/v1/tenants/{gone}/off-board"), &two.platform.administrator, off_board));
    all.push((two.path("nats-credentials"), &two.platform.administrator, json!({ "name": "Ledger" })));
    all.push(("/v1/compliance/runs".to_owned(), &two.platform.administrator, json!({ "reason": "before an audit" })));
    let known: BTreeSet<&str> = all.iter().map(|(path, ..)| path.rsplit('/').next().unwrap()).collect();
    for (path, methods) in two.platform.document["paths"].as_object().unwrap() {
        let creates = methods["post"]["responses"].get("201").is_some();
        let noun = path.rsplit('/').next().unwrap();
        assert!(!creates || known.contains(noun), "{path} is not tried");
    }
    for (path, key, body) in all {
        for field in SERVER_SET.iter().filter(|field| body.get(**field).is_none()) {
            let mut more = body.clone();
            more[field] = json!(two.other);
            let answer = two.platform.post(key, &path, more).await;
            answer.refused(422, "invalid_body");
        }
        let answer = two.platform.post(key, &path, body).await;
        assert_eq!(answer.status, 201, "without them it is made: {path} {answer:?}");
    }
}

#[tokio::test]
async fn a_tenants_id_outside_of_the_path_changes_nothing() {
    let two = Two::start().await;
    let foreign = two.foreign("roles", json!({ "key": "support", "name": "Support" })).await.to_string();
    let plain = two.get("roles").await;
    for header in ["x-tenant-id", "tenant-id", "x-tenant", "x-original-url", "x-rewrite-url", "host"] {
        let request = with_key(Request::get(two.path("roles")), &two.owner.text);
        let request = request.header("consistency-token", two.platform.seen()).header("prefer", "wait=10");
        let value =
            if header.ends_with("url") { format!("/v1/tenants/{}/roles", two.other) } else { two.other.to_string() };
        let answer = two.platform.send(request.header(header, value).body(Body::empty()).unwrap()).await;
        assert_eq!(answer.ok(), plain.ok(), "{header}");
    }
    for parameter in ["tenant_id", "tenant"] {
        let answer = two.get(&format!("roles?{parameter}={}", two.other)).await;
        answer.refused(400, "invalid_query");
    }
    let doubled = format!("/v1/tenants/{}/../{}/roles", two.acme, two.other);
    for path in [doubled, format!("/v1/tenants/{}%2f..%2f{}/roles", two.acme, two.other)] {
        let answer = two.platform.get(&two.owner.text, &path).await;
        assert!(answer.status.is_client_error(), "{path}: {answer:?}");
        assert!(!String::from_utf8_lossy(&answer.bytes).contains(&foreign));
    }
    // The header of a command does not choose where it is executed either.
    let request =
        with_key(Request::post(two.path("roles")), &two.owner.text).header("x-tenant-id", two.other.to_string());
    let request = request.header("consistency-token", two.platform.seen());
    let made = two.platform.send(with_json(request, &json!({ "key": "mine", "name": "Mine" }))).await;
    two.get(&format!("roles/{}", id_of(&made.body()))).await.ok();
}

#[tokio::test(flavor = "multi_thread")]
async fn under_parallel_load_everybody_gets_his_own_answer() {
    let two = Two::start().await;
    for key in ["alpha", "beta", "gamma"] {
        assert_eq!(two.post("roles", json!({ "key": key, "name": key })).await.status, 201);
    }
    two.post("webhooks", webhook()).await;
    let condition = json!({ "equals": { "attribute": "resource.key", "value": "beta" } });
    let conditional = json!({ "resource": "role", "actions": ["read"], "effect": "allow", "condition": condition });
    let some = two.platform.role(two.acme, "some", &[conditional]).await.to_string();
    let mut keys = vec![two.owner.text.clone(), two.stranger.text.clone()];
    for role in ["billing", &*some] {
        keys.push(two.platform.key(two.acme, &[role]).await.text);
    }
    let paths: Vec<String> =
        ["roles", "roles?limit=2", "webhooks", "subscriptions", "audit?event_type=tenant.*", "me", "statement"]
            .map(|rest| two.path(rest))
            .into_iter()
            .chain([format!("/v1/tenants/{}", two.acme), "/v1/tenants".to_owned()])
            .collect();
    let mut expected = Vec::new();
    for path in &paths {
        for key in &keys {
            let answer = two.platform.get(key, path).await;
            expected.push((answer.status, comparable(&answer)));
        }
    }
    let seen: BTreeSet<String> =
        expected[..keys.len()].iter().map(|(status, body)| format!("{status} {body}")).collect();
    assert_eq!(seen.len(), keys.len(), "of the roles everybody sees something else: {seen:?}");
    let platform = &two.platform;
    let requests = (0..REQUEST_COUNT).map(|number| {
        // Neighbours in time differ in the key and ask for the same.
        let (key, path) = (number % keys.len(), number / keys.len() % paths.len());
        let request = with_key(Request::get(&*paths[path]), &keys[key]).header("consistency-token", platform.seen());
        let request = request.header("prefer", "wait=10").body(Body::empty()).unwrap();
        let router = platform.router.clone();
        let asked = tokio::spawn(async move { read(router.oneshot(request).await.unwrap()).await });
        async move { (key, path, asked.await.unwrap()) }
    });
    for (key, path, answer) in futures::future::join_all(requests).await {
        let found = (answer.status, comparable(&answer));
        assert_eq!(found, expected[path * keys.len() + key], "{} with key {key}", paths[path]);
    }
}

/// The body without what differs from request to request.
fn comparable(answer: &Answer) -> Value {
    let mut body = answer.body();
    if let Some(body) = body.as_object_mut() {
        body.remove("request_id");
    }
    body
}
