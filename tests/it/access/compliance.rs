//! Controls as a whole platform has them: runs that leave sealed evidence, findings and what people do about them, and what is told of it.

use std::{collections::BTreeSet, time::Duration};

use chrono::{DateTime, TimeDelta, Utc};
use hub::controls::run_by;
use hub_compliance::{Runner, catalogue};
use hub_domain::{
    control_check::id_of,
    finding,
    id::{PLATFORM_TENANT, TenantId},
};
use hub_event_store::{store::EventStore, tail::Tail};
use hub_tests::kit::eventually;
use serde_json::{Value, json};
use tokio_util::sync::{CancellationToken, DropGuard};
use uuid::Uuid;

use super::{LIMIT, Platform, id_of as id_of_item};

/// Longer than any test.
const NEVER: Duration = Duration::from_secs(86_400);

impl Platform {
    /// Runs the controls beside the rest, until this is dropped; those of the day after `grace`.
    fn controls(&self, grace: Duration) -> DropGuard {
        let end = CancellationToken::new();
        let pool = self.database.pool.clone();
        let store = EventStore::start(pool.clone(), Tail::default(), hub::serve::upcasters(), self.clock.clock());
        let runner = Runner::new(pool, self.clock.clock()).with_grace(grace);
        tokio::spawn(run_by(runner, store, end.clone()));
        end.drop_guard()
    }

    /// Has the controls run, waits for it, and lets the read models see it.
    async fn controls_run(&self) -> Value {
        let run = self.done("/v1/compliance/runs", json!({ "reason": "a test" })).await;
        let path = format!("/v1/compliance/runs/{}", run["id"].as_str().unwrap());
        let done = eventually(LIMIT, async || {
            let run = self.get(&self.administrator, &path).await.ok();
            (run["status"] == "completed").then_some(run)
        });
        let done = done.await;
        let head: i64 =
            sqlx::query_scalar("SELECT position FROM log_head").fetch_one(&self.database.pool).await.unwrap();
        self.seen.fetch_max(head, std::sync::atomic::Ordering::SeqCst);
        done
    }

    async fn compliance(&self, rest: &str) -> Value {
        self.get(&self.administrator, &format!("/v1/compliance/{rest}")).await.ok()
    }

    async fn control(&self, id: &str) -> Value {
        let all = self.compliance("controls").await;
        all["controls"].as_array().unwrap().iter().find(|control| control["id"] == id).unwrap().clone()
    }

    async fn finding(&self, id: Uuid) -> Value {
        self.compliance(&format!("findings/{id}")).await
    }

    async fn act_on(&self, id: Uuid, verb: &str, body: Value) {
        self.done(&format!("/v1/compliance/findings/{id}/{verb}"), body).await;
    }
}

/// The finding about a key of a tenant that has no end.
fn about_key(tenant_id: Uuid, key_id: Uuid) -> Uuid {
    finding::id_of("api-keys-expire", Some(TenantId(tenant_id)), &format!("api_key/{key_id}"))
}

#[tokio::test]
async fn a_run_leaves_evidence_of_every_control_that_is_sealed_itself() {
    let platform = Platform::start().await;
    let acme = platform.tenant("acme").await;
    let sealed = format!("/v1/tenants/{acme}/evidence/checkpoint");
    eventually(LIMIT, async || (platform.get(&platform.administrator, &sealed).await.status == 200).then_some(()))
        .await;
    let before = platform.compliance("dashboard").await;
    let count = catalogue().controls.len();
    assert_eq!((&before["controls"]["not_evaluated"], &before["last_evaluated_at"]), (&json!(count), &Value::Null));
    let _controls = platform.controls(NEVER);
    let run = platform.controls_run().await;
    let outcome = &run["outcome"];
    let number = |name: &str| outcome[name].as_u64().unwrap();
    let sum = number("pass_count") + number("fail_count") + number("not_applicable_count");
    assert_eq!((sum, &outcome["version"]), (count as u64, &json!(catalogue().version)));
    assert!(number("pass_count") >= 8, "{outcome}");

    let all = platform.compliance("controls").await;
    assert!(all["notice"].as_str().unwrap().contains("not a certification"));
    for control in all["controls"].as_array().unwrap() {
        let last = &control["last"];
        assert_eq!((&last["run_id"], &last["version"]), (&run["id"], &json!(catalogue().version)), "{control}");
        assert_eq!(last["aggregate_id"], id_of(control["id"].as_str().unwrap()).to_string());
        assert!(last["position"].as_i64().unwrap() > 0 && last["sealed_size"].as_u64().unwrap() > 0, "{control}");
    }
    // The evidence has a proof like every other event.
    let place = all["controls"][0]["last"]["tenant_position"].as_i64().unwrap();
    let path = format!("/v1/tenants/{}/evidence/events/{place}", PLATFORM_TENANT.0);
    eventually(LIMIT, async || (platform.get(&platform.administrator, &path).await.status == 200).then_some(())).await;

    for framework in platform.compliance("frameworks").await["frameworks"].as_array().unwrap() {
        let id = framework["id"].as_str().unwrap();
        assert_eq!(framework["requirements"]["not_evaluated"], 0, "{framework}");
        let whole = platform.compliance(&format!("frameworks/{id}")).await;
        assert!(whole["notice"].as_str().unwrap().contains("not a certification"));
        let requirements = whole["requirements"].as_array().unwrap();
        assert_eq!(json!(requirements.len()), framework["requirement_count"]);
        for requirement in requirements {
            assert_ne!(requirement["standing"], "not_evaluated");
            assert!(requirement["controls"].as_array().unwrap().iter().all(|control| control["last"].is_object()));
        }
    }
    let after = platform.compliance("dashboard").await;
    assert_eq!(after["controls"]["pass"], outcome["pass_count"]);
    assert_eq!(after["controls"]["fail"], outcome["fail_count"]);
    assert_eq!(after["frameworks"].as_array().unwrap().len(), 5);
    platform.get(&platform.administrator, "/v1/compliance/frameworks/unknown").await.refused(404, "not_found");
}

#[tokio::test]
async fn a_finding_is_opened_once_and_followed_until_it_is_gone() {
    let platform = Platform::start().await;
    let acme = platform.tenant("acme").await;
    let key = platform.key(acme, &["viewer"]).await;
    let id = about_key(acme, key.id);
    let _controls = platform.controls(NEVER);
    platform.controls_run().await;
    assert_eq!(platform.control("api-keys-expire").await["standing"], "fail");
    let opened = platform.finding(id).await;
    assert_eq!((&opened["status"], &opened["severity"]), (&json!("open"), &json!("medium")));
    assert_eq!(opened["concerned_tenant_id"], acme.to_string());
    platform.controls_run().await;
    assert_eq!(platform.finding(id).await, opened, "the next run opens it no second time");

    let remark = json!({ "remark": "somebody looks at it" });
    platform.act_on(id, "acknowledge", remark.clone()).await;
    platform.act_on(id, "start-remediation", remark.clone()).await;
    assert_eq!(platform.finding(id).await["status"], "in_remediation");
    platform.act_on(id, "resolve", remark).await;
    assert_eq!(platform.finding(id).await["status"], "resolved");
    platform.controls_run().await;
    let again = platform.finding(id).await;
    assert_eq!((&again["status"], &again["reopen_cause"]), (&json!("open"), &json!("not_resolved")));
    assert_eq!(again["opened_count"], 2);

    let until = platform.clock.now() + TimeDelta::days(30);
    platform.act_on(id, "accept-risk", json!({ "reason": "a device that cannot", "until": until })).await;
    platform.controls_run().await;
    let accepted = platform.finding(id).await;
    assert_eq!(accepted["status"], "risk_accepted");
    assert_eq!(accepted["accepted_until"].as_str().unwrap().parse::<DateTime<Utc>>().unwrap(), until);
    platform.clock.advance(TimeDelta::days(30));
    platform.controls_run().await;
    let over = platform.finding(id).await;
    assert_eq!((&over["status"], &over["reopen_cause"]), (&json!("open"), &json!("acceptance_over")));

    platform.done(&format!("/v1/tenants/{acme}/api-keys/{}/revoke", key.id), json!({ "reason": "not needed" })).await;
    platform.controls_run().await;
    let gone = platform.finding(id).await;
    assert_eq!(gone["status"], "verified");
    assert!(gone["verified_at"].is_string());
    let of_acme = platform.compliance(&format!("findings?concerned_tenant_id={acme}&status=verified")).await;
    assert_eq!(of_acme["items"].as_array().unwrap(), &[gone]);
}

#[tokio::test]
async fn findings_are_listed_counted_and_kept_from_tenants() {
    let platform = Platform::start().await;
    let acme = platform.tenant("acme").await;
    let keys = [platform.key(acme, &["owner"]).await, platform.key(acme, &["viewer"]).await];
    let _controls = platform.controls(NEVER);
    platform.controls_run().await;
    let path = format!("findings?control_id=api-keys-expire&severity=medium&concerned_tenant_id={acme}");
    let listed = platform.compliance(&path).await;
    let ids: BTreeSet<_> = listed["items"].as_array().unwrap().iter().map(id_of_item).collect();
    assert_eq!(ids, keys.iter().map(|key| about_key(acme, key.id)).collect());
    let dashboard = platform.compliance("dashboard").await;
    let open = platform.compliance("findings?status=open&severity=medium&limit=500").await;
    assert_eq!(dashboard["findings"]["medium"], open["items"].as_array().unwrap().len());
    assert!(dashboard["findings"]["oldest_at"].is_string());

    let id = about_key(acme, keys[0].id);
    let act = |verb: &str| format!("/v1/compliance/findings/{id}/{verb}");
    let (owner, remark) = (&keys[0].text, json!({ "remark": "" }));
    platform.get(owner, "/v1/compliance/findings").await.refused(403, "forbidden");
    platform.post(owner, &act("acknowledge"), remark.clone()).await.refused(403, "forbidden");
    let nowhere = format!("/v1/compliance/findings/{}/acknowledge", Uuid::from_u128(9));
    platform.post(&platform.administrator, &nowhere, remark).await.refused(404, "finding_not_found");
    let late = platform.clock.now() + TimeDelta::days(400);
    let body = json!({ "reason": "for ever", "until": late });
    let refused = platform.post(&platform.administrator, &act("accept-risk"), body).await;
    assert_eq!(refused.code(), "finding_until_out_of_bounds");
    let body = json!({ "reason": "", "until": platform.clock.now() + TimeDelta::days(4) });
    let refused = platform.post(&platform.administrator, &act("accept-risk"), body).await;
    assert_eq!(refused.code(), "finding_reason_missing");
}

#[tokio::test]
async fn each_day_has_one_run_however_many_processes_would_do_it() {
    let platform = Platform::start().await;
    let pool = platform.database.pool.clone();
    let runs = async || -> i64 {
        let count = "SELECT count(*) FROM events WHERE event_type = 'control_run.completed'";
        sqlx::query_scalar(count).fetch_one(&pool).await.unwrap()
    };
    let _processes = [platform.controls(Duration::ZERO), platform.controls(Duration::ZERO)];
    eventually(LIMIT, async || (runs().await == 1).then_some(())).await;
    platform.clock.advance(TimeDelta::days(1));
    eventually(LIMIT, async || (runs().await == 2).then_some(())).await;
    let often: Vec<i64> =
        sqlx::query_scalar("SELECT count(*) FROM events WHERE aggregate_type = 'control_check' GROUP BY aggregate_id")
            .fetch_all(&pool)
            .await
            .unwrap();
    assert_eq!(often, vec![2; catalogue().controls.len()]);
}

#[tokio::test]
async fn only_so_many_runs_wait() {
    let platform = Platform::start().await;
    let ask = async || platform.post(&platform.administrator, "/v1/compliance/runs", json!({ "reason": "" })).await;
    for _ in 0..4 {
        assert_eq!(ask().await.status, 201);
    }
    assert_eq!(ask().await.code(), "control_run_limit_reached");
    let _controls = platform.controls(NEVER);
    eventually(LIMIT, async || (ask().await.status == 201).then_some(())).await;
}
