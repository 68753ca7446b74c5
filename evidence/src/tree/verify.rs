//! Verification of proofs, as the steps of RFC 9162, sections 2.1.3.2 and 2.1.4.2, and by nothing that made them.

use super::{Hash, ProofError, SIZE_MAX, empty_root, node_hash};

/// Whether `leaf` is the leaf with this index (from 0) in the tree of `size` leaves with this root.
///
/// # Errors
/// What is wrong with the proof.
pub fn verify_inclusion(leaf: &Hash, index: u64, size: u64, proof: &[Hash], root: &Hash) -> Result<(), ProofError> {
    if index >= size || size > SIZE_MAX {
        return Err(ProofError::Index { index, size });
    }
    let (mut first, mut second) = (index, size - 1);
    let mut hash = *leaf;
    for sibling in proof {
        if second == 0 {
            return Err(ProofError::TooLong);
        }
        if first & 1 == 1 || first == second {
            hash = node_hash(sibling, &hash);
            // A left sibling further up: levels without one are skipped.
            while first & 1 == 0 && first != 0 {
                first >>= 1;
                second >>= 1;
            }
        } else {
            hash = node_hash(&hash, sibling);
        }
        first >>= 1;
        second >>= 1;
    }
    if second != 0 {
        return Err(ProofError::TooShort);
    }
    if hash == *root { Ok(()) } else { Err(ProofError::Root) }
}

/// Whether the tree of `new_size` leaves with the root `new_root` begins with the leaves of the tree of `old_size` with `old_root`.
///
/// From the empty tree to any tree, and from a tree to itself, the proof is empty and only the roots are compared.
///
/// # Errors
/// What is wrong with the proof.
pub fn verify_consistency(
    old_size: u64,
    old_root: &Hash,
    new_size: u64,
    new_root: &Hash,
    proof: &[Hash],
) -> Result<(), ProofError> {
    if old_size > new_size || new_size > SIZE_MAX {
        return Err(ProofError::Sizes { old_size, new_size });
    }
    if old_size == 0 || old_size == new_size {
        return verify_trivial(old_size, old_root, new_size, new_root, proof);
    }
    let power_of_two = old_size.is_power_of_two();
    let Some((seed, path)) = (if power_of_two { Some((old_root, proof)) } else { proof.split_first() }) else {
        return Err(ProofError::TooShort);
    };
    let (mut first, mut second) = (old_size - 1, new_size - 1);
    let skipped = first.trailing_ones();
    first >>= skipped;
    second >>= skipped;
    let (mut old_hash, mut new_hash) = (*seed, *seed);
    for sibling in path {
        if second == 0 {
            return Err(ProofError::TooLong);
        }
        if first & 1 == 1 || first == second {
            old_hash = node_hash(sibling, &old_hash);
            new_hash = node_hash(sibling, &new_hash);
            while first & 1 == 0 && first != 0 {
                first >>= 1;
                second >>= 1;
            }
        } else {
            new_hash = node_hash(&new_hash, sibling);
        }
        first >>= 1;
        second >>= 1;
    }
    if second != 0 {
        return Err(ProofError::TooShort);
    }
    if old_hash != *old_root {
        return Err(ProofError::OldRoot);
    }
    if new_hash == *new_root { Ok(()) } else { Err(ProofError::Root) }
}

/// Where there is nothing to prove but that the roots can be what they are said to be.
fn verify_trivial(
    old_size: u64,
    old_root: &Hash,
    new_size: u64,
    new_root: &Hash,
    proof: &[Hash],
) -> Result<(), ProofError> {
    if !proof.is_empty() {
        return Err(ProofError::TooLong);
    }
    if old_size == 0 && *old_root != empty_root() {
        return Err(ProofError::OldRoot);
    }
    if old_size == new_size && old_root != new_root {
        return Err(ProofError::Root);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{verify_consistency, verify_inclusion};
    use crate::tree::{
        Hash, MemoryTree, ProofError, SIZE_MAX, empty_root, prove_consistency, prove_inclusion, testing,
    };

    /// Every way to change a proof a little: a bit of each byte, a hash less, more, or in another place.
    fn spoilt(proof: &[Hash]) -> Vec<Vec<Hash>> {
        let mut all = Vec::new();
        for at in 0..proof.len() {
            for bit in (0..256).step_by(9) {
                let mut other = proof.to_vec();
                other[at].0[bit / 8] ^= 1 << (bit % 8);
                all.push(other);
            }
            let mut shorter = proof.to_vec();
            shorter.remove(at);
            all.push(shorter);
            let mut doubled = proof.to_vec();
            doubled.insert(at, proof[at]);
            all.push(doubled);
            if at > 0 {
                let mut swapped = proof.to_vec();
                swapped.swap(at - 1, at);
                all.push(swapped);
            }
        }
        all.push([proof, &[Hash([0; 32])]].concat());
        all.push([&[Hash([0; 32])], proof].concat());
        all
    }

    #[test]
    fn every_leaf_of_every_tree_is_proven_and_no_other() {
        let leaves = testing::leaves(130);
        let tree: MemoryTree = leaves.iter().copied().collect();
        for size in 1..=130 {
            let root = tree.root(size).unwrap();
            for index in 0..size {
                let leaf = leaves[index as usize];
                let proof = prove_inclusion(&tree, index, size).unwrap();
                assert_eq!(verify_inclusion(&leaf, index, size, &proof, &root), Ok(()));
                for other in [index.wrapping_sub(1), index + 1, index ^ 2, index + size] {
                    assert!(
                        verify_inclusion(&leaf, other, size, &proof, &root).is_err(),
                        "{index} as {other} of {size}"
                    );
                }
                let next = leaves[(index as usize + 1) % leaves.len()];
                assert_eq!(verify_inclusion(&next, index, size, &proof, &root), Err(ProofError::Root));
            }
        }
    }

    #[test]
    fn a_spoilt_inclusion_proof_is_refused() {
        let leaves = testing::leaves(33);
        let tree: MemoryTree = leaves.iter().copied().collect();
        for size in 1..=33 {
            let root = tree.root(size).unwrap();
            for index in 0..size {
                let proof = prove_inclusion(&tree, index, size).unwrap();
                for other in spoilt(&proof) {
                    let verified = verify_inclusion(&leaves[index as usize], index, size, &other, &root);
                    let expected = match other.len().cmp(&proof.len()) {
                        std::cmp::Ordering::Less => ProofError::TooShort,
                        std::cmp::Ordering::Equal => ProofError::Root,
                        std::cmp::Ordering::Greater => ProofError::TooLong,
                    };
                    assert_eq!(verified, Err(expected), "{index} of {size}");
                }
            }
        }
    }

    #[test]
    fn every_tree_continues_every_smaller_one_and_no_other() {
        let tree: MemoryTree = testing::leaves(130).into_iter().collect();
        let roots: Vec<Hash> = (0..=130).map(|size| tree.root(size).unwrap()).collect();
        for new_size in 0..=130_u64 {
            for old_size in 0..=new_size {
                let (old_root, new_root) = (roots[old_size as usize], roots[new_size as usize]);
                let proof = prove_consistency(&tree, old_size, new_size).unwrap();
                assert_eq!(verify_consistency(old_size, &old_root, new_size, &new_root, &proof), Ok(()));
                let other = Hash([7; 32]);
                assert!(verify_consistency(old_size, &other, new_size, &new_root, &proof).is_err());
                if old_size > 0 {
                    assert!(verify_consistency(old_size, &old_root, new_size, &other, &proof).is_err());
                    assert!(verify_consistency(old_size - 1, &old_root, new_size, &new_root, &proof).is_err());
                }
                if old_size > 0 && old_size < new_size {
                    assert!(verify_consistency(old_size, &new_root, new_size, &old_root, &proof).is_err());
                    assert!(verify_consistency(old_size + 1, &old_root, new_size, &new_root, &proof).is_err());
                    assert!(verify_consistency(old_size, &old_root, new_size * 2, &new_root, &proof).is_err());
                }
            }
        }
    }

    #[test]
    fn a_spoilt_consistency_proof_is_refused() {
        let tree: MemoryTree = testing::leaves(33).into_iter().collect();
        for new_size in 0..=33 {
            for old_size in 0..=new_size {
                let (old_root, new_root) = (tree.root(old_size).unwrap(), tree.root(new_size).unwrap());
                let proof = prove_consistency(&tree, old_size, new_size).unwrap();
                for other in spoilt(&proof) {
                    let verified = verify_consistency(old_size, &old_root, new_size, &new_root, &other);
                    match (verified, other.len().cmp(&proof.len())) {
                        (Err(ProofError::TooShort), std::cmp::Ordering::Less)
                        | (Err(ProofError::OldRoot | ProofError::Root), std::cmp::Ordering::Equal)
                        | (Err(ProofError::TooLong), std::cmp::Ordering::Greater) => {}
                        other => panic!("{old_size} to {new_size}: {other:?}"),
                    }
                }
            }
        }
    }

    #[test]
    fn impossible_sizes_are_refused() {
        let root = Hash([1; 32]);
        for (index, size) in [(0, 0), (1, 1), (u64::MAX, u64::MAX), (0, SIZE_MAX + 1)] {
            let refused = verify_inclusion(&root, index, size, &[], &root);
            assert_eq!(refused, Err(ProofError::Index { index, size }));
        }
        assert_eq!(verify_inclusion(&root, 0, SIZE_MAX, &[root; 100], &root), Err(ProofError::TooLong));
        for (old_size, new_size) in [(2, 1), (0, u64::MAX), (u64::MAX, u64::MAX)] {
            let refused = verify_consistency(old_size, &root, new_size, &root, &[]);
            assert_eq!(refused, Err(ProofError::Sizes { old_size, new_size }));
        }
        assert_eq!(verify_consistency(0, &root, 3, &root, &[]), Err(ProofError::OldRoot));
        assert_eq!(verify_consistency(0, &empty_root(), 0, &root, &[]), Err(ProofError::Root));
        assert_eq!(verify_consistency(0, &empty_root(), 0, &empty_root(), &[]), Ok(()));
    }
}
