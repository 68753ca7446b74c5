//! The bounds of reports: how long a period is, where a report is cut, and how it is gone on with.

use hub_event_store::upcast::Upcasters;
use hub_report::{Bound, Kind, Limits, Report, ReportError, Request, make};

use super::{Office, TENANT};

const LIMITS: Limits = Limits { position_count_max: 100, row_count_max: 100 };

/// What somebody did who wrote letters.
fn request(limits: Limits) -> Request {
    Request {
        tenant_id: TENANT,
        kind: Kind::Activity,
        from: None,
        to: None,
        principal: Some("user:test".to_owned()),
        aggregate_type: None,
        aggregate_id: None,
        limits,
    }
}

impl Office {
    async fn report(&self, request: &Request) -> Result<Report, ReportError> {
        let mut connection = self.database.pool.acquire().await.unwrap();
        make(&mut connection, request, &Upcasters::default()).await
    }
}

fn positions(report: &Report) -> Vec<u64> {
    report.rows.iter().map(|row| row["position"].as_u64().unwrap()).collect()
}

#[tokio::test]
async fn a_report_that_is_cut_says_where_to_go_on() {
    let office = Office::open().await;
    let limits = Limits { row_count_max: 5, ..LIMITS };
    let mut request = request(limits);
    let mut seen = Vec::new();
    for (rows, complete, continue_from) in [(5, false, Some(6)), (5, false, Some(11)), (2, true, None)] {
        let report = office.report(&request).await.unwrap();
        let head = &report.head;
        assert_eq!((head.row_count, head.complete, head.continue_from), (rows, complete, continue_from));
        assert_eq!((head.position, head.to), (12, 12));
        let checkpoint = head.checkpoint.as_ref().unwrap();
        assert!(checkpoint.size == 12 && checkpoint.note.contains(&checkpoint.root), "{checkpoint:?}");
        seen.extend(positions(&report));
        request.from = continue_from.map(Bound::Position);
    }
    assert_eq!(seen, (1..=12).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_period_has_a_bound_and_an_order() {
    let office = Office::open().await;
    let long = Limits { position_count_max: 11, ..LIMITS };
    let refused = office.report(&request(long)).await;
    assert!(matches!(refused, Err(ReportError::Invalid { parameter: "from", .. })), "{refused:?}");
    let short = Request { from: Some(Bound::Position(2)), ..request(long) };
    assert_eq!(office.report(&short).await.unwrap().rows.len(), 11);
    let backwards = Request { from: Some(Bound::Position(9)), to: Some(Bound::Position(3)), ..request(LIMITS) };
    let refused = office.report(&backwards).await;
    assert!(matches!(refused, Err(ReportError::Invalid { parameter: "to", .. })), "{refused:?}");
    let nobody = Request { tenant_id: uuid::Uuid::from_u128(2), ..request(LIMITS) };
    assert!(matches!(office.report(&nobody).await, Err(ReportError::NoEvents)));
    let stranger = Request { principal: Some("user:eve".to_owned()), ..request(LIMITS) };
    assert!(office.report(&stranger).await.unwrap().rows.is_empty());
}
