//! Many events: order, fairness, and a process that ends in the middle.

use std::collections::{BTreeMap, BTreeSet};

use chrono::TimeDelta;
use hub_delivery::Settings;
use hub_tests::kit::eventually;
use serde_json::{Value, json};

use super::{
    LIMIT, World,
    receiver::{Receiver, Reply, Taken},
};

/// The positions that were accepted, each where it came first.
fn order_of(taken: &[Taken]) -> Vec<i64> {
    let mut seen = BTreeSet::new();
    taken.iter().map(Taken::position).filter(|position| seen.insert(*position)).collect()
}

#[tokio::test]
async fn strict_order_holds_while_the_endpoint_fails_now_and_then() {
    let world = World::start().await;
    let acme = world.tenant("acme").await;
    let receiver = Receiver::answering(|_, count| Reply::status(if count % 4 == 1 { 500 } else { 204 })).await;
    world.webhook(acme, &receiver, json!({ "ordering": "strict", "concurrency": 10 })).await;
    for number in 0..20 {
        world.role(acme, &format!("shift-{number}")).await;
    }
    world.pass_until(async || (receiver.accepted().len() >= 20).then_some(())).await;
    let positions = order_of(&receiver.accepted());
    assert_eq!((positions.len(), positions.is_sorted()), (20, true), "{positions:?}");
}

#[tokio::test]
async fn an_aggregate_that_fails_holds_up_itself_and_nobody_else() {
    let world = World::start().await;
    let acme = world.tenant("acme").await;
    let bad = world.role(acme, "bad").await;
    let good = world.role(acme, "good").await;
    let receiver = Receiver::answering(move |body, _| {
        Reply::status(if body["data"]["aggregate_id"] == json!(bad) { 500 } else { 204 })
    })
    .await;
    let hook = world.webhook(acme, &receiver, json!({ "ordering": "per_aggregate" })).await;
    for resource in ["webhook", "role", "tenant"] {
        world.grant(acme, bad, resource).await;
        world.grant(acme, good, resource).await;
    }
    receiver.accepts(3).await;
    let failed = || -> Vec<i64> {
        receiver.taken().iter().filter(|taken| !taken.status.is_success()).map(Taken::position).collect()
    };
    // Too seldom for it to be given up.
    world.pass_until(async || (failed().len() >= 3).then_some(())).await;
    let failed = BTreeSet::from_iter(failed());
    assert_eq!(failed.len(), 1, "the events behind the one that fails wait for it: {failed:?}");
    eventually(LIMIT, async || (world.pending(&hook).await == 3).then_some(())).await;
    receiver.answer(|_, _| Reply::status(204));
    world.pass_until(async || (world.pending(&hook).await == 0).then_some(())).await;
    let mut by_aggregate: BTreeMap<String, Vec<i64>> = BTreeMap::new();
    for taken in receiver.accepted() {
        let aggregate = taken.json()["data"]["aggregate_id"].as_str().unwrap().to_owned();
        by_aggregate.entry(aggregate).or_default().push(taken.position());
    }
    assert!(by_aggregate.values().all(|positions| positions.len() == 3 && positions.is_sorted()), "{by_aggregate:?}");
}

#[tokio::test]
async fn an_endpoint_that_hangs_delays_no_other() {
    let world = World::start().await;
    let acme = world.tenant("acme").await;
    let hanging = Receiver::answering(|_, _| Reply::status(204).after(LIMIT * 60)).await;
    let receiver = Receiver::start().await;
    let hung = world.webhook(acme, &hanging, json!({ "timeout_seconds": 30 })).await;
    world.webhook(acme, &receiver, json!({})).await;
    for number in 0..50 {
        world.role(acme, &format!("shift-{number}")).await;
    }
    assert_eq!(order_of(&receiver.accepts(50).await).len(), 50);
    assert!(hanging.taken().len() <= 2, "an endpoint that has not answered yet holds few connections");
    assert!(world.pending(&hung).await >= 48);
}

#[tokio::test]
async fn what_was_under_way_when_the_process_ended_arrives_all_the_same() {
    let mut world = World::start().await;
    let acme = world.tenant("acme").await;
    let receiver =
        Receiver::answering(
            |_, count| {
                if count < 30 { Reply::status(204) } else { Reply::status(204).after(LIMIT * 60) }
            },
        )
        .await;
    let hook = world.webhook(acme, &receiver, json!({ "ordering": "strict" })).await;
    for number in 0..60 {
        world.role(acme, &format!("shift-{number}")).await;
    }
    receiver.accepts(31).await;
    world.stop_delivering();
    receiver.answer(|_, _| Reply::status(204));
    // Leases of the one that is gone have to end first.
    world.clock.advance(TimeDelta::minutes(1));
    world.deliver_with(Settings::default());
    world.pass_until(async || (world.pending(&hook).await == 0).then_some(())).await;
    let positions = order_of(&receiver.accepted());
    assert_eq!((positions.len(), positions.is_sorted()), (60, true), "{positions:?}");
}

#[tokio::test]
async fn what_waits_in_the_database_is_taken_up_in_pieces_and_none_is_missed() {
    let world = World::start().await;
    let acme = world.tenant("acme").await;
    let receiver = Receiver::start().await;
    let hooks = [
        world.webhook(acme, &receiver, json!({ "ordering": "parallel" })).await,
        world.webhook(acme, &receiver, json!({ "ordering": "strict" })).await,
        world.webhook(acme, &receiver, json!({ "ordering": "per_aggregate" })).await,
    ];
    for hook in &hooks {
        world.done(&hook.path("/pause"), Value::Null).await;
    }
    for number in 0..450 {
        world.rename(acme, &format!("Acme {number}")).await;
    }
    eventually(LIMIT, async || {
        let mut pending = 0;
        for hook in &hooks {
            pending += world.pending(hook).await;
        }
        (pending == 3 * 450).then_some(())
    })
    .await;
    assert!(receiver.taken().is_empty(), "a paused webhook is sent nothing");
    for hook in &hooks {
        world.done(&hook.path("/resume"), Value::Null).await;
    }
    receiver.accepts(3 * 450).await;
    for hook in &hooks {
        eventually(LIMIT, async || (world.pending(hook).await == 0).then_some(())).await;
    }
    assert_eq!(receiver.taken().len(), 3 * 450, "nothing was sent twice");
}

#[tokio::test]
async fn a_rate_is_kept() {
    let world = World::start().await;
    let acme = world.tenant("acme").await;
    let receiver = Receiver::start().await;
    world.webhook(acme, &receiver, json!({ "rate_per_second": 20 })).await;
    for number in 0..30 {
        world.role(acme, &format!("shift-{number}")).await;
    }
    receiver.accepts(30).await;
    let seconds: Vec<_> = receiver.taken().iter().map(|taken| taken.at).collect();
    for window in seconds.windows(22) {
        assert!(
            window[21] - window[0] >= std::time::Duration::from_millis(50),
            "22 in no time are more than a burst of 20"
        );
    }
}
