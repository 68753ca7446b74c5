//! Enrolling the administrator whose key a process has in its file.

use std::{path::Path, sync::Arc};

use anyhow::Context as _;
use hub_commands::{Commands, api_key::Enrolment};
use hub_event_store::{store::EventStore, tail::Tail};
use hub_http::access::Closed;
use sqlx::PgPool;

use crate::{
    clock::Clock,
    key::{self, AdministratorKey, SecretKey},
    serve::upcasters,
};

/// Makes the key the first administrator's, or one more administrator's when `further`.
///
/// # Errors
/// When the database does not answer.
pub async fn enrol(
    pool: &PgPool,
    clock: &Clock,
    secret_key: &SecretKey,
    administrator: &AdministratorKey,
    further: bool,
) -> anyhow::Result<Enrolment> {
    let store = EventStore::start(pool.clone(), Tail::default(), upcasters(), clock.clone());
    let (gate, random) = (Arc::new(Closed), Arc::new(key::random::<32>));
    let secret_key = *secret_key.bytes();
    let commands = Commands::new(hub_commands::Settings { store, gate, secret_key, random });
    commands.enrol(administrator.key(), further).await.context("cannot enrol the administrator")
}

/// Enrols the key of the process's file, which is made if it is not there; `further` says what becomes of a key that was just made when
/// another administrator was enrolled before: one more administrator's, or none and no file.
///
/// # Errors
/// When the file cannot be read or written, or the database does not answer.
pub async fn enrol_from_file(
    pool: &PgPool,
    clock: &Clock,
    secret_key: &SecretKey,
    file: &Path,
    further: bool,
) -> anyhow::Result<Option<AdministratorKey>> {
    let administrator = key::administrator(file)?;
    match enrol(pool, clock, secret_key, &administrator, false).await? {
        Enrolment::AnotherBefore if administrator.made() && further => {
            enrol(pool, clock, secret_key, &administrator, true).await?;
            Ok(Some(administrator))
        }
        Enrolment::AnotherBefore if administrator.made() => {
            std::fs::remove_file(file).with_context(|| format!("cannot remove {}", file.display()))?;
            Ok(None)
        }
        // A key that was there before may be one that was enrolled as a further one.
        Enrolment::AnotherBefore | Enrolment::Administrator => Ok(Some(administrator)),
    }
}
