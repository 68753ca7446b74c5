//! A tenant's log as server-sent events.

mod ends;

use std::{collections::BTreeMap, time::Duration};

use axum::{
    body::{Body, BodyDataStream},
    http::Response,
};
use futures::StreamExt as _;
use hub_read_api::StreamSettings;
use hub_tests::kit::eventually;
use serde_json::{Value, json};
use tokio::time::timeout;
use uuid::Uuid;

use super::{ACME, Api, NOBODY, OTHER, Who, created, subscription, tenant, webhook, webhook_registered};

const LIMIT: Duration = Duration::from_secs(20);

/// Out of the reach of every test.
const NEVER: Duration = Duration::from_secs(3_600);

/// Streams that say nothing between events.
const SILENT: StreamSettings = StreamSettings {
    of_tenant_max: 10,
    history_max: None,
    heartbeat: NEVER,
    checkpoint_after: NEVER,
    patience: NEVER,
    life_max: NEVER,
};

/// The same for more of one tenant.
const SILENT_FOR_MANY: StreamSettings = StreamSettings { of_tenant_max: 20, ..SILENT };

/// One frame, as a client reads it.
#[derive(Debug, Default, Clone, PartialEq)]
struct Frame {
    id: Option<i64>,
    event: Option<String>,
    data: Option<Value>,
    comment: bool,
}

impl Frame {
    /// Whether it is one of the words between events.
    fn controls(&self) -> bool {
        self.event.as_deref().is_none_or(|event| ["hello", "checkpoint", "end"].contains(&event))
    }

    fn is(&self, event: &str) -> bool {
        self.event.as_deref() == Some(event)
    }
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
                        Some(("", _)) => frame.comment = true,
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
            if !frame.controls() {
                return frame;
            }
        }
    }

    /// The next word of this name; what comes before it is passed over.
    async fn control(&mut self, name: &str) -> Frame {
        loop {
            let frame = self.frame().await.expect("the stream goes on");
            if frame.is(name) {
                return frame;
            }
        }
    }

    /// Why the stream has ended; nothing comes after that.
    async fn end(&mut self) -> Value {
        let end = self.control("end").await;
        assert_eq!(end.id, None, "a client goes on behind what it has got");
        assert_eq!(self.frame().await, None);
        end.data.unwrap()["reason"].clone()
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
    let hello = client.frame().await.unwrap();
    assert!(hello.is("hello"), "{hello:?}");
    assert_eq!(hello.id, Some(0), "a place to come back to");
    let about = json!({"tenant": ACME, "position": 0, "head": 1, "heartbeat_seconds": 15, "checkpoint_seconds": 10});
    assert_eq!(hello.data, Some(about));
    let first = client.event().await;
    assert_eq!((first.id, first.event.as_deref()), (Some(1), Some("tenant.registered")));
    api.register(OTHER, "other").await;
    api.append(webhook(ACME, 1), &[webhook_registered()]).await;
    let second = client.event().await;
    assert_eq!((second.id, second.event.as_deref()), (Some(2), Some("webhook.registered")));
    assert!(!second.data.as_ref().unwrap().to_string().contains("sealed"));
    let batch = [("accept", "application/cloudevents-batch+json")];
    let page = api.ask(Who::Acme, &format!("/v1/tenants/{ACME}/events"), &batch).await;
    assert_eq!(page.ok(), &json!([first.data, second.data]), "the same as in the pages");
}

#[tokio::test]
async fn each_frame_is_a_cloud_event() {
    let api = Api::without_projections(10).await;
    api.register(ACME, "acme").await;
    let data = api.stream("?after=0", &[]).await.event().await.data.unwrap();
    let event: BTreeMap<String, Value> = serde_json::from_value(data).unwrap();
    let expected = [
        ("specversion", json!("1.0")),
        ("source", json!(format!("urn:service-hub:tenant:{ACME}"))),
        ("type", json!("tenant.registered")),
        ("subject", json!(format!("tenant/{ACME}"))),
        ("datacontenttype", json!("application/json")),
        ("dataschema", json!("urn:service-hub:event-type:tenant.registered:1")),
        ("sequence", json!("00000000000000000001")),
        ("partitionkey", json!(ACME)),
        ("streamsequence", json!("1")),
        ("tenantid", json!(ACME)),
        ("actor", json!("user:test")),
    ];
    for (name, value) in expected {
        assert_eq!(event.get(name), Some(&value), "{name}");
    }
    assert!(event["id"].as_str().unwrap().parse::<Uuid>().is_ok());
    assert_eq!(event["data"]["slug"], "acme");
}

#[tokio::test]
async fn without_a_place_a_stream_begins_now() {
    let api = Api::without_projections(10).await;
    api.register(ACME, "acme").await;
    for query in ["", "?after=latest"] {
        let mut client = api.stream(query, &[]).await;
        assert_eq!(client.frame().await.unwrap().id, Some(1), "whoever comes back without an event goes on here");
    }
    let mut client = api.stream("", &[]).await;
    api.append(tenant(ACME), &[("activated", json!({}))]).await;
    assert_eq!(client.event().await.id, Some(2));
}

#[tokio::test]
async fn a_stream_begins_at_either_end_or_at_a_time() {
    let api = Api::without_projections(10).await;
    api.register(ACME, "acme").await;
    let mut times = Vec::new();
    for id in 0..9 {
        api.clock.advance(chrono::TimeDelta::hours(1));
        api.append(subscription(ACME, id), &[created("mail", "EUR")]).await;
        times.push(api.clock.now());
    }
    let begins = async |after: &str| api.stream(&format!("?after={after}"), &[]).await.frame().await.unwrap().id;
    assert_eq!(begins("earliest").await, Some(0));
    assert_eq!(begins("latest").await, Some(10));
    let text = |time: chrono::DateTime<chrono::Utc>| time.to_rfc3339_opts(chrono::SecondsFormat::Micros, true);
    for (place, time) in times.iter().enumerate() {
        let position = i64::try_from(place).unwrap() + 2;
        assert_eq!(begins(&text(*time)).await, Some(position - 1), "the event of that time comes first");
        let later = *time + chrono::TimeDelta::seconds(1);
        assert_eq!(begins(&text(later)).await, Some(position), "the one after it comes first");
    }
    assert_eq!(begins("1970-01-01T00:00:00Z").await, Some(0));
    assert_eq!(begins("2999-01-01T00:00:00%2B02:00").await, Some(10));
}

#[tokio::test]
async fn large_events_come_like_small_ones() {
    let api = Api::without_projections(10).await;
    api.register(ACME, "acme").await;
    let large = json!({ "text": "x".repeat(300 << 10) });
    for id in 0..7 {
        api.append(subscription(ACME, id), &[("created", large.clone())]).await;
    }
    let mut client = api.stream("?after=0", &[]).await;
    for position in 1..=8 {
        assert_eq!(client.event().await.id, Some(position));
    }
}

#[tokio::test]
async fn a_time_skips_nothing_in_a_log_with_imported_events() {
    let api = Api::without_projections(10).await;
    api.register(ACME, "acme").await;
    api.append(subscription(ACME, 1), &[created("mail", "EUR")]).await;
    let time = api.clock.now();
    // What an import leaves: events of long ago at the end of the log, and what their streams were called elsewhere.
    api.clock.advance(-chrono::TimeDelta::days(700));
    for id in 2..9 {
        api.append(subscription(ACME, id), &[created("mail", "EUR")]).await;
    }
    let imported = "INSERT INTO cqrs_streams VALUES ($1, 'account', 'a-1', 'subscription', gen_random_uuid())";
    sqlx::query(imported).bind(ACME).execute(&api.database.pool).await.unwrap();
    let begins = async |time: chrono::DateTime<chrono::Utc>| {
        let after = time.to_rfc3339_opts(chrono::SecondsFormat::Micros, true);
        api.stream(&format!("?after={after}"), &[]).await.frame().await.unwrap().id
    };
    assert_eq!(begins(time).await, Some(0), "the first two are of that time");
    assert_eq!(begins(time + chrono::TimeDelta::seconds(1)).await, Some(9));
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

#[tokio::test(flavor = "multi_thread")]
async fn streams_that_begin_anywhere_while_the_log_grows_get_everything_once() {
    let api = Api::without_projections(30).await;
    api.register(ACME, "acme").await;
    let last = 400_i64;
    let appending = async {
        // From several sides at once, so that events come in batches.
        let append = async |side: i64| {
            for id in (side..last - 1).step_by(4) {
                api.append(subscription(ACME, id as u128), &[created("mail", "EUR")]).await;
            }
        };
        tokio::join!(append(0), append(1), append(2), append(3));
    };
    let read = async |after: i64| {
        let mut client = api.stream(&format!("?after={after}"), &[]).await;
        for position in after + 1..=last {
            assert_eq!(client.event().await.id, Some(position), "begun behind {after}");
        }
    };
    let reading = async {
        // One after the other begins, at places that are history, or have just been the head.
        let begin = async |number: i64| {
            let after = eventually(LIMIT * 3, async || {
                let page = api.ask(Who::Acme, &format!("/v1/tenants/{ACME}/events?after=latest"), &[]).await;
                let head = page.ok()["next_after"].as_i64().unwrap();
                (head >= number * last / 20).then_some(head)
            });
            let head = after.await;
            tokio::join!(read(0), read(head));
        };
        futures::future::join_all((0..9).map(begin)).await;
    };
    timeout(LIMIT * 6, async { tokio::join!(appending, reading) }).await.unwrap();
}

#[tokio::test]
async fn a_place_that_the_log_does_not_have_is_refused() {
    let api = Api::without_projections(10).await;
    api.register(ACME, "acme").await;
    for bad in ["2", "-1", "x", ""] {
        api.ask(Who::Acme, &uri(), &[("last-event-id", bad)]).await.refused(400, "invalid_event_id");
    }
    for bad in ["2", "-1", "first", "2026-01-01", "99999999999999999999"] {
        api.ask(Who::Acme, &format!("{}?after={bad}", uri()), &[]).await.refused(400, "invalid_query");
    }
    api.ask(Who::Platform, &format!("/v1/tenants/{NOBODY}/events/stream"), &[]).await.refused(404, "not_found");
    api.ask(Who::Other, &uri(), &[]).await.refused(404, "not_found");
    // What was refused holds no place: there are ten.
    for _ in 0..20 {
        api.ask(Who::Acme, &uri(), &[("last-event-id", "2")]).await.refused(400, "invalid_event_id");
    }
}

#[tokio::test]
async fn a_place_that_is_too_far_back_is_refused_and_never_moved() {
    let api = Api::with_streams(10, StreamSettings { history_max: Some(3), ..SILENT }).await;
    api.register(ACME, "acme").await;
    for id in 0..9 {
        api.clock.advance(chrono::TimeDelta::hours(1));
        api.append(subscription(ACME, id), &[created("mail", "EUR")]).await;
    }
    let pages = format!("/v1/tenants/{ACME}/events");
    for uri in [uri(), pages.clone()] {
        for old in ["0", "6", "1970-01-01T00:00:00Z"] {
            let refused = api.ask(Who::Acme, &format!("{uri}?after={old}"), &[]).await;
            refused.refused(410, "position_expired");
            assert_eq!(refused.body["oldest_position"], 7);
        }
    }
    api.ask(Who::Acme, &uri(), &[("last-event-id", "6")]).await.refused(410, "position_expired");
    api.ask(Who::Acme, &format!("{pages}/7"), &[]).await.refused(410, "position_expired");
    assert_eq!(api.ask(Who::Acme, &format!("{pages}/8"), &[]).await.ok()["position"], 8);
    assert_eq!(api.stream("?after=7", &[]).await.event().await.id, Some(8));
    assert_eq!(api.stream("?after=earliest", &[]).await.event().await.id, Some(8));
    assert_eq!(api.stream("", &[("last-event-id", "9")]).await.event().await.id, Some(10));
}

#[tokio::test]
async fn only_what_a_filter_wants_is_sent() {
    let api = Api::without_projections(20).await;
    api.register(ACME, "acme").await;
    api.append(subscription(ACME, 1), &[created("mail", "EUR")]).await;
    let queries = [
        "types=tenant.*",
        "subjects=tenant/*",
        "filter=type%20LIKE%20%27tenant.%25%27",
        "filters=[{\"prefix\":{\"type\":\"tenant.\"}},{\"not\":{\"exact\":{\"type\":\"tenant.renamed\"}}}]",
        "types=tenant.*,role.*&filter=NOT%20(subject%20LIKE%20%27role/%25%27)",
    ];
    let mut clients = Vec::new();
    for query in queries {
        let query = query.replace('"', "%22").replace('{', "%7B").replace('}', "%7D");
        clients.push(api.stream(&format!("?after=0&{query}"), &[]).await);
    }
    // What was, and what comes.
    for client in &mut clients {
        assert_eq!(client.event().await.id, Some(1));
    }
    api.append(subscription(ACME, 2), &[created("mail", "EUR")]).await;
    api.append(tenant(ACME), &[("activated", json!({}))]).await;
    for (client, query) in clients.iter_mut().zip(queries) {
        assert_eq!(client.event().await.id, Some(4), "{query}");
    }
    for bad in ["types=a%20b", "subjects=", "filter=type%20%3D", "filters=%7B", "filters=[%7B%7D]", "color=red"] {
        api.ask(Who::Acme, &format!("{}?{bad}", uri()), &[]).await.refused(400, "invalid_query");
    }
}

#[tokio::test]
async fn a_checkpoint_says_how_far_nothing_was_wanted() {
    let checkpoint_after = Duration::from_millis(100);
    let api = Api::with_streams(10, StreamSettings { checkpoint_after, ..SILENT }).await;
    api.register(ACME, "acme").await;
    let mut client = api.stream("?after=0&types=webhook.*", &[]).await;
    assert_eq!(client.control("checkpoint").await.data, Some(json!({"position": 1})));
    for id in 1..=5 {
        api.append(subscription(ACME, id), &[created("mail", "EUR")]).await;
    }
    let mut position = 1;
    while position < 6 {
        let frame = client.control("checkpoint").await;
        let next = frame.id.unwrap();
        assert!(next > position, "a checkpoint that says nothing new");
        assert_eq!(frame.data, Some(json!({"position": next})));
        position = next;
    }
    // Whoever comes back goes on there.
    let mut back = api.stream("?types=webhook.*", &[("last-event-id", "6")]).await;
    assert_eq!(back.frame().await.unwrap().id, Some(6));
    api.append(webhook(ACME, 1), &[webhook_registered()]).await;
    assert_eq!((client.event().await.id, back.event().await.id), (Some(7), Some(7)));
}

#[tokio::test]
async fn silence_is_broken_by_a_comment() {
    let heartbeat = Duration::from_millis(100);
    let api = Api::with_streams(10, StreamSettings { heartbeat, ..SILENT }).await;
    api.register(ACME, "acme").await;
    let mut client = api.stream("", &[]).await;
    assert!(client.frame().await.unwrap().is("hello"));
    for _ in 0..3 {
        let frame = client.frame().await.unwrap();
        assert_eq!(frame, Frame { comment: true, ..Frame::default() });
    }
}

#[tokio::test]
async fn the_events_of_other_tenants_are_never_seen() {
    let api = Api::without_projections(10).await;
    api.register(ACME, "acme").await;
    api.register(OTHER, "other").await;
    let mut client = api.stream("?after=0", &[]).await;
    let mut other = Client::new(api.send(Who::Other, &format!("/v1/tenants/{OTHER}/events/stream?after=0"), &[]).await);
    for id in 1..=20 {
        api.append(subscription(OTHER, id), &[created("mail", "EUR")]).await;
        if id % 5 == 0 {
            api.append(subscription(ACME, id), &[created("mail", "EUR")]).await;
        }
    }
    for (client, tenant_id, count) in [(&mut client, ACME, 5), (&mut other, OTHER, 21)] {
        for position in 1..=count {
            let frame = client.event().await;
            assert_eq!(frame.id, Some(position));
            assert_eq!(frame.data.unwrap()["tenantid"], json!(tenant_id));
        }
    }
}
