//! The program is killed under the consumers of a subscription and under a client of the stream.

use std::{
    collections::{BTreeMap, BTreeSet},
    pin::pin,
    sync::Mutex,
    time::Duration,
};

use eventsource_stream::Eventsource as _;
use futures::{
    StreamExt as _,
    future::{join, join_all, join3},
    stream,
};
use hub_tests::kit::{HubProcess, eventually};
use serde_json::{Value, json};
use tokio::{sync::watch, time::timeout};
use uuid::Uuid;

/// How long all of it may take, on a machine that runs other tests beside it.
const LIMIT: Duration = Duration::from_secs(240);

/// No answer takes longer, and no stream is silent for longer: every 15 s it says something, if only a comment.
const ANSWER_LIMIT: Duration = Duration::from_secs(30);

/// Roles, and events of each: a thousand.
const ROLES: usize = 20;
const EVENTS_EACH: usize = 50;

/// After so many events of each role it is killed.
const KILLED_AFTER: [usize; 3] = [15, 30, 45];

/// The shortest that there is, so that what the dead were handed is soon free again.
const LEASE_SECONDS: u32 = 5;

/// So many events a pull: few, so that there is always something that waits.
const PULL_MAX: usize = 5;

/// One of so many pulls is acknowledged in part only.
const PARTLY_EVERY: usize = 40;

/// The program as its callers find it, wherever it is by now.
#[derive(Clone)]
struct Api {
    http: reqwest::Client,
    url: watch::Receiver<String>,
    key: String,
}

impl Api {
    fn request(&self, method: reqwest::Method, path: &str) -> reqwest::RequestBuilder {
        let url = format!("{}{path}", *self.url.borrow());
        self.http.request(method, url).bearer_auth(&self.key)
    }

    /// `None` when there was no answer, or no whole one.
    async fn try_post(&self, path: &str, body: &Value) -> Option<Value> {
        self.try_post_once(path, body, &Uuid::new_v4().to_string()).await
    }

    /// The same under a key, so that it can be sent again.
    async fn try_post_once(&self, path: &str, body: &Value, key: &str) -> Option<Value> {
        let asking = async {
            let request = self.request(reqwest::Method::POST, path).header("idempotency-key", key);
            let answer = request.json(body).send().await.ok()?;
            let status = answer.status();
            let answer: Value = answer.json().await.ok()?;
            // One that ends, or begins, says so.
            if status.is_server_error() {
                return None;
            }
            assert!(status.is_success(), "{path}: {status} {answer}");
            Some(answer)
        };
        timeout(ANSWER_LIMIT, asking).await.expect("every wait has an end")
    }

    /// Sends it until it is done.
    async fn post(&self, path: &str, body: Value) -> Value {
        let key = Uuid::new_v4().to_string();
        eventually(LIMIT, async || self.try_post_once(path, &body, &key).await).await
    }
}

/// An event as somebody got it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Got {
    position: i64,
    event_type: String,
    aggregate: String,
    /// Its place among the events of its aggregate.
    place: i64,
}

impl Got {
    fn of(event: &Value) -> Self {
        let number = |name: &str| event[name].as_str().unwrap().parse().unwrap();
        let text = |name: &str| event[name].as_str().unwrap().to_owned();
        let (position, place) = (number("sequence"), number("streamsequence"));
        Self { position, event_type: text("type"), aggregate: text("partitionkey"), place }
    }
}

/// What all consumers together have seen.
#[derive(Default)]
struct Seen {
    /// Each event where it came first.
    first: Vec<Got>,
    /// What was acknowledged, and the answer came.
    acknowledged: BTreeSet<i64>,
    /// What was acknowledged without an answer: only the program knows what has become of it.
    unanswered: BTreeSet<i64>,
    /// Handed out for a second time or more often.
    repeated: usize,
}

/// Pulls, does its work and acknowledges, for as long as it lives.
async fn consume(api: &Api, path: &str, consumer: &str, seen: &Mutex<Seen>) {
    for round in 1.. {
        let done = seen.lock().unwrap().acknowledged.clone();
        let pull = json!({ "consumer": consumer, "max": PULL_MAX, "wait_seconds": 1 });
        let answer = eventually(LIMIT, async || api.try_post(&format!("{path}/pull"), &pull).await).await;
        let messages = answer["messages"].as_array().unwrap();
        let mut handed = Vec::new();
        {
            let mut seen = seen.lock().unwrap();
            for message in messages {
                let got = Got::of(&message["event"]);
                assert!(!done.contains(&got.position), "{got:?} was acknowledged before it was asked for: {message}");
                handed.push((message["ack_id"].as_str().unwrap(), got.position));
                if seen.first.contains(&got) { seen.repeated += 1 } else { seen.first.push(got) }
            }
        }
        // Now and then the work is not done to its end, and nobody says so.
        handed.truncate(if round % PARTLY_EVERY == 0 { handed.len() / 2 } else { handed.len() });
        let acknowledge = json!({ "ack_ids": handed.iter().map(|(id, _)| id).collect::<Vec<_>>() });
        if handed.is_empty() {
            continue;
        }
        let answer = api.try_post(&format!("{path}/acknowledge"), &acknowledge).await;
        if let Some(answer) = answer {
            let refused: Vec<&str> =
                answer["refused"].as_array().unwrap().iter().map(|one| one["ack_id"].as_str().unwrap()).collect();
            let acknowledged = handed.iter().filter(|(id, _)| !refused.contains(id));
            seen.lock().unwrap().acknowledged.extend(acknowledged.map(|(_, position)| *position));
        } else {
            seen.lock().unwrap().unanswered.extend(handed.iter().map(|(_, position)| *position));
        }
    }
}

/// What the client of the stream has got.
#[derive(Default)]
struct Followed {
    events: Vec<Got>,
    connections: usize,
}

/// Follows the whole log over as many connections as it takes, each behind the last id of the one before.
async fn follow(api: &Api, path: &str, followed: &Mutex<Followed>) {
    let mut last: Option<String> = None;
    loop {
        let response = eventually(LIMIT, async || {
            let request = api.request(reqwest::Method::GET, &format!("{path}?after=earliest"));
            let request = match &last {
                Some(id) => request.header("last-event-id", id),
                None => request,
            };
            let response = timeout(ANSWER_LIMIT, request.send()).await.expect("every wait has an end").ok()?;
            response.status().is_success().then_some(response)
        })
        .await;
        followed.lock().unwrap().connections += 1;
        let pieces = stream::try_unfold(response, async |mut response| {
            let piece = timeout(ANSWER_LIMIT, response.chunk()).await.expect("it is never silent for so long")?;
            Ok::<_, reqwest::Error>(piece.map(|piece| (piece, response)))
        });
        let mut frames = pin!(pieces.eventsource());
        while let Some(Ok(frame)) = frames.next().await {
            match frame.event.as_str() {
                "hello" | "checkpoint" => {}
                "end" => break,
                _ => followed.lock().unwrap().events.push(Got::of(&serde_json::from_str(&frame.data).unwrap())),
            }
            if !frame.id.is_empty() {
                last = Some(frame.id);
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn consumers_and_followers_have_a_thousand_events_over_three_kills() {
    let mut hub = HubProcess::start().await;
    let (moved, url) = watch::channel(hub.url().to_owned());
    let api = Api { http: reqwest::Client::new(), url, key: hub.admin_key() };
    let registration = json!({
        "slug": "acme", "name": "Acme", "contact_email": "it@acme.example", "tier": "starter", "region": "eu",
        "currency": "EUR",
    });
    let tenant = api.post("/v1/tenants", registration).await["id"].as_str().unwrap().to_owned();
    let tenant = format!("/v1/tenants/{tenant}");
    let body = json!({
        "name": "roles", "filter": { "types": ["role.*"] }, "start": "earliest", "lease_seconds": LEASE_SECONDS,
        "deliveries_max": 100,
    });
    let subscription = api.post(&format!("{tenant}/event-subscriptions"), body).await;
    let subscription = format!("{tenant}/event-subscriptions/{}", subscription["id"].as_str().unwrap());

    let (seen, followed) = (Mutex::<Seen>::default(), Mutex::<Followed>::default());
    let path = format!("{tenant}/events/stream");
    let readers = join3(
        consume(&api, &subscription, "first", &seen),
        consume(&api, &subscription, "second", &seen),
        follow(&api, &path, &followed),
    );
    tokio::select! {
        _ = readers => panic!("they go on for ever"),
        () = happen(&mut hub, &moved, &api, (&tenant, &subscription), &seen, &followed) => {}
    }
}

/// Kills the program, starts another one, and returns when the client of the stream has found it.
async fn begin_again(hub: &mut HubProcess, moved: &watch::Sender<String>, followed: &Mutex<Followed>) {
    hub.kill();
    hub.start_again().await;
    let before = followed.lock().unwrap().connections;
    moved.send(hub.url().to_owned()).unwrap();
    eventually(LIMIT, async || (followed.lock().unwrap().connections > before).then_some(())).await;
}

/// What the readers read, with the kills in between, and what they must have read in the end.
async fn happen(
    hub: &mut HubProcess,
    moved: &watch::Sender<String>,
    api: &Api,
    (tenant, subscription): (&str, &str),
    seen: &Mutex<Seen>,
    followed: &Mutex<Followed>,
) {
    let keys = (0..ROLES).map(|number| {
        let body = json!({ "key": format!("shift-{number}"), "name": "Shift" });
        let path = format!("{tenant}/roles");
        async move { api.post(&path, body).await["id"].as_str().unwrap().to_owned() }
    });
    let roles = join_all(keys).await;
    for number in 1..EVENTS_EACH {
        let permission = json!({ "resource": format!("thing-{number}"), "actions": ["read"], "effect": "allow" });
        let grant = |role: &String| {
            let (path, permission) = (format!("{tenant}/roles/{role}/grant-permission"), permission.clone());
            async move { api.post(&path, permission).await }
        };
        let (first, rest) = roles.split_at(ROLES / 2);
        join_all(first.iter().map(grant)).await;
        let rest = join_all(rest.iter().map(grant));
        if KILLED_AFTER.contains(&number) {
            // While commands are on their way, and what they led to before is being consumed.
            join(rest, begin_again(hub, moved, followed)).await;
        } else {
            rest.await;
        }
    }

    let events = eventually(LIMIT, async || {
        let events = followed.lock().unwrap().events.clone();
        let of_roles = events.iter().filter(|got| roles.contains(&got.aggregate)).count();
        (of_roles == ROLES * EVENTS_EACH).then_some(events)
    })
    .await;
    let positions: Vec<i64> = events.iter().map(|got| got.position).collect();
    assert_eq!(positions, (1..).take(positions.len()).collect::<Vec<_>>(), "each once, and in order");

    let wanted: Vec<&Got> = events.iter().filter(|got| got.event_type.starts_with("role.")).collect();
    // The program says that all of it is done with, and the consumers know of nothing else.
    eventually(LIMIT, async || {
        let lag = api.request(reqwest::Method::GET, &format!("{subscription}/lag")).send().await.ok()?;
        let lag: Value = lag.json().await.ok()?;
        let seen = seen.lock().unwrap();
        let told = wanted
            .iter()
            .all(|Got { position, .. }| seen.acknowledged.contains(position) || seen.unanswered.contains(position));
        (told && lag["parked"] == 0 && lag["done_position"].is_i64() && lag["done_position"] == lag["head"])
            .then_some(())
    })
    .await;
    let seen = seen.lock().unwrap();
    let mut places: BTreeMap<&str, Vec<i64>> = BTreeMap::new();
    for got in &seen.first {
        places.entry(&got.aggregate).or_default().push(got.place);
    }
    for (role, places) in &places {
        assert_eq!(places, &(1..).take(places.len()).collect::<Vec<_>>(), "{role}: in order, and none left out");
    }
    assert!(roles.iter().all(|role| places[role.as_str()].len() == EVENTS_EACH));
    assert!(seen.repeated > 0, "what was handed out and not acknowledged comes again");
}
