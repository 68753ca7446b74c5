//! Replaying the log: proving that it is whole, writing it out, as evidence too, and bringing in the log of somebody else. The library
//! behind the audit verbs of the program.

pub mod evidence;
pub mod export;
pub mod import;
pub mod read_models;
pub mod replay;
pub mod subject;
pub mod verify;

/// Every SQL text of this crate, for the test that prepares each against the migrated schema.
pub const QUERIES: &[&str] = &[
    evidence::seals::CHECKPOINT_BEFORE,
    evidence::seals::CHECKPOINT_FROM,
    evidence::seals::CHECKPOINT_LAST,
    evidence::seals::FIRST_AT,
    evidence::seals::HEAD,
    evidence::seals::KEYS,
    evidence::seals::LAST_BEFORE,
    evidence::seals::TILES,
    export::END_OF_TENANT,
    import::source::COLUMNS_OF,
    import::source::DATABASE,
    import::source::TABLE,
    import::target::EVENTS,
    import::target::HEADS,
    replay::moment::FUTURE,
    replay::moment::PLATFORM_FIRST_AT,
    replay::moment::PLATFORM_LAST_BEFORE,
    subject::POSITION,
    subject::RECORDS,
    verify::HEADS_OF_STREAMS,
    verify::HEADS_OF_TENANTS,
    verify::MISPLACED,
    verify::OUTCOMES,
];
