//! Where the hashes of a tree stand, and from where they can be had.

use std::collections::{BTreeMap, HashMap};

use super::{Hash, node_hash};

/// Most leaves of a tree: positions are signed 64-bit numbers.
pub const SIZE_MAX: u64 = i64::MAX as u64;

/// The root of a perfect subtree: that of the 2^`level` leaves from `index` × 2^`level` on. Leaves are at level 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Node {
    /// Height above the leaves, at most 63.
    pub level: u8,
    /// Place among the nodes of its level, from 0.
    pub index: u64,
}

/// Somewhere to read the hashes of a tree's nodes. Only nodes whose leaves are all in the tree are asked for.
pub trait Nodes {
    /// Why a hash cannot be had.
    type Error: std::error::Error + 'static;

    /// The hash of `node`.
    ///
    /// # Errors
    /// When it cannot be had.
    fn hash(&self, node: Node) -> Result<Hash, Self::Error>;
}

/// A node whose hash is not at hand.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the hash of node {} at level {} is missing", .0.index, .0.level)]
pub struct MissingNode(pub Node);

impl Nodes for HashMap<Node, Hash> {
    type Error = MissingNode;

    fn hash(&self, node: Node) -> Result<Hash, MissingNode> {
        self.get(&node).copied().ok_or(MissingNode(node))
    }
}

impl Nodes for BTreeMap<Node, Hash> {
    type Error = MissingNode;

    fn hash(&self, node: Node) -> Result<Hash, MissingNode> {
        self.get(&node).copied().ok_or(MissingNode(node))
    }
}

/// The fewest perfect subtrees that hold the leaves from `begin` to before `end`, from left to right.
#[must_use]
pub fn cover(begin: u64, end: u64) -> Vec<Node> {
    let mut nodes = Vec::new();
    let mut at = begin;
    while at < end {
        let level = at.trailing_zeros().min((end - at).ilog2());
        nodes.push(Node { level: u8::try_from(level).expect("a u64 has 64 bits"), index: at >> level });
        at += 1 << level;
    }
    nodes
}

/// The hash of the leaves from `begin` to before `end`, where these are one subtree of a tree (RFC 6962, section 2.1).
pub(super) fn subtree_hash<N: Nodes + ?Sized>(nodes: &N, begin: u64, end: u64) -> Result<Hash, N::Error> {
    let hashes = cover(begin, end).into_iter().map(|node| nodes.hash(node)).collect::<Result<Vec<_>, _>>()?;
    Ok(fold(&hashes).expect("a subtree of a proof has a leaf"))
}

/// Perfect subtrees that shrink from left to right as one tree; nothing for none.
pub(super) fn fold(hashes: &[Hash]) -> Option<Hash> {
    hashes.iter().rev().copied().reduce(|right, left| node_hash(&left, &right))
}

/// A whole tree in memory: 64 bytes for each leaf.
#[derive(Debug, Clone, Default)]
pub struct MemoryTree {
    /// The hashes of all perfect subtrees, by level.
    levels: Vec<Vec<Hash>>,
}

impl MemoryTree {
    /// How many leaves it has.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.levels.first().map_or(0, |leaves| leaves.len() as u64)
    }

    /// Adds a leaf by its hash.
    pub fn append(&mut self, leaf: Hash) {
        let mut hash = leaf;
        for level in 0.. {
            if level == self.levels.len() {
                self.levels.push(Vec::new());
            }
            let hashes = &mut self.levels[level];
            hashes.push(hash);
            match hashes.as_slice() {
                [.., left, right] if hashes.len().is_multiple_of(2) => hash = node_hash(left, right),
                _ => return,
            }
        }
    }

    /// The root of the first `size` leaves.
    ///
    /// # Errors
    /// When there are fewer.
    pub fn root(&self, size: u64) -> Result<Hash, MissingNode> {
        if size == 0 { Ok(super::empty_root()) } else { subtree_hash(self, 0, size) }
    }
}

impl Extend<Hash> for MemoryTree {
    fn extend<I: IntoIterator<Item = Hash>>(&mut self, leaves: I) {
        leaves.into_iter().for_each(|leaf| self.append(leaf));
    }
}

impl FromIterator<Hash> for MemoryTree {
    fn from_iter<I: IntoIterator<Item = Hash>>(leaves: I) -> Self {
        let mut tree = Self::default();
        tree.extend(leaves);
        tree
    }
}

impl Nodes for MemoryTree {
    type Error = MissingNode;

    fn hash(&self, node: Node) -> Result<Hash, MissingNode> {
        let hashes = self.levels.get(usize::from(node.level));
        let index = usize::try_from(node.index).map_err(|_| MissingNode(node))?;
        hashes.and_then(|hashes| hashes.get(index)).copied().ok_or(MissingNode(node))
    }
}

#[cfg(test)]
mod tests {
    use super::{MemoryTree, MissingNode, Node, Nodes, cover};
    use crate::tree::{leaf_hash, testing};

    #[test]
    fn leaves_are_covered_once_and_in_order() {
        for begin in 0..70 {
            for end in begin..70 {
                let mut at = begin;
                for node in cover(begin, end) {
                    assert_eq!(node.index << node.level, at);
                    at += 1 << node.level;
                }
                assert_eq!(at, end);
            }
        }
        assert_eq!(cover(0, u64::MAX).len(), 64);
        assert_eq!(cover(1, 1 << 63).len(), 63);
    }

    #[test]
    fn the_roots_are_those_of_the_reference() {
        let tree: MemoryTree = testing::REFERENCE_LEAVES.iter().map(|leaf| leaf_hash(leaf)).collect();
        for (size, root) in testing::REFERENCE_ROOTS.iter().enumerate() {
            assert_eq!(tree.root(size as u64).unwrap().to_string(), *root);
        }
        assert_eq!(tree.root(9), Err(MissingNode(Node { level: 0, index: 8 })));
    }

    #[test]
    fn the_root_of_every_size_is_that_of_the_definition() {
        let leaves = testing::leaves(130);
        let tree: MemoryTree = leaves.iter().copied().collect();
        for size in 0..=leaves.len() {
            assert_eq!(tree.root(size as u64).unwrap(), testing::root(&leaves[..size]), "{size}");
        }
    }

    #[test]
    fn a_node_outside_the_tree_is_missing() {
        let tree: MemoryTree = testing::leaves(5).into_iter().collect();
        for node in [Node { level: 0, index: 5 }, Node { level: 2, index: 1 }, Node { level: 3, index: 0 }] {
            assert_eq!(tree.hash(node), Err(MissingNode(node)));
        }
    }
}
