//! The forms in which events are answered: as recorded, and as CloudEvents in their three content modes.

use std::time::Instant;

use aide::{
    OperationInput, OperationOutput,
    generate::GenContext,
    openapi::{self, MediaType, Operation, SchemaObject},
};
use axum::{
    Json,
    extract::FromRequestParts,
    http::{HeaderMap, HeaderName, HeaderValue, Uri, header, request::Parts},
    response::{IntoResponse, Response},
};
use hub_cloudevents::{BATCH, DATA, Event, STRUCTURED};
use hub_http::{
    Deadline, Problem, ReadPosition,
    accept::preferred,
    headers::{EVENTS_COMPLETE, EVENTS_NEXT_AFTER},
    openapi::{Inferred, header_documented, inferred},
};
use schemars::{JsonSchema, Schema, json_schema};
use serde::Serialize;

use super::Found;
use crate::recorded::{EventAnswer, Read};

/// The parameter of `application/json` that asks for binary mode.
const BINARY: (&str, &str) = ("mode", "binary");

/// Of one event or of a page; the first one of each when nothing is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Recorded,
    CloudEvents,
    Binary,
}

/// What a request says about its answer: the form, where it was sent to, and when the answer must have begun.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    accept: HeaderMap,
    uri: Uri,
    pub(super) deadline: Option<Instant>,
}

impl<S: Send + Sync> FromRequestParts<S> for Asked {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let Ok(Deadline(deadline)) = Deadline::from_request_parts(parts, state).await;
        let accept = parts.headers.get_all(header::ACCEPT).iter().map(|value| (header::ACCEPT, value.clone()));
        Ok(Self { accept: accept.collect(), uri: parts.uri.clone(), deadline })
    }
}

/// `Accept` is no parameter of an operation: the document lists the media types of the answer.
impl OperationInput for Asked {}

impl Asked {
    fn form(&self, cloud_events: &str) -> Form {
        match preferred(&self.accept, &[DATA, cloud_events]) {
            0 if self.binary() => Form::Binary,
            0 => Form::Recorded,
            _ => Form::CloudEvents,
        }
    }

    /// Whether `Accept` has `application/json; mode=binary`.
    fn binary(&self) -> bool {
        let texts = self.accept.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
        texts.flat_map(|text| text.split(',')).any(|range| {
            let mut parts = range.split(';').map(str::trim);
            let json = parts.next().is_some_and(|name| name.eq_ignore_ascii_case(DATA));
            json && parts.filter_map(|part| part.split_once('=')).any(|(name, value)| {
                name.eq_ignore_ascii_case(BINARY.0) && value.trim_matches('"').eq_ignore_ascii_case(BINARY.1)
            })
        })
    }

    /// The same query from another place on.
    fn link(&self, after: i64) -> Option<HeaderValue> {
        let query = self.uri.query().unwrap_or_default();
        let kept = form_urlencoded::parse(query.as_bytes()).filter(|(name, _)| name != "after");
        let query = form_urlencoded::Serializer::new(String::new())
            .extend_pairs(kept)
            .append_pair("after", &after.to_string())
            .finish();
        HeaderValue::try_from(format!("<{}?{query}>; rel=\"next\"", self.uri.path())).ok()
    }

    pub(super) fn page(&self, found: Found) -> EventPageAnswer {
        let (complete, next_after) = (found.complete(), found.next_after);
        let head = ReadPosition(found.head);
        let mut headers = HeaderMap::new();
        headers.insert(EVENTS_NEXT_AFTER, HeaderValue::from(next_after));
        headers.insert(EVENTS_COMPLETE, HeaderValue::from_static(if complete { "true" } else { "false" }));
        headers.extend(self.link(next_after).map(|link| (header::LINK, link)));
        headers.insert(header::VARY, HeaderValue::from_static("accept"));
        let items = found.items.into_iter();
        let response = if self.form(BATCH) == Form::CloudEvents {
            let events: Vec<Event> = items.map(|read| read.event).collect();
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(BATCH));
            let body = serde_json::to_vec(&events).expect("an event is plain JSON");
            (head, headers, body).into_response()
        } else {
            let items = items.map(EventAnswer::from).collect();
            (head, headers, Json(EventPage { items, next_after, complete })).into_response()
        };
        EventPageAnswer(response)
    }

    pub(super) fn one(&self, read: Read, head: ReadPosition) -> OneEventAnswer {
        let vary = (header::VARY, HeaderValue::from_static("accept"));
        OneEventAnswer(match self.form(STRUCTURED) {
            Form::Recorded => (head, [vary], Json(EventAnswer::from(read))).into_response(),
            Form::CloudEvents => {
                let media_type = (header::CONTENT_TYPE, HeaderValue::from_static(STRUCTURED));
                (head, [vary, media_type], read.event.to_json()).into_response()
            }
            Form::Binary => {
                let mut headers = HeaderMap::from_iter([vary, (header::CONTENT_TYPE, HeaderValue::from_static(DATA))]);
                for (name, value) in read.event.to_headers() {
                    if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value)) {
                        headers.insert(name, value);
                    }
                }
                (head, headers, read.event.data.get().to_owned()).into_response()
            }
        })
    }
}

/// A page of a tenant's log.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "EventPage")]
struct EventPage {
    /// The events, in order. Fewer than the limit, or none, does not mean that there are no more: see `complete`.
    items: Vec<EventAnswer>,
    /// Where to go on: send it as `after`.
    next_after: i64,
    /// Whether everything up to the end of the log, as it was then, has been looked at.
    complete: bool,
}

/// A CloudEvent as the document shows it.
#[derive(JsonSchema)]
#[schemars(rename = "CloudEvent", description = "A CloudEvent 1.0.")]
#[expect(dead_code, reason = "exists for its JSON Schema")]
struct CloudEvent {
    /// `1.0`.
    specversion: String,
    /// Identifies the event.
    id: String,
    /// `urn:service-hub:tenant:<tenant id>`.
    source: String,
    /// What happened, such as `tenant.suspended`.
    r#type: String,
    /// `<aggregate type>/<aggregate id>`.
    subject: String,
    /// When it happened (RFC 3339).
    time: String,
    /// `application/json`.
    datacontenttype: String,
    /// `urn:service-hub:event-type:<type>:<version>`.
    dataschema: String,
    /// Place in the tenant's log, 20 digits.
    sequence: String,
    /// The aggregate's id.
    partitionkey: String,
    /// Place among the events of the same aggregate.
    streamsequence: String,
    /// Whose it is.
    tenantid: String,
    /// Who caused it.
    actor: Option<String>,
    /// Ties together what one request set in motion.
    correlationid: Option<String>,
    /// What caused it, if that was an event or a command.
    causationid: Option<String>,
    /// W3C trace context, if there was one.
    traceparent: Option<String>,
    /// The payload without secrets.
    data: serde_json::Value,
}

fn documented(description: &str, forms: [(&str, Schema); 2]) -> openapi::Response {
    let mut response = openapi::Response { description: description.to_owned(), ..openapi::Response::default() };
    for (media_type, schema) in forms {
        let schema = SchemaObject { json_schema: schema, external_docs: None, example: None };
        response.content.insert(media_type.to_owned(), MediaType { schema: Some(schema), ..MediaType::default() });
    }
    let head = "Position of the tenant's last event.";
    response.headers.insert("Projection-Position".into(), header_documented(head, "integer"));
    response
}

/// A page in the form that was asked for.
pub(super) struct EventPageAnswer(Response);

impl IntoResponse for EventPageAnswer {
    fn into_response(self) -> Response {
        self.0
    }
}

impl OperationOutput for EventPageAnswer {
    type Inner = Self;

    fn operation_response(ctx: &mut GenContext, _operation: &mut Operation) -> Option<openapi::Response> {
        let page = ctx.schema.subschema_for::<EventPage>();
        let event = ctx.schema.subschema_for::<CloudEvent>();
        let batch = json_schema!({"type": "array", "items": event});
        let mut response = documented("A page of the tenant's log.", [(DATA, page), (BATCH, batch)]);
        for (name, description, json_type) in [
            ("Link", "`rel=\"next\"`: the same query from where this page ends.", "string"),
            ("Events-Next-After", "Where to go on: send it as `after`.", "integer"),
            ("Events-Complete", "Whether everything up to the end of the log has been looked at.", "boolean"),
        ] {
            response.headers.insert(name.into(), header_documented(description, json_type));
        }
        Some(response)
    }

    fn inferred_responses(ctx: &mut GenContext, operation: &mut Operation) -> Inferred {
        inferred(200, Self::operation_response(ctx, operation))
    }
}

/// One event in the form that was asked for.
pub(super) struct OneEventAnswer(Response);

impl IntoResponse for OneEventAnswer {
    fn into_response(self) -> Response {
        self.0
    }
}

impl OperationOutput for OneEventAnswer {
    type Inner = Self;

    fn operation_response(ctx: &mut GenContext, _operation: &mut Operation) -> Option<openapi::Response> {
        let recorded = ctx.schema.subschema_for::<EventAnswer>();
        let event = ctx.schema.subschema_for::<CloudEvent>();
        Some(documented("The event.", [(DATA, recorded), (STRUCTURED, event)]))
    }

    fn inferred_responses(ctx: &mut GenContext, operation: &mut Operation) -> Inferred {
        inferred(200, Self::operation_response(ctx, operation))
    }
}

#[cfg(test)]
mod tests {
    use axum::http::{HeaderMap, header};
    use hub_cloudevents::STRUCTURED;

    use super::{Asked, Form};

    fn asked(accept: &str, uri: &str) -> Asked {
        let accept = HeaderMap::from_iter([(header::ACCEPT, accept.parse().unwrap())]);
        Asked { accept, uri: uri.parse().unwrap(), deadline: None }
    }

    #[test]
    fn the_form_is_what_accept_says() {
        for (accept, form) in [
            ("*/*", Form::Recorded),
            ("application/json", Form::Recorded),
            ("application/cloudevents+json", Form::CloudEvents),
            ("application/cloudevents+json;q=0.1, application/json", Form::Recorded),
            ("application/json; mode=binary", Form::Binary),
            ("text/html, application/json;q=0.9;Mode=\"binary\"", Form::Binary),
            ("application/json; mode=structured", Form::Recorded),
        ] {
            assert_eq!(asked(accept, "/").form(STRUCTURED), form, "{accept}");
        }
    }

    #[test]
    fn the_next_page_is_the_same_query_from_another_place() {
        let link = asked("*/*", "/v1/tenants/t/events?after=1&types=a.*&filter=x%20%3D%20'y'").link(9).unwrap();
        assert_eq!(link, "</v1/tenants/t/events?types=a.*&filter=x+%3D+%27y%27&after=9>; rel=\"next\"");
    }
}
