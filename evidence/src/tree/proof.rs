//! Proofs: that a leaf is in a tree, that a tree continues an older one, that a run of leaves is all there is in its place.

use super::{Hash, Node, Nodes, SIZE_MAX, cover, node::subtree_hash};

/// Most hashes of an inclusion or consistency proof.
pub const PROOF_HASHES_MAX: usize = 64;

/// What is wrong with a proof, or with what is to be proven.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ProofError {
    /// There is no such leaf.
    #[error("a tree of {size} leaves has none with index {index}")]
    Index {
        /// The leaf's index, from 0.
        index: u64,
        /// How many leaves the tree has.
        size: u64,
    },
    /// A tree does not shrink, and is never larger than `SIZE_MAX`.
    #[error("a tree of {old_size} leaves cannot become one of {new_size}")]
    Sizes {
        /// How many leaves the older tree has.
        old_size: u64,
        /// How many leaves the newer tree has.
        new_size: u64,
    },
    /// Hashes are missing.
    #[error("the proof has too few hashes")]
    TooShort,
    /// There are hashes that prove nothing.
    #[error("the proof has too many hashes")]
    TooLong,
    /// It proves something else than the root.
    #[error("the proof leads to another root")]
    Root,
    /// It proves something else than the older root.
    #[error("the proof leads to another root of the older tree")]
    OldRoot,
}

/// Why a proof cannot be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ProveError<E: std::error::Error + 'static> {
    /// There is no such proof.
    #[error(transparent)]
    Proof(#[from] ProofError),
    /// A hash cannot be had.
    #[error("cannot read the tree: {0}")]
    Nodes(#[source] E),
}

/// That a run of leaves is what stands between two places of a tree: with the run itself these hashes lead to the root.
///
/// `Frontier::from_hashes(begin, left)`, the run appended, `complete(size, &right)` is how it is verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RangeProof {
    /// The hashes of the perfect subtrees before the run, from left to right.
    pub left: Vec<Hash>,
    /// The hashes of the perfect subtrees behind the run, from left to right.
    pub right: Vec<Hash>,
}

/// Leaves of one subtree: from the first to before the second.
type Subtree = (u64, u64);

/// The nodes whose hashes `prove_inclusion` asks for.
///
/// # Errors
/// When the tree has no such leaf.
pub fn inclusion_nodes(index: u64, size: u64) -> Result<Vec<Node>, ProofError> {
    Ok(nodes_of(&inclusion(index, size)?))
}

/// The inclusion proof of the leaf `index` (from 0) in the tree of the first `size` leaves, from the leaf's sibling to below the root.
///
/// # Errors
/// When the tree has no such leaf, or a hash cannot be had.
pub fn prove_inclusion<N: Nodes + ?Sized>(nodes: &N, index: u64, size: u64) -> Result<Vec<Hash>, ProveError<N::Error>> {
    hashes_of(nodes, &inclusion(index, size)?)
}

/// The nodes whose hashes `prove_consistency` asks for.
///
/// # Errors
/// When the newer tree is smaller.
pub fn consistency_nodes(old_size: u64, new_size: u64) -> Result<Vec<Node>, ProofError> {
    Ok(nodes_of(&consistency(old_size, new_size)?))
}

/// The consistency proof between the trees of the first `old_size` and the first `new_size` leaves.
///
/// It is empty where there is nothing to prove: from a tree to itself, and from the empty tree.
///
/// # Errors
/// When the newer tree is smaller, or a hash cannot be had.
pub fn prove_consistency<N: Nodes + ?Sized>(
    nodes: &N,
    old_size: u64,
    new_size: u64,
) -> Result<Vec<Hash>, ProveError<N::Error>> {
    hashes_of(nodes, &consistency(old_size, new_size)?)
}

/// The nodes whose hashes `prove_range` asks for: those on the left, those on the right.
///
/// # Errors
/// When the range does not lie in the tree.
pub fn range_nodes(begin: u64, end: u64, size: u64) -> Result<(Vec<Node>, Vec<Node>), ProofError> {
    if begin > end || end > size || size > SIZE_MAX {
        return Err(ProofError::Index { index: end.max(begin), size });
    }
    Ok((cover(0, begin), cover(end, size)))
}

/// The proof of the leaves from `begin` to before `end` in the tree of the first `size` leaves: at most 63 hashes on the left, 126 on the right.
///
/// # Errors
/// When the range does not lie in the tree, or a hash cannot be had.
pub fn prove_range<N: Nodes + ?Sized>(
    nodes: &N,
    begin: u64,
    end: u64,
    size: u64,
) -> Result<RangeProof, ProveError<N::Error>> {
    let (left, right) = range_nodes(begin, end, size)?;
    let read = |side: Vec<Node>| side.into_iter().map(|node| nodes.hash(node)).collect::<Result<Vec<_>, _>>();
    Ok(RangeProof { left: read(left).map_err(ProveError::Nodes)?, right: read(right).map_err(ProveError::Nodes)? })
}

fn nodes_of(subtrees: &[Subtree]) -> Vec<Node> {
    subtrees.iter().flat_map(|(begin, end)| cover(*begin, *end)).collect()
}

fn hashes_of<N: Nodes + ?Sized>(nodes: &N, subtrees: &[Subtree]) -> Result<Vec<Hash>, ProveError<N::Error>> {
    subtrees.iter().map(|(begin, end)| subtree_hash(nodes, *begin, *end).map_err(ProveError::Nodes)).collect()
}

/// Where a tree with these leaves, at least two, divides: the left side has the largest power of two that is less than their number.
fn middle((begin, end): Subtree) -> u64 {
    begin + (1 << (end - begin - 1).ilog2())
}

/// PATH of RFC 6962, section 2.1.1, from the root down and then reversed.
fn inclusion(index: u64, size: u64) -> Result<Vec<Subtree>, ProofError> {
    if index >= size || size > SIZE_MAX {
        return Err(ProofError::Index { index, size });
    }
    let mut path = Vec::new();
    let mut tree = (0, size);
    while tree.1 - tree.0 > 1 {
        let middle = middle(tree);
        if index < middle {
            path.push((middle, tree.1));
            tree.1 = middle;
        } else {
            path.push((tree.0, middle));
            tree.0 = middle;
        }
    }
    path.reverse();
    Ok(path)
}

/// PROOF and SUBPROOF of RFC 6962, section 2.1.2, from the root down and then reversed.
fn consistency(old_size: u64, new_size: u64) -> Result<Vec<Subtree>, ProofError> {
    if old_size > new_size || new_size > SIZE_MAX {
        return Err(ProofError::Sizes { old_size, new_size });
    }
    if old_size == 0 || old_size == new_size {
        return Ok(Vec::new());
    }
    let mut path = Vec::new();
    let mut tree = (0, new_size);
    while tree.1 != old_size {
        let middle = middle(tree);
        if old_size <= middle {
            path.push((middle, tree.1));
            tree.1 = middle;
        } else {
            path.push((tree.0, middle));
            tree.0 = middle;
        }
    }
    // A subtree that is the older tree itself is known to whoever verifies.
    if tree.0 != 0 {
        path.push(tree);
    }
    path.reverse();
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::{
        PROOF_HASHES_MAX, ProofError, ProveError, consistency, consistency_nodes, inclusion, inclusion_nodes,
        prove_consistency, prove_inclusion, prove_range, range_nodes,
    };
    use crate::tree::{Hash, MemoryTree, MissingNode, Node, Nodes, SIZE_MAX, leaf_hash, testing};

    fn texts(hashes: &[Hash]) -> Vec<String> {
        hashes.iter().map(Hash::to_string).collect()
    }

    #[test]
    fn the_proofs_are_those_of_the_reference() {
        let tree: MemoryTree = testing::REFERENCE_LEAVES.iter().map(|leaf| leaf_hash(leaf)).collect();
        for (index, size, proof) in testing::REFERENCE_INCLUSION {
            assert_eq!(texts(&prove_inclusion(&tree, *index, *size).unwrap()), *proof, "{index} of {size}");
        }
        for (old_size, new_size, proof) in testing::REFERENCE_CONSISTENCY {
            assert_eq!(
                texts(&prove_consistency(&tree, *old_size, *new_size).unwrap()),
                *proof,
                "{old_size} {new_size}"
            );
        }
    }

    #[test]
    fn the_proofs_of_every_size_are_those_of_the_definition() {
        let leaves = testing::leaves(130);
        let tree: MemoryTree = leaves.iter().copied().collect();
        // The definition computes everything anew: between 70 and 127 nothing new happens.
        for new_size in (0..=70).chain(126..=leaves.len()) {
            let leaves = &leaves[..new_size];
            for old_size in 0..=new_size {
                let proof = prove_consistency(&tree, old_size as u64, new_size as u64).unwrap();
                assert_eq!(proof, testing::consistency(old_size, leaves), "{old_size} to {new_size}");
            }
            for index in 0..new_size {
                let proof = prove_inclusion(&tree, index as u64, new_size as u64).unwrap();
                assert_eq!(proof, testing::inclusion(index, leaves), "{index} of {new_size}");
            }
        }
    }

    #[test]
    fn the_nodes_that_are_named_are_all_that_is_needed() {
        let tree: MemoryTree = testing::leaves(70).into_iter().collect();
        let fetched = |nodes: Vec<Node>| {
            nodes.into_iter().map(|node| (node, tree.hash(node).unwrap())).collect::<std::collections::HashMap<_, _>>()
        };
        for size in 1..=70 {
            for index in 0..size {
                let nodes = fetched(inclusion_nodes(index, size).unwrap());
                assert_eq!(prove_inclusion(&nodes, index, size), Ok(prove_inclusion(&tree, index, size).unwrap()));
                let nodes = fetched(consistency_nodes(index, size).unwrap());
                assert_eq!(prove_consistency(&nodes, index, size), Ok(prove_consistency(&tree, index, size).unwrap()));
            }
        }
        let missing = prove_inclusion(&fetched(Vec::new()), 0, 2);
        assert_eq!(missing, Err(ProveError::Nodes(MissingNode(Node { level: 0, index: 1 }))));
    }

    #[test]
    fn what_is_not_in_the_tree_has_no_proof() {
        let tree: MemoryTree = testing::leaves(8).into_iter().collect();
        for (index, size) in [(0, 0), (8, 8), (u64::MAX, 8), (0, SIZE_MAX + 1), (0, u64::MAX)] {
            let refused = prove_inclusion(&tree, index, size);
            assert_eq!(refused, Err(ProofError::Index { index, size }.into()));
        }
        for (old_size, new_size) in [(8, 7), (1, 0), (u64::MAX, 8), (1, u64::MAX)] {
            let refused = prove_consistency(&tree, old_size, new_size);
            assert_eq!(refused, Err(ProofError::Sizes { old_size, new_size }.into()));
        }
        for (begin, end, size) in [(3, 2, 8), (0, 9, 8), (9, 9, 8)] {
            assert!(matches!(prove_range(&tree, begin, end, size), Err(ProveError::Proof(ProofError::Index { .. }))));
        }
    }

    #[test]
    fn proofs_in_the_largest_tree_are_bounded() {
        for index in [0, 1, SIZE_MAX / 2, SIZE_MAX - 1] {
            assert!(inclusion(index, SIZE_MAX).unwrap().len() <= PROOF_HASHES_MAX);
            assert!(consistency(index, SIZE_MAX).unwrap().len() <= PROOF_HASHES_MAX);
            let (left, right) = range_nodes(index, index + 1, SIZE_MAX).unwrap();
            assert!(left.len() <= 63 && right.len() <= 126);
        }
    }
}
