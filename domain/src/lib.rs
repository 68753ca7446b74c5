//! The aggregates of Service Hub: pure state, decisions and facts, with no IO, no clock and no randomness.
//!
//! Each context is one module in one fixed order: events, commands, errors, state, `decide`, glue, tests.
//! What a decision must know (the time, a new token, another aggregate's facts) arrives in its command.

pub mod aggregate;
pub mod attribute;
pub mod effect;
pub mod every;
pub mod fact;
pub mod id;
pub mod money;
pub mod personal;
pub mod refusal;
pub mod text;
mod time;

pub mod access_record;
pub mod access_request;
pub mod api_key;
pub mod break_glass;
pub mod checkpoint;
pub mod control_check;
pub mod control_run;
pub mod disclosure;
pub mod duty_set;
pub mod erasure;
pub mod event_subscription;
pub mod finding;
pub mod identity_provider;
pub mod inbound_source;
pub mod legal_hold;
pub mod nats_credential;
pub mod principal;
pub mod retention_policy;
pub mod role;
pub mod role_template;
pub mod self_check;
pub mod service_instance;
pub mod signing_key;
pub mod subscription;
pub mod support_access;
pub mod tenant;
pub mod webhook;

#[cfg(test)]
mod golden;
