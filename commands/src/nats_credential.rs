//! Commands on NATS credentials: `POST /v1/tenants/{tenant_id}/nats-credentials`.
//!
//! A credential is made for one answer: the key pair of a user of NATS, and what it may do, signed by the account's key. The log has its public
//! half before anybody has the secret one, which is kept nowhere.

use axum::extract::State;
use chrono::{DateTime, SubsecRound as _, TimeDelta, Utc};
use hub_domain::{
    nats_credential::{CODES, Command, DAYS_MAX, UNAVAILABLE},
    text::{Name, parsed},
};
use hub_event_store::partition::subject_of_tenant;
use hub_http::{Body, CommandHeaders, Created, Problem, RefusalKind, Routes, TenantCaller};
use hub_nats_jwt::Issuer;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::{
    Commands,
    dispatch::{Changed, Dispatch},
    documented::Documented,
};

/// The tag of the context.
const TAG: &str = "nats-credentials";

const DOCUMENTED: Documented = Documented::new(TAG, CODES);

/// A credential is good for a week unless something else is said.
const DAYS_DEFAULT: u32 = 7;

/// What credentials are issued with.
#[derive(Debug)]
pub struct Issuing {
    /// Signs for the users of the account in which events are published.
    pub issuer: Issuer,
    /// Where integrators connect to, such as `tls://nats.example.com:4222`.
    pub urls: Vec<String>,
}

pub(crate) fn routes() -> Routes<Commands> {
    Routes::new().post("/v1/tenants/{tenant_id}/nats-credentials", "nats_credential:issue", issue, |op| {
        DOCUMENTED.creation(
            op,
            "issueNatsCredential",
            "Issue a NATS credential",
            "Lets an integrator that is trusted subscribe to the tenant's events on NATS, as the log has them, and do nothing else there. The \
             answer holds the secret this once: a repetition of the request answers `null` in its place. A credential cannot be taken back; it \
             ends when it expires.",
        )
    })
}

/// A new credential.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "IssueNatsCredential")]
struct Issue {
    /// Whom it is for.
    #[serde(deserialize_with = "parsed")]
    name: Name,
    /// In how many days it ends: 7 when absent.
    #[schemars(range(min = 1, max = DAYS_MAX))]
    expires_in_days: Option<u32>,
}

/// The receipt, and what an integrator needs.
#[derive(Debug, Serialize, JsonSchema)]
struct NatsCredentialIssued {
    #[serde(flatten)]
    changed: Changed,
    /// The text of a `.creds` file, as clients of NATS read it; secret. It is answered once and kept nowhere, so this is null when the request is a
    /// repetition.
    credentials: Option<String>,
    /// Names the user of NATS; not secret.
    public_key: String,
    /// What may be subscribed to.
    subjects: Vec<String>,
    /// The server ends the connection then, and lets nobody in any more.
    expires_at: DateTime<Utc>,
    /// Where to connect to.
    urls: Vec<String>,
}

async fn issue(
    caller: TenantCaller,
    headers: CommandHeaders,
    State(commands): State<Commands>,
    body: Body<Issue>,
) -> Result<Created<NatsCredentialIssued>, Problem> {
    let Issue { name, expires_in_days } = body.value;
    let days = expires_in_days.unwrap_or(DAYS_DEFAULT);
    if !(1..=DAYS_MAX).contains(&days) {
        return Err(Problem::invalid_body("/expires_in_days", format!("must be from 1 to {DAYS_MAX}")));
    }
    let Some(Issuing { issuer, urls }) = commands.nats.as_deref() else {
        let detail = "this platform does not let integrators read from NATS";
        return Err(Problem::refusal(RefusalKind::Conflict, UNAVAILABLE.code, detail, Value::Null));
    };
    let (tenant_id, now) = (caller.tenant.id(), commands.store.now());
    // Claims know whole seconds only.
    let expires_at = (now + TimeDelta::days(days.into())).trunc_subsecs(0);
    let subjects = vec![subject_of_tenant(tenant_id)];
    let made = issuer.reader(commands.random(), name.as_str(), &subjects, [now, expires_at]);
    let dispatch = Dispatch::begin(&commands, &caller.caller, tenant_id, headers, body.fingerprint)?
        .keeping(json!({ "public_key": made.user, "expires_at": expires_at }));
    let command = Command::Issue { name, public_key: made.user.clone(), subjects: subjects.clone(), expires_at };
    let issued = &commands.nats_credentials;
    let done = dispatch.execute_in_tenant(&commands, issued, Uuid::now_v7(), command, &[]).await?;
    let answer = NatsCredentialIssued {
        changed: done.changed(),
        // What this request made is in no event when the answer is the one of an earlier request.
        credentials: (!done.accepted.replayed).then(|| made.text.to_string()),
        public_key: done.kept("public_key")?,
        subjects,
        expires_at: done.kept("expires_at")?,
        urls: urls.clone(),
    };
    let location = format!("/v1/tenants/{tenant_id}/nats-credentials/{}", done.accepted.aggregate_id);
    Ok(done.receipt_with(answer).created(location))
}
