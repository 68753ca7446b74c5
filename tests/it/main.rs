//! The tests of the whole platform, with real servers, in one program.

#![expect(clippy::unwrap_used, reason = "a test says what went wrong by where it panics")]

mod access;
mod api;
mod architecture;
mod audit;
mod commands;
mod controls;
mod crash;
mod demo;
mod documents;
mod edges;
mod event_store;
mod event_subscriptions;
mod faults;
mod import;
mod interop;
mod isolation;
mod key_uses;
mod listen;
mod nats_credentials;
mod outage;
mod overload;
mod parcels;
mod parked;
mod projections;
mod queries;
mod read_api;
mod readme;
mod rebuild;
mod relay;
mod replay;
mod replayed;
mod running;
mod scheduler;
mod tokens;
mod vault;
mod webhooks;
