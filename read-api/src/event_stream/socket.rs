//! A stream over WebSocket: the same messages, each a text in JSON, and a close code that says why it ends.

use std::time::Duration;

use aide::{
    OperationOutput,
    generate::GenContext,
    openapi::{self, Operation},
    transform::TransformOperation,
};
use axum::{
    body::Bytes,
    extract::{
        State,
        ws::{self, CloseFrame, Utf8Bytes, WebSocket},
    },
    response::{IntoResponse, Response},
};
use futures::{
    SinkExt as _, StreamExt as _,
    stream::{SplitSink, SplitStream},
};
use hub_http::{
    LastEventId, Problem, Query, ReadConsistency, TenantCaller,
    openapi::{Inferred, described, header_documented, inferred},
    upgrade::Upgrade,
};
use serde_json::{Value, json};
use tokio::time::timeout;

use super::{
    StreamQuery,
    follower::{Left, Outlet},
    message::{End, Message},
};
use crate::{events::TAG, state::Queries};

/// What is spoken here; chosen when the client offers it.
const SUBPROTOCOL: &str = "service-hub.v1";

/// Longest message of a client, in bytes: it has nothing to say but pings and its end.
const RECEIVED_BYTES_MAX: usize = 1 << 10;

/// What is read at once, in bytes.
const READ_BUFFER_BYTES: usize = 4 << 10;

/// Messages are gathered up to so many bytes before they are written.
const WRITE_BUFFER_BYTES: usize = 32 << 10;

/// The answer to a client's end may take so long.
const CLOSE_LIMIT: Duration = Duration::from_secs(1);

pub(crate) async fn socket(
    caller: TenantCaller,
    LastEventId(last_event_id): LastEventId,
    consistency: ReadConsistency,
    Query(query): Query<StreamQuery>,
    Upgrade(upgrade): Upgrade,
    State(queries): State<Queries>,
) -> Result<EventSocket, Problem> {
    let follower = queries.follow(caller, last_event_id, consistency, &query).await?;
    let upgrade = upgrade
        .protocols([SUBPROTOCOL])
        .read_buffer_size(READ_BUFFER_BYTES)
        .write_buffer_size(WRITE_BUFFER_BYTES)
        .max_message_size(RECEIVED_BYTES_MAX)
        .max_frame_size(RECEIVED_BYTES_MAX);
    Ok(EventSocket(upgrade.on_upgrade(async move |socket| {
        let (sink, stream) = socket.split();
        follower.run(Texts(sink), left(stream)).await;
    })))
}

/// Returns when the client leaves, or says what it should not.
async fn left(mut stream: SplitStream<WebSocket>) -> Option<End> {
    loop {
        match stream.next().await {
            Some(Ok(ws::Message::Ping(_) | ws::Message::Pong(_))) => {}
            Some(Ok(ws::Message::Close(_))) => {
                // Reading on sends the answer.
                drop(timeout(CLOSE_LIMIT, stream.next()).await);
                return None;
            }
            Some(Ok(ws::Message::Text(_) | ws::Message::Binary(_)) | Err(_)) => return Some(End::Unsupported),
            None => return None,
        }
    }
}

/// The messages to one client.
#[derive(Debug)]
struct Texts(SplitSink<WebSocket, ws::Message>);

impl Texts {
    async fn send(&mut self, message: ws::Message) -> Result<(), Left> {
        self.0.send(message).await.map_err(|_| Left)
    }

    /// A message that is no event: it says so by the member `control`.
    async fn control(&mut self, name: &str, mut members: Value) -> Result<(), Left> {
        members["control"] = name.into();
        self.send(ws::Message::text(members.to_string())).await
    }
}

impl Outlet for Texts {
    async fn room(&mut self) -> Result<(), Left> {
        // Whatever was said has been written to the socket.
        Ok(())
    }

    async fn say(&mut self, message: Message) -> Result<(), Left> {
        match message {
            Message::Hello(hello) => self.control("hello", hello.to_json()).await,
            Message::Events(events) => {
                for event in events {
                    let text = Utf8Bytes::try_from(event.json()).map_err(|_| Left)?;
                    self.0.feed(ws::Message::Text(text)).await.map_err(|_| Left)?;
                }
                self.0.flush().await.map_err(|_| Left)
            }
            Message::Checkpoint(position) => self.control("checkpoint", json!({ "position": position })).await,
            Message::Heartbeat => self.send(ws::Message::Ping(Bytes::new())).await,
        }
    }

    async fn end(mut self, end: End, position: i64) {
        let close = ws::Message::Close(Some(CloseFrame { code: code(end), reason: end.reason().into() }));
        let said = self.control("end", json!({ "reason": end.reason(), "position": position })).await;
        if said.is_ok() && self.send(close).await.is_ok() {
            drop(self.0.close().await);
        }
    }
}

/// The close code: those of the protocol where one fits, else the place of the HTTP status in the range for applications.
fn code(end: End) -> u16 {
    match end {
        End::TooLong => ws::close_code::NORMAL,
        End::Shutdown => ws::close_code::AWAY,
        End::Unsupported => ws::close_code::UNSUPPORTED,
        End::Unavailable => ws::close_code::AGAIN,
        End::TokenExpired => 4401,
        End::Forbidden => 4403,
        End::TooSlow => 4408,
    }
}

/// The answer that leaves HTTP.
pub(crate) struct EventSocket(Response);

impl IntoResponse for EventSocket {
    fn into_response(self) -> Response {
        self.0
    }
}

impl OperationOutput for EventSocket {
    type Inner = Self;

    fn operation_response(_: &mut GenContext, _operation: &mut Operation) -> Option<openapi::Response> {
        let description =
            "From here on WebSocket is spoken: each text is a CloudEvent in JSON, or has the member `control`.";
        let mut response = openapi::Response { description: description.to_owned(), ..openapi::Response::default() };
        let protocol = "`service-hub.v1`, when the client offers it.";
        response.headers.insert("Sec-WebSocket-Protocol".into(), header_documented(protocol, "string"));
        Some(response)
    }

    fn inferred_responses(ctx: &mut GenContext, operation: &mut Operation) -> Inferred {
        inferred(101, Self::operation_response(ctx, operation))
    }
}

pub(crate) fn describe(operation: TransformOperation<'_>) -> TransformOperation<'_> {
    let description = "The same as `/events/stream` over WebSocket (RFC 6455, HTTP/1.1): each text message is one CloudEvent in JSON, or a control message \
        with the member `control`: `hello`, `checkpoint`, `end`. A ping comes after 15 s of silence. The stream is ended with `end` and a close \
        code: 1000 `too_long`, 1001 `shutdown`, 1013 `unavailable`, 4401 `token_expired`, 4403 `forbidden`, 4408 `too_slow`. Clients have \
        nothing to say but pings; any other message is closed with 1003. Where `Authorization` cannot be sent, as in browsers, the key is \
        taken from the offered subprotocol `bearer.<key>`, beside `service-hub.v1`.";
    described(operation, "openEventSocket", TAG, "Follow a tenant's events over WebSocket", description)
}
