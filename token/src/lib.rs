//! Access tokens of an outside identity provider: what makes a JWT the word of somebody we may believe.
//!
//! `Verifier::verify` takes the text behind `Bearer`, the time, and a way to find the provider that a tenant has registered,
//! and answers who speaks or why not. The profile is that of RFC 9068 (`typ` `at+jwt`), narrowed: three algorithms, one
//! per kind of key, no header that brings a key along, no member twice. The keys come from the provider's JWKS document,
//! fetched by `outbound`, which reaches public addresses only.
//!
//! Nothing here reads the system's clock, and no error or log line contains a token.

mod claims;
mod cryptography;
mod header;
mod jwk;
mod keys;
mod refused;
mod strict_json;
mod verify;

pub use hub_outbound as outbound;

pub use crate::{
    claims::SKEW,
    keys::{Keys, Settings},
    refused::Refused,
    verify::{Provider, TOKEN_BYTES_MAX, Verified, Verifier},
};
