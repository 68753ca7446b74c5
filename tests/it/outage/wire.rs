//! Answers that get lost between PostgreSQL and the command API.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Instant,
};

use hub_commands::{Commands, Settings};
use hub_event_store::{store::EventStore, tail::Tail, upcast::Upcasters};
use hub_http::Scope;
use hub_tests::kit::{Database, TestClock, vault_in};
use serde_json::{Value, json};
use sqlx::postgres::PgPoolOptions;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};
use uuid::Uuid;

use super::{Answer, LIMIT};
use crate::tokens::{gate, token};

/// A way to PostgreSQL that can lose the writer's next answer.
struct Wire {
    port: u16,
    cut: Arc<AtomicBool>,
}

impl Wire {
    async fn to(port: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let wire = Self { port: listener.local_addr().unwrap().port(), cut: Arc::default() };
        let cut = Arc::clone(&wire.cut);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let server = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
                tokio::spawn(pass_on(client, server, Arc::clone(&cut)));
            }
        });
        wire
    }

    /// The next answer to the writer gets lost together with its connection, after PostgreSQL has done what was asked.
    fn lose_the_next_answer(&self) {
        self.cut.store(true, Ordering::SeqCst);
    }

    fn has_lost(&self) -> bool {
        !self.cut.load(Ordering::SeqCst)
    }
}

async fn pass_on(mut client: TcpStream, mut server: TcpStream, cut: Arc<AtomicBool>) {
    let (mut asked, mut answered) = (vec![0; 1 << 16], vec![0; 1 << 16]);
    let mut writer = false;
    loop {
        tokio::select! {
            length = client.read(&mut asked) => {
                let Ok(length @ 1..) = length else { return };
                writer = writer || asked[..length].windows(10).any(|part| part == b"hub-writer");
                if server.write_all(&asked[..length]).await.is_err() { return }
            }
            length = server.read(&mut answered) => {
                let Ok(length @ 1..) = length else { return };
                if writer && cut.swap(false, Ordering::SeqCst) { return }
                if client.write_all(&answered[..length]).await.is_err() { return }
            }
        }
    }
}

/// A command API whose way to PostgreSQL is a [`Wire`].
struct Wired {
    database: Database,
    wire: Wire,
    url: String,
    client: reqwest::Client,
}

impl Wired {
    async fn start() -> Self {
        let database = Database::new().await;
        let options = database.pool.connect_options();
        let wire = Wire::to(options.get_port()).await;
        let pool = PgPoolOptions::new().max_connections(8).connect_lazy_with((*options).clone().port(wire.port));
        let clock = TestClock::default().clock();
        let store = EventStore::start(pool.clone(), Tail::default(), Upcasters::default(), clock);
        let commands = Commands::new(Settings {
            store,
            gate: gate([(1, "key:administrator", Scope::Platform)]),
            secret_key: [7; 32],
            random: Arc::new(|| *Uuid::new_v4().into_bytes().repeat(2).first_chunk().unwrap()),
        })
        .with_vault(vault_in(&database.pool));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let router: axum::Router = hub_commands::routes(commands).into();
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { database, wire, url, client: reqwest::Client::new() }
    }

    async fn post(&self, path: &str, idempotency_key: &str, body: Value) -> Answer {
        let started = Instant::now();
        let request = self.client.post(format!("{}{path}", self.url)).bearer_auth(token(1));
        let request = request.header("idempotency-key", idempotency_key).json(&body);
        let response = request.timeout(LIMIT).send().await.unwrap();
        let (status, headers) = (response.status(), response.headers().clone());
        let body = response.json().await.unwrap();
        Answer { status, headers, body, took: started.elapsed() }
    }

    async fn tenant(&self) -> String {
        let registration = json!({
            "slug": "acme", "name": "Acme", "contact_email": "it@acme.example", "tier": "starter",
            "region": "eu-central", "currency": "EUR",
        });
        format!("/v1/tenants/{}", self.post("/v1/tenants", "register", registration).await.id())
    }

    /// Ends the writer's connection from the other side.
    async fn break_the_writer(&self) {
        let ended: Option<bool> = sqlx::query_scalar(
            "SELECT bool_and(pg_terminate_backend(pid)) FROM pg_stat_activity \
             WHERE application_name = 'hub-writer' AND datname = current_database()",
        )
        .fetch_one(&self.database.pool)
        .await
        .unwrap();
        assert_eq!(ended, Some(true), "the writer has no connection");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_lost_between_postgresql_and_hub_is_found_again() {
    let wired = Wired::start().await;
    let tenant = wired.tenant().await;
    let webhooks = format!("{tenant}/webhooks");
    let body = json!({ "url": "https://acme.example/hook", "events": ["*"] });
    wired.wire.lose_the_next_answer();
    let first = wired.post(&webhooks, "hook", body.clone()).await;
    assert!(wired.wire.has_lost());
    // It is this very command that was committed, so its secret is answered.
    assert_eq!(first.status, 201, "{first:?}");
    assert!(!first.replayed() && first.body["secret"].is_string(), "{first:?}");
    let count: i64 = sqlx::query_scalar("SELECT count(*) FROM events WHERE event_type = 'webhook.registered'")
        .fetch_one(&wired.database.pool)
        .await
        .unwrap();
    assert_eq!(count, 1);
    // The state that is kept at hand is the one in the log.
    let paused = wired.post(&format!("{webhooks}/{}/pause", first.id()), "pause", json!({})).await;
    assert_eq!(paused.body["sequence"], 2, "{paused:?}");
    let second = wired.post(&webhooks, "hook", body).await;
    assert!(second.replayed() && second.body["secret"].is_null(), "{second:?}");
    assert_eq!(second.body["id"], first.body["id"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeated_command_gets_its_first_answer_even_when_the_connection_breaks_under_it() {
    let wired = Wired::start().await;
    let tenant = wired.tenant().await;
    let roles = format!("{tenant}/roles");
    let role = wired.post(&roles, "role", json!({ "key": "helper", "name": "Helper" })).await;
    let path = |verb: &str| format!("{roles}/{}/{verb}", role.id());
    let ada = json!({ "principal": "user:ada" });
    let first = wired.post(&path("assign"), "assign", ada.clone()).await;
    assert_eq!(first.body["sequence"], 2, "{first:?}");
    let unassigned = wired.post(&path("unassign"), "unassign", ada.clone()).await;
    assert_eq!(unassigned.body["sequence"], 3, "{unassigned:?}");
    let taken = json!({ "key": "helper", "name": "Another" });
    let refused = wired.post(&roles, "taken", taken.clone()).await;
    assert_eq!(refused.body["code"], "role_key_taken", "{refused:?}");

    wired.break_the_writer().await;
    let again = wired.post(&path("assign"), "assign", ada.clone()).await;
    assert!(again.replayed(), "{again:?}");
    assert_eq!(again.body, first.body);
    wired.break_the_writer().await;
    let again = wired.post(&roles, "taken", taken).await;
    assert!(again.replayed(), "{again:?}");
    assert_eq!((again.status, &again.body["code"]), (refused.status, &refused.body["code"]), "{again:?}");
    // The state that is kept at hand is the one in the log: nobody is assigned.
    let nothing = wired.post(&path("unassign"), "nothing", ada.clone()).await;
    assert_ne!(nothing.body["event_count"], 1, "{nothing:?}");
    let anew = wired.post(&path("assign"), "anew", ada).await;
    assert_eq!(anew.body["sequence"], 4, "{anew:?}");
    assert_ne!(anew.body["assignment_id"], first.body["assignment_id"]);
}
