//! Replaying the log: proving that it is whole, and writing it out; and bringing in the log of somebody else. The library behind the audit verbs of the program.

pub mod export;
pub mod import;
pub mod read_models;
pub mod verify;

/// Every SQL text of this crate, for the test that prepares each against the migrated schema.
pub const QUERIES: &[&str] = &[
    import::COLUMNS_OF,
    import::DATABASE,
    import::EVENTS,
    import::HEADS,
    import::TABLE,
    verify::HEADS_OF_TENANTS,
    verify::HEADS_OF_STREAMS,
    verify::OUTCOMES,
    verify::MISPLACED,
];
