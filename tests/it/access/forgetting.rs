//! Being forgotten: requested, held, executed, certified, and still so after a backup was restored.

use std::{collections::BTreeSet, fs};

use axum::http::Request;
use chrono::{DateTime, NaiveDate, TimeDelta, Utc};
use hub::embedded::VAULT_DATABASE;
use hub_commands::{effects::effects_of, reapply_erasures};
use hub_domain::{
    erasure::{Command, Erasure, GRACE_DAYS_DEFAULT},
    id::PLATFORM_TENANT,
};
use hub_event_store::{
    event::Metadata,
    repository::{Order, Prepared, Repository},
    store::EventStore,
    tail::Tail,
};
use hub_evidence::key::SigningKey;
use hub_tests::kit::{HubProcess, directory, eventually, run_hub, vault_in};
use hub_vault::Vault;
use rustix::process::Signal;
use serde_json::{Value, json};
use sqlx::{PgPool, postgres::PgConnectOptions};
use uuid::Uuid;
use zeroize::Zeroizing;

use super::{Answer, LIMIT, Platform, id_of, with_json, with_key};

/// The mail address that each tenant of these tests is registered with.
const EMAIL: &str = "it@acme.example";

fn path(tenant_id: Uuid, rest: &str) -> String {
    format!("/v1/tenants/{tenant_id}/{rest}")
}

fn by_email(grace_days: u16) -> Value {
    json!({ "whom": { "email": EMAIL }, "reason": "she asked for it", "grace_days": grace_days, "urgency": "an order" })
}

fn hold(whom: Value, matter: &str) -> Value {
    json!({ "whom": whom, "matter": matter, "reason": "a claim" })
}

fn release(matter: &str) -> Value {
    json!({ "matter": matter, "reason": "settled" })
}

impl Platform {
    fn key_store(&self) -> Vault {
        vault_in(&self.database.pool)
    }

    fn pool(&self) -> &PgPool {
        &self.database.pool
    }

    /// As the administrator, however it ends.
    async fn ask(&self, tenant_id: Uuid, rest: &str, body: Value) -> Answer {
        self.post(&self.administrator, &path(tenant_id, rest), body).await
    }

    async fn read(&self, tenant_id: Uuid, rest: &str) -> Answer {
        self.get(&self.administrator, &path(tenant_id, rest)).await
    }

    /// The data subject that the tenant's mail address belongs to.
    async fn contact(&self, tenant_id: Uuid) -> Uuid {
        self.key_store().subject_by_email(tenant_id, EMAIL).await.unwrap().unwrap()
    }

    /// The erasure when it has this status.
    async fn erasure(&self, tenant_id: Uuid, id: Uuid, status: &str) -> Value {
        eventually(LIMIT, async || {
            let answer = self.read(tenant_id, &format!("erasures/{id}")).await;
            (answer.status == 200 && answer.body()["status"] == status).then(|| answer.body())
        })
        .await
    }

    async fn mail_of(&self, tenant_id: Uuid) -> Value {
        self.get(&self.administrator, &format!("/v1/tenants/{tenant_id}")).await.ok()["contact_email"].clone()
    }

    /// Answers are kept for a second while nothing happens in their tenant.
    async fn reads_as_erased(&self, tenant_id: Uuid) {
        eventually(LIMIT, async || (self.mail_of(tenant_id).await == "[erased]").then_some(())).await;
    }

    async fn archive(&self, tenant_id: Uuid) {
        self.done(&path(tenant_id, "archive"), Value::Null).await;
    }

    /// The types of a stream's events in order.
    async fn told(&self, id: Uuid, aggregate_type: &str) -> Vec<String> {
        let query = "SELECT event_type FROM events WHERE aggregate_id = $1 AND aggregate_type = $2 ORDER BY sequence";
        sqlx::query_scalar(query).bind(id).bind(aggregate_type).fetch_all(self.pool()).await.unwrap()
    }
}

/// The key as the database has it; nothing when it is destroyed.
async fn wrapped(pool: &PgPool, key_id: Uuid) -> Option<Vec<u8>> {
    sqlx::query_scalar("SELECT wrapped FROM vault.keys WHERE key_id = $1").bind(key_id).fetch_one(pool).await.unwrap()
}

/// Brings a key back, as a restored backup does.
async fn restore(pool: &PgPool, key_id: Uuid, wrapped: &[u8]) {
    let query = "UPDATE vault.keys SET wrapped = $2, destroyed_at = NULL WHERE key_id = $1";
    sqlx::query(query).bind(key_id).bind(wrapped).execute(pool).await.unwrap();
}

#[tokio::test]
async fn nothing_is_sealed_with_a_key_that_an_erasure_has_begun_to_destroy() {
    let platform = Platform::start().await;
    let acme = platform.tenant("acme").await;
    let contact = platform.contact(acme).await;
    let change = async |key: &str| {
        let request = with_key(Request::post(path(acme, "change-contact")), &platform.administrator);
        platform.send(with_json(request.header("idempotency-key", key), &json!({ "contact_email": EMAIL }))).await
    };
    assert_eq!(platform.ask(acme, "erasures", by_email(0)).await.status, 201);
    let first = change("before").await.ok();
    // Whoever began it has not come to the key yet.
    let store =
        EventStore::start(platform.pool().clone(), Tail::default(), hub::serve::upcasters(), platform.clock.clock());
    let erasures = Repository::<Erasure>::new(store, effects_of::<Erasure>);
    let order = Order {
        metadata: Metadata {
            actor: "process:erasure".to_owned(),
            command_id: Uuid::now_v7(),
            correlation_id: Uuid::now_v7(),
            causation_id: None,
            traceparent: None,
        },
        fingerprint: [0; 32],
        repeatable: false,
        expected_sequence: None,
    };
    let now = platform.clock.now();
    let begin = |_| async move { Ok(Prepared::new(Command::Begin { holds: BTreeSet::new(), now })) };
    erasures.execute(acme, contact, &order, begin).await.unwrap();
    change("meanwhile").await.refused(409, "concurrent_change");
    assert_eq!(change("before").await.ok(), first, "a repetition hears its first receipt");

    let _by_itself = platform.by_itself();
    platform.erasure(acme, contact, "executed").await;
    platform.reads_as_erased(acme).await;
    change("meanwhile").await.ok();
    assert_eq!(platform.mail_of(acme).await, EMAIL);
    assert_ne!(platform.contact(acme).await, contact);
}

#[tokio::test]
async fn a_person_is_forgotten_after_the_grace_period_and_everything_still_proves() {
    let platform = Platform::start().await;
    let acme = platform.tenant("acme").await;
    let _by_itself = platform.by_itself();
    let contact = platform.contact(acme).await;
    assert_eq!(platform.mail_of(acme).await, EMAIL);

    let answer = platform.ask(acme, "erasures", json!({ "whom": { "email": EMAIL }, "reason": "she asked" })).await;
    assert_eq!(answer.status, 201, "{answer:?}");
    assert_eq!(id_of(&answer.body()), contact);
    let due_at: DateTime<Utc> = answer.body()["due_at"].as_str().unwrap().parse().unwrap();
    assert_eq!(due_at, platform.clock.now() + TimeDelta::days(i64::from(GRACE_DAYS_DEFAULT)));
    assert!(answer.body()["kept"].as_array().unwrap().iter().any(|kept| kept["part"] == "actors"), "{answer:?}");
    platform.ask(acme, "erasures", by_email(3)).await.refused(409, "erasure_already_requested");
    platform.erasure(acme, contact, "pending").await;
    platform.read(acme, &format!("erasures/{contact}/certificate")).await.refused(404, "not_found");
    assert_eq!(platform.mail_of(acme).await, EMAIL);

    platform.clock.advance(TimeDelta::days(i64::from(GRACE_DAYS_DEFAULT)));
    let erased = platform.erasure(acme, contact, "executed").await;
    assert_eq!(erased["destroyed_at"], json!(platform.clock.now()));
    assert_eq!(platform.mail_of(acme).await, "[erased]");
    assert_eq!(wrapped(platform.pool(), contact).await, None);
    platform.ask(acme, "erasures", by_email(3)).await.refused(404, "erasure_subject_unknown");
    let by_id = json!({ "whom": { "id": contact }, "reason": "again" });
    platform.ask(acme, "erasures", by_id).await.refused(409, "erasure_already_erased");
    let late = hold(json!({ "id": contact }), "case-7");
    platform.ask(acme, "legal-holds", late).await.refused(409, "legal_hold_erased");
    let cancel = json!({ "reason": "too late" });
    platform.ask(acme, &format!("erasures/{contact}/cancel"), cancel).await.refused(409, "erasure_begun");

    let certificate = eventually(LIMIT, async || {
        let answer = platform.read(acme, &format!("erasures/{contact}/certificate")).await;
        (answer.status == 200).then(|| answer.body())
    })
    .await;
    assert_eq!((&certificate["scope"], &certificate["key_id"]), (&json!("subject"), &json!(contact)));
    let desk = directory();
    let proof = desk.path().join("erasure.tlog-proof");
    fs::write(&proof, certificate["evidence"]["proof"].as_str().unwrap()).unwrap();
    let key = SigningKey::from_seed("hub.test", Zeroizing::new([9; 32])).unwrap().verifier_key().to_string();
    assert_eq!(certificate["keys"][0]["verifier_key"], key);
    let verified = run_hub(desk.path(), &["audit", "verify-proof", proof.to_str().unwrap(), "--key", &key], &[]).await;
    assert_eq!(verified.code, Some(0), "{verified:?}");
    assert!(verified.stdout.contains("erasure.executed") && verified.stdout.contains(&contact.to_string()));

    let database = [("DATABASE_URL", &*platform.database.url)];
    let rebuilt = run_hub(desk.path(), &["projections", "rebuild", "tenants"], &database).await;
    assert_eq!(rebuilt.code, Some(0), "{rebuilt:?}");
    assert_eq!(platform.mail_of(acme).await, "[erased]");
    let replayed = run_hub(desk.path(), &["replay", "verify"], &database).await;
    assert_eq!(replayed.code, Some(0), "{replayed:?}");
    let (bundle, tenant) = (desk.path().join("bundle"), acme.to_string());
    let export = ["audit", "export", "--tenant", &tenant, "--output", bundle.to_str().unwrap()];
    let exported = run_hub(desk.path(), &export, &database).await;
    assert_eq!(exported.code, Some(0), "{exported:?}");
    let verify = ["audit", "verify", bundle.to_str().unwrap(), "--key", &key];
    let verified = run_hub(desk.path(), &verify, &[]).await;
    assert_eq!(verified.code, Some(0), "{verified:?}");
}

#[tokio::test]
async fn a_request_is_cancelled_and_made_again() {
    let platform = Platform::start().await;
    let acme = platform.tenant("acme").await;
    let id = id_of(&platform.done(&path(acme, "erasures"), by_email(1)).await);
    let one = path(acme, &format!("erasures/{id}"));
    platform.done(&format!("{one}/cancel"), json!({ "reason": "a mistake" })).await;
    let cancelled = platform.erasure(acme, id, "cancelled").await;
    assert_eq!(cancelled["cancelled_for"], "a mistake");
    assert_eq!(id_of(&platform.done(&path(acme, "erasures"), by_email(1)).await), id);
    platform.erasure(acme, id, "pending").await;
    let list = platform.read(acme, "erasures?status=pending").await.ok();
    assert_eq!(list["items"].as_array().unwrap().len(), 1);
    let body = json!({ "whom": { "email": "somebody@else.example" }, "reason": "she asked for it" });
    platform.ask(acme, "erasures", body).await.refused(404, "erasure_subject_unknown");
    let body = json!({ "whom": { "id": Uuid::from_u128(7) }, "reason": "she asked for it" });
    platform.ask(acme, "erasures", body).await.refused(404, "erasure_subject_unknown");
    let body = json!({ "whom": { "email": EMAIL }, "reason": "she asked for it", "grace_days": 31 });
    platform.done(&format!("{one}/cancel"), json!({ "reason": "a mistake" })).await;
    platform.ask(acme, "erasures", body).await.refused(422, "erasure_grace_out_of_bounds");
    let body = json!({ "whom": { "email": EMAIL }, "reason": "she asked for it", "grace_days": 0 });
    platform.ask(acme, "erasures", body).await.refused(422, "erasure_urgency_missing");
}

#[tokio::test]
async fn the_same_request_is_answered_the_same_after_it_was_executed() {
    let platform = Platform::start().await;
    let acme = platform.tenant("acme").await;
    let _by_itself = platform.by_itself();
    let send = async || {
        let request = super::with_key(axum::http::Request::post(path(acme, "erasures")), &platform.administrator);
        platform.send(super::with_json(request.header("idempotency-key", "erase-1"), &by_email(0))).await
    };
    let first = send().await;
    assert_eq!(first.status, 201, "{first:?}");
    platform.erasure(acme, id_of(&first.body()), "executed").await;
    let again = send().await;
    assert_eq!((again.status, again.body()), (first.status, first.body()));
}

#[tokio::test]
async fn a_hold_refuses_a_request_and_defers_what_was_requested_before() {
    let platform = Platform::start().await;
    let acme = platform.tenant("acme").await;
    let _by_itself = platform.by_itself();
    let contact = platform.contact(acme).await;
    for (whom, matter) in [(json!({ "email": EMAIL }), "case-7"), (json!("tenant"), "case-8")] {
        platform.done(&path(acme, "legal-holds"), hold(whom.clone(), matter)).await;
        let again = hold(whom.clone(), matter);
        platform.ask(acme, "legal-holds", again).await.refused(409, "legal_hold_already_placed");
        platform.ask(acme, "erasures", by_email(0)).await.refused(409, "erasure_held");
        let held = if whom == "tenant" { acme } else { contact };
        let shown = platform.read(acme, &format!("legal-holds/{held}")).await.ok();
        assert_eq!((&shown["status"], &shown["matters"][0]["matter"]), (&json!("held"), &json!(matter)));
        platform.done(&path(acme, &format!("legal-holds/{held}/release")), release(matter)).await;
    }
    let unknown = hold(json!({ "id": Uuid::from_u128(7) }), "case-7");
    platform.ask(acme, "legal-holds", unknown).await.refused(404, "legal_hold_subject_unknown");

    platform.done(&path(acme, "erasures"), by_email(3)).await;
    platform.done(&path(acme, "legal-holds"), hold(json!({ "id": contact }), "case-9")).await;
    platform.clock.advance(TimeDelta::days(4));
    let deferred = platform.erasure(acme, contact, "deferred").await;
    assert_eq!(deferred["holds"], json!([{ "scope": "subject", "matter": "case-9" }]));
    platform.done(&path(acme, "legal-holds"), hold(json!("tenant"), "case-10")).await;
    platform.done(&path(acme, &format!("legal-holds/{contact}/release")), release("case-9")).await;
    eventually(LIMIT, async || {
        let row = platform.read(acme, &format!("erasures/{contact}")).await.ok();
        (row["holds"] == json!([{ "scope": "tenant", "matter": "case-10" }])).then_some(())
    })
    .await;
    assert_eq!(platform.mail_of(acme).await, EMAIL);
    // Looked at once more, with the same holds in the way.
    let looked = "UPDATE scheduler_due SET attempt_at = due_at WHERE aggregate_id = $1";
    sqlx::query(looked).bind(contact).execute(platform.pool()).await.unwrap();
    eventually(LIMIT, async || {
        let put_off = "SELECT attempt_at > $2 FROM scheduler_due WHERE aggregate_id = $1";
        let query = sqlx::query_scalar::<_, bool>(put_off).bind(contact).bind(platform.clock.now());
        query.fetch_one(platform.pool()).await.unwrap().then_some(())
    })
    .await;
    platform.done(&path(acme, &format!("legal-holds/{acme}/release")), release("case-10")).await;
    platform.erasure(acme, contact, "executed").await;
    let told = platform.told(contact, "erasure").await;
    assert_eq!(
        (told.first().map(String::as_str), told.last().map(String::as_str)),
        (Some("erasure.requested"), Some("erasure.executed"))
    );
    let list = platform.read(acme, "legal-holds?status=free").await.ok();
    assert_eq!(list["items"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn a_tenant_that_has_left_is_forgotten_as_a_whole_unless_somebody_in_it_is_held() {
    let platform = Platform::start().await;
    let (acme, other) = (platform.tenant("acme").await, platform.tenant("other").await);
    let _by_itself = platform.by_itself();
    let owner = platform.key(acme, &["owner"]).await.text;
    let contact = platform.contact(acme).await;
    let leave = json!({ "reason": "the contract has ended", "grace_days": 0, "urgency": "agreed in the contract" });
    let off_board = path(acme, "off-board");
    platform.post(&owner, &off_board, leave.clone()).await.refused(403, "forbidden");
    platform.ask(acme, "off-board", leave.clone()).await.refused(409, "erasure_tenant_not_archived");
    platform.archive(acme).await;
    platform.done(&path(acme, "legal-holds"), hold(json!({ "id": contact }), "case-7")).await;
    platform.ask(acme, "off-board", leave.clone()).await.refused(409, "erasure_held");
    platform.done(&path(acme, &format!("legal-holds/{contact}/release")), release("case-7")).await;
    platform.done(&off_board, leave).await;
    let erased = platform.erasure(acme, acme, "executed").await;
    assert_eq!(erased["scope"], "tenant");
    assert!(erased["kept"].as_array().unwrap().iter().any(|kept| kept["part"] == "organisation"));
    assert_eq!((platform.mail_of(acme).await, platform.mail_of(other).await), (json!("[erased]"), json!(EMAIL)));
    let late = hold(json!("tenant"), "case-8");
    platform.ask(acme, "legal-holds", late).await.refused(409, "legal_hold_erased");
    platform
        .ask(PLATFORM_TENANT.0, "off-board", json!({ "reason": "no" }))
        .await
        .refused(409, "erasure_tenant_not_archived");
    platform.ask(Uuid::from_u128(7), "off-board", json!({ "reason": "no" })).await.refused(404, "tenant_not_found");
}

#[tokio::test]
async fn a_key_that_a_restored_backup_brings_back_is_destroyed_again() {
    let platform = Platform::start().await;
    let acme = platform.tenant("acme").await;
    let _by_itself = platform.by_itself();
    let contact = platform.contact(acme).await;
    let kept = wrapped(platform.pool(), contact).await.unwrap();
    platform.done(&path(acme, "erasures"), by_email(0)).await;
    platform.erasure(acme, contact, "executed").await;
    restore(platform.pool(), contact, &kept).await;
    assert_eq!(platform.mail_of(acme).await, EMAIL);
    let again = async || reapply_erasures(platform.pool(), &platform.key_store(), platform.clock.now()).await.unwrap();
    assert_eq!((again().await, again().await), (1, 0));
    assert_eq!(wrapped(platform.pool(), contact).await, None);
    platform.reads_as_erased(acme).await;

    let other = platform.tenant("other").await;
    let query = "SELECT wrapped FROM vault.tenant_keys WHERE tenant_id = $1";
    let kept: Vec<u8> = sqlx::query_scalar(query).bind(other).fetch_one(platform.pool()).await.unwrap();
    platform.archive(other).await;
    platform.done(&path(other, "off-board"), json!({ "reason": "left", "grace_days": 0, "urgency": "agreed" })).await;
    platform.erasure(other, other, "executed").await;
    sqlx::query("UPDATE vault.tenant_keys SET wrapped = $2, destroyed_at = NULL WHERE tenant_id = $1")
        .bind(other)
        .bind(kept)
        .execute(platform.pool())
        .await
        .unwrap();
    assert_eq!((again().await, again().await), (1, 0));
    platform.reads_as_erased(other).await;
}

#[tokio::test]
async fn keys_of_a_class_are_destroyed_when_their_time_is_over_unless_the_tenant_is_held() {
    let platform = Platform::start().await;
    let acme = platform.tenant("acme").await;
    let vault = platform.key_store();
    let (class, now) = ("access", platform.clock.now());
    // Of a month that ended more than 120 days ago, and of this month.
    let old = vault.class_key(acme, class, now - TimeDelta::days(151)).await.unwrap().key_id();
    let young = vault.class_key(acme, class, now).await.unwrap().key_id();
    let set = path(acme, "retention-policy/set-class");
    let ask = |class: &str, days: u32| {
        platform.ask(acme, "retention-policy/set-class", json!({ "class": class, "days": days }))
    };
    ask("access", 30).await.refused(422, "retention_policy_days_out_of_bounds");
    ask("nonsense", 120).await.refused(422, "retention_policy_class_unknown");
    let read = async || platform.read(acme, "retention-policy").await.ok()["classes"][0].clone();
    assert_eq!((&read().await["days"], &read().await["destroyed_count"]), (&json!(365), &json!(0)));
    platform.done(&set, json!({ "class": "access", "days": 120 })).await;
    assert_eq!(read().await["days"], 120);

    platform.done(&path(acme, "legal-holds"), hold(json!("tenant"), "case-7")).await;
    // Tenants are looked at in the order of their ids, so when the second one's key is gone the first was passed by.
    let zeta = platform.tenant("zeta").await;
    let older = vault.class_key(zeta, class, now - TimeDelta::days(400)).await.unwrap().key_id();
    {
        let _by_itself = platform.by_itself();
        eventually(LIMIT, async || wrapped(platform.pool(), older).await.is_none().then_some(())).await;
    }
    assert!(wrapped(platform.pool(), old).await.is_some());
    platform.done(&path(acme, &format!("legal-holds/{acme}/release")), release("case-7")).await;
    platform.clock.advance(TimeDelta::days(1));
    let _by_itself = platform.by_itself();
    let destroyed = eventually(LIMIT, async || {
        let class = read().await;
        (class["destroyed_count"] == 1).then_some(class)
    })
    .await;
    let period: NaiveDate = (now - TimeDelta::days(151)).format("%Y-%m-01").to_string().parse().unwrap();
    assert_eq!(destroyed["destroyed_until"], json!(period));
    assert_eq!(wrapped(platform.pool(), old).await, None);
    assert!(wrapped(platform.pool(), young).await.is_some());
    let told = platform.told(acme, "retention_policy").await;
    let expected = ["class_set", "key_expired", "key_destroyed"].map(|tag| format!("retention_policy.{tag}"));
    assert_eq!(told, expected);
}

#[tokio::test]
async fn a_program_that_starts_after_a_restore_destroys_again_before_it_serves() {
    let mut hub = HubProcess::start().await;
    let client = reqwest::Client::new();
    let key = hub.admin_key();
    let send = async |request: reqwest::RequestBuilder| -> Value {
        let answer = request.bearer_auth(&key).send().await.unwrap();
        assert!(answer.status().is_success(), "{answer:?}");
        answer.json().await.unwrap()
    };
    let registration = json!({
        "slug": "acme", "name": "Acme", "contact_email": EMAIL, "tier": "starter", "region": "eu-central", "currency": "EUR",
    });
    let acme = id_of(&send(client.post(format!("{}/v1/tenants", hub.url())).json(&registration)).await);
    let keys = keys_of(&hub).await;
    let query = "SELECT key_id, wrapped FROM vault.keys WHERE tenant_id = $1 AND class IS NULL";
    let (contact, kept): (Uuid, Vec<u8>) = sqlx::query_as(query).bind(acme).fetch_one(&keys).await.unwrap();
    send(client.post(format!("{}{}", hub.url(), path(acme, "erasures"))).json(&by_email(0))).await;
    eventually(LIMIT, async || wrapped(&keys, contact).await.is_none().then_some(())).await;
    eventually(LIMIT, async || {
        let tenant = send(client.get(format!("{}/v1/tenants/{acme}", hub.url()))).await;
        (tenant["contact_email"] == "[erased]").then_some(())
    })
    .await;

    restore(&keys, contact, &kept).await;
    keys.close().await;
    assert_eq!(hub.stop(Signal::TERM).await.code(), Some(0));
    // Without the list of destroyed keys the log alone knows.
    fs::remove_file(hub.directory().join("vault.destroyed")).unwrap();
    hub.start_again().await;
    assert_eq!(wrapped(&keys_of(&hub).await, contact).await, None);
    let tenant = send(client.get(format!("{}/v1/tenants/{acme}", hub.url()))).await;
    assert_eq!(tenant["contact_email"], "[erased]");
}

async fn keys_of(hub: &HubProcess) -> PgPool {
    let options: PgConnectOptions = hub.database_url().parse().unwrap();
    PgPool::connect_with(options.database(VAULT_DATABASE)).await.unwrap()
}
