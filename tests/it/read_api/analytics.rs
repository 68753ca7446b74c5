//! Numbers, for the platform and for one tenant.

use chrono::{DateTime, Utc};
use serde_json::{Value, json};
use uuid::Uuid;

use super::{ACME, Api, OTHER, Who, activated, created, instance, money, mrr, registered, subscription, tenant};

fn at(text: &str) -> DateTime<Utc> {
    text.parse().unwrap()
}

/// Revenue that comes, grows, shrinks, goes and comes back, on known days.
async fn revenue() -> Api {
    let api = Api::start().await;
    api.clock.set(at("2026-01-10T12:00:00Z"));
    api.register(ACME, "acme").await;
    api.register(OTHER, "other").await;
    api.append(subscription(ACME, 1), &[created("mail", "EUR"), activated(3_000, "EUR")]).await;
    api.append(subscription(ACME, 2), &[created("mail", "USD"), activated(500, "USD")]).await;
    api.clock.set(at("2026-01-11T23:59:59Z"));
    api.append(subscription(OTHER, 3), &[created("mail", "EUR"), activated(1_000, "EUR")]).await;
    api.clock.set(at("2026-01-13T00:00:00Z"));
    let seats = |from: u32, to: u32, before: i64, after: i64, movement: &str| {
        let recurring = money(after, "EUR");
        (
            "seats_changed",
            json!({"from": from, "to": to, "recurring": recurring, "mrr": mrr(before, after, "EUR", movement)}),
        )
    };
    api.append(
        subscription(ACME, 1),
        &[seats(3, 5, 3_000, 5_000, "expansion"), seats(5, 4, 5_000, 4_000, "contraction")],
    )
    .await;
    let paused = json!({
        "paused_at": "2026-01-13T00:00:00Z", "paid_until_at": "2026-02-01T00:00:00Z", "recurring": money(1_000, "EUR"),
        "mrr": mrr(1_000, 0, "EUR", "churn"), "next_due_at": null,
    });
    api.append(subscription(OTHER, 3), &[("paused", paused)]).await;
    api.clock.set(at("2026-01-14T08:00:00Z"));
    let resumed = json!({
        "resumed_at": "2026-01-14T08:00:00Z", "recurring": money(1_000, "EUR"), "mrr": mrr(0, 1_000, "EUR", "reactivation"),
        "next_due_at": null,
    });
    api.append(subscription(OTHER, 3), &[("resumed", resumed)]).await;
    api
}

/// Day of the month, revenue at its end, and the five movements.
fn lines(items: &[Value]) -> Vec<(String, [i64; 6])> {
    let members =
        ["mrr_minor", "new_minor", "expansion_minor", "contraction_minor", "churn_minor", "reactivation_minor"];
    let line = |item: &Value| {
        let moved = item["new_minor"].as_i64().unwrap() + item["expansion_minor"].as_i64().unwrap()
            - item["contraction_minor"].as_i64().unwrap()
            - item["churn_minor"].as_i64().unwrap()
            + item["reactivation_minor"].as_i64().unwrap();
        assert_eq!(item["net_minor"], moved);
        let day = &item["day"].as_str().unwrap()[8..];
        (format!("{} {day}", item["currency"].as_str().unwrap()), members.map(|member| item[member].as_i64().unwrap()))
    };
    items.iter().map(line).collect()
}

fn line(day: &str, numbers: [i64; 6]) -> (String, [i64; 6]) {
    (day.to_owned(), numbers)
}

#[tokio::test]
async fn revenue_is_summed_from_the_beginning_and_told_for_every_day() {
    let api = revenue().await;
    let uri = "/v1/analytics/revenue?from=2026-01-11&to=2026-01-15";
    let expected = [
        line("EUR 11", [4_000, 1_000, 0, 0, 0, 0]),
        line("EUR 12", [4_000, 0, 0, 0, 0, 0]),
        line("EUR 13", [4_000, 0, 2_000, 1_000, 1_000, 0]),
        line("EUR 14", [5_000, 0, 0, 0, 0, 1_000]),
        line("EUR 15", [5_000, 0, 0, 0, 0, 0]),
        line("USD 11", [500, 0, 0, 0, 0, 0]),
        line("USD 12", [500, 0, 0, 0, 0, 0]),
        line("USD 13", [500, 0, 0, 0, 0, 0]),
        line("USD 14", [500, 0, 0, 0, 0, 0]),
        line("USD 15", [500, 0, 0, 0, 0, 0]),
    ];
    for limit in [3, 10, 500] {
        assert_eq!(lines(&api.walk(Who::Platform, uri, limit).await), expected, "limit {limit}");
    }
    assert_eq!(lines(&api.walk(Who::Platform, &format!("{uri}&currency=EUR"), 4).await), expected[..5]);
    // Before anything moved there is nothing to tell.
    assert_eq!(lines(&api.walk(Who::Platform, "/v1/analytics/revenue?from=2026-01-01&to=2026-01-09", 4).await), []);
    let first = api.walk(Who::Platform, "/v1/analytics/revenue?from=2026-01-09&to=2026-01-10&currency=EUR", 4).await;
    assert_eq!(lines(&first), [line("EUR 09", [0; 6]), line("EUR 10", [3_000, 3_000, 0, 0, 0, 0])]);
}

#[tokio::test]
async fn the_tenants_revenues_add_up_to_the_platforms() {
    let api = revenue().await;
    let range = "from=2026-01-10&to=2026-01-15&currency=EUR";
    let of = async |tenant_id: Uuid| {
        lines(&api.walk(Who::Platform, &format!("/v1/tenants/{tenant_id}/analytics/revenue?{range}"), 50).await)
    };
    let (acme, other) = (of(ACME).await, of(OTHER).await);
    let all = lines(&api.walk(Who::Platform, &format!("/v1/analytics/revenue?{range}"), 50).await);
    let own = lines(&api.walk(Who::Acme, &format!("/v1/tenants/{ACME}/analytics/revenue?{range}"), 50).await);
    assert_eq!(own, acme);
    // The subscription of the other tenant comes a day later, and so do its days.
    assert_eq!((all.len(), acme.len(), other.len()), (6, 6, 6));
    for ((all, acme), other) in all.iter().zip(&acme).zip(&other) {
        for place in 0..6 {
            assert_eq!(all.1[place], acme.1[place] + other.1[place], "{}", all.0);
        }
    }
}

#[tokio::test]
async fn a_range_has_two_ends_in_order_and_a_bound() {
    let api = Api::start().await;
    api.register(ACME, "acme").await;
    for path in ["/v1/analytics/revenue", "/v1/analytics/events", &format!("/v1/tenants/{ACME}/analytics/events")] {
        for bad in
            ["", "from=2026-01-01", "from=2026-01-02&to=2026-01-01", "from=2025-01-01&to=2026-06-01", "from=x&to=y"]
        {
            api.get(Who::Platform, &format!("{path}?{bad}")).await.refused(400, "invalid_query");
        }
        api.get(Who::Platform, &format!("{path}?from=2025-01-01&to=2026-02-04")).await.ok();
        // Before the calendar of PostgreSQL begins.
        api.get(Who::Platform, &format!("{path}?from=-9999-01-01&to=-9999-01-02")).await.refused(400, "invalid_query");
    }
}

#[tokio::test]
async fn events_are_counted_by_day_and_type() {
    let api = revenue().await;
    let count = async |who: Who, uri: &str| -> Vec<(String, i64)> {
        let items = api.walk(who, uri, 2).await;
        let line = |item: &Value| {
            let (day, event_type) = (&item["day"].as_str().unwrap()[8..], item["event_type"].as_str().unwrap());
            (format!("{day} {event_type}"), item["count"].as_i64().unwrap())
        };
        items.iter().map(line).collect()
    };
    let counted =
        |lines: &[(&str, i64)]| lines.iter().map(|(line, count)| ((*line).to_owned(), *count)).collect::<Vec<_>>();
    let range = "from=2026-01-10&to=2026-01-13";
    let all = counted(&[
        ("10 subscription.activated", 2),
        ("10 subscription.created", 2),
        ("10 tenant.registered", 2),
        ("11 subscription.activated", 1),
        ("11 subscription.created", 1),
        ("13 subscription.paused", 1),
        ("13 subscription.seats_changed", 2),
    ]);
    assert_eq!(count(Who::Platform, &format!("/v1/analytics/events?{range}")).await, all);
    let other = counted(&[
        ("10 tenant.registered", 1),
        ("11 subscription.activated", 1),
        ("11 subscription.created", 1),
        ("13 subscription.paused", 1),
    ]);
    assert_eq!(count(Who::Platform, &format!("/v1/analytics/events?{range}&tenant_id={OTHER}")).await, other);
    assert_eq!(count(Who::Other, &format!("/v1/tenants/{OTHER}/analytics/events?{range}")).await, other);
    let tenants = counted(&[("10 tenant.registered", 2)]);
    assert_eq!(count(Who::Platform, &format!("/v1/analytics/events?{range}&event_type=tenant.*")).await, tenants);
    let paused = counted(&[("13 subscription.paused", 1)]);
    assert_eq!(
        count(Who::Platform, &format!("/v1/analytics/events?{range}&event_type=subscription.paused")).await,
        paused
    );
}

#[tokio::test]
async fn tenants_are_counted_by_status_and_tier() {
    let api = Api::start().await;
    for (id, tier, active) in
        [(1_u128, "starter", true), (2, "starter", true), (3, "starter", false), (4, "enterprise", true)]
    {
        let mut events = vec![("registered", registered(&format!("slug-{id}"), tier, "eu-central"))];
        events.extend(active.then(|| ("activated", json!({}))));
        api.append(tenant(Uuid::from_u128(id)), &events).await;
    }
    let answer = api.get(Who::Platform, "/v1/analytics/tenants").await;
    let expected = json!({
        "items": [
            {"status": "active", "tier": "enterprise", "count": 1},
            {"status": "active", "tier": "starter", "count": 2},
            {"status": "pending", "tier": "starter", "count": 1},
        ],
        "total": 4,
    });
    assert_eq!(answer.ok(), &expected);
}

#[tokio::test]
async fn instances_are_counted_by_service_status_and_health() {
    let api = Api::start().await;
    api.register(ACME, "acme").await;
    api.register(OTHER, "other").await;
    let operation_id = Uuid::from_u128(9);
    for (id, owner, service, health) in [
        (1, ACME, "mail", None),
        (2, ACME, "mail", Some("healthy")),
        (3, OTHER, "mail", None),
        (4, OTHER, "backup", Some("down")),
    ] {
        let requested = json!({"operation_id": operation_id, "service": service, "plan": "s", "parameters": {}, "subscription_id": null});
        let ready = json!({"operation_id": operation_id, "endpoint": null, "outputs": {}});
        let mut events = vec![("provision_requested", requested), ("provisioned", ready)];
        events.extend(health.map(|health| ("health_changed", json!({"from": null, "to": health, "detail": ""}))));
        api.append(instance(owner, id), &events).await;
    }
    let line = |service: &str, health: Option<&str>, count: i64| json!({"service": service, "status": "ready", "health": health, "count": count});
    let all = [line("backup", Some("down"), 1), line("mail", None, 2), line("mail", Some("healthy"), 1)];
    for limit in [1, 2, 50] {
        assert_eq!(api.walk(Who::Platform, "/v1/analytics/service-instances", limit).await, all, "limit {limit}");
    }
    let own = [line("mail", None, 1), line("mail", Some("healthy"), 1)];
    assert_eq!(api.walk(Who::Acme, &format!("/v1/tenants/{ACME}/analytics/service-instances"), 1).await, own);
}
