//! The key that signs checkpoints, in a file that is made once, and the one before it while it is being replaced.

use std::{
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, bail};
use hub_evidence::key::{SigningKey, VerifierKey};
use hub_seal::WitnessFile;

/// The keys that sign: that of the file, which is made if it is not there, and the one that it takes the place of, if that is still there.
///
/// # Errors
/// When a file cannot be read or written, others may read it, or the keys have different names.
pub fn signing_keys(file: &Path, name: &str) -> anyhow::Result<Vec<SigningKey>> {
    if !exists(file)? {
        let key = SigningKey::generate(name).with_context(|| format!("`{name}` cannot be the name of a key"))?;
        key.write_new(file).with_context(|| format!("cannot write {}", file.display()))?;
    }
    let mut keys = vec![read(file)?];
    let previous = previous(file);
    if exists(&previous)? {
        keys.push(read(&previous)?);
    }
    if let [new, old] = &*keys
        && new.verifier_key().name() != old.verifier_key().name()
    {
        bail!("the keys in {} and {} have different names", file.display(), previous.display());
    }
    Ok(keys)
}

/// The keys that sign on this machine; none is made.
///
/// # Errors
/// When there is none, or it cannot be read.
pub fn existing_keys(file: &Path) -> anyhow::Result<Vec<SigningKey>> {
    if !exists(file)? {
        bail!("there is no {}: this is for the machine that seals", file.display());
    }
    signing_keys(file, "")
}

/// Puts a new key in the place of the one in the file, which signs beside it from now on; answers the new one's public half.
///
/// # Errors
/// When there is no key, or one is being replaced already.
pub fn rotate(file: &Path) -> anyhow::Result<VerifierKey> {
    let previous = previous(file);
    if exists(&previous)? {
        bail!("{} is still there: remove it when nobody needs its signatures any more", previous.display());
    }
    let key = SigningKey::generate(read(file)?.verifier_key().name())?;
    let next = beside(file, ".next");
    key.write_new(&next).with_context(|| format!("cannot write {}", next.display()))?;
    fs::rename(file, &previous).with_context(|| format!("cannot move {}", file.display()))?;
    fs::rename(&next, file).with_context(|| format!("cannot move {}", next.display()))?;
    Ok(key.verifier_key().clone())
}

/// The file beside the key in which the process keeps what it has signed last.
#[must_use]
pub fn witness(file: &Path) -> WitnessFile {
    WitnessFile::new(file.with_extension("witness"))
}

/// Where the key is that another takes the place of.
fn previous(file: &Path) -> PathBuf {
    beside(file, ".previous")
}

fn beside(file: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(file);
    name.push(suffix);
    name.into()
}

fn exists(file: &Path) -> anyhow::Result<bool> {
    file.try_exists().with_context(|| format!("cannot look for {}", file.display()))
}

fn read(file: &Path) -> anyhow::Result<SigningKey> {
    SigningKey::read(file).with_context(|| format!("cannot read {}", file.display()))
}

#[cfg(test)]
mod tests {
    use super::{previous, rotate, signing_keys};

    #[test]
    fn a_key_is_made_once_and_signs_beside_its_successor_until_it_is_removed() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("evidence.key");
        let made = signing_keys(&file, "hub.example.com").unwrap();
        let again = signing_keys(&file, "another.example.com").unwrap();
        assert_eq!(made.len(), 1);
        assert_eq!(made[0].verifier_key(), again[0].verifier_key());
        let next = rotate(&file).unwrap();
        let both = signing_keys(&file, "").unwrap();
        assert_eq!([both[0].verifier_key(), both[1].verifier_key()], [&next, made[0].verifier_key()]);
        assert!(rotate(&file).is_err(), "one is being replaced already");
        std::fs::remove_file(previous(&file)).unwrap();
        assert_eq!(signing_keys(&file, "").unwrap().len(), 1);
    }

    #[test]
    fn a_name_that_cannot_be_signed_with_makes_no_file() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("evidence.key");
        assert!(signing_keys(&file, "two words").is_err());
        assert!(!file.exists());
    }
}
