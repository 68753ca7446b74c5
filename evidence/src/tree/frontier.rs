//! The right edge of a growing tree: all that is needed to add leaves and to say the root.

use super::{HASH_BYTES, Hash, Node, SIZE_MAX, cover, empty_root, node_hash, proof::ProofError};

const SIZE_BYTES: usize = 8;

/// The perfect subtrees that a tree of some size consists of, from the largest on the left to the smallest: one for each bit of the size.
///
/// Kept as bytes it is the size (8 bytes, big-endian) and the subtrees' hashes (32 bytes each) in that order, so at most 2,024 bytes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Frontier {
    size: u64,
    hashes: Vec<Hash>,
}

/// Why something is no frontier.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FrontierError {
    /// A tree cannot be so large.
    #[error("no tree has {0} leaves")]
    Size(u64),
    /// The hashes do not fit the size.
    #[error("a tree of {size} leaves has {expected} perfect subtrees, not {found}")]
    Hashes {
        /// How many leaves.
        size: u64,
        /// How many hashes belong to it.
        expected: usize,
        /// How many there are.
        found: usize,
    },
    /// The bytes end within something.
    #[error("{0} bytes are no kept frontier")]
    Bytes(usize),
    /// A subtree cannot stand there.
    #[error("a subtree of level {level} cannot follow {size} leaves")]
    Level {
        /// Height of the subtree.
        level: u8,
        /// How many leaves are before it.
        size: u64,
    },
}

impl Frontier {
    /// That of a tree without leaves.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// That of a tree of `size` leaves, from the hashes of its perfect subtrees (`cover(0, size)`).
    ///
    /// # Errors
    /// When their number does not fit the size. Whether they are the right ones is for the root to say.
    pub fn from_hashes(size: u64, hashes: Vec<Hash>) -> Result<Self, FrontierError> {
        if size > SIZE_MAX {
            return Err(FrontierError::Size(size));
        }
        let expected = size.count_ones() as usize;
        if hashes.len() != expected {
            return Err(FrontierError::Hashes { size, expected, found: hashes.len() });
        }
        Ok(Self { size, hashes })
    }

    /// Reads what `to_bytes` wrote.
    ///
    /// # Errors
    /// When the bytes are too few or too many. Compare the root with a checkpoint before going on.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, FrontierError> {
        let malformed = || FrontierError::Bytes(bytes.len());
        let (size, hashes) = bytes.split_first_chunk::<SIZE_BYTES>().ok_or_else(malformed)?;
        let (hashes, rest) = hashes.as_chunks::<HASH_BYTES>();
        if !rest.is_empty() {
            return Err(malformed());
        }
        Self::from_hashes(u64::from_be_bytes(*size), hashes.iter().copied().map(Hash).collect())
    }

    /// As bytes, to be kept.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let hashes = self.hashes.iter().flat_map(|hash| hash.0);
        self.size.to_be_bytes().into_iter().chain(hashes).collect()
    }

    /// How many leaves the tree has.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The hashes of the perfect subtrees, from left to right.
    #[must_use]
    pub fn hashes(&self) -> &[Hash] {
        &self.hashes
    }

    /// The tree's root.
    #[must_use]
    pub fn root(&self) -> Hash {
        super::node::fold(&self.hashes).unwrap_or_else(empty_root)
    }

    /// Adds a leaf by its hash: 1 hash computed on average, 63 at most.
    ///
    /// # Panics
    /// When the tree has `SIZE_MAX` leaves.
    pub fn append(&mut self, leaf: Hash) {
        self.append_subtree(0, leaf).expect("a tree is never full");
    }

    /// Adds the 2^`level` leaves of a perfect subtree by their common hash.
    ///
    /// # Errors
    /// When such a subtree cannot begin where the tree ends, or would make it too large.
    pub fn append_subtree(&mut self, level: u8, hash: Hash) -> Result<(), FrontierError> {
        let error = FrontierError::Level { level, size: self.size };
        let leaves = 1_u64.checked_shl(level.into()).ok_or(error)?;
        if !self.size.is_multiple_of(leaves) {
            return Err(error);
        }
        let size = self.size.checked_add(leaves).filter(|size| *size <= SIZE_MAX).ok_or(error)?;
        let mut hash = hash;
        // As in binary addition: each subtree of the same height carries.
        for _ in 0..(self.size >> level).trailing_ones() {
            let left = self.hashes.pop().expect("there is a hash for each bit of the size");
            hash = node_hash(&left, &hash);
        }
        self.hashes.push(hash);
        self.size = size;
        Ok(())
    }

    /// The root of the tree of `size` leaves that this one grows into by the subtrees of `cover(self.size(), size)`.
    ///
    /// With `prove_range` this proves a run of leaves: begin with the hashes on its left, append the run, complete with those on its right.
    ///
    /// # Errors
    /// When `hashes` has another number of hashes, or `size` is smaller than the tree.
    pub fn complete(mut self, size: u64, hashes: &[Hash]) -> Result<Hash, ProofError> {
        if size < self.size || size > SIZE_MAX {
            return Err(ProofError::Sizes { old_size: self.size, new_size: size });
        }
        let nodes = cover(self.size, size);
        if hashes.len() < nodes.len() {
            return Err(ProofError::TooShort);
        }
        if hashes.len() > nodes.len() {
            return Err(ProofError::TooLong);
        }
        for (Node { level, .. }, hash) in nodes.into_iter().zip(hashes) {
            self.append_subtree(level, *hash).expect("a cover begins where the tree ends");
        }
        Ok(self.root())
    }
}

#[cfg(test)]
mod tests {
    use super::{Frontier, FrontierError};
    use crate::tree::{Hash, MemoryTree, Node, Nodes, ProofError, SIZE_MAX, cover, prove_range, testing};

    #[test]
    fn a_tree_that_grows_has_the_root_of_the_definition_at_every_size() {
        let leaves = testing::leaves(300);
        let mut frontier = Frontier::new();
        assert_eq!(frontier.root(), testing::root(&[]));
        for (index, leaf) in leaves.iter().enumerate() {
            frontier.append(*leaf);
            assert_eq!(frontier.size(), index as u64 + 1);
            assert_eq!(frontier.root(), testing::root(&leaves[..=index]));
            assert_eq!(Frontier::from_bytes(&frontier.to_bytes()), Ok(frontier.clone()));
        }
    }

    #[test]
    fn bytes_that_are_no_frontier_are_refused() {
        let frontier = testing::leaves(11).into_iter().fold(Frontier::new(), |mut frontier, leaf| {
            frontier.append(leaf);
            frontier
        });
        let bytes = frontier.to_bytes();
        assert_eq!(bytes.len(), 8 + 3 * 32);
        for length in 0..bytes.len() {
            assert!(Frontier::from_bytes(&bytes[..length]).is_err(), "{length}");
        }
        let longer = [bytes.as_slice(), &[0; 32]].concat();
        assert_eq!(Frontier::from_bytes(&longer), Err(FrontierError::Hashes { size: 11, expected: 3, found: 4 }));
        let too_large = [[0xff; 8].as_slice(), &[0; 64 * 32]].concat();
        assert_eq!(Frontier::from_bytes(&too_large), Err(FrontierError::Size(u64::MAX)));
        assert_eq!(Frontier::from_bytes(&[0; 8]), Ok(Frontier::new()));
    }

    #[test]
    fn subtrees_can_be_added_only_where_they_can_stand() {
        let tree: MemoryTree = testing::leaves(64).into_iter().collect();
        let mut frontier = Frontier::new();
        for (level, index) in [(3, 0), (3, 1), (1, 8), (1, 9)] {
            frontier.append_subtree(level, tree.hash(Node { level, index }).unwrap()).unwrap();
        }
        assert_eq!(frontier.size(), 20);
        assert_eq!(frontier.root(), tree.root(20).unwrap());
        for level in [3, 4, 63, 64, 255] {
            let refused = frontier.append_subtree(level, Hash([0; 32]));
            assert_eq!(refused, Err(FrontierError::Level { level, size: 20 }));
        }
        let mut full = Frontier::from_hashes(SIZE_MAX, vec![Hash([0; 32]); 63]).unwrap();
        assert!(full.append_subtree(0, Hash([0; 32])).is_err());
    }

    #[test]
    fn every_run_of_leaves_can_be_proven() {
        let leaves = testing::leaves(40);
        let tree: MemoryTree = leaves.iter().copied().collect();
        for size in 0..=40 {
            let root = tree.root(size).unwrap();
            for begin in 0..=size {
                for end in begin..=size {
                    let proof = prove_range(&tree, begin, end, size).unwrap();
                    let mut frontier = Frontier::from_hashes(begin, proof.left).unwrap();
                    leaves[begin as usize..end as usize].iter().for_each(|leaf| frontier.append(*leaf));
                    assert_eq!(frontier.complete(size, &proof.right), Ok(root), "{begin} to {end} of {size}");
                }
            }
        }
    }

    #[test]
    fn a_run_is_completed_by_exactly_what_is_missing() {
        let tree: MemoryTree = testing::leaves(40).into_iter().collect();
        let left = Frontier::from_hashes(13, cover(0, 13).into_iter().map(|node| tree.hash(node).unwrap()).collect());
        let left = left.unwrap();
        let right = prove_range(&tree, 0, 13, 40).unwrap().right;
        assert_eq!(left.clone().complete(40, &right[1..]), Err(ProofError::TooShort));
        assert_eq!(left.clone().complete(40, &[right.as_slice(), &right].concat()), Err(ProofError::TooLong));
        assert_eq!(left.clone().complete(12, &[]), Err(ProofError::Sizes { old_size: 13, new_size: 12 }));
        assert_ne!(
            left.clone().complete(39, &prove_range(&tree, 0, 13, 39).unwrap().right),
            tree.root(40).map_err(|_| ProofError::Root)
        );
        assert_eq!(left.clone().complete(13, &[]), Ok(left.root()));
    }
}
