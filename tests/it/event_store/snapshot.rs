//! States that are kept of long streams.

use std::time::Duration;

use cqrs_es::Aggregate;
use hub_event_store::repository::Repository;
use hub_tests::kit::{Database, eventually};
use sqlx::PgPool;
use uuid::Uuid;

use super::{
    TENANT,
    diary::{Diary, diaries, line, write},
    order, store, whole_log,
};

fn kept(pool: &PgPool, state_version: i32) -> Repository<Diary> {
    diaries(store(pool)).with_snapshots(state_version)
}

async fn fill(repository: &Repository<Diary>, id: Uuid, lines: u64) {
    for n in 0..lines {
        write(repository, id, &order(), line(&format!("line {n}"))).await.unwrap();
    }
}

async fn snapshot(pool: &PgPool, id: Uuid) -> Option<(i64, i32, String)> {
    sqlx::query_as("SELECT sequence, state_version, state::text FROM snapshots WHERE aggregate_id = $1")
        .bind(id)
        .fetch_optional(pool)
        .await
        .unwrap()
}

/// The snapshot at this sequence; its text.
async fn reached(pool: &PgPool, id: Uuid, sequence: i64) -> String {
    eventually(Duration::from_secs(20), async || snapshot(pool, id).await.filter(|found| found.0 == sequence)).await.2
}

async fn folded(pool: &PgPool, id: Uuid, lines: usize) -> Diary {
    let mut diary = Diary::default();
    for event in whole_log(pool).await.into_iter().filter(|event| event.aggregate_id == id).take(lines) {
        diary.apply(event.decode().unwrap());
    }
    diary
}

async fn change(pool: &PgPool, statement: &str) {
    assert_eq!(sqlx::query(statement).execute(pool).await.unwrap().rows_affected(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn snapshot_and_rest_are_the_fold_of_all() {
    let database = Database::new().await;
    let repository = kept(&database.pool, 1);
    for (n, lines) in [1_u64, 99, 100, 101, 200, 250].into_iter().enumerate() {
        let id = Uuid::from_u128(u128::try_from(n).unwrap() + 1);
        fill(&repository, id, lines).await;
        let mark = lines / 100 * 100;
        if mark > 0 {
            let text = reached(&database.pool, id, i64::try_from(mark).unwrap()).await;
            let at_mark = folded(&database.pool, id, usize::try_from(mark).unwrap()).await;
            assert_eq!(serde_json::from_str::<Diary>(&text).unwrap(), at_mark, "the snapshot of {lines}");
        } else {
            assert_eq!(snapshot(&database.pool, id).await, None);
        }
        let cold = kept(&database.pool, 1).load(TENANT, id).await.unwrap();
        assert_eq!(cold.sequence, i64::try_from(lines).unwrap());
        assert_eq!(cold.state, folded(&database.pool, id, usize::MAX).await, "{lines}");
        let warm = repository.load(TENANT, id).await.unwrap();
        assert_eq!(warm.state, cold.state);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_is_read_only_when_it_fits() {
    let database = Database::new().await;
    let (pool, id) = (&database.pool, Uuid::from_u128(5));
    fill(&kept(pool, 1), id, 120).await;
    reached(pool, id, 100).await;
    let right = folded(pool, id, usize::MAX).await;
    let cold = async |version| kept(pool, version).load(TENANT, id).await.unwrap().state.clone();

    // That it is read at all shows in what is changed in it.
    change(pool, "UPDATE snapshots SET state = '{\"lines\": 1000, \"digest\": 0}'").await;
    assert_eq!(cold(1).await.lines, 1_020);
    assert_eq!(cold(2).await, right, "of another version");
    // Version 2 has read more than a hundred events and keeps its own; version 1 does not overwrite it.
    eventually(Duration::from_secs(20), async || snapshot(pool, id).await.filter(|found| found.1 == 2)).await;
    assert_eq!(cold(1).await, right);
    assert_eq!(snapshot(pool, id).await.map(|found| (found.0, found.1)), Some((120, 2)));

    change(pool, "UPDATE snapshots SET state = '{\"pages\": 3}'").await;
    assert_eq!(cold(2).await, right, "of another shape");
    change(pool, "UPDATE snapshots SET state = '{\"lines\": 1000, \"digest\": 0}', sequence = 121").await;
    assert_eq!(cold(2).await, right, "beyond the stream's head");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_older_snapshot_never_replaces_a_newer_one() {
    let database = Database::new().await;
    let (pool, id) = (&database.pool, Uuid::from_u128(5));
    fill(&kept(pool, 1), id, 100).await;
    reached(pool, id, 100).await;
    change(pool, "UPDATE snapshots SET sequence = 500, state = '{\"lines\": 500, \"digest\": 7}'").await;
    fill(&kept(pool, 1), id, 100).await;
    // The second hundred is kept in the background if at all; another stream's snapshot shows that it has had its turn.
    let other = Uuid::from_u128(6);
    fill(&kept(pool, 1), other, 100).await;
    reached(pool, other, 100).await;
    assert_eq!(snapshot(pool, id).await.map(|found| found.0), Some(500));
}
