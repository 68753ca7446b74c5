//! Answers that are given again: when, to whom, and that they are what would be read anew.

use std::time::Duration;

use hub_http::ConsistencyToken;
use hub_tests::kit::eventually;
use serde_json::json;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{ACME, Answer, Api, OTHER, Who, tenant};

const LIMIT: Duration = Duration::from_secs(60);

/// What the projection would never write; whoever does not see it was given a kept answer.
const TAMPER: &str = "UPDATE tenants SET name = $2 WHERE tenant_id = $1";

fn path(tenant_id: Uuid) -> String {
    format!("/v1/tenants/{tenant_id}")
}

/// Without what is of the request and not of the answer.
fn comparable(mut answer: Answer) -> Answer {
    answer.headers.remove("x-request-id").expect("every answer has a request id");
    answer.headers.remove("content-length");
    answer
}

async fn tamper(api: &Api, tenant_id: Uuid) -> String {
    let name = Uuid::now_v7().to_string();
    sqlx::query(TAMPER).bind(tenant_id).bind(&name).execute(&api.database.pool).await.unwrap();
    name
}

/// Asks until an answer is kept: then it is given again although the row has been tampered with. Both answers.
async fn kept(api: &Api, who: Who, meanwhile: impl AsyncFn()) -> (Answer, Answer) {
    eventually(LIMIT, async || {
        let first = api.ask(who, &path(ACME), &[]).await;
        tamper(api, ACME).await;
        meanwhile().await;
        let second = api.ask(who, &path(ACME), &[]).await;
        (first.body == second.body).then_some((first, second))
    })
    .await
}

#[tokio::test]
async fn a_kept_answer_is_the_answer_that_was_read() {
    let api = Api::start().await;
    api.register(ACME, "acme").await;
    api.get(Who::Acme, &path(ACME)).await.ok();
    let (read, again) = kept(&api, Who::Acme, async || {}).await;
    assert_eq!(read.headers["etag"], "\"1\"");
    assert_eq!(read.headers["cache-control"], "private, no-cache");
    assert_ne!(read.headers["x-request-id"], again.headers["x-request-id"]);
    assert_eq!(comparable(read), comparable(again));
}

#[tokio::test]
async fn what_an_event_changes_is_read_anew() {
    let api = Api::start().await;
    api.register(ACME, "acme").await;
    api.get(Who::Acme, &path(ACME)).await.ok();
    for round in 0..5 {
        kept(&api, Who::Acme, async || {}).await;
        let name = format!("Acme {round}");
        let position = api.append(tenant(ACME), &[("renamed", json!({"name": name}))]).await;
        let answer = api.get(Who::Acme, &path(ACME)).await;
        assert_eq!(answer.ok()["name"], name.as_str());
        assert!(answer.headers["projection-position"].to_str().unwrap().parse::<i64>().unwrap() >= position);
        // Whoever has seen it is not shown the older one again, with a token or without.
        assert_eq!(api.ask(Who::Acme, &path(ACME), &[]).await.ok()["name"], name.as_str());
    }
    // Nobody waits longer than a moment for it, token or not.
    kept(&api, Who::Acme, async || {}).await;
    api.append(tenant(ACME), &[("renamed", json!({"name": "Last"}))]).await;
    eventually(LIMIT, async || (api.ask(Who::Acme, &path(ACME), &[]).await.ok()["name"] == "Last").then_some(())).await;
}

#[tokio::test]
async fn events_of_others_leave_an_answer_and_its_position_as_they_are() {
    let api = Api::start().await;
    api.register(ACME, "acme").await;
    api.register(OTHER, "other").await;
    api.get(Who::Acme, &path(ACME)).await.ok();
    let (read, again) = kept(&api, Who::Acme, async || {
        api.append(tenant(OTHER), &[("renamed", json!({"name": "Other"}))]).await;
        // Until the read model has it, and with it whoever watches the log.
        api.get(Who::Other, &path(OTHER)).await.ok();
    })
    .await;
    let position = |answer: &Answer| answer.headers["projection-position"].to_str().unwrap().parse::<i64>().unwrap();
    assert_eq!(position(&read), position(&again), "it is what the answer was read at");
    let reached: i64 = sqlx::query_scalar(CHECKPOINT).fetch_one(&api.database.pool).await.unwrap();
    assert!(position(&again) < reached);
}

const CHECKPOINT: &str = "SELECT min(position) FROM projection_checkpoints WHERE projection = 'tenants'";

#[tokio::test]
async fn nobody_is_given_what_was_kept_for_somebody_else() {
    let api = Api::start().await;
    api.register(ACME, "acme").await;
    api.register(OTHER, "other").await;
    api.get(Who::Acme, &path(ACME)).await.ok();
    kept(&api, Who::Acme, async || {}).await;
    let name = tamper(&api, ACME).await;
    api.ask(Who::Other, &path(ACME), &[]).await.refused(404, "not_found");
    api.ask(Who::Unknown, &path(ACME), &[]).await.refused(401, "unauthenticated");
    // The platform may see it, but has its own answers.
    assert_eq!(api.ask(Who::Platform, &path(ACME), &[]).await.ok()["name"], name.as_str());
    // Another query is another answer, and a query that is refused stays so.
    api.ask(Who::Acme, &format!("{}/roles?limit=0", path(ACME)), &[]).await.refused(400, "invalid_page_limit");
    api.ask(Who::Acme, &format!("{}/roles?limit=1", path(ACME)), &[]).await.ok();
}

#[tokio::test]
async fn a_version_that_the_caller_has_is_not_sent_again() {
    let api = Api::start().await;
    api.register(ACME, "acme").await;
    let whole = api.get(Who::Acme, &path(ACME)).await;
    for round in 0..3 {
        // Read anew, made for others too, and given again.
        let same = api.ask(Who::Acme, &path(ACME), &[("if-none-match", "\"1\"")]).await;
        assert_eq!((same.status, &same.body), (304, &json!(null)), "{round}");
        assert_eq!((&same.headers["etag"], same.headers.get("content-type")), (&whole.headers["etag"], None));
        assert_eq!(same.headers["cache-control"], "private, no-cache");
        let other = api.ask(Who::Acme, &path(ACME), &[("if-none-match", "\"2\"")]).await;
        assert_eq!(other.ok(), whole.ok());
        let many = vec!["\"1\""; 33].join(",");
        api.ask(Who::Acme, &path(ACME), &[("if-none-match", &many)]).await.refused(400, "invalid_header");
        api.ask(Who::Acme, &path(ACME), &[("consistency-token", "?")]).await.refused(400, "invalid_header");
    }
}

#[tokio::test]
async fn a_token_beyond_the_kept_answer_waits_for_the_read_model() {
    let api = Api::without_projections(10).await;
    let end = CancellationToken::new();
    let running = api.run_projections_until(end.clone());
    let position = api.register(ACME, "acme").await;
    api.get(Who::Acme, &path(ACME)).await.ok();
    end.cancel();
    running.await.unwrap();

    kept(&api, Who::Acme, async || {}).await;
    let ask = async |position: i64| {
        let token = ConsistencyToken(position).to_string();
        api.ask(Who::Acme, &path(ACME), &[("consistency-token", &token), ("prefer", "wait=0")]).await
    };
    ask(position).await.ok();
    let later = api.register(OTHER, "other").await;
    ask(later).await.refused(503, "projection_behind");
    api.run_projections();
    api.get(Who::Acme, &path(ACME)).await.ok();
    ask(later).await.ok();
}

#[tokio::test]
async fn a_read_model_that_has_lost_its_last_moments_is_not_said_to_be_further() {
    let api = Api::without_projections(10).await;
    let end = CancellationToken::new();
    let running = api.run_projections_until(end.clone());
    let first = api.register(ACME, "acme").await;
    api.get(Who::Acme, &path(ACME)).await.ok();
    end.cancel();
    running.await.unwrap();
    // The row and its position were there before PostgreSQL crashed, as the board still says.
    let renamed = api.append(tenant(ACME), &[("renamed", json!({"name": "New"}))]).await;
    api.positions.advance("tenants", renamed);

    let answer = api.ask(Who::Acme, &path(ACME), &[]).await;
    let position: i64 = answer.headers["projection-position"].to_str().unwrap().parse().unwrap();
    assert_eq!((answer.ok()["name"].as_str(), position), (Some("acme"), first));
    let token = ConsistencyToken(renamed).to_string();
    let headers = [("consistency-token", token.as_str()), ("prefer", "wait=1")];
    let behind = api.ask(Who::Acme, &path(ACME), &headers).await;
    behind.refused(503, "projection_behind");
    assert_eq!(behind.body["projection_position"], first);
    api.run_projections();
    assert_eq!(api.get(Who::Acme, &path(ACME)).await.ok()["name"], "New");
}
