//! The program is killed in the middle of ten thousand deliveries.

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use hub_tests::kit::{HubProcess, eventually};
use serde_json::{Value, json};

use super::{
    id_of,
    receiver::{Receiver, Reply, Taken},
};

/// How long all of it may take, on a machine that runs other tests beside it.
const LIMIT: Duration = Duration::from_secs(240);

/// Endpoints by their order, and events for each: ten thousand deliveries.
const ORDERINGS: [&str; 10] = [
    "parallel",
    "parallel",
    "parallel",
    "parallel",
    "parallel",
    "parallel",
    "strict",
    "strict",
    "per_aggregate",
    "per_aggregate",
];
const EVENTS: usize = 1_000;

/// After so many events it is killed.
const KILLED_AFTER: [usize; 3] = [300, 650, 999];

/// So many events before that the receivers answer no more, so that deliveries are under way and others wait for them.
const SILENT_BEFORE: usize = 20;

/// How it answers an endpoint of that order: ordered ones take their time, so there is always something that waits.
fn answer(ordering: &str) -> impl Fn(&Value, usize) -> Reply + Send + 'static {
    let pause = Duration::from_millis(if ordering == "parallel" { 0 } else { 10 });
    move |_, _| Reply::status(204).after(pause)
}

struct Api {
    http: reqwest::Client,
    url: String,
    key: String,
}

impl Api {
    async fn post(&self, path: &str, body: Value) -> Value {
        let request = self.http.post(format!("{}{path}", self.url)).bearer_auth(&self.key);
        let request = if body.is_null() { request } else { request.json(&body) };
        let answer = request.send().await.unwrap();
        let status = answer.status();
        let answer: Value = answer.json().await.unwrap();
        assert!(status.is_success(), "{path}: {answer}");
        answer
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_of_ten_thousand_deliveries_arrives_and_ordered_ones_in_order() {
    let mut hub = HubProcess::start().await;
    let mut api = Api { http: reqwest::Client::new(), url: hub.url().to_owned(), key: hub.admin_key() };
    let tenant = id_of(
        &api.post(
            "/v1/tenants",
            json!({ "slug": "acme", "name": "Acme", "contact_email": "it@acme.example", "tier": "starter", "region": "eu", "currency": "EUR" }),
        )
        .await,
    );
    let mut receivers = Vec::new();
    for ordering in ORDERINGS {
        let receiver = Receiver::answering(answer(ordering)).await;
        let delivery = json!({ "ordering": ordering, "retry": { "schedule_seconds": [1] } });
        let body = json!({ "url": receiver.url(), "events": ["tenant.renamed"], "delivery": delivery });
        api.post(&format!("/v1/tenants/{tenant}/webhooks"), body).await;
        receivers.push(receiver);
    }
    let unanswered = Arc::new(AtomicUsize::new(0));
    for number in 0..EVENTS {
        if KILLED_AFTER.contains(&(number + SILENT_BEFORE)) {
            unanswered.store(0, Relaxed);
            for receiver in &receivers {
                let unanswered = unanswered.clone();
                receiver.answer(move |_, _| {
                    unanswered.fetch_add(1, Relaxed);
                    Reply::status(204).after(LIMIT)
                });
            }
        }
        let name = format!("Acme {number}");
        api.post(&format!("/v1/tenants/{tenant}/rename"), json!({ "name": name })).await;
        if KILLED_AFTER.contains(&number) {
            eventually(LIMIT, async || (unanswered.load(Relaxed) >= receivers.len()).then_some(())).await;
            hub.kill();
            for (receiver, ordering) in receivers.iter().zip(ORDERINGS) {
                receiver.answer(answer(ordering));
            }
            hub.start_again().await;
            api.url = hub.url().to_owned();
        }
    }
    for (receiver, ordering) in receivers.iter().zip(ORDERINGS) {
        let first = eventually(LIMIT, async || {
            let mut seen = BTreeSet::new();
            let first: Vec<i64> =
                receiver.accepted().iter().map(Taken::position).filter(|position| seen.insert(*position)).collect();
            (first.len() >= EVENTS).then_some(first)
        })
        .await;
        assert_eq!(first.len(), EVENTS, "{ordering}");
        assert!(ordering == "parallel" || first.is_sorted(), "{ordering}: {first:?}");
    }
}
