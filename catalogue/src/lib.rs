//! The catalogue of event types: what integrators may expect of each, and the `AsyncAPI` document that says on which ways events leave.
//!
//! A published schema is a file, `schemas/<type>.v<version>.json`: the JSON Schema of an event's data with an example. What is answered is what these
//! files say. A test makes those of the current versions from the domain's types and compares: the file of a version may change only in ways that
//! neither readers nor the events that are stored already notice (`published/compatible.rs`), and that of an older version never.

mod asyncapi;
mod event_type;
mod routes;

#[cfg(test)]
mod published;

pub use asyncapi::{DOCUMENT_PATH, document, serve};
pub use event_type::{DEPRECATED, Deprecation, EventType, Version, event_types};
pub use routes::{OPERATIONS, TAG, routes};
