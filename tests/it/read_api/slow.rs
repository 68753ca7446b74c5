//! Readers that do not read, over real connections: they are ended, hold little meanwhile, and hurt nobody.

use std::{net::SocketAddr, time::Duration};

use axum::{body::Body, http::Request};
use eventsource_stream::{Event, Eventsource as _};
use futures::{Stream, StreamExt as _};
use hub::{
    config::{Config, Flags},
    listener::Connections,
};
use hub_read_api::StreamSettings;
use hub_tests::kit::eventually;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::{
    net::{TcpListener, TcpStream},
    time::timeout,
};
use tokio_tungstenite::{
    WebSocketStream, client_async,
    tungstenite::{Message, client::IntoClientRequest as _},
};

use super::{ACME, Api, Who, subscription};

/// On a machine that runs other tests beside it.
const LIMIT: Duration = Duration::from_secs(60);

/// Long enough for a reader that reads, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(5);

/// Together 32 MiB, more than all buffers between the log and the reader.
const EVENTS: i64 = 1_000;
const EVENT_BYTES: usize = 32 << 10;

/// What the system's buffers may hold on both sides, usually 4 and 6 MiB, which is none of the program's memory.
const SYSTEM_EVENTS_MAX: i64 = (12 << 20) / EVENT_BYTES as i64;

/// So many events of a reader are in the program's memory at most: a page of the log, taken from it and not sent yet.
const HELD_EVENTS_MAX: i64 = 100;

/// A log that no buffer holds, with room for so many streams.
async fn filled(streams_max: usize, patience: Duration) -> Api {
    let settings = StreamSettings { patience, ..StreamSettings::default() };
    let api = Api::with_streams(streams_max, settings).await;
    api.register(ACME, "acme").await;
    let text = "x".repeat(EVENT_BYTES);
    for part in 0..EVENTS / 100 {
        let events = vec![("noted", json!({ "text": text })); 100];
        api.append(subscription(ACME, u128::try_from(part).unwrap()), &events).await;
    }
    api
}

/// A listener with these settings of the edge.
async fn served(api: &Api, settings: &'static [(&str, &str)]) -> SocketAddr {
    let find =
        |variable: &str| settings.iter().find(|(name, _)| *name == variable).map(|(_, value)| (*value).to_owned());
    let edge = Config::from_sources(&Flags::default(), &find, None).unwrap().edge;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let serving = Connections::new(&edge).unwrap().serve(listener, api.router.clone(), api.shutdown.clone());
    tokio::spawn(serving);
    address
}

/// What the listener answers to a stream over a connection of its own; `None` when it closes the connection.
async fn answered(address: SocketAddr, headers: &[(&str, &str)]) -> Option<axum::http::Response<Body>> {
    let asking = async {
        let connection = TokioIo::new(TcpStream::connect(address).await.unwrap());
        let (mut sender, connection) = hyper::client::conn::http1::handshake(connection).await.ok()?;
        tokio::spawn(connection);
        let uri = format!("/v1/tenants/{ACME}/events/stream?after=0");
        let mut request = Request::get(uri)
            .header("host", address.to_string())
            .header("authorization", format!("Bearer {}", Who::Acme.key()));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        Some(sender.send_request(request.body(Body::empty()).unwrap()).await.ok()?.map(Body::new))
    };
    timeout(LIMIT, asking).await.expect("it answers in time")
}

/// The frames of a stream, as soon as it is let in: a place that was given up is free when the program has seen that.
async fn stream(address: SocketAddr, headers: &[(&str, &str)]) -> impl Stream<Item = Event> + Unpin + use<> {
    let let_in = async || answered(address, headers).await.filter(|response| response.status() == 200);
    let response = eventually(LIMIT, let_in).await;
    let frames = response.into_body().into_data_stream().eventsource();
    Box::pin(frames.take_while(|frame| std::future::ready(frame.is_ok())).map(Result::unwrap))
}

async fn next(frames: &mut (impl Stream<Item = Event> + Unpin)) -> Option<Event> {
    timeout(LIMIT, frames.next()).await.expect("it says something in time")
}

async fn socket(address: SocketAddr) -> WebSocketStream<TcpStream> {
    let mut request = format!("ws://{address}/v1/tenants/{ACME}/events/socket?after=0").into_client_request().unwrap();
    request.headers_mut().insert("authorization", format!("Bearer {}", Who::Acme.key()).parse().unwrap());
    let opened = timeout(LIMIT, client_async(request, TcpStream::connect(address).await.unwrap()))
        .await
        .expect("it answers in time");
    opened.unwrap().0
}

/// Somebody who reads gets everything, as fast as he can.
async fn reads_all(address: SocketAddr) {
    let mut frames = stream(address, &[]).await;
    let mut position = 0;
    while position < EVENTS + 1 {
        let frame = next(&mut frames).await.expect("it goes on");
        assert_ne!(frame.event, "end", "{}", frame.data);
        if frame.event != "hello" && frame.event != "checkpoint" {
            position += 1;
            assert_eq!(frame.id, position.to_string());
        }
    }
}

/// Waits until both places are free, whatever held one of them.
async fn room(address: SocketAddr) {
    eventually(LIMIT, async || {
        let (first, second) = (answered(address, &[]).await?, answered(address, &[]).await?);
        let statuses = [first.status(), second.status()].map(|status| status.as_u16());
        assert!(statuses.iter().all(|status| [200, 503].contains(status)), "{statuses:?}");
        (statuses == [200, 200]).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_is_not_read_is_ended_as_too_slow_while_others_get_everything() {
    let api = filled(2, PATIENCE).await;
    // The connection outlives the stream, so that the reason can be read.
    let address = served(&api, &[("HUB_WRITE_TIMEOUT_SECONDS", "300")]).await;
    let mut slow = stream(address, &[]).await;
    reads_all(address).await;
    room(address).await;

    let mut position = 0;
    let end = loop {
        let frame = next(&mut slow).await.expect("the reason comes last");
        if frame.event == "end" {
            break serde_json::from_str::<Value>(&frame.data).unwrap();
        }
        position = frame.id.parse().unwrap();
    };
    assert_eq!(end, json!({ "reason": "too_slow", "position": position }));
    assert!(
        position <= SYSTEM_EVENTS_MAX + HELD_EVENTS_MAX,
        "{position} events left the program for somebody who did not read"
    );
    assert_eq!(next(&mut slow).await, None);
    // It comes back with its last id, and has missed nothing.
    room(address).await;
    let mut back = stream(address, &[("last-event-id", &position.to_string())]).await;
    assert_eq!(next(&mut back).await.unwrap().event, "hello");
    assert_eq!(next(&mut back).await.unwrap().id, (position + 1).to_string());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_socket_that_is_not_read_is_ended_as_too_slow() {
    let api = filled(1, PATIENCE).await;
    let address = served(&api, &[]).await;
    let mut slow = socket(address).await;
    // Once it has lost its place it can still hear why, for as long as the patience lasts.
    eventually(LIMIT, async || (answered(address, &[]).await?.status() == 200).then_some(())).await;

    let (mut position, mut last) = (0, Value::Null);
    let close = loop {
        let message = timeout(LIMIT, slow.next()).await.expect("it says something in time");
        match message.expect("a close frame comes first").unwrap() {
            Message::Text(text) => last = serde_json::from_str(&text).unwrap(),
            Message::Close(Some(frame)) => break frame,
            _ => {}
        }
        if let Some(sequence) = last["sequence"].as_str() {
            position += 1;
            assert_eq!(sequence, format!("{position:020}"), "in order, and none left out");
        }
    };
    assert_eq!((&last["control"], &last["reason"]), (&json!("end"), &json!("too_slow")));
    assert_eq!((u16::from(close.code), close.reason.as_str()), (4408, "too_slow"));
    assert!(
        position <= SYSTEM_EVENTS_MAX + HELD_EVENTS_MAX,
        "{position} events left the program for somebody who did not read"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_never_reads_loses_the_connection_too() {
    let api = filled(10, Duration::from_millis(500)).await;
    let settings = &[("HUB_CONNECTIONS_MAX", "2"), ("HUB_WRITE_TIMEOUT_SECONDS", "1")];
    let address = served(&api, settings).await;
    let _stream = stream(address, &[]).await;
    let _socket = socket(address).await;
    // Both connections are taken; each that ends makes room for one of these, which are read.
    let first = eventually(LIMIT, async || answered(address, &[]).await).await;
    let second = eventually(LIMIT, async || answered(address, &[]).await).await;
    assert_eq!((first.status(), second.status()), (200.try_into().unwrap(), 200.try_into().unwrap()));
}
