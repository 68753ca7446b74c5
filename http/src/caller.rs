//! Who asks: the credential of a request becomes a caller who may do what the route asks for.
//!
//! Every handler takes a `TenantCaller` or a `PlatformCaller`, first, before anything else of the request is looked at; `routes` sees to it.

use std::{net::IpAddr, sync::Arc};

use aide::{
    OperationInput,
    generate::GenContext,
    openapi::{self, Operation, SecurityRequirement},
};
use axum::{
    extract::{FromRef, FromRequestParts, RawPathParams},
    http::{HeaderMap, header, request::Parts},
};
use serde_json::Value;
use uuid::Uuid;

use crate::{
    access::{Access, Asked, Beyond, Pass, Presented},
    as_of,
    consistency::ReadConsistency,
    openapi::{SECURITY_SCHEME, add_parameter_once, path_parameter},
    peer::PeerAddress,
    problem::{self, Problem},
    rate_limit::recognise,
    routes::Guard,
};

/// Longest credential that is looked at, in bytes.
pub const CREDENTIAL_BYTES_MAX: usize = 8 << 10;

/// What the subprotocol begins with that stands for `Authorization: Bearer`.
const SUBPROTOCOL: &str = "bearer.";

/// The tenant that stands for the platform itself.
const PLATFORM_TENANT: Uuid = Uuid::from_u128(1);

/// What a caller may act for, roles apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scope {
    /// All tenants and the platform itself.
    Platform,
    /// One tenant.
    Tenant(Uuid),
}

/// The authenticated sender of one request.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Caller {
    /// Stable name of who asks, as recorded as the actor of events.
    pub principal: String,
    /// What it may act for.
    pub scope: Scope,
    /// When its token ends by itself, in milliseconds since 1970; `None` when the gate knows the end.
    pub expires_at_ms: Option<i64>,
    /// The public number of the secret that it came with, when its key may have several; its right ends with that secret.
    pub secret_id: Option<u64>,
}

impl Caller {
    /// The right to act for `tenant_id`. Another tenant's id answers 404 `not_found`, as an unknown one does.
    pub fn tenant(&self, tenant_id: Uuid) -> Result<TenantScope, Problem> {
        match self.scope {
            Scope::Platform => Ok(TenantScope(tenant_id)),
            Scope::Tenant(own) if own == tenant_id => Ok(TenantScope(tenant_id)),
            Scope::Tenant(_) => Err(Problem::not_found()),
        }
    }

    /// The right to act on the platform itself; 403 `forbidden` for the key of a tenant.
    pub fn platform(&self) -> Result<PlatformScope, Problem> {
        match self.scope {
            Scope::Platform => Ok(PlatformScope(())),
            Scope::Tenant(_) => Err(Problem::forbidden("this needs a key of the platform")),
        }
    }
}

/// Proof that the caller may act for one tenant; made by `Caller::tenant` and `TenantCaller` only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TenantScope(Uuid);

impl TenantScope {
    /// The tenant that may be acted for.
    pub fn id(&self) -> Uuid {
        self.0
    }
}

/// Proof that the caller may act on the platform itself; made by `Caller::platform` and `PlatformCaller` only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PlatformScope(());

/// The caller, the tenant in the path segment `{tenant_id}`, and the right to do there what the route asks for.
///
/// As an extractor it answers 401 without a credential, then 400 `invalid_uuid`, then 404 for another tenant, then 403 without the right.
#[derive(Clone, Debug)]
pub struct TenantCaller {
    /// Who asks.
    pub caller: Caller,
    /// The tenant of the path.
    pub tenant: TenantScope,
    /// Which things of a list the caller may see, as `Allowed::filter`; always `None` outside of lists.
    pub filter: Option<Arc<Value>>,
    /// To ask again later whether the right is still there.
    pub pass: Pass,
}

/// A caller who acts for the platform, and the right to do what the route asks for; 403 `forbidden` for others.
#[derive(Clone, Debug)]
pub struct PlatformCaller {
    /// Who asks.
    pub caller: Caller,
    /// To ask again later whether the right is still there.
    pub pass: Pass,
}

impl Presented<'_> {
    /// What a request shows; 401 `unauthenticated` when it has not exactly one bearer credential of a bearable length.
    pub fn of(headers: &HeaderMap, peer: Option<IpAddr>) -> Result<Presented<'_>, Problem> {
        if let Some(token) = of_subprotocol(headers) {
            return Ok(Presented { token, peer, at_least: ReadConsistency::of(headers)?.at_least });
        }
        let mut values = headers.get_all(header::AUTHORIZATION).iter();
        let (Some(value), None) = (values.next(), values.next()) else {
            return Err(Problem::unauthenticated());
        };
        let (scheme, token) = value.to_str().ok().and_then(|text| text.split_once(' ')).unwrap_or_default();
        let token = token.trim();
        if !scheme.eq_ignore_ascii_case("bearer") || token.is_empty() || token.len() > CREDENTIAL_BYTES_MAX {
            return Err(Problem::unauthenticated());
        }
        Ok(Presented { token, peer, at_least: ReadConsistency::of(headers)?.at_least })
    }
}

/// Pages in browsers cannot send `Authorization` with a WebSocket, but they can name subprotocols: `bearer.<key>` is one of them. Headers of
/// other requests, and of those that have `Authorization`, are not looked at.
fn of_subprotocol(headers: &HeaderMap) -> Option<&str> {
    let upgrade = headers.get(header::UPGRADE)?.to_str().ok()?;
    if headers.contains_key(header::AUTHORIZATION) || !upgrade.eq_ignore_ascii_case("websocket") {
        return None;
    }
    let offers = headers.get_all(header::SEC_WEBSOCKET_PROTOCOL).iter().filter_map(|value| value.to_str().ok());
    let mut tokens = offers.flat_map(|text| text.split(',')).filter_map(|offer| offer.trim().strip_prefix(SUBPROTOCOL));
    let token = tokens.next()?;
    (tokens.next().is_none() && !token.is_empty() && token.len() <= CREDENTIAL_BYTES_MAX).then_some(token)
}

/// Who the sender of a request is, with what it asks of the freshness of decisions.
async fn authenticated(parts: &Parts, access: &Access) -> Result<(Caller, Option<i64>), Problem> {
    let peer = parts.extensions.get::<PeerAddress>().map(|PeerAddress(address)| *address);
    let mut at_least = None;
    let caller = recognise(&parts.extensions, async {
        let presented = Presented::of(&parts.headers, peer)?;
        at_least = presented.at_least;
        access.gate.authenticate(presented).await
    });
    let caller = caller.await?;
    Ok((caller, at_least))
}

/// What the route asks for. A route without it is a mistake of its author, not of the caller.
fn guard_of(parts: &Parts) -> Result<Guard, Problem> {
    parts.extensions.get::<Guard>().copied().ok_or_else(|| {
        tracing::error!("a route names no permission");
        Problem::internal()
    })
}

impl<S> FromRequestParts<S> for TenantCaller
where
    S: Send + Sync,
    Access: FromRef<S>,
{
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let access = Access::from_ref(state);
        let Guard { permission, filters, past } = guard_of(parts)?;
        let (caller, at_least) = authenticated(parts, &access).await?;
        let params = RawPathParams::from_request_parts(parts, state)
            .await
            .map_err(|_| Problem::invalid_path("tenant_id", "a path segment is not utf-8"))?;
        let (_, text) = params.iter().find(|(name, _)| *name == TENANT_SEGMENT).ok_or_else(Problem::internal)?;
        let tenant_id = text.parse().map_err(|_| Problem::invalid_uuid(TENANT_SEGMENT))?;
        let strays = |_: &Problem| access.gate.refused(&caller, permission, Beyond::Tenant);
        let tenant = caller.tenant(tenant_id).inspect_err(strays)?;
        // What is no id is refused by the handler, which knows the name of the segment.
        let resource_id = params.iter().find(|(name, _)| *name != TENANT_SEGMENT).and_then(|(_, id)| id.parse().ok());
        let asked = Asked { permission, tenant_id, resource_id, filters, at_least };
        let allowed = access.gate.authorize(&caller, asked, &*access.resources).await?;
        if as_of::asked(&parts.uri) {
            if !past {
                return Err(as_of::refused());
            }
            let asked = Asked { permission: as_of::permission(), resource_id: None, ..asked };
            access.gate.authorize(&caller, asked, &*access.resources).await?;
        }
        let pass = Pass { access, caller: caller.clone(), asked: Asked { at_least: None, ..asked } };
        Ok(Self { caller, tenant, filter: allowed.filter, pass })
    }
}

impl<S> FromRequestParts<S> for PlatformCaller
where
    S: Send + Sync,
    Access: FromRef<S>,
{
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let access = Access::from_ref(state);
        let Guard { permission, .. } = guard_of(parts)?;
        let (caller, at_least) = authenticated(parts, &access).await?;
        caller.platform().inspect_err(|_| access.gate.refused(&caller, permission, Beyond::Platform))?;
        let tenant_id = PLATFORM_TENANT;
        let asked = Asked { permission, tenant_id, resource_id: None, filters: false, at_least };
        access.gate.authorize(&caller, asked, &*access.resources).await?;
        if as_of::asked(&parts.uri) {
            return Err(as_of::refused());
        }
        let pass = Pass { access, caller: caller.clone(), asked: Asked { at_least: None, ..asked } };
        Ok(Self { caller, pass })
    }
}

const TENANT_SEGMENT: &str = "tenant_id";

type Responses = Vec<(Option<openapi::StatusCode>, openapi::Response)>;

fn require_credential(operation: &mut Operation) {
    let requirement = SecurityRequirement::from_iter([(SECURITY_SCHEME.to_owned(), Vec::new())]);
    if !operation.security.contains(&requirement) {
        operation.security.push(requirement);
    }
}

impl OperationInput for TenantCaller {
    fn operation_input(ctx: &mut GenContext, operation: &mut Operation) {
        require_credential(operation);
        let schema = ctx.schema.subschema_for::<Uuid>();
        add_parameter_once(operation, path_parameter(TENANT_SEGMENT, "The tenant.", schema));
    }

    fn inferred_early_responses(ctx: &mut GenContext, _operation: &mut Operation) -> Responses {
        problem::documented_statuses(ctx, &[400, 401, 403, 404, 429])
    }
}

impl OperationInput for PlatformCaller {
    fn operation_input(_ctx: &mut GenContext, operation: &mut Operation) {
        require_credential(operation);
    }

    fn inferred_early_responses(ctx: &mut GenContext, _operation: &mut Operation) -> Responses {
        problem::documented_statuses(ctx, &[401, 403, 429])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn caller(scope: Scope) -> Caller {
        Caller { principal: "ops".into(), scope, expires_at_ms: None, secret_id: None }
    }

    #[test]
    fn another_tenant_answers_as_an_unknown_one() {
        let own = Uuid::from_u128(1);
        let tenant = caller(Scope::Tenant(own));
        assert_eq!(tenant.tenant(own).unwrap().id(), own);
        let stranger = tenant.tenant(Uuid::from_u128(2)).unwrap_err();
        let random = tenant.tenant(Uuid::from_u128(3)).unwrap_err();
        assert_eq!(stranger.to_json(), random.to_json());
        assert_eq!(stranger.code(), "not_found");
        assert_eq!(tenant.platform().unwrap_err().code(), "forbidden");
        assert!(caller(Scope::Platform).tenant(own).is_ok());
    }

    #[test]
    fn a_credential_is_one_bearer_token_of_a_bearable_length() {
        let presented = |values: &[&str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(header::AUTHORIZATION, value.parse().unwrap());
            }
            Presented::of(&headers, None)
                .map(|presented| presented.token.to_owned())
                .map_err(|problem| problem.code().to_owned())
        };
        assert_eq!(presented(&["Bearer abc"]), Ok("abc".to_owned()));
        assert_eq!(presented(&["bearer  abc "]), Ok("abc".to_owned()));
        let long = format!("Bearer {}", "a".repeat(CREDENTIAL_BYTES_MAX + 1));
        for bad in [&[][..], &["abc"], &["Basic abc"], &["Bearer "], &["Bearer a", "Bearer a"], &[&*long]] {
            assert_eq!(presented(bad), Err("unauthenticated".to_owned()), "{bad:?}");
        }
    }

    #[test]
    fn a_web_socket_may_bring_its_credential_as_a_subprotocol() {
        let presented = |pairs: &[(&'static str, &str)]| {
            let mut headers = HeaderMap::new();
            for (name, value) in pairs {
                headers.append(*name, value.parse().unwrap());
            }
            Presented::of(&headers, None).map(|presented| presented.token.to_owned()).ok()
        };
        let offered = ("sec-websocket-protocol", "service-hub.v1, bearer.abc");
        let upgrade = ("upgrade", "websocket");
        assert_eq!(presented(&[upgrade, offered]).as_deref(), Some("abc"));
        assert_eq!(presented(&[upgrade, offered, ("authorization", "Bearer xyz")]).as_deref(), Some("xyz"));
        assert_eq!(presented(&[offered]), None, "only where the browser allows nothing else");
        assert_eq!(presented(&[upgrade, ("sec-websocket-protocol", "bearer.a, bearer.b")]), None);
        assert_eq!(presented(&[upgrade, ("sec-websocket-protocol", "bearer.")]), None);
    }
}
