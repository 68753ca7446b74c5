//! What commands on access have done is read back over HTTP: in order, by filter, page by page, one by one, and by nobody else.

use chrono::TimeDelta;
use serde_json::{Value, json};
use uuid::Uuid;

use super::{Key, Platform, id_of};

/// A tenant with two people, a role, and another tenant's owner who looks on.
struct Office {
    platform: Platform,
    tenant_id: Uuid,
    role_id: Uuid,
    ada: Key,
    bob: Key,
    stranger: Key,
}

impl Office {
    async fn start() -> Self {
        let platform = Platform::start().await;
        let (tenant_id, other) = (platform.tenant("acme").await, platform.tenant("other").await);
        let role_id = platform.role(tenant_id, "operator", &[]).await;
        let ada = platform.key(tenant_id, &["owner"]).await;
        let bob = platform.key(tenant_id, &["owner"]).await;
        let stranger = platform.key(other, &["owner"]).await;
        Self { platform, tenant_id, role_id, ada, bob, stranger }
    }

    fn path(&self, list: &str) -> String {
        format!("/v1/tenants/{}/{list}", self.tenant_id)
    }

    /// Makes a thing as somebody.
    async fn make(&self, key: &Key, list: &str, body: Value) -> Uuid {
        let answer = self.platform.post(&key.text, &self.path(list), body).await;
        assert_eq!(answer.status, 201, "{answer:?}");
        id_of(&answer.body())
    }

    /// Orders a thing to do something as somebody.
    async fn act(&self, key: &Key, list: &str, id: Uuid, verb: &str, body: Value) {
        self.platform.post(&key.text, &self.path(&format!("{list}/{id}/{verb}")), body).await.ok();
    }

    async fn items(&self, path: &str) -> Vec<Value> {
        self.platform.get(&self.ada.text, path).await.ok()["items"].as_array().unwrap().clone()
    }

    async fn ids(&self, path: &str) -> Vec<Uuid> {
        self.items(path).await.iter().map(id_of).collect()
    }

    /// The list page by page, each of so many things but the last.
    async fn walked(&self, path: &str, limit: usize) -> Vec<Value> {
        let (mut all, mut cursor) = (Vec::new(), String::new());
        loop {
            let page = self.platform.get(&self.ada.text, &format!("{path}?limit={limit}{cursor}")).await.ok();
            let items = page["items"].as_array().unwrap();
            all.extend(items.iter().cloned());
            let Some(next) = page["next_cursor"].as_str() else { return all };
            assert_eq!(items.len(), limit, "{page}");
            cursor = format!("&cursor={next}");
        }
    }

    /// Fails unless the list has these things in the order of their ids, whole and in pages, and for its own tenant only. Answers its items.
    async fn assert_listed(&self, list: &str, made: &[Uuid]) -> Vec<Value> {
        let path = self.path(list);
        let mut expected = made.to_vec();
        expected.sort_unstable();
        let items = self.items(&path).await;
        assert_eq!(items.iter().map(id_of).collect::<Vec<_>>(), expected, "{list}");
        for limit in 1..=made.len() + 1 {
            assert_eq!(self.walked(&path, limit).await, items, "{list} in pages of {limit}");
        }
        self.platform.get(&self.stranger.text, &path).await.refused(404, "not_found");
        self.platform.get(&self.ada.text, &format!("{path}?status=nonsense")).await.refused(400, "invalid_query");
        items
    }

    /// Fails unless each thing of a list is the same when it is read by itself, with its sequence as `ETag`.
    async fn assert_detailed(&self, list: &str, items: &[Value]) {
        for item in items {
            let path = self.path(&format!("{list}/{}", id_of(item)));
            let answer = self.platform.get(&self.ada.text, &path).await;
            assert_eq!(&answer.ok(), item, "{list}");
            assert_eq!(answer.headers["etag"].to_str().unwrap(), format!("\"{}\"", item["sequence"]));
            self.platform.get(&self.stranger.text, &path).await.refused(404, "not_found");
        }
        let unknown = self.path(&format!("{list}/{}", Uuid::from_u128(0x1d)));
        self.platform.get(&self.ada.text, &unknown).await.refused(404, "not_found");
    }

    /// Fails unless the filter leaves exactly these things.
    async fn assert_filtered(&self, list: &str, filter: &str, expected: &[Uuid]) {
        let mut expected = expected.to_vec();
        expected.sort_unstable();
        assert_eq!(self.ids(&self.path(&format!("{list}?{filter}"))).await, expected, "{list}?{filter}");
    }
}

fn principal(key: &Key) -> String {
    format!("key:{}", key.id)
}

fn item(items: &[Value], id: Uuid) -> &Value {
    items.iter().find(|item| id_of(item) == id).unwrap()
}

#[tokio::test]
async fn access_requests_are_listed_with_what_became_of_each() {
    let office = Office::start().await;
    let (list, nothing) = ("access-requests", json!({}));
    let mut made = Vec::new();
    for key in [&office.ada, &office.ada, &office.ada, &office.bob, &office.ada] {
        let body = json!({ "role_id": office.role_id, "reason": "a restore", "duration_seconds": 3600 });
        made.push(office.make(key, list, body).await);
    }
    let [open, approved, denied, withdrawn, revoked] = made[..] else { panic!("five were made") };
    office.act(&office.bob, list, approved, "approve", json!({ "remark": "for today" })).await;
    office.act(&office.bob, list, denied, "deny", json!({ "remark": "not today" })).await;
    office.act(&office.bob, list, withdrawn, "withdraw", Value::Null).await;
    office.act(&office.bob, list, revoked, "approve", nothing.clone()).await;
    office.act(&office.bob, list, revoked, "revoke", nothing).await;
    let items = office.assert_listed(list, &made).await;
    office.assert_detailed(list, &items).await;
    let statuses = [("open", open), ("approved", approved), ("denied", denied), ("withdrawn", withdrawn)];
    for (status, id) in statuses.into_iter().chain([("revoked", revoked)]) {
        office.assert_filtered(list, &format!("status={status}"), &[id]).await;
    }
    office.assert_filtered(list, &format!("requested_by={}", principal(&office.bob)), &[withdrawn]).await;
    office.assert_filtered(list, &format!("requested_by={}&status=open", principal(&office.bob)), &[]).await;
    let approved = item(&items, approved);
    let (now, bob) = (office.platform.clock.now(), principal(&office.bob));
    assert_eq!((&approved["decided_by"], &approved["decision_remark"]), (&json!(bob), &json!("for today")));
    assert_eq!(
        (&approved["granted_from"], &approved["granted_until"]),
        (&json!(now), &json!(now + TimeDelta::hours(1)))
    );
    assert_eq!((&item(&items, open)["decided_by"], &item(&items, open)["granted_from"]), (&Value::Null, &Value::Null));
}

#[tokio::test]
async fn broken_glass_is_listed_with_its_review() {
    let office = Office::start().await;
    let list = "break-glass";
    let mut made = Vec::new();
    for ticket in ["OPS-1", "OPS-2", "OPS-3"] {
        let body = json!({ "role_id": office.role_id, "reason": "mail is down", "ticket": ticket, "minutes": 30 });
        made.push(office.make(&office.ada, list, body).await);
    }
    let [open, closed, reviewed] = made[..] else { panic!("three were made") };
    for id in [closed, reviewed] {
        office.act(&office.ada, list, id, "close", Value::Null).await;
    }
    let review = json!({ "verdict": "justified", "remark": "as agreed" });
    office.act(&office.bob, list, reviewed, "review", review).await;
    let items = office.assert_listed(list, &made).await;
    office.assert_detailed(list, &items).await;
    for (status, id) in [("open", open), ("unreviewed", closed), ("reviewed", reviewed)] {
        office.assert_filtered(list, &format!("status={status}"), &[id]).await;
    }
    let reviewed = item(&items, reviewed);
    assert_eq!((&reviewed["ticket"], &reviewed["verdict"]), (&json!("OPS-3"), &json!("justified")));
    assert_eq!(reviewed["reviewed_by"], principal(&office.bob));
}

#[tokio::test]
async fn support_access_is_listed_until_and_after_its_end() {
    let office = Office::start().await;
    let list = "support-access";
    let mut made = Vec::new();
    for (staff, days) in [("user:sam", 2), ("user:tim", 3)] {
        let until = office.platform.clock.now() + TimeDelta::days(days);
        let body = json!({ "staff": staff, "role_id": office.role_id, "reason": "a slow restore", "until": until });
        made.push(office.make(&office.ada, list, body).await);
    }
    office.act(&office.bob, list, made[1], "revoke", Value::Null).await;
    let items = office.assert_listed(list, &made).await;
    office.assert_detailed(list, &items).await;
    office.assert_filtered(list, "status=granted", &made[..1]).await;
    office.assert_filtered(list, "status=revoked", &made[1..]).await;
    office.assert_filtered(list, "status=ended", &[]).await;
    let (granted, revoked) = (item(&items, made[0]), item(&items, made[1]));
    assert_eq!((&granted["staff"], &granted["revoked_by"]), (&json!("user:sam"), &Value::Null));
    assert_eq!(
        (&revoked["granted_by"], &revoked["revoked_by"]),
        (&json!(principal(&office.ada)), &json!(principal(&office.bob)))
    );
}

#[tokio::test]
async fn duty_sets_are_listed_until_they_are_removed() {
    let office = Office::start().await;
    let (list, other) = ("duty-sets", office.platform.role(office.tenant_id, "approver", &[]).await);
    let mut made = Vec::new();
    for key in ["payments", "keys", "gone"] {
        let body = json!({ "key": key, "name": key, "role_ids": [office.role_id, other], "held_max": 1 });
        made.push(office.make(&office.ada, list, body).await);
    }
    let gone = made.pop().unwrap();
    office.act(&office.bob, list, gone, "remove", Value::Null).await;
    let items = office.assert_listed(list, &made).await;
    office.assert_detailed(list, &items).await;
    office.assert_filtered(list, "key=keys", &made[1..]).await;
    office.assert_filtered(list, "key=gone", &[]).await;
    let mut roles = [office.role_id.to_string(), other.to_string()];
    roles.sort_unstable();
    assert_eq!((&items[0]["role_ids"], &items[0]["held_max"]), (&json!(roles), &json!(1)));
}

#[tokio::test]
async fn identity_providers_are_listed_by_whether_their_tokens_are_accepted() {
    let office = Office::start().await;
    let list = "identity-providers";
    let mut made = Vec::new();
    for name in ["one", "two", "gone"] {
        let issuer = format!("https://{name}.acme.example");
        let body = json!({ "issuer": issuer, "jwks_uri": format!("{issuer}/keys") });
        made.push(office.make(&office.ada, list, body).await);
    }
    let gone = made.pop().unwrap();
    office.act(&office.ada, list, gone, "remove", Value::Null).await;
    office.act(&office.ada, list, made[1], "disable", Value::Null).await;
    let items = office.assert_listed(list, &made).await;
    office.assert_detailed(list, &items).await;
    office.assert_filtered(list, "status=enabled", &made[..1]).await;
    office.assert_filtered(list, "status=disabled", &made[1..]).await;
    assert_eq!(item(&items, made[0])["audience"], format!("urn:service-hub:tenant:{}", office.tenant_id));
}

#[tokio::test]
async fn role_templates_are_listed_for_the_platform_and_for_each_tenant() {
    let office = Office::start().await;
    let (platform, list) = (&office.platform, "/v1/role-templates");
    let permission = |action: &str| json!({ "resource": "webhook", "actions": [action], "effect": "allow" });
    let mut made = Vec::new();
    for key in ["reader", "writer", "retired"] {
        let body = json!({ "key": key, "name": key, "description": "", "permissions": [permission("read")] });
        made.push(id_of(&platform.done(list, body).await));
    }
    let body = json!({ "permissions": [permission("read"), permission("register")] });
    platform.done(&format!("{list}/{}/publish", made[1]), body).await;
    platform.done(&format!("{list}/{}/retire", made[2]), Value::Null).await;
    let mut sorted = made.clone();
    sorted.sort_unstable();
    let all = platform.get(&platform.administrator, list).await.ok();
    let items = all["items"].as_array().unwrap();
    assert_eq!(items.iter().map(id_of).collect::<Vec<_>>(), sorted);
    let own = office.path("role-templates");
    assert_eq!(&office.items(&own).await, items, "a tenant sees what the platform offers");
    for limit in 1..=4 {
        assert_eq!(&office.walked(&own, limit).await, items, "pages of {limit}");
    }
    office.assert_filtered("role-templates", "status=published", &made[..2]).await;
    office.assert_filtered("role-templates", "status=retired", &made[2..]).await;
    let retired = platform.get(&platform.administrator, &format!("{list}?status=retired")).await.ok();
    assert_eq!(retired["items"].as_array().unwrap().iter().map(id_of).collect::<Vec<_>>(), [made[2]]);
    let versions: Vec<_> = made.iter().map(|id| item(items, *id)["version"].clone()).collect();
    assert_eq!(versions, [1, 2, 1]);
    assert_eq!(item(items, made[1])["permissions"].as_array().unwrap().len(), 2);
    platform.get(&office.stranger.text, &own).await.refused(404, "not_found");
    platform.get(&office.ada.text, list).await.refused(403, "forbidden");
}
