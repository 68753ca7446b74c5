//! How many streams there may be at once, and what ends one.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use hub_http::{Allowed, Asked, Caller, Gate, Granting, Presented, Problem, Resources, access::BoxFuture};
use hub_read_api::StreamSettings;
use hub_tests::kit::eventually;
use serde_json::json;
use uuid::Uuid;

use super::{Client, LIMIT, SILENT, SILENT_FOR_MANY, uri};
use crate::read_api::{ACME, Api, OTHER, Who, build_behind, created, keys, read_only, send, subscription};

#[tokio::test]
async fn there_is_room_for_so_many_streams_and_it_is_given_back() {
    let api = Api::without_projections(2).await;
    api.register(ACME, "acme").await;
    let one = api.stream("", &[]).await;
    let _two = api.stream("", &[]).await;
    let full = api.ask(Who::Acme, &uri(), &[]).await;
    full.refused(503, "overloaded");
    drop(one);
    eventually(LIMIT, async || (api.send(Who::Acme, &uri(), &[]).await.status() == 200).then_some(())).await;
}

#[tokio::test]
async fn one_tenant_cannot_take_the_room_of_all() {
    let api = Api::with_streams(10, StreamSettings { of_tenant_max: 2, ..SILENT }).await;
    api.register(ACME, "acme").await;
    api.register(OTHER, "other").await;
    let _held = [api.stream("", &[]).await, api.stream("", &[]).await];
    api.ask(Who::Acme, &uri(), &[]).await.refused(503, "overloaded");
    api.ask(Who::Platform, &uri(), &[]).await.refused(503, "overloaded");
    let other = api.send(Who::Other, &format!("/v1/tenants/{OTHER}/events/stream"), &[]).await;
    assert_eq!(other.status(), 200);
}

/// Counts how often it is asked for a decision.
struct Counting {
    gate: Arc<dyn Gate>,
    asked: Arc<AtomicUsize>,
}

impl Gate for Counting {
    fn authenticate<'a>(&'a self, presented: Presented<'a>) -> BoxFuture<'a, Result<Caller, Problem>> {
        self.gate.authenticate(presented)
    }

    fn recognise(&self, presented: Presented<'_>) -> Option<Caller> {
        self.gate.recognise(presented)
    }

    fn authorize<'a>(
        &'a self,
        caller: &'a Caller,
        asked: Asked,
        resources: &'a dyn Resources,
    ) -> BoxFuture<'a, Result<Allowed, Problem>> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        self.gate.authorize(caller, asked, resources)
    }

    fn may_grant<'a>(
        &'a self,
        caller: &'a Caller,
        tenant_id: Uuid,
        granting: &'a Granting,
    ) -> BoxFuture<'a, Result<(), Problem>> {
        self.gate.may_grant(caller, tenant_id, granting)
    }

    fn decided_up_to(&self) -> i64 {
        self.gate.decided_up_to()
    }
}

#[tokio::test]
async fn a_right_is_asked_about_once_however_many_streams_rest_on_it() {
    let api = Api::without_projections(20).await;
    api.register(ACME, "acme").await;
    let asked = Arc::new(AtomicUsize::new(0));
    let gate = Arc::new(Counting { gate: keys(), asked: asked.clone() });
    let (tail, positions) = (api.store.tail().clone(), api.positions.clone());
    let pool = read_only(&api.database.url, LIMIT).await;
    let (router, _) = build_behind(gate, pool, tail, positions, 20, api.shutdown.clone(), SILENT_FOR_MANY);
    let mut streams = Vec::new();
    for _ in 0..16 {
        streams.push(Client::new(send(&router, Who::Acme, &uri(), &[]).await));
    }
    let (before, began) = (asked.load(Ordering::SeqCst), Instant::now());
    eventually(LIMIT, async || (asked.load(Ordering::SeqCst) >= before + 6).then_some(())).await;
    assert!(began.elapsed() > Duration::from_secs(2), "six questions after {:?}", began.elapsed());
    // When nobody follows any more, nobody is asked.
    drop(streams);
    eventually(LIMIT, async || {
        let before = asked.load(Ordering::SeqCst);
        tokio::time::sleep(Duration::from_millis(1_200)).await;
        (asked.load(Ordering::SeqCst) == before).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_stream_ends_when_the_process_stops() {
    let api = Api::without_projections(10).await;
    api.register(ACME, "acme").await;
    let mut client = api.stream("?after=0", &[]).await;
    assert_eq!(client.event().await.id, Some(1));
    api.shutdown.cancel();
    assert_eq!(client.end().await, "shutdown");
}

#[tokio::test]
async fn a_stream_ends_after_its_time_and_says_where_to_go_on() {
    let api = Api::with_streams(10, StreamSettings { life_max: Duration::from_millis(500), ..SILENT }).await;
    api.register(ACME, "acme").await;
    let mut client = api.stream("?after=0", &[]).await;
    let mut last = 0;
    let end = loop {
        let frame = client.frame().await.expect("the reason comes last");
        if frame.is("end") {
            break frame;
        }
        last = frame.id.unwrap_or(last);
    };
    assert_eq!(end.data, Some(json!({"reason": "too_long", "position": last})));
    assert_eq!(client.frame().await, None);
}

#[tokio::test]
async fn a_client_that_takes_nothing_is_ended_and_holds_no_place() {
    let patience = Duration::from_millis(200);
    let api = Api::with_streams(1, StreamSettings { patience, ..SILENT }).await;
    api.register(ACME, "acme").await;
    for id in 0..500 {
        api.append(subscription(ACME, id), &[created("mail", "EUR")]).await;
    }
    let mut slow = api.stream("?after=0", &[]).await;
    // It has not read a byte, and its place goes to somebody else all the same.
    let other = eventually(LIMIT, async || {
        let response = api.send(Who::Acme, &uri(), &[]).await;
        (response.status() == 200).then_some(response)
    });
    drop(other.await);
    let mut seen = 0;
    let end = loop {
        let frame = slow.frame().await.expect("the reason comes last");
        if frame.is("end") {
            break frame;
        }
        seen = frame.id.unwrap_or(seen);
    };
    assert_eq!(end.data, Some(json!({"reason": "too_slow", "position": seen})));
    assert!(seen <= 200, "only what was made ready before: {seen}");
    assert_eq!(slow.frame().await, None);
    // Whoever comes back with the last id misses nothing.
    drop(slow);
    let back = eventually(LIMIT, async || {
        let response = api.send(Who::Acme, &uri(), &[("last-event-id", &seen.to_string())]).await;
        (response.status() == 200).then(|| Client::new(response))
    });
    assert_eq!(back.await.event().await.id, Some(seen + 1));
}
