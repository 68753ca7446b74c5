//! A stream as server-sent events: one frame for each event, and frames of its own for the words between them.
//!
//! The id of each frame is a position of the tenant's log, so a client that reconnects with `Last-Event-ID` misses nothing and sees nothing
//! twice. What is sent is made ready by a task of its own, one message ahead of the client.

use std::{
    convert::Infallible,
    sync::{Arc, OnceLock},
    time::Duration,
};

use aide::{
    OperationOutput,
    generate::GenContext,
    openapi::{self, Operation},
    transform::TransformOperation,
};
use axum::{
    body::Body,
    extract::State,
    http::{HeaderName, HeaderValue, header},
    response::{IntoResponse, Response},
};
use bytes::{Bytes, BytesMut};
use hub_http::{
    LastEventId, Problem, Query, ReadConsistency, ReadPosition, TenantCaller,
    openapi::{Inferred, described, header_documented, inferred, response_documented},
};
use schemars::json_schema;
use serde_json::json;
use tokio::sync::mpsc;

use super::{
    StreamQuery,
    follower::{Left, Outlet},
    message::{End, Message},
};
use crate::{events::TAG, state::Queries};

/// So soon a client comes back after a stream has ended.
const RECONNECT_DELAY: Duration = Duration::from_secs(2);

/// So many messages wait for the client besides the one that it is being sent.
const WAITING_MAX: usize = 1;

pub(crate) async fn stream(
    caller: TenantCaller,
    LastEventId(last_event_id): LastEventId,
    consistency: ReadConsistency,
    Query(query): Query<StreamQuery>,
    State(queries): State<Queries>,
) -> Result<EventStream, Problem> {
    let follower = queries.follow(caller, last_event_id, consistency, &query).await?;
    let head = follower.reader.head;
    let (sender, mut receiver) = mpsc::channel::<Bytes>(WAITING_MAX);
    let last = Arc::new(OnceLock::new());
    let gone = sender.clone();
    let left = async move {
        gone.closed().await;
        None
    };
    tokio::spawn(follower.run(Frames { sender, last: last.clone() }, left));
    let body = async_stream::stream! {
        while let Some(bytes) = receiver.recv().await {
            yield Ok::<_, Infallible>(bytes);
        }
        if let Some(bytes) = last.get() {
            yield Ok(bytes.clone());
        }
    };
    Ok(EventStream { body: Body::from_stream(body), head })
}

/// The frames of one client.
#[derive(Debug)]
struct Frames {
    sender: mpsc::Sender<Bytes>,
    /// What is sent behind everything else.
    last: Arc<OnceLock<Bytes>>,
}

impl Outlet for Frames {
    async fn room(&mut self) -> Result<(), Left> {
        self.sender.reserve().await.map(drop).map_err(|_| Left)
    }

    async fn say(&mut self, message: Message) -> Result<(), Left> {
        let bytes = match message {
            Message::Hello(hello) => {
                let retry = RECONNECT_DELAY.as_millis();
                format!("id: {}\nevent: hello\nretry: {retry}\ndata: {}\n\n", hello.position, hello.to_json()).into()
            }
            Message::Events(events) => match &events[..] {
                [event] => event.frame(),
                events => {
                    let mut bytes = BytesMut::with_capacity(events.iter().map(|event| event.frame().len()).sum());
                    events.iter().for_each(|event| bytes.extend_from_slice(&event.frame()));
                    bytes.freeze()
                }
            },
            Message::Checkpoint(position) => {
                let data = json!({ "position": position });
                format!("id: {position}\nevent: checkpoint\ndata: {data}\n\n").into()
            }
            Message::Heartbeat => Bytes::from_static(b": heartbeat\n\n"),
        };
        self.sender.send(bytes).await.map_err(|_| Left)
    }

    async fn end(self, end: End, position: i64) {
        // Without an id: the client goes on behind the last event that it has got.
        let data = json!({ "reason": end.reason(), "position": position });
        // It is the only one who says it.
        drop(self.last.set(format!("event: end\ndata: {data}\n\n").into()));
    }
}

/// The answer of a stream: `text/event-stream` without an end of its own.
pub(crate) struct EventStream {
    body: Body,
    head: i64,
}

impl IntoResponse for EventStream {
    fn into_response(self) -> Response {
        // Some proxies gather an answer before they pass it on, unless they are told not to.
        const BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");
        let headers = [
            (header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream")),
            (header::CACHE_CONTROL, HeaderValue::from_static("no-cache")),
            (BUFFERING, HeaderValue::from_static("no")),
        ];
        (ReadPosition(self.head), headers, self.body).into_response()
    }
}

impl OperationOutput for EventStream {
    type Inner = Self;

    fn operation_response(_: &mut GenContext, _operation: &mut Operation) -> Option<openapi::Response> {
        let schema = json_schema!({
            "type": "string",
            "description": "Server-sent events. `id` is a position of the tenant's log and `event` the type of the event, whose data is one \
                CloudEvent in JSON. `hello`, `checkpoint` and `end` are no events of the tenant.",
            "contentMediaType": "text/event-stream",
        });
        let mut response = response_documented("The stream; it stays open.", "text/event-stream", schema);
        let head = "Position of the tenant's last event when the stream began.";
        response.headers.insert("Projection-Position".into(), header_documented(head, "integer"));
        Some(response)
    }

    fn inferred_responses(ctx: &mut GenContext, operation: &mut Operation) -> Inferred {
        inferred(200, Self::operation_response(ctx, operation))
    }
}

pub(crate) fn describe(operation: TransformOperation<'_>) -> TransformOperation<'_> {
    let description = "Server-sent events, oldest first: `id` is the position in the tenant's log, `event` the type, `data` one CloudEvent in JSON. \
        Begins behind `Last-Event-ID` or `after`; `after=0` sends the whole log first; without either, only what happens from now on is sent. \
        The first frame is `hello` with the place where it begins and the head of the log. After 10 s in which no event was wanted a `checkpoint` \
        says how far the log has been looked at; a comment comes after 15 s of silence. `end` says why the server ends the stream \
        (`token_expired`, `forbidden`, `shutdown`, `too_slow`, `too_long` after an hour, `unavailable`); clients come back by themselves with the last id \
        and miss nothing. A `Last-Event-ID` ahead of the log is refused with `invalid_event_id`; one that is too old to be served with \
        `position_expired`; beyond the bounds on open streams, of the process and of each tenant, the answer is `overloaded`.";
    described(operation, "streamEvents", TAG, "Follow a tenant's events", description)
}
