//! Subscriptions.

use chrono::TimeDelta;
use serde_json::{Value, json};

use super::Api;

fn plan(code: &str, minor: i64, currency: &str) -> Value {
    let price = json!({ "minor": minor, "currency": currency });
    json!({ "code": code, "name": "Mail", "tier": "basic", "price": price, "interval": "month" })
}

#[tokio::test]
async fn a_subscription_goes_through_every_stage() {
    let api = Api::start().await;
    let acme = api.tenant("acme").await;
    let (id, path) =
        acme.make("subscriptions", json!({ "plan": plan("mail", 500, "EUR"), "seats": 3, "trial_days": 14 })).await;
    let path = |verb: &str| format!("{path}/{verb}");
    api.refused(&path("pause"), Value::Null, "subscription_trialing").await;
    api.refused(&path("end-trial"), Value::Null, "subscription_trial_not_over").await;
    api.done(&path("activate"), Value::Null).await;
    api.nothing(&path("activate"), Value::Null).await;
    api.nothing(&path("end-trial"), Value::Null).await;
    api.done(&path("change-plan"), json!({ "plan": plan("mail-plus", 900, "EUR"), "timing": "immediate" })).await;
    api.refused(
        &path("change-plan"),
        json!({ "plan": plan("mail", 900, "USD"), "timing": "immediate" }),
        "subscription_currency_mismatch",
    )
    .await;
    api.done(&path("change-seats"), json!({ "seats": 5 })).await;
    api.refused(&path("change-seats"), json!({ "seats": 0 }), "subscription_seats_out_of_range").await;
    api.done(&path("pause"), Value::Null).await;
    api.done(&path("resume"), Value::Null).await;
    api.done(&path("mark-past-due"), Value::Null).await;
    api.done(&path("mark-paid"), Value::Null).await;
    api.done(&path("cancel"), json!({ "timing": "period_end", "reason": "too dear" })).await;
    api.done(&path("undo-cancel"), Value::Null).await;
    api.refused(&path("undo-cancel"), Value::Null, "subscription_no_cancellation_scheduled").await;
    api.refused(&path("open-next-period"), Value::Null, "subscription_period_not_due").await;
    api.clock.advance(TimeDelta::days(32));
    api.done(&path("open-next-period"), Value::Null).await;
    api.done(&path("cancel"), json!({ "timing": "immediate", "reason": "" })).await;
    api.refused(&path("resume"), Value::Null, "subscription_cancelled").await;
    let events = api.events(id).await;
    assert_eq!(events.iter().filter(|event| *event == "subscription.period_opened").count(), 2);
    assert_eq!(events.last().map(String::as_str), Some("subscription.cancelled"));
}

#[tokio::test]
async fn a_trial_ends_at_its_time() {
    let api = Api::start().await;
    let acme = api.tenant("acme").await;
    let body = json!({ "plan": plan("mail", 500, "EUR"), "seats": 1, "trial_days": 14 });
    let (id, path) = acme.make("subscriptions", body).await;
    api.clock.advance(TimeDelta::days(14));
    api.done(&format!("{path}/end-trial"), Value::Null).await;
    assert!(api.events(id).await.contains(&"subscription.trial_ended".to_owned()));
}

#[tokio::test]
async fn a_subscription_starts_when_it_says_or_now() {
    let api = Api::start().await;
    let acme = api.tenant("acme").await;
    for (starts_at, kept) in [
        (Value::Null, "2026-01-01T12:00:00Z"),
        (json!("2025-01-31T00:00:00.1234567+01:00"), "2025-01-30T23:00:00.123456Z"),
    ] {
        let body = json!({ "plan": plan("mail", 500, "EUR"), "seats": 1, "starts_at": starts_at });
        let (id, _) = acme.make("subscriptions", body).await;
        let starts_at: String =
            sqlx::query_scalar("SELECT payload->>'starts_at' FROM events WHERE aggregate_id = $1 AND sequence = 1")
                .bind(id)
                .fetch_one(&api.pool)
                .await
                .unwrap();
        assert_eq!(starts_at, kept);
    }
}

#[tokio::test]
async fn what_is_no_plan_no_time_and_no_number_is_pointed_at() {
    let api = Api::start().await;
    let acme = api.tenant("acme").await;
    let good = json!({ "plan": plan("mail", 500, "EUR"), "seats": 1 });
    let mut cases = vec![];
    for (pointer, value) in [
        ("/plan/code", json!("Not a key")),
        ("/plan/price/currency", json!("XYZW")),
        ("/plan/price/minor", json!(1.5)),
        ("/plan/interval", json!("week")),
        ("/plan/color", json!("red")),
        ("/seats", json!(-1)),
        ("/trial_days", json!("14")),
        ("/starts_at", json!("tomorrow")),
    ] {
        let mut body = good.clone();
        let (parent, field) = pointer.rsplit_once('/').unwrap();
        body.pointer_mut(parent).unwrap()[field] = value;
        cases.push((pointer, body));
    }
    let before = api.head().await;
    for (pointer, body) in cases {
        let answer = api.post(&acme.path("subscriptions"), body).await;
        answer.assert_code("invalid_body");
        assert_eq!(answer.body["errors"][0]["pointer"], pointer);
    }
    for (field, value, code) in [
        ("seats", json!(0), "subscription_seats_out_of_range"),
        ("trial_days", json!(366), "subscription_trial_days_out_of_range"),
        ("plan", plan("mail", -1, "EUR"), "subscription_amount_out_of_range"),
        ("starts_at", json!("1999-12-31T23:59:59Z"), "subscription_start_out_of_range"),
    ] {
        let mut body = good.clone();
        body[field] = value;
        api.post(&acme.path("subscriptions"), body).await.assert_code(code);
    }
    assert_eq!(api.head().await, before);
}

#[tokio::test]
async fn what_is_due_is_done_before_a_change_in_a_process_that_has_not_heard_that_it_is() {
    let api = Api::start().await;
    let acme = api.tenant("acme").await;
    let (id, path) = acme.make("subscriptions", json!({ "plan": plan("mail", 500, "EUR"), "seats": 3 })).await;
    // Nothing is due here for as long as it is paused, and another process resumes it.
    api.done(&format!("{path}/pause"), Value::Null).await;
    api.beside().done(&format!("{path}/resume"), Value::Null).await;
    api.clock.advance(TimeDelta::days(32));
    let changed = api.post(&format!("{path}/change-seats"), json!({ "seats": 5 })).await;
    assert_eq!(changed.status, 200, "{changed:?}");
    let events = api.events(id).await;
    let last: Vec<_> = events.iter().rev().take(2).collect();
    assert_eq!(last, ["subscription.seats_changed", "subscription.period_opened"], "{events:?}");
}
