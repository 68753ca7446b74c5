//! Lists are filtered in SQL by the same rules that decide on one thing: for random roles and things both say the same of each.
//!
//! `HUB_FUZZ_CASES` says how many principals with random roles are tried (300 without it), `HUB_FAULT_SEED` plays a run again.

use std::collections::BTreeMap;

use cedar_policy::Authorizer;
use chrono::{DateTime, TimeDelta, Utc};
use hub_access::{
    facts::TenantFacts,
    filter::{Visible, visible},
    question::Question,
    slice::{Grounds, Slice, Subject, held_for},
};
use hub_domain::{
    attribute::{COMMON, OF_RESOURCES, of_resource},
    fact::{Fact, GrantFact, GrantSource, Home, RoleFact},
    id::RoleId,
    role::{Actions, Clause, Condition, Permission, PermissionEffect, PermissionId, Value},
};
use hub_http::{Attributes, Permission as Asked, Scope};
use hub_tests::kit::Database;
use serde_json::json;
use sqlx::PgPool;
use uuid::Uuid;

use crate::faults::Random;

const CASES_DEFAULT: usize = 300;

/// So many things are in the list of each case.
const THINGS: usize = 12;

const TENANT: Uuid = Uuid::from_u128(0x70);

const PRINCIPAL: &str = "user:ada";

/// Few texts, so that conditions often meet them; some are what SQL or JSON may mistake for something else.
const TEXTS: &[&str] = &["mail", "backup", "", "true", "1", "%", "a\"b", "ä", "user", "user:ada", "subscription"];

/// A thing of a list.
type Thing = (Uuid, Attributes);

fn asked(resource: &str) -> Asked {
    let permission = match resource {
        "role" => "role:read",
        "service_instance" => "service_instance:read",
        _ => "subscription:read",
    };
    Asked::parse(permission).unwrap()
}

fn value(random: &mut Random, ids: &[Uuid]) -> Value {
    match random.below(8) {
        0 => Value::Bool(random.one_in(2)),
        1 | 2 => Value::Integer(*random.pick(&[0, 1, 4, 7, 12, -1])),
        3 => Value::Text(random.pick(ids).to_string()),
        4 => Value::Text(TENANT.to_string()),
        _ => Value::Text((*random.pick(TEXTS)).to_owned()),
    }
}

fn clause(random: &mut Random, resource: &str, ids: &[Uuid], depth: usize) -> Clause {
    let own: Vec<String> = of_resource(resource).iter().map(|name| format!("resource.{name}")).collect();
    let attribute = |random: &mut Random| {
        if random.one_in(2) { random.pick(&own).clone() } else { (*random.pick(COMMON)).to_owned() }
    };
    let some = |random: &mut Random| -> Vec<Clause> {
        (0..random.between(1, 4)).map(|_| clause(random, resource, ids, depth - 1)).collect()
    };
    match random.below(if depth > 1 { 6 } else { 2 }) {
        0 => Clause::Equals { attribute: attribute(random), value: value(random, ids) },
        1 => {
            let count = random.between(1, 4);
            Clause::In { attribute: attribute(random), values: (0..count).map(|_| value(random, ids)).collect() }
        }
        2 => Clause::All(some(random)),
        3 => Clause::Any(some(random)),
        _ => Clause::Not(Box::new(clause(random, resource, ids, depth - 1))),
    }
}

/// Within the bounds of conditions; what is beyond is drawn anew.
fn condition(random: &mut Random, resource: &str, ids: &[Uuid]) -> Condition {
    loop {
        if let Ok(condition) = Condition::new(clause(random, resource, ids, 4)) {
            return condition;
        }
    }
}

fn permission(random: &mut Random, resource: &str, ids: &[Uuid]) -> Permission {
    let pattern = if random.one_in(4) { "*" } else { resource };
    let action = if random.one_in(4) { "*" } else { "read" };
    let effect = if random.one_in(3) { PermissionEffect::Deny } else { PermissionEffect::Allow };
    Permission {
        id: PermissionId(random.id()),
        resource: pattern.parse().unwrap(),
        actions: Actions::new([action.parse().unwrap()]).unwrap(),
        effect,
        condition: (!random.one_in(6)).then(|| condition(random, resource, ids)),
    }
}

/// A few roles, some of them parents of others, and grants of them that hold now, did, or will.
fn facts(random: &mut Random, resource: &str, ids: &[Uuid], now: DateTime<Utc>) -> TenantFacts {
    let mut facts = TenantFacts::default();
    let roles: Vec<RoleId> = (0..random.between(1, 4)).map(|_| RoleId(random.id())).collect();
    for (place, role_id) in roles.iter().enumerate() {
        let permissions = (0..random.between(0, 4)).map(|_| permission(random, resource, ids)).collect();
        let parents = roles[..place].iter().filter(|_| random.one_in(2)).copied().collect();
        let role = RoleFact { key: format!("role-{place}").parse().unwrap(), system: false, permissions, parents };
        facts.add(role_id.0, Fact::Role(role));
        let minutes = |random: &mut Random| TimeDelta::minutes(i64::try_from(random.below(60)).unwrap());
        let from = if random.one_in(5) { now + minutes(random) } else { now - minutes(random) };
        let until = random.one_in(3).then(|| if random.one_in(3) { now } else { now + minutes(random) });
        let grant = GrantFact {
            principal: PRINCIPAL.parse().unwrap(),
            home: Home::Tenant,
            role_id: *role_id,
            from,
            until,
            source: GrantSource::Assignment,
        };
        facts.add(random.id(), Fact::Grant(grant));
    }
    facts
}

/// A thing with most of its attributes, and now and then with a value of an unexpected kind.
fn thing(random: &mut Random, resource: &str, id: Uuid) -> Thing {
    let mut attributes = Attributes::new();
    for name in of_resource(resource) {
        if random.one_in(6) {
            continue;
        }
        let value = match random.below(8) {
            0 => json!(null),
            1 => json!(random.one_in(2)),
            2 => json!(1),
            3 => json!([TEXTS[0]]),
            _ => json!(random.pick(TEXTS)),
        };
        attributes.insert(name, value);
    }
    (id, attributes)
}

/// What the database says of each thing.
async fn listed(pool: &PgPool, filter: &serde_json::Value, things: &[Thing]) -> Vec<bool> {
    let rows = things.iter().map(|(id, attributes)| {
        let mut row: BTreeMap<&str, serde_json::Value> =
            attributes.iter().map(|(name, value)| (*name, value.clone())).collect();
        row.insert("id", json!(id));
        json!(row)
    });
    let query =
        "SELECT access_permits($1, t.row) FROM unnest($2::jsonb[]) WITH ORDINALITY AS t(row, place) ORDER BY t.place";
    sqlx::query_scalar(query).bind(filter).bind(rows.collect::<Vec<_>>()).fetch_all(pool).await.unwrap()
}

#[tokio::test]
async fn a_list_shows_what_may_be_read_one_by_one() {
    let cases = std::env::var("HUB_FUZZ_CASES").map_or(CASES_DEFAULT, |text| text.parse().unwrap());
    let (database, authorizer) = (Database::new().await, Authorizer::new());
    let (seed, mut random) = Random::of_run();
    let mut found = BTreeMap::<&str, usize>::new();
    for case in 0..cases {
        let (resource, _) = *random.pick(OF_RESOURCES);
        let now = "2026-01-01T00:00:00Z".parse::<DateTime<Utc>>().unwrap()
            + TimeDelta::minutes(i64::try_from(random.below(14 * 24 * 60)).unwrap());
        let ids: Vec<Uuid> = (0..THINGS).map(|_| random.id()).collect();
        let facts = facts(&mut random, resource, &ids, now);
        let things: Vec<Thing> = ids.iter().map(|id| thing(&mut random, resource, *id)).collect();
        let scope = Scope::Tenant(TENANT);
        let subject = Subject { principal: PRINCIPAL, scope, tenant_id: TENANT };
        let grounds = Grounds { tenant: &facts, platform: None };
        let slice = Slice::of(grounds, subject, asked(resource), held_for(grounds, subject, asked(resource)));
        assert_eq!(slice.errors(), Vec::<String>::new(), "seed {seed}, case {case}");
        let question = |thing: Option<&Thing>| Question {
            principal: PRINCIPAL,
            scope,
            permission: asked(resource),
            tenant_id: TENANT,
            resource_id: thing.map(|(id, _)| *id),
            attributes: None,
            now,
        };
        let filter = visible(&slice, &question(None));
        let shown = match &filter {
            Visible::All => vec![true; THINGS],
            Visible::Nothing => vec![false; THINGS],
            Visible::Where(filter) => listed(&database.pool, filter, &things).await,
        };
        for (thing, shown) in things.iter().zip(shown) {
            let question = Question { attributes: Some(&thing.1), ..question(Some(thing)) };
            let verdict = slice.decide(&authorizer, &question);
            assert_eq!(verdict.errors, Vec::<String>::new(), "seed {seed}, case {case}");
            let held: Vec<_> = slice.held().iter().map(|held| &held.permission).collect();
            assert_eq!(verdict.allowed, shown, "seed {seed}, case {case}: {thing:?} under {filter:?} of {held:#?}");
            *found.entry(if shown { "shown" } else { "hidden" }).or_default() += 1;
            if matches!(filter, Visible::Where(_)) {
                *found.entry(if shown { "shown by a condition" } else { "hidden by a condition" }).or_default() += 1;
            }
        }
    }
    println!("{found:?}");
    assert!(cases < 100 || found.len() == 4, "the cases are of every kind: {found:?}");
}
