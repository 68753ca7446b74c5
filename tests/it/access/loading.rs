//! Facts that are read by what has changed are the facts that are read whole, whatever has happened in between.
//!
//! `HUB_FUZZ_CASES` says how many rounds of changes there are (150 without it), `HUB_FAULT_SEED` plays a run again.

use std::{
    collections::{BTreeMap, HashMap},
    time::Duration,
};

use futures::future::join_all;
use hub_access::{
    AccessGate, Board,
    cache::Loads,
    facts::{FactsReader, REMOVAL_COUNT_MAX, TenantFacts},
};
use hub_domain::id::RoleId;
use hub_event_store::{
    append::{Append, FactChange},
    event::{Metadata, NewEvent, StreamId},
    store::EventStore,
    tail::Tail,
    upcast::Upcasters,
};
use hub_tests::kit::{Database, TestClock};
use serde_json::{Value, json, value::RawValue};
use sqlx::PgPool;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::LIMIT;
use crate::faults::Random;

const ROUNDS_DEFAULT: usize = 150;

const TENANTS: [Uuid; 2] = [Uuid::from_u128(0x70), Uuid::from_u128(0x71)];

/// So many streams of each type.
const STREAMS: u128 = 12;

/// So many grants may come from one stream, more than removals are kept.
const GRANTS: usize = 300;

const TYPES: [&str; 5] = ["role", "api_key", "identity_provider", "duty_set", "principal"];

/// A log that is appended to at random.
struct Office {
    pool: PgPool,
    reader: FactsReader,
    store: EventStore,
    sequences: HashMap<StreamId, i64>,
}

impl Office {
    fn on(database: &Database) -> Self {
        let pool = database.pool.clone();
        let store =
            EventStore::start(pool.clone(), Tail::default(), Upcasters::default(), TestClock::default().clock());
        Self { reader: FactsReader::new(pool.clone()), pool, store, sequences: HashMap::new() }
    }

    async fn append(&mut self, stream: &StreamId, facts: Vec<(String, Option<Value>)>) {
        let command_id = Uuid::now_v7();
        let sequence = self.sequences.entry(stream.clone()).or_default();
        let fact = |(part, fact): (String, Option<Value>)| FactChange {
            part,
            fact: fact.map(|fact| RawValue::from_string(fact.to_string()).unwrap()),
        };
        let append = Append {
            stream: stream.clone(),
            expected_sequence: Some(*sequence),
            metadata: Metadata {
                actor: "user:test".to_owned(),
                command_id,
                correlation_id: command_id,
                causation_id: None,
                traceparent: None,
            },
            fingerprint: [0; 32],
            events: vec![NewEvent {
                event_id: Uuid::now_v7(),
                event_type: format!("{}.changed", stream.aggregate_type),
                event_version: 1,
                payload: RawValue::from_string("{}".to_owned()).unwrap(),
            }],
            claims: Vec::new(),
            counters: Vec::new(),
            facts: facts.into_iter().map(fact).collect(),
            guards: Vec::new(),
            outcome: None,
        };
        *sequence = self.store.append(append).await.unwrap().sequence;
    }

    /// Facts change without an event, as a repair changes them.
    async fn repair(&self, random: &mut Random, tenant_id: Uuid) {
        let stream = stream(random, tenant_id);
        let mut transaction = self.pool.begin().await.unwrap();
        for (part, fact) in changes(random, &stream) {
            sqlx::query("SELECT set_fact($1, $2, $3, $4, $5::json, 1)")
                .bind(tenant_id)
                .bind(stream.aggregate_type)
                .bind(stream.aggregate_id)
                .bind(part)
                .bind(fact.map(|fact| fact.to_string()))
                .execute(&mut *transaction)
                .await
                .unwrap();
        }
        let heads = "UPDATE fact_heads SET position = (SELECT position FROM log_head) WHERE tenant_id = $1";
        sqlx::query(heads).bind(tenant_id).execute(&mut *transaction).await.unwrap();
        let repaired = "UPDATE facts_state SET repair_count = repair_count + 1";
        sqlx::query(repaired).execute(&mut *transaction).await.unwrap();
        transaction.commit().await.unwrap();
    }
}

fn stream(random: &mut Random, tenant_id: Uuid) -> StreamId {
    let aggregate_type = *random.pick(&TYPES);
    let kind = TYPES.iter().position(|known| *known == aggregate_type).unwrap() as u128;
    let number = u128::from(random.next()) % STREAMS;
    StreamId { tenant_id, aggregate_type, aggregate_id: Uuid::from_u128(1_000 * kind + number) }
}

/// What an event of the stream may change: now and then the same fact twice.
fn changes(random: &mut Random, stream: &StreamId) -> Vec<(String, Option<Value>)> {
    let id = stream.aggregate_id;
    let number = random.below(1_000);
    let gone = random.one_in(4);
    let one = |part: &str, fact: Value| vec![(part.to_owned(), (!gone).then_some(fact))];
    match stream.aggregate_type {
        "role" if random.one_in(2) => {
            let parents: Vec<Uuid> = (0..random.below(3)).map(|_| Uuid::from_u128(random.below(12) as u128)).collect();
            let role = json!({ "kind": "role", "key": format!("role-{number}"), "system": false, "permissions": [],
                               "parents": parents });
            one("role", role)
        }
        "role" => {
            let count = if random.one_in(12) { GRANTS } else { random.between(1, 4) };
            let all_go = random.one_in(4);
            let grants = (0..count).map(|place| {
                let part = format!("grant/{}", if count == GRANTS { place } else { random.below(GRANTS) });
                let grant = json!({
                    "kind": "grant", "principal": format!("user:{}", random.below(6)), "role_id": id,
                    "home": if random.one_in(5) { "platform" } else { "tenant" }, "from": "2026-01-01T00:00:00Z",
                    "until": random.one_in(2).then_some("2027-01-01T00:00:00Z"), "source": "assignment",
                });
                (part, (!all_go && !random.one_in(4)).then_some(grant))
            });
            grants.collect()
        }
        "api_key" => {
            let secret = |place: usize| {
                (format!("{:016x}", id.as_u128() * 10 + place as u128), json!({ "sha256": "00", "expires_at": null }))
            };
            let secrets: BTreeMap<String, Value> = (0..random.between(1, 3)).map(secret).collect();
            one(
                "credential",
                json!({ "kind": "credential", "principal": format!("key:{id}"), "secrets": secrets, "scopes": [format!("webhook:a{number}")],
                        "networks": [], "expires_at": null }),
            )
        }
        "identity_provider" => one(
            "provider",
            json!({ "kind": "identity_provider", "issuer": format!("https://{number}.example"), "audience": "a", "jwks_uri": "https://keys.example" }),
        ),
        "duty_set" => {
            one("set", json!({ "kind": "duty_set", "key": format!("set-{number}"), "roles": [id], "held_max": 1 }))
        }
        _ => {
            // Rarely two streams say the same of one principal, which no program writes.
            let name = if random.one_in(60) { "user:everybody".to_owned() } else { format!("user:{id}") };
            one("ended", json!({ "kind": "ended", "principal": name }))
        }
    }
}

/// All that can be asked of facts, in one order.
fn said(facts: &TenantFacts) -> Vec<String> {
    let mut all: Vec<String> = Vec::new();
    all.extend(facts.roles.iter().map(|(id, role)| format!("{id:?} {role:?}")));
    for (holder, held) in facts.grants.iter() {
        assert!(!held.is_empty(), "nobody is kept who holds nothing");
        all.extend(held.iter().map(|granted| format!("{holder:?} {granted:?}")));
    }
    all.extend(facts.credentials.iter().map(|(principal, credential)| format!("{principal} {credential:?}")));
    all.extend(facts.secrets.iter().map(|(id, credential)| format!("secret {id} {credential:?}")));
    all.extend(facts.identity_providers.iter().map(|provider| format!("{provider:?}")));
    all.extend(facts.duty_sets.iter().map(|set| format!("{set:?}")));
    all.extend(facts.ended.keys().map(|principal| format!("ended {principal}")));
    all.sort();
    all.push(format!("{} {:?}", facts.position, facts.version));
    all
}

async fn whole(pool: &PgPool, tenant_id: Uuid) -> TenantFacts {
    TenantFacts::load(pool, tenant_id).await.unwrap()
}

#[tokio::test]
async fn facts_read_by_what_has_changed_are_those_that_are_read_whole() {
    let rounds = std::env::var("HUB_FUZZ_CASES").map_or(ROUNDS_DEFAULT, |text| text.parse().unwrap());
    let (_, mut random) = Random::of_run();
    let database = Database::new().await;
    let mut office = Office::on(&database);
    let mut kept = HashMap::new();
    for tenant_id in TENANTS {
        kept.insert(tenant_id, whole(&office.pool, tenant_id).await);
    }
    let (mut by_changes, mut not_by_changes) = (0, 0);
    for round in 0..rounds {
        for _ in 0..random.between(1, 8) {
            let tenant_id = *random.pick(&TENANTS);
            if random.one_in(40) {
                office.repair(&mut random, tenant_id).await;
                continue;
            }
            let stream = stream(&mut random, tenant_id);
            let changes = changes(&mut random, &stream);
            office.append(&stream, changes).await;
        }
        for tenant_id in TENANTS {
            if random.one_in(3) {
                continue;
            }
            let expected = whole(&office.pool, tenant_id).await;
            let before = &kept[&tenant_id];
            let said_before = said(before);
            let changed = office.reader.changed(tenant_id, before).await.unwrap();
            assert_eq!(said(before), said_before, "what a decision has begun with stays as it was");
            if let Some(changed) = changed {
                assert_eq!(said(&changed), said(&expected), "round {round}");
                by_changes += 1;
                kept.insert(tenant_id, changed);
            } else {
                not_by_changes += 1;
                kept.insert(tenant_id, expected);
            }
        }
    }
    assert!(by_changes > not_by_changes, "{by_changes} times by changes, {not_by_changes} times whole");
}

#[tokio::test]
async fn whoever_has_missed_a_repair_or_more_removals_than_are_kept_reads_all_facts() {
    let database = Database::new().await;
    let mut office = Office::on(&database);
    let tenant_id = TENANTS[0];
    let role = |number: u128| StreamId { tenant_id, aggregate_type: "role", aggregate_id: Uuid::from_u128(number) };
    let fact = || json!({ "kind": "role", "key": "clerk", "system": false, "permissions": [], "parents": [] });
    let last = u128::try_from(REMOVAL_COUNT_MAX).unwrap();
    for number in 0..=last {
        office.append(&role(number), vec![("role".to_owned(), Some(fact()))]).await;
    }
    let before = whole(&office.pool, tenant_id).await;
    for number in 1..=last {
        office.append(&role(number), vec![("role".to_owned(), None)]).await;
    }
    let all_kept = office.reader.changed(tenant_id, &before).await.unwrap().expect("so many are kept");
    assert_eq!(all_kept.roles.keys().collect::<Vec<_>>(), [&RoleId(Uuid::from_u128(0))]);
    office.append(&role(0), vec![("role".to_owned(), None)]).await;
    assert!(office.reader.changed(tenant_id, &before).await.unwrap().is_none(), "one more");
    assert!(office.reader.changed(tenant_id, &all_kept).await.unwrap().unwrap().roles.is_empty());
    // Removed and set again, at once and one after the other.
    let again = vec![("role".to_owned(), None), ("role".to_owned(), Some(fact()))];
    office.append(&role(5), again).await;
    office.append(&role(6), vec![("role".to_owned(), Some(fact()))]).await;
    assert_eq!(office.reader.changed(tenant_id, &all_kept).await.unwrap().unwrap().roles.len(), 2);
    sqlx::query("UPDATE facts_state SET repair_count = repair_count + 1").execute(&office.pool).await.unwrap();
    assert!(office.reader.changed(tenant_id, &all_kept).await.unwrap().is_none(), "a repair");
}

#[tokio::test]
async fn many_who_wait_for_facts_are_served_by_few_statements() {
    let database = Database::new().await;
    let (mut office, board, end) = (Office::on(&database), Board::default(), CancellationToken::new());
    let gate = AccessGate::new(database.pool.clone(), board.clone(), TestClock::default().clock());
    let looking = tokio::spawn(board.run(database.pool.clone(), end.clone()));
    let tenant_id = TENANTS[0];
    let stream = StreamId { tenant_id, aggregate_type: "role", aggregate_id: Uuid::from_u128(1) };
    let role = |key: &str| json!({ "kind": "role", "key": key, "system": false, "permissions": [], "parents": [] });
    let ask = async || join_all((0..100).map(|_| gate.facts(tenant_id, Some(i64::MAX)))).await;
    office.append(&stream, vec![("role".to_owned(), Some(role("first")))]).await;
    for facts in ask().await {
        assert_eq!(facts.unwrap().roles.len(), 1);
    }
    let first = gate.loads();
    assert!((1..=2).contains(&first.whole) && first.changes <= 1, "{first:?}");
    for round in 0..10 {
        let key = format!("key-{round}");
        office.append(&stream, vec![("role".to_owned(), Some(role(&key)))]).await;
        for facts in ask().await {
            assert_eq!(facts.unwrap().roles.values().next().unwrap().key.as_str(), key, "never an older one");
        }
    }
    let then = gate.loads();
    assert_eq!(then.whole, first.whole, "nothing was read whole again");
    assert!((10..=20).contains(&(then.changes - first.changes)), "{then:?}");
    assert_eq!(ask().await.len(), 100);
    assert_eq!(gate.loads(), Loads { ..then }, "nothing is read when nothing has changed");
    end.cancel();
    looking.await.unwrap();
}

#[tokio::test]
async fn what_has_changed_in_many_tenants_is_read_for_each_of_those_who_ask_at_once() {
    let database = Database::new().await;
    let mut office = Office::on(&database);
    let tenants: Vec<Uuid> = (1..=150).map(Uuid::from_u128).collect();
    let before = TenantFacts::default();
    for (number, tenant_id) in tenants.iter().enumerate() {
        let role = |place: usize| {
            let stream = StreamId {
                tenant_id: *tenant_id,
                aggregate_type: "role",
                aggregate_id: Uuid::from_u128(place as u128),
            };
            let key = format!("role-{number}-{place}");
            (stream, json!({ "kind": "role", "key": key, "system": false, "permissions": [], "parents": [] }))
        };
        for place in 0..number % 3 {
            let (stream, role) = role(place);
            office.append(&stream, vec![("role".to_owned(), Some(role))]).await;
        }
    }
    let reader = &office.reader;
    // Some of those who wait go away, whoever reads for them.
    let given_up = tenants
        .iter()
        .map(|tenant_id| tokio::time::timeout(Duration::from_micros(200), reader.changed(*tenant_id, &before)));
    join_all(given_up).await;
    let asked = tenants.iter().map(|tenant_id| reader.changed(*tenant_id, &before));
    let read = tokio::time::timeout(LIMIT, join_all(asked)).await.expect("every wait has an end");
    for (number, facts) in read.into_iter().enumerate() {
        let facts =
            facts.unwrap().expect("a tenant that nothing is known of is one without facts at the beginning of the log");
        let mut keys: Vec<&str> = facts.roles.values().map(|role| role.key.as_str()).collect();
        keys.sort_unstable();
        let expected: Vec<String> = (0..number % 3).map(|place| format!("role-{number}-{place}")).collect();
        assert_eq!(keys, expected);
    }
    // A connection that has gone is replaced.
    let gone = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()";
    sqlx::query(gone).execute(&office.pool).await.unwrap();
    assert!(office.reader.changed(tenants[1], &before).await.unwrap().is_some());
}
