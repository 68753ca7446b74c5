//! What happens to subscriptions when its time comes: periods, trials, changes of plan, cancellations.

use serde_json::{Value, json};

use super::{Platform, at, days, plan};

#[tokio::test(flavor = "multi_thread")]
async fn periods_open_at_the_ends_of_months_each_once() {
    let platform = Platform::new("2026-01-31T12:00:00Z").await;
    let process = platform.start();
    let acme = process.tenant("acme").await;
    let (id, _) = process.subscription(&acme, plan("mail", 500, "month"), 0).await;
    let expected = [
        ("2026-01-31", "2026-02-28"),
        ("2026-02-28", "2026-03-31"),
        ("2026-03-31", "2026-04-30"),
        ("2026-04-30", "2026-05-31"),
    ];
    for (opened, (_, ends)) in (1..).zip(&expected[..3]) {
        // A moment before nothing happens, and nothing is left to happen.
        platform.reach(&format!("{ends}T11:59:59Z")).await;
        assert_eq!(platform.periods(id).await, days(&expected[..opened]));
        platform.reach(&format!("{ends}T12:00:00Z")).await;
        assert_eq!(platform.periods(id).await, days(&expected[..=opened]));
    }
    let opened = platform.events_of(id, "subscription.period_opened").await;
    assert!(opened[1..].iter().all(|event| event.actor == "process:scheduler"), "{opened:?}");
    process.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trial_ends_at_its_time_and_the_first_period_opens() {
    let platform = Platform::new("2026-01-17T08:00:00Z").await;
    let process = platform.start();
    let acme = process.tenant("acme").await;
    let (id, _) = process.subscription(&acme, plan("mail", 500, "month"), 14).await;
    platform.reach("2026-01-31T07:59:59Z").await;
    assert_eq!(platform.events_of(id, "subscription.trial_ended").await.len(), 0);
    // Noticed late, and still on time.
    platform.reach("2026-02-03T00:00:00Z").await;
    let ended = platform.events_of(id, "subscription.trial_ended").await;
    assert_eq!(ended.len(), 1);
    assert_eq!((ended[0].time("ended_at"), &ended[0].payload["early"]), (at("2026-01-31T08:00:00Z"), &json!(false)));
    assert_eq!(platform.events_of(id, "subscription.activated").await.len(), 1);
    assert_eq!(platform.periods(id).await, days(&[("2026-01-31", "2026-02-28")]));
    process.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scheduled_change_of_plan_comes_with_the_next_period() {
    let platform = Platform::new("2026-01-15T00:00:00Z").await;
    let process = platform.start();
    let acme = process.tenant("acme").await;
    let (id, path) = process.subscription(&acme, plan("mail", 500, "month"), 0).await;
    let change = json!({ "plan": plan("mail-plus", 900, "month"), "timing": "period_end" });
    process.post(&format!("{path}/change-plan"), change).await;
    platform.reach("2026-02-14T23:59:59Z").await;
    assert_eq!(platform.events_of(id, "subscription.plan_changed").await.len(), 0);
    platform.reach("2026-02-15T00:00:00Z").await;
    let changed = platform.events_of(id, "subscription.plan_changed").await;
    assert_eq!(changed.len(), 1);
    assert_eq!(
        (&changed[0].payload["to"]["code"], &changed[0].payload["scheduled"]),
        (&json!("mail-plus"), &json!(true))
    );
    let opened = platform.events_of(id, "subscription.period_opened").await;
    let amounts: Vec<_> = opened.iter().map(|event| event.payload["amount"]["minor"].clone()).collect();
    assert_eq!(amounts, [1_000, 1_800]);
    process.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scheduled_cancellation_comes_instead_of_the_next_period() {
    let platform = Platform::new("2026-01-15T00:00:00Z").await;
    let process = platform.start();
    let acme = process.tenant("acme").await;
    let (ends, ends_path) = process.subscription(&acme, plan("mail", 500, "month"), 0).await;
    let (stays, stays_path) = process.subscription(&acme, plan("mail", 500, "month"), 0).await;
    let (tried, tried_path) = process.subscription(&acme, plan("mail", 500, "month"), 31).await;
    for path in [&ends_path, &stays_path, &tried_path] {
        process.post(&format!("{path}/cancel"), json!({ "timing": "period_end", "reason": "too dear" })).await;
    }
    process.post(&format!("{stays_path}/undo-cancel"), Value::Null).await;
    platform.reach("2026-02-14T23:59:59Z").await;
    assert_eq!(platform.events_of(ends, "subscription.cancelled").await.len(), 0);
    platform.reach("2026-04-01T00:00:00Z").await;
    for (id, periods) in [(ends, 1), (tried, 0)] {
        let cancelled = platform.events_of(id, "subscription.cancelled").await;
        assert_eq!(cancelled.len(), 1);
        assert_eq!(cancelled[0].time("cancelled_at"), at("2026-02-15T00:00:00Z"));
        assert_eq!(cancelled[0].payload["scheduled"], true);
        assert_eq!(platform.periods(id).await.len(), periods);
    }
    assert_eq!(platform.events_of(stays, "subscription.cancelled").await.len(), 0);
    assert_eq!(platform.periods(stays).await.len(), 3);
    process.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_jump_of_the_clock_leaves_no_period_out() {
    let platform = Platform::new("2027-12-31T10:00:00Z").await;
    let process = platform.start();
    let acme = process.tenant("acme").await;
    let (monthly, _) = process.subscription(&acme, plan("mail", 500, "month"), 0).await;
    let (yearly, _) = process.subscription(&acme, plan("backup", 9_000, "year"), 0).await;
    let (tried, _) = process.subscription(&acme, plan("hosting", 700, "month"), 31).await;
    platform.reach("2029-01-31T10:00:00Z").await;
    let monthly = platform.periods(monthly).await;
    assert_eq!(monthly.len(), 14);
    let starts: Vec<_> = monthly.iter().map(|(start, _)| start.as_str()).collect();
    // A leap year, and each month's own last day.
    let expected = [
        "2027-12-31",
        "2028-01-31",
        "2028-02-29",
        "2028-03-31",
        "2028-04-30",
        "2028-05-31",
        "2028-06-30",
        "2028-07-31",
        "2028-08-31",
        "2028-09-30",
        "2028-10-31",
        "2028-11-30",
        "2028-12-31",
        "2029-01-31",
    ];
    assert_eq!(starts, expected);
    assert_eq!(platform.periods(yearly).await, days(&[("2027-12-31", "2028-12-31"), ("2028-12-31", "2029-12-31")]));
    assert_eq!(platform.periods(tried).await.len(), 13);
    process.stop().await;
}
