//! The Merkle tree of RFC 6962 and RFC 9162 with SHA-256: hashes, growth, proofs and their verification.
//!
//! A tree is its leaves' hashes in order. Roots and proofs are those of RFC 6962, section 2.1, and verified as RFC 9162 says. A tree
//! that grows is kept as a `Frontier`; proofs are made from hashes that a `Nodes` finds somewhere, or that were fetched
//! beforehand, since `inclusion_nodes` and its like say which are needed.

mod frontier;
mod hash;
mod node;
mod proof;
#[cfg(test)]
pub(crate) mod testing;
mod verify;

pub(crate) use self::hash::Sha256;
pub use self::{
    frontier::{Frontier, FrontierError},
    hash::{HASH_BYTES, Hash, ParseHashError, empty_root, leaf_hash, node_hash},
    node::{MemoryTree, MissingNode, Node, Nodes, SIZE_MAX, cover},
    proof::{
        PROOF_HASHES_MAX, ProofError, ProveError, RangeProof, consistency_nodes, inclusion_nodes, prove_consistency,
        prove_inclusion, prove_range, range_nodes,
    },
    verify::{verify_consistency, verify_inclusion},
};
