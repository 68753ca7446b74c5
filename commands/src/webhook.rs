//! Commands on webhooks: `POST /v1/tenants/{tenant_id}/webhooks` and `.../webhooks/{webhook_id}/<verb>`.
//!
//! A signing secret is made here, answered once and kept in its sealed form only.

use axum::extract::State;
use chrono::TimeDelta;
use hub_domain::{
    text::{Remark, parsed, parsed_option},
    webhook::{
        ADDRESS_REFUSED, CODES, Command, Delivery, EndpointUrl, KeyPair, LIMIT_REACHED, Replay, Secret,
        WEBHOOK_COUNT_MAX, Webhook, decide, delivery, filter,
    },
};
use hub_filter::{Filter, TypePatterns};
use hub_http::{Body, CommandHeaders, Created, NoBody, Path, Problem, Receipt, RefusalKind, Routes, TenantCaller};
use hub_signature::{SigningKey, SymmetricSecret};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::{
    Commands,
    dispatch::{Changed, Dispatch, Done},
    documented::Documented,
    room::Context,
    verb::{ResourcePath, bare, order},
};

/// What the log itself refuses for a webhook.
pub(crate) const CONDITIONS: &[(&str, &str)] = &[(decide::WEBHOOKS, LIMIT_REACHED.code)];

const DOCUMENTED: Documented = Documented::new("webhooks", CODES);

/// For how long the secret before a rotation is valid when nothing is said of it: a day.
const GRACE_SECONDS_DEFAULT: u32 = 86_400;

/// And at most: a week.
const GRACE_SECONDS_MAX: u32 = 604_800;

pub(crate) fn routes() -> Routes<Commands> {
    let webhooks = "/v1/tenants/{tenant_id}/webhooks";
    let webhook = "/v1/tenants/{tenant_id}/webhooks/{webhook_id}";
    let [pause, resume, test, delete] =
        [Command::Pause, Command::Resume, Command::Test, Command::Delete].map(bare::<WebhookPath>);
    Routes::new()
        .post(webhooks, "webhook:register", register, |op| {
            DOCUMENTED.creation(
                op,
                "registerWebhook",
                "Register a webhook",
                "The address is told of the events wanted, from now on. The answer holds the signing \
                     secret, this once: a repetition of the request answers `null` in its place.",
            )
        })
        .post(&format!("{webhook}/update"), "webhook:update", update, |op| {
            DOCUMENTED.command(
                op,
                "updateWebhook",
                "Update a webhook",
                "Each field that is given replaces the old value as a whole; the others stay.",
            )
        })
        .post(&format!("{webhook}/rotate-secret"), "webhook:rotate-secret", rotate_secret, |op| {
            DOCUMENTED.command(
                op,
                "rotateWebhookSecret",
                "Rotate the secret",
                "Answers a new signing secret, this once: a repetition of the request answers `null` in its place. Deliveries are signed \
                 with the secret before it as well until the grace period ends, so receivers may follow in their own time.",
            )
        })
        .post(&format!("{webhook}/pause"), "webhook:pause", pause, |op| {
            DOCUMENTED.command(
                op,
                "pauseWebhook",
                "Pause a webhook",
                "Nothing is delivered until it is resumed. What happens meanwhile waits, for as long as the webhook's retries go on.",
            )
        })
        .post(&format!("{webhook}/resume"), "webhook:resume", resume, |op| {
            DOCUMENTED.command(op, "resumeWebhook", "Resume a webhook", "Events are delivered again.")
        })
        .post(&format!("{webhook}/enable"), "webhook:enable", enable, |op| {
            DOCUMENTED.command(
                op,
                "enableWebhook",
                "Enable a webhook",
                "A webhook that was disabled because its endpoint failed, or is gone, is delivered to again; with `replay_missed`, \
                 what was missed meanwhile as well.",
            )
        })
        .post(&format!("{webhook}/replay"), "webhook:replay", replay, |op| {
            DOCUMENTED.command(
                op,
                "replayWebhook",
                "Deliver events again",
                "A part of the tenant's log is delivered again, by positions or by times: all that the webhook's filters want, or \
                 only what was given up. One event is a part with the same `from` and `to`. The `webhook-id` stays that of the first delivery.",
            )
        })
        .post(&format!("{webhook}/test"), "webhook:test", test, |op| {
            DOCUMENTED.command(
                op,
                "testWebhook",
                "Send a test event",
                "The endpoint is sent one event, `webhook.tested`, whatever its filters.",
            )
        })
        .post(&format!("{webhook}/ping"), "webhook:ping", ping, |op| {
            DOCUMENTED.command(
                op,
                "pingWebhook",
                "Verify the endpoint",
                "The endpoint is sent one event, `webhook.pinged`, with a challenge. When its answer has the challenge in its body, the \
                 webhook counts as verified.",
            )
        })
        .post(&format!("{webhook}/delete"), "webhook:delete", delete, |op| {
            DOCUMENTED.command(
                op,
                "deleteWebhook",
                "Delete a webhook",
                "The end: the webhook accepts nothing any more.",
            )
        })
}

#[derive(Debug, Deserialize, JsonSchema)]
struct WebhookPath {
    /// The webhook's id.
    webhook_id: Uuid,
}

impl ResourcePath for WebhookPath {
    type Resource = Webhook;

    fn id(&self) -> Uuid {
        self.webhook_id
    }

    fn context(commands: &Commands) -> &Context<Webhook> {
        &commands.webhooks
    }
}

/// A new webhook.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "RegisterWebhook")]
struct Register {
    /// Where events are delivered: absolute, `https` or `http`, without user name, password and fragment.
    #[serde(deserialize_with = "parsed")]
    url: EndpointUrl,
    /// The event types wanted: `tenant.suspended`, `subscription.*` or `*`.
    #[serde(deserialize_with = "filter::parsed")]
    events: TypePatterns,
    /// What an event must fit besides.
    #[serde(default)]
    filter: Filter,
    /// How events are delivered.
    #[serde(default, deserialize_with = "delivery::parsed_option")]
    delivery: Option<Delivery>,
    /// For people.
    #[serde(default, deserialize_with = "parsed")]
    description: Remark,
}

/// What changes of a webhook.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "UpdateWebhook")]
struct Update {
    #[serde(default, deserialize_with = "parsed_option")]
    url: Option<EndpointUrl>,
    /// All event types wanted from now on.
    #[serde(default, deserialize_with = "filter::parsed_option")]
    events: Option<TypePatterns>,
    /// What an event must fit besides, as a whole.
    #[serde(default)]
    filter: Option<Filter>,
    /// How events are delivered, as a whole: what is missing gets its default.
    #[serde(default, deserialize_with = "delivery::parsed_option")]
    delivery: Option<Delivery>,
    #[serde(default, deserialize_with = "parsed_option")]
    description: Option<Remark>,
}

/// How a secret is replaced.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "RotateWebhookSecret")]
struct Rotate {
    /// For how long deliveries are signed with the secret before it as well.
    #[serde(default = "grace_seconds_default")]
    #[schemars(range(max = GRACE_SECONDS_MAX))]
    grace_seconds: u32,
}

const fn grace_seconds_default() -> u32 {
    GRACE_SECONDS_DEFAULT
}

/// How a webhook begins again.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "EnableWebhook")]
struct Enable {
    /// Whether what was missed is delivered.
    #[serde(default)]
    replay_missed: bool,
}

/// The receipt of a command that made a signing secret.
#[derive(Debug, Serialize, JsonSchema)]
struct WebhookSecret {
    #[serde(flatten)]
    changed: Changed,
    /// Names the secret; not secret itself.
    secret_id: Uuid,
    /// `whsec_` and the key in base64, as Standard Webhooks has it. A secret is answered once and kept in no readable
    /// form, so this is null when the request is a repetition; rotate the secret when the first answer was lost.
    secret: Option<String>,
    /// `whpk_` and the public key in base64, which verifies signatures of the scheme `v1a`.
    public_key: String,
}

/// A fresh signing secret on its way into an event and into one answer.
struct FreshSecret {
    secret: Secret,
    text: String,
    public_key: String,
}

impl FreshSecret {
    fn make(commands: &Commands, tenant_id: Uuid, webhook_id: Uuid) -> Self {
        let secret_id = Uuid::now_v7();
        let seal = |text: &str| {
            let sealed = commands.sealing.seal(text, [tenant_id, webhook_id, secret_id], commands.random());
            sealed.parse().expect("a sealed text is short base64")
        };
        let text = SymmetricSecret::from_random(commands.random()).reveal();
        let signing_key = SigningKey::from_seed(commands.random());
        let public_key = signing_key.public().to_string();
        let key_pair = KeyPair { public_key: public_key.clone(), sealed_signing_key: seal(&signing_key.reveal()) };
        let secret = Secret { secret_id, sealed_secret: seal(&text), key_pair: Some(key_pair) };
        Self { secret, text: text.to_string(), public_key }
    }

    /// What is kept with the command.
    fn shown(&self) -> Value {
        json!({ "secret_id": self.secret.secret_id, "public_key": self.public_key })
    }
}

fn secret_of(done: &Done, text: String) -> Result<WebhookSecret, Problem> {
    // What this request made is in no event when the answer is the one of an earlier request.
    let secret = (!done.accepted.replayed).then_some(text);
    Ok(WebhookSecret {
        changed: done.changed(),
        secret_id: done.kept("secret_id")?,
        secret,
        public_key: done.kept("public_key")?,
    })
}

/// Whether events may be sent there, as far as is known now; it is asked again at every delivery. A command that has its outcome already only
/// hears it again, whatever has become of the name since.
async fn may_be_reached(commands: &Commands, dispatch: &Dispatch, url: &EndpointUrl) -> Result<(), Problem> {
    let parsed = url.as_str().parse().expect("the address of a webhook is a URL");
    let Err(error) = commands.outbound.check_resolved(&parsed).await else { return Ok(()) };
    if dispatch.has_outcome().await? {
        return Ok(());
    }
    Err(Problem::refusal(
        RefusalKind::Invalid,
        ADDRESS_REFUSED.code,
        format!("the address of the webhook cannot be used: {error}"),
        Value::Null,
    ))
}

async fn register(
    caller: TenantCaller,
    headers: CommandHeaders,
    State(commands): State<Commands>,
    body: Body<Register>,
) -> Result<Created<WebhookSecret>, Problem> {
    let Register { url, events, filter, delivery, description } = body.value;
    let (tenant_id, webhook_id) = (caller.tenant.id(), Uuid::now_v7());
    let fresh = FreshSecret::make(&commands, tenant_id, webhook_id);
    let dispatch =
        Dispatch::begin(&commands, &caller.caller, tenant_id, headers, body.fingerprint)?.keeping(fresh.shown());
    may_be_reached(&commands, &dispatch, &url).await?;
    let FreshSecret { secret, text, .. } = fresh;
    let delivery = delivery.unwrap_or_default();
    let command = Command::Register { url, filters: events, filter, description, delivery, secret };
    let maxima = [(decide::WEBHOOKS, i64::try_from(WEBHOOK_COUNT_MAX).expect("a tenant has few webhooks"))];
    let done = dispatch.execute_in_tenant(&commands, &commands.webhooks, webhook_id, command, &maxima).await?;
    let location = format!("/v1/tenants/{tenant_id}/webhooks/{}", done.accepted.aggregate_id);
    let secret = secret_of(&done, text)?;
    Ok(done.receipt_with(secret).created(location))
}

async fn update(
    caller: TenantCaller,
    Path(WebhookPath { webhook_id }): Path<WebhookPath>,
    headers: CommandHeaders,
    State(commands): State<Commands>,
    body: Body<Update>,
) -> Result<Receipt<Changed>, Problem> {
    let Update { url, events, filter, delivery, description } = body.value;
    let dispatch = Dispatch::begin(&commands, &caller.caller, caller.tenant.id(), headers, body.fingerprint)?;
    if let Some(url) = &url {
        may_be_reached(&commands, &dispatch, url).await?;
    }
    let command = Command::Update { url, filters: events, filter, description, delivery };
    let done = dispatch.execute_in_tenant(&commands, &commands.webhooks, webhook_id, command, &[]).await?;
    Ok(done.receipt())
}

async fn rotate_secret(
    caller: TenantCaller,
    Path(WebhookPath { webhook_id }): Path<WebhookPath>,
    headers: CommandHeaders,
    State(commands): State<Commands>,
    body: Body<Rotate>,
) -> Result<Receipt<WebhookSecret>, Problem> {
    let grace_seconds = body.value.grace_seconds;
    if grace_seconds > GRACE_SECONDS_MAX {
        return Err(Problem::invalid_body("/grace_seconds", format!("is at most {GRACE_SECONDS_MAX}")));
    }
    let tenant_id = caller.tenant.id();
    let fresh = FreshSecret::make(&commands, tenant_id, webhook_id);
    let dispatch =
        Dispatch::begin(&commands, &caller.caller, tenant_id, headers, body.fingerprint)?.keeping(fresh.shown());
    let FreshSecret { secret, text, .. } = fresh;
    let rotated_at = commands.store.now();
    let previous_until = rotated_at + TimeDelta::seconds(grace_seconds.into());
    let command = Command::RotateSecret { secret, rotated_at, previous_until };
    let done = dispatch.execute_in_tenant(&commands, &commands.webhooks, webhook_id, command, &[]).await?;
    let secret = secret_of(&done, text)?;
    Ok(done.receipt_with(secret))
}

async fn enable(
    caller: TenantCaller,
    Path(path): Path<WebhookPath>,
    headers: CommandHeaders,
    State(commands): State<Commands>,
    body: Body<Enable>,
) -> Result<Receipt<Changed>, Problem> {
    let command = Command::Enable { replay_missed: body.value.replay_missed };
    order(&commands, &caller, path, headers, body.fingerprint, command).await
}

async fn replay(
    caller: TenantCaller,
    Path(path): Path<WebhookPath>,
    headers: CommandHeaders,
    State(commands): State<Commands>,
    body: Body<Replay>,
) -> Result<Receipt<Changed>, Problem> {
    order(&commands, &caller, path, headers, body.fingerprint, Command::Replay(body.value)).await
}

async fn ping(
    caller: TenantCaller,
    Path(path): Path<WebhookPath>,
    headers: CommandHeaders,
    State(commands): State<Commands>,
    body: NoBody,
) -> Result<Receipt<Changed>, Problem> {
    let challenge = commands.random()[..16].iter().map(|byte| format!("{byte:02x}")).collect();
    order(&commands, &caller, path, headers, body.fingerprint, Command::Ping { challenge }).await
}
