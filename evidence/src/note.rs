//! Texts with signatures, as C2SP signed-note writes them.
//!
//! A note is a text that ends with a newline, an empty line, and a line `— <key name> <base64 of key id and signature>` for each
//! signature. A signature covers the text with its last newline and nothing of what follows. Nobody should look at a text before
//! `verify` has said that somebody who is trusted signed it.

use std::fmt;

use base64::{Engine, prelude::BASE64_STANDARD};

use crate::key::{KeyError, KeyId, SIGNATURE_BYTES, SigningKey, VerifierKey, VerifierKeys, check_name};

/// Longest note.
pub const NOTE_BYTES_MAX: usize = 1024 * 1024;
/// Most signatures of a note.
pub const SIGNATURES_MAX: usize = 100;

const SIGNATURE_PREFIX: &str = "\u{2014} ";
const KEY_ID_BYTES: usize = 4;

/// A signature with the name and id of its key. It may be of an algorithm that we do not know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signature {
    key_name: String,
    key_id: KeyId,
    bytes: Vec<u8>,
}

/// A text and its signatures, verified or not. `Display` writes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    text: String,
    signatures: Vec<Signature>,
}

/// Why something is no note, or not to be trusted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoteError {
    /// A text is UTF-8 that ends with a newline and has no other control characters.
    #[error("the text of the note is malformed")]
    Text,
    /// There is no empty line with signatures behind it, or these are malformed.
    #[error("the signatures of the note are malformed")]
    Signatures,
    /// The note is longer than `NOTE_BYTES_MAX` or has more than `SIGNATURES_MAX` signatures.
    #[error("the note is too long or has too many signatures")]
    TooLarge,
    /// A signature that claims to be of a trusted key is not.
    #[error("the signature of the key {name}+{id} is wrong")]
    WrongSignature {
        /// Name of the key.
        name: String,
        /// Its id.
        id: KeyId,
    },
    /// None of the signatures is of a trusted key.
    #[error("no trusted key signed the note")]
    Untrusted,
}

impl Signature {
    /// One that was made elsewhere, as by a key service. Whether it is right is for `verify` to say.
    #[must_use]
    pub fn new(key: &VerifierKey, signature: [u8; SIGNATURE_BYTES]) -> Self {
        Self { key_name: key.name().to_owned(), key_id: key.id(), bytes: signature.to_vec() }
    }

    /// Name of its key.
    #[must_use]
    pub fn key_name(&self) -> &str {
        &self.key_name
    }

    /// Id of its key.
    #[must_use]
    pub fn key_id(&self) -> KeyId {
        self.key_id
    }

    /// The signature itself.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Reads a line without its newline.
    fn parse(line: &str) -> Result<Self, NoteError> {
        let rest = line.strip_prefix(SIGNATURE_PREFIX).ok_or(NoteError::Signatures)?;
        let (name, encoded) = rest.split_once(' ').ok_or(NoteError::Signatures)?;
        check_name(name).map_err(|_: KeyError| NoteError::Signatures)?;
        let bytes = BASE64_STANDARD.decode(encoded).map_err(|_| NoteError::Signatures)?;
        match bytes.split_first_chunk::<KEY_ID_BYTES>() {
            Some((id, signature)) if !signature.is_empty() => Ok(Self {
                key_name: name.to_owned(),
                key_id: KeyId(u32::from_be_bytes(*id)),
                bytes: signature.to_vec(),
            }),
            Some(_) | None => Err(NoteError::Signatures),
        }
    }
}

impl fmt::Display for Signature {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = [self.key_id.0.to_be_bytes().as_slice(), &self.bytes].concat();
        write!(formatter, "{SIGNATURE_PREFIX}{} {}", self.key_name, BASE64_STANDARD.encode(bytes))
    }
}

impl Note {
    /// A text without signatures.
    ///
    /// # Errors
    /// When it does not end with a newline or contains other control characters.
    pub fn new(text: impl Into<String>) -> Result<Self, NoteError> {
        let text = text.into();
        if text.len() > NOTE_BYTES_MAX {
            return Err(NoteError::TooLarge);
        }
        if !text.ends_with('\n') || has_control_characters(&text) {
            return Err(NoteError::Text);
        }
        Ok(Self { text, signatures: Vec::new() })
    }

    /// Reads a note with at least one signature, and verifies none.
    ///
    /// # Errors
    /// When it is malformed.
    pub fn parse(bytes: &[u8]) -> Result<Self, NoteError> {
        if bytes.len() > NOTE_BYTES_MAX {
            return Err(NoteError::TooLarge);
        }
        let note = std::str::from_utf8(bytes).map_err(|_| NoteError::Text)?;
        if has_control_characters(note) {
            return Err(NoteError::Text);
        }
        // The last empty line: a text may have others.
        let end = note.rfind("\n\n").ok_or(NoteError::Signatures)?;
        let (text, rest) = note.split_at(end + 1);
        let lines = rest[1..].strip_suffix('\n').ok_or(NoteError::Signatures)?;
        let mut signatures = Vec::new();
        for line in lines.split('\n') {
            if signatures.len() == SIGNATURES_MAX {
                return Err(NoteError::TooLarge);
            }
            signatures.push(Signature::parse(line)?);
        }
        Ok(Self { text: text.to_owned(), signatures })
    }

    /// The text, with its last newline: exactly what is signed.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The signatures, in order.
    #[must_use]
    pub fn signatures(&self) -> &[Signature] {
        &self.signatures
    }

    /// Signs the text; what this key signed before is replaced.
    pub fn sign(&mut self, key: &SigningKey) {
        self.add(Signature::new(key.verifier_key(), key.sign(self.text.as_bytes())));
    }

    /// Adds a signature; another one of the same key is replaced.
    pub fn add(&mut self, signature: Signature) {
        self.signatures.retain(|other| (&other.key_name, other.key_id) != (&signature.key_name, signature.key_id));
        self.signatures.push(signature);
    }

    /// Which of the trusted keys signed the text, each once: at least one.
    ///
    /// Signatures of other keys are not looked at, even if name or id (not both) are those of a trusted one.
    ///
    /// # Errors
    /// When none did, or a signature under the name and id of one is wrong.
    pub fn verify<'keys>(&self, keys: &'keys VerifierKeys) -> Result<Vec<&'keys VerifierKey>, NoteError> {
        let mut signers: Vec<&VerifierKey> = Vec::new();
        for signature in &self.signatures {
            let Some(key) = keys.get(&signature.key_name, signature.key_id) else { continue };
            if !key.verify(self.text.as_bytes(), &signature.bytes) {
                return Err(NoteError::WrongSignature { name: key.name().to_owned(), id: key.id() });
            }
            if !signers.contains(&key) {
                signers.push(key);
            }
        }
        if signers.is_empty() { Err(NoteError::Untrusted) } else { Ok(signers) }
    }
}

impl fmt::Display for Note {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(formatter, "{}", self.text)?;
        self.signatures.iter().try_for_each(|signature| writeln!(formatter, "{signature}"))
    }
}

fn has_control_characters(text: &str) -> bool {
    text.bytes().any(|byte| byte < b' ' && byte != b'\n')
}

#[cfg(test)]
mod tests;
