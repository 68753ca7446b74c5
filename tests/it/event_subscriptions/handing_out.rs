//! Handing out and acknowledging: every event once, again after its lease, and nothing lost.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::{Consuming, Handed, Process, ids, numbers, positions};

#[tokio::test]
async fn a_subscription_is_pulled_directly_after_it_was_created() {
    let process = Process::start().await;
    let letters = process.subscription("acme", json!({})).await;
    assert_eq!(letters.pull("a", 10).await, []);
    letters.letters(&[1, 2, 1]).await;
    let answer = letters.done("pull", json!({ "consumer": "a" })).await;
    let messages = answer["messages"].as_array().unwrap();
    assert_eq!(messages.len(), 3, "{answer}");
    let event = &messages[0]["event"];
    assert_eq!((&event["specversion"], &event["type"]), (&json!("1.0"), &json!("letter.sent")));
    assert_eq!(event["source"], json!(format!("urn:service-hub:tenant:{}", letters.tenant_id)));
    assert_eq!(event["data"], json!({ "place": 0 }));
    assert_eq!((&messages[0]["delivery"], &messages[0]["lease_until"]), (&json!(1), &json!("2026-01-01T12:01:00Z")));
    assert_eq!((&answer["epoch"], &answer["behind"]), (&json!(1), &json!(0)));
    let all: Vec<&Value> = messages.iter().map(|message| &message["ack_id"]).collect();
    let acknowledged = letters.done("acknowledge", json!({ "ack_ids": all })).await;
    assert_eq!(acknowledged, json!({ "acknowledged": 3, "refused": [] }));
    process.pass(3_600);
    assert_eq!(letters.pull("a", 10).await, []);
    // A second time is fine, and does nothing.
    let again = letters.done("acknowledge", json!({ "ack_ids": all })).await;
    assert_eq!(again, json!({ "acknowledged": 0, "refused": [] }));
    assert_eq!(letters.rows().await, 1, "only the cursor is left");
}

#[tokio::test]
async fn only_what_the_filter_wants_is_handed_out_from_where_it_begins() {
    let process = Process::start().await;
    let tenant_id = process.tenant("acme").await;
    process.letters(tenant_id, &[1, 2]).await;
    process.append(tenant_id, "parcel", 3, json!({})).await;
    let head = process.letters(tenant_id, &[4]).await;
    let pulled = async |name: &str, settings: Value| {
        let letters = process.subscribe(tenant_id, name, settings).await;
        numbers(&letters.pull("a", 10).await)
    };
    assert_eq!(pulled("earliest", json!({ "start": "earliest" })).await, [1, 2, 4]);
    assert_eq!(pulled("latest", json!({ "start": "latest" })).await, []);
    assert_eq!(pulled("position", json!({ "start": { "position": head - 1 } })).await, [4]);
    assert_eq!(pulled("past", json!({ "start": { "time": "2026-01-01T11:00:00Z" } })).await, [1, 2, 4]);
    assert_eq!(pulled("present", json!({ "start": { "time": "2026-01-01T12:00:00.000001Z" } })).await, []);
    let subject = json!({ "start": "earliest", "filter": { "subjects": ["parcel/*"] } });
    assert_eq!(pulled("subject", subject).await, [3]);
    let sql = json!({ "start": "earliest", "filter": { "filters": [{ "sql": "type LIKE '%.sent' AND type NOT LIKE 'letter.%'" }] } });
    assert_eq!(pulled("sql", sql).await, [3]);
    let ahead = json!({ "name": "ahead", "start": { "position": 10_000 } });
    let answer = process.post(&format!("/v1/tenants/{tenant_id}/event-subscriptions"), ahead).await;
    answer.refused(422, "event_subscription_position_ahead");
}

#[tokio::test]
async fn one_answer_hands_out_some_megabytes_at_most() {
    let process = Process::start().await;
    let letters = process.subscription("acme", json!({ "lease_seconds": 5 })).await;
    let large = json!({ "text": "x".repeat(300 << 10) });
    for number in 0..32 {
        process.append(letters.tenant_id, "letter", number, large.clone()).await;
    }
    let first = letters.pull("a", 500).await;
    assert!((10..20).contains(&first.len()), "{} events of 300 KiB", first.len());
    let second = letters.pull("a", 500).await;
    assert!(!second.is_empty());
    // The same holds for what is handed out again.
    process.pass(5);
    let mut seen = Vec::new();
    while seen.len() < 32 {
        let handed = letters.pull("a", 500).await;
        assert!((1..20).contains(&handed.len()), "{}", handed.len());
        letters.acknowledge(&handed).await;
        seen.extend(positions(&handed));
    }
    assert!(seen.is_sorted() && positions(&first).iter().eq(&seen[..first.len()]), "{seen:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn pulls_that_wait_for_one_another_leave_connections_for_the_others() {
    let process = Process::start().await;
    let letters = process.subscription("acme", json!({})).await;
    let other = process.subscription("globex", json!({})).await;
    letters.letters(&[1]).await;
    // Somebody has the subscription for himself, and more than there are connections want it.
    let mut held = process.database.pool.begin().await.unwrap();
    letters.pull("a", 1).await;
    sqlx::query("SELECT FROM event_subscription_cursors FOR UPDATE").execute(&mut *held).await.unwrap();
    let pulls: Vec<_> = (0..40).map(|_| letters.pull("a", 1)).collect();
    let release = async {
        other.letters(&[2]).await;
        assert_eq!(numbers(&other.pull("a", 1).await), [2]);
        held.rollback().await.unwrap();
    };
    tokio::join!(futures::future::join_all(pulls), release);
}

#[tokio::test]
async fn a_changed_filter_holds_for_what_is_looked_at_from_then_on() {
    let process = Process::start().await;
    let letters = process.subscription("acme", json!({})).await;
    letters.letters(&[1]).await;
    assert_eq!(numbers(&letters.pull("a", 10).await), [1]);
    letters.done("update", json!({ "filter": { "types": ["parcel.*"] }, "lease_seconds": 5 })).await;
    letters.letters(&[2]).await;
    process.append(letters.tenant_id, "parcel", 3, json!({})).await;
    let handed = letters.pull("a", 10).await;
    assert_eq!(numbers(&handed), [3]);
    process.pass(5);
    assert_eq!(positions(&letters.pull("b", 10).await), positions(&handed));
}

#[tokio::test(flavor = "multi_thread")]
async fn every_event_is_handed_once_to_competing_consumers_that_acknowledge() {
    let process = Process::start().await;
    let letters = process.subscription("acme", json!({})).await;
    let boxes: Vec<u128> = (0..120).map(|place| place % 17).collect();
    letters.letters(&boxes).await;
    let other = process.beside();
    let consume = async |letters: Consuming<'_>, name: &str| {
        let mut had = Vec::new();
        loop {
            let handed = letters.pull(name, 7).await;
            if handed.is_empty() && letters.get("lag").await["done_position"] == letters.get("lag").await["head"] {
                return had;
            }
            if !handed.is_empty() {
                letters.acknowledge(&handed).await;
            }
            had.extend(handed);
        }
    };
    let (first, second) = tokio::join!(consume(letters, "a"), consume(letters.at(&other), "b"));
    let all: Vec<&Handed> = first.iter().chain(&second).collect();
    let distinct: BTreeSet<i64> = all.iter().map(|one| one.position).collect();
    assert_eq!((all.len(), distinct.len()), (120, 120));
    assert!(all.iter().all(|one| one.delivery == 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn two_processes_that_pull_at_once_never_hand_out_the_same_event() {
    let process = Process::start().await;
    let letters = process.subscription("acme", json!({})).await;
    let boxes: Vec<u128> = (0..90).collect();
    letters.letters(&boxes).await;
    let other = process.beside();
    let mut pulls = Vec::new();
    for number in 0..20 {
        let at = if number % 2 == 0 { letters } else { letters.at(&other) };
        pulls.push(at.pull("same", 6));
    }
    let mut seen = Vec::new();
    // Polled together in one task, so they are under way at the same time.
    for handed in futures::future::join_all(pulls).await {
        seen.extend(positions(&handed));
    }
    let distinct: BTreeSet<i64> = seen.iter().copied().collect();
    assert_eq!((seen.len(), distinct.len()), (90, 90));
}

#[tokio::test]
async fn what_a_consumer_leaves_when_it_dies_is_handed_out_again_after_the_lease() {
    let process = Process::start().await;
    let letters = process.subscription("acme", json!({ "lease_seconds": 30 })).await;
    letters.letters(&[1, 2]).await;
    let first = letters.pull("a", 10).await;
    assert_eq!(letters.pull("b", 10).await, []);
    process.pass(29);
    assert_eq!(letters.pull("b", 10).await, []);
    process.pass(1);
    let second = letters.pull("b", 10).await;
    assert_eq!((positions(&second), second[0].delivery), (positions(&first), 2));
    // The first consumer is too late; nothing is acknowledged that the second one has.
    let late = letters.acknowledge(&first).await;
    assert_eq!((&late["acknowledged"], &late["refused"][0]["reason"]), (&json!(0), &json!("lease_over")));
    assert_eq!(letters.acknowledge(&second).await["acknowledged"], 2);
}

#[tokio::test]
async fn a_late_acknowledgement_counts_as_long_as_nobody_else_has_the_event() {
    let process = Process::start().await;
    let letters = process.subscription("acme", json!({ "lease_seconds": 30 })).await;
    letters.letters(&[1]).await;
    let handed = letters.pull("a", 10).await;
    process.pass(3_000);
    assert_eq!(letters.acknowledge(&handed).await["acknowledged"], 1);
    assert_eq!(letters.pull("b", 10).await, []);
}

#[tokio::test]
async fn a_process_that_ends_between_pull_and_acknowledgement_loses_nothing() {
    let process = Process::start().await;
    let letters = process.subscription("acme", json!({})).await;
    letters.letters(&[1, 2, 3]).await;
    let survivor = process.beside();
    let before = {
        let ending = process.beside();
        letters.at(&ending).pull("a", 2).await
    };
    assert_eq!(numbers(&letters.at(&survivor).pull("b", 10).await), [3]);
    process.pass(60);
    let after = letters.at(&survivor).pull("c", 10).await;
    assert_eq!((numbers(&after), &positions(&after)[..2]), (vec![1, 2, 3], &positions(&before)[..]));
}

#[tokio::test]
async fn everything_up_to_a_position_is_acknowledged() {
    let process = Process::start().await;
    let letters = process.subscription("acme", json!({})).await;
    letters.letters(&[1, 2, 3, 4]).await;
    let mine = letters.pull("a", 2).await;
    let yours = letters.pull("b", 2).await;
    let up_to = yours[0].position;
    let answer = letters.done("acknowledge", json!({ "up_to": up_to, "consumer": "a", "epoch": 1 })).await;
    assert_eq!(answer, json!({ "acknowledged": 2, "refused": [] }));
    assert_eq!(letters.done("acknowledge", json!({ "up_to": up_to })).await["acknowledged"], 1);
    process.pass(60);
    assert_eq!(positions(&letters.pull("a", 10).await), [yours[1].position]);
    letters.post("acknowledge", json!({ "up_to": 1, "epoch": 2 })).await.refused(409, "event_subscription_reset");
    for wrong in [json!({}), json!({ "up_to": 1, "ack_ids": ids(&mine) }), json!({ "ack_ids": ids(&mine), "epoch": 1 })]
    {
        letters.post("acknowledge", wrong).await.refused(422, "invalid_body");
    }
}

#[tokio::test]
async fn a_lease_is_extended_by_whoever_has_it() {
    let process = Process::start().await;
    let letters = process.subscription("acme", json!({ "lease_seconds": 30 })).await;
    letters.letters(&[1, 2]).await;
    let handed = letters.pull("a", 10).await;
    process.pass(20);
    let answer = letters.done("extend", json!({ "ack_ids": ids(&handed[..1]), "seconds": 60 })).await;
    assert_eq!(answer, json!({ "extended": 1, "lease_until": "2026-01-01T12:01:20Z", "refused": [] }));
    process.pass(59);
    let second = letters.pull("b", 10).await;
    assert_eq!(numbers(&second), [2]);
    let refused = letters.done("extend", json!({ "ack_ids": ids(&handed), "seconds": 5 })).await;
    assert_eq!((&refused["extended"], &refused["refused"][0]["reason"]), (&json!(1), &json!("lease_over")));
    letters.acknowledge(&second).await;
    let done = letters.done("extend", json!({ "ack_ids": ids(&second), "seconds": 5 })).await;
    assert_eq!(done["refused"][0]["reason"], "done");
}

#[tokio::test]
async fn a_reset_begins_again_and_refuses_what_was_handed_out_before() {
    let process = Process::start().await;
    let letters = process.subscription("acme", json!({})).await;
    let head = letters.letters(&[1, 2, 3]).await;
    let before = letters.pull("a", 10).await;
    letters.acknowledge(&before[..1]).await;
    let answer = letters.done("reset", json!({ "to": { "position": head - 3 } })).await;
    assert_eq!(answer, json!({ "position": head - 3, "epoch": 2 }));
    // Also before anybody has pulled again, and after it.
    for _ in 0..2 {
        let late = letters.acknowledge(&before).await;
        assert_eq!((&late["acknowledged"], late["refused"].as_array().unwrap().len()), (&json!(0), 3), "{late}");
        assert_eq!(late["refused"][0]["reason"], "reset");
        if letters.get("lag").await["in_flight"] == 0 {
            let again = letters.pull("a", 10).await;
            assert_eq!((numbers(&again), again[0].delivery), (vec![1, 2, 3], 1));
        }
    }
    for (to, expected) in [
        (json!("latest"), vec![]),
        (json!("earliest"), vec![1, 2, 3]),
        (json!({ "time": "2026-01-01T12:00:00.000001Z" }), vec![]),
        (json!({ "time": "2026-01-01T12:00:00Z" }), vec![1, 2, 3]),
    ] {
        letters.done("reset", json!({ "to": to })).await;
        assert_eq!(numbers(&letters.pull("a", 10).await), expected, "{to}");
    }
    let ahead = letters.post("reset", json!({ "to": { "position": head + 1 } })).await;
    ahead.refused(422, "event_subscription_position_ahead");
}

#[tokio::test]
async fn the_lag_tells_how_far_the_consumers_are() {
    let process = Process::start().await;
    let letters = process.subscription("acme", json!({ "lease_seconds": 30 })).await;
    let lag = letters.get("lag").await;
    let start = lag["position"].as_i64().unwrap();
    assert_eq!((&lag["behind"], &lag["in_flight"], &lag["holder"]), (&json!(1), &json!(0), &Value::Null));
    let head = letters.letters(&[1, 1, 2, 3]).await;
    process.pass(10);
    let handed = letters.pull("a", 3).await;
    let lag = letters.get("lag").await;
    assert_eq!(
        lag,
        json!({
            "position": head - 1, "done_position": start + 1, "head": head, "behind": 1, "in_flight": 3, "waiting": 0,
            "parked": 0, "skipped": 0, "oldest_unacknowledged_seconds": 10, "holder": null, "epoch": 1,
        })
    );
    letters.acknowledge(&handed[..2]).await;
    letters.done("reject", json!({ "ack_ids": ids(&handed[2..]) })).await;
    let lag = letters.get("lag").await;
    assert_eq!((&lag["in_flight"], &lag["waiting"], &lag["done_position"]), (&json!(0), &json!(1), &json!(head - 2)));
    process.pass(10);
    let handed = letters.pull("a", 10).await;
    letters.acknowledge(&handed).await;
    let lag = letters.get("lag").await;
    assert_eq!((&lag["behind"], &lag["oldest_unacknowledged_seconds"]), (&json!(0), &Value::Null));
}

#[tokio::test]
async fn a_rare_event_is_found_far_down_the_log() {
    let process = Process::start().await;
    let tenant_id = process.tenant("acme").await;
    // As if a long log had been imported; only its positions matter here.
    sqlx::raw_sql(&format!(
        "INSERT INTO events SELECT 100000 + n, h.position + n, gen_random_uuid(), h.tenant_id, gen_random_uuid(), 1, now(), 1, 'parcel', \
           'parcel.sent', '{{}}', '{{}}', '\\x00' FROM tenant_heads h, generate_series(1, 30000) n WHERE h.tenant_id = '{tenant_id}'; \
         UPDATE tenant_heads SET position = position + 30000 WHERE tenant_id = '{tenant_id}'; \
         UPDATE log_head SET position = 200000"
    ))
    .execute(&process.database.pool)
    .await
    .unwrap();
    process.letters(tenant_id, &[1]).await;
    // Without a hint the events themselves are looked at.
    let sql = json!({ "filters": [{ "suffix": { "subject": "0001" } }, { "sql": "type LIKE 'letter.%'" }] });
    for (name, filter) in [("hinted", json!({ "types": ["letter.*"] })), ("sql", sql)] {
        let letters = process.subscribe(tenant_id, name, json!({ "start": "earliest", "filter": filter })).await;
        let mut pulls = 1;
        let handed = loop {
            let handed = letters.pull("a", 10).await;
            if !handed.is_empty() {
                break handed;
            }
            pulls += 1;
            assert!(pulls < 20, "each pull gets further");
        };
        assert_eq!(numbers(&handed), [1], "{name}");
    }
}

#[tokio::test]
async fn what_is_outstanding_is_bounded_and_goes_on_when_it_is_done() {
    let process = Process::start().await;
    let letters = process.subscription("acme", json!({ "start": "earliest" })).await;
    sqlx::raw_sql(&format!(
        "INSERT INTO events SELECT 100000 + n, h.position + n, gen_random_uuid(), h.tenant_id, \
           '00000000-0000-0000-0000-000000000001', n, now(), 1, 'letter', 'letter.sent', '{{}}', '{{}}', '\\x00' \
           FROM tenant_heads h, generate_series(1, 1600) n WHERE h.tenant_id = '{0}'; \
         UPDATE tenant_heads SET position = position + 1600 WHERE tenant_id = '{0}'",
        letters.tenant_id
    ))
    .execute(&process.database.pool)
    .await
    .unwrap();
    let first = letters.pull("a", 500).await;
    assert_eq!(first.len(), 500);
    // All of one aggregate, so nobody is handed any; but they are remembered, up to the bound.
    for _ in 0..3 {
        assert_eq!(letters.pull("b", 500).await, []);
    }
    let lag = letters.get("lag").await;
    assert_eq!((&lag["in_flight"], &lag["waiting"], &lag["behind"]), (&json!(500), &json!(500), &json!(600)));
    letters.acknowledge(&first).await;
    let mut seen = positions(&first);
    loop {
        let handed = letters.pull("b", 500).await;
        if handed.is_empty() {
            break;
        }
        letters.acknowledge(&handed).await;
        seen.extend(positions(&handed));
    }
    assert_eq!(seen.len(), 1_600);
    assert!(seen.is_sorted(), "in the order of the aggregate");
}
