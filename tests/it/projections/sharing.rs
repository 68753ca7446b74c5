//! Workers of several processes share the partitions of a projection, whoever comes, goes or dies.

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use hub_event_store::partition::{PARTITION_COUNT, partition_of};
use hub_projections::{all, checkpoint, positions::Positions, runner::Settings};
use hub_tests::kit::eventually;
use uuid::Uuid;

use super::{Hub, LIMIT, PROMPT, STRICT, letters};

/// As many tenants as there are partitions, and some more.
const TENANTS: u128 = 24;

/// Nobody waits long for anybody, and nobody who is slow counts as dead.
const SHARING: Settings = Settings { lease: Duration::from_secs(4), ..PROMPT };

/// How many partitions each worker holds, the most first; what nobody holds is not counted.
async fn held(hub: &Hub) -> Vec<usize> {
    let shares: Vec<(Option<Uuid>, Vec<i16>)> = sqlx::query_as(
        "SELECT CASE WHEN lease_until > now() THEN lease_owner END, partitions FROM projection_checkpoints \
         WHERE projection = 'letters' ORDER BY share",
    )
    .fetch_all(hub.pool())
    .await
    .unwrap();
    if shares.is_empty() {
        return Vec::new(); // It has never run.
    }
    let mut numbers: Vec<i16> = shares.iter().flat_map(|(_, partitions)| partitions).copied().collect();
    numbers.sort_unstable();
    assert_eq!(numbers, (0..16).collect::<Vec<i16>>(), "each partition is in one share: {shares:?}");
    let mut by_worker: BTreeMap<Uuid, usize> = BTreeMap::new();
    for (worker, partitions) in shares {
        if let Some(worker) = worker {
            *by_worker.entry(worker).or_default() += partitions.len();
        }
    }
    let mut held: Vec<_> = by_worker.into_values().collect();
    held.sort_unstable_by(|one, two| two.cmp(one));
    held
}

async fn until_held(hub: &Hub, expected: impl Fn(&[usize]) -> bool) {
    eventually(LIMIT, async || expected(&held(hub).await).then_some(())).await;
}

/// Posts letters of all tenants until it is told to stop; answers how many went into each box.
async fn postmen(hub: &Hub, enough: &AtomicBool) -> i64 {
    let mut rounds = 0;
    while !enough.load(Ordering::SeqCst) {
        for tenant in 1..=TENANTS {
            hub.post_as(Uuid::from_u128(tenant), 1, &["sent"], "Ada").await;
        }
        rounds += 1;
    }
    rounds
}

#[test]
fn the_tenants_of_these_tests_are_spread_over_many_partitions() {
    let partitions: std::collections::BTreeSet<_> =
        (1..=TENANTS).map(|tenant| partition_of(Uuid::from_u128(tenant))).collect();
    assert!(partitions.len() > PARTITION_COUNT / 2, "{partitions:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn workers_that_come_go_and_die_share_the_partitions_and_lose_or_double_nothing() {
    let hub = Hub::new().await;
    let projections = letters::<STRICT>();
    let enough = AtomicBool::new(false);
    let sharing = async {
        let one = hub.run(None, projections.clone(), SHARING);
        until_held(&hub, |held| held == [16]).await;
        let two = hub.run(None, projections.clone(), SHARING);
        until_held(&hub, |held| held == [8, 8]).await;
        let three = hub.run(None, projections.clone(), SHARING);
        until_held(&hub, |held| held.len() == 3 && held.iter().sum::<usize>() == 16 && held[0] <= 6).await;
        // It gives nothing back.
        one.kill();
        until_held(&hub, |held| held == [8, 8]).await;
        // It does.
        two.stop().await;
        until_held(&hub, |held| held == [16]).await;
        enough.store(true, Ordering::SeqCst);
        three
    };
    let (rounds, three) = tokio::join!(postmen(&hub, &enough), sharing);
    let head = hub.store.log().head().await.unwrap();
    hub.reaches(&projections, head).await;
    assert!(rounds > 0);
    assert_eq!(hub.boxes().await, vec![(rounds, "Ada".to_owned()); usize::try_from(TENANTS).unwrap()]);
    assert_eq!(hub.verify(&projections, "letters").await.differences, []);
    three.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn shares_that_stand_apart_are_compared_each_at_its_own_position_and_joined_by_a_rebuild() {
    let hub = Hub::new().await;
    let projections = letters::<STRICT>();
    let running = hub.run(None, projections.clone(), SHARING);
    for tenant in 1..=TENANTS {
        hub.post_as(Uuid::from_u128(tenant), 1, &["sent"], "Ada").await;
    }
    hub.reaches(&projections, hub.store.log().head().await.unwrap()).await;
    running.stop().await;
    let half = "INSERT INTO projection_checkpoints (projection, share, partitions, version, position, epoch, status, updated_at) \
                SELECT projection, 8, '{8,9,10,11,12,13,14,15}', version, 0, epoch + 1, status, now() FROM projection_checkpoints \
                WHERE projection = 'letters'";
    let other =
        "UPDATE projection_checkpoints SET partitions = '{0,1,2,3,4,5,6,7}' WHERE projection = 'letters' AND share = 0";
    for statement in [half, other] {
        sqlx::query(statement).execute(hub.pool()).await.unwrap();
    }
    // The upper half has rows that its position does not speak of: that is found.
    assert_eq!(checkpoint::position(hub.pool(), "letters").await.unwrap(), 0);
    let upper = (1..=TENANTS).filter(|tenant| partition_of(Uuid::from_u128(*tenant)) >= 8).count();
    assert_eq!(hub.verify(&projections, "letters").await.differences.len(), upper);
    hub.rebuild(&projections, "letters").await;
    assert_eq!(held(&hub).await, [0; 0]);
    assert_eq!(hub.verify(&projections, "letters").await.differences, []);
    let running = hub.run(None, projections.clone(), SHARING);
    until_held(&hub, |held| held == [16]).await;
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_lost_its_share_moves_nothing() {
    let hub = Hub::new().await;
    let projections = letters::<STRICT>();
    let running = hub.run(None, projections.clone(), SHARING);
    let head = hub.post(1, &["sent"]).await;
    hub.reaches(&projections, head).await;
    // Somebody else holds it for a while.
    let taken = "UPDATE projection_checkpoints SET epoch = epoch + 1, lease_owner = gen_random_uuid(), \
                 lease_until = now() + interval '1 hour' WHERE projection = 'letters'";
    sqlx::query(taken).execute(hub.pool()).await.unwrap();
    let next = hub.post(1, &["sent"]).await;
    // The worker has tried, and been counted as one that holds nothing.
    let waits = "SELECT count(*) FROM projection_workers w WHERE projection = 'letters' AND NOT EXISTS \
                 (SELECT FROM projection_checkpoints c WHERE c.lease_owner = w.worker_id)";
    eventually(LIMIT, async || {
        let waiting: i64 = sqlx::query_scalar(waits).fetch_one(hub.pool()).await.unwrap();
        (waiting == 1 && hub.store.tail().head() >= next).then_some(())
    })
    .await;
    assert_eq!(checkpoint::position(hub.pool(), "letters").await.unwrap(), head);
    assert_eq!(hub.boxes().await, [(1, "Ada".to_owned())]);
    let gone = "UPDATE projection_checkpoints SET lease_until = now() WHERE projection = 'letters'";
    sqlx::query(gone).execute(hub.pool()).await.unwrap();
    hub.reaches(&projections, next).await;
    assert_eq!(hub.boxes().await, [(2, "Ada".to_owned())]);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn events_that_concern_nobody_move_the_board_and_the_checkpoint_too() {
    let hub = Hub::new().await;
    let tenants: Vec<_> = all().into_iter().filter(|projection| projection.name() == "tenants").collect();
    let positions = Positions::default();
    let mut board = positions.follow("tenants");
    let running = hub.run_telling(None, tenants.clone(), SHARING, &positions);
    let head = hub.post(1, &["sent"; 3]).await;
    tokio::time::timeout(LIMIT, board.wait_for(|position| *position >= head)).await.unwrap().unwrap();
    hub.reaches(&tenants, head).await;
    running.stop().await;
}
