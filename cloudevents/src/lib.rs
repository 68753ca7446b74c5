//! A tenant's event as integrators see it: a CloudEvent 1.0, in the tenant's own positions and without what is secret.
//!
//! Streams, named subscriptions and webhooks all send what this crate makes, so an event looks the same on every way out.

mod event;
mod secret;

pub use event::Event;
pub use secret::without_secrets;

/// Media type of one event in structured mode.
pub const STRUCTURED: &str = "application/cloudevents+json";

/// Media type of many events at once.
pub const BATCH: &str = "application/cloudevents-batch+json";

/// Media type of an event's data.
pub const DATA: &str = "application/json";

/// The version of the specification.
pub const SPEC_VERSION: &str = "1.0";
