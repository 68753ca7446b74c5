//! A tenant's log as server-sent events.

use std::time::Duration;

use axum::body::{Body, BodyDataStream};
use axum::http::Response;
use futures::StreamExt as _;
use hub_tests::kit::eventually;
use serde_json::{Value, json};
use tokio::time::timeout;

use super::{ACME, Api, NOBODY, OTHER, Who, created, subscription, tenant, webhook, webhook_registered};

const LIMIT: Duration = Duration::from_secs(20);

/// One frame, as a client reads it.
#[derive(Debug, Default, Clone, PartialEq)]
struct Frame {
    id: Option<i64>,
    event: Option<String>,
    data: Option<Value>,
}

/// A stream as a client reads it.
struct Client {
    body: BodyDataStream,
    buffer: String,
}

impl Client {
    fn new(response: Response<Body>) -> Self {
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        Self { body: response.into_body().into_data_stream(), buffer: String::new() }
    }

    /// The next frame, `None` at the end of the stream.
    async fn frame(&mut self) -> Option<Frame> {
        loop {
            if let Some((text, rest)) = self.buffer.split_once("\n\n") {
                let mut frame = Frame::default();
                for line in text.lines() {
                    match line.split_once(": ").or_else(|| line.split_once(':')) {
                        Some(("id", id)) => frame.id = Some(id.parse().unwrap()),
                        Some(("event", event)) => frame.event = Some(event.to_owned()),
                        Some(("data", data)) => frame.data = Some(serde_json::from_str(data).unwrap()),
                        _ => {}
                    }
                }
                self.buffer = rest.to_owned();
                return Some(frame);
            }
            let chunk = timeout(LIMIT, self.body.next()).await.expect("the stream says something in time")?;
            self.buffer.push_str(std::str::from_utf8(&chunk.unwrap()).unwrap());
        }
    }

    /// The next frame that holds an event.
    async fn event(&mut self) -> Frame {
        loop {
            let frame = self.frame().await.expect("the stream goes on");
            if frame.data.is_some() {
                return frame;
            }
        }
    }
}

fn uri() -> String {
    format!("/v1/tenants/{ACME}/events/stream")
}

impl Api {
    async fn stream(&self, query: &str, headers: &[(&str, &str)]) -> Client {
        Client::new(self.send(Who::Acme, &format!("{}{query}", uri()), headers).await)
    }
}

#[tokio::test]
async fn a_stream_tells_what_was_and_then_what_comes() {
    let api = Api::without_projections(10).await;
    api.register(ACME, "acme").await;
    let mut client = api.stream("?after=0", &[]).await;
    assert_eq!(
        client.frame().await.unwrap(),
        Frame { id: Some(0), event: None, data: None },
        "a place to come back to"
    );
    let first = client.event().await;
    assert_eq!((first.id, first.event.as_deref()), (Some(1), Some("tenant.registered")));
    let page = api.get(Who::Acme, &format!("/v1/tenants/{ACME}/events")).await;
    assert_eq!(first.data.unwrap(), page.ok()["items"][0], "the same as in the pages");
    api.register(OTHER, "other").await;
    api.append(webhook(ACME, 1), &[webhook_registered()]).await;
    let second = client.event().await;
    assert_eq!((second.id, second.event.as_deref()), (Some(2), Some("webhook.registered")));
    assert!(!second.data.unwrap().to_string().contains("sealed"));
}

#[tokio::test]
async fn without_a_place_a_stream_begins_now() {
    let api = Api::without_projections(10).await;
    api.register(ACME, "acme").await;
    let mut client = api.stream("", &[]).await;
    assert_eq!(
        client.frame().await.unwrap().id,
        Some(1),
        "whoever comes back without having seen anything goes on here"
    );
    api.append(tenant(ACME), &[("activated", json!({}))]).await;
    assert_eq!(client.event().await.id, Some(2));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_comes_back_misses_nothing_and_sees_nothing_twice() {
    let api = Api::without_projections(10).await;
    api.register(ACME, "acme").await;
    let count = 300;
    let appending = async {
        for id in 0..count {
            api.append(subscription(ACME, id), &[created("mail", "EUR")]).await;
            if id % 3 == 0 {
                api.append(subscription(OTHER, id), &[created("mail", "EUR")]).await;
            }
        }
    };
    let reading = async {
        let mut seen = vec![];
        let mut last = "0".to_owned();
        // The connection breaks after a different number of events each time, also in the middle of a page.
        for turn in 1.. {
            // The place in the URL is the one of the first time; the last id goes before it.
            let mut client = api.stream("?after=0", &[("last-event-id", &last)]).await;
            for _ in 0..turn * 7 {
                if seen.len() == count as usize + 1 {
                    return seen;
                }
                let id = client.event().await.id.unwrap();
                seen.push(id);
                last = id.to_string();
            }
        }
        seen
    };
    let ((), seen) = tokio::join!(appending, timeout(LIMIT * 3, reading));
    let expected: Vec<i64> = (1..=count as i64 + 1).collect();
    assert_eq!(seen.unwrap(), expected);
}

#[tokio::test]
async fn a_place_that_the_log_does_not_have_is_refused() {
    let api = Api::without_projections(10).await;
    api.register(ACME, "acme").await;
    for bad in ["2", "-1", "x", ""] {
        api.ask(Who::Acme, &uri(), &[("last-event-id", bad)]).await.refused(400, "invalid_event_id");
    }
    api.ask(Who::Acme, &format!("{}?after=2", uri()), &[]).await.refused(400, "invalid_query");
    api.ask(Who::Platform, &format!("/v1/tenants/{NOBODY}/events/stream"), &[]).await.refused(404, "not_found");
    // What was refused holds no place: there are ten.
    for _ in 0..20 {
        api.ask(Who::Acme, &uri(), &[("last-event-id", "2")]).await.refused(400, "invalid_event_id");
    }
}

#[tokio::test]
async fn there_is_room_for_so_many_streams_and_it_is_given_back() {
    let api = Api::without_projections(2).await;
    api.register(ACME, "acme").await;
    let one = api.stream("", &[]).await;
    let _two = api.stream("", &[]).await;
    let full = api.ask(Who::Acme, &uri(), &[]).await;
    full.refused(503, "overloaded");
    drop(one);
    eventually(LIMIT, async || (api.send(Who::Acme, &uri(), &[]).await.status() == 200).then_some(())).await;
}

#[tokio::test]
async fn a_stream_ends_when_the_process_stops() {
    let api = Api::without_projections(10).await;
    api.register(ACME, "acme").await;
    let mut client = api.stream("?after=0", &[]).await;
    assert_eq!(client.event().await.id, Some(1));
    api.shutdown.cancel();
    assert_eq!(client.frame().await, None);
}
