//! Who may pass: the gate that every route asks, in the words of this crate.
//!
//! A route names its permission when it is made (`routes`), the extractors of `caller` bring the request to the gate, and the gate answers
//! from what it knows of keys, tokens and roles. How it decides is not known here.

pub mod fixed;

use std::{collections::BTreeMap, fmt, net::IpAddr, pin::Pin, sync::Arc};

use axum::http::StatusCode;
use serde_json::Value;
use uuid::Uuid;

use crate::{caller::Caller, problem::Problem};

/// A future that may be called through a trait object.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// What a route asks for: an action on a kind of resource, written `<resource>:<action>`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Permission {
    /// A kind of resource, such as `service_instance`.
    pub resource: &'static str,
    /// What is done to it, such as `suspend`.
    pub action: &'static str,
}

impl Permission {
    /// Reads `<resource>:<action>`, each of lower-case letters, digits, `_` and `-`, beginning with a letter.
    #[must_use]
    pub fn parse(text: &'static str) -> Option<Self> {
        let (resource, action) = text.split_once(':')?;
        let named = |part: &str| {
            part.starts_with(|first: char| first.is_ascii_lowercase())
                && part.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'_' | b'-'))
        };
        (named(resource) && named(action)).then_some(Self { resource, action })
    }
}

impl fmt::Display for Permission {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}:{}", self.resource, self.action)
    }
}

/// What a request shows of its sender.
#[derive(Clone, Copy, Debug)]
pub struct Presented<'a> {
    /// What stands after `Bearer`.
    pub token: &'a str,
    /// Where the request comes from, if that is known.
    pub peer: Option<IpAddr>,
    /// The log position that the sender has seen: nothing older may be decided upon.
    pub at_least: Option<i64>,
}

/// What a caller wants to do.
#[derive(Clone, Copy, Debug)]
pub struct Asked {
    /// The permission of the route.
    pub permission: Permission,
    /// Whose it is; the platform itself is a tenant.
    pub tenant_id: Uuid,
    /// The one thing that it is about; `None` when there is none yet, or when it is about many.
    pub resource_id: Option<Uuid>,
    /// Whether the route leaves out what the caller may not see, so that a permission which depends on the thing can be answered by a filter.
    pub filters: bool,
    /// As in `Presented`.
    pub at_least: Option<i64>,
}

/// The attributes of a thing that conditions may look at: texts, whole numbers and booleans by name.
pub type Attributes = BTreeMap<&'static str, Value>;

/// Loads what conditions look at.
pub trait Resources: Send + Sync {
    /// The attributes of one thing; `None` when there is none of this id in the tenant.
    fn attributes<'a>(
        &'a self,
        tenant_id: Uuid,
        resource: &'a str,
        id: Uuid,
    ) -> BoxFuture<'a, Result<Option<Attributes>, Problem>>;
}

/// For routes whose things have no attributes.
#[derive(Clone, Copy, Debug)]
pub struct NoResources;

impl Resources for NoResources {
    fn attributes<'a>(&'a self, _: Uuid, _: &'a str, _: Uuid) -> BoxFuture<'a, Result<Option<Attributes>, Problem>> {
        Box::pin(std::future::ready(Ok(None)))
    }
}

/// The right to do what was asked, perhaps to some things only.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Allowed {
    /// Which of the things asked for: a condition on their attributes, in the form that `access_permits` of the database reads. `None` is all.
    pub filter: Option<Arc<Value>>,
}

/// Rights that a caller wants to give to somebody.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Granting {
    /// All that these roles permit, inherited permissions included.
    pub roles: Vec<Uuid>,
    /// Single permissions, as roles have them.
    pub permissions: Vec<Value>,
}

/// A request that is refused before the gate is asked for a decision, or for more than the decision was about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Beyond {
    /// It is about another tenant than the caller's.
    Tenant,
    /// It is for principals of the platform only.
    Platform,
    /// It would give away rights that the caller does not hold.
    Granting,
}

/// Decides who is who and who may do what.
pub trait Gate: Send + Sync {
    /// Who the sender is; 401 `unauthenticated` whatever is wrong.
    fn authenticate<'a>(&'a self, presented: Presented<'a>) -> BoxFuture<'a, Result<Caller, Problem>>;

    /// The same when nothing has to be waited for; `None` says nothing.
    fn recognise(&self, presented: Presented<'_>) -> Option<Caller>;

    /// Whether the caller may do it; 403 `forbidden` if not.
    fn authorize<'a>(
        &'a self,
        caller: &'a Caller,
        asked: Asked,
        resources: &'a dyn Resources,
    ) -> BoxFuture<'a, Result<Allowed, Problem>>;

    /// Whether the caller may give these rights away, which nobody may beyond his own; 403 `forbidden` if not.
    fn may_grant<'a>(
        &'a self,
        caller: &'a Caller,
        tenant_id: Uuid,
        granting: &'a Granting,
    ) -> BoxFuture<'a, Result<(), Problem>>;

    /// Takes note that a caller was refused `permission` for this reason; what the gate itself refuses, it knows.
    fn refused(&self, caller: &Caller, permission: Permission, beyond: Beyond) {
        let _ = (caller, permission, beyond);
    }

    /// What is decided from now on rests on the log up to here, at least.
    fn decided_up_to(&self) -> i64;
}

/// Lets nobody pass; for documents and catalogues, which are made without keys.
#[derive(Clone, Copy, Debug)]
pub struct Closed;

impl Gate for Closed {
    fn authenticate<'a>(&'a self, _: Presented<'a>) -> BoxFuture<'a, Result<Caller, Problem>> {
        Box::pin(std::future::ready(Err(Problem::unauthenticated())))
    }

    fn recognise(&self, _: Presented<'_>) -> Option<Caller> {
        None
    }

    fn authorize<'a>(
        &'a self,
        _: &'a Caller,
        asked: Asked,
        _: &'a dyn Resources,
    ) -> BoxFuture<'a, Result<Allowed, Problem>> {
        Box::pin(std::future::ready(Err(Problem::not_permitted(asked.permission))))
    }

    fn may_grant<'a>(&'a self, _: &'a Caller, _: Uuid, _: &'a Granting) -> BoxFuture<'a, Result<(), Problem>> {
        Box::pin(std::future::ready(Err(Problem::forbidden("nobody may grant anything"))))
    }

    fn decided_up_to(&self) -> i64 {
        0
    }
}

/// The gate, and what the routes of one API load for it; cheap to clone.
#[derive(Clone)]
pub struct Access {
    pub(crate) gate: Arc<dyn Gate>,
    pub(crate) resources: Arc<dyn Resources>,
}

impl Access {
    /// Asks `gate` about what `resources` knows.
    pub fn new(gate: Arc<dyn Gate>, resources: Arc<dyn Resources>) -> Self {
        Self { gate, resources }
    }

    /// Lets nobody pass.
    #[must_use]
    pub fn closed() -> Self {
        Self::new(Arc::new(Closed), Arc::new(NoResources))
    }

    /// What is loaded for the gate.
    #[must_use]
    pub fn resources(&self) -> &Arc<dyn Resources> {
        &self.resources
    }

    /// The gate.
    #[must_use]
    pub fn gate(&self) -> &Arc<dyn Gate> {
        &self.gate
    }
}

impl fmt::Debug for Access {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Access")
    }
}

/// What a caller was allowed, to be asked again while its answer is still being sent.
#[derive(Clone, Debug)]
pub struct Pass {
    pub(crate) access: Access,
    pub(crate) caller: Caller,
    pub(crate) asked: Asked,
}

/// What a pass is for: two passes of the same key are renewed alike.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PassKey {
    caller: Caller,
    permission: Permission,
    tenant_id: Uuid,
    resource_id: Option<Uuid>,
    filters: bool,
}

impl Pass {
    /// What it is for.
    #[must_use]
    pub fn key(&self) -> PassKey {
        let Asked { permission, tenant_id, resource_id, filters, at_least: _ } = self.asked;
        PassKey { caller: self.caller.clone(), permission, tenant_id, resource_id, filters }
    }

    /// Whether the caller is still allowed; the problem that a new request would be answered with.
    pub async fn renew(&self) -> Result<(), Problem> {
        let Self { access, caller, asked } = self;
        access.gate.authorize(caller, *asked, &*access.resources).await.map(|_| ())
    }

    /// Whether the caller may give these rights away in the tenant that was asked about.
    pub async fn may_grant(&self, granting: &Granting) -> Result<(), Problem> {
        let Self { access, caller, asked } = self;
        let granted = access.gate.may_grant(caller, asked.tenant_id, granting).await;
        granted.inspect_err(|problem| {
            if problem.status() == StatusCode::FORBIDDEN {
                access.gate.refused(caller, asked.permission, Beyond::Granting);
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_permission_is_a_resource_and_an_action() {
        let permission = Permission::parse("service_instance:report-health").unwrap();
        assert_eq!((permission.resource, permission.action), ("service_instance", "report-health"));
        assert_eq!(permission.to_string(), "service_instance:report-health");
        for bad in ["", "a", "a:", ":a", "a:b:c", "A:b", "a:*", "a b:c", "1a:b"] {
            assert_eq!(Permission::parse(bad), None, "{bad}");
        }
    }
}
