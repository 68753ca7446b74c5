//! Tokens against real providers on sockets of this machine, with keys made for each test.

#![expect(clippy::unwrap_used, reason = "a test says what went wrong by where it panics")]

mod accepted;
mod arbitrary;
mod attacks;
mod claims;
mod kept_keys;
mod key_sets;
mod kit;
mod reach;
mod speed;
