//! Commands on inbound sources: `POST /v1/tenants/{tenant_id}/inbound-sources` and `.../inbound-sources/{inbound_source_id}/<verb>`.
//!
//! What their providers send comes in by `receive`. A secret that was made here is answered once; all are kept in their sealed form only.

pub mod receive;

use axum::extract::State;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use chrono::TimeDelta;
use hub_domain::{
    inbound_source::{CODES, Command, Error, InboundSource, LIMIT_REACHED, SOURCE_COUNT_MAX, Scheme, decide},
    text::{Name, parsed},
    webhook::SealedSecret,
};
use hub_http::{Body, CommandHeaders, Created, Path, Problem, Receipt, Routes, TenantCaller};
use hub_signature::{SymmetricSecret, VerifyingKey};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;
use uuid::Uuid;

use crate::{
    Commands,
    dispatch::{Changed, Dispatch, Done, problem_of},
    documented::Documented,
    room::Context,
    surroundings::look,
    verb::{ResourcePath, bare},
};

/// What the log itself refuses for an inbound source.
pub(crate) const CONDITIONS: &[(&str, &str)] = &[(decide::SOURCES, LIMIT_REACHED.code)];

/// The tag of the context.
const TAG: &str = "inbound-sources";

const DOCUMENTED: Documented = Documented::new(TAG, CODES);

/// So many sources a tenant.
const MAXIMA: &[(&str, i64)] = &[(decide::SOURCES, SOURCE_COUNT_MAX)];

/// A secret that is the provider's own has so many characters, unless it is one of Standard Webhooks.
const SECRET_CHARACTERS: std::ops::RangeInclusive<usize> = 8..=255;

/// The secret before the current one is good for a day after a rotation, unless something else is said, and for a week at most.
const GRACE_SECONDS_DEFAULT: u32 = 86_400;
const GRACE_SECONDS_MAX: u32 = 7 * 86_400;

pub(crate) fn routes() -> Routes<Commands> {
    let sources = "/v1/tenants/{tenant_id}/inbound-sources";
    let source = "/v1/tenants/{tenant_id}/inbound-sources/{inbound_source_id}";
    let [disable, enable, remove] = [Command::Disable, Command::Enable, Command::Remove].map(bare::<InboundSourcePath>);
    Routes::new()
        .post(sources, "inbound_source:register", register, |op| {
            DOCUMENTED.creation(
                op,
                "registerInboundSource",
                "Register an inbound source",
                "What the provider sends to `path` from now on, signed with the secret, becomes an event. The answer holds the secret when it \
                 was made here, this once: a repetition of the request answers `null` in its place.",
            )
        })
        .post(&format!("{source}/rotate-secret"), "inbound_source:rotate-secret", rotate_secret, |op| {
            DOCUMENTED.creation(
                op,
                "rotateInboundSourceSecret",
                "Rotate the secret",
                "Another secret is good from now on, given or made here. The one before it stays good for the grace period.",
            )
        })
        .post(&format!("{source}/disable"), "inbound_source:disable", disable, |op| {
            DOCUMENTED.creation(
                op,
                "disableInboundSource",
                "Disable an inbound source",
                "Nothing is taken until it is enabled; the provider is answered 409.",
            )
        })
        .post(&format!("{source}/enable"), "inbound_source:enable", enable, |op| {
            DOCUMENTED.creation(op, "enableInboundSource", "Enable an inbound source", "What it sends is taken again.")
        })
        .post(&format!("{source}/remove"), "inbound_source:remove", remove, |op| {
            DOCUMENTED.creation(
                op,
                "removeInboundSource",
                "Remove an inbound source",
                "The end: the provider is answered as if the source had never been.",
            )
        })
}

#[derive(Debug, Deserialize, JsonSchema)]
struct InboundSourcePath {
    /// The source's id.
    inbound_source_id: Uuid,
}

impl ResourcePath for InboundSourcePath {
    type Resource = InboundSource;

    fn id(&self) -> Uuid {
        self.inbound_source_id
    }

    fn context(commands: &Commands) -> &Context<InboundSource> {
        &commands.inbound_sources
    }
}

/// A new inbound source.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "RegisterInboundSource")]
struct Register {
    /// For people.
    #[serde(deserialize_with = "parsed")]
    name: Name,
    /// How the provider signs.
    scheme: Scheme,
    /// The secret that the provider has given; absent: one is made here. With Standard Webhooks `whsec_` or `whpk_` and a key in base64, else 8 to
    /// 255 characters.
    secret: Option<String>,
}

/// The next secret.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "RotateInboundSourceSecret")]
struct Rotate {
    /// As at the registration.
    secret: Option<String>,
    /// How long the secret before it stays good: a day when absent, a week at most.
    #[schemars(range(max = GRACE_SECONDS_MAX))]
    grace_seconds: Option<u32>,
}

/// The receipt of a command that changed the secret.
#[derive(Debug, Serialize, JsonSchema)]
struct InboundSourceSecret {
    #[serde(flatten)]
    changed: Changed,
    /// Where the provider sends to, on this host.
    path: String,
    /// Names the secret; not secret itself.
    secret_id: Uuid,
    /// The secret, when it was made here. It is answered once and kept in no readable form, so this is null when the request is a repetition.
    secret: Option<String>,
}

/// A secret on its way into an event.
struct NewSecret {
    secret_id: Uuid,
    /// `None` when whoever asks knows it.
    made: Option<String>,
    sealed: SealedSecret,
}

impl NewSecret {
    fn of(commands: &Commands, scheme: &Scheme, given: Option<String>, place: [Uuid; 2]) -> Result<Self, Problem> {
        let made = given.is_none().then(|| match scheme {
            Scheme::StandardWebhooks {} => SymmetricSecret::from_random(commands.random()).reveal().to_string(),
            _ => URL_SAFE_NO_PAD.encode(commands.random()),
        });
        if let Some(given) = &given {
            check(scheme, given).map_err(|why| Problem::invalid_body("/secret", why))?;
        }
        let secret_id = Uuid::now_v7();
        let text = made.as_ref().or(given.as_ref()).expect("it is given or made");
        let [tenant_id, source_id] = place;
        let sealed = commands.sealing.seal(text, [tenant_id, source_id, secret_id], commands.random());
        let sealed = sealed.parse().expect("a sealed text is short base64");
        Ok(Self { secret_id, made, sealed })
    }

    fn answer(self, done: &Done, tenant_id: Uuid) -> Result<InboundSourceSecret, Problem> {
        let changed = done.changed();
        Ok(InboundSourceSecret {
            path: format!("/v1/tenants/{tenant_id}/inbound/{}", changed.id),
            changed,
            secret_id: done.kept("secret_id")?,
            // What this request made is in no event when the answer is the one of an earlier request.
            secret: self.made.filter(|_| !done.accepted.replayed),
        })
    }
}

/// Why a secret cannot be one of the scheme.
fn check(scheme: &Scheme, secret: &str) -> Result<(), String> {
    if *scheme == (Scheme::StandardWebhooks {}) {
        return VerifyingKey::parse(secret).map(drop).map_err(|error| error.to_string());
    }
    if !SECRET_CHARACTERS.contains(&secret.chars().count()) || secret.chars().any(char::is_control) {
        return Err("a secret has 8 to 255 characters, none of them a control character".to_owned());
    }
    Ok(())
}

async fn register(
    caller: TenantCaller,
    headers: CommandHeaders,
    State(commands): State<Commands>,
    body: Body<Register>,
) -> Result<Created<InboundSourceSecret>, Problem> {
    let Register { name, scheme, secret } = body.value;
    let (tenant_id, source_id) = (caller.tenant.id(), Uuid::now_v7());
    let new = NewSecret::of(&commands, &scheme, secret, [tenant_id, source_id])?;
    let dispatch = Dispatch::begin(&commands, &caller.caller, tenant_id, headers, body.fingerprint)?
        .keeping(json!({ "secret_id": new.secret_id }));
    let command = Command::Register { name, scheme, secret_id: new.secret_id, sealed_secret: new.sealed.clone() };
    let done = dispatch.execute_in_tenant(&commands, &commands.inbound_sources, source_id, command, MAXIMA).await?;
    let location = format!("/v1/tenants/{tenant_id}/inbound-sources/{}", done.accepted.aggregate_id);
    let answer = new.answer(&done, tenant_id)?;
    Ok(done.receipt_with(answer).created(location))
}

async fn rotate_secret(
    caller: TenantCaller,
    Path(InboundSourcePath { inbound_source_id }): Path<InboundSourcePath>,
    headers: CommandHeaders,
    State(commands): State<Commands>,
    body: Body<Rotate>,
) -> Result<Receipt<InboundSourceSecret>, Problem> {
    let Rotate { secret, grace_seconds } = body.value;
    let grace_seconds = grace_seconds.unwrap_or(GRACE_SECONDS_DEFAULT);
    if grace_seconds > GRACE_SECONDS_MAX {
        return Err(Problem::invalid_body("/grace_seconds", format!("must be at most {GRACE_SECONDS_MAX}")));
    }
    let tenant_id = caller.tenant.id();
    let source = look::<_, Error>(&commands.inbound_sources, tenant_id, inbound_source_id, 0).await;
    let (source, _) = source.map_err(|error| problem_of(&error))?;
    // A scheme never changes, and without a source the command itself is refused.
    let scheme = source.state.provider().map_or(Scheme::StandardWebhooks {}, |provider| provider.scheme.clone());
    let new = NewSecret::of(&commands, &scheme, secret, [tenant_id, inbound_source_id])?;
    let dispatch = Dispatch::begin(&commands, &caller.caller, tenant_id, headers, body.fingerprint)?
        .keeping(json!({ "secret_id": new.secret_id }));
    let command = Command::RotateSecret {
        secret_id: new.secret_id,
        sealed_secret: new.sealed.clone(),
        previous_until: commands.store.now() + TimeDelta::seconds(grace_seconds.into()),
    };
    let done =
        dispatch.execute_in_tenant(&commands, &commands.inbound_sources, inbound_source_id, command, &[]).await?;
    let answer = new.answer(&done, tenant_id)?;
    Ok(done.receipt_with(answer))
}
