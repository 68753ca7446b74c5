//! JSON documents with a signature over their exact bytes.
//!
//! `{"document": ..., "signature": "<note>"}`. The note's text is two lines: what kind of document it is, and the SHA-256 of the bytes of the value
//! under `document` exactly as they stand in the file, in base64. So whoever reads the document in any language reads what was signed, and whoever
//! formats the file anew breaks the signature.

use base64::{Engine, prelude::BASE64_STANDARD};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};

use crate::{
    key::{SigningKey, VerifierKey, VerifierKeys},
    note::{Note, NoteError},
};

/// Longest file.
pub const SIGNED_BYTES_MAX: usize = 256 * 1024 * 1024;

/// A document and its signature, verified or not.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SignedDocument {
    /// The document, byte for byte as it was signed.
    pub document: Box<RawValue>,
    /// A C2SP signed note.
    pub signature: String,
}

/// Why a document is not to be trusted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SignedError {
    /// It is no JSON of this shape.
    #[error("this is no signed document: {0}")]
    Malformed(String),
    /// The signature is malformed, wrong or of nobody who is trusted.
    #[error(transparent)]
    Note(#[from] NoteError),
    /// What was signed is a document of another kind.
    #[error("this was signed as `{0}`")]
    Kind(String),
    /// The document is not the one that was signed.
    #[error("the document is not the one that was signed")]
    Changed,
}

impl SignedDocument {
    /// Signs a document of this kind with each of the keys.
    ///
    /// # Errors
    /// When `kind` cannot stand in one line.
    pub fn sign(kind: &str, document: Box<RawValue>, keys: &[SigningKey]) -> Result<Self, NoteError> {
        let mut note = Note::new(text(kind, &document))?;
        for key in keys {
            note.sign(key);
        }
        Ok(Self { document, signature: note.to_string() })
    }

    /// Reads a file and answers its document, when one of these keys has signed it as a document of this kind, with the keys that did.
    ///
    /// # Errors
    /// Why it is not to be trusted.
    pub fn verify<'keys>(
        bytes: &[u8],
        kind: &str,
        keys: &'keys VerifierKeys,
    ) -> Result<(Box<RawValue>, Vec<&'keys VerifierKey>), SignedError> {
        let signed: Self = serde_json::from_slice(bytes).map_err(|error| SignedError::Malformed(error.to_string()))?;
        let note = Note::parse(signed.signature.as_bytes())?;
        let signers = note.verify(keys)?;
        if note.text() == text(kind, &signed.document) {
            return Ok((signed.document, signers));
        }
        match note.text().lines().next() {
            Some(other) if other != kind => Err(SignedError::Kind(other.to_owned())),
            _ => Err(SignedError::Changed),
        }
    }
}

fn text(kind: &str, document: &RawValue) -> String {
    format!("{kind}\n{}\n", BASE64_STANDARD.encode(Sha256::digest(document.get().as_bytes())))
}
