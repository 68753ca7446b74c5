//! The fingerprint of a request: what tells a repeated request from a different one under the same idempotency key.

use std::fmt;

use sha2::{Digest, Sha256};

/// SHA-256 over method, path and the exact bytes of the body, each preceded by its length.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fingerprint([u8; 32]);

impl Fingerprint {
    /// Takes the fingerprint of one request; `path` is the whole path as it was sent, without the query string.
    pub fn of(method: &str, path: &str, body: &[u8]) -> Self {
        let mut hasher = Sha256::new_with_prefix(b"hub request v1\0");
        for part in [method.as_bytes(), path.as_bytes(), body] {
            hasher.update((part.len() as u64).to_be_bytes());
            hasher.update(part);
        }
        Self(hasher.finalize().into())
    }

    /// The 32 bytes, for storing.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(formatter, "{byte:02x}"))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Fingerprint({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_part_changes_it_and_parts_do_not_run_together() {
        let base = Fingerprint::of("POST", "/a", b"{}");
        assert_eq!(base, Fingerprint::of("POST", "/a", b"{}"));
        assert_ne!(base, Fingerprint::of("PUT", "/a", b"{}"));
        assert_ne!(base, Fingerprint::of("POST", "/a", b"{ }"));
        assert_ne!(base, Fingerprint::of("POST", "/a{", b"}"));
        assert_eq!(base.to_string().len(), 64);
    }
}
