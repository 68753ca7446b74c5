//! `hub listen` against a real hub that is stopped, killed and started again meanwhile.

use std::{collections::BTreeSet, net::SocketAddr};

use hub_signature::Key;
use hub_tests::kit::HubProcess;
use rustix::process::Signal;
use serde_json::{Value, json};
use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    sync::watch,
};
use tokio_util::task::AbortOnDropHandle;

use super::{ID_HEADER, Listening, Played, header, signed, status};

/// One address for a hub that comes back on another port each time.
struct Door {
    url: String,
    behind: watch::Sender<SocketAddr>,
    _task: AbortOnDropHandle<()>,
}

impl Door {
    async fn before(hub: &HubProcess) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (behind, address) = watch::channel(address_of(hub));
        let task = tokio::spawn(async move {
            while let Ok((mut client, _)) = listener.accept().await {
                let address = *address.borrow();
                tokio::spawn(async move {
                    // Whoever comes while nobody is there finds the door shut.
                    let mut server = TcpStream::connect(address).await?;
                    copy_bidirectional(&mut client, &mut server).await
                });
            }
        });
        Self { url, behind, _task: AbortOnDropHandle::new(task) }
    }

    fn leads_to(&self, hub: &HubProcess) {
        self.behind.send(address_of(hub)).unwrap();
    }
}

fn address_of(hub: &HubProcess) -> SocketAddr {
    hub.url().strip_prefix("http://").unwrap().parse().unwrap()
}

async fn post(hub: &HubProcess, path: &str, body: Value) -> Value {
    let request = reqwest::Client::new().post(format!("{}{path}", hub.url())).bearer_auth(hub.admin_key()).json(&body);
    let answer = request.send().await.unwrap();
    assert!(answer.status().is_success(), "{path}: {}", answer.text().await.unwrap());
    answer.json().await.unwrap()
}

async fn rename(hub: &HubProcess, tenant: &str, name: &str) {
    post(hub, &format!("/v1/tenants/{tenant}/rename"), json!({ "name": name })).await;
}

impl Listening {
    /// Reads on until so many events of this type were taken; answers the lines that were no attempts.
    async fn takes(&mut self, event_type: &str, count: usize) -> Vec<String> {
        let (mut taken, mut others) = (0, Vec::new());
        while taken < count {
            let line = self.line().await;
            let words: Vec<&str> = line.split_whitespace().collect();
            match words[..] {
                [_, found, _, "204", ..] => taken += usize::from(found == event_type),
                _ => others.push(line),
            }
        }
        others
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_event_of_a_hub_that_comes_back_twice_arrives_signed_and_once() {
    let mut hub = HubProcess::start().await;
    let door = Door::before(&hub).await;
    let (receiver, forward_to) = Played::start(vec![status(204)]).await;
    let registration = json!({
        "slug": "acme", "name": "Acme", "contact_email": "it@acme.example", "tier": "starter", "region": "eu",
        "currency": "EUR",
    });
    let tenant = post(&hub, "/v1/tenants", registration).await["id"].as_str().unwrap().to_owned();
    let key = hub.admin_key();
    let verb = ["listen", "--tenant", &tenant, "--api-url", &door.url, "--forward-to", &forward_to];
    let mut listening = Listening::run(&[&verb[..], &["--after", "earliest"]].concat(), &key);
    let head = listening.head().await;
    let secret = head.iter().find_map(|line| line.strip_prefix("secret   ")).expect("it says its secret");
    let secret = Key::parse(secret).unwrap();
    assert_eq!(listening.takes("tenant.registered", 1).await, Vec::<String>::new());
    rename(&hub, &tenant, "First").await;
    listening.takes("tenant.renamed", 1).await;

    assert!(hub.stop(Signal::TERM).await.success());
    hub.start_again().await;
    door.leads_to(&hub);
    rename(&hub, &tenant, "Second").await;
    assert_eq!(listening.takes("tenant.renamed", 1).await, ["the platform ended the stream: shutdown"]);

    hub.kill();
    hub.start_again().await;
    for name in ["Third", "Fourth", "Fifth"] {
        rename(&hub, &tenant, name).await;
    }
    door.leads_to(&hub);
    listening.takes("tenant.renamed", 3).await;
    let last = listening.interrupt().await;

    let received = receiver.requests();
    let count = received.len();
    assert!(last.starts_with(&format!("{count} taken, 0 given up; go on with --after ")), "{last}");
    let bodies: Vec<Value> = received.iter().map(|(.., body)| serde_json::from_slice(body).unwrap()).collect();
    let sequences: Vec<usize> = bodies.iter().map(|body| body["sequence"].as_str().unwrap().parse().unwrap()).collect();
    assert_eq!(sequences, (1..=count).collect::<Vec<_>>(), "every position of the log, in order and once");
    assert!(last.ends_with(&format!("--after {count}")), "{last}");
    let ids: BTreeSet<&str> = received.iter().map(|(_, headers, _)| header(headers, ID_HEADER)).collect();
    assert_eq!(ids.len(), count);
    assert!(received.iter().all(|request| signed(request, &secret)), "by the secret that was printed");
}
