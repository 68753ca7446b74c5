//! How much may be sent to the one route that anybody may post to, and who is hurt when it is too much.

use hub_signature::{ID_HEADER, Key, SIGNATURE_HEADER, TIMESTAMP_HEADER, sign};
use hub_tests::kit::{Database, TestClock, eventually};
use serde_json::{Value, json};
use uuid::Uuid;

use super::{Answer, SOON, Served, bearer};

const BODY: &str = r#"{"id":"evt_1","type":"invoice.paid"}"#;

/// So many requests are more than every limit here, on a machine that is busy, too.
const FLOOD: usize = 60;

/// A source of a tenant of its own, and the key that its provider signs with.
struct Source {
    path: String,
    key: Key,
}

async fn post(served: &Served, path: &str, body: &Value) -> Value {
    let head = format!("POST {path} HTTP/1.1{}\r\ncontent-type: application/json", bearer(1));
    let answer = served.ask(&head, &body.to_string()).await;
    assert_eq!(answer.status, 201, "{answer:?}");
    serde_json::from_str(&answer.body).unwrap()
}

impl Source {
    async fn of_new_tenant(served: &Served, slug: &str) -> Self {
        let registration = json!({
            "slug": slug, "name": slug, "contact_email": "it@acme.example", "tier": "starter", "region": "eu",
            "currency": "EUR",
        });
        let tenant = post(served, "/v1/tenants", &registration).await;
        let sources = format!("/v1/tenants/{}/inbound-sources", tenant["id"].as_str().unwrap());
        let body = json!({ "name": "Payments", "scheme": { "kind": "standard_webhooks" } });
        let source = post(served, &sources, &body).await;
        let key = Key::parse(source["secret"].as_str().unwrap()).unwrap();
        Self { path: source["path"].as_str().unwrap().to_owned(), key }
    }

    /// The same place with another secret.
    fn with_wrong_key(&self) -> Self {
        let key = Key::parse("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        Self { path: self.path.clone(), key }
    }

    async fn deliver(&self, served: &Served, id: &str, more: &str) -> Answer {
        let at = TestClock::default().now().timestamp();
        let signature = sign([&self.key], id, at, BODY.as_bytes());
        let head = format!(
            "POST {} HTTP/1.1\r\ncontent-type: application/json\r\n{ID_HEADER}: {id}\r\n{TIMESTAMP_HEADER}: {at}\r\n\
             {SIGNATURE_HEADER}: {signature}{more}",
            self.path
        );
        served.ask(&head, BODY).await
    }

    /// Sends until it is too much; answers what was answered then, and under which id it was sent.
    async fn flood(&self, served: &Served, before: u16, more: &str) -> (Answer, String) {
        for number in 0..FLOOD {
            let id = format!("msg_{number}");
            let answer = self.deliver(served, &id, more).await;
            if answer.status == 429 {
                return (answer, id);
            }
            assert_eq!(answer.status, before, "{answer:?}");
        }
        panic!("{FLOOD} requests were not too much");
    }
}

fn told_to_wait(answer: &Answer) {
    assert_eq!((answer.code().as_str(), answer.header("retry-after")), ("rate_limited", "1"), "{answer:?}");
}

#[tokio::test]
async fn a_flood_to_one_inbound_source_is_told_to_wait_and_hurts_no_other_tenant() {
    let database = Database::new().await;
    let settings = [("rate_limit_principal_per_second", "1"), ("rate_limit_principal_burst", "6")];
    let served = Served::whole(&settings, &database).await;
    let (acme, other) = (Source::of_new_tenant(&served, "acme").await, Source::of_new_tenant(&served, "other").await);
    let (refused, id) = acme.flood(&served, 204, "").await;
    told_to_wait(&refused);
    let answer = other.deliver(&served, "msg_1", "").await;
    assert_eq!(answer.status, 204, "{answer:?}");
    // What was refused is not lost: the provider sends it again, and it counts as new.
    let later = eventually(SOON, async || {
        let answer = acme.deliver(&served, &id, "").await;
        (answer.status == 204).then_some(answer)
    });
    assert!(!later.await.headers.contains_key("idempotent-replayed"));
    served.stop().await;
}

#[tokio::test]
async fn a_provider_with_a_wrong_secret_shuts_out_neither_other_tenants_nor_other_addresses() {
    let database = Database::new().await;
    let settings = [
        ("rate_limit_failed_logins_per_second", "1"),
        ("rate_limit_failed_logins_burst", "2"),
        ("trusted_proxies", "127.0.0.0/8"),
    ];
    let served = Served::whole(&settings, &database).await;
    let (acme, other) = (Source::of_new_tenant(&served, "acme").await, Source::of_new_tenant(&served, "other").await);
    let (provider, elsewhere) = ("\r\nx-forwarded-for: 203.0.113.1", "\r\nx-forwarded-for: 203.0.113.2");
    told_to_wait(&acme.with_wrong_key().flood(&served, 401, provider).await.0);
    // The same provider, from the same address, for somebody else; and somebody else for the same source.
    for (source, from) in [(&other, provider), (&acme, elsewhere)] {
        let answer = source.deliver(&served, "msg_1", from).await;
        assert_eq!(answer.status, 204, "{answer:?}");
    }
    eventually(SOON, async || (acme.deliver(&served, "msg_2", provider).await.status == 204).then_some(())).await;
    served.stop().await;
}

#[tokio::test]
async fn whoever_makes_up_inbound_sources_is_told_to_wait_whichever_he_names() {
    let database = Database::new().await;
    let settings = [("rate_limit_failed_logins_per_second", "1"), ("rate_limit_failed_logins_burst", "2")];
    let served = Served::whole(&settings, &database).await;
    let acme = Source::of_new_tenant(&served, "acme").await;
    let mut statuses = Vec::new();
    for _ in 0..FLOOD {
        let (tenant, source) = (Uuid::new_v4(), Uuid::new_v4());
        let made_up = Source { path: format!("/v1/tenants/{tenant}/inbound/{source}"), key: acme.with_wrong_key().key };
        let answer = made_up.deliver(&served, "msg_1", "").await;
        statuses.push(answer.status);
        if answer.status == 429 {
            told_to_wait(&answer);
            break;
        }
    }
    assert_eq!((statuses.first(), statuses.last()), (Some(&404), Some(&429)), "{statuses:?}");
    served.stop().await;
}
