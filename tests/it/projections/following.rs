//! Following the log, whatever NATS does and whoever works.

use async_nats::jetstream;
use hub_event_store::event::Recorded;
use hub_event_store::partition::STREAM_NAME;
use hub_event_store::partition::SUBJECT_ROOT;
use hub_event_store::partition::subject_of;
use hub_projections::all;
use hub_projections::checkpoint;
use hub_tests::kit::Nats;
use hub_tests::kit::eventually;
use uuid::Uuid;

use super::{Hub, LIMIT, PROMPT, STRICT, history, letters};

#[tokio::test(flavor = "multi_thread")]
async fn every_read_model_follows_the_log_and_equals_its_fold() {
    let hub = Hub::new().await;
    let nats = Nats::start().await;
    let relay = hub.relay(nats.client().await);
    let projections = all();
    let running = hub.run(Some(nats.client().await), projections.clone(), PROMPT);
    let head = history(&hub.store, 5).await;
    hub.reaches(&projections, head).await;
    for projection in &projections {
        let verified = hub.verify(&projections, projection.name()).await;
        assert_eq!((verified.position, verified.differences), (head, vec![]), "{}", projection.name());
    }
    let count = |sql: &'static str| sqlx::query_scalar::<_, i64>(sql).fetch_one(hub.pool());
    assert_eq!(count("SELECT count(*) FROM tenants WHERE status = 'suspended'").await.unwrap(), 5);
    assert_eq!(count("SELECT count(*) FROM charges").await.unwrap(), 10);
    assert_eq!(count("SELECT sum(amount_minor)::bigint FROM charges").await.unwrap(), 5 * (2 + 5) * 900);
    assert_eq!(count("SELECT sum(net_minor)::bigint FROM mrr_movements").await.unwrap(), 5 * 5 * 900);
    assert_eq!(count("SELECT sum(count)::bigint FROM event_counts").await.unwrap(), head);
    assert_eq!(count("SELECT count(*) FROM audit_entries").await.unwrap(), head);
    let found =
        "SELECT count(*) FROM audit_entries WHERE search_words @@ plainto_tsquery('simple', 'ops@acme.example')";
    assert_eq!(count(found).await.unwrap(), 5);
    running.stop().await;
    relay.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_nats_everything_is_read_from_postgresql() {
    let hub = Hub::new().await;
    let mut nats = Nats::start().await;
    let relay = hub.relay(nats.client().await);
    let projections = letters::<STRICT>();
    let running = hub.run(Some(nats.client().await), projections.clone(), PROMPT);
    let head = hub.post(1, &["sent", "sent"]).await;
    hub.reaches(&projections, head).await;
    nats.stop().await;
    for _ in 0..20 {
        hub.post(2, &["sent"]).await;
    }
    let head = hub.post(1, &["sent"]).await;
    hub.reaches(&projections, head).await;
    nats.restart().await;
    let head = hub.post(2, &["sent"]).await;
    hub.reaches(&projections, head).await;
    assert_eq!(hub.boxes().await, [(3, "Ada".to_owned()), (21, "Ada".to_owned())]);
    running.stop().await;
    relay.stop().await;
}

/// A carrier in the hands of the test.
async fn carrier(nats: &Nats) -> jetstream::Context {
    let jetstream = jetstream::new(nats.client().await);
    let config = jetstream::stream::Config {
        name: STREAM_NAME.to_owned(),
        subjects: vec![format!("{SUBJECT_ROOT}.>")],
        ..Default::default()
    };
    jetstream.create_stream(config).await.unwrap();
    jetstream
}

async fn consumed(jetstream: &jetstream::Context) {
    eventually(LIMIT, async || {
        let mut stream = jetstream.get_stream(STREAM_NAME).await.unwrap();
        (stream.info().await.unwrap().state.consumer_count > 0).then_some(())
    })
    .await;
}

async fn publish(jetstream: &jetstream::Context, event: &Recorded) {
    let payload = serde_json::to_vec(event).unwrap().into();
    jetstream.publish(subject_of(event), payload).await.unwrap().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn lost_repeated_and_reordered_messages_change_nothing() {
    let hub = Hub::new().await;
    let nats = Nats::start().await;
    let jetstream = carrier(&nats).await;
    let projections = letters::<STRICT>();
    // Nothing but a message wakes this runner.
    let running = hub.run_blind(nats.client().await, projections.clone());
    consumed(&jetstream).await;
    hub.post(1, &["sent"; 10]).await;
    let log = hub.store.log().page(0, 100).await.unwrap();
    for place in [0, 0, 1] {
        publish(&jetstream, &log[place]).await;
    }
    hub.reaches(&projections, 2).await;
    // The third is lost: everything is read from PostgreSQL.
    publish(&jetstream, &log[3]).await;
    hub.reaches(&projections, 10).await;
    for place in [2, 9, 8, 7, 0] {
        publish(&jetstream, &log[place]).await;
    }
    jetstream.publish("hub.events.0.rubbish", "no event".into()).await.unwrap().await.unwrap();
    let head = hub.post(1, &["sent"]).await;
    publish(&jetstream, &hub.store.log().page(head - 1, 1).await.unwrap()[0]).await;
    hub.reaches(&projections, head).await;
    assert_eq!(hub.boxes().await, [(11, "Ada".to_owned())]);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_is_not_in_the_log_is_not_taken_in() {
    let hub = Hub::new().await;
    let nats = Nats::start().await;
    let jetstream = carrier(&nats).await;
    let projections = letters::<STRICT>();
    let running = hub.run_blind(nats.client().await, projections.clone());
    consumed(&jetstream).await;
    let head = hub.post(1, &["sent"; 2]).await;
    let log = hub.store.log().page(0, 100).await.unwrap();
    publish(&jetstream, &log[0]).await;
    hub.reaches(&projections, 1).await;
    // It comes at the right moment and looks right, and is of another log.
    let forged = Recorded { event_id: Uuid::now_v7(), ..log[1].clone() };
    publish(&jetstream, &forged).await;
    hub.reaches(&projections, head).await;
    // One that is ahead of the log moves nothing either, and the real one is taken in.
    publish(&jetstream, &Recorded { position: head + 1, sequence: head + 1, ..log[1].clone() }).await;
    let head = hub.post(1, &["sent"]).await;
    publish(&jetstream, &hub.store.log().page(head - 1, 1).await.unwrap()[0]).await;
    hub.reaches(&projections, head).await;
    assert_eq!(hub.boxes().await, [(3, "Ada".to_owned())]);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_projection_has_one_worker_and_another_takes_over() {
    let hub = Hub::new().await;
    let projections = all().into_iter().chain(letters::<STRICT>()).collect::<Vec<_>>();
    let one = hub.run(None, projections.clone(), PROMPT);
    let two = hub.run(None, projections.clone(), PROMPT);
    let writing = async {
        for _ in 0..30 {
            hub.post(1, &["sent", "sent"]).await;
        }
    };
    let crash = async {
        hub.reaches(&projections, 10).await;
        one.kill();
    };
    tokio::join!(writing, crash);
    hub.reaches(&projections, 60).await;
    assert_eq!(hub.boxes().await, [(60, "Ada".to_owned())]);
    for projection in &projections {
        assert_eq!(hub.verify(&projections, projection.name()).await.differences, [], "{}", projection.name());
    }
    two.stop().await;
    // Given back, not run out: the next one need not wait.
    let held: i64 = sqlx::query_scalar("SELECT count(*) FROM projection_checkpoints WHERE lease_owner IS NOT NULL")
        .fetch_one(hub.pool())
        .await
        .unwrap();
    assert_eq!(held, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_projection_holds_up_no_other() {
    let hub = Hub::new().await;
    let projections = all().into_iter().chain(letters::<STRICT>()).collect::<Vec<_>>();
    let mut blocking = hub.pool().begin().await.unwrap();
    sqlx::query("LOCK TABLE audit_entries IN EXCLUSIVE MODE").execute(&mut *blocking).await.unwrap();
    let running = hub.run(None, projections.clone(), PROMPT);
    let head = hub.post(1, &["sent"; 5]).await;
    let others: Vec<_> = projections.iter().filter(|p| p.name() != "audit_entries").cloned().collect();
    hub.reaches(&others, head).await;
    assert_eq!(checkpoint::position(hub.pool(), "audit_entries").await.unwrap(), 0);
    blocking.rollback().await.unwrap();
    hub.reaches(&projections, head).await;
    running.stop().await;
}
