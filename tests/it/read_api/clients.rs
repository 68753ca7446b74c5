//! What streams, pages and single events send, read by libraries that others wrote: a parser of server-sent events, and the SDK of CloudEvents.

use std::time::Duration;

use cloudevents::{AttributesReader as _, Event, binding::http::to_event, event::ExtensionValue};
use eventsource_stream::Eventsource as _;
use futures::StreamExt as _;
use serde_json::Value;
use tokio::time::timeout;

use super::{ACME, Api, Who, created, subscription};

const LIMIT: Duration = Duration::from_secs(20);

fn text(event: &Event, name: &str) -> String {
    match event.extension(name) {
        Some(ExtensionValue::String(text)) => text.clone(),
        other => panic!("{name}: {other:?}"),
    }
}

fn data(event: &Event) -> Value {
    match event.data() {
        Some(cloudevents::Data::Json(data)) => data.clone(),
        Some(cloudevents::Data::String(text)) => serde_json::from_str(text).unwrap(),
        Some(cloudevents::Data::Binary(bytes)) => serde_json::from_slice(bytes).unwrap(),
        None => panic!("{event} has no data"),
    }
}

#[tokio::test]
async fn a_parser_of_server_sent_events_reads_a_stream_and_the_sdk_its_events() {
    let api = Api::without_projections(10).await;
    api.register(ACME, "acme").await;
    for id in 1..=3 {
        api.append(subscription(ACME, id), &[created("mail", "EUR")]).await;
    }
    let response = api.send(Who::Acme, &format!("/v1/tenants/{ACME}/events/stream?after=earliest"), &[]).await;
    let mut frames = response.into_body().into_data_stream().eventsource();
    let mut next = async || timeout(LIMIT, frames.next()).await.expect("it says something in time").unwrap().unwrap();
    let hello = next().await;
    assert_eq!((hello.event.as_str(), hello.id.as_str()), ("hello", "0"));
    assert_eq!(hello.retry, Some(Duration::from_secs(2)));
    for position in 1..=4 {
        let frame = next().await;
        assert_eq!(frame.id, position.to_string());
        let event: Event = serde_json::from_str(&frame.data).unwrap();
        assert_eq!((event.ty(), event.specversion().as_str()), (frame.event.as_str(), "1.0"));
        assert_eq!(event.source(), &format!("urn:service-hub:tenant:{ACME}"));
        assert_eq!(text(&event, "sequence"), format!("{position:020}"));
        assert!(event.subject().is_some() && event.time().is_some());
        assert_eq!(event.datacontenttype(), Some("application/json"));
        assert_eq!(event.dataschema().unwrap().as_str(), format!("urn:service-hub:event-type:{}:1", event.ty()));
    }
}

#[tokio::test]
async fn the_sdk_reads_an_event_in_every_content_mode() {
    let api = Api::without_projections(10).await;
    api.register(ACME, "acme").await;
    let ask = async |uri: &str, accept: &str| {
        let response = api.send(Who::Acme, &format!("/v1/tenants/{ACME}/events{uri}"), &[("accept", accept)]).await;
        let (parts, body) = response.into_parts();
        assert_eq!(parts.status, 200);
        (parts.headers, axum::body::to_bytes(body, 1 << 20).await.unwrap())
    };
    let (headers, body) = ask("/1", "application/cloudevents+json").await;
    let structured = to_event(&headers, body.to_vec()).unwrap();
    let (headers, body) = ask("/1", "application/json; mode=binary").await;
    let binary = to_event(&headers, body.to_vec()).unwrap();
    let (_, body) = ask("", "application/cloudevents-batch+json").await;
    let batch: Vec<Event> = serde_json::from_slice(&body).unwrap();
    assert_eq!(batch.len(), 1);
    assert_eq!(data(&structured)["slug"], "acme");
    for event in [&binary, &batch[0]] {
        assert_eq!((event.id(), event.ty(), event.source()), (structured.id(), structured.ty(), structured.source()));
        assert_eq!((event.subject(), event.time()), (structured.subject(), structured.time()));
        assert_eq!(data(event), data(&structured));
        for name in ["sequence", "partitionkey", "streamsequence", "tenantid", "actor", "correlationid"] {
            assert_eq!(text(event, name), text(&structured, name), "{name}");
        }
    }
}
