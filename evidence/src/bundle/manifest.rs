//! The manifest: what a bundle says of itself.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{
    CHECKPOINT, CONSISTENCY, FORMAT, KEYS, LEAVES, MANIFEST_BYTES_MAX, MEMBER_BYTES_MAX, MEMBERS_MAX, PACKED_BYTES_MAX,
    PLATFORM, PREVIOUS, SMALL_BYTES_MAX, leaves_bytes, member_path,
};
use crate::{
    checkpoint::Origin,
    entry::Timestamp,
    tree::{Hash, RangeProof, SIZE_MAX, Sha256},
};

/// Everything that a bundle says of itself. It is not signed: `verify` holds all of it to what is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// `hub.audit-bundle.v1`.
    pub format: String,
    /// The program that wrote it, with its version.
    pub program: String,
    /// The name of the log.
    pub origin: String,
    /// Whose log it is.
    pub tenant_id: Uuid,
    /// The place of the first entry in the tenant's log, from 1.
    pub from: u64,
    /// The place of the last entry.
    pub to: u64,
    /// The earliest time of an entry.
    pub first_at: Timestamp,
    /// The latest time of an entry.
    pub last_at: Timestamp,
    /// The hashes on the left of the range proof.
    pub left: Vec<Hash>,
    /// The hashes on its right.
    pub right: Vec<Hash>,
    /// Every file but the manifest and the members.
    pub files: Vec<FileRecord>,
    /// The files with the entries, in order.
    pub members: Vec<MemberRecord>,
}

/// A file of a bundle.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileRecord {
    /// Its path inside the bundle.
    pub path: String,
    /// Its length.
    pub bytes: u64,
    /// SHA-256 of it.
    pub sha256: Hash,
}

/// A file with entries.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MemberRecord {
    /// Its path inside the bundle.
    pub path: String,
    /// The place of its first entry.
    pub from: u64,
    /// The place of its last entry.
    pub to: u64,
    /// The length of its lines.
    pub content_bytes: u64,
    /// Its length, compressed.
    pub bytes: u64,
    /// SHA-256 of it, compressed.
    pub sha256: Hash,
}

/// Why something is no manifest.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// It is longer than `MANIFEST_BYTES_MAX`.
    #[error("the manifest is longer than {MANIFEST_BYTES_MAX} bytes")]
    TooLong,
    /// It is not the JSON object that it should be.
    #[error("the manifest is malformed: {0}")]
    Format(#[from] serde_json::Error),
    /// It is of another version of the format.
    #[error("the bundle is of the format `{0}`, which this program does not know")]
    Version(String),
    /// It says what cannot be.
    #[error("the manifest is wrong: {0}")]
    Wrong(String),
}

impl FileRecord {
    /// That of a file with these bytes.
    #[must_use]
    pub fn of(path: String, bytes: &[u8]) -> Self {
        Self { path, bytes: bytes.len() as u64, sha256: Sha256::new().with(bytes).finish() }
    }
}

impl Manifest {
    /// Reads a manifest, and sees that every path and size in it is one that a bundle may have.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(bytes: &[u8]) -> Result<Self, ManifestError> {
        #[derive(Deserialize)]
        struct Version {
            format: String,
        }
        if bytes.len() as u64 > MANIFEST_BYTES_MAX {
            return Err(ManifestError::TooLong);
        }
        let version: Version = serde_json::from_slice(bytes)?;
        if version.format != FORMAT {
            return Err(ManifestError::Version(version.format.chars().take(40).collect()));
        }
        let manifest: Self = serde_json::from_slice(bytes)?;
        manifest.check().map_err(ManifestError::Wrong)?;
        Ok(manifest)
    }

    /// As JSON with a newline.
    ///
    /// # Errors
    /// When it would be too long to be read again.
    pub fn to_json(&self) -> Result<String, ManifestError> {
        let json = serde_json::to_string_pretty(self)? + "\n";
        if json.len() as u64 > MANIFEST_BYTES_MAX { Err(ManifestError::TooLong) } else { Ok(json) }
    }

    /// How many entries there should be.
    #[must_use]
    pub fn entry_count(&self) -> u64 {
        self.to - self.from + 1
    }

    /// The range proof in it.
    #[must_use]
    pub fn range_proof(&self) -> RangeProof {
        RangeProof { left: self.left.clone(), right: self.right.clone() }
    }

    /// The file of this path, if there should be one.
    #[must_use]
    pub fn file(&self, path: &str) -> Option<&FileRecord> {
        self.files.iter().find(|file| file.path == path)
    }

    fn check(&self) -> Result<(), String> {
        if self.from == 0 || self.to < self.from || self.to > SIZE_MAX {
            return Err(format!("there are no entries from {} to {}", self.from, self.to));
        }
        if self.origin.parse::<Origin>().ok().and_then(|origin| origin.tenant_id()) != Some(self.tenant_id) {
            return Err("the origin is not that of the tenant's log".to_owned());
        }
        for (index, file) in self.files.iter().enumerate() {
            let bytes_max = match &*file.path {
                LEAVES => leaves_bytes(self.entry_count()),
                CHECKPOINT | PREVIOUS | CONSISTENCY | PLATFORM | KEYS => SMALL_BYTES_MAX,
                _ => return Err("it names a file that no bundle has".to_owned()),
            };
            if file.bytes > bytes_max {
                return Err(format!("{} cannot have {} bytes", file.path, file.bytes));
            }
            if self.files[..index].iter().any(|other| other.path == file.path) {
                return Err(format!("it names {} twice", file.path));
            }
        }
        if let Some(missing) = [LEAVES, CHECKPOINT, KEYS].into_iter().find(|path| self.file(path).is_none()) {
            return Err(format!("it does not name {missing}"));
        }
        self.check_members()
    }

    fn check_members(&self) -> Result<(), String> {
        if self.members.len() > MEMBERS_MAX {
            return Err(format!("it has more than {MEMBERS_MAX} members"));
        }
        let mut next = self.from;
        for (index, member) in self.members.iter().enumerate() {
            if member.path != member_path(index) {
                return Err(format!("the member {index} is not called {}", member_path(index)));
            }
            if member.from < next || member.to < member.from || member.to > self.to {
                return Err(format!("{} is not behind the member before it", member.path));
            }
            if member.content_bytes > MEMBER_BYTES_MAX || member.bytes > PACKED_BYTES_MAX {
                return Err(format!("{} is too long", member.path));
            }
            next = member.to + 1;
        }
        Ok(())
    }
}
