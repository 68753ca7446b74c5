//! Sealed within 256 events, however long the sealer would wait otherwise.

use std::time::Duration;

use hub_event_store::tail::Tail;
use hub_seal::{Sealer, Signer, sealer::Pace};
use hub_tests::kit::{Database, TestClock, directory, eventually};
use tokio_util::sync::CancellationToken;

use super::{LIMIT, Office, TENANT, key};

#[tokio::test]
async fn a_turn_is_taken_when_256_events_wait_although_its_time_has_not_come() {
    let mut office = Office { database: Database::new().await, desk: directory(), sealer: None };
    office.write(0..1, "Ada").await;
    let (end, tail, pool) = (CancellationToken::new(), Tail::default(), office.database.pool.clone());
    let hour = Duration::from_secs(3_600);
    let pace = Pace { rest: hour, interval: hour, ..Pace::default() };
    let sealer =
        Sealer::new(pool.clone(), tail.clone(), Signer::new(vec![key(1)]).unwrap(), TestClock::default().clock());
    tokio::spawn({
        let end = end.clone();
        async move { tail.run(pool, end).await }
    });
    tokio::spawn(sealer.with_pace(pace).run(end.clone()));
    office.sealer = Some(end.drop_guard());
    // Its first turn takes whatever there is.
    office.sealed(1).await;
    office.write(1..255, "Ada").await;
    let query = "SELECT size FROM sealed_trees WHERE tenant_id = $1";
    let size: i64 = sqlx::query_scalar(query).bind(TENANT).fetch_one(&office.database.pool).await.unwrap();
    assert_eq!(size, 1, "254 wait for their time");
    office.write(255..257, "Ada").await;
    eventually(LIMIT, async || {
        let size: i64 = sqlx::query_scalar(query).bind(TENANT).fetch_one(&office.database.pool).await.unwrap();
        (size >= 256).then_some(())
    })
    .await;
}
