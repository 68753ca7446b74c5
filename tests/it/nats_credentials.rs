//! Credentials for NATS, with a real nats-server that asks for them.

use std::{
    collections::BTreeSet,
    fs,
    sync::{Arc, Mutex},
    time::Duration,
};

use async_nats::{Client, ConnectError, ConnectOptions, Subscriber, jetstream};
use chrono::{DateTime, TimeDelta, Utc};
use futures::StreamExt as _;
use hub::clock::system_clock;
use hub_commands::nats_credential::Issuing;
use hub_nats_jwt::{Issuer, Key, Kind};
use hub_tests::kit::{Database, HubProcess, Nats, ServeProcess, directory, eventually};
use rustix::process::Signal;
use serde_json::{Value, json};
use sqlx::{Connection as _, PgConnection};

use crate::relay::published_up_to;

const LIMIT: Duration = Duration::from_secs(30);

/// Issues for a server that nobody connects to.
pub(crate) fn nats_issuing() -> Issuing {
    let issuer = Issuer::new(Key::from_random(Kind::Account, [1; 32]), None).unwrap();
    Issuing { issuer, urls: vec!["tls://nats.example.com:4222".to_owned()] }
}

/// What the server and the client have said of the connection.
#[derive(Clone, Default)]
struct Heard(Arc<Mutex<Vec<String>>>);

impl Heard {
    async fn of(&self, what: &str) {
        eventually(LIMIT, async || self.0.lock().unwrap().iter().any(|said| said.contains(what)).then_some(())).await;
    }
}

/// Connects as an integrator does.
async fn connect(url: &str, credentials: &str) -> Result<(Client, Heard), ConnectError> {
    let heard = Heard::default();
    let said = heard.clone();
    let options = ConnectOptions::with_credentials(credentials).unwrap().event_callback(move |event| {
        said.0.lock().unwrap().push(event.to_string());
        async {}
    });
    Ok((options.connect(url).await?, heard))
}

/// A platform, asked by its administrator.
struct Platform {
    url: String,
    key: String,
    http: reqwest::Client,
}

impl Platform {
    fn of(hub: &HubProcess) -> Self {
        Self::at(hub.url(), hub.admin_key())
    }

    fn at(url: &str, key: String) -> Self {
        Self { url: url.to_owned(), key, http: reqwest::Client::builder().timeout(LIMIT).build().unwrap() }
    }

    async fn post(&self, path: &str, body: Value) -> Value {
        let request = self.http.post(format!("{}{path}", self.url)).bearer_auth(&self.key).json(&body);
        let response = request.send().await.unwrap();
        let status = response.status();
        let answer: Value = response.json().await.unwrap();
        assert!(status.is_success(), "{path}: {status} {answer}");
        answer
    }

    async fn get(&self, path: &str) -> Value {
        let request = self.http.get(format!("{}{path}", self.url)).bearer_auth(&self.key);
        request.send().await.unwrap().json().await.unwrap()
    }

    /// The id of a new tenant.
    async fn tenant(&self, slug: &str) -> String {
        let registration = json!({
            "slug": slug, "name": slug, "contact_email": "it@acme.example", "tier": "starter", "region": "eu-central",
            "currency": "EUR",
        });
        self.post("/v1/tenants", registration).await["id"].as_str().unwrap().to_owned()
    }

    async fn rename(&self, tenant: &str, name: &str) {
        self.post(&format!("/v1/tenants/{tenant}/rename"), json!({ "name": name })).await;
    }
}

async fn head(hub: &HubProcess) -> i64 {
    let mut connection = PgConnection::connect(hub.database_url()).await.unwrap();
    sqlx::query_scalar("SELECT position FROM log_head").fetch_one(&mut connection).await.unwrap()
}

/// Reads until an event of this type comes; all before it must be of the tenant, too.
async fn next_of(events: &mut Subscriber, tenant: &str, event_type: &str) -> (String, Value) {
    loop {
        let message = tokio::time::timeout(LIMIT, events.next()).await.unwrap().unwrap();
        let event: Value = serde_json::from_slice(&message.payload).unwrap();
        assert_eq!(event["tenant_id"], tenant);
        assert_eq!(message.headers.unwrap().get("Hub-Position").unwrap().as_str(), event["position"].to_string());
        if event["event_type"] == event_type {
            return (message.subject.to_string(), event);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_integrator_reads_the_events_of_its_tenant_from_the_relay_and_may_do_nothing_else() {
    let hub = HubProcess::start().await;
    let platform = Platform::of(&hub);
    let (acme, other) = (platform.tenant("acme").await, platform.tenant("other").await);
    let issued = platform.post(&format!("/v1/tenants/{acme}/nats-credentials"), json!({ "name": "Ledger" })).await;
    assert_eq!(issued["urls"], json!([hub.nats_url()]));
    let credentials = issued["credentials"].as_str().unwrap();
    let (client, heard) = connect(hub.nats_url(), credentials).await.unwrap();
    let mut events = client.subscribe(issued["subjects"][0].as_str().unwrap().to_owned()).await.unwrap();
    client.flush().await.unwrap();
    platform.rename(&other, "Other SE").await;
    platform.rename(&acme, "Acme SE").await;
    let (subject, event) = next_of(&mut events, &acme, "tenant.renamed").await;
    assert_eq!(event["payload"], json!({ "name": "Acme SE" }));
    let simple = acme.replace('-', "");
    let tokens: Vec<_> = subject.split('.').collect();
    assert_eq!((&tokens[..2], &tokens[3..]), (&["hub", "events"][..], &[&*simple, "tenant", "renamed"][..]));

    let of_other = format!("hub.events.*.{}.>", other.replace('-', ""));
    for subject in [&*of_other, "hub.events.>", "hub.events.*.*.tenant.>", "$JS.API.>", "_INBOX.>", ">"] {
        let _refused = client.subscribe(subject.to_owned()).await.unwrap();
        heard.of(&format!("Permissions Violation for Subscription to \"{subject}\"")).await;
    }
    let stream = ["$JS.API.STREAM.INFO.HUB_EVENTS", "$JS.API.CONSUMER.CREATE.HUB_EVENTS", "_INBOX.x", "anything"];
    for subject in stream.into_iter().chain([&*subject]) {
        client.publish(subject.to_owned(), "{}".into()).await.unwrap();
        heard.of(&format!("Permissions Violation for Publish to \"{subject}\"")).await;
    }
    assert!(async_nats::connect(hub.nats_url()).await.is_err(), "somebody without credentials is let in");

    let listed = eventually(LIMIT, async || {
        let listed = platform.get(&format!("/v1/tenants/{acme}/nats-credentials")).await;
        listed["items"][0].is_object().then(|| listed["items"].clone())
    })
    .await;
    assert_eq!((&listed[0]["name"], &listed[0]["public_key"]), (&json!("Ledger"), &issued["public_key"]));
    let until = |of: &Value| of["expires_at"].as_str().unwrap().parse::<DateTime<Utc>>().unwrap();
    assert_eq!((listed.as_array().unwrap().len(), until(&listed[0])), (1, until(&issued)));

    // Whatever was refused, what is allowed still comes, and nobody has kept the secret.
    platform.rename(&acme, "Acme AG").await;
    assert_eq!(next_of(&mut events, &acme, "tenant.renamed").await.1["payload"]["name"], "Acme AG");
    let seed = credentials.lines().find(|line| line.starts_with("SU")).unwrap();
    assert!(!hub.output().contains(seed));
    let mut connection = PgConnection::connect(hub.database_url()).await.unwrap();
    let written = "SELECT payload FROM events WHERE event_type = 'nats_credential.issued'";
    let written: Vec<Value> = sqlx::query_scalar(written).fetch_all(&mut connection).await.unwrap();
    let expected = json!([{
        "name": "Ledger", "public_key": issued["public_key"], "subjects": issued["subjects"], "expires_at": issued["expires_at"],
    }]);
    assert_eq!(json!(written), expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hub_that_is_given_a_nats_with_an_account_publishes_there_and_issues_for_it() {
    let (database, nats, files) = (Database::new().await, Nats::start_with_account().await, directory());
    let settings = format!(
        "nats_credentials_file = {:?}\nnats_account_key_file = {:?}\nnats_account = {:?}\nnats_public_urls = {:?}\n",
        nats.file("nats.creds"),
        nats.file("nats-signing.key"),
        nats.account().public_key(),
        nats.url(),
    );
    fs::write(files.path().join("hub.toml"), settings).unwrap();
    let mut hub = ServeProcess::new(files.path(), "hub", &database.url, &nats.url());
    hub.start().await;
    let platform = Platform::at(hub.url(), hub.admin_key());
    let acme = platform.tenant("acme").await;
    let issued = platform.post(&format!("/v1/tenants/{acme}/nats-credentials"), json!({ "name": "Ledger" })).await;
    let url = issued["urls"][0].as_str().unwrap();
    let (client, _) = connect(url, issued["credentials"].as_str().unwrap()).await.unwrap();
    let mut events = client.subscribe(issued["subjects"][0].as_str().unwrap().to_owned()).await.unwrap();
    client.flush().await.unwrap();
    platform.rename(&acme, "Acme SE").await;
    assert_eq!(next_of(&mut events, &acme, "tenant.renamed").await.1["payload"]["name"], "Acme SE");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_of_before_there_was_an_account_comes_up_and_its_stream_is_filled_again() {
    let mut hub = HubProcess::start().await;
    Platform::of(&hub).tenant("acme").await;
    let head = head(&hub).await;
    published_up_to(&hub.nats_client().await.unwrap(), head).await;
    hub.stop(Signal::TERM).await;
    // As it was: no keys, and the stream belongs to everybody.
    let streams = hub.directory().join("servers/nats/jetstream");
    let account = fs::read_dir(&streams).unwrap().next().unwrap().unwrap().path();
    fs::rename(account, streams.join("$G")).unwrap();
    for file in ["nats-operator.key", "nats-account.key", "nats-signing.key", "nats.creds"] {
        fs::remove_file(hub.directory().join(file)).unwrap();
    }
    hub.start_again().await;
    let published = published_up_to(&hub.nats_client().await.unwrap(), head).await;
    let positions: BTreeSet<i64> = published.iter().map(|message| message.position).filter(|at| *at <= head).collect();
    assert_eq!(positions, (1..=head).collect());
    assert!(!streams.join("$G").exists(), "what nobody reads any more takes room");
}

fn reader(issuer: &Issuer, times: [DateTime<Utc>; 2]) -> String {
    issuer.reader([3; 32], "reader", &["hub.events.*.a.>".to_owned()], times).text.to_string()
}

async fn refused(nats: &Nats, credentials: &str, why: &str) {
    let error = connect(&nats.url(), credentials).await.map(drop).expect_err(why);
    assert_eq!(error.kind(), async_nats::ConnectErrorKind::AuthorizationViolation, "{why}: {error}");
}

#[tokio::test]
async fn credentials_that_expired_or_that_the_account_has_not_signed_are_refused() {
    let nats = Nats::start_with_account().await;
    let (now, day) = (system_clock()(), TimeDelta::days(1));
    let issuer = nats.account().issuer();
    let good = reader(issuer, [now, now + day]);
    connect(&nats.url(), &good).await.unwrap();

    refused(&nats, &reader(issuer, [now - day * 8, now - day]), "it has expired").await;
    let stranger = || Key::from_random(Kind::Account, [9; 32]);
    let of_stranger = Issuer::new(stranger(), None).unwrap();
    refused(&nats, &reader(&of_stranger, [now, now + day]), "its account is not known").await;
    let pretender = Issuer::new(stranger(), Some(nats.account().public_key())).unwrap();
    refused(&nats, &reader(&pretender, [now, now + day]), "the key does not sign for the account").await;
    let seed = |text: &str| text.lines().find(|line| line.starts_with("SU")).unwrap().to_owned();
    let another = seed(&issuer.owner([4; 32], "another", now).text);
    refused(&nats, &good.replace(&seed(&good), &another), "the seed is somebody else's").await;
}

#[tokio::test]
async fn a_connection_ends_when_its_credentials_expire() {
    let nats = Nats::start_with_account().await;
    let now = system_clock()();
    let short = reader(nats.account().issuer(), [now, now + TimeDelta::seconds(5)]);
    let (_client, heard) = connect(&nats.url(), &short).await.unwrap();
    heard.of("disconnected").await;
    // Within the second of the expiry the server still lets in, for that second.
    eventually(LIMIT, async || connect(&nats.url(), &short).await.is_err().then_some(())).await;
}

#[tokio::test]
async fn another_signing_key_shuts_out_every_integrator_and_keeps_the_streams() {
    let mut nats = Nats::start_with_account().await;
    let now = system_clock()();
    let credentials = reader(nats.account().issuer(), [now, now + TimeDelta::days(1)]);
    connect(&nats.url(), &credentials).await.unwrap();
    let config = jetstream::stream::Config { name: "kept".to_owned(), ..Default::default() };
    jetstream::new(nats.client().await).create_stream(config).await.unwrap();
    nats.restart_with_another_signing_key().await;
    refused(&nats, &credentials, "its signing key is gone").await;
    jetstream::new(nats.client().await).get_stream("kept").await.unwrap();
}
