//! A small API that uses everything of this crate at once: register a note, list notes page by page, read one.

use std::sync::{Arc, Mutex};

use aide::{
    axum::{ApiRouter, routing::get_with},
    openapi::OpenApi,
    transform::TransformOperation,
};
use axum::{
    Router,
    extract::{FromRef, State},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::{
    Access, Body, Caller, CommandHeaders, ConsistencyToken, Created, CursorKey, Detail, IfMatch, IfNoneMatch, Layers,
    NoBody, Page, PageQuery, Path, Permission, Problem, ReadConsistency, ReadPosition, Receipt, RefusalKind, Routes,
    Scope, TenantCaller,
    access::{NoResources, fixed::FixedTokens},
    caller::PlatformCaller,
    health::{self, Check, Health},
    openapi::{self, About, described, refuses},
    testing::{body_json, send},
};

#[derive(Clone)]
struct Notes {
    access: Access,
    cursor_key: CursorKey,
    rows: Arc<Mutex<Vec<(Uuid, NoteAnswer)>>>,
}

impl FromRef<Notes> for Access {
    fn from_ref(notes: &Notes) -> Self {
        notes.access.clone()
    }
}

/// A note to write down.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct WriteNote {
    /// What to remember.
    text: String,
    /// How much it matters.
    #[schemars(range(min = 1, max = 5))]
    weight: Option<u8>,
}

#[derive(Clone, Debug, Serialize, JsonSchema)]
#[schemars(rename = "Note")]
struct NoteAnswer {
    number: i64,
    text: String,
    weight: Option<u8>,
}

#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Order {
    Oldest,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct NoteFilter {
    /// Only notes of this weight.
    weight: Option<u8>,
    /// The order of the list.
    order: Option<Order>,
}

#[derive(Deserialize, JsonSchema)]
struct NotePath {
    /// The note.
    number: i64,
}

async fn write(
    TenantCaller { tenant, .. }: TenantCaller,
    headers: CommandHeaders,
    State(notes): State<Notes>,
    body: Body<WriteNote>,
) -> Result<Created<NoteAnswer>, Problem> {
    let mut rows = notes.rows.lock().unwrap();
    let current = rows.len() as i64;
    match headers.if_match {
        Some(IfMatch::Sequence(expected)) if expected != current => {
            return Err(Problem::version_conflict(Some(current)));
        }
        _ => {}
    }
    if body.value.text.is_empty() {
        let data = json!({"length": 0});
        return Err(Problem::refusal(RefusalKind::Invalid, "note_empty", "a note needs text", data));
    }
    let note = NoteAnswer { number: current + 1, text: body.value.text, weight: body.value.weight };
    rows.push((tenant.id(), note.clone()));
    let location = format!("/v1/tenants/{}/notes/{}", tenant.id(), note.number);
    let (sequence, token) = (note.number, ConsistencyToken(note.number));
    Ok(Receipt::new(note, sequence, token).correlated(headers.correlation_id).created(location))
}

async fn clear(
    _: PlatformCaller,
    headers: CommandHeaders,
    State(notes): State<Notes>,
    _: NoBody,
) -> Result<Receipt<u32>, Problem> {
    notes.rows.lock().unwrap().clear();
    Ok(Receipt::new(0, 0, ConsistencyToken(0)).correlated(headers.correlation_id))
}

async fn list(
    TenantCaller { caller, tenant, .. }: TenantCaller,
    consistency: ReadConsistency,
    query: PageQuery<NoteFilter>,
    State(notes): State<Notes>,
) -> Result<Page<NoteAnswer>, Problem> {
    let rows = notes.rows.lock().unwrap();
    let reached = rows.len() as i64;
    if consistency.at_least.is_some_and(|wanted| wanted > reached) {
        return Err(Problem::projection_behind(reached));
    }
    let after: Option<i64> = query.open(&notes.cursor_key, &caller, Some(tenant))?;
    let (Some(Order::Oldest) | None) = query.filter.order;
    let wanted = rows.iter().filter(|(owner, note)| {
        *owner == tenant.id()
            && query.filter.weight.is_none_or(|weight| note.weight == Some(weight))
            && after.is_none_or(|after| note.number > after)
    });
    let fetched = wanted.map(|(_, note)| note.clone()).take(query.fetch_limit() as usize).collect();
    let page = query.page(&notes.cursor_key, &caller, Some(tenant), fetched, |note| note.number);
    Ok(page.at(ReadPosition(reached)))
}

async fn detail(
    TenantCaller { tenant, .. }: TenantCaller,
    Path(path): Path<NotePath>,
    known: IfNoneMatch,
    State(notes): State<Notes>,
) -> Result<Detail<NoteAnswer>, Problem> {
    let rows = notes.rows.lock().unwrap();
    let note = rows.iter().find(|(owner, note)| *owner == tenant.id() && note.number == path.number);
    let (_, note) = note.ok_or_else(Problem::not_found)?;
    Ok(Detail::new(note.clone(), note.number, ReadPosition(rows.len() as i64)).unless(&known))
}

fn describe_write(operation: TransformOperation<'_>) -> TransformOperation<'_> {
    let operation = described(operation, "writeNote", "notes", "Write a note", "Adds one note.");
    refuses(operation, &[(RefusalKind::Invalid, "note_empty")])
}

fn routes(notes: Notes) -> ApiRouter {
    let all = "/v1/tenants/{tenant_id}/notes";
    Routes::new()
        .post(all, "note:write", write, describe_write)
        .list(all, "note:read", list, |op| described(op, "listNotes", "notes", "List notes", "Oldest first."))
        .get("/v1/tenants/{tenant_id}/notes/{number}", "note:read", detail, |op| {
            described(op, "getNote", "notes", "Read a note", "One note.")
        })
        .post("/v1/notes/clear", "note:clear", clear, |op| {
            described(op, "clearNotes", "notes", "Forget all notes", "For the platform.")
        })
        .post("/v1/notes/burn", "note:burn", clear, |op| {
            described(op, "burnNotes", "notes", "Burn all notes", "Nobody may.")
        })
        .into_router()
        .with_state(notes)
}

const TENANT: Uuid = Uuid::from_u128(1);

fn key(number: u8) -> String {
    format!("token-{number}")
}

fn build() -> (Router, OpenApi) {
    let token = |number, principal: &str, scope| {
        (key(number), Caller { principal: principal.into(), scope, expires_at_ms: None, secret_id: None })
    };
    let gate = FixedTokens::new([
        token(1, "platform", Scope::Platform),
        token(2, "acme", Scope::Tenant(TENANT)),
        token(3, "other", Scope::Tenant(Uuid::from_u128(2))),
    ])
    .denying(Permission { resource: "note", action: "burn" });
    let access = Access::new(Arc::new(gate), Arc::new(NoResources));
    let notes = Notes { access, cursor_key: CursorKey::new([9; 32]), rows: Arc::default() };
    let about = About {
        title: "Notes",
        version: "1.0.0",
        description: "An example.",
        tags: &[("notes", "Notes."), (health::TAG, "Health.")],
    };
    let health = Health::new([Check::required("store", async || Ok(()))], std::time::Duration::from_secs(1));
    let (router, api) = openapi::document(about, || routes(notes).merge(health::routes(health)));
    (Layers::default().wrap(openapi::serve(router, &api)), api)
}

/// Sends a request with the key of that number and a JSON body.
async fn ask(
    router: &Router,
    number: u8,
    method: &str,
    uri: &str,
    more: &[(&str, &str)],
    body: &str,
) -> axum::response::Response {
    let bearer = format!("Bearer {}", key(number));
    let mut headers = vec![("authorization", bearer.as_str()), ("content-type", "application/json")];
    headers.extend_from_slice(more);
    send(router, method, uri, &headers, body).await
}

fn notes_uri(tenant: Uuid) -> String {
    format!("/v1/tenants/{tenant}/notes")
}

#[tokio::test]
async fn a_note_is_written_listed_and_read() {
    let (router, _) = build();
    let uri = notes_uri(TENANT);
    for number in 1..=3 {
        let response = ask(&router, 2, "POST", &uri, &[], &json!({"text": "x", "weight": number}).to_string()).await;
        assert_eq!(response.status(), 201);
        assert_eq!(response.headers()["location"], format!("{uri}/{number}").as_str());
        assert_eq!(response.headers()["etag"], format!("\"{number}\"").as_str());
        assert!(response.headers()["correlation-id"].to_str().unwrap().parse::<Uuid>().is_ok());
    }
    let token = ConsistencyToken(3).to_string();
    let response = ask(&router, 2, "GET", &format!("{uri}?limit=2"), &[("consistency-token", &token)], "").await;
    assert_eq!(response.headers()["projection-position"], "3");
    let page = body_json(response).await;
    assert_eq!(page["items"].as_array().unwrap().len(), 2);
    let next = format!("{uri}?limit=2&cursor={}", page["next_cursor"].as_str().unwrap());
    let page = body_json(ask(&router, 2, "GET", &next, &[], "").await).await;
    assert_eq!((page["items"][0]["number"].clone(), page["next_cursor"].clone()), (json!(3), Value::Null));
    let uri = format!("{uri}/3");
    assert_eq!(ask(&router, 2, "GET", &uri, &[], "").await.status(), 200);
    assert_eq!(ask(&router, 2, "GET", &uri, &[("if-none-match", "\"3\"")], "").await.status(), 304);
    assert_eq!(ask(&router, 1, "POST", "/v1/notes/clear", &[], "").await.status(), 200);
}

/// Key, method, path, further headers, body; then the status and code of the answer.
type Case<'a> = (u8, &'a str, String, Vec<(&'a str, &'a str)>, &'a str, u16, &'a str);

#[tokio::test]
async fn each_bad_request_has_its_own_problem() {
    let (router, _) = build();
    let uri = notes_uri(TENANT);
    let good = r#"{"text": "x"}"#;
    let big = format!(r#"{{"text": "{}"}}"#, "x".repeat(70_000));
    let behind = ConsistencyToken(99).to_string();
    let list = |query: &str| format!("{uri}?{query}");
    let cases: Vec<Case<'_>> = vec![
        (9, "POST", uri.clone(), vec![], good, 401, "unauthenticated"),
        (3, "POST", uri.clone(), vec![], good, 404, "not_found"),
        (2, "POST", "/v1/tenants/x/notes".into(), vec![], good, 400, "invalid_uuid"),
        (9, "POST", "/v1/tenants/x/notes".into(), vec![], good, 401, "unauthenticated"),
        (2, "POST", uri.clone(), vec![], "{", 400, "malformed_json"),
        (2, "POST", uri.clone(), vec![], r#"{"text": 5}"#, 422, "invalid_body"),
        (2, "POST", uri.clone(), vec![], r#"{"text": "x", "color": 1}"#, 422, "invalid_body"),
        (2, "POST", uri.clone(), vec![], &big, 413, "body_too_large"),
        (2, "POST", uri.clone(), vec![], r#"{"text": ""}"#, 422, "note_empty"),
        (2, "POST", uri.clone(), vec![("if-match", "\"7\"")], good, 412, "version_conflict"),
        (2, "POST", uri.clone(), vec![("if-match", "7")], good, 400, "invalid_header"),
        (2, "POST", uri.clone(), vec![("idempotency-key", "a b")], good, 400, "invalid_header"),
        (2, "GET", list("limit=0"), vec![], "", 400, "invalid_page_limit"),
        (2, "GET", list("cursor=x"), vec![], "", 400, "invalid_cursor"),
        (2, "GET", list("color=red"), vec![], "", 400, "invalid_query"),
        (2, "GET", list("order=newest"), vec![], "", 400, "invalid_query"),
        (2, "GET", uri.clone(), vec![("consistency-token", "x")], "", 400, "invalid_header"),
        (2, "GET", uri.clone(), vec![("consistency-token", &behind)], "", 503, "projection_behind"),
        (2, "GET", format!("{uri}/one"), vec![], "", 400, "invalid_path"),
        (2, "GET", format!("{uri}/1"), vec![], "", 404, "not_found"),
        (2, "POST", "/v1/notes/clear".into(), vec![], "", 403, "forbidden"),
        (1, "POST", "/v1/notes/clear".into(), vec![], good, 422, "invalid_body"),
        (1, "POST", "/v1/notes/burn".into(), vec![], "", 403, "forbidden"),
        (1, "GET", "/v1/notes/clear".into(), vec![], "", 405, "method_not_allowed"),
        (1, "GET", "/v2".into(), vec![], "", 404, "unknown_route"),
    ];
    for (number, method, uri, more, body, status, code) in cases {
        let response = ask(&router, number, method, &uri, &more, body).await;
        let context = format!("{method} {uri} {code}");
        assert_eq!(response.status().as_u16(), status, "{context}");
        assert_eq!(response.headers()["content-type"], "application/problem+json", "{context}");
        assert_eq!(response.headers().contains_key("www-authenticate"), status == 401, "{context}");
        let problem = body_json(response).await;
        assert_eq!(problem["code"], code, "{context}");
        assert_eq!(problem["type"], format!("/problems/{code}"), "{context}");
    }
    assert_eq!(body_json(ask(&router, 2, "GET", &uri, &[], "").await).await["items"], json!([]));
}

#[tokio::test]
async fn another_tenants_note_answers_as_one_that_does_not_exist() {
    let (router, _) = build();
    ask(&router, 2, "POST", &notes_uri(TENANT), &[], r#"{"text": "x"}"#).await;
    let answer = async |tenant: Uuid| {
        let response = ask(&router, 3, "GET", &format!("{}/1", notes_uri(tenant)), &[], "").await;
        (response.status(), body_json(response).await)
    };
    assert_eq!(answer(TENANT).await, answer(Uuid::from_u128(77)).await);
}

#[tokio::test]
async fn the_document_is_complete_and_served() {
    let (router, api) = build();
    assert_eq!(openapi::complaints(&api, health::OPERATIONS), Vec::<String>::new());
    let document = body_json(send(&router, "GET", "/openapi.json", &[], "").await).await;
    // Shown with --no-capture, for validators outside of this crate.
    println!("{document}");
    assert_eq!(document["openapi"], "3.1.0");
    let write = &document["paths"]["/v1/tenants/{tenant_id}/notes"]["post"];
    let names: Vec<&str> =
        write["parameters"].as_array().unwrap().iter().map(|parameter| parameter["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["tenant_id", "Idempotency-Key", "If-Match", "Correlation-Id", "Causation-Id", "traceparent"]);
    assert_eq!(write["security"], json!([{"bearer": []}]));
    assert_eq!(write["x-permission"], "note:write");
    let statuses: Vec<&String> = write["responses"].as_object().unwrap().keys().collect();
    for status in ["201", "400", "401", "403", "404", "409", "412", "413", "415", "422", "503", "default"] {
        assert!(statuses.iter().any(|known| *known == status), "{status} of {statuses:?}");
    }
    assert!(write["responses"]["422"]["description"].as_str().unwrap().contains("note_empty"));
    assert_eq!(
        write["responses"]["422"]["content"]["application/problem+json"]["schema"]["$ref"],
        "#/components/schemas/Problem"
    );
    let created = &write["responses"]["201"]["headers"];
    for header in ["ETag", "Consistency-Token", "Location", "Idempotent-Replayed", "X-Request-Id"] {
        assert!(created[header].is_object(), "{header}");
    }
    assert!(document["components"]["schemas"]["PageOfNote"].is_object());
    assert!(document["components"]["schemas"]["NotePath"].is_null());
    assert_eq!(document["components"]["schemas"]["WriteNote"]["additionalProperties"], false);
}

#[tokio::test]
async fn complaints_name_what_an_operation_lacks() {
    let about = About { title: "x", version: "1", description: "x", tags: &[] };
    let bare = || ApiRouter::new().api_route("/x/{id}", get_with(async || "x", |op| op));
    let (_, api) = openapi::document(about, bare);
    let complaints = openapi::complaints(&api, &[]).join("\n");
    for what in ["operation id", "tag", "summary", "description", "key", "default problem", "segment id"] {
        assert!(complaints.contains(what), "{what} in {complaints}");
    }
}
