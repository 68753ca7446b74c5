//! Tables that are built anew, and compared with the log.

use hub_event_store::log::Log;
use hub_event_store::store::EventStore;
use hub_event_store::upcast::Upcasters;
use hub_projections::all;
use hub_projections::rebuild::RebuildError;
use hub_projections::rebuild::rebuild;
use hub_tests::kit::eventually;
use uuid::Uuid;

use super::{Hub, LENIENT, LIMIT, PROMPT, SECOND_VERSION, STRICT, history, letters};

#[tokio::test(flavor = "multi_thread")]
async fn a_rebuilt_table_equals_the_live_one_while_the_log_grows() {
    let hub = Hub::new().await;
    let projections = all();
    let running = hub.run(None, projections.clone(), PROMPT);
    history(&hub.store, 3).await;
    let growing = tokio::spawn({
        let store = hub.store.clone();
        async move { history_again(&store).await }
    });
    for projection in &projections {
        let rebuilt = hub.rebuild(&projections, projection.name()).await;
        assert!(rebuilt > 0);
        assert_eq!(hub.verify(&projections, projection.name()).await.differences, []);
    }
    let head = growing.await.unwrap();
    hub.reaches(&projections, head).await;
    for projection in &projections {
        let verified = hub.verify(&projections, projection.name()).await;
        assert_eq!((verified.position, verified.differences), (head, vec![]), "{}", projection.name());
    }
    running.stop().await;
}

/// More tenants, with slugs of their own.
async fn history_again(store: &EventStore) -> i64 {
    for _ in 0..5 {
        history(store, 2).await;
    }
    Log::new(store.pool().clone()).head().await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_version_is_built_beside_the_old_one() {
    let hub = Hub::new().await;
    let old = letters::<LENIENT>();
    let running = hub.run(None, old.clone(), PROMPT);
    let head = hub.post(1, &["sent", "sent"]).await;
    hub.reaches(&old, head).await;
    running.stop().await;
    assert_eq!(hub.boxes().await, [(2, "Ada".to_owned())]);
    let new = letters::<SECOND_VERSION>();
    let running = hub.run(None, new.clone(), PROMPT);
    let head = hub.post(1, &["sent"]).await;
    hub.reaches(&new, head).await;
    eventually(LIMIT, async || (hub.boxes().await == [(30, "Ada".to_owned())]).then_some(())).await;
    assert_eq!(hub.status::<SECOND_VERSION>().await.version, Some(2));
    running.stop().await;
    // The old program keeps its hands off, though it runs and others of its projections move.
    let others = all();
    let running = hub.run(None, old.iter().chain(&others).cloned().collect(), PROMPT);
    let head = hub.post(1, &["sent"]).await;
    hub.reaches(&others, head).await;
    let refused = rebuild(hub.pool(), &Upcasters::default(), &old, "letters", &|_, _| {}).await;
    assert!(matches!(refused, Err(RebuildError::Outdated { version: 2, .. })), "{refused:?}");
    assert_eq!(hub.boxes().await, [(30, "Ada".to_owned())]);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_the_log_does_not_lead_to_are_found() {
    let hub = Hub::new().await;
    let projections = letters::<STRICT>();
    let running = hub.run(None, projections.clone(), PROMPT);
    for letter_box in 1..=3 {
        hub.post(letter_box, &["sent"]).await;
    }
    let head = hub.post(4, &["sent", "burnt"]).await;
    hub.reaches(&projections, head).await;
    running.stop().await;
    assert_eq!(hub.verify(&projections, "letters").await.differences, []);
    let stranger =
        format!("INSERT INTO letters SELECT tenant_id, '{}', 1, 'Eve', now() FROM letters LIMIT 1", Uuid::max());
    for tampering in [
        "UPDATE letters SET last = 'Eve' WHERE id = (SELECT min(id::text)::uuid FROM letters)",
        "DELETE FROM letters WHERE id = (SELECT max(id::text)::uuid FROM letters)",
        &stranger,
    ] {
        sqlx::raw_sql(tampering).execute(hub.pool()).await.unwrap();
    }
    let mut differences = hub.verify(&projections, "letters").await.differences;
    differences.sort_by_key(|difference| difference.key["id"].to_string());
    let [changed, missing, extra] = &differences[..] else { panic!("{differences:?}") };
    assert_eq!(changed.found.as_ref().unwrap()["last"], "Eve");
    assert_eq!(changed.expected.as_ref().unwrap()["last"], "Ada");
    assert_eq!((missing.found.is_some(), missing.expected.is_some()), (false, true));
    assert_eq!((extra.found.is_some(), extra.expected.is_some()), (true, false));
    assert_eq!(extra.key["id"], Uuid::max().to_string());
    // A rebuild is the cure.
    hub.rebuild(&projections, "letters").await;
    assert_eq!(hub.verify(&projections, "letters").await.differences, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rebuilt_table_keeps_its_indexes_grants_and_row_security() {
    let hub = Hub::new().await;
    let projections = letters::<STRICT>();
    hub.post(1, &["sent"]).await;
    for statement in [
        "GRANT SELECT ON letters TO PUBLIC",
        "ALTER TABLE letters ENABLE ROW LEVEL SECURITY",
        "CREATE POLICY letters_of_tenant ON letters FOR SELECT USING (tenant_id IS NOT NULL)",
    ] {
        sqlx::query(statement).execute(hub.pool()).await.unwrap();
    }
    for _ in 0..2 {
        hub.rebuild(&projections, "letters").await;
        let names = "SELECT relname::text FROM pg_index JOIN pg_class ON oid = indexrelid \
                     WHERE indrelid = 'letters'::regclass ORDER BY relname";
        let indexes: Vec<String> = sqlx::query_scalar(names).fetch_all(hub.pool()).await.unwrap();
        assert_eq!(indexes, ["letters_by_last", "letters_pkey"]);
        let (secured, policies, granted): (bool, i64, bool) = sqlx::query_as(
            "SELECT relrowsecurity, (SELECT count(*) FROM pg_policies WHERE tablename = 'letters' AND qual LIKE '%tenant_id%'), \
             relacl::text LIKE '%=r/%' FROM pg_class WHERE oid = 'letters'::regclass",
        )
        .fetch_one(hub.pool())
        .await
        .unwrap();
        assert_eq!((secured, policies, granted), (true, 1, true));
        let shadows: i64 = sqlx::query_scalar("SELECT count(*) FROM pg_class WHERE relname LIKE 'letters%shadow%'")
            .fetch_one(hub.pool())
            .await
            .unwrap();
        assert_eq!(shadows, 0);
    }
    assert_eq!(hub.boxes().await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_rebuild_at_a_time() {
    let hub = Hub::new().await;
    let projections = letters::<STRICT>();
    hub.post(1, &["sent"]).await;
    let mut other = hub.pool().acquire().await.unwrap();
    sqlx::query("SELECT pg_advisory_lock(7236831, hashtext('letters'))").execute(&mut *other).await.unwrap();
    let refused = rebuild(hub.pool(), &Upcasters::default(), &projections, "letters", &|_, _| {}).await;
    assert!(matches!(refused, Err(RebuildError::Running("letters"))), "{refused:?}");
    drop(other.close().await);
    let unknown = rebuild(hub.pool(), &Upcasters::default(), &projections, "parcels", &|_, _| {}).await;
    assert!(matches!(unknown, Err(RebuildError::Unknown(_))), "{unknown:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn progress_ends_at_the_whole() {
    let hub = Hub::new().await;
    hub.post(1, &["sent"; 50]).await;
    let seen = std::sync::Mutex::new(Vec::new());
    let progress = |done, total| seen.lock().unwrap().push((done, total));
    rebuild(hub.pool(), &Upcasters::default(), &letters::<STRICT>(), "letters", &progress).await.unwrap();
    assert_eq!(seen.into_inner().unwrap().last(), Some(&(50, 50)));
}
