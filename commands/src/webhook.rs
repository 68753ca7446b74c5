//! Commands on webhooks: `POST /v1/tenants/{tenant_id}/webhooks` and `.../webhooks/{webhook_id}/<verb>`.
//!
//! A signing secret is made here, answered once and kept in its sealed form only.

use axum::extract::State;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use hub_domain::{
    text::{Remark, parsed, parsed_option},
    webhook::{
        CODES, Command, EndpointUrl, EventFilters, LIMIT_REACHED, SealedSecret, WEBHOOK_COUNT_MAX, decide, filter,
    },
};
use hub_http::{Body, CommandHeaders, Created, Fingerprint, NoBody, Path, Problem, Receipt, Routes, TenantCaller};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;
use uuid::Uuid;

use crate::{
    Commands,
    dispatch::{Changed, Dispatch, Done},
    documented::Documented,
};

/// What the log itself refuses for a webhook.
pub(crate) const CONDITIONS: &[(&str, &str)] = &[(decide::WEBHOOKS, LIMIT_REACHED.code)];

const DOCUMENTED: Documented = Documented::new("webhooks", CODES);

/// What every secret begins with, as Standard Webhooks writes it.
const SECRET_PREFIX: &str = "whsec_";

pub(crate) fn routes() -> Routes<Commands> {
    let webhooks = "/v1/tenants/{tenant_id}/webhooks";
    let webhook = "/v1/tenants/{tenant_id}/webhooks/{webhook_id}";
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
                "Answers a new signing secret, this once: a repetition of the request answers `null` in \
                     its place. The secret before it stays valid until the next rotation.",
            )
        })
        .post(&format!("{webhook}/pause"), "webhook:pause", pause, |op| {
            DOCUMENTED.command(op, "pauseWebhook", "Pause a webhook", "Nothing is delivered until it is resumed.")
        })
        .post(&format!("{webhook}/resume"), "webhook:resume", resume, |op| {
            DOCUMENTED.command(op, "resumeWebhook", "Resume a webhook", "Events are delivered again.")
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
    events: EventFilters,
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
    events: Option<EventFilters>,
    #[serde(default, deserialize_with = "parsed_option")]
    description: Option<Remark>,
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
}

/// A fresh signing secret on its way into an event and into one answer.
struct FreshSecret {
    secret_id: Uuid,
    text: String,
    sealed: SealedSecret,
}

impl FreshSecret {
    fn make(commands: &Commands, tenant_id: Uuid, webhook_id: Uuid) -> Self {
        let secret_id = Uuid::now_v7();
        let text = format!("{SECRET_PREFIX}{}", STANDARD.encode(commands.random()));
        let sealed = commands.sealing.seal(&text, [tenant_id, webhook_id, secret_id], commands.random());
        let sealed = sealed.parse().expect("a sealed text is short base64");
        Self { secret_id, text, sealed }
    }
}

fn secret_of(done: &Done, text: String) -> Result<WebhookSecret, Problem> {
    // What this request made is in no event when the answer is the one of an earlier request.
    let secret = (!done.accepted.replayed).then_some(text);
    Ok(WebhookSecret { changed: done.changed(), secret_id: done.kept("secret_id")?, secret })
}

async fn register(
    caller: TenantCaller,
    headers: CommandHeaders,
    State(commands): State<Commands>,
    body: Body<Register>,
) -> Result<Created<WebhookSecret>, Problem> {
    let Register { url, events, description } = body.value;
    let (tenant_id, webhook_id) = (caller.tenant.id(), Uuid::now_v7());
    let FreshSecret { secret_id, text, sealed } = FreshSecret::make(&commands, tenant_id, webhook_id);
    let dispatch = Dispatch::begin(&commands, &caller.caller, tenant_id, headers, body.fingerprint)?
        .keeping(json!({ "secret_id": secret_id }));
    let command = Command::Register { url, filters: events, description, secret_id, sealed_secret: sealed };
    let maxima = [(decide::WEBHOOKS, i64::try_from(WEBHOOK_COUNT_MAX).expect("a tenant has few webhooks"))];
    let done = dispatch.execute_in_tenant(&commands, &commands.webhooks, webhook_id, command, &maxima).await?;
    let location = format!("/v1/tenants/{tenant_id}/webhooks/{}", done.accepted.aggregate_id);
    let secret = secret_of(&done, text)?;
    Ok(done.receipt_with(secret).created(location))
}

async fn update(
    caller: TenantCaller,
    Path(path): Path<WebhookPath>,
    headers: CommandHeaders,
    State(commands): State<Commands>,
    body: Body<Update>,
) -> Result<Receipt<Changed>, Problem> {
    let Update { url, events, description } = body.value;
    let command = Command::Update { url, filters: events, description };
    order(&commands, &caller, path, headers, body.fingerprint, command).await
}

async fn rotate_secret(
    caller: TenantCaller,
    Path(WebhookPath { webhook_id }): Path<WebhookPath>,
    headers: CommandHeaders,
    State(commands): State<Commands>,
    body: NoBody,
) -> Result<Receipt<WebhookSecret>, Problem> {
    let tenant_id = caller.tenant.id();
    let FreshSecret { secret_id, text, sealed } = FreshSecret::make(&commands, tenant_id, webhook_id);
    let dispatch = Dispatch::begin(&commands, &caller.caller, tenant_id, headers, body.fingerprint)?
        .keeping(json!({ "secret_id": secret_id }));
    let command = Command::RotateSecret { secret_id, sealed_secret: sealed, rotated_at: commands.store.now() };
    let done = dispatch.execute_in_tenant(&commands, &commands.webhooks, webhook_id, command, &[]).await?;
    let secret = secret_of(&done, text)?;
    Ok(done.receipt_with(secret))
}

async fn pause(
    caller: TenantCaller,
    Path(path): Path<WebhookPath>,
    headers: CommandHeaders,
    State(commands): State<Commands>,
    body: NoBody,
) -> Result<Receipt<Changed>, Problem> {
    order(&commands, &caller, path, headers, body.fingerprint, Command::Pause).await
}

async fn resume(
    caller: TenantCaller,
    Path(path): Path<WebhookPath>,
    headers: CommandHeaders,
    State(commands): State<Commands>,
    body: NoBody,
) -> Result<Receipt<Changed>, Problem> {
    order(&commands, &caller, path, headers, body.fingerprint, Command::Resume).await
}

async fn delete(
    caller: TenantCaller,
    Path(path): Path<WebhookPath>,
    headers: CommandHeaders,
    State(commands): State<Commands>,
    body: NoBody,
) -> Result<Receipt<Changed>, Problem> {
    order(&commands, &caller, path, headers, body.fingerprint, Command::Delete).await
}

/// The way of every command that the webhook decides alone.
async fn order(
    commands: &Commands,
    caller: &TenantCaller,
    WebhookPath { webhook_id }: WebhookPath,
    headers: CommandHeaders,
    fingerprint: Fingerprint,
    command: Command,
) -> Result<Receipt<Changed>, Problem> {
    let dispatch = Dispatch::begin(commands, &caller.caller, caller.tenant.id(), headers, fingerprint)?;
    Ok(dispatch.execute_in_tenant(commands, &commands.webhooks, webhook_id, command, &[]).await?.receipt())
}
