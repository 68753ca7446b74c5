//! One request's way through the limits: an extension that whoever recognises the caller fills, and that the layers read at the end.

use std::{
    net::IpAddr,
    sync::{Arc, OnceLock},
};

use axum::http::{Extensions, HeaderMap, StatusCode};
use uuid::Uuid;

use super::{RateLimits, Standing};
use crate::{
    caller::{Caller, Scope},
    problem::Problem,
};

/// Where one request stands with the limits; clones share it. The layers put one among the extensions of every request.
///
/// Whoever recognises callers asks `login_allowed` before anything is hashed or read, then says `login_failed` or asks `admit`. Each
/// counts once in a request, however often it is called.
#[derive(Clone, Debug)]
pub struct Admission(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    limits: RateLimits,
    peer: Option<IpAddr>,
    outcome: OnceLock<Outcome>,
}

#[derive(Clone, Copy, Debug)]
enum Outcome {
    Failed,
    Counted(Option<Standing>),
}

impl Admission {
    /// Of a request from `peer`; without a known peer failed logins are not limited.
    pub fn new(limits: RateLimits, peer: Option<IpAddr>) -> Self {
        Self(Arc::new(Inner { limits, peer, outcome: OnceLock::new() }))
    }

    /// That of a request; `None` when it has not come through the layers.
    pub fn of(extensions: &Extensions) -> Option<&Self> {
        extensions.get()
    }

    /// 429 `rate_limited` while too many logins from the peer's address have failed.
    pub fn login_allowed(&self) -> Result<(), Problem> {
        match self.0.peer {
            Some(peer) if self.0.outcome.get().is_none() => self.0.limits.login_allowed(peer),
            _ => Ok(()),
        }
    }

    /// The request has no credential, or one that was not accepted.
    pub fn login_failed(&self) {
        self.0.outcome.get_or_init(|| {
            if let Some(peer) = self.0.peer {
                self.0.limits.login_failed(peer);
            }
            Outcome::Failed
        });
    }

    /// 429 `rate_limited` while too many logins from the peer's address have failed, or too many signatures for this recipient.
    pub fn signature_allowed(&self, recipient: Uuid) -> Result<(), Problem> {
        self.login_allowed()?;
        match self.0.peer {
            Some(peer) => self.0.limits.signature_allowed(peer, recipient),
            None => Ok(()),
        }
    }

    /// The request was not signed as this recipient's are.
    pub fn signature_failed(&self, recipient: Uuid) {
        self.0.outcome.get_or_init(|| {
            if let Some(peer) = self.0.peer {
                self.0.limits.signature_failed(peer, recipient);
            }
            Outcome::Failed
        });
    }

    /// Counts the request for who sent it, and for its tenant if it is one of a tenant; 429 `rate_limited` when a limit is used up.
    pub fn admit(&self, principal: &str, tenant: Option<Uuid>) -> Result<(), Problem> {
        let count = || Outcome::Counted(self.0.limits.count(principal, tenant));
        match self.0.outcome.get_or_init(count) {
            Outcome::Counted(Some(standing)) => standing.refusal().map_or(Ok(()), Err),
            Outcome::Counted(None) | Outcome::Failed => Ok(()),
        }
    }

    /// Writes the headers of an answer to a request that was counted.
    pub(crate) fn write(&self, headers: &mut HeaderMap) {
        if let Some(Outcome::Counted(Some(standing))) = self.0.outcome.get() {
            self.0.limits.write(standing, headers);
        }
    }
}

/// Recognises the caller of a request within the limits: `authenticate` is not begun while too many logins from its address have failed.
pub async fn recognise(
    extensions: &Extensions,
    authenticate: impl Future<Output = Result<Caller, Problem>>,
) -> Result<Caller, Problem> {
    let Some(admission) = Admission::of(extensions) else { return authenticate.await };
    admission.login_allowed()?;
    let caller = authenticate.await.inspect_err(|problem| {
        if problem.status() == StatusCode::UNAUTHORIZED {
            admission.login_failed();
        }
    })?;
    admit(extensions, &caller)?;
    Ok(caller)
}

/// Counts a request for its caller, who is recognised already.
pub fn admit(extensions: &Extensions, caller: &Caller) -> Result<(), Problem> {
    let Some(admission) = Admission::of(extensions) else { return Ok(()) };
    admission.login_allowed()?;
    let tenant = match caller.scope {
        Scope::Tenant(tenant) => Some(tenant),
        Scope::Platform => None,
    };
    admission.admit(&caller.principal, tenant)
}
