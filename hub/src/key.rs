//! The two secrets of an installation: the key that signs cursors and the key of the first administrator.
//!
//! Both live in files of mode 0600 that are made once. The log knows the administrator's key only by its SHA-256.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use hub_domain::api_key::KeyText;
use sha2::{Digest as _, Sha256};
use sqlx::PgPool;

/// 32 random bytes that every process of an installation shares; never shown.
#[derive(Clone)]
pub struct SecretKey([u8; 32]);

impl SecretKey {
    /// The bytes themselves, to derive other keys from.
    #[must_use]
    pub fn bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl std::fmt::Debug for SecretKey {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("SecretKey(..)")
    }
}

/// The API key of the first administrator.
pub struct AdministratorKey {
    key: KeyText,
    made: bool,
}

impl AdministratorKey {
    /// The key as it is sent after `Bearer`.
    #[must_use]
    pub fn text(&self) -> &str {
        self.key.reveal()
    }

    /// The key itself.
    #[must_use]
    pub fn key(&self) -> &KeyText {
        &self.key
    }

    /// Whether this call made it; only then is it shown.
    #[must_use]
    pub fn made(&self) -> bool {
        self.made
    }
}

impl std::fmt::Debug for AdministratorKey {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("AdministratorKey(..)")
    }
}

/// Reads the secret key, or makes it when the file does not exist.
///
/// # Errors
/// When the file cannot be read or written, or does not hold 64 hexadecimal digits.
pub fn secret(file: &Path) -> anyhow::Result<SecretKey> {
    let text = match read(file)? {
        Some(text) => text,
        None => make_private(file, &hex(&random::<32>()))?,
    };
    match unhex(&text) {
        Some(bytes) => Ok(SecretKey(bytes)),
        None => bail!("{} does not hold a secret key (64 hexadecimal digits)", file.display()),
    }
}

pub(crate) const CLAIM: &str = "
INSERT INTO installation (secret_key_sha256)
VALUES ($1)
ON CONFLICT (only_row) DO NOTHING";

pub(crate) const CLAIMED: &str = "SELECT secret_key_sha256 FROM installation";

/// Makes sure that every process on this database has the same secret key; the first one's counts.
///
/// # Errors
/// When another key is in use, or the database does not answer.
pub async fn claim(pool: &PgPool, key: &SecretKey, file: &Path) -> anyhow::Result<()> {
    let hash: [u8; 32] = Sha256::digest(key.bytes()).into();
    sqlx::query(CLAIM).bind(hash.as_slice()).execute(pool).await?;
    let claimed: Vec<u8> = sqlx::query_scalar(CLAIMED).fetch_one(pool).await?;
    if claimed != hash {
        bail!(
            "this database was set up with another secret key than the one in {}: copy that of the first process",
            file.display()
        );
    }
    Ok(())
}

/// Reads the administrator's key, or makes it when the file does not exist.
///
/// # Errors
/// When the file cannot be read or written, or does not hold a key.
pub fn administrator(file: &Path) -> anyhow::Result<AdministratorKey> {
    if let Some(text) = read(file)? {
        return match KeyText::parse(&text) {
            Some(key) => Ok(AdministratorKey { key, made: false }),
            None => bail!("{} does not hold an administrator key (hub_<id>_<secret>)", file.display()),
        };
    }
    let ours = KeyText::generate(random::<32>());
    let text = make_private(file, ours.reveal())?;
    let made = text == ours.reveal();
    let key = KeyText::parse(&text).with_context(|| format!("{} holds no key", file.display()))?;
    Ok(AdministratorKey { key, made })
}

/// `N` bytes nobody can guess.
pub(crate) fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    rand::fill(&mut bytes[..]);
    bytes
}

/// Lower-case hexadecimal.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Option<[u8; 32]> {
    if text.len() != 64 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    let mut bytes = [0; 32];
    for (index, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(text.get(index * 2..index * 2 + 2)?, 16).ok()?;
    }
    Some(bytes)
}

pub(crate) fn read(file: &Path) -> anyhow::Result<Option<String>> {
    match std::fs::read_to_string(file) {
        Ok(text) => Ok(Some(text.trim().to_owned())),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("cannot read {}", file.display())),
    }
}

/// Writes one line into a file that only its owner may read. It appears whole or not at all, and takes the place of an older one.
pub(crate) fn write_private(file: &Path, line: &str) -> anyhow::Result<()> {
    let beside = written_beside(file, line)?;
    std::fs::rename(&beside, file).with_context(|| format!("cannot write {}", file.display()))
}

/// The same for a file that must not be there yet: of several processes that make it at once, one does, and all read what that one made.
pub(crate) fn make_private(file: &Path, line: &str) -> anyhow::Result<String> {
    let beside = written_beside(file, line)?;
    let made = std::fs::hard_link(&beside, file);
    std::fs::remove_file(&beside).with_context(|| format!("cannot remove {}", beside.display()))?;
    match made {
        Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => {
            Err(error).with_context(|| format!("cannot make {}", file.display()))
        }
        Ok(()) | Err(_) => read(file)?.with_context(|| format!("{} has gone", file.display())),
    }
}

/// A file of a name of its own beside `file`, with the line in it.
fn written_beside(file: &Path, line: &str) -> anyhow::Result<PathBuf> {
    let mut beside = file.as_os_str().to_owned();
    beside.push(format!(".{}", hex(&random::<8>())));
    let beside = PathBuf::from(beside);
    let write = || -> std::io::Result<()> {
        let mut handle = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&beside)?;
        handle.write_all(line.as_bytes())?;
        handle.write_all(b"\n")?;
        handle.sync_all()
    };
    write().with_context(|| format!("cannot write {}", beside.display()))?;
    Ok(beside)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::{administrator, secret};

    #[test]
    fn keys_are_made_once_and_only_their_owner_may_read_them() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("admin.key");
        let first = administrator(&file).unwrap();
        let second = administrator(&file).unwrap();
        assert!(first.made() && !second.made());
        assert_eq!(first.text(), second.text());
        let mode = std::fs::metadata(&file).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn the_secret_key_is_the_same_after_a_restart() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("secret.key");
        let first = secret(&file).unwrap();
        assert_eq!(first.bytes(), secret(&file).unwrap().bytes());
    }

    #[test]
    fn a_damaged_key_file_is_refused_and_kept() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("key");
        std::fs::write(&file, "rubbish").unwrap();
        assert!(secret(&file).is_err());
        assert!(administrator(&file).is_err());
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "rubbish");
    }

    #[test]
    fn secrets_are_not_shown_by_debug() {
        let directory = tempfile::tempdir().unwrap();
        let key = administrator(&directory.path().join("admin.key")).unwrap();
        assert!(!format!("{key:?}").contains(key.text()));
    }
}
