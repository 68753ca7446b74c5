//! `hub enrol`: one more administrator, for whoever may reach the database.

use std::process::ExitCode;

use anyhow::bail;

use super::{print, with_database};
use crate::{clock::system_clock, config::Config, enrol::enrol, key};

pub(super) async fn run(config: &Config) -> anyhow::Result<ExitCode> {
    let file = &config.admin_key_file;
    let administrator = key::administrator(file)?;
    if !administrator.made() {
        bail!("{} holds a key already: move it away, or name another file with --admin-key-file", file.display());
    }
    let secret_key = key::secret(&config.secret_key_file)?;
    let enrolled = with_database(config, async |pool| {
        key::claim(&pool, &secret_key, &config.secret_key_file).await?;
        enrol(&pool, &system_clock(), &secret_key, &administrator, true).await
    });
    if let Err(error) = enrolled.await {
        // A key that is nobody's must not be taken for one.
        std::fs::remove_file(file)?;
        return Err(error);
    }
    print(&format!("the key of a further administrator is in {}\n", file.display()))?;
    Ok(ExitCode::SUCCESS)
}
