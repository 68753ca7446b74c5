use std::sync::atomic::{AtomicBool, Ordering};

use chrono::TimeDelta;

use super::*;

const TENANT: Uuid = Uuid::from_u128(7);
const READ: Permission = Permission { resource: "tenant", action: "read" };

fn noon() -> DateTime<Utc> {
    "2026-01-01T12:00:00Z".parse().unwrap()
}

fn caller(name: &str, scope: Scope) -> Caller {
    Caller { principal: format!("user:{name}"), scope, expires_at_ms: None, secret_id: None }
}

fn refuse(refusals: &Refusals, name: &str, seconds: i64) {
    let now = noon() + TimeDelta::seconds(seconds);
    refusals.refused(&caller(name, Scope::Tenant(TENANT)), READ, Reason::NoRole, [Uuid::from_u128(9)], now);
}

fn due(refusals: &Refusals, at: Instant) -> Vec<Draft> {
    refusals.noted().due(at, false)
}

#[test]
fn what_is_alike_is_counted_together() {
    let refusals = Refusals::default();
    [5, 1, 3].into_iter().for_each(|second| refuse(&refusals, "ada", second));
    refuse(&refusals, "bob", 2);
    let drafts = due(&refusals, Instant::now());
    assert_eq!(drafts.len(), 2);
    let [Event::Refused { principal, home, permission, resource_ids, seen, .. }] = &*drafts[0].observations else {
        panic!("{drafts:?}")
    };
    assert_eq!((principal.as_str(), *home, &**permission), ("user:ada", Home::Tenant, "tenant:read"));
    assert_eq!(*resource_ids, [Uuid::from_u128(9)]);
    let expected = Seen { count: 3, first_at: noon() + TimeDelta::seconds(1), last_at: noon() + TimeDelta::seconds(5) };
    assert_eq!(*seen, expected);
}

#[test]
fn what_goes_on_is_told_once_a_minute() {
    let (refusals, begin) = (Refusals::default(), Instant::now() + INTERVAL);
    refuse(&refusals, "ada", 0);
    assert_eq!(due(&refusals, begin).len(), 1);
    refuse(&refusals, "ada", 1);
    assert_eq!(due(&refusals, begin + QUIET / 2).len(), 0);
    refuse(&refusals, "ada", 2);
    let [Draft { observations, .. }] = &*due(&refusals, begin + QUIET) else { panic!("one draft") };
    assert_eq!(seen_of(&observations[0]).count, 2);
    refuse(&refusals, "ada", 3);
    assert_eq!(refusals.noted().due(begin + QUIET, true).len(), 1, "at the end all is told");
}

#[test]
fn what_is_over_is_forgotten() {
    let (refusals, begin) = (Refusals::default(), Instant::now() + INTERVAL);
    refuse(&refusals, "ada", 0);
    due(&refusals, begin);
    due(&refusals, begin + QUIET);
    assert!(refusals.noted().kinds.is_empty() && refusals.noted().of_tenant.is_empty());
}

#[test]
fn a_flood_of_kinds_is_counted_and_hides_no_other_tenants() {
    let refusals = Refusals::default();
    for number in 0..KIND_COUNT_MAX + 10 {
        refuse(&refusals, &format!("number{number}"), 0);
    }
    let other = Scope::Tenant(Uuid::from_u128(8));
    refusals.refused(&caller("ada", other), READ, Reason::NoRole, [], noon());
    let told: Vec<Event> =
        refusals.noted().kinds.iter().map(|(kind, count)| kind.event(count.seen.unwrap(), vec![])).collect();
    let unlisted: Vec<u64> =
        told.iter().filter(|event| matches!(event, Event::Unlisted { .. })).map(|event| seen_of(event).count).collect();
    assert_eq!(unlisted, [10]);
    assert_eq!(told.len(), KIND_COUNT_MAX + 2);
    let mut turns = 0;
    while !due(&refusals, Instant::now() + INTERVAL).is_empty() {
        turns += 1;
    }
    assert_eq!(turns, told.len().div_ceil(DRAFT_COUNT_MAX), "one turn writes a bounded number of records");
}

#[test]
fn a_credential_of_nobody_is_the_platforms_affair_and_names_a_network_only() {
    let refusals = Refusals::default();
    for peer in ["192.0.2.77", "::ffff:192.0.2.78", "2001:db8:1:2::3"] {
        refusals.login_failed(None, LoginFailure::Malformed, None, peer.parse().ok(), noon());
    }
    let [Draft { tenant_id, principal: None, observations, .. }] = &*due(&refusals, Instant::now()) else {
        panic!("one draft")
    };
    assert_eq!(*tenant_id, PLATFORM_TENANT.0);
    let mut networks: Vec<_> = observations
        .iter()
        .map(|event| match event {
            Event::LoginFailed { network: Some(Pii::Clear(network)), seen, .. } => (network.as_str(), seen.count),
            other => panic!("{other:?}"),
        })
        .collect();
    networks.sort_unstable();
    assert_eq!(networks, [("192.0.2.0/24", 2), ("2001:db8:1::/48", 1)]);
}

#[tokio::test]
async fn what_could_not_be_written_is_handed_on_again_as_the_same_record() {
    let (refusals, works) = (Refusals::default(), AtomicBool::new(false));
    refuse(&refusals, "ada", 0);
    let given = Mutex::new(Vec::new());
    let write = |draft: Draft| {
        given.lock().unwrap().push(draft.id);
        std::future::ready(works.load(Ordering::Relaxed))
    };
    let at = Instant::now() + INTERVAL;
    refusals.turn(&write, at, false).await;
    works.store(true, Ordering::Relaxed);
    refusals.turn(&write, at, false).await;
    refusals.turn(&write, at, false).await;
    let given = given.lock().unwrap();
    assert_eq!(given.len(), 2);
    assert_eq!(given[0], given[1]);
}

#[tokio::test]
async fn at_the_end_all_is_handed_on_whatever_could_not_be_written_before() {
    let (refusals, works) = (Refusals::default(), AtomicBool::new(false));
    let given = Mutex::new(Vec::new());
    let write = |draft: Draft| {
        given.lock().unwrap().extend(draft.principal.map(|principal| principal.as_str().to_owned()));
        std::future::ready(works.load(Ordering::Relaxed))
    };
    refuse(&refusals, "ada", 0);
    refusals.turn(&write, Instant::now() + INTERVAL, false).await;
    refuse(&refusals, "bob", 1);
    works.store(true, Ordering::Relaxed);
    let end = CancellationToken::new();
    end.cancel();
    refusals.clone().run(write, end).await;
    assert_eq!(*given.lock().unwrap(), ["user:ada", "user:ada", "user:bob"]);
    assert!(refusals.noted().unwritten.is_empty());
}
