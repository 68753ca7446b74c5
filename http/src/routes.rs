//! Routes that cannot be made without a permission and a caller.
//!
//! A handler whose first argument is not `TenantCaller` or `PlatformCaller` does not compile here, and there is no way to add one without
//! naming its permission. What was named is the catalogue of permissions, and stands in the document as `x-permission`.

use aide::{
    axum::{
        ApiRouter,
        routing::{ApiMethodRouter, get_with, post_with},
    },
    operation::{OperationHandler, OperationInput, OperationOutput},
    transform::TransformOperation,
};
use axum::{Extension, handler::Handler, http::Method};

use crate::{
    access::Permission,
    as_of,
    caller::{PlatformCaller, TenantCaller},
};

/// The member of an operation in the document that names its permission.
pub const PERMISSION_EXTENSION: &str = "x-permission";

/// One line of the catalogue.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Entry {
    /// What the route asks for.
    pub permission: Permission,
    /// `GET` or `POST`.
    pub method: Method,
    /// The path with its parameters in braces.
    pub path: String,
}

/// What the layer of a route tells the extractors.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Guard {
    pub(crate) permission: Permission,
    pub(crate) filters: bool,
    /// Whether it answers how things were.
    pub(crate) past: bool,
}

/// The routes of one context, each with its permission.
#[derive(Debug)]
pub struct Routes<S = ()> {
    router: ApiRouter<S>,
    entries: Vec<Entry>,
}

impl<S: Clone + Send + Sync + 'static> Default for Routes<S> {
    fn default() -> Self {
        Self { router: ApiRouter::new(), entries: Vec::new() }
    }
}

impl<S: Clone + Send + Sync + 'static> Routes<S> {
    /// No routes.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A command: `POST` on `path` asks for `permission`.
    #[must_use]
    pub fn post<H, I, O, T, D>(self, path: &str, permission: &'static str, handler: H, describe: D) -> Self
    where
        H: Handler<T, S> + OperationHandler<I, O>,
        I: OperationInput,
        O: OperationOutput,
        T: CallerFirst + 'static,
        D: FnOnce(TransformOperation<'_>) -> TransformOperation<'_>,
    {
        let permission = named(permission);
        let route = post_with(handler, |operation| stating(describe(operation), permission));
        self.add(Method::POST, path, Guard { permission, filters: false, past: false }, route)
    }

    /// A query about one thing, or about sums: `GET` on `path` asks for `permission`.
    #[must_use]
    pub fn get<H, I, O, T, D>(self, path: &str, permission: &'static str, handler: H, describe: D) -> Self
    where
        H: Handler<T, S> + OperationHandler<I, O>,
        I: OperationInput,
        O: OperationOutput,
        T: CallerFirst + 'static,
        D: FnOnce(TransformOperation<'_>) -> TransformOperation<'_>,
    {
        let permission = named(permission);
        let route = get_with(handler, |operation| stating(describe(operation), permission));
        self.add(Method::GET, path, Guard { permission, filters: false, past: false }, route)
    }

    /// A query about one thing that is answered as it was, too: with `?as_of=` it asks for [`as_of::HISTORY_READ`] besides.
    #[must_use]
    pub fn get_as_of<H, I, O, T, D>(self, path: &str, permission: &'static str, handler: H, describe: D) -> Self
    where
        H: Handler<T, S> + OperationHandler<I, O>,
        I: OperationInput,
        O: OperationOutput,
        T: CallerFirst + 'static,
        D: FnOnce(TransformOperation<'_>) -> TransformOperation<'_>,
    {
        let permission = named(permission);
        let route = get_with(handler, |operation| stating(describe(operation), permission));
        let mut routes = self.add(Method::GET, path, Guard { permission, filters: false, past: true }, route);
        let path = format!("{path}{}", as_of::CATALOGUE_SUFFIX);
        routes.entries.push(Entry { permission: as_of::permission(), method: Method::GET, path });
        routes
    }

    /// A list whose handler leaves out what `TenantCaller::filter` says.
    #[must_use]
    pub fn list<H, I, O, T, D>(self, path: &str, permission: &'static str, handler: H, describe: D) -> Self
    where
        H: Handler<T, S> + OperationHandler<I, O>,
        I: OperationInput,
        O: OperationOutput,
        T: CallerFirst + 'static,
        D: FnOnce(TransformOperation<'_>) -> TransformOperation<'_>,
    {
        let permission = named(permission);
        let route = get_with(handler, |operation| stating(describe(operation), permission));
        self.add(Method::GET, path, Guard { permission, filters: true, past: false }, route)
    }

    fn add(mut self, method: Method, path: &str, guard: Guard, route: ApiMethodRouter<S>) -> Self {
        self.entries.push(Entry { permission: guard.permission, method, path: path.to_owned() });
        Self { router: self.router.api_route(path, route.layer(Extension(guard))), entries: self.entries }
    }

    /// These and those.
    #[must_use]
    pub fn merge(mut self, other: Self) -> Self {
        self.entries.extend(other.entries);
        Self { router: self.router.merge(other.router), entries: self.entries }
    }

    /// The same routes behind something.
    #[must_use]
    pub fn wrapped(self, wrap: impl FnOnce(ApiRouter<S>) -> ApiRouter<S>) -> Self {
        Self { router: wrap(self.router), entries: self.entries }
    }

    /// What the routes ask for, in their order.
    #[must_use]
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// The router, to be given its state.
    pub fn into_router(self) -> ApiRouter<S> {
        self.router
    }
}

fn named(permission: &'static str) -> Permission {
    Permission::parse(permission).expect("the author of a route writes <resource>:<action>")
}

fn stating(mut operation: TransformOperation<'_>, permission: Permission) -> TransformOperation<'_> {
    let name = serde_json::Value::from(permission.to_string());
    operation.inner_mut().extensions.insert(PERMISSION_EXTENSION.to_owned(), name);
    operation
}

/// The arguments of a handler that begin with the caller.
pub trait CallerFirst: sealed::Sealed {}

/// An extractor that asks the gate.
pub trait AsksTheGate {}

impl AsksTheGate for TenantCaller {}
impl AsksTheGate for PlatformCaller {}

mod sealed {
    pub trait Sealed {}
}

/// axum names the arguments of a handler by a tuple that begins with a marker of its own.
macro_rules! caller_first {
    ($($argument:ident),*) => {
        impl<M, C: AsksTheGate, $($argument),*> sealed::Sealed for (M, C, $($argument),*) {}
        impl<M, C: AsksTheGate, $($argument),*> CallerFirst for (M, C, $($argument),*) {}
    };
}

caller_first!();
caller_first!(A1);
caller_first!(A1, A2);
caller_first!(A1, A2, A3);
caller_first!(A1, A2, A3, A4);
caller_first!(A1, A2, A3, A4, A5);
caller_first!(A1, A2, A3, A4, A5, A6);
