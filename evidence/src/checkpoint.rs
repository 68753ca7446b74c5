//! What a log looked like at some size, signed: C2SP tlog-checkpoint.
//!
//! The text of a checkpoint is three lines: the log's origin, the size of its tree in decimal, the tree's root in base64; further lines
//! are extensions, of which we write none. Signed, it is a note. Who holds two checkpoints of a log and a consistency proof knows that
//! nothing was changed between them; `Witness` is that knowledge as it grows.

mod origin;
mod witness;

use std::fmt;

pub use self::{
    origin::Origin,
    witness::{OrderError, Witness, WitnessError},
};
use crate::{
    key::{SigningKey, VerifierKey, VerifierKeys},
    note::{Note, NoteError},
    tree::{Hash, ProofError, SIZE_MAX, leaf_hash, verify_consistency},
};

/// Most extension lines of a checkpoint.
pub const EXTENSIONS_MAX: usize = 16;
/// Longest text of a checkpoint, without signatures.
pub const CHECKPOINT_BYTES_MAX: usize = 16 * 1024;

/// Size and root of a log's tree. `Display` writes the text that is signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    origin: Origin,
    size: u64,
    root: Hash,
    extensions: Vec<String>,
}

/// A checkpoint that somebody who is trusted has signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Opened {
    /// What was signed.
    pub checkpoint: Checkpoint,
    /// Which of the trusted keys signed it: at least one.
    pub signers: Vec<VerifierKey>,
}

/// Why something is no checkpoint, or none to be trusted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CheckpointError {
    /// A line is missing, or written in another way than the only right one.
    #[error("the checkpoint is malformed")]
    Format,
    /// It is of another log.
    #[error("the checkpoint is of the log {found} and not of {expected}")]
    Origin {
        /// The log that was asked for.
        expected: Origin,
        /// The log that it is of.
        found: Origin,
    },
    /// The note is malformed or its signatures are not to be trusted.
    #[error(transparent)]
    Note(#[from] NoteError),
}

impl Checkpoint {
    /// What a log looks like: how many leaves it has, and their root.
    ///
    /// # Errors
    /// When no tree is so large.
    pub fn new(origin: Origin, size: u64, root: Hash) -> Result<Self, CheckpointError> {
        if size > SIZE_MAX {
            return Err(CheckpointError::Format);
        }
        Ok(Self { origin, size, root, extensions: Vec::new() })
    }

    /// Reads the text of a checkpoint, without signatures.
    ///
    /// # Errors
    /// When it is anything but what `Display` writes.
    pub fn parse(text: &str) -> Result<Self, CheckpointError> {
        if text.len() > CHECKPOINT_BYTES_MAX {
            return Err(CheckpointError::Format);
        }
        let mut lines = text.strip_suffix('\n').ok_or(CheckpointError::Format)?.split('\n');
        let mut line = || lines.next().ok_or(CheckpointError::Format);
        let origin = line()?.parse()?;
        let size = parse_decimal(line()?).filter(|size| *size <= SIZE_MAX).ok_or(CheckpointError::Format)?;
        let root = Hash::from_base64(line()?).map_err(|_| CheckpointError::Format)?;
        let extensions: Vec<String> = lines.take(EXTENSIONS_MAX + 1).map(str::to_owned).collect();
        if extensions.len() > EXTENSIONS_MAX || extensions.iter().any(String::is_empty) {
            return Err(CheckpointError::Format);
        }
        Ok(Self { origin, size, root, extensions })
    }

    /// The log.
    #[must_use]
    pub fn origin(&self) -> &Origin {
        &self.origin
    }

    /// How many leaves the log's tree has.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The root of the log's tree.
    #[must_use]
    pub fn root(&self) -> &Hash {
        &self.root
    }

    /// Lines that others wrote behind the three.
    #[must_use]
    pub fn extensions(&self) -> &[String] {
        &self.extensions
    }

    /// The hash of this checkpoint as a leaf of another log: its bytes are the text that is signed, without signatures.
    #[must_use]
    pub fn leaf_hash(&self) -> Hash {
        leaf_hash(self.to_string().as_bytes())
    }

    /// As a note without signatures, for signatures that are made elsewhere.
    #[must_use]
    pub fn to_note(&self) -> Note {
        Note::new(self.to_string()).expect("a checkpoint is the text of a note")
    }

    /// As a note, signed by each of the keys: by two while one takes over from the other.
    #[must_use]
    pub fn sign<'key>(&self, keys: impl IntoIterator<Item = &'key SigningKey>) -> Note {
        let mut note = self.to_note();
        keys.into_iter().for_each(|key| note.sign(key));
        note
    }

    /// Reads a signed checkpoint of the log `origin`, of which at least one trusted key must have made a signature.
    ///
    /// # Errors
    /// When the note is malformed, not to be trusted, no checkpoint, or one of another log.
    pub fn open(note: &[u8], origin: &Origin, keys: &VerifierKeys) -> Result<Opened, CheckpointError> {
        let opened = Self::open_any(note, keys)?;
        let found = &opened.checkpoint.origin;
        if found != origin {
            return Err(CheckpointError::Origin { expected: origin.clone(), found: found.clone() });
        }
        Ok(opened)
    }

    /// Like `open`, for whichever log: the caller must look at the origin.
    ///
    /// # Errors
    /// When the note is malformed, not to be trusted or no checkpoint.
    pub fn open_any(note: &[u8], keys: &VerifierKeys) -> Result<Opened, CheckpointError> {
        let note = Note::parse(note)?;
        let signers = note.verify(keys)?.into_iter().cloned().collect();
        Ok(Opened { checkpoint: Self::parse(note.text())?, signers })
    }

    /// Whether this log is what `older` was and what came after it, by a consistency proof from `older` to this one.
    ///
    /// # Errors
    /// When it is another log, or its past was changed; the error says how.
    pub fn verify_continues(&self, older: &Self, proof: &[Hash]) -> Result<(), OrderError> {
        if self.origin != older.origin {
            return Err(OrderError::Origin { older: older.origin.clone(), newer: self.origin.clone() });
        }
        if self.size < older.size {
            return Err(OrderError::Shrunk { old_size: older.size, new_size: self.size });
        }
        if self.size == older.size && self.root != older.root {
            return Err(OrderError::Forked { size: self.size });
        }
        let verified = verify_consistency(older.size, &older.root, self.size, &self.root, proof);
        verified.map_err(|source: ProofError| OrderError::Inconsistent {
            old_size: older.size,
            new_size: self.size,
            source,
        })
    }
}

impl fmt::Display for Checkpoint {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(formatter, "{}\n{}\n{}", self.origin, self.size, self.root.to_base64())?;
        self.extensions.iter().try_for_each(|line| writeln!(formatter, "{line}"))
    }
}

/// A number without sign, leading zeros or anything else but digits.
pub(crate) fn parse_decimal(text: &str) -> Option<u64> {
    let number: u64 = text.parse().ok()?;
    (number.to_string() == text).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::{CHECKPOINT_BYTES_MAX, Checkpoint, CheckpointError, EXTENSIONS_MAX, Origin};
    use crate::{
        key::{SigningKey, VerifierKeys},
        note::NoteError,
        tree::{Hash, SIZE_MAX, empty_root, leaf_hash},
    };

    /// The example of the specification, whose key is not published.
    const EXAMPLE: &str = "example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n";

    fn origin() -> Origin {
        "hub.example.com/tenant/1".parse().unwrap()
    }

    fn keys<'key>(keys: impl IntoIterator<Item = &'key SigningKey>) -> VerifierKeys {
        VerifierKeys::new(keys.into_iter().map(|key| key.verifier_key().clone())).unwrap()
    }

    #[test]
    fn the_example_of_the_specification_is_read_and_written() {
        let checkpoint = Checkpoint::parse(EXAMPLE).unwrap();
        assert_eq!(checkpoint.origin().to_string(), "example.com/behind-the-sofa");
        assert_eq!(checkpoint.size(), 20_852_163);
        assert_eq!(checkpoint.to_string(), EXAMPLE);
        assert_eq!(checkpoint.leaf_hash(), leaf_hash(EXAMPLE.as_bytes()));
        let extended = format!("{EXAMPLE}timestamp 1\nanother\n");
        let checkpoint = Checkpoint::parse(&extended).unwrap();
        assert_eq!(checkpoint.extensions(), ["timestamp 1", "another"]);
        assert_eq!(checkpoint.to_string(), extended);
        let empty = Checkpoint::new(origin(), 0, empty_root()).unwrap();
        assert_eq!(empty.to_string(), "hub.example.com/tenant/1\n0\n47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\n");
        assert_eq!(Checkpoint::parse(&empty.to_string()), Ok(empty));
    }

    #[test]
    fn other_spellings_are_no_checkpoints() {
        let [origin, size, root] = ["a", "1", "CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I="];
        assert!(Checkpoint::parse(&format!("{origin}\n{size}\n{root}\n")).is_ok());
        let largest = format!("{origin}\n{SIZE_MAX}\n{root}\n");
        assert!(Checkpoint::parse(&largest).is_ok());
        for size in [
            "",
            "00",
            "01",
            "+1",
            "-1",
            " 1",
            "1 ",
            "1.0",
            "1e3",
            "0x1",
            "9223372036854775808",
            "18446744073709551616",
            "١",
        ] {
            assert!(Checkpoint::parse(&format!("{origin}\n{size}\n{root}\n")).is_err(), "{size}");
        }
        for root in
            ["", &root[1..], &root[..43], &format!("{root} "), &root.replace("q2I=", "q2J="), &root.replace('/', "_")]
        {
            assert!(Checkpoint::parse(&format!("{origin}\n{size}\n{root}\n")).is_err(), "{root}");
        }
        for text in [
            String::new(),
            "\n".to_owned(),
            format!("\n{size}\n{root}\n"),
            format!("{origin}\n{size}\n{root}"),
            format!("{origin}\n{size}\n"),
            format!("{origin}\n{size}\n{root}\n\n"),
            format!("{origin}\n{size}\n{root}\n\nextension\n"),
            format!("{origin}\r\n{size}\r\n{root}\r\n"),
            format!("{origin}\n{size}\n{root}\n{}", "x\n".repeat(EXTENSIONS_MAX + 1)),
            format!("{origin}\n{size}\n{root}\n{}\n", "x".repeat(CHECKPOINT_BYTES_MAX)),
        ] {
            assert_eq!(Checkpoint::parse(&text), Err(CheckpointError::Format), "{text}");
        }
        assert!(Checkpoint::new(super::Origin::platform("a").unwrap(), SIZE_MAX + 1, empty_root()).is_err());
    }

    #[test]
    fn a_signed_checkpoint_is_opened_by_whom_trusts_a_signer() {
        let [old, new, other] = [0, 1, 2].map(|_| SigningKey::generate("hub.example.com").unwrap());
        let checkpoint = Checkpoint::new(origin(), 7, leaf_hash(b"root")).unwrap();
        for (signers, trusted, opened_by) in [
            (vec![&old], vec![&old], vec![&old]),
            // While keys are rotated: signed by both, trusted are one, the other, or both.
            (vec![&old, &new], vec![&old], vec![&old]),
            (vec![&old, &new], vec![&new], vec![&new]),
            (vec![&old, &new], vec![&new, &old], vec![&old, &new]),
            (vec![&new], vec![&old, &new], vec![&new]),
        ] {
            let note = checkpoint.sign(signers).to_string();
            let opened = Checkpoint::open(note.as_bytes(), &origin(), &keys(trusted)).unwrap();
            assert_eq!(opened.checkpoint, checkpoint);
            let opened_by: Vec<_> = opened_by.into_iter().map(|key| key.verifier_key().clone()).collect();
            assert_eq!(opened.signers, opened_by);
        }
        let note = checkpoint.sign([&old, &new]).to_string();
        let refused = Checkpoint::open(note.as_bytes(), &origin(), &keys([&other]));
        assert_eq!(refused, Err(CheckpointError::Note(NoteError::Untrusted)));
    }

    #[test]
    fn a_checkpoint_that_was_changed_is_refused() {
        let key = SigningKey::generate("hub.example.com").unwrap();
        let note = Checkpoint::new(origin(), 7, leaf_hash(b"root")).unwrap().sign([&key]).to_string();
        for at in 0..note.len() {
            let mut other = note.clone().into_bytes();
            other[at] ^= 1;
            assert!(Checkpoint::open(&other, &origin(), &keys([&key])).is_err(), "{at}");
        }
        let elsewhere: Origin = "hub.example.com/tenant/2".parse().unwrap();
        let refused = Checkpoint::open(note.as_bytes(), &elsewhere, &keys([&key]));
        assert_eq!(refused, Err(CheckpointError::Origin { expected: elsewhere, found: origin() }));
    }

    #[test]
    fn a_signed_text_that_is_no_checkpoint_is_refused() {
        let key = SigningKey::generate("hub.example.com").unwrap();
        let mut note = crate::note::Note::new("hub.example.com/tenant/1\n01\n").unwrap();
        note.sign(&key);
        let refused = Checkpoint::open(note.to_string().as_bytes(), &origin(), &keys([&key]));
        assert_eq!(refused, Err(CheckpointError::Format));
        assert_eq!(Checkpoint::new(origin(), u64::MAX, Hash([0; 32])), Err(CheckpointError::Format));
    }
}
