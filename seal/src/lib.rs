//! Sealing: what is in the log gets a signed checkpoint, so that nobody can change it afterwards without being found out.
//!
//! One process is the sealer, elected by a lock. Each `turn` takes the events that were appended since the last one, adds their leaf hashes
//! to the tree of their tenant, signs the new root, adds that checkpoint to the platform's own log, and signs that. All of it is one
//! transaction: a checkpoint is there together with the hashes that prove it. The private key is in a file and never in PostgreSQL.
//! Beside it, `check` hashes what is sealed anew from time to time, and the `witness` is a file that remembers what was signed last.

pub mod check;
mod rows;
pub mod sealer;
pub mod signer;
mod turn;
pub mod witness;

pub use check::SelfCheck;
pub use sealer::Sealer;
pub use signer::Signer;
pub use turn::PLATFORM_LOG;
pub use witness::WitnessFile;

/// Every SQL text of this crate, for the test that prepares each against the migrated schema.
pub const QUERIES: &[&str] = &[
    check::LOGS,
    check::SOME,
    check::TOTAL,
    check::clock::ELECT,
    check::notes::KEYS,
    check::notes::NOTES,
    check::parts::LEAVES_OF_PLATFORM,
    check::parts::TILES,
    check::tree::UPPER,
    sealer::ELECT,
    signer::ALONE,
    signer::KNOWN_KEYS,
    signer::ADD_KEY,
    signer::RETIRE_OTHERS,
    rows::ALONE,
    rows::UNSEALED,
    rows::TREE,
    rows::EDGES,
    rows::LEAVES,
    rows::PUT_TILES,
    rows::PUT_TREES,
    rows::PUT_CHECKPOINTS,
];

/// Tells the metrics recorder what the metrics of this room are.
pub fn describe_metrics() {
    metrics::describe_gauge!(check::clock::FINDINGS, "What the last self-check found not to be as it was sealed.");
    metrics::describe_gauge!(
        witness::CONTRADICTED,
        "1 when nothing is sealed because the database is not the one that this machine has sealed."
    );
    metrics::describe_gauge!(
        sealer::REFUSED,
        "1 when a log cannot be sealed because it is not what was sealed before."
    );
    metrics::describe_counter!(sealer::CHECKPOINTS, "Checkpoints of tenants that this process has signed.");
}
