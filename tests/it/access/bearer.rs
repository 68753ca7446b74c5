//! Access tokens of a tenant's identity provider at the gate: whom they stand for, and for how long.

use std::{sync::Arc, time::Duration};

use axum::{Json, Router, routing::get};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use chrono::{DateTime, Utc};
use hub_access::{AccessGate, Board};
use hub_domain::{id::TenantId, identity_provider::audience_of};
use hub_http::{Asked, Gate as _, Permission, Presented, Scope, access::NoResources};
use hub_tests::kit::{Database, TestClock, eventually};
use hub_token::{
    Keys, Settings, Verifier,
    outbound::{Outbound, Reach},
};
use rcgen::{KeyPair, PKCS_ED25519, PublicKeyData as _, SigningKey as _};
use serde_json::{Value, json};
use tokio_util::sync::{CancellationToken, DropGuard};
use uuid::Uuid;

const TENANT: Uuid = Uuid::from_u128(0x71);
pub(super) const PROVIDER: Uuid = Uuid::from_u128(0x99);
const LIMIT: Duration = Duration::from_secs(60);

/// A gate, a tenant with one identity provider, and the provider's key.
pub(super) struct House {
    database: Arc<Database>,
    tenant: Uuid,
    clock: TestClock,
    pub(super) gate: AccessGate,
    key: KeyPair,
    issuer: String,
    _end: DropGuard,
}

impl House {
    async fn start() -> Self {
        Self::on(Arc::new(Database::new().await), TENANT).await
    }

    /// The same for a tenant of a platform.
    pub(super) async fn on(database: Arc<Database>, tenant: Uuid) -> Self {
        let key = KeyPair::generate_for(&PKCS_ED25519).unwrap();
        let jwk = json!({ "keys": [{
            "kty": "OKP", "crv": "Ed25519", "alg": "EdDSA", "use": "sig", "kid": "one",
            "x": URL_SAFE_NO_PAD.encode(key.der_bytes()),
        }] });
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let issuer = format!("http://{}", listener.local_addr().unwrap());
        let routes = Router::new().route("/keys", get(move || std::future::ready(Json(jwk.clone()))));
        tokio::spawn(async move { axum::serve(listener, routes).await.unwrap() });

        let (clock, end) = (TestClock::default(), CancellationToken::new());
        let fact = json!({
            "kind": "identity_provider", "issuer": issuer, "audience": audience_of(TenantId(tenant)),
            "jwks_uri": format!("{issuer}/keys"),
        });
        sqlx::query("SELECT set_fact($1, 'identity_provider', $2, 'provider', $3::json, 0)")
            .bind(tenant)
            .bind(PROVIDER)
            .bind(fact.to_string())
            .execute(&database.pool)
            .await
            .unwrap();
        let board = Board::default();
        tokio::spawn(board.clone().run(database.pool.clone(), end.clone()));
        let verifier = Verifier::new(Keys::new(Outbound::new(Reach::PublicAndLoopback), Settings::default()));
        let gate = AccessGate::new(database.pool.clone(), board, clock.clock()).with_tokens(verifier);
        Self { database, tenant, clock, gate, key, issuer, _end: end.drop_guard() }
    }

    fn now(&self) -> DateTime<Utc> {
        self.clock.clock()()
    }

    pub(super) fn token(&self, claims: &Value) -> String {
        let header = json!({ "alg": "EdDSA", "typ": "at+jwt", "kid": "one" });
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let text = format!("{}.{}", part(&header), part(claims));
        let signature = self.key.sign(text.as_bytes()).unwrap();
        format!("{text}.{}", URL_SAFE_NO_PAD.encode(signature))
    }

    pub(super) fn claims(&self) -> Value {
        json!({
            "iss": self.issuer, "aud": audience_of(TenantId(self.tenant)), "sub": "ada",
            "exp": self.now().timestamp() + 300,
        })
    }

    /// The principal that a token stands for, or the code of the refusal.
    async fn knock(&self, token: &str) -> Result<(String, Scope), String> {
        let presented = Presented { token, peer: None, at_least: None };
        let caller = self.gate.authenticate(presented).await;
        caller.map(|caller| (caller.principal, caller.scope)).map_err(|problem| problem.code().to_owned())
    }
}

#[tokio::test]
async fn a_token_stands_for_a_person_of_the_tenant_that_it_is_addressed_to() {
    let house = House::start().await;
    let ada = (format!("user:{PROVIDER}/ada"), Scope::Tenant(TENANT));
    let known = eventually(LIMIT, async || house.knock(&house.token(&house.claims())).await.ok()).await;
    assert_eq!(known, ada);
    let changed = |name: &str, value: Value| {
        let mut claims = house.claims();
        claims[name] = value;
        house.token(&claims)
    };
    for (name, value) in [
        ("aud", json!(audience_of(TenantId(Uuid::from_u128(0x72))))),
        ("aud", json!("urn:service-hub:tenant:")),
        ("iss", json!("http://127.0.0.1:1")),
        ("exp", json!(house.now().timestamp() - 61)),
        ("exp", json!("never")),
        ("sub", json!("a b")),
        ("sub", json!("")),
    ] {
        assert_eq!(
            house.knock(&changed(name, value.clone())).await,
            Err("unauthenticated".to_owned()),
            "{name} {value}"
        );
    }
    let foreign = KeyPair::generate_for(&PKCS_ED25519).unwrap();
    let other = House { key: foreign, ..house };
    assert_eq!(other.knock(&other.token(&other.claims())).await, Err("unauthenticated".to_owned()));
}

#[tokio::test]
async fn a_person_is_let_in_no_longer_when_the_token_or_the_provider_ends() {
    let house = House::start().await;
    let token = house.token(&house.claims());
    let presented = Presented { token: &token, peer: None, at_least: None };
    let caller = eventually(LIMIT, async || house.gate.authenticate(presented).await.ok()).await;
    let asked = Asked {
        permission: Permission { resource: "self", action: "read" },
        tenant_id: TENANT,
        resource_id: None,
        filters: false,
        at_least: None,
    };
    let allowed = async || house.gate.authorize(&caller, asked, &NoResources).await.is_ok();
    assert!(allowed().await);
    sqlx::query("SELECT set_fact($1, 'identity_provider', $2, 'provider', NULL, 1)")
        .bind(TENANT)
        .bind(PROVIDER)
        .execute(&house.database.pool)
        .await
        .unwrap();
    sqlx::query("UPDATE log_head SET position = 1").execute(&house.database.pool).await.unwrap();
    eventually(LIMIT, async || (!allowed().await).then_some(())).await;
    assert_eq!(house.knock(&token).await, Err("unauthenticated".to_owned()));

    let house = House::start().await;
    let token = house.token(&house.claims());
    let presented = Presented { token: &token, peer: None, at_least: None };
    let caller = eventually(LIMIT, async || house.gate.authenticate(presented).await.ok()).await;
    // The clocks may differ by a minute.
    house.clock.advance(chrono::TimeDelta::seconds(359));
    assert!(house.gate.authorize(&caller, asked, &NoResources).await.is_ok());
    assert!(house.knock(&token).await.is_ok());
    house.clock.advance(chrono::TimeDelta::seconds(1));
    assert!(house.gate.authorize(&caller, asked, &NoResources).await.is_err());
    assert!(house.knock(&token).await.is_err());
}
