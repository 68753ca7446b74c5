//! The keys that personal data is sealed with: made, used, and destroyed so that nobody can read the data any more.
//!
//! A data subject has one key in one tenant. It is wrapped by the tenant's key, and that by the root key, which is a file and in no database. A
//! sealed text is bound to its place (tenant, key, stream, sequence and field) and opens nowhere else. Nothing is cached here: a key that is
//! destroyed is gone at the next look, in every process.
//!
//! Classes of events have a key each month, so that what is only kept for a time ends by the destruction of a key, too.

mod destroyed;
mod key;
mod place;
mod store;

use chrono::{DateTime, NaiveDate, Utc};
use uuid::Uuid;

pub use self::{
    destroyed::DestroyedList,
    key::RootKey,
    place::Place,
    store::{MIGRATOR, QUERIES, SCHEMA, SealingKey, Vault},
};

/// At most so many texts are opened at once; a caller with more asks again.
pub const OPENED_COUNT_MAX: usize = 1_000;

/// Why a key cannot be had, or a text not be read.
#[derive(Debug, thiserror::Error)]
pub enum VaultError {
    /// The vault's database does not answer.
    #[error("the keys of personal data cannot be reached: {0}")]
    Unavailable(#[from] sqlx::Error),
    /// The tenant's key was destroyed, so nothing personal can be sealed for it any more.
    #[error("the tenant's keys are destroyed")]
    TenantErased,
    /// A key that does not open with the one that wraps it, or a text that is not where it was sealed for.
    #[error("{0}")]
    Corrupt(String),
    /// The vault was set up with another root key.
    #[error("the keys of personal data are wrapped by another root key than the one given")]
    AnotherRoot,
    /// The list of destroyed keys cannot be read or written.
    #[error("the list of destroyed keys: {0}")]
    List(#[from] std::io::Error),
    /// The vault's tables cannot be brought up to date.
    #[error("the tables of the vault cannot be made: {0}")]
    Migrate(#[from] sqlx::migrate::MigrateError),
    /// More than [`OPENED_COUNT_MAX`].
    #[error("more than {OPENED_COUNT_MAX} texts at once")]
    TooMany,
}

/// A sealed text with the key that it is sealed by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SealedText {
    /// Of the subject, or of the class and month.
    pub key_id: Uuid,
    /// Base64 of a version, a nonce and the sealed bytes.
    pub sealed: String,
}

/// What a sealed text says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Opened {
    /// The text.
    Text(String),
    /// Its key is destroyed.
    Erased,
    /// The vault has never had its key: it is not the vault that the text was sealed with.
    Missing,
}

/// What a key is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeyKind {
    /// A person.
    Subject,
    /// The events of a class in the month that begins with `period`.
    Class {
        /// Its name.
        name: String,
        /// The first day of the month.
        period: NaiveDate,
    },
}

/// A key as far as anybody may know it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyState {
    /// What it is for.
    pub kind: KeyKind,
    /// When it was made.
    pub created_at: DateTime<Utc>,
    /// When it was destroyed, or the tenant's key that it is wrapped by.
    pub destroyed_at: Option<DateTime<Utc>>,
}

/// A key of a class that is not destroyed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClassKey {
    /// Its id.
    pub key_id: Uuid,
    /// The class.
    pub class: String,
    /// The first day of its month.
    pub period: NaiveDate,
}
