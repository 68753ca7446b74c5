//! Seals of the log: whoever has the platform's public key verifies what the API answers, and trusts nothing else.

use chrono::{DateTime, TimeDelta, Utc};
use hub_domain::id::PLATFORM_TENANT;
use hub_evidence::{
    checkpoint::{Checkpoint, Origin},
    key::{SigningKey, VerifierKey, VerifierKeys},
    proof::{EntryProof, ProofTextError, UpdateProof},
    tree::{Hash, ProofError, verify_inclusion},
};
use hub_seal::{
    Signer,
    check::{Kind, Report, Scope, check},
    signer::SignerError,
};
use hub_tests::kit::eventually;
use serde_json::{Value, json};
use sqlx::PgPool;
use uuid::Uuid;
use zeroize::Zeroizing;

use super::{LIMIT, Platform};

fn key(seed: u8) -> SigningKey {
    SigningKey::from_seed("hub.test", Zeroizing::new([seed; 32])).unwrap()
}

/// What an officer has from somewhere else: the key that the tests' platform signs with.
fn keys() -> VerifierKeys {
    VerifierKeys::new([key(9).verifier_key().clone()]).unwrap()
}

fn origin(tenant_id: Uuid) -> Origin {
    Origin::tenant("hub.test", tenant_id).unwrap()
}

fn hash(text: &Value) -> Hash {
    Hash::from_base64(text.as_str().unwrap()).unwrap()
}

impl Platform {
    async fn evidence(&self, tenant_id: Uuid, rest: &str) -> Value {
        self.get(&self.administrator, &format!("/v1/tenants/{tenant_id}/evidence/{rest}")).await.ok()
    }

    async fn rename(&self, tenant_id: Uuid, name: &str) {
        self.done(&format!("/v1/tenants/{tenant_id}/rename"), json!({ "name": name })).await;
    }

    /// The events of a tenant, of which the last one is this position.
    async fn end_of(&self, tenant_id: Uuid) -> u64 {
        let page = self.get(&self.administrator, &format!("/v1/tenants/{tenant_id}/events?limit=500")).await.ok();
        page["next_after"].as_u64().unwrap()
    }

    /// The last checkpoint when it covers so many events.
    async fn checkpoint(&self, tenant_id: Uuid, size: u64) -> Value {
        eventually(LIMIT, async || {
            let path = format!("/v1/tenants/{tenant_id}/evidence/checkpoint");
            let last = self.get(&self.administrator, &path).await;
            (last.status == 200 && last.body()["size"].as_u64() >= Some(size)).then(|| last.body())
        })
        .await
    }
}

#[tokio::test]
async fn every_event_is_proven_to_whoever_has_the_key() {
    let platform = Platform::start().await;
    let (acme, globex) = (platform.tenant("acme").await, platform.tenant("globex").await);
    for tenant_id in [acme, globex, PLATFORM_TENANT.0] {
        let end = platform.end_of(tenant_id).await;
        assert!(end > 0);
        for position in 1..=end {
            let answer = platform.evidence(tenant_id, &format!("events/{position}")).await;
            let proof = EntryProof::parse(answer["proof"].as_str().unwrap()).unwrap();
            assert_eq!(proof.index, position - 1);
            let opened = proof.verify(&hash(&answer["leaf_hash"]), &origin(tenant_id), &keys()).unwrap();
            assert!(opened.checkpoint.size() >= position);
            let other = proof.verify(&Hash([0; 32]), &origin(tenant_id), &keys());
            assert!(matches!(other, Err(ProofTextError::Proof(ProofError::Root))), "{other:?}");
            let strangers = VerifierKeys::new([key(8).verifier_key().clone()]).unwrap();
            assert!(proof.verify(&hash(&answer["leaf_hash"]), &origin(tenant_id), &strangers).is_err());
        }
    }
    let published = platform.evidence(acme, "keys").await;
    let published: Vec<VerifierKey> = published["keys"]
        .as_array()
        .unwrap()
        .iter()
        .map(|key| key["verifier_key"].as_str().unwrap().parse().unwrap())
        .collect();
    assert_eq!(published, [key(9).verifier_key().clone()]);
}

#[tokio::test]
async fn a_checkpoint_continues_every_older_one_and_stands_in_the_platforms_log() {
    let platform = Platform::start().await;
    let acme = platform.tenant("acme").await;
    let mut sizes = Vec::new();
    for round in 0..4 {
        platform.rename(acme, &format!("Acme {round}")).await;
        let end = platform.end_of(acme).await;
        sizes.push(platform.checkpoint(acme, end).await["size"].as_u64().unwrap());
    }
    for from in &sizes {
        let answer = platform.evidence(acme, &format!("consistency?from={from}")).await;
        let older = Checkpoint::open(answer["older"]["note"].as_str().unwrap().as_bytes(), &origin(acme), &keys());
        let older = older.unwrap().checkpoint;
        assert_eq!(older.size(), *from);
        let proof = UpdateProof::parse(answer["proof"].as_str().unwrap()).unwrap();
        let newer = proof.verify(&older, &keys()).unwrap().checkpoint;
        assert_eq!(Some(&newer.size()), sizes.last());

        let answer = platform.evidence(acme, &format!("platform?size={from}")).await;
        let log = Origin::platform("hub.test").unwrap();
        let all = Checkpoint::open(answer["platform"]["note"].as_str().unwrap().as_bytes(), &log, &keys()).unwrap();
        let path: Vec<Hash> = answer["hashes"].as_array().unwrap().iter().map(hash).collect();
        let index = answer["index"].as_u64().unwrap();
        let (size, root) = (all.checkpoint.size(), all.checkpoint.root());
        verify_inclusion(&older.leaf_hash(), index, size, &path, root).unwrap();
    }
    let path = format!("/v1/tenants/{acme}/evidence/");
    let ask = async |rest: &str| platform.get(&platform.administrator, &format!("{path}{rest}")).await;
    ask("consistency?from=0").await.refused(400, "invalid_query");
    ask("consistency?from=3&to=2").await.refused(400, "invalid_query");
    ask("events/0").await.refused(404, "not_found");
    ask("events/100000").await.refused(404, "not_found");
    ask("checkpoint?size=100000").await.refused(404, "not_found");
}

#[tokio::test]
async fn an_event_that_was_changed_after_its_seal_fails_its_proof() {
    let platform = Platform::start().await;
    let acme = platform.tenant("acme").await;
    let end = platform.end_of(acme).await;
    platform.checkpoint(acme, end).await;
    let pool = &platform.database.pool;
    for statement in [
        "ALTER TABLE events DISABLE TRIGGER events_are_kept",
        "UPDATE events SET leaf_hash = sha256('another') WHERE tenant_position = 1",
    ] {
        sqlx::query(statement).execute(pool).await.unwrap();
    }
    let answer = platform.evidence(acme, "events/1").await;
    let proof = EntryProof::parse(answer["proof"].as_str().unwrap()).unwrap();
    let refused = proof.verify(&hash(&answer["leaf_hash"]), &origin(acme), &keys());
    assert!(matches!(refused, Err(ProofTextError::Proof(ProofError::Root))), "{refused:?}");
}

#[tokio::test]
async fn a_log_that_is_not_what_was_sealed_gets_no_checkpoint_any_more_and_others_do() {
    let platform = Platform::start().await;
    let (acme, globex) = (platform.tenant("acme").await, platform.tenant("globex").await);
    for tenant_id in [acme, globex] {
        platform.checkpoint(tenant_id, platform.end_of(tenant_id).await).await;
    }
    let sealed = platform.checkpoint(acme, 1).await["size"].as_u64().unwrap();
    let other = "UPDATE sealed_tiles SET hashes = overlay(hashes PLACING sha256('x') FROM 1) WHERE tenant_id = $1 AND level = 0";
    sqlx::query(other).bind(acme).execute(&platform.database.pool).await.unwrap();
    for tenant_id in [acme, globex] {
        platform.rename(tenant_id, "Renamed").await;
    }
    let end = platform.end_of(globex).await;
    platform.checkpoint(globex, end).await;
    assert_eq!(platform.checkpoint(acme, 1).await["size"].as_u64().unwrap(), sealed);
    let path = format!("/v1/tenants/{acme}/evidence/events/{}", platform.end_of(acme).await);
    platform.get(&platform.administrator, &path).await.refused(503, "not_sealed");
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_processes_one_seals_and_the_other_goes_on_when_it_ends() {
    let platform = Platform::start().await;
    let other = platform.beside();
    let acme = platform.tenant("acme").await;
    platform.checkpoint(acme, platform.end_of(acme).await).await;
    drop(platform);
    other.rename(acme, "Renamed").await;
    let end = other.end_of(acme).await;
    let last = other.checkpoint(acme, end).await;
    let consistency = other.evidence(acme, "consistency?from=1").await;
    assert_eq!(consistency["newer"]["size"], last["size"]);
}

#[tokio::test]
async fn a_key_takes_the_place_of_another_only_beside_it() {
    let platform = Platform::start().await;
    let pool = &platform.database.pool;
    let now: DateTime<Utc> = "2026-01-01T00:00:00Z".parse().unwrap();
    let publish = async |seeds: &[u8]| {
        let keys = seeds.iter().map(|seed| key(*seed)).collect();
        Signer::new(keys).unwrap().publish(pool, now).await
    };
    let live = async || -> Vec<String> {
        let query = sqlx::query_scalar("SELECT verifier_key FROM evidence_keys WHERE retired_at IS NULL ORDER BY 1");
        query.fetch_all(pool).await.unwrap()
    };
    let text = |seed: u8| key(seed).verifier_key().to_string();
    publish(&[9]).await.unwrap();
    let refused = publish(&[8]).await.unwrap_err();
    assert!(matches!(&refused, SignerError::AnotherKey(known) if *known == text(9)), "{refused}");
    publish(&[8, 9]).await.unwrap();
    assert_eq!(live().await.len(), 2);
    publish(&[8]).await.unwrap();
    assert_eq!(live().await, [text(8)]);
    assert!(publish(&[9]).await.is_err(), "what was retired does not sign again");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_checkpoint_is_published_in_the_log_once_a_minute_while_something_happens() {
    let platform = Platform::start().await;
    let _processes = platform.by_itself();
    let acme = platform.tenant("acme").await;
    let published = async |count: usize| {
        let path = format!("/v1/tenants/{acme}/events?event_type=checkpoint.*");
        eventually(LIMIT, async || {
            let page = platform.get(&platform.administrator, &path).await.ok();
            let events = page["items"].as_array().unwrap().clone();
            (events.len() >= count).then_some(events)
        })
        .await
    };
    for round in 1..=2 {
        platform.rename(acme, &format!("Round {round}")).await;
        let end = platform.end_of(acme).await;
        platform.checkpoint(acme, end).await;
        platform.clock.advance(TimeDelta::seconds(61));
        let events = published(round).await;
        assert_eq!(events.len(), round);
        let payload = &events[round - 1]["payload"];
        let note = payload["note"].as_str().unwrap();
        let opened = Checkpoint::open(note.as_bytes(), &origin(acme), &keys()).unwrap();
        assert_eq!(Some(opened.checkpoint.size()), payload["size"].as_u64());
        let platforms = payload["platform_note"].as_str().unwrap();
        Checkpoint::open(platforms.as_bytes(), &Origin::platform("hub.test").unwrap(), &keys()).unwrap();
    }
    // The event of a checkpoint is sealed and not published itself.
    platform.checkpoint(acme, platform.end_of(acme).await).await;
    platform.clock.advance(TimeDelta::seconds(61));
    platform.rename(acme, "Again").await;
    let last = published(3).await;
    assert_eq!(last.len(), 3);
}

#[tokio::test]
async fn a_self_check_names_every_event_that_is_not_as_it_was_sealed() {
    let platform = Platform::start().await;
    let (acme, globex) = (platform.tenant("acme").await, platform.tenant("globex").await);
    let mut sealed = 0;
    for tenant_id in [PLATFORM_TENANT.0, acme, globex] {
        let end = platform.end_of(tenant_id).await;
        sealed += platform.checkpoint(tenant_id, end).await["size"].as_u64().unwrap();
    }
    let pool = &platform.database.pool;
    Signer::new(vec![key(9)]).unwrap().publish(pool, platform.clock.now()).await.unwrap();
    let full = async || checked(pool, Scope::of_all(Kind::Full)).await;
    let sample = async || checked(pool, Scope::of_all(Kind::Sample)).await;
    let whole = full().await;
    assert_eq!((whole.log_count, whole.event_count, whole.finding_count), (3, sealed, 0), "{whole:?}");
    assert_eq!(sample().await.finding_count, 0);
    for statement in [
        "ALTER TABLE events DISABLE TRIGGER events_are_kept",
        "UPDATE events SET occurred_at = occurred_at + interval '1 microsecond' WHERE tenant_id = $1 AND tenant_position = 2",
        "DELETE FROM events WHERE tenant_id = $1 AND tenant_position = 4",
    ] {
        let query = sqlx::query(statement);
        let query = if statement.contains("$1") { query.bind(acme) } else { query };
        query.execute(pool).await.unwrap();
    }
    let expected = [(2, "the event is not the one that was sealed"), (4, "the event is missing")];
    for report in [full().await, sample().await, checked(pool, Scope { kind: Kind::Full, tenant_id: Some(acme) }).await]
    {
        let found: Vec<_> = report.findings.iter().map(|one| (one.position, one.what)).collect();
        assert_eq!(found, expected, "{report:?}");
        assert!(report.findings.iter().all(|one| one.tenant_id == acme));
    }
    let other = checked(pool, Scope { kind: Kind::Full, tenant_id: Some(globex) }).await;
    assert_eq!((other.log_count, other.finding_count), (1, 0), "{other:?}");
    // Somebody who changes the hashes as well, but cannot sign, is found by the root.
    let other = "UPDATE sealed_tiles SET hashes = overlay(hashes PLACING (SELECT leaf_hash FROM events WHERE tenant_id = $1 AND \
                 tenant_position = 1) FROM 1) WHERE tenant_id = $1 AND level = 0";
    let changed =
        "UPDATE events SET leaf_hash = sha256('x'), payload = payload WHERE tenant_id = $1 AND tenant_position = 1";
    for statement in [changed, other] {
        sqlx::query(statement).bind(globex).execute(pool).await.unwrap();
    }
    let report = full().await;
    assert!(report.findings.iter().any(|one| one.tenant_id == globex && one.position == 1), "{report:?}");
}

async fn checked(pool: &PgPool, scope: Scope) -> Report {
    check(pool, scope, |_, _| {}).await.unwrap()
}
