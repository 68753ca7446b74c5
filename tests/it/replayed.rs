//! Any moment rebuilt, two moments compared, and live tables held to the log: with the event behind every difference, and nothing left behind.

mod verb;

use std::{fs, time::Duration};

use chrono::TimeDelta;
use hub_event_store::{
    append::Append,
    event::{Metadata, NewEvent, StreamId},
    store::EventStore,
    tail::Tail,
    upcast::Upcasters,
};
use hub_projections::runner::{Runner, Settings as Pace};
use hub_replay_tools::replay::{
    ChangedModel, Changes, Comparison, Kind, LiveModel, Moment, Replay, ReplayError, Replayed, Scope, Wrong, between,
    compare_live,
};
use hub_tests::kit::{Database, TestClock, eventually, workspace};
use serde_json::{Value, json, value::RawValue};
use sqlx::PgPool;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

const LIMIT: Duration = Duration::from_secs(60);
const ACME: Uuid = Uuid::from_u128(0xac);
const OTHER: Uuid = Uuid::from_u128(0x07);
const HOOK: Uuid = Uuid::from_u128(0x40);
const MAIL: Uuid = Uuid::from_u128(0x50);

const PROMPT: Pace = Pace {
    lease: Duration::from_secs(5),
    poll_interval: Duration::from_millis(50),
    grace: Duration::from_millis(10),
    batch_size_max: 100,
};

const QUIET: &(dyn Fn(i64, i64) + Send + Sync) = &|_, _| {};

/// A log of two tenants, an hour between two events of the first one.
struct Archive {
    database: Database,
    store: EventStore,
    clock: TestClock,
}

impl Archive {
    /// Seven events of Acme, from noon of the first of January on, among some of another tenant.
    async fn filled() -> Self {
        let database = Database::new().await;
        let clock = TestClock::default();
        let store = EventStore::start(database.pool.clone(), Tail::default(), Upcasters::default(), clock.clock());
        let archive = Self { database, store, clock };
        archive.register(OTHER, "other").await;
        archive.register(ACME, "acme").await;
        archive.hour("tenant", ACME, "renamed", json!({"name": "Acme SE"}), "user:ada").await;
        archive.hour("webhook", HOOK, "registered", webhook(), "user:ada").await;
        archive.append(OTHER, "tenant", OTHER, "renamed", json!({"name": "Other SE"}), "user:eve").await;
        archive.hour("subscription", MAIL, "created", created(), "user:bob").await;
        archive.hour("subscription", MAIL, "activated", activated(), "user:bob").await;
        archive.hour("webhook", HOOK, "deleted", json!({}), "user:ada").await;
        archive.hour("tenant", ACME, "renamed", json!({"name": "Acme AG"}), "user:bob").await;
        archive
    }

    async fn register(&self, tenant_id: Uuid, slug: &str) {
        let golden = workspace().join("domain/golden/tenant/registered.v1.json");
        let mut registered: Value = serde_json::from_str(&fs::read_to_string(golden).unwrap()).unwrap();
        registered["slug"] = json!(slug);
        self.append(tenant_id, "tenant", tenant_id, "registered", registered, "user:root").await;
    }

    async fn hour(&self, aggregate_type: &'static str, id: Uuid, tag: &str, payload: Value, actor: &str) {
        self.clock.advance(TimeDelta::hours(1));
        self.append(ACME, aggregate_type, id, tag, payload, actor).await;
    }

    async fn append(
        &self,
        tenant_id: Uuid,
        aggregate_type: &'static str,
        aggregate_id: Uuid,
        tag: &str,
        payload: Value,
        actor: &str,
    ) {
        let stream = StreamId { tenant_id, aggregate_type, aggregate_id };
        let before = self.store.log().page_of_stream(&stream, 0, 20_000).await.unwrap().len();
        let event = NewEvent {
            event_id: Uuid::now_v7(),
            event_type: format!("{aggregate_type}.{tag}"),
            event_version: 1,
            payload: RawValue::from_string(payload.to_string()).unwrap(),
        };
        self.append_all(stream, before, vec![event], actor).await;
    }

    async fn append_all(&self, stream: StreamId, before: usize, events: Vec<NewEvent>, actor: &str) {
        let command_id = Uuid::now_v7();
        let append = Append {
            stream,
            expected_sequence: Some(i64::try_from(before).unwrap()),
            metadata: Metadata {
                actor: actor.to_owned(),
                command_id,
                correlation_id: command_id,
                causation_id: None,
                traceparent: None,
            },
            fingerprint: [0; 32],
            events,
            claims: Vec::new(),
            counters: Vec::new(),
            facts: Vec::new(),
            guards: Vec::new(),
            outcome: None,
        };
        self.store.append(append).await.unwrap();
    }

    fn replay(&self, scope: Scope) -> Replay {
        Replay {
            pool: self.database.pool.clone(),
            upcasters: Upcasters::default(),
            projections: hub_projections::all(),
            scope,
            keep: false,
        }
    }

    async fn as_of(&self, moment: &str, aggregate: Option<&str>) -> Result<Replayed, ReplayError> {
        let selector = aggregate.map(|aggregate| aggregate.parse().unwrap());
        self.replay(Scope::Tenant(ACME)).as_of(at(moment), selector.as_ref(), QUIET).await
    }

    async fn between(&self, one: &str, other: &str) -> Changes {
        between(&self.replay(Scope::Tenant(ACME)), at(one), at(other), QUIET).await.unwrap()
    }

    /// Runs the projections until everything is in the read models.
    async fn project(&self) {
        let end = CancellationToken::new();
        let (pool, tail) = (self.database.pool.clone(), self.store.tail().clone());
        let runner = Runner::new(pool, None, tail, Upcasters::default(), hub_projections::all()).with_settings(PROMPT);
        let running = tokio::spawn(runner.run(end.clone()));
        let head = self.store.log().head().await.unwrap();
        eventually(LIMIT, async || {
            let there = "SELECT count(DISTINCT projection) FILTER (WHERE position >= $1), count(*) FILTER (WHERE position < $1) \
                 FROM projection_checkpoints";
            let there: (i64, i64) =
                sqlx::query_as(there).bind(head).fetch_one(&self.database.pool).await.unwrap();
            (there == (i64::try_from(hub_projections::all().len()).unwrap(), 0)).then_some(())
        })
        .await;
        end.cancel();
        running.await.unwrap();
    }

    async fn compared(&self) -> Comparison {
        compare_live(&self.replay(Scope::Tenant(ACME)), QUIET).await.unwrap()
    }

    async fn tamper(&self, statement: &str) {
        sqlx::query(statement).execute(&self.database.pool).await.unwrap();
    }

    async fn schemas(&self) -> Vec<String> {
        schemas(&self.database.pool).await
    }
}

async fn schemas(pool: &PgPool) -> Vec<String> {
    sqlx::query_scalar("SELECT nspname::text FROM pg_namespace WHERE nspname LIKE 'replay%' ORDER BY 1")
        .fetch_all(pool)
        .await
        .unwrap()
}

fn at(moment: &str) -> Moment {
    moment.parse().map_or_else(|_| Moment::Time(moment.parse().unwrap()), Moment::Position)
}

fn webhook() -> Value {
    json!({
        "url": "https://hooks.acme.example/hub", "filters": ["subscription.*"], "description": "",
        "secret_id": Uuid::from_u128(5), "sealed_secret": "c2VhbGVkIG9uY2U=",
    })
}

fn created() -> Value {
    let money = |minor: i64| json!({"minor": minor, "currency": "EUR"});
    let plan = json!({"code": "mail", "name": "Mail", "tier": "basic", "price": money(1_000), "interval": "month"});
    let mrr = json!({"before_minor": 0, "after_minor": 0, "currency": "EUR", "movement": "none"});
    json!({
        "plan": plan, "seats": 3, "trial_days": 0, "starts_at": "2026-01-01T00:00:00Z", "trial_ends_at": null,
        "recurring": money(3_000), "mrr": mrr, "next_due_at": null,
    })
}

fn activated() -> Value {
    json!({
        "anchor_at": "2026-01-01T00:00:00Z", "recurring": {"minor": 3_000, "currency": "EUR"},
        "mrr": {"before_minor": 0, "after_minor": 3_000, "currency": "EUR", "movement": "new"}, "next_due_at": null,
    })
}

fn rows(replayed: &Replayed, name: &str) -> i64 {
    replayed.read_models.iter().find(|model| model.name == name).unwrap().row_count
}

fn changed<'a>(changes: &'a Changes, name: &str) -> &'a ChangedModel {
    changes.read_models.iter().find(|model| model.name == name).unwrap()
}

fn live<'a>(comparison: &'a Comparison, name: &str) -> &'a LiveModel {
    comparison.read_models.iter().find(|model| model.name == name).unwrap()
}

#[tokio::test]
async fn a_moment_has_the_rows_of_its_time_and_leaves_nothing_behind() {
    let archive = Archive::filled().await;
    let replayed = archive.as_of("5", None).await.unwrap();
    assert_eq!((replayed.as_of.place, replayed.as_of.platform_position, replayed.as_of.head), (5, 7, 7));
    let of = |name| rows(&replayed, name);
    assert_eq!((of("tenants"), of("webhooks"), of("subscriptions"), of("audit_entries")), (1, 1, 1, 5));
    assert_eq!((of("charges"), of("mrr_movements")), (0, 1));
    assert!(replayed.read_models.iter().all(|model| model.unreadable_count + model.left_out_count == 0));
    assert_eq!(replayed.schema, None);
    assert_eq!(archive.schemas().await, [""; 0]);
    let whole = archive.replay(Scope::Platform).as_of(at("7"), None, QUIET).await.unwrap();
    assert_eq!((rows(&whole, "tenants"), rows(&whole, "audit_entries")), (2, 7));
}

#[tokio::test]
async fn a_time_includes_what_happened_at_it() {
    let archive = Archive::filled().await;
    for (time, position) in [
        ("2026-01-01T12:00:00Z", 1),
        ("2026-01-01T14:59:59.999999Z", 3),
        ("2026-01-01T15:00:00Z", 4),
        ("2026-06-01T00:00:00+02:00", 7),
    ] {
        assert_eq!(archive.as_of(time, None).await.unwrap().as_of.place, position, "{time}");
    }
}

#[tokio::test]
async fn what_is_no_moment_of_the_log_is_said_and_not_guessed() {
    let archive = Archive::filled().await;
    let acme = format!("the log of the tenant {ACME}");
    for (moment, said) in [
        ("0", "positions begin at 1".to_owned()),
        ("8", format!("{acme} ends at position 7, before 8")),
        ("2999-01-01T00:00:00Z", "2999-01-01T00:00:00Z is in the future".to_owned()),
        (
            "2026-01-01T11:59:59Z",
            format!("nothing had happened at 2026-01-01T11:59:59Z: {acme} begins at 2026-01-01T12:00:00Z"),
        ),
    ] {
        assert_eq!(archive.as_of(moment, None).await.unwrap_err().to_string(), said);
    }
    let nobody = archive.replay(Scope::Tenant(Uuid::nil()));
    let error = nobody.as_of(at("1"), None, QUIET).await.unwrap_err();
    assert_eq!(error.to_string(), format!("the tenant {} has no events", Uuid::nil()));
}

#[tokio::test]
async fn an_aggregate_shows_its_state_and_its_rows_without_secrets() {
    let archive = Archive::filled().await;
    let replayed = archive.as_of("5", Some(&format!("subscription/{MAIL}"))).await.unwrap();
    let report = replayed.aggregates.unwrap();
    assert_eq!(report.count, 1);
    let mail = &report.shown[0];
    assert_eq!((mail.last_event.position, &*mail.last_event.actor), (5, "user:bob"));
    assert_eq!(mail.rows.keys().copied().collect::<Vec<_>>(), ["subscriptions"]);
    assert_eq!(mail.rows["subscriptions"][0]["stage"], "active");
    let earlier = archive.as_of("4", Some("subscription")).await.unwrap().aggregates.unwrap();
    assert_eq!(earlier.shown[0].rows["subscriptions"][0]["stage"], "trialing");
    assert_ne!(earlier.shown[0].state, mail.state);
    let hook = archive.as_of("3", Some("webhook")).await.unwrap().aggregates.unwrap();
    let text = serde_json::to_string(&hook).unwrap();
    assert!(text.contains("hooks.acme.example") && !text.contains("c2VhbGVkIG9uY2U"), "{text}");
    let tenant = archive.as_of("3", Some("tenant")).await.unwrap().aggregates.unwrap();
    assert_eq!(tenant.shown[0].rows["tenants"][0]["name"], "Acme SE");
    let none = archive.as_of("2", Some(&format!("webhook/{HOOK}"))).await.unwrap_err();
    assert_eq!(none.to_string(), format!("there was no webhook {HOOK} at that moment"));
    assert_eq!(archive.as_of("2", Some("webhook")).await.unwrap().aggregates.unwrap().count, 0);
}

#[tokio::test]
async fn between_two_moments_every_row_is_named_with_the_events_that_changed_it() {
    let archive = Archive::filled().await;
    let changes = archive.between("7", "3").await;
    assert_eq!((changes.from.place, changes.to.place), (3, 7), "given in any order");
    let tenants = changed(&changes, "tenants");
    assert_eq!((tenants.row_count_before, tenants.row_count_after, tenants.change_count), (1, 1, 1));
    let renamed = &tenants.changes[0];
    assert_eq!(renamed.kind, Kind::Changed);
    assert_eq!(renamed.columns["name"].before, Some(json!("Acme SE")));
    assert_eq!(renamed.columns["name"].after, Some(json!("Acme AG")));
    assert_eq!(renamed.columns.keys().collect::<Vec<_>>(), ["name", "sequence", "updated_at"]);
    let event = &renamed.events[0];
    assert_eq!((renamed.event_count, event.event.position, &*event.event.event_type), (1, 7, "tenant.renamed"));
    assert_eq!((&*event.event.actor, event.event.platform_position), ("user:bob", 9));
    assert_eq!(event.columns, ["name", "sequence", "updated_at"]);
    let webhook = &changed(&changes, "webhooks").changes[0];
    assert_eq!((webhook.kind, webhook.events[0].event.position), (Kind::Removed, 6));
    assert_eq!(webhook.columns["url"].after, None);
    let subscription = &changed(&changes, "subscriptions").changes[0];
    assert_eq!((subscription.kind, subscription.event_count), (Kind::Added, 2));
    let positions: Vec<_> = subscription.events.iter().map(|event| event.event.position).collect();
    assert_eq!(positions, [4, 5]);
    assert!(!subscription.events[1].columns.contains(&"plan".to_owned()), "the activation left the plan as it was");
    assert_eq!(changed(&changes, "audit_entries").change_count, 4);
    let same = archive.between("4", "4").await;
    assert!(same.read_models.iter().all(|model| model.change_count == 0));
}

#[tokio::test]
async fn a_long_list_of_changes_is_cut_and_counted() {
    let archive = Archive::filled().await;
    let events = (0..150).map(|number| NewEvent {
        event_id: Uuid::now_v7(),
        event_type: "tenant.renamed".to_owned(),
        event_version: 1,
        payload: RawValue::from_string(json!({"name": format!("Acme {number}")}).to_string()).unwrap(),
    });
    let stream = StreamId { tenant_id: ACME, aggregate_type: "tenant", aggregate_id: ACME };
    for (turn, events) in events.collect::<Vec<_>>().chunks(50).enumerate() {
        archive.append_all(stream.clone(), 3 + turn * 50, events.to_vec(), "user:ada").await;
    }
    let changes = archive.between("7", "157").await;
    let audit = changed(&changes, "audit_entries");
    assert_eq!((audit.change_count, audit.changes.len()), (150, 100));
    let tenant = &changed(&changes, "tenants").changes[0];
    assert_eq!((tenant.event_count, tenant.events.len()), (150, 20));
    assert_eq!(tenant.events.last().unwrap().event.position, 157);
}

#[tokio::test(flavor = "multi_thread")]
async fn live_read_models_are_what_the_log_leads_to_until_somebody_edits_one() {
    let archive = Archive::filled().await;
    let never = archive.compared().await;
    assert!(!never.same && never.read_models.iter().all(|model| model.trouble.is_some()), "nothing was ever built");
    archive.project().await;
    let right = archive.compared().await;
    assert!(right.same, "{right:?}");
    assert_eq!((right.head, live(&right, "tenants").row_count, live(&right, "tenants").platform_position), (7, 1, 9));

    archive.tamper(&format!("UPDATE tenants SET name = 'Evil' WHERE tenant_id = '{ACME}'")).await;
    let edited = archive.compared().await;
    let row = &live(&edited, "tenants").differences[0];
    assert!(!edited.same);
    assert_eq!(row.kind, Wrong::Different);
    assert_eq!(row.columns.keys().collect::<Vec<_>>(), ["name"]);
    assert_eq!(
        (&row.columns["name"].found, &row.columns["name"].expected),
        (&Some(json!("Evil")), &Some(json!("Acme AG")))
    );
    assert_eq!(row.explained_by.as_ref().unwrap().position, 7);
    assert_eq!(row.found_as_of, None);
    assert!(row.verdict.ends_with("; no event explains what stands there"), "{}", row.verdict);

    let back = format!(
        "UPDATE tenants SET name = 'Acme SE', sequence = 2, updated_at = '2026-01-01T13:00:00Z' WHERE tenant_id = '{ACME}'"
    );
    archive.tamper(&back).await;
    let stale = archive.compared().await;
    let row = &live(&stale, "tenants").differences[0];
    assert_eq!(row.found_as_of.as_ref().unwrap().position, 2, "{row:?}");
    assert_eq!(row.explained_by.as_ref().unwrap().position, 7);

    archive.tamper("DELETE FROM subscriptions").await;
    let removed = archive.compared().await;
    let row = &live(&removed, "subscriptions").differences[0];
    assert_eq!((row.kind, row.explained_by.as_ref().unwrap().position), (Wrong::Missing, 5));
    assert!(row.verdict.ends_with("; no event explains that it is missing"), "{}", row.verdict);

    let copy = "INSERT INTO duty_sets (tenant_id, id, key, name, role_ids, held_max, created_at, updated_at, sequence) \
         VALUES ($1, $2, 'k', 'n', '[]', 1, now(), now(), 1)";
    sqlx::query(copy).bind(ACME).bind(Uuid::from_u128(77)).execute(&archive.database.pool).await.unwrap();
    let added = archive.compared().await;
    let row = &live(&added, "duty_sets").differences[0];
    assert_eq!((row.kind, &row.explained_by), (Wrong::Unexpected, &None));
    assert_eq!(row.verdict, "no event explains it: it should not be there");
    let other = compare_live(&archive.replay(Scope::Tenant(OTHER)), QUIET).await.unwrap();
    assert!(other.same, "what was done to another tenant is no difference of this one: {other:?}");
    let whole = compare_live(&archive.replay(Scope::Platform), QUIET).await.unwrap();
    let count: i64 = whole.read_models.iter().map(|model| model.difference_count).sum();
    assert!(!whole.same && count == 3, "{whole:?}");
    assert_eq!(archive.schemas().await, [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_of_something_deleted_is_explained_by_the_event_that_deleted_it() {
    let archive = Archive::filled().await;
    archive.project().await;
    let kept = Replay { keep: true, ..archive.replay(Scope::Tenant(ACME)) };
    let schema = kept.as_of(at("3"), None, QUIET).await.unwrap().schema.unwrap();
    archive.tamper(&format!("INSERT INTO webhooks SELECT * FROM {schema}.webhooks")).await;
    let row = live(&archive.compared().await, "webhooks").differences[0].clone();
    assert_eq!((row.kind, row.explained_by.as_ref().unwrap().position), (Wrong::Unexpected, 6));
    assert_eq!(row.found_as_of.as_ref().unwrap().position, 3, "{}", row.verdict);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_taken_in_yet_is_no_difference() {
    let archive = Archive::filled().await;
    archive.project().await;
    archive.hour("tenant", ACME, "renamed", json!({"name": "Acme Ltd"}), "user:ada").await;
    let behind = archive.compared().await;
    assert!(behind.same, "{behind:?}");
    assert_eq!((behind.head, live(&behind, "tenants").platform_position), (8, 9));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_nobody_can_read_stops_its_stream_only_and_is_counted() {
    let archive = Archive::filled().await;
    archive.append(ACME, "webhook", Uuid::from_u128(9), "registered", json!({"url": 7}), "user:ada").await;
    archive.append(ACME, "webhook", Uuid::from_u128(9), "paused", json!({}), "user:ada").await;
    let replayed = archive.as_of("9", Some("webhook")).await.unwrap();
    let webhooks = replayed.read_models.iter().find(|model| model.name == "webhooks").unwrap();
    assert_eq!((webhooks.unreadable_count, rows(&replayed, "tenants"), webhooks.row_count), (2, 1, 0));
    let broken = &replayed.aggregates.unwrap().shown[1];
    assert!(broken.unreadable.as_ref().unwrap().contains("webhook.registered"), "{broken:?}");
    archive.project().await;
    let compared = archive.compared().await;
    assert!(compared.same, "the live one has parked them, too: {compared:?}");
    assert_eq!(live(&compared, "webhooks").left_out_count, 2);
}

#[tokio::test]
async fn a_replay_that_fails_on_the_way_leaves_nothing_behind() {
    let archive = Archive::filled().await;
    // The last table to be written cannot be.
    archive.tamper("ALTER TABLE webhooks ADD COLUMN odd integer NOT NULL").await;
    let error = archive.as_of("3", None).await.unwrap_err().to_string();
    assert!(error.starts_with("webhooks cannot be written: "), "{error}");
    assert_eq!(archive.schemas().await, [""; 0]);
}

/// Prints how long a replay takes: `--no-capture` shows it.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "for measuring"]
async fn a_replay_of_ten_thousand_events() {
    let archive = Archive::filled().await;
    for number in 0..1_000_u128 {
        let stream =
            StreamId { tenant_id: ACME, aggregate_type: "webhook", aggregate_id: Uuid::from_u128(0x1000 + number) };
        let event = |tag: &str, payload: Value| NewEvent {
            event_id: Uuid::now_v7(),
            event_type: format!("webhook.{tag}"),
            event_version: 1,
            payload: RawValue::from_string(payload.to_string()).unwrap(),
        };
        let mut events = vec![event("registered", webhook())];
        for turn in 0..9 {
            events.push(event("description_changed", json!({"description": format!("turn {turn}")})));
        }
        archive.append_all(stream, 0, events, "user:ada").await;
    }
    archive.project().await;
    let replay = archive.replay(Scope::Tenant(ACME));
    let begin = std::time::Instant::now();
    replay.as_of(at("10007"), None, QUIET).await.unwrap();
    println!("as of the head: {:?}", begin.elapsed());
    let begin = std::time::Instant::now();
    between(&replay, at("5000"), at("10007"), QUIET).await.unwrap();
    println!("between: {:?}", begin.elapsed());
    let begin = std::time::Instant::now();
    assert!(compare_live(&replay, QUIET).await.unwrap().same);
    println!("compare: {:?}", begin.elapsed());
}
