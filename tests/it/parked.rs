//! Parked events are taken in after all, or left out for good by somebody who says why; nothing disappears silently.

use hub_event_store::upcast::Upcasters;
use hub_projections::{
    parked::repair::{RepairError, Retried, discard, discarded_events, retry},
    rebuild::rebuild,
    status::parked_events,
};
use uuid::Uuid;

use crate::parcels::{Depot, LENIENT, STRICT, parcels};

const TENANT_OF_NOBODY: Uuid = Uuid::from_u128(0xdead);

/// `position error` of what is parked.
async fn parked(depot: &Depot) -> Vec<(i64, String)> {
    let events = parked_events(depot.pool(), "parcels", 0, 100).await.unwrap();
    events.into_iter().map(|event| (event.position, event.error)).collect()
}

/// Customer 1 lost a parcel at position 2, customer 2 at 6; 3 and 4 wait.
async fn with_lost_parcels() -> Depot {
    let depot = Depot::new().await;
    let running = depot.run(&parcels::<STRICT>());
    depot.send(1, &[("sent", "a"), ("lost", "b"), ("sent", "c"), ("sent", "d")]).await;
    let head = depot.send(2, &[("sent", "e"), ("lost", "f")]).await;
    depot.reaches(head).await;
    running.stop().await;
    assert_eq!(depot.counts().await, [1, 1]);
    depot
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fold_that_understands_them_takes_parked_events_in() {
    let depot = with_lost_parcels().await;
    let lenient = parcels::<LENIENT>();
    let (pool, upcasters) = (depot.pool(), Upcasters::default());
    // A worker that knows what is parked runs meanwhile.
    let running = depot.run(&lenient);
    let head = depot.send(1, &[("sent", "waits")]).await;
    depot.reaches(head).await;
    let nobody = retry(pool, &upcasters, &lenient, "parcels", Some(TENANT_OF_NOBODY)).await.unwrap();
    assert_eq!(nobody, Retried { taken: 0, left: 0 });
    let one = retry(pool, &upcasters, &lenient, "parcels", Some(Uuid::from_u128(1))).await.unwrap();
    assert_eq!(one, Retried { taken: 4, left: 0 });
    assert_eq!((depot.counts().await, parked(&depot).await.len()), (vec![5, 1], 1));
    let all = retry(pool, &upcasters, &lenient, "parcels", None).await.unwrap();
    assert_eq!(all, Retried { taken: 1, left: 0 });
    // The worker notices that nothing waits any more.
    let head = depot.send(1, &[("sent", "at once")]).await;
    depot.reaches(head).await;
    assert_eq!((depot.counts().await, parked(&depot).await), (vec![6, 2], vec![]));
    assert_eq!(depot.differences(&lenient).await, []);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_still_cannot_be_taken_in_stays_parked_and_says_why() {
    let depot = with_lost_parcels().await;
    let strict = parcels::<STRICT>();
    sqlx::query("UPDATE parked_events SET error = 'an old one'").execute(depot.pool()).await.unwrap();
    let retried = retry(depot.pool(), &Upcasters::default(), &strict, "parcels", None).await.unwrap();
    assert_eq!(retried, Retried { taken: 0, left: 4 });
    let waits = "waits behind the event at position 2".to_owned();
    let lost = "the parcel is lost".to_owned();
    assert_eq!(parked(&depot).await, [(2, lost.clone()), (3, waits.clone()), (4, waits), (6, lost)]);
    assert_eq!(depot.counts().await, [1, 1]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_is_left_out_is_written_down_and_honoured_everywhere() {
    let depot = with_lost_parcels().await;
    let strict = parcels::<STRICT>();
    let pool = depot.pool();
    let running = depot.run(&strict);
    for (position, reason) in [(2, " "), (1, "not parked"), (99, "not there")] {
        let refused = discard(pool, &strict, "parcels", position, reason, "os:ada").await;
        assert!(matches!(refused, Err(RepairError::NoReason | RepairError::NotParked { .. })), "{refused:?}");
    }
    discard(pool, &strict, "parcels", 2, "the carrier paid for it", "os:ada").await.unwrap();
    assert_eq!(parked(&depot).await.iter().map(|(position, _)| *position).collect::<Vec<_>>(), [3, 4, 6]);
    let written = discarded_events(pool, "parcels", 0, 10).await.unwrap().remove(0);
    let (who, why, error) = (written.discarded_by.as_str(), written.reason.as_str(), written.error.as_str());
    assert_eq!((written.position, who, why, error), (2, "os:ada", "the carrier paid for it", "the parcel is lost"));

    let retried = retry(pool, &Upcasters::default(), &strict, "parcels", Some(Uuid::from_u128(1))).await.unwrap();
    assert_eq!(retried, Retried { taken: 2, left: 0 });
    let head = depot.send(1, &[("sent", "goes on")]).await;
    depot.reaches(head).await;
    assert_eq!(depot.counts().await, [4, 1]);
    let verified = depot.verify(&strict).await;
    assert_eq!((verified.parked, verified.discarded, verified.differences), (1, 1, vec![]));
    rebuild(pool, &Upcasters::default(), &strict, "parcels", &|_, _| {}).await.unwrap();
    let status = depot.status(&strict).await;
    assert_eq!((depot.counts().await, status.parked, status.discarded), (vec![4, 1], 1, 1));
    assert_eq!(depot.differences(&strict).await, []);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_postgresql_refuses_stops_only_its_own_stream() {
    let depot = Depot::new().await;
    let strict = parcels::<STRICT>();
    let running = depot.run(&strict);
    let head = depot.send(1, &[("sent", "a"), ("sent", "no \0 here")]).await;
    depot.reaches(head).await;
    let head = depot.send(2, &[("sent", "d")]).await;
    depot.reaches(head).await;
    let retried = retry(depot.pool(), &Upcasters::default(), &strict, "parcels", None).await.unwrap();
    assert_eq!(retried, Retried { taken: 0, left: 1 });
    assert!(parked(&depot).await[0].1.starts_with("the rows cannot be written"), "{:?}", parked(&depot).await);
    discard(depot.pool(), &strict, "parcels", 2, "unreadable", "os:ada").await.unwrap();
    let head = depot.send(1, &[("sent", "e")]).await;
    depot.reaches(head).await;
    assert_eq!((depot.counts().await, depot.differences(&strict).await), (vec![2, 1], vec![]));
    running.stop().await;
}
