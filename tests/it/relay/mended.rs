//! Streams that were lost, purged or cut short are filled again, each event once and in order.

use async_nats::jetstream;
use hub_event_store::relay::Relay;
use hub_tests::kit::eventually;
use uuid::Uuid;

use super::{LIMIT, Office, assert_whole, published, published_up_to};

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_got_lost_is_made_again_before_anything_happens() {
    let mut office = Office::open_now().await;
    let working = office.work().await;
    let head = office.post(5).await;
    office.cursor_reaches(head).await;
    office.nats.lose_everything().await;
    // It is noticed, and the lock is left to a relay that may have a better connection.
    eventually(LIMIT, async || office.leader().await.is_none().then_some(())).await;
    office.nats.restart().await;
    // Everything is there again, though nothing was appended.
    let client = office.nats.client().await;
    assert_whole(&published_up_to(&client, head).await, 1..=head);
    let after = office.post(1).await;
    assert_whole(&published_up_to(&client, after).await, 1..=after);
    working.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_killed_in_the_middle_of_its_work_leaves_what_the_next_continues() {
    let office = Office::open().await;
    let head = office.post(2_000).await;
    for sequence in [1, 1_000, 2_500, 4_000] {
        let killed = office.work().await;
        office.stream_reaches(sequence).await;
        killed.task.abort();
        assert!(killed.task.await.unwrap_err().is_cancelled());
    }
    let working = office.work().await;
    assert_whole(&published_up_to(&office.nats.client().await, head).await, 1..=head);
    office.cursor_reaches(head).await;
    working.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_relays_that_both_believe_to_lead_never_interleave() {
    let office = Office::open().await;
    let head = office.post(1_500).await;
    let relays = [office.relay().await, office.relay().await, office.relay().await];
    let leading = async |relay: &Relay| loop {
        // Not `run`, which waits between two attempts: the lock is taken the moment that another has lost it.
        drop(relay.lead().await);
        tokio::task::yield_now().await;
    };
    let taking_locks_away = async {
        for _ in 0..6 {
            let leader = eventually(LIMIT, async || office.leader().await).await;
            sqlx::query("SELECT pg_terminate_backend($1)").bind(leader).execute(office.pool()).await.unwrap();
            eventually(LIMIT, async || (office.leader().await != Some(leader)).then_some(())).await;
        }
        published_up_to(&office.nats.client().await, head).await
    };
    let published = tokio::select! {
        published = taking_locks_away => published,
        () = leading(&relays[0]) => unreachable!("it leads for ever"),
        () = leading(&relays[1]) => unreachable!("it leads for ever"),
        () = leading(&relays[2]) => unreachable!("it leads for ever"),
    };
    assert_whole(&published, 1..=head);
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_of_somebody_else_in_between_make_no_gap() {
    let office = Office::open().await;
    let head = office.post(2_000).await;
    let working = office.work().await;
    office.stream_reaches(1).await;
    let stranger = office.nats.client().await;
    let jetstream = jetstream::new(stranger.clone());
    for number in 0..20_u64 {
        // Some with a name, some without.
        let mut headers = async_nats::HeaderMap::new();
        if number % 2 == 0 {
            headers.insert("Nats-Msg-Id", Uuid::now_v7().to_string());
        }
        let stray = jetstream.publish_with_headers("hub.events.0.rubbish", headers, "no event".into());
        let sequence = stray.await.unwrap().await.unwrap().sequence;
        let all = u64::try_from(head).unwrap() + number + 1;
        office.stream_reaches(all.min(sequence + 100)).await;
    }
    office.cursor_reaches(head).await;
    assert_whole(&published(&stranger).await, 1..=head);
    // Also when the stranger has the last word.
    jetstream.publish("hub.events.0.rubbish", "no event".into()).await.unwrap().await.unwrap();
    let head = office.post(10).await;
    assert_whole(&published_up_to(&stranger, head).await, 1..=head);
    working.stop().await;
    jetstream.publish("hub.events.0.rubbish", "no event".into()).await.unwrap().await.unwrap();
    let head = office.post(10).await;
    let working = office.work().await;
    assert_whole(&published_up_to(&stranger, head).await, 1..=head);
    working.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_purged_at_any_time_is_filled_again() {
    let office = Office::open_now().await;
    let client = office.nats.client().await;
    let jetstream = jetstream::new(client.clone());
    let working = office.work().await;
    let head = office.post(200).await;
    office.cursor_reaches(head).await;
    // While it leads and nothing happens; the server still remembers the names of what it no longer has.
    jetstream.get_stream("HUB_EVENTS").await.unwrap().purge().await.unwrap();
    assert_whole(&published_up_to(&client, head).await, 1..=head);
    working.stop().await;
    // While nobody leads.
    jetstream.get_stream("HUB_EVENTS").await.unwrap().purge().await.unwrap();
    let head = office.post(200).await;
    let working = office.work().await;
    assert_whole(&published_up_to(&client, head).await, 1..=head);
    working.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_has_lost_its_end_gets_it_back() {
    let office = Office::open().await;
    let client = office.nats.client().await;
    let working = office.work().await;
    let head = office.post(20).await;
    office.cursor_reaches(head).await;
    working.stop().await;
    let stream = office.jetstream().await.get_stream("HUB_EVENTS").await.unwrap();
    for sequence in 41..=60 {
        assert!(stream.delete_message(sequence).await.unwrap());
    }
    let working = office.work().await;
    assert_whole(&published_up_to(&client, head).await, 1..=head);
    let head = office.post(1).await;
    assert_whole(&published_up_to(&client, head).await, 1..=head);
    working.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_deleted_while_it_is_filled_is_made_and_filled_again() {
    let office = Office::open_now().await;
    let head = office.post(2_000).await;
    let working = office.work().await;
    office.stream_reaches(500).await;
    assert!(office.jetstream().await.delete_stream("HUB_EVENTS").await.unwrap().success);
    let client = office.nats.client().await;
    assert_whole(&published_up_to(&client, head).await, 1..=head);
    // And while nothing happens.
    office.jetstream().await.delete_stream("HUB_EVENTS").await.unwrap();
    assert_whole(&published_up_to(&client, head).await, 1..=head);
    working.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_restarted_while_messages_are_on_their_way_gets_each_once() {
    let mut office = Office::open().await;
    let head = office.post(1_500).await;
    let working = office.work().await;
    for sequence in [500, 2_500] {
        office.stream_reaches(sequence).await;
        office.nats.restart().await;
    }
    assert_whole(&published_up_to(&office.nats.client().await, head).await, 1..=head);
    working.stop().await;
}
