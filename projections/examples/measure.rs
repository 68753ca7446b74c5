#![allow(clippy::all)]
use std::{sync::Arc, time::Instant};
use futures::TryStreamExt;
use hub_event_store::{event::Recorded, scan::Scan, upcast::Upcasters};
use hub_projections::{keyed::KeyedProjection, model::*, projection::Projection, rebuild::rebuild};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sqlx::{Connection, PgConnection, postgres::PgPoolOptions};
use uuid::Uuid;

struct Orders;
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
struct OrderRow { tenant_id: Uuid, id: Uuid, count: i64, total: i64, customer: String, note: String, status: String, updated_at: chrono::DateTime<chrono::Utc> }
#[derive(Deserialize)]
#[serde(tag = "type", content = "data", rename_all = "snake_case")]
enum Event { Changed { amount: i64, customer: String, note: String, #[allow(dead_code)] reference: Uuid, status: String } }
impl ReadModel for Orders {
    type Row = OrderRow; type Key = AggregateKey;
    const NAME: &'static str = "orders"; const TABLE: &'static str = "orders";
    const KEY: &'static [&'static str] = AggregateKey::COLUMNS;
    fn concerns(t: &str) -> bool { of_aggregate(t, "order") }
    fn key_of(r: &OrderRow) -> AggregateKey { AggregateKey { tenant_id: r.tenant_id, id: r.id } }
    fn keys(e: &Recorded) -> Result<Vec<AggregateKey>, FoldError> { Ok(vec![AggregateKey::of(e)]) }
    fn fold(row: Option<OrderRow>, key: &AggregateKey, e: &Recorded) -> Result<Option<OrderRow>, FoldError> {
        let Event::Changed { amount, customer, note, status, .. } = e.decode()?;
        let (count, total) = row.map_or((0, 0), |r| (r.count, r.total));
        Ok(Some(OrderRow { tenant_id: key.tenant_id, id: key.id, count: count + 1, total: total + amount, customer, note, status, updated_at: e.occurred_at }))
    }
}
async fn copy_limit(url: &str) -> f64 {
    let mut c = PgConnection::connect(url).await.unwrap();
    let t = Instant::now();
    let mut bytes = 0;
    { let mut s = c.copy_out_raw("COPY (SELECT * FROM events ORDER BY position) TO STDOUT (FORMAT binary)").await.unwrap();
    while let Some(b) = s.try_next().await.unwrap() { bytes += b.len(); } }
    let e = t.elapsed().as_secs_f64();
    eprint!(" [{} MB]", bytes / 1_000_000);
    e
}
#[tokio::main]
async fn main() {
    let url = std::env::var("MEASURE_URL").unwrap();
    let pool = PgPoolOptions::new().max_connections(8).connect(&url).await.unwrap();
    let n: i64 = sqlx::query_scalar("SELECT max(position) FROM events").fetch_one(&pool).await.unwrap();
    let projections: Vec<Arc<dyn Projection>> = vec![Arc::new(KeyedProjection::<Orders>::new())];
    let rounds: usize = std::env::args().nth(1).map_or(5, |a| a.parse().unwrap());
    for _ in 0..rounds {
        let limit = copy_limit(&url).await;
        let t = Instant::now();
        let mut scan = Scan::start(&pool, 0, n, None);
        let mut c = 0;
        while let Some(p) = scan.next().await.unwrap() { c += p.events.len(); }
        let scanned = t.elapsed().as_secs_f64();
        assert_eq!(c as i64, n);
        let t = Instant::now();
        let r = rebuild(&pool, &Upcasters::default(), &projections, "orders", &|_, _| {}).await.unwrap();
        let e = t.elapsed().as_secs_f64();
        println!("limit {:.0}/s  scan {:.0}/s ({:.2})  rebuild {:.0}/s ratio {:.2} at {}", n as f64 / limit, n as f64 / scanned, limit / scanned, n as f64 / e, limit / e, r.position);
    }
}
