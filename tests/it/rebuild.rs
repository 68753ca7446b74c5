//! Candidates are built beside the live table, take its place in one transaction, and leave a way back; nothing that ends early harms it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use hub_event_store::{scan::Scan, upcast::Upcasters};
use hub_projections::{
    audit::AuditEntries,
    keyed::KeyedProjection,
    projection::Projection,
    rebuild::{RebuildError, Rebuilt, build, build_within, discard, promote, rebuild, rollback},
};
use hub_tests::kit::eventually;
use sqlx::PgPool;

use crate::parcels::{Depot, LENIENT, LIMIT, SECOND_VERSION, STRICT, parcels};

const NOTHING: &(dyn Fn(i64, i64) + Send + Sync) = &|_, _| {};

async fn built(depot: &Depot, projections: &[Arc<dyn Projection>]) -> Rebuilt {
    build(depot.pool(), &Upcasters::default(), projections, "parcels", NOTHING).await.unwrap()
}

async fn promoted(depot: &Depot, projections: &[Arc<dyn Projection>]) -> Result<Rebuilt, RebuildError> {
    promote(depot.pool(), &Upcasters::default(), projections, "parcels", NOTHING).await
}

async fn rolled_back(depot: &Depot, projections: &[Arc<dyn Projection>]) -> Result<Rebuilt, RebuildError> {
    rollback(depot.pool(), &Upcasters::default(), projections, "parcels", NOTHING).await
}

async fn tables(pool: &PgPool) -> Vec<String> {
    let names = "SELECT relname::text FROM pg_class WHERE relkind = 'r' AND relpersistence = 'p' AND relname LIKE 'parcels%' ORDER BY relname";
    sqlx::query_scalar(names).fetch_all(pool).await.unwrap()
}

/// `kind state` of what is beside the live table.
async fn builds(depot: &Depot, projections: &[Arc<dyn Projection>]) -> Vec<String> {
    let builds = depot.status(projections).await.builds;
    builds.iter().map(|build| format!("{} {}", build.kind, build.state)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scan_reads_every_event_as_a_page_does() {
    let depot = Depot::new().await;
    let head = depot.fill(40).await;
    let pages = depot.store.log().page(7, 1_000).await.unwrap();
    let mut scan = Scan::start(depot.pool(), 7, head, None);
    let mut events = Vec::new();
    while let Some(page) = scan.next().await.unwrap() {
        events.extend(page.events);
    }
    let shown = |events: &[hub_event_store::event::Recorded]| {
        events.iter().map(|event| format!("{event:?}")).collect::<Vec<_>>()
    };
    assert_eq!(shown(&events), shown(&pages));
    let mut forgotten = Scan::start(depot.pool(), 0, head, Some(Arc::new(|name: &str| name == "parcel.forgotten")));
    let page = forgotten.next().await.unwrap().unwrap();
    assert_eq!((page.events.len(), page.until), (13, head));
    assert!(forgotten.next().await.unwrap().is_none());
    let mut beyond = Scan::start(depot.pool(), 0, head + 1, None);
    assert!(beyond.next().await.is_err(), "an event that is not there is missed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_candidate_waits_beside_the_live_table_until_it_is_promoted() {
    let depot = Depot::new().await;
    let projections = parcels::<LENIENT>();
    let running = depot.run(&projections);
    let head = depot.fill(50).await;
    depot.reaches(head).await;
    let candidate = built(&depot, &projections).await;
    assert_eq!((candidate.position, candidate.parked), (head, 0));
    let status = depot.status(&projections).await;
    let [build] = &status.builds[..] else { panic!("{:?}", status.builds) };
    assert_eq!((build.state.as_str(), build.position, build.row_count), ("ready", head, Some(status.rows)));
    assert!(build.events_per_second.unwrap() > 0.0 && !build.held && build.seconds_to_go().is_none());
    assert_eq!(tables(depot.pool()).await, ["parcels", "parcels_shadow"]);

    // Appends go on; the promotion takes in what came since.
    let head = depot.send(1, &[("sent", "late")]).await;
    assert_eq!(promoted(&depot, &projections).await.unwrap().position, head);
    assert_eq!(tables(depot.pool()).await, ["parcels", "parcels_retired"]);
    assert_eq!(builds(&depot, &projections).await, ["retired retired"]);
    assert_eq!(depot.differences(&projections).await, []);
    let options: Vec<String> =
        sqlx::query_scalar("SELECT unnest(reloptions) FROM pg_class WHERE oid = 'parcels'::regclass")
            .fetch_all(depot.pool())
            .await
            .unwrap();
    assert_eq!(options, ["fillfactor=80"]);

    // The worker goes on with the new table.
    let head = depot.send(2, &[("sent", "later")]).await;
    depot.reaches(head).await;
    assert_eq!(depot.differences(&projections).await, []);
    let again = promoted(&depot, &projections).await;
    assert!(matches!(again, Err(RebuildError::NoCandidate("parcels"))), "{again:?}");
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rollback_brings_the_retired_table_up_to_date() {
    let depot = Depot::new().await;
    let projections = parcels::<LENIENT>();
    let running = depot.run(&projections);
    let head = depot.fill(10).await;
    depot.reaches(head).await;
    sqlx::query("CREATE TABLE was AS SELECT 'parcels'::regclass::oid AS id").execute(depot.pool()).await.unwrap();
    let live = async || -> bool {
        let same = "SELECT 'parcels'::regclass::oid = id FROM was";
        sqlx::query_scalar(same).fetch_one(depot.pool()).await.unwrap()
    };
    rebuild(depot.pool(), &Upcasters::default(), &projections, "parcels", NOTHING).await.unwrap();
    assert!(!live().await);
    let head = depot.send(1, &[("sent", "since"); 20]).await;
    depot.reaches(head).await;
    assert_eq!(rolled_back(&depot, &projections).await.unwrap().position, head);
    assert!(live().await);
    assert_eq!(depot.differences(&projections).await, []);
    // And forth again, any number of times; nothing piles up.
    for _ in 0..3 {
        let head = depot.send(2, &[("sent", "more")]).await;
        rolled_back(&depot, &projections).await.unwrap();
        depot.reaches(head).await;
        assert_eq!(depot.differences(&projections).await, []);
        assert_eq!(tables(depot.pool()).await, ["parcels", "parcels_retired"]);
    }
    assert!(discard(depot.pool(), &projections, "parcels", true).await.unwrap());
    assert!(!discard(depot.pool(), &projections, "parcels", true).await.unwrap());
    assert_eq!(tables(depot.pool()).await, ["parcels"]);
    let gone = rolled_back(&depot, &projections).await;
    assert!(matches!(gone, Err(RebuildError::NoRetired("parcels"))), "{gone:?}");
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retired_table_of_another_version_is_for_the_program_that_knows_it() {
    let depot = Depot::new().await;
    let (old, new) = (parcels::<LENIENT>(), parcels::<SECOND_VERSION>());
    let running = depot.run(&old);
    let head = depot.send(1, &[("sent", "x"), ("sent", "y")]).await;
    depot.reaches(head).await;
    running.stop().await;
    built(&depot, &new).await;
    let refused = promoted(&depot, &old).await;
    assert!(matches!(refused, Err(RebuildError::OtherVersion { version: 2, code_version: 1, .. })), "{refused:?}");
    promoted(&depot, &new).await.unwrap();
    assert_eq!(depot.counts().await, [20]);
    let refused = rolled_back(&depot, &new).await.unwrap_err();
    assert_eq!(refused.to_string(), "the retired table of parcels has version 1, this program folds version 2");
    let head = depot.send(1, &[("sent", "z")]).await;
    assert_eq!(rolled_back(&depot, &old).await.unwrap().position, head);
    assert_eq!(depot.counts().await, [3]);
    assert_eq!(depot.status(&old).await.version, Some(1));
    // A worker of the new program puts its own version back: the table that it built waits as the retired one, or is built anew.
    let running = depot.run(&new);
    eventually(LIMIT, async || (depot.counts().await == [30]).then_some(())).await;
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_promotes_the_candidate_that_waits_for_its_version() {
    let depot = Depot::new().await;
    let (old, new) = (parcels::<LENIENT>(), parcels::<SECOND_VERSION>());
    let running = depot.run(&old);
    let head = depot.send(1, &[("sent", "x")]).await;
    depot.reaches(head).await;
    built(&depot, &new).await;
    let id: String =
        sqlx::query_scalar("SELECT 'parcels_shadow'::regclass::oid::text").fetch_one(depot.pool()).await.unwrap();
    running.stop().await;
    let running = depot.run(&new);
    eventually(LIMIT, async || (depot.counts().await == [10]).then_some(())).await;
    let live: String =
        sqlx::query_scalar("SELECT 'parcels'::regclass::oid::text").fetch_one(depot.pool()).await.unwrap();
    assert_eq!(live, id);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_build_that_is_killed_leaves_the_live_table_and_the_next_one_cleans_up() {
    let depot = Depot::new().await;
    let projections = parcels::<LENIENT>();
    let running = depot.run(&projections);
    let head = depot.fill(30).await;
    depot.reaches(head).await;
    let begun = Arc::new(AtomicBool::new(false));
    let work = tokio::spawn({
        let (pool, projections, begun) = (depot.pool().clone(), projections.clone(), begun.clone());
        async move {
            let progress = move |_, _| {
                begun.store(true, Ordering::SeqCst);
                // As slow as a build of a large log.
                std::thread::sleep(std::time::Duration::from_millis(200));
            };
            build(&pool, &Upcasters::default(), &projections, "parcels", &progress).await
        }
    });
    eventually(LIMIT, async || begun.load(Ordering::SeqCst).then_some(())).await;
    let meanwhile = build(depot.pool(), &Upcasters::default(), &projections, "parcels", NOTHING).await;
    assert!(matches!(meanwhile, Err(RebuildError::Running("parcels")) | Ok(_)), "{meanwhile:?}");
    work.abort();
    drop(work.await);
    let status = depot.status(&projections).await;
    assert_eq!(status.lag, 0);
    assert_eq!(depot.differences(&projections).await, []);
    eventually(LIMIT, async || {
        let built = build(depot.pool(), &Upcasters::default(), &projections, "parcels", NOTHING).await;
        built.is_ok().then_some(())
    })
    .await;
    assert_eq!(builds(&depot, &projections).await, ["candidate ready"]);
    assert!(discard(depot.pool(), &projections, "parcels", false).await.unwrap());
    assert_eq!(tables(depot.pool()).await, ["parcels"]);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_build_whose_process_is_gone_is_shown_as_left_over() {
    let depot = Depot::new().await;
    let projections = parcels::<LENIENT>();
    depot.fill(3).await;
    built(&depot, &projections).await;
    sqlx::query("UPDATE projection_builds SET state = 'building'").execute(depot.pool()).await.unwrap();
    let left = depot.status(&projections).await.builds.remove(0);
    assert!(left.abandoned() && left.seconds_to_go().is_none());
    let refused = promoted(&depot, &projections).await;
    assert!(matches!(refused, Err(RebuildError::NoCandidate(_))), "{refused:?}");
    let mut holder = depot.pool().acquire().await.unwrap();
    sqlx::query("SELECT pg_advisory_lock(7236831, hashtext('parcels'))").execute(&mut *holder).await.unwrap();
    let held = depot.status(&projections).await.builds.remove(0);
    assert!(held.held && !held.abandoned());
    drop(holder.close().await);
    built(&depot, &projections).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_switch_waits_for_readers_and_holds_up_nobody_for_long() {
    let depot = Depot::new().await;
    let projections = parcels::<LENIENT>();
    let running = depot.run(&projections);
    let head = depot.fill(5).await;
    depot.reaches(head).await;
    built(&depot, &projections).await;
    let mut reader = depot.pool().begin().await.unwrap();
    sqlx::query("SELECT * FROM parcels").fetch_all(&mut *reader).await.unwrap();
    let switch = tokio::spawn({
        let (pool, projections) = (depot.pool().clone(), projections.clone());
        async move { promote(&pool, &Upcasters::default(), &projections, "parcels", NOTHING).await }
    });
    // The projection and other readers go on between the attempts.
    let head = depot.send(1, &[("sent", "meanwhile")]).await;
    depot.reaches(head).await;
    assert!(!depot.counts().await.is_empty());
    assert!(!switch.is_finished(), "the reader is in the way");
    reader.rollback().await.unwrap();
    assert!(switch.await.unwrap().unwrap().position >= head);
    assert_eq!(depot.differences(&projections).await, []);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn builds_and_switches_while_appends_go_on_lose_and_double_nothing() {
    let depot = Depot::new().await;
    let projections = parcels::<LENIENT>();
    let running = depot.run(&projections);
    depot.fill(20).await;
    let appends = async {
        let mut last = 0;
        for round in 0..120_u128 {
            last = depot.send(round % 7 + 1, &[("sent", "live")]).await;
        }
        last
    };
    let switches = async {
        for _ in 0..3 {
            built(&depot, &projections).await;
            promoted(&depot, &projections).await.unwrap();
            rolled_back(&depot, &projections).await.unwrap();
        }
    };
    let (last, ()) = tokio::join!(appends, switches);
    depot.reaches(last).await;
    assert_eq!(depot.differences(&projections).await, []);
    let verified = depot.verify(&projections).await;
    assert_eq!((verified.position, verified.parked), (last, 0));
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_fit_into_memory_is_built_as_well() {
    let depot = Depot::new().await;
    let projections = parcels::<STRICT>();
    // More than one page of a scan, so that the second one finds the rows of the first in the table.
    depot.fill(2_100).await;
    depot.send(5, &[("lost", "x"), ("sent", "y")]).await;
    let head = depot.send(6, &[("lost", "z")]).await;
    let in_memory = built(&depot, &projections).await;
    promoted(&depot, &projections).await.unwrap();
    let spilled = build_within(0, depot.pool(), &Upcasters::default(), &projections, "parcels", NOTHING).await.unwrap();
    assert_eq!(spilled, in_memory);
    assert_eq!((spilled.position, spilled.parked), (head, 3));
    promoted(&depot, &projections).await.unwrap();
    assert_eq!(depot.differences(&projections).await, []);
    let different = "SELECT count(*) FROM (TABLE parcels EXCEPT TABLE parcels_retired) one";
    let different: i64 = sqlx::query_scalar(different).fetch_one(depot.pool()).await.unwrap();
    assert_eq!(different, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_never_change_leave_the_memory_while_it_is_built() {
    let depot = Depot::new().await;
    let projections: Vec<Arc<dyn Projection>> = vec![Arc::new(KeyedProjection::<AuditEntries>::new())];
    // More than one page of a scan.
    depot.fill(2_100).await;
    let head = depot.send(5, &[("sent", "last")]).await;
    let name = projections[0].name();
    let built = build_within(0, depot.pool(), &Upcasters::default(), &projections, name, NOTHING).await.unwrap();
    assert_eq!((built.position, built.parked), (head, 0));
    promote(depot.pool(), &Upcasters::default(), &projections, name, NOTHING).await.unwrap();
    let rows = "SELECT count(*) FROM audit_entries WHERE position BETWEEN 1 AND $1";
    assert_eq!(sqlx::query_scalar::<_, i64>(rows).bind(head).fetch_one(depot.pool()).await.unwrap(), head);
    assert_eq!(depot.differences(&projections).await, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_parked_goes_with_its_table() {
    let depot = Depot::new().await;
    let (strict, lenient) = (parcels::<STRICT>(), parcels::<LENIENT>());
    let running = depot.run(&strict);
    let head = depot.send(1, &[("sent", "a"), ("lost", "b"), ("sent", "c")]).await;
    depot.reaches(head).await;
    running.stop().await;
    assert_eq!((depot.status(&strict).await.parked, depot.counts().await), (2, vec![1]));
    rebuild(depot.pool(), &Upcasters::default(), &lenient, "parcels", NOTHING).await.unwrap();
    let status = depot.status(&lenient).await;
    assert_eq!((status.parked, status.builds[0].parked, depot.counts().await), (0, 2, vec![3]));
    depot.send(1, &[("sent", "d")]).await;
    rolled_back(&depot, &strict).await.unwrap();
    assert_eq!((depot.status(&strict).await.parked, depot.counts().await), (3, vec![1]));
    assert_eq!(depot.differences(&strict).await, []);
}
