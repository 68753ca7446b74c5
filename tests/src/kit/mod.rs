//! Servers, databases, a clock and whole hubs for tests, each with an end of its own.
//!
//! `make test` runs the tests below `with_servers`, which starts one PostgreSQL for all of them. Without it the first
//! test of a process starts that same program beside itself; it stops when the process has ended, whatever happened.

mod database;
mod environment;
mod eventually;
mod hub_process;
mod nats;
mod nats_proxy;
mod postgres;
mod serve_process;
pub mod servers;
mod test_clock;

pub use database::{Database, vault_in};
pub use environment::{directory, program, workspace};
pub use eventually::eventually;
pub use hub_process::{HubProcess, Outcome, free_port, run_hub};
pub use nats::Nats;
pub use nats_proxy::{Mischief, NatsProxy};
pub use postgres::OwnPostgres;
pub use serve_process::ServeProcess;
pub use test_clock::TestClock;
