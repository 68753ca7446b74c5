//! The account statement.

use serde_json::{Value, json};
use uuid::Uuid;

use super::{ACME, Api, OTHER, Who, activated, created, period_opened, subscription};

/// Seven charges of three subscriptions in two currencies, and one of another tenant.
async fn charged() -> Api {
    let api = Api::start().await;
    api.register(ACME, "acme").await;
    api.register(OTHER, "other").await;
    let start = |currency| [created("mail", currency), activated(3_000, currency)];
    let months = ["2026-01-01T00:00:00Z", "2026-02-01T00:00:00Z", "2026-03-01T00:00:00Z"];
    for (id, currency, count) in [(1, "EUR", 3), (2, "EUR", 2), (3, "USD", 2)] {
        api.append(subscription(ACME, id), &start(currency)).await;
        for (number, month) in (1..).zip(&months[..count]) {
            let amount = i64::try_from(id).unwrap() * 1_000 + i64::from(number);
            api.append(subscription(ACME, id), &[period_opened(number, month, amount, currency)]).await;
        }
    }
    api.append(subscription(OTHER, 4), &start("EUR")).await;
    api.append(subscription(OTHER, 4), &[period_opened(1, months[0], 99, "EUR")]).await;
    api
}

fn amounts(items: &[Value]) -> Vec<i64> {
    items.iter().map(|item| item["amount_minor"].as_i64().unwrap()).collect()
}

#[tokio::test]
async fn charges_come_by_the_beginning_of_their_period_from_either_end() {
    let api = charged().await;
    let uri = format!("/v1/tenants/{ACME}/statement");
    let oldest = [1_001, 2_001, 3_001, 1_002, 2_002, 3_002, 1_003];
    for limit in [1, 2, 3, 7, 100] {
        assert_eq!(amounts(&api.walk(Who::Acme, &format!("{uri}?order=oldest"), limit).await), oldest);
        let newest: Vec<i64> = oldest.iter().rev().copied().collect();
        assert_eq!(amounts(&api.walk(Who::Acme, &uri, limit).await), newest);
    }
}

#[tokio::test]
async fn totals_are_per_currency_over_all_that_the_filters_let_through() {
    let api = charged().await;
    let totals = async |query: &str| {
        let answer = api.get(Who::Acme, &format!("/v1/tenants/{ACME}/statement?limit=1{query}")).await;
        assert!(answer.ok()["items"].as_array().unwrap().len() <= 1);
        let totals = answer.body["totals"].as_array().unwrap().iter();
        let line =
            |total: &Value| (total["currency"].clone(), total["amount_minor"].clone(), total["charge_count"].clone());
        totals.map(line).collect::<Vec<_>>()
    };
    let euros = |amount: i64, count: i64| (json!("EUR"), json!(amount), json!(count));
    let dollars = |amount: i64, count: i64| (json!("USD"), json!(amount), json!(count));
    assert_eq!(totals("").await, [euros(7_009, 5), dollars(6_003, 2)]);
    assert_eq!(totals("&currency=USD").await, [dollars(6_003, 2)]);
    assert_eq!(
        totals("&from=2026-02-01T00:00:00Z&to=2026-03-01T00:00:00Z").await,
        [euros(3_004, 2), dollars(3_002, 1)]
    );
    assert_eq!(totals(&format!("&subscription_id={}", Uuid::from_u128(2))).await, [euros(4_003, 2)]);
    assert_eq!(totals("&from=2030-01-01T00:00:00Z").await, []);
    api.get(Who::Acme, &format!("/v1/tenants/{ACME}/statement?from=yesterday")).await.refused(400, "invalid_query");
}

#[tokio::test]
async fn a_statement_is_a_list_like_others() {
    let api = charged().await;
    let uri = format!("/v1/tenants/{ACME}/statement");
    let page = api.get(Who::Acme, &format!("{uri}?limit=2")).await;
    let cursor = page.ok()["next_cursor"].as_str().unwrap();
    assert_eq!(page.headers["content-type"], "application/json");
    assert!(page.headers["projection-position"].to_str().unwrap().parse::<i64>().unwrap() > 0);
    assert!(page.headers["link"].to_str().unwrap().contains(cursor));
    api.get(Who::Acme, &format!("{uri}?order=oldest&cursor={cursor}")).await.refused(400, "invalid_cursor");
}
