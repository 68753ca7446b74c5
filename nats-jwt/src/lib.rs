//! Credentials for NATS in its decentralised form: key pairs, the signed claims of operator, account and users, and the text of a `.creds` file.
//!
//! Shape: [`Key`] is a pair of a kind. An operator's key signs the claims of an account ([`account_claims`]), an account's key those of its
//! users ([`Issuer`]); a server that knows the operator and the account lets in whom the account has signed for, and nobody asks anybody
//! while that happens. Claims are version 2 of those that nats-server reads.

mod claims;
mod issuer;
mod key;

pub use claims::{account_claims, operator_claims, system_account_claims};
pub use issuer::{Credentials, Issuer};
pub use key::{Key, KeyError, Kind};
