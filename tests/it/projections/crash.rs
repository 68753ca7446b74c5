//! PostgreSQL goes at once and comes back without the last read model commits, which did not wait for the disk.

use hub_projections::{checkpoint, positions::Positions};
use hub_tests::kit::{OwnPostgres, eventually};

use super::{Hub, LIMIT, PROMPT, STRICT, letters};

#[tokio::test(flavor = "multi_thread")]
async fn what_a_crash_takes_from_a_read_model_is_folded_again() {
    let mut postgres = OwnPostgres::start().await;
    // What did not wait for the disk stays in memory as long as possible.
    for statement in ["ALTER SYSTEM SET wal_writer_delay = '10s'", "SELECT pg_reload_conf()"] {
        sqlx::query(statement).execute(&postgres.pool).await.unwrap();
    }
    let hub = Hub::on(postgres.pool.clone()).await;
    let projections = letters::<STRICT>();
    let positions = Positions::default();
    let mut board = positions.follow("letters");
    let running = hub.run_telling(None, projections.clone(), PROMPT, &positions);
    let mut head = 0;
    for round in 1..=4 {
        head = hub.post(1, &["sent"; 3]).await;
        tokio::time::timeout(LIMIT, board.wait_for(|position| *position >= head)).await.unwrap().unwrap();
        postgres.stop().await;
        // Nobody who waits is told what may be lost.
        tokio::time::timeout(LIMIT, board.wait_for(|position| *position < head)).await.unwrap().unwrap();
        postgres.restart().await;
        tokio::time::timeout(LIMIT, board.wait_for(|position| *position >= head)).await.unwrap().unwrap();
        assert_eq!(checkpoint::position(hub.pool(), "letters").await.unwrap(), head);
        assert_eq!(hub.boxes().await, [(3 * round, "Ada".to_owned())]);
    }
    assert_eq!(head, 12);
    eventually(LIMIT, async || (hub.verify(&projections, "letters").await.position == head).then_some(())).await;
    assert_eq!(hub.verify(&projections, "letters").await.differences, []);
    running.stop().await;
}
