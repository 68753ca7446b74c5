//! A tenant's log over WebSocket, spoken by a client library over real connections.

use std::{net::SocketAddr, time::Duration};

use futures::{SinkExt as _, StreamExt as _};
use hub::{
    config::{Config, Flags},
    listener::Connections,
};
use hub_read_api::StreamSettings;
use serde_json::{Value, json};
use tokio::{
    net::{TcpListener, TcpStream},
    time::timeout,
};
use tokio_tungstenite::{
    MaybeTlsStream, WebSocketStream, connect_async,
    tungstenite::{Error, Message, client::IntoClientRequest as _, protocol::CloseFrame},
};
use uuid::Uuid;

use super::{ACME, Api, OTHER, Who, created, subscription, tenant};

const LIMIT: Duration = Duration::from_secs(20);

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// A listener that has little patience with connections that only rest.
async fn served(api: &Api) -> SocketAddr {
    let find = |variable: &str| match variable {
        "HUB_HEADER_TIMEOUT_SECONDS" | "HUB_IDLE_TIMEOUT_SECONDS" => Some("1".to_owned()),
        _ => None,
    };
    let edge = Config::from_sources(&Flags::default(), &find, None).unwrap().edge;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let serving = Connections::new(&edge).unwrap().serve(listener, api.router.clone(), api.shutdown.clone());
    tokio::spawn(serving);
    address
}

async fn open(
    address: SocketAddr,
    tenant_id: Uuid,
    query: &str,
    headers: &[(&'static str, &str)],
) -> Result<Socket, Error> {
    let uri = format!("ws://{address}/v1/tenants/{tenant_id}/events/socket{query}");
    let mut request = uri.into_client_request().unwrap();
    for (name, value) in headers {
        request.headers_mut().insert(*name, value.parse().unwrap());
    }
    let (socket, response) = timeout(LIMIT, connect_async(request)).await.expect("it answers in time")?;
    assert_eq!(response.status(), 101);
    Ok(socket)
}

async fn socket(address: SocketAddr, who: Who, query: &str) -> Socket {
    let key = format!("Bearer {}", who.key());
    open(address, ACME, query, &[("authorization", &key)]).await.unwrap()
}

/// The next text, as JSON.
async fn text(socket: &mut Socket) -> Value {
    loop {
        let message = timeout(LIMIT, socket.next()).await.expect("it says something in time");
        match message.expect("it goes on").unwrap() {
            Message::Text(text) => return serde_json::from_str(&text).unwrap(),
            Message::Ping(_) => {}
            other => panic!("{other:?} is no text"),
        }
    }
}

/// The last word and the close code; what comes before is passed over.
async fn end(socket: &mut Socket) -> (Value, CloseFrame) {
    let mut last = Value::Null;
    loop {
        let message = timeout(LIMIT, socket.next()).await.expect("it says something in time");
        match message.expect("a close frame comes first").unwrap() {
            Message::Text(text) => last = serde_json::from_str(&text).unwrap(),
            Message::Close(Some(frame)) => return (last["reason"].clone(), frame),
            _ => {}
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_socket_says_the_same_as_a_stream() {
    let api = Api::without_projections(10).await;
    api.register(ACME, "acme").await;
    let address = served(&api).await;
    let mut socket = socket(address, Who::Acme, "?after=0&types=tenant.*").await;
    let hello = text(&mut socket).await;
    assert_eq!((&hello["control"], &hello["position"], &hello["head"]), (&json!("hello"), &json!(0), &json!(1)));
    let first = text(&mut socket).await;
    assert_eq!((&first["type"], &first["specversion"]), (&json!("tenant.registered"), &json!("1.0")));
    let one = [("accept", "application/cloudevents+json")];
    let answer = api.ask(Who::Acme, &format!("/v1/tenants/{ACME}/events/1"), &one).await;
    assert_eq!(answer.ok(), &first);
    // Longer than the listener lets a connection rest between requests.
    assert!(timeout(Duration::from_millis(2_500), socket.next()).await.is_err(), "it is silent and open");
    api.append(subscription(ACME, 1), &[created("mail", "EUR")]).await;
    api.append(tenant(ACME), &[("activated", json!({}))]).await;
    assert_eq!(text(&mut socket).await["sequence"], "00000000000000000003");
    api.shutdown.cancel();
    let (reason, frame) = end(&mut socket).await;
    assert_eq!((reason, u16::from(frame.code)), (json!("shutdown"), 1001));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_socket_is_opened_like_any_request() {
    let api = Api::without_projections(10).await;
    api.register(ACME, "acme").await;
    api.register(OTHER, "other").await;
    let address = served(&api).await;
    let status = async |tenant_id: Uuid, query: &str, headers: &[(&'static str, &str)]| match open(
        address, tenant_id, query, headers,
    )
    .await
    {
        Err(Error::Http(response)) => response.status().as_u16(),
        other => panic!("{other:?}"),
    };
    let acme = format!("Bearer {}", Who::Acme.key());
    assert_eq!(status(ACME, "", &[]).await, 401);
    assert_eq!(status(ACME, "", &[("authorization", "Bearer nonsense")]).await, 401);
    assert_eq!(status(OTHER, "", &[("authorization", &acme)]).await, 404);
    assert_eq!(status(ACME, "?after=9", &[("authorization", &acme)]).await, 400);
    assert_eq!(status(ACME, "?filter=type%20%3D", &[("authorization", &acme)]).await, 400);
    let plain = api.ask(Who::Acme, &format!("/v1/tenants/{ACME}/events/socket"), &[]).await;
    plain.refused(426, "upgrade_required");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_in_a_browser_brings_its_key_as_a_subprotocol() {
    let api = Api::without_projections(10).await;
    api.register(ACME, "acme").await;
    let address = served(&api).await;
    let offered = format!("service-hub.v1, bearer.{}", Who::Acme.key());
    let mut socket = open(address, ACME, "?after=earliest", &[("sec-websocket-protocol", &offered)]).await.unwrap();
    assert_eq!(text(&mut socket).await["control"], "hello");
    assert_eq!(text(&mut socket).await["type"], "tenant.registered");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_has_nothing_to_say_but_pings() {
    let api = Api::without_projections(10).await;
    api.register(ACME, "acme").await;
    let address = served(&api).await;
    let mut polite = socket(address, Who::Acme, "").await;
    polite.send(Message::Ping("are you there".into())).await.unwrap();
    loop {
        let message = timeout(LIMIT, polite.next()).await.unwrap().unwrap().unwrap();
        if let Message::Pong(payload) = message {
            assert_eq!(&payload[..], b"are you there");
            break;
        }
    }
    for words in [Message::text("hello"), Message::binary(vec![0_u8; 3]), Message::text("a".repeat(5_000))] {
        let mut chatty = socket(address, Who::Acme, "").await;
        chatty.send(words).await.unwrap();
        let (reason, frame) = end(&mut chatty).await;
        assert_eq!((reason, u16::from(frame.code)), (json!("unsupported"), 1003));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_socket_has_pings_checkpoints_and_an_end() {
    let settings = StreamSettings {
        heartbeat: Duration::from_millis(150),
        checkpoint_after: Duration::from_millis(100),
        life_max: Duration::from_millis(1_000),
        ..StreamSettings::default()
    };
    let api = Api::with_streams(10, settings).await;
    api.register(ACME, "acme").await;
    let address = served(&api).await;
    let mut socket = socket(address, Who::Acme, "?after=0&types=webhook.*").await;
    assert_eq!(text(&mut socket).await["control"], "hello");
    assert_eq!(text(&mut socket).await, json!({"control": "checkpoint", "position": 1}));
    let message = timeout(LIMIT, socket.next()).await.unwrap().unwrap().unwrap();
    assert!(matches!(message, Message::Ping(_)), "{message:?}");
    let (reason, frame) = end(&mut socket).await;
    assert_eq!((reason, u16::from(frame.code)), (json!("too_long"), 1000));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_leaves_gives_its_place_back() {
    let api = Api::without_projections(1).await;
    api.register(ACME, "acme").await;
    let address = served(&api).await;
    for _ in 0..3 {
        let key = format!("Bearer {}", Who::Acme.key());
        let opened =
            hub_tests::kit::eventually(LIMIT, async || open(address, ACME, "", &[("authorization", &key)]).await.ok());
        let mut socket = opened.await;
        assert_eq!(text(&mut socket).await["control"], "hello");
        socket.close(None).await.unwrap();
    }
}
