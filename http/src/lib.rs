//! What the command API and the query API share: problems, callers, bodies, receipts, paging, layers and OpenAPI.
//!
//! Knows no context, no domain and no event store. Every extractor answers a `Problem` when it refuses, and documents
//! itself, so a handler's signature is its documentation. A handler takes `TenantCaller` or `PlatformCaller` first: who
//! asks, and whether he may, is decided before anything else of the request is looked at.

pub mod accept;
pub mod access;
pub mod as_of;
pub mod body;
pub mod caller;
pub mod command;
pub mod consistency;
mod cors;
mod edge;
pub mod etag;
pub mod event_stream;
#[cfg(test)]
mod example;
pub mod fingerprint;
pub mod headers;
pub mod health;
pub mod layers;
mod meters;
pub mod openapi;
pub mod page;
pub mod params;
pub mod peer;
pub mod problem;
pub mod rate_limit;
pub mod routes;
pub mod shortcut;
#[cfg(test)]
mod testing;
pub mod traceparent;
pub mod upgrade;

pub use access::{Access, Allowed, Asked, Attributes, Beyond, Gate, Granting, Pass, Permission, Presented, Resources};
pub use as_of::{AsOf, Past};
pub use body::{Body, BodyLimit, NoBody, RawBody};
pub use caller::{Caller, PlatformCaller, PlatformScope, Scope, TenantCaller, TenantScope};
pub use command::{CommandHeaders, Created, IdempotencyKey, IfMatch, Receipt};
pub use consistency::{ConsistencyToken, ReadConsistency, ReadPosition};
pub use etag::{Detail, IfNoneMatch};
pub use event_stream::LastEventId;
pub use fingerprint::Fingerprint;
pub use layers::{Deadline, Layers};
pub use page::{CursorKey, NoFilter, Page, PageQuery};
pub use params::{Path, Query};
pub use peer::{PeerAddress, ProxyHeader, TrustedProxies};
pub use problem::{Problem, RefusalKind};
pub use rate_limit::{Admission, Limit, RateLimits, Rates};
pub use routes::Routes;
pub use shortcut::{ShortAnswer, Shortcut};
