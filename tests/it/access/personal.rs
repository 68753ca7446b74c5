//! Personal data: sealed wherever it is kept, read where a query answers, and gone when its key is.

use axum::{body::Body, http::Request};
use hub_read_api::ERASED;
use hub_tests::kit::vault_in;
use hub_vault::Vault;
use serde_json::{Value, json};
use sqlx::PgPool;
use uuid::Uuid;

use super::Platform;

const EMAIL: &str = "Ada.Lovelace@analytical.example";

impl Platform {
    fn vault(&self) -> Vault {
        vault_in(&self.database.pool)
    }

    async fn tenant_of(&self, slug: &str, email: &str) -> Uuid {
        let body = json!({
            "slug": slug, "name": slug, "contact_email": email, "tier": "starter", "region": "eu-central", "currency": "EUR",
        });
        super::id_of(&self.done("/v1/tenants", body).await)
    }

    async fn contact_of(&self, tenant_id: Uuid) -> Value {
        self.get(&self.administrator, &format!("/v1/tenants/{tenant_id}")).await.ok()["contact_email"].clone()
    }

    async fn subject(&self, tenant_id: Uuid, email: &str) -> Option<Uuid> {
        self.vault().subject_by_email(tenant_id, email).await.unwrap()
    }

    async fn forget(&self, tenant_id: Uuid, email: &str) {
        let subject = self.subject(tenant_id, email).await.unwrap();
        self.vault().destroy_key(tenant_id, subject, self.clock.now()).await.unwrap();
        self.something_happens(tenant_id).await;
    }

    /// Answers are kept until their tenant has another event, and for a second at most.
    async fn something_happens(&self, tenant_id: Uuid) {
        let key = format!("role-{}", Uuid::new_v4().simple());
        self.role(tenant_id, &key, &[]).await;
    }
}

/// The tables of the database, in which a row has this text somewhere.
async fn tables_with(pool: &PgPool, text: &str) -> Vec<String> {
    let tables: Vec<String> = sqlx::query_scalar(
        "SELECT format('%I.%I', schemaname, tablename) FROM pg_tables WHERE schemaname NOT IN ('pg_catalog', 'information_schema') \
         ORDER BY 1",
    )
    .fetch_all(pool)
    .await
    .unwrap();
    assert!(tables.contains(&"public.events".to_owned()) && tables.contains(&"vault.lookups".to_owned()), "{tables:?}");
    let mut found = Vec::new();
    for table in tables {
        let statement = format!("SELECT EXISTS (SELECT FROM {table} t WHERE t::text ILIKE '%' || $1 || '%')");
        if sqlx::query_scalar::<_, bool>(&statement).bind(text).fetch_one(pool).await.unwrap() {
            found.push(table);
        }
    }
    found
}

#[tokio::test]
async fn a_mail_address_is_read_by_whoever_may_and_stands_nowhere_in_the_database() {
    let platform = Platform::start().await;
    let tenant_id = platform.tenant_of("analytical", EMAIL).await;
    assert_eq!(platform.contact_of(tenant_id).await, EMAIL.replace("Analytical", "analytical"));
    let listed = platform.get(&platform.administrator, "/v1/tenants").await.ok();
    assert_eq!(listed["items"][0]["contact_email"], EMAIL);
    assert_eq!(tables_with(&platform.database.pool, "lovelace").await, Vec::<String>::new());
    assert!(!tables_with(&platform.database.pool, "eu-central").await.is_empty(), "the search finds what is there");
    let events = platform.get(&platform.administrator, &format!("/v1/tenants/{tenant_id}/events")).await.ok();
    let registered =
        events["items"].as_array().unwrap().iter().find(|event| event["event_type"] == "tenant.registered").unwrap();
    assert!(registered.to_string().contains("sealed") && !registered.to_string().contains("ovelace"), "{registered}");
}

#[tokio::test]
async fn without_its_key_personal_data_reads_as_erased_at_once_even_for_whoever_has_seen_it() {
    let platform = Platform::start().await;
    let tenant_id = platform.tenant_of("analytical", EMAIL).await;
    let before = platform.get(&platform.administrator, &format!("/v1/tenants/{tenant_id}")).await;
    let etag = before.headers["etag"].to_str().unwrap().to_owned();
    platform.forget(tenant_id, EMAIL).await;
    let again = async |token: Option<String>| {
        let request = super::with_key(Request::get(format!("/v1/tenants/{tenant_id}")), &platform.administrator);
        let request = match token {
            Some(token) => request.header("consistency-token", token).header("prefer", "wait=10"),
            None => request,
        };
        platform.send(request.header("if-none-match", &etag).body(Body::empty()).unwrap()).await
    };
    // The first is read anew and those after it are kept ones, or read once for all who ask.
    for token in [Some(platform.seen()), None, None] {
        assert_eq!(again(token).await.ok()["contact_email"], ERASED, "304 would leave the caller what he has");
    }
    assert_eq!(platform.subject(tenant_id, EMAIL).await, None);
    // Somebody new with the same address has nothing to do with the one who was forgotten.
    let path = format!("/v1/tenants/{tenant_id}/change-contact");
    platform.done(&path, json!({ "contact_email": EMAIL })).await;
    assert_eq!(platform.contact_of(tenant_id).await, EMAIL);
}

#[tokio::test]
async fn the_contact_of_one_tenant_is_another_subject_than_that_of_the_next() {
    let platform = Platform::start().await;
    let (one, two) = (platform.tenant_of("one", EMAIL).await, platform.tenant_of("two", EMAIL).await);
    assert_ne!(platform.subject(one, EMAIL).await, platform.subject(two, EMAIL).await);
    assert_eq!(platform.subject(one, &EMAIL.to_uppercase()).await, platform.subject(one, EMAIL).await);
    platform.forget(one, EMAIL).await;
    assert_eq!((platform.contact_of(one).await, platform.contact_of(two).await), (json!(ERASED), json!(EMAIL)));
    platform.vault().destroy_tenant(two, platform.clock.now()).await.unwrap();
    platform.something_happens(two).await;
    assert_eq!(platform.contact_of(two).await, ERASED);
}

#[tokio::test]
async fn a_sealed_text_that_was_moved_is_not_read() {
    let platform = Platform::start().await;
    let (one, two) = (platform.tenant_of("one", EMAIL).await, platform.tenant_of("two", "bob@example.com").await);
    let swapped = "UPDATE tenants SET contact_email = (SELECT contact_email FROM tenants WHERE id = $2) WHERE id = $1";
    platform.contact_of(two).await;
    sqlx::query(swapped).bind(one).bind(two).execute(&platform.database.pool).await.unwrap();
    let answer = platform.get(&platform.administrator, &format!("/v1/tenants/{one}")).await;
    assert_eq!(answer.body()["contact_email"], "[sealed]", "the tenant has no such key: {answer:?}");
    let earlier = "UPDATE tenants SET contact_email = jsonb_set(contact_email, '{sequence}', '2') WHERE id = $1";
    sqlx::query(earlier).bind(two).execute(&platform.database.pool).await.unwrap();
    platform.something_happens(two).await;
    platform.get(&platform.administrator, &format!("/v1/tenants/{two}")).await.refused(500, "internal");
}

#[tokio::test]
async fn a_person_is_found_and_told_everything_until_it_is_erased() {
    let platform = Platform::start().await;
    let tenant_id = platform.tenant_of("analytical", EMAIL).await;
    platform
        .done(&format!("/v1/tenants/{tenant_id}/change-contact"), json!({ "contact_email": "bob@example.com" }))
        .await;
    platform.done(&format!("/v1/tenants/{tenant_id}/change-contact"), json!({ "contact_email": EMAIL })).await;
    let subjects = format!("/v1/tenants/{tenant_id}/data-subjects");
    let find = async |email: &str| {
        platform.post(&platform.administrator, &format!("{subjects}/find"), json!({ "email": email })).await
    };
    let found = find(&EMAIL.to_lowercase()).await.ok();
    assert_eq!(found["erased_at"], Value::Null);
    find("nobody@example.com").await.refused(404, "not_found");
    let subject_id = found["subject_id"].as_str().unwrap();
    let records =
        async || platform.get(&platform.administrator, &format!("{subjects}/{subject_id}/records")).await.ok();
    let told: Vec<Value> = records().await["items"].as_array().unwrap().clone();
    let told: Vec<_> = told.iter().map(|r| (r["event_type"].clone(), r["field"].clone(), r["value"].clone())).collect();
    let value = |event_type: &str| (json!(event_type), json!("contact_email"), json!(EMAIL));
    assert_eq!(told, [value("tenant.registered"), value("tenant.contact_changed")], "and nothing of Bob's");
    platform.forget(tenant_id, EMAIL).await;
    find(EMAIL).await.refused(404, "not_found");
    let erased = platform.get(&platform.administrator, &format!("{subjects}/{subject_id}")).await.ok();
    assert!(erased["erased_at"].is_string(), "{erased}");
    assert!(records().await["items"].as_array().unwrap().iter().all(|record| record["value"] == ERASED));
    let nobody = Uuid::from_u128(9);
    for rest in ["", "/records"] {
        let path = format!("{subjects}/{nobody}{rest}");
        platform.get(&platform.administrator, &path).await.refused(404, "not_found");
    }
    let other = platform.tenant("other").await;
    let path = format!("/v1/tenants/{other}/data-subjects/{subject_id}");
    platform.get(&platform.administrator, &path).await.refused(404, "not_found");
}

#[tokio::test]
async fn the_network_of_a_failed_login_is_sealed_with_the_key_of_its_month() {
    let platform = Platform::start().await;
    let tenant_id = platform.tenant("analytical").await;
    let key = platform.key(tenant_id, &["viewer"]).await;
    let (head, _) = key.text.rsplit_once('_').unwrap();
    let wrong = format!("{head}_{}", "0".repeat(64));
    let request = super::with_key(axum::http::Request::get(format!("/v1/tenants/{tenant_id}")), &wrong);
    let request = super::from_peer(request.body(axum::body::Body::empty()).unwrap(), "198.51.100.7");
    assert_eq!(platform.send(request).await.status, 401);
    let payload = hub_tests::kit::eventually(super::LIMIT, async || {
        sqlx::query_scalar::<_, String>(
            "SELECT payload::text FROM events WHERE event_type = 'access_record.login_failed'",
        )
        .fetch_optional(&platform.database.pool)
        .await
        .unwrap()
    })
    .await;
    assert!(payload.contains("\"sealed\"") && !payload.contains("198.51"), "{payload}");
    assert_eq!(tables_with(&platform.database.pool, "198.51.100").await, Vec::<String>::new());
}
