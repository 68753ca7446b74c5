//! Reading what one has written, and what happens while the database is away.

use std::time::{Duration, Instant};

use hub_event_store::tail::Tail;
use hub_http::ConsistencyToken;
use hub_projections::positions::Positions;
use hub_tests::kit::{OwnPostgres, eventually};
use tokio_util::sync::CancellationToken;

use super::{ACME, Api, NOBODY, Who, build, read, read_only, send};

const LIMIT: Duration = Duration::from_secs(30);

#[tokio::test]
async fn a_query_waits_for_the_read_model_and_not_longer_than_told() {
    let api = Api::without_projections(10).await;
    let position = api.register(ACME, "acme").await;
    let token = ConsistencyToken(position).to_string();
    let uri = format!("/v1/tenants/{ACME}");
    let behind = api.ask(Who::Acme, &uri, &[("consistency-token", &token), ("prefer", "wait=0")]).await;
    behind.refused(503, "projection_behind");
    assert_eq!(
        (behind.headers["retry-after"].to_str().unwrap(), &behind.body["projection_position"]),
        ("1", &0.into())
    );
    let began = Instant::now();
    api.ask(Who::Acme, &uri, &[("consistency-token", &token), ("prefer", "wait=1")])
        .await
        .refused(503, "projection_behind");
    assert!((1..10).contains(&began.elapsed().as_secs()), "{:?}", began.elapsed());
    // Without a token it is taken as it is.
    api.ask(Who::Acme, &uri, &[]).await.refused(404, "not_found");

    let headers = [("consistency-token", token.as_str()), ("prefer", "wait=10")];
    // Asked again when all projections together take longer than that on a busy machine.
    let asking = eventually(2 * LIMIT, async || {
        let answer = api.ask(Who::Acme, &uri, &headers).await;
        (answer.status != 503).then_some(answer)
    });
    let running = async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        api.run_projections();
    };
    let (answer, ()) = tokio::join!(asking, running);
    assert_eq!(answer.ok()["slug"], "acme");
    assert_eq!(answer.headers["projection-position"], "1");
}

#[tokio::test]
async fn the_log_needs_no_read_model() {
    let api = Api::without_projections(10).await;
    let position = api.register(ACME, "acme").await;
    let events = format!("/v1/tenants/{ACME}/events");
    let token = ConsistencyToken(position).to_string();
    let headers = [("consistency-token", token.as_str()), ("prefer", "wait=0")];
    assert_eq!(api.ask(Who::Acme, &events, &headers).await.ok()["items"][0]["position"], 1);
    let token = ConsistencyToken(position + 1).to_string();
    let headers = [("consistency-token", token.as_str()), ("prefer", "wait=0")];
    api.ask(Who::Acme, &events, &headers).await.refused(503, "projection_behind");
    api.ask(Who::Acme, &events, &[("consistency-token", "nonsense")]).await.refused(400, "invalid_header");
}

#[tokio::test]
async fn a_database_that_is_away_is_said_so_and_comes_back_by_itself() {
    let mut postgres = OwnPostgres::start().await;
    let pool = read_only(&postgres.url, Duration::from_secs(2)).await;
    let (router, _) = build(pool, Tail::default(), Positions::default(), 10, CancellationToken::new());
    let ask = async |uri: &str| read(send(&router, Who::Platform, uri, &[]).await).await;
    eventually(LIMIT, async || (ask("/v1/tenants").await.status == 200).then_some(())).await;
    postgres.stop().await;
    for uri in [
        "/v1/tenants?limit=3".to_owned(), // Not asked before, so no answer is kept.
        format!("/v1/tenants/{NOBODY}/events"),
        format!("/v1/tenants/{NOBODY}/events/stream"),
    ] {
        let away = ask(&uri).await;
        away.refused(503, "store_unavailable");
        assert!(away.headers.contains_key("retry-after"));
    }
    postgres.restart().await;
    eventually(LIMIT, async || (ask("/v1/tenants").await.status == 200).then_some(())).await;
}
