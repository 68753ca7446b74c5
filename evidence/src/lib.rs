//! The proof format: everything that is needed to check a log without the platform that keeps it.
//!
//! An event becomes a leaf (`entry`), leaves a Merkle tree (`tree`) whose hashes are kept in tiles (`tile`), and its root and size
//! a signed `checkpoint`, which is a `note` signed with a `key`; a `proof` is what can be handed on alone, and a `bundle` a whole part of a
//! log in a directory. Each layer but the bundle is a published format, so that other programs can verify it too;
//! `docs/guides/evidence-format.md` has every byte. Nothing here knows a database, a network or a clock. `tests/life.rs` shows how the
//! layers work together.

pub mod bundle;
pub mod checkpoint;
pub mod entry;
pub mod key;
pub mod note;
pub mod proof;
pub mod signed;
pub mod tile;
pub mod tree;
