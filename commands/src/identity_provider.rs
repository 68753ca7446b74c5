//! Commands on identity providers: `POST /v1/tenants/{tenant_id}/identity-providers` and `.../identity-providers/{identity_provider_id}/<verb>`.

use axum::extract::State;
use hub_domain::{
    id::TenantId,
    identity_provider::{
        CODES, Command, IdentityProvider, Issuer, KeysAddress, LIMIT_REACHED, PROVIDER_COUNT_MAX, decide,
    },
    text::parsed,
};
use hub_http::{Body, CommandHeaders, Created, Path, Problem, Receipt, Routes, TenantCaller};
use schemars::JsonSchema;
use serde::Deserialize;
use uuid::Uuid;

use crate::{
    Commands,
    dispatch::{Changed, Dispatch},
    documented::Documented,
    room::Context,
    verb::{ResourcePath, bare, order},
};

/// What the log itself refuses for an identity provider.
pub(crate) const CONDITIONS: &[(&str, &str)] =
    &[(decide::ISSUER, "identity_provider_issuer_taken"), (decide::PROVIDERS, LIMIT_REACHED.code)];

const DOCUMENTED: Documented = Documented::new("identity-providers", CODES);

/// So many providers a tenant.
const MAXIMA: &[(&str, i64)] = &[(decide::PROVIDERS, PROVIDER_COUNT_MAX)];

pub(crate) fn routes() -> Routes<Commands> {
    let providers = "/v1/tenants/{tenant_id}/identity-providers";
    let provider = "/v1/tenants/{tenant_id}/identity-providers/{identity_provider_id}";
    let [disable, enable, remove] =
        [Command::Disable, Command::Enable, Command::Remove].map(bare::<IdentityProviderPath>);
    Routes::new()
        .post(providers, "identity_provider:register", register, |op| {
            DOCUMENTED.creation(
                op,
                "registerIdentityProvider",
                "Register an identity provider",
                "The tenant accepts its access tokens from now on, when they are meant for the audience \
                 `urn:service-hub:tenant:<tenant id>`. An issuer is registered once.",
            )
        })
        .post(
            &format!("{provider}/change-keys-address"),
            "identity_provider:change-keys-address",
            change_keys_address,
            |op| {
                DOCUMENTED.creation(
                    op,
                    "changeIdentityProviderKeysAddress",
                    "Move the keys",
                    "The keys that tokens are signed with are read from this address from now on.",
                )
            },
        )
        .post(&format!("{provider}/disable"), "identity_provider:disable", disable, |op| {
            DOCUMENTED.creation(
                op,
                "disableIdentityProvider",
                "Disable an identity provider",
                "None of its tokens is accepted until it is enabled.",
            )
        })
        .post(&format!("{provider}/enable"), "identity_provider:enable", enable, |op| {
            DOCUMENTED.creation(
                op,
                "enableIdentityProvider",
                "Enable an identity provider",
                "Its tokens are accepted again.",
            )
        })
        .post(&format!("{provider}/remove"), "identity_provider:remove", remove, |op| {
            DOCUMENTED.creation(
                op,
                "removeIdentityProvider",
                "Remove an identity provider",
                "The end: none of its tokens is accepted any more, and its issuer can be registered again.",
            )
        })
}

#[derive(Debug, Deserialize, JsonSchema)]
struct IdentityProviderPath {
    /// The identity provider's id.
    identity_provider_id: Uuid,
}

impl ResourcePath for IdentityProviderPath {
    type Resource = IdentityProvider;

    fn id(&self) -> Uuid {
        self.identity_provider_id
    }

    fn context(commands: &Commands) -> &Context<IdentityProvider> {
        &commands.identity_providers
    }
}

/// A new identity provider.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "RegisterIdentityProvider")]
struct Register {
    /// Letter by letter what its tokens name as `iss`: an `https` address without query and fragment.
    #[serde(deserialize_with = "parsed")]
    issuer: Issuer,
    /// Where its keys are published as a JSON Web Key Set: an `https` address.
    #[serde(deserialize_with = "parsed")]
    jwks_uri: KeysAddress,
}

/// Where the keys are.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "ChangeIdentityProviderKeysAddress")]
struct ChangeKeysAddress {
    #[serde(deserialize_with = "parsed")]
    jwks_uri: KeysAddress,
}

async fn register(
    caller: TenantCaller,
    headers: CommandHeaders,
    State(commands): State<Commands>,
    body: Body<Register>,
) -> Result<Created<Changed>, Problem> {
    let Register { issuer, jwks_uri } = body.value;
    let (tenant_id, loopback_allowed) = (caller.tenant.id(), commands.loopback_providers);
    let dispatch = Dispatch::begin(&commands, &caller.caller, tenant_id, headers, body.fingerprint)?;
    let command = Command::Register { tenant_id: TenantId(tenant_id), issuer, jwks_uri, loopback_allowed };
    let done =
        dispatch.execute_in_tenant(&commands, &commands.identity_providers, Uuid::now_v7(), command, MAXIMA).await?;
    let location = format!("/v1/tenants/{tenant_id}/identity-providers/{}", done.accepted.aggregate_id);
    Ok(done.receipt().created(location))
}

async fn change_keys_address(
    caller: TenantCaller,
    Path(path): Path<IdentityProviderPath>,
    headers: CommandHeaders,
    State(commands): State<Commands>,
    body: Body<ChangeKeysAddress>,
) -> Result<Receipt<Changed>, Problem> {
    let ChangeKeysAddress { jwks_uri } = body.value;
    let command = Command::ChangeKeysAddress { jwks_uri, loopback_allowed: commands.loopback_providers };
    order(&commands, &caller, path, headers, body.fingerprint, command).await
}
