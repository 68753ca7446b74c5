//! Events that cannot be taken in.

use hub_event_store::upcast::Upcasters;
use hub_projections::checkpoint;
use hub_projections::rebuild::RebuildError;
use hub_projections::rebuild::rebuild;
use hub_projections::status::State;
use hub_projections::status::parked_events;
use hub_tests::kit::eventually;

use super::{Hub, LENIENT, LIMIT, PROMPT, STOPPING, STRICT, letters};

#[tokio::test(flavor = "multi_thread")]
async fn a_poison_event_is_parked_with_its_stream_and_shown() {
    let hub = Hub::new().await;
    let projections = letters::<STRICT>();
    let running = hub.run(None, projections.clone(), PROMPT);
    hub.post(1, &["sent", "torn", "sent"]).await;
    hub.post(2, &["sent"]).await;
    let head = hub.post(1, &["sent"]).await;
    hub.reaches(&projections, head).await;
    assert_eq!(hub.boxes().await, [(1, "Ada".to_owned()), (1, "Ada".to_owned())]);
    let status = hub.status::<STRICT>().await;
    assert_eq!((status.state, status.parked, status.rows, status.lag), (State::Running, 3, 2, 0));
    let parked = parked_events(hub.pool(), "letters", 0, 10).await.unwrap();
    let shown: Vec<_> = parked.iter().map(|event| (event.position, event.error.as_str())).collect();
    let waits = "waits behind the event at position 2";
    assert_eq!(shown, [(2, "the letter is torn"), (3, waits), (5, waits)]);
    assert_eq!(hub.verify(&projections, "letters").await.differences, []);
    running.stop().await;

    // Somebody else goes on: the stream still waits.
    let running = hub.run(None, projections.clone(), PROMPT);
    let head = hub.post(1, &["sent"]).await;
    hub.reaches(&projections, head).await;
    assert_eq!(hub.status::<STRICT>().await.parked, 4);
    running.stop().await;

    // A fold that understands it, and everything is there.
    let lenient = letters::<LENIENT>();
    hub.rebuild(&lenient, "letters").await;
    assert_eq!(hub.boxes().await, [(5, "Ada".to_owned()), (1, "Ada".to_owned())]);
    assert_eq!(hub.status::<LENIENT>().await.parked, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_postgresql_refuses_is_traced_to_its_event() {
    let hub = Hub::new().await;
    let projections = letters::<STRICT>();
    hub.post(1, &["sent"; 30]).await;
    hub.post_to(2, &["sent"], "no \0 in texts").await;
    hub.post(3, &["sent"; 30]).await;
    hub.post_to(2, &["sent"], "nor \0 here").await;
    let head = hub.post(1, &["sent"]).await;
    let running = hub.run(None, projections.clone(), PROMPT);
    hub.reaches(&projections, head).await;
    assert_eq!(hub.boxes().await, [(31, "Ada".to_owned()), (30, "Ada".to_owned())]);
    let parked = parked_events(hub.pool(), "letters", 0, 10).await.unwrap();
    assert_eq!(parked.iter().map(|event| event.position).collect::<Vec<_>>(), [31, 62]);
    // Building it anew finds the same.
    hub.rebuild(&projections, "letters").await;
    assert_eq!(parked_events(hub.pool(), "letters", 0, 10).await.unwrap().len(), 2);
    assert_eq!(hub.boxes().await.len(), 2);
    assert_eq!(hub.verify(&projections, "letters").await.differences, []);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_projection_that_must_not_have_holes_stops_and_says_why() {
    let hub = Hub::new().await;
    let projections = letters::<STOPPING>();
    let running = hub.run(None, projections.clone(), PROMPT);
    hub.post(1, &["sent", "sent", "torn", "sent"]).await;
    hub.post(2, &["sent"]).await;
    eventually(LIMIT, async || (hub.status::<STOPPING>().await.state == State::Stopped).then_some(())).await;
    // A status is several questions; only now, when nothing moves, they are about one moment.
    let stopped = hub.status::<STOPPING>().await;
    assert_eq!((stopped.position, stopped.parked, stopped.rows), (2, 0, 1));
    assert_eq!(stopped.last_error.unwrap(), "the event at position 3 cannot be taken in: the letter is torn");
    // Set going again without a cure it stops again; a rebuild cannot hide the hole either.
    assert!(checkpoint::resume(hub.pool(), "letters").await.unwrap());
    eventually(LIMIT, async || (hub.status::<STOPPING>().await.state == State::Stopped).then_some(())).await;
    let refused = rebuild(hub.pool(), &Upcasters::default(), &projections, "letters", &|_, _| {}).await;
    assert!(matches!(refused, Err(RebuildError::Poison { position: 3, .. })), "{refused:?}");
    running.stop().await;

    let lenient = letters::<LENIENT>();
    assert!(checkpoint::resume(hub.pool(), "letters").await.unwrap());
    let running = hub.run(None, lenient.clone(), PROMPT);
    hub.reaches(&lenient, 5).await;
    assert_eq!(hub.boxes().await, [(4, "Ada".to_owned()), (1, "Ada".to_owned())]);
    running.stop().await;
}
