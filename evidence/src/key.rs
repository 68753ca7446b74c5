//! Ed25519 keys with names, as C2SP signed-note writes them: what signs checkpoints, and what others verify them with.
//!
//! A key is known by its name and its id, the first four bytes of SHA-256 of name, newline, a byte 1 and the public key. To rotate
//! keys, sign with the old and the new one for a while and publish both; whoever verifies accepts either.

mod file;
mod signing;
mod verifier;

pub(crate) use self::verifier::check_name;
pub use self::{
    file::{FileError, KEY_FILE_BYTES_MAX},
    signing::SigningKey,
    verifier::{KEY_NAME_BYTES_MAX, KEYS_BYTES_MAX, KEYS_MAX, KeyError, KeyId, VerifierKey, VerifierKeys},
};

/// Length of an Ed25519 public key, and of the seed that the private key is made from.
pub const KEY_BYTES: usize = 32;
/// Length of an Ed25519 signature.
pub const SIGNATURE_BYTES: usize = 64;

/// What stands before a key to say that it is one for Ed25519.
const ED25519: u8 = 1;
