//! Replaying the log: proving that it is whole, and writing it out; and bringing in the log of somebody else. The library behind the audit verbs of the program.

pub mod export;
pub mod import;
pub mod read_models;
pub mod verify;

/// Every SQL text of this crate, for the test that prepares each against the migrated schema.
pub const QUERIES: &[&str] = &[
    import::source::COLUMNS_OF,
    import::source::DATABASE,
    import::source::TABLE,
    import::target::EVENTS,
    import::target::HEADS,
    verify::HEADS_OF_STREAMS,
    verify::HEADS_OF_TENANTS,
    verify::MISPLACED,
    verify::OUTCOMES,
];
