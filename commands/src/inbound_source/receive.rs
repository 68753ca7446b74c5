//! What providers send: `POST /v1/tenants/{tenant_id}/inbound/{inbound_source_id}`, let in by its signature alone.
//!
//! The order of the checks: too many failures from the address 429, body 408 and 413, unknown source 404, signature 401, rate of the
//! source 429, then the command. A signature that is not good counts for the address and this source: providers send for many tenants
//! from few addresses, and one who has not given his provider the right secret must not shut out the others. An unknown source counts
//! for the address alone, so that making up sources does not help. A delivery is executed once: its command id is derived from what the provider names it by, where its
//! signature covers that, and from its body otherwise. Refusals are not kept, so a delivery that comes again later may be taken then.
//! A process may know an older secret than another has put in its place, so the command names the secret, and its aggregate has the last word.

use std::collections::BTreeMap;

use aide::{
    NoApi, OperationInput,
    axum::{ApiRouter, routing::post_with},
    transform::TransformOperation,
};
use axum::{
    Extension,
    extract::{FromRequestParts, State},
    http::{HeaderMap, HeaderValue, StatusCode, header::CONTENT_TYPE, request::Parts},
    response::{IntoResponse as _, Response},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use chrono::{DateTime, Utc};
use hub_domain::{
    inbound_source::{Command, Content, Error, InboundSource, Scheme},
    tenant::Standing,
};
use hub_event_store::{
    event::Metadata,
    repository::{ExecuteError, Order, Prepared},
};
use hub_http::{
    Admission, BodyLimit, Path, Problem, RawBody, body, headers::IDEMPOTENT_REPLAYED, traceparent::TraceParent,
};
use hub_signature::{
    ID_HEADER, Received, Refused, SIGNATURE_HEADER, TIMESTAMP_HEADER, TOLERANCE, VerifyingKey,
    provider::{TextSecret, verify_body, verify_stripe},
    verify,
};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;
use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::DOCUMENTED;
use crate::{
    Commands,
    dispatch::{PrepareError, problem_of},
    surroundings::look,
};

/// The id of the operation, which anybody may call.
pub const OPERATION: &str = "receiveInbound";

/// Counter of what was taken, without repetitions.
pub const RECEIVED: &str = "hub_inbound_received_total";

/// Counter of what was not taken, by reason.
pub const REFUSED: &str = "hub_inbound_refused_total";

/// Longest body that is taken, in bytes.
pub const BODY_BYTES_MAX: usize = 256 << 10;

/// Longest id of a delivery, and longest value of a header that is kept, in bytes.
const TEXT_BYTES_MAX: usize = 255;

/// Who is named as the actor of what was received.
const ACTOR: &str = "process:inbound";

/// Namespace of the command ids of deliveries.
const NAMESPACE: Uuid = Uuid::from_u128(0x2a6c_40f5_9d3e_4c51_9b1c_7e52_0d6a_f3b8);

/// The headers that are kept with what was received, where they are there; never a signature.
const HEADERS_KEPT: &[&str] =
    &["webhook-id", "webhook-timestamp", "x-github-delivery", "x-github-event", "x-github-hook-id"];

/// The receiving route, which has no caller and no permission.
pub(crate) fn routes() -> ApiRouter<Commands> {
    let limit = BodyLimit { bytes_max: BODY_BYTES_MAX, ..BodyLimit::default() };
    let route = post_with(receive, describe).layer(Extension(limit));
    ApiRouter::new().api_route("/v1/tenants/{tenant_id}/inbound/{inbound_source_id}", route)
}

fn describe(operation: TransformOperation<'_>) -> TransformOperation<'_> {
    let description = "For the provider of an inbound source. The request is let in by its signature, as the source's scheme has it, and needs no \
                       key. A delivery that comes again is answered like the first time, with `Idempotent-Replayed: true`. At most 256 KiB.";
    DOCUMENTED
        .creation(operation, OPERATION, "Receive what a provider sends", description)
        .response_with::<204, (), _>(|response| response.description("It is an event, from now or from before."))
        .response_with::<401, Problem, _>(|response| response.description("`invalid_signature`."))
}

#[derive(Debug, Deserialize, JsonSchema)]
struct InboundPath {
    /// The tenant's id.
    tenant_id: Uuid,
    /// The source's id.
    inbound_source_id: Uuid,
}

/// What comes before the body: nothing is read from an address with too many failures.
struct Knock {
    admission: Option<Admission>,
    headers: HeaderMap,
}

impl<S: Send + Sync> FromRequestParts<S> for Knock {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let Path(InboundPath { inbound_source_id, .. }) = Path::from_request_parts(parts, state).await?;
        let admission = Admission::of(&parts.extensions).cloned();
        if let Some(admission) = &admission {
            admission.signature_allowed(inbound_source_id)?;
        }
        Ok(Self { admission, headers: parts.headers.clone() })
    }
}

impl OperationInput for Knock {}

/// A delivery whose signature is good.
#[derive(Debug, PartialEq, Eq)]
struct Verified {
    /// The secret by which it is.
    secret_id: Uuid,
    /// When it was.
    at: DateTime<Utc>,
    named: Named,
}

/// What the provider calls a delivery.
#[derive(Debug, PartialEq, Eq)]
struct Named {
    /// As it is spoken of.
    delivery_id: String,
    /// Two deliveries with the same are one.
    once: [u8; 32],
}

async fn receive(
    Path(InboundPath { tenant_id, inbound_source_id }): Path<InboundPath>,
    knock: Knock,
    State(commands): State<Commands>,
    RawBody { bytes }: RawBody,
) -> Result<NoApi<Response>, Problem> {
    let place = [tenant_id, inbound_source_id];
    let turned_away = |refusal: Refusal| {
        if let Some(admission) = &knock.admission {
            match refusal.problem.status() {
                StatusCode::UNAUTHORIZED => admission.signature_failed(inbound_source_id),
                StatusCode::NOT_FOUND => admission.login_failed(),
                _ => {}
            }
        }
        metrics::counter!(REFUSED, "reason" => refusal.reason).increment(1);
        refusal.problem
    };
    let first = verified(&commands, place, &knock.headers, &bytes).await.map_err(turned_away)?;
    if let Some(admission) = &knock.admission {
        admission.admit(&format!("inbound_source:{inbound_source_id}"), Some(tenant_id))?;
    }
    let appended = match append(&commands, place, first, &knock.headers, &bytes).await {
        // It may be signed by another secret as well, and what this process knows is the latest by now.
        Err(NotAppended::SecretReplaced) => {
            let again = verified(&commands, place, &knock.headers, &bytes).await.map_err(turned_away)?;
            append(&commands, place, again, &knock.headers, &bytes).await
        }
        appended => appended,
    };
    let replayed = appended.map_err(|error| match error {
        NotAppended::SecretReplaced => turned_away(Refused::Signature.into()),
        NotAppended::Problem(problem) => problem,
    })?;
    if replayed {
        return Ok((StatusCode::NO_CONTENT, [(IDEMPOTENT_REPLAYED, HeaderValue::from_static("true"))])
            .into_response()
            .into());
    }
    metrics::counter!(RECEIVED).increment(1);
    Ok(StatusCode::NO_CONTENT.into_response().into())
}

/// Why a request is not let in.
struct Refusal {
    problem: Problem,
    /// For the metric.
    reason: &'static str,
}

impl From<Problem> for Refusal {
    fn from(problem: Problem) -> Self {
        Self { problem, reason: "unavailable" }
    }
}

impl From<Refused> for Refusal {
    fn from(refused: Refused) -> Self {
        let reason = match refused {
            Refused::Id | Refused::Timestamp => "malformed",
            Refused::TooOld | Refused::TooNew => "time",
            Refused::Signature => "signature",
        };
        Self { problem: Problem::invalid_signature(refused.to_string()), reason }
    }
}

/// Verifies by the source as it is known here, and by its latest state when that does not do.
async fn verified(
    commands: &Commands,
    [tenant_id, source_id]: [Uuid; 2],
    headers: &HeaderMap,
    body: &[u8],
) -> Result<Verified, Refusal> {
    let mut refusal = None;
    for attempt in 0..2 {
        let loaded = look::<InboundSource, Error>(&commands.inbound_sources, tenant_id, source_id, attempt).await;
        let (source, _) = loaded.map_err(|error| problem_of(&error))?;
        let now = commands.store.now();
        refusal = Some(match source.state.provider() {
            // The same for a source that never was, one that is removed, one of another tenant, and an unknown tenant.
            None => Refusal { problem: Problem::not_found(), reason: "unknown" },
            Some(provider) => {
                let mut refused = Refused::Signature;
                for secret in provider.secrets(now) {
                    let secret_id = secret.secret_id;
                    let place = [tenant_id, source_id, secret_id];
                    let Some(opened) = commands.sealing.open(secret.sealed_secret.as_str(), place) else {
                        tracing::error!(%source_id, %secret_id, "the secret of an inbound source cannot be opened");
                        continue;
                    };
                    match verified_by(&provider.scheme, opened, headers, body, now) {
                        Ok(named) => return Ok(Verified { secret_id, at: now, named }),
                        Err(no) => refused = no,
                    }
                }
                refused.into()
            }
        });
    }
    Err(refusal.expect("it was tried"))
}

fn verified_by(
    scheme: &Scheme,
    secret: String,
    headers: &HeaderMap,
    body: &[u8],
    now: DateTime<Utc>,
) -> Result<Named, Refused> {
    let now = now.timestamp();
    let header = |name: &str| text(headers, name).unwrap_or_default();
    let once = |name: &str| Sha256::digest(name).into();
    let of_body = hex(&Sha256::digest(body));
    if *scheme == (Scheme::StandardWebhooks {}) {
        let keys: Vec<_> = VerifyingKey::parse(&secret).into_iter().collect();
        let id = header(ID_HEADER);
        // Several signatures are longer than what is kept of a header.
        let signature = only(headers, SIGNATURE_HEADER).unwrap_or_default();
        verify(Received { id, timestamp: header(TIMESTAMP_HEADER), signature, body }, &keys, now, TOLERANCE)?;
        return Ok(Named { delivery_id: id.to_owned(), once: once(id) });
    }
    let secrets = [TextSecret::new(secret)];
    match scheme {
        Scheme::StandardWebhooks {} => Err(Refused::Signature),
        Scheme::Github {} => {
            verify_body(header("x-hub-signature-256"), "sha256=", body, &secrets)?;
            // GitHub signs the body only, so its delivery id proves nothing: it is told, and the body counts once.
            let named = Some(header("x-github-delivery")).filter(|id| !id.is_empty());
            Ok(Named { delivery_id: named.unwrap_or(&of_body).to_owned(), once: once(&of_body) })
        }
        Scheme::Stripe {} => {
            let signature = only(headers, "stripe-signature").unwrap_or_default();
            verify_stripe(signature, body, &secrets, now, TOLERANCE)?;
            let event: Value = serde_json::from_slice(body).unwrap_or_default();
            let named = event["id"].as_str().filter(|id| (1..=TEXT_BYTES_MAX).contains(&id.len()));
            let id = named.unwrap_or(&of_body);
            Ok(Named { delivery_id: id.to_owned(), once: once(id) })
        }
        Scheme::HmacSha256 { header: name, prefix } => {
            verify_body(header(name.as_str()), prefix.as_str(), body, &secrets)?;
            Ok(Named { once: once(&of_body), delivery_id: of_body })
        }
    }
}

/// Why a delivery that was verified is no event.
enum NotAppended {
    /// The secret by which it was verified is good no longer.
    SecretReplaced,
    Problem(Problem),
}

impl From<Problem> for NotAppended {
    fn from(problem: Problem) -> Self {
        Self::Problem(problem)
    }
}

/// Whether it was a repetition.
async fn append(
    commands: &Commands,
    [tenant_id, source_id]: [Uuid; 2],
    Verified { secret_id, at: now, named: Named { delivery_id, once } }: Verified,
    headers: &HeaderMap,
    body: &[u8],
) -> Result<bool, NotAppended> {
    let content_type = text(headers, CONTENT_TYPE.as_str()).unwrap_or("application/octet-stream");
    let command = Command::Receive {
        secret_id,
        now,
        delivery_id,
        content_type: content_type.to_owned(),
        body: content(content_type, body),
        headers: kept(headers),
    };
    let traceparent = TraceParent::of(headers);
    commands.living_tenant::<Error>(tenant_id, 0).await.map_err(|error| match error {
        PrepareError::Refused(refused) => refused.problem(),
        PrepareError::Execute(error) => problem_of(&error),
    })?;
    let command_id = Uuid::new_v5(&NAMESPACE, &[source_id.as_bytes(), once.as_slice()].concat());
    let metadata = Metadata {
        actor: ACTOR.to_owned(),
        command_id,
        correlation_id: command_id,
        causation_id: None,
        traceparent: traceparent.map(|parent| parent.as_str().to_owned()),
    };
    let order = Order { expected_sequence: None, repeatable: true, fingerprint: once, metadata };
    let prepare = |attempt| {
        let command = command.clone();
        async move {
            let (tenant, guard) = look::<_, Error>(&commands.tenants, tenant_id, tenant_id, attempt).await?;
            if tenant.state.standing() == Standing::Archived {
                // Since the look above; the next delivery is told.
                return Err(ExecuteError::Contended);
            }
            Ok(Prepared { guards: vec![guard], ..Prepared::new(command) })
        }
    };
    let executed = commands.inbound_sources.repository.execute(tenant_id, source_id, &order, prepare).await;
    executed.map(|accepted| accepted.replayed).map_err(|error| match error {
        ExecuteError::Refused(Error::SecretReplaced) => NotAppended::SecretReplaced,
        error => problem_of(&error).into(),
    })
}

/// The only header of this name.
fn only<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let mut values = headers.get_all(name).iter();
    let (Some(value), None) = (values.next(), values.next()) else { return None };
    value.to_str().ok()
}

/// The only header of this name, when it is short.
fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    only(headers, name).filter(|value| value.len() <= TEXT_BYTES_MAX)
}

fn kept(headers: &HeaderMap) -> BTreeMap<String, String> {
    let named = HEADERS_KEPT.iter().filter_map(|name| Some(((*name).to_owned(), text(headers, name)?.to_owned())));
    named.collect()
}

/// JSON when it says so and is; a NUL, which PostgreSQL's texts cannot have, keeps a body from that.
fn content(content_type: &str, bytes: &[u8]) -> Content {
    let essence = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let json = essence == "application/json" || (essence.starts_with("application/") && essence.ends_with("+json"));
    let nul = bytes.windows(br"\u0000".len()).any(|part| part == br"\u0000");
    match body::parse(bytes) {
        Ok(value) if json && !nul => Content::Json(value),
        _ => Content::Base64(STANDARD.encode(bytes)),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn json_is_kept_as_such_and_all_else_as_bytes() {
        let base64 = |bytes: &[u8]| Content::Base64(STANDARD.encode(bytes));
        assert_eq!(content("application/json", b"{\"a\": 1}"), Content::Json(json!({ "a": 1 })));
        assert_eq!(content("Application/CloudEvents+JSON; charset=utf-8", b"null"), Content::Json(Value::Null));
        for (content_type, body) in [
            ("text/plain", &b"{}"[..]),
            ("application/json", b"{"),
            ("application/json", b"\xff"),
            ("application/json", br#"{"a":"\u0000"}"#),
            ("application/json", "[".repeat(99).as_bytes()),
            ("application/json", b""),
        ] {
            assert_eq!(content(content_type, body), base64(body), "{content_type}");
        }
    }

    #[test]
    fn a_header_that_is_there_twice_or_too_long_says_nothing() {
        let mut headers = HeaderMap::new();
        headers.append("x-github-event", "push".parse().unwrap());
        headers.append("webhook-id", "a".repeat(256).parse().unwrap());
        headers.append("x-hub-signature-256", "sha256=00".parse().unwrap());
        assert_eq!(kept(&headers), BTreeMap::from([("x-github-event".to_owned(), "push".to_owned())]));
        headers.append("x-github-event", "ping".parse().unwrap());
        assert_eq!(kept(&headers), BTreeMap::new());
    }
}
