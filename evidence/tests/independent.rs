//! The proofs against another implementation of RFC 6962, in both directions.

#![expect(clippy::unwrap_used, reason = "a test says what went wrong by where it panics")]

use ct_merkle::{ConsistencyProof, InclusionProof, RootHash, mem_backed_tree::MemoryBackedTree};
use hub_evidence::tree::{
    Frontier, Hash, MemoryTree, leaf_hash, prove_consistency, prove_inclusion, verify_consistency, verify_inclusion,
};
use sha2::{Sha256, digest::Output};

const SIZES: u64 = 70;

/// The same leaves in both.
fn trees(size: u64) -> (MemoryTree, MemoryBackedTree<Sha256, Vec<u8>>) {
    let (mut ours, mut theirs) = (MemoryTree::default(), MemoryBackedTree::new());
    for leaf in 0..size {
        let bytes = leaf.to_be_bytes().to_vec();
        ours.append(leaf_hash(&bytes));
        theirs.push(bytes);
    }
    (ours, theirs)
}

fn hashes(bytes: &[u8]) -> Vec<Hash> {
    bytes.chunks(32).map(|hash| Hash::try_from(hash).unwrap()).collect()
}

fn digests(hashes: &[Hash]) -> Vec<Output<Sha256>> {
    hashes.iter().map(|hash| hash.0.into()).collect()
}

fn root(tree: &MemoryTree, size: u64) -> RootHash<Sha256> {
    RootHash::new(tree.root(size).unwrap().0.into(), size)
}

#[test]
fn roots_are_the_same() {
    let mut frontier = Frontier::new();
    for size in 0..=SIZES {
        let (ours, theirs) = trees(size);
        assert_eq!(ours.root(size).unwrap().as_ref(), theirs.root().as_bytes().as_slice());
        assert_eq!(frontier.root().as_ref(), theirs.root().as_bytes().as_slice());
        frontier.append(leaf_hash(&size.to_be_bytes()));
    }
}

#[test]
fn our_inclusion_proofs_are_verified_elsewhere_and_theirs_here() {
    for size in 1..=SIZES {
        let (ours, theirs) = trees(size);
        for index in 0..size {
            let proof = prove_inclusion(&ours, index, size).unwrap();
            let leaf = index.to_be_bytes();
            let given: InclusionProof<Sha256> = InclusionProof::from_digests(&digests(&proof));
            theirs.root().verify_inclusion(&leaf, index, &given).unwrap();
            let taken = hashes(theirs.prove_inclusion(usize::try_from(index).unwrap()).as_bytes());
            assert_eq!(taken, proof);
            verify_inclusion(&leaf_hash(&leaf), index, size, &taken, &ours.root(size).unwrap()).unwrap();
        }
    }
}

#[test]
fn our_consistency_proofs_are_verified_elsewhere_and_theirs_here() {
    for new_size in 1..=SIZES {
        let (ours, theirs) = trees(new_size);
        let new_root = ours.root(new_size).unwrap();
        for old_size in 1..=new_size {
            let old_root = ours.root(old_size).unwrap();
            let proof = prove_consistency(&ours, old_size, new_size).unwrap();
            let given: ConsistencyProof<Sha256> = ConsistencyProof::from_digests(&digests(&proof));
            theirs.root().verify_consistency(&root(&ours, old_size), &given).unwrap();
            let added = usize::try_from(new_size - old_size).unwrap();
            let taken = hashes(theirs.prove_consistency(added).as_bytes());
            assert_eq!(taken, proof);
            verify_consistency(old_size, &old_root, new_size, &new_root, &taken).unwrap();
        }
    }
}
