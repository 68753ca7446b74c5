//! Receives webhooks: believes signed ones only, takes each once, prints a line per event.
//!
//!     WEBHOOK_SECRET=whsec_... cargo run -- 8090

use std::collections::{HashSet, VecDeque};
use std::env;
use std::io::Read as _;

use anyhow::Context as _;
use http::{HeaderMap, HeaderName, HeaderValue};
use serde_json::Value;
use standardwebhooks::Webhook;
use tiny_http::{Method, Request, Response, Server};

const BODY_BYTES_MAX: u64 = 1 << 20;

/// A real receiver keeps the ids where it keeps what it did with the event, and writes both in one transaction.
const IDS_KEPT: usize = 10_000;

/// The ids of the latest messages.
#[derive(Default)]
struct Seen {
    ids: HashSet<String>,
    oldest_first: VecDeque<String>,
}

impl Seen {
    fn is_new(&mut self, id: &str) -> bool {
        if !self.ids.insert(id.to_owned()) {
            return false;
        }
        self.oldest_first.push_back(id.to_owned());
        if self.oldest_first.len() > IDS_KEPT {
            let oldest = self.oldest_first.pop_front();
            oldest.map(|oldest| self.ids.remove(&oldest));
        }
        true
    }
}

fn headers(request: &Request) -> HeaderMap {
    let named = request.headers().iter().filter_map(|header| {
        let name = HeaderName::from_bytes(header.field.as_str().as_str().as_bytes()).ok()?;
        Some((name, HeaderValue::from_str(header.value.as_str()).ok()?))
    });
    named.collect()
}

fn status_for(request: &mut Request, webhook: &Webhook, seen: &mut Seen) -> u16 {
    if *request.method() != Method::Post {
        return 405;
    }
    let headers = headers(request);
    let mut body = Vec::new();
    if request.as_reader().take(BODY_BYTES_MAX + 1).read_to_end(&mut body).is_err() {
        return 400;
    }
    if body.len() as u64 > BODY_BYTES_MAX {
        return 413;
    }
    // Over the bytes as they came: parsing and writing them again would change them.
    if webhook.verify(&body, &headers).is_err() {
        return 400;
    }
    let Ok(events) = serde_json::from_slice::<Value>(&body) else { return 400 };
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let id = text("webhook-id").unwrap_or_default();
    if seen.is_new(id) {
        for event in events.as_array().map_or(std::slice::from_ref(&events), Vec::as_slice) {
            let kind = event["type"].as_str().or(text("ce-type")).unwrap_or("-");
            println!("{id} {kind} {}", event["subject"].as_str().unwrap_or("-"));
        }
    }
    // A repetition is answered like the first: it was taken.
    204
}

fn main() -> anyhow::Result<()> {
    let secret = env::var("WEBHOOK_SECRET").context("WEBHOOK_SECRET is missing")?;
    let webhook = Webhook::new(&secret).context("WEBHOOK_SECRET is no secret")?;
    let port = env::args().nth(1).or_else(|| env::var("PORT").ok()).unwrap_or_else(|| "8090".to_owned());
    let server = Server::http(format!("127.0.0.1:{port}")).map_err(anyhow::Error::from_boxed)?;
    println!("listening on http://{}", server.server_addr());
    let mut seen = Seen::default();
    for mut request in server.incoming_requests() {
        let status = status_for(&mut request, &webhook, &mut seen);
        // A sender that has gone sends the message again.
        request.respond(Response::empty(status)).ok();
    }
    Ok(())
}
