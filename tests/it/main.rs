//! The tests of the whole platform, with real servers, in one program.

#![expect(clippy::unwrap_used, reason = "a test says what went wrong by where it panics")]

mod architecture;
mod documents;
mod event_store;
mod commands;
mod projections;
mod running;
