//! Who has seen a log's checkpoints, and notices when its past is another one.

use super::{Checkpoint, CheckpointError, Opened, Origin};
use crate::{
    key::VerifierKeys,
    tree::{Hash, ProofError},
};

/// How a checkpoint contradicts an older one of the log.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OrderError {
    /// They are not of one log.
    #[error("the checkpoints are of the logs {older} and {newer}")]
    Origin {
        /// The log of the older one.
        older: Origin,
        /// The log of the newer one.
        newer: Origin,
    },
    /// Leaves at the end are gone.
    #[error("the log had {old_size} leaves and now has {new_size}")]
    Shrunk {
        /// How many there were.
        old_size: u64,
        /// How many there are.
        new_size: u64,
    },
    /// There are two versions of the log.
    #[error("the log has another root than before at the same size of {size} leaves")]
    Forked {
        /// How many leaves both have.
        size: u64,
    },
    /// Nothing shows that the one grew out of the other.
    #[error("the log of {new_size} leaves does not continue that of {old_size}: {source}")]
    Inconsistent {
        /// How many leaves there were.
        old_size: u64,
        /// How many there are.
        new_size: u64,
        /// What is wrong with the proof.
        source: ProofError,
    },
}

/// Why a witness does not believe a checkpoint.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WitnessError {
    /// It is none, or not to be trusted.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// It contradicts the one before.
    #[error(transparent)]
    Order(#[from] OrderError),
}

/// The newest checkpoint of one log that was believed, and the keys that are trusted for the next one.
#[derive(Debug, Clone)]
pub struct Witness {
    origin: Origin,
    keys: VerifierKeys,
    last: Option<Checkpoint>,
}

impl Witness {
    /// One that has seen nothing yet: it believes the first checkpoint of this log that a trusted key signed.
    #[must_use]
    pub fn new(origin: Origin, keys: VerifierKeys) -> Self {
        Self { origin, keys, last: None }
    }

    /// One that has seen this note.
    ///
    /// # Errors
    /// When it is no checkpoint of this log that a trusted key signed.
    pub fn with_last(origin: Origin, keys: VerifierKeys, note: &[u8]) -> Result<Self, CheckpointError> {
        let last = Some(Checkpoint::open(note, &origin, &keys)?.checkpoint);
        Ok(Self { origin, keys, last })
    }

    /// The newest checkpoint that was believed.
    #[must_use]
    pub fn last(&self) -> Option<&Checkpoint> {
        self.last.as_ref()
    }

    /// Which keys are trusted from now on; what was believed stays believed.
    pub fn trust(&mut self, keys: VerifierKeys) {
        self.keys = keys;
    }

    /// Believes a checkpoint that continues the last one, by a consistency proof from that; for the first one there is none to look at.
    ///
    /// # Errors
    /// When it is not to be trusted or contradicts the last one, which then stays the last.
    pub fn observe(&mut self, note: &[u8], proof: &[Hash]) -> Result<Opened, WitnessError> {
        let opened = Checkpoint::open(note, &self.origin, &self.keys)?;
        if let Some(last) = &self.last {
            opened.checkpoint.verify_continues(last, proof)?;
        }
        self.last = Some(opened.checkpoint.clone());
        Ok(opened)
    }
}

#[cfg(test)]
mod tests {
    use super::{OrderError, Witness, WitnessError};
    use crate::{
        checkpoint::{Checkpoint, CheckpointError, Origin},
        key::{SigningKey, VerifierKeys},
        note::NoteError,
        tree::{Hash, MemoryTree, ProofError, prove_consistency, testing},
    };

    struct Log {
        origin: Origin,
        tree: MemoryTree,
    }

    impl Log {
        fn new(leaves: Vec<Hash>) -> Self {
            Self { origin: Origin::platform("hub.example.com").unwrap(), tree: leaves.into_iter().collect() }
        }

        fn note(&self, size: u64, keys: &[&SigningKey]) -> Vec<u8> {
            let checkpoint = Checkpoint::new(self.origin.clone(), size, self.tree.root(size).unwrap()).unwrap();
            checkpoint.sign(keys.iter().copied()).to_string().into_bytes()
        }

        fn proof(&self, old_size: u64, new_size: u64) -> Vec<Hash> {
            prove_consistency(&self.tree, old_size, new_size).unwrap()
        }
    }

    fn trusted(keys: &[&SigningKey]) -> VerifierKeys {
        VerifierKeys::new(keys.iter().map(|key| key.verifier_key().clone())).unwrap()
    }

    #[test]
    fn a_log_that_grows_is_believed_across_a_rotation_of_keys() {
        let [old, new] = [0, 1].map(|_| SigningKey::generate("hub.example.com").unwrap());
        let log = Log::new(testing::leaves(50));
        let mut witness = Witness::new(log.origin.clone(), trusted(&[&old]));
        let mut last = 0;
        for (size, signers) in [(0, vec![&old]), (3, vec![&old]), (3, vec![&old]), (9, vec![&old, &new])] {
            witness.observe(&log.note(size, &signers), &log.proof(last, size)).unwrap();
            last = size;
        }
        let by_the_new_one = log.note(20, &[&new]);
        let refused = witness.observe(&by_the_new_one, &log.proof(9, 20));
        assert_eq!(refused, Err(WitnessError::Checkpoint(CheckpointError::Note(NoteError::Untrusted))));
        witness.trust(trusted(&[&old, &new]));
        witness.observe(&by_the_new_one, &log.proof(9, 20)).unwrap();
        witness.trust(trusted(&[&new]));
        witness.observe(&log.note(50, &[&new]), &log.proof(20, 50)).unwrap();
        assert!(witness.observe(&log.note(50, &[&old]), &[]).is_err());
        assert_eq!(witness.last().unwrap().size(), 50);
    }

    #[test]
    fn another_past_is_noticed_even_if_it_is_signed() {
        let key = SigningKey::generate("hub.example.com").unwrap();
        let log = Log::new(testing::leaves(50));
        let mut leaves = testing::leaves(50);
        leaves.swap(3, 4);
        let rewritten = Log::new(leaves);
        let seen = || Witness::with_last(log.origin.clone(), trusted(&[&key]), &log.note(20, &[&key])).unwrap();

        let shrunk = seen().observe(&log.note(19, &[&key]), &[]);
        assert_eq!(shrunk, Err(OrderError::Shrunk { old_size: 20, new_size: 19 }.into()));
        let forked = seen().observe(&rewritten.note(20, &[&key]), &[]);
        assert_eq!(forked, Err(OrderError::Forked { size: 20 }.into()));
        for proof in [log.proof(20, 50), rewritten.proof(20, 50), Vec::new()] {
            let mut witness = seen();
            let refused = witness.observe(&rewritten.note(50, &[&key]), &proof);
            assert!(matches!(refused, Err(WitnessError::Order(OrderError::Inconsistent { .. }))), "{refused:?}");
            assert_eq!(witness.last().unwrap().size(), 20);
        }
        let unproven = seen().observe(&log.note(50, &[&key]), &[]);
        let source = ProofError::TooShort;
        assert_eq!(unproven, Err(OrderError::Inconsistent { old_size: 20, new_size: 50, source }.into()));
        seen().observe(&log.note(50, &[&key]), &log.proof(20, 50)).unwrap();
    }

    #[test]
    fn checkpoints_of_two_logs_are_not_compared() {
        let root = Hash([1; 32]);
        let [one, other] = ["a", "b"].map(|host| Checkpoint::new(Origin::platform(host).unwrap(), 1, root).unwrap());
        assert!(matches!(one.verify_continues(&other, &[]), Err(OrderError::Origin { .. })));
    }
}
