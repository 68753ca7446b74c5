//! One page per problem code, made from the lists of codes: served at `/problems/<code>` and kept in `docs/problems`.

use std::collections::BTreeMap;

use axum::{
    Router,
    extract::Path,
    http::header::CONTENT_TYPE,
    response::{IntoResponse, Response},
    routing::get,
};
use hub_domain::refusal::{Code, Kind};
use hub_http::{Problem, RefusalKind, problem::ProblemCode};

/// The codes of every context, as (name of the context, codes).
const CONTEXTS: &[(&str, &[Code])] = &[
    ("access request", hub_domain::access_request::CODES),
    ("API key", hub_domain::api_key::CODES),
    ("break glass", hub_domain::break_glass::CODES),
    ("control run", hub_domain::control_run::CODES),
    ("duty set", hub_domain::duty_set::CODES),
    ("erasure", hub_domain::erasure::CODES),
    ("event subscription", hub_domain::event_subscription::CODES),
    ("finding", hub_domain::finding::CODES),
    ("identity provider", hub_domain::identity_provider::CODES),
    ("inbound source", hub_domain::inbound_source::CODES),
    ("legal hold", hub_domain::legal_hold::CODES),
    ("NATS credential", hub_domain::nats_credential::CODES),
    ("principal", hub_domain::principal::CODES),
    ("retention policy", hub_domain::retention_policy::CODES),
    ("role", hub_domain::role::CODES),
    ("role template", hub_domain::role_template::CODES),
    ("service instance", hub_domain::service_instance::CODES),
    ("subscription", hub_domain::subscription::CODES),
    ("support access", hub_domain::support_access::CODES),
    ("tenant", hub_domain::tenant::CODES),
    ("webhook", hub_domain::webhook::CODES),
];

/// Every page as Markdown, by code.
#[must_use]
pub fn pages() -> BTreeMap<&'static str, String> {
    let transport = hub_http::problem::CODES.iter().map(|code| (code.code, transport_page(code)));
    let business =
        CONTEXTS.iter().flat_map(|(context, codes)| codes.iter().map(|code| (code.code, business_page(context, code))));
    transport.chain(business).collect()
}

/// Serves the pages; they need no key.
pub fn routes() -> Router {
    let pages = pages();
    Router::new().route(
        "/problems/{code}",
        get(move |Path(code): Path<String>| {
            let page = pages.get(code.as_str()).cloned();
            async move { answer(page) }
        }),
    )
}

fn answer(page: Option<String>) -> Response {
    match page {
        Some(page) => ([(CONTENT_TYPE, "text/markdown; charset=utf-8")], page).into_response(),
        None => Problem::not_found().into_response(),
    }
}

fn transport_page(code: &ProblemCode) -> String {
    let advice = match code.status {
        400 | 413..=415 | 422 | 431 => "Nothing was done. Correct the request; sent again unchanged it fails again.",
        401 => "Nothing was done. Send `Authorization: Bearer <key>` with a key that is valid.",
        403..=405 => "Nothing was done. Check the address and the key.",
        409 => "Send the same request again with the same `Idempotency-Key`.",
        408 => "Nothing was done. Send the same request again, on a faster connection or with a smaller body.",
        412 => "Nothing was done. Read the thing again, decide anew, and send the new `ETag` as `If-Match`.",
        429 => {
            "Wait as many seconds as `Retry-After` says and send the same request again. `RateLimit` tells on every answer what is left and `RateLimit-Policy` what there is, so that it need not come so far."
        }
        503 => {
            "Wait as many seconds as `Retry-After` says and send the same request again. With the same `Idempotency-Key` a command is never executed twice."
        }
        _ => {
            "Send the request again later. The header `X-Request-Id` of the answer finds the cause in the server's log."
        }
    };
    page(code.title, code.code, code.status, "transport", code.meaning, advice)
}

fn business_page(context: &str, code: &Code) -> String {
    let (kind, advice) = match code.kind {
        Kind::NotFound => (RefusalKind::NotFound, "Nothing was done. Check the ids in the address."),
        Kind::Conflict => (
            RefusalKind::Conflict,
            "Nothing was done. Read the current state; the command may be accepted once that has changed.",
        ),
        Kind::Invalid => {
            (RefusalKind::Invalid, "Nothing was done. The same command is never accepted; correct its values.")
        }
        Kind::Forbidden => (RefusalKind::Forbidden, "Nothing was done. Somebody else has to send the command."),
        Kind::LimitReached => (
            RefusalKind::LimitExceeded,
            "Nothing was done. Make room or raise the limit, then send the command again with a new `Idempotency-Key`.",
        ),
    };
    let title = code.code.replace('_', " ");
    page(&title, code.code, kind.status().as_u16(), context, code.meaning, advice)
}

fn page(title: &str, code: &str, status: u16, context: &str, meaning: &str, advice: &str) -> String {
    let mut title = title.to_owned();
    title[..1].make_ascii_uppercase();
    format!(
        "# {title}\n\n| code | status | of |\n|---|---|---|\n| `{code}` | {status} | {context} |\n\n{meaning}\n\n## What to do\n\n{advice}\n"
    )
}
