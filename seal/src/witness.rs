//! The witness: the last checkpoint of the platform's log that this machine has signed, kept in a file beside the key.
//!
//! It is what a database is held to that comes back: one that is behind it, or has another past, was played back from a backup or rewritten,
//! and gets no signature before somebody has decided so. The file is that of one machine. One that is older than the database is fine,
//! since others may have sealed meanwhile; a machine without any believes what it finds.

use std::{
    fs::{self, File},
    io::{self, Write as _},
    path::{Path, PathBuf},
    process,
};

use hub_evidence::{
    checkpoint::{CHECKPOINT_BYTES_MAX, Checkpoint, OrderError},
    tile::{TileNodes, needed},
    tree::{HASH_BYTES, Hash, consistency_nodes, prove_consistency},
};
use sqlx::PgConnection;

use crate::{rows, signer::Signer, turn::PLATFORM_LOG};

/// Gauge: whether the database is not the one that this machine has sealed.
pub(crate) const CONTRADICTED: &str = "hub_seal_witness_contradicted";

/// Longest file: the text, and what its signatures need.
const FILE_BYTES_MAX: u64 = 2 * CHECKPOINT_BYTES_MAX as u64;

/// The file of a machine's witness; cheap to clone.
#[derive(Debug, Clone)]
pub struct WitnessFile(PathBuf);

/// How the database is not the one that was sealed here.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Contradiction {
    /// It does not continue what was signed.
    #[error("the database does not continue the last checkpoint that was signed here: {0}")]
    Past(#[from] OrderError),
    /// The hashes that would show it are not there.
    #[error(
        "the database cannot show that it continues the last checkpoint that was signed here, of {size} leaves: {what}"
    )]
    Unproven {
        /// How many leaves the platform's log had.
        size: u64,
        /// What is wrong with the hashes.
        what: String,
    },
    /// What is in the file is none of our checkpoints.
    #[error("the file of the witness holds no checkpoint that was signed here: {0}")]
    Unreadable(String),
}

impl Contradiction {
    /// In words without numbers.
    #[must_use]
    pub fn what(&self) -> &'static str {
        match self {
            Self::Past(OrderError::Shrunk { .. }) => "the platform's log is shorter than what was signed",
            Self::Past(_) => "the platform's log is another one than what was signed",
            Self::Unproven { .. } => "the platform's log cannot be shown to continue what was signed",
            Self::Unreadable(_) => "the last checkpoint that was signed cannot be read",
        }
    }

    /// How many leaves the platform's log had when it was last signed here; 0 when that is not known.
    #[must_use]
    pub fn kept_size(&self) -> u64 {
        match self {
            Self::Past(
                OrderError::Shrunk { old_size, .. }
                | OrderError::Inconsistent { old_size, .. }
                | OrderError::Forked { size: old_size },
            ) => *old_size,
            Self::Unproven { size, .. } => *size,
            Self::Past(OrderError::Origin { .. }) | Self::Unreadable(_) => 0,
        }
    }
}

impl WitnessFile {
    /// The witness in this file, which need not be there yet.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self(path.into())
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// What is in the file, when there is one; of one that is far too long the beginning.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn read(&self) -> io::Result<Option<Vec<u8>>> {
        let file = match File::open(&self.0) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let mut bytes = Vec::new();
        io::Read::read_to_end(&mut io::Read::take(file, FILE_BYTES_MAX), &mut bytes)?;
        Ok(Some(bytes))
    }

    /// Puts a note in the place of the one before, whole or not at all, and makes sure that it is on the disk.
    ///
    /// # Errors
    /// When it cannot be written; the one before is still there then.
    pub fn write(&self, note: &str) -> io::Result<()> {
        // Processes of one machine may share the file, and one may write for the last time while the next begins.
        let next = self.0.with_extension(format!("witness.{}", process::id()));
        let written = File::create(&next).and_then(|mut file| {
            file.write_all(note.as_bytes())?;
            file.sync_all()
        });
        written.and_then(|()| fs::rename(&next, &self.0)).inspect_err(|_| drop(fs::remove_file(&next)))?;
        self.sync_directory()
    }

    /// Moves the file out of the way, so that this machine believes the next database it finds; answers where it is then.
    ///
    /// # Errors
    /// When it cannot be moved.
    pub fn give_up(&self, size: u64) -> io::Result<PathBuf> {
        let kept = self.0.with_extension(format!("witness.{size}.given-up"));
        fs::rename(&self.0, &kept)?;
        self.sync_directory()?;
        Ok(kept)
    }

    fn sync_directory(&self) -> io::Result<()> {
        let directory = self.0.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        File::open(directory)?.sync_all()
    }
}

/// Holds the database to what `signer` has kept: nothing if there is nothing, or the database continues it.
///
/// # Errors
/// When PostgreSQL does not answer.
pub async fn contradiction(
    connection: &mut PgConnection,
    signer: &Signer,
    kept: Option<&[u8]>,
) -> Result<Option<Contradiction>, sqlx::Error> {
    let Some(kept) = kept else { return Ok(None) };
    match signer.open(PLATFORM_LOG, kept) {
        Ok(kept) => Ok(continued(connection, signer, &kept).await?.err()),
        Err(error) => Ok(Some(Contradiction::Unreadable(error.to_string()))),
    }
}

/// How many leaves the platform's log has in the database.
///
/// # Errors
/// When PostgreSQL does not answer.
pub async fn size(connection: &mut PgConnection) -> Result<u64, sqlx::Error> {
    Ok(tree(connection).await?.map_or(0, |(size, _)| size))
}

async fn tree(connection: &mut PgConnection) -> Result<Option<(u64, Hash)>, sqlx::Error> {
    let tree: Option<(i64, Vec<u8>)> =
        sqlx::query_as(rows::TREE).bind(PLATFORM_LOG).fetch_optional(&mut *connection).await?;
    Ok(tree.map(|(size, root)| {
        // A root of another length is nobody's.
        (u64::try_from(size).unwrap_or_default(), root.try_into().map_or(Hash([0; HASH_BYTES]), Hash))
    }))
}

async fn continued(
    connection: &mut PgConnection,
    signer: &Signer,
    kept: &Checkpoint,
) -> Result<Result<(), Contradiction>, sqlx::Error> {
    let Some((size, root)) = tree(connection).await? else {
        return Ok(Err(OrderError::Shrunk { old_size: kept.size(), new_size: 0 }.into()));
    };
    let found = Checkpoint::new(signer.origin(PLATFORM_LOG), size, root).expect("no position is too large for a tree");
    if size < kept.size() {
        return Ok(found.verify_continues(kept, &[]).map_err(Contradiction::from));
    }
    let unproven = |what: String| Contradiction::Unproven { size: kept.size(), what };
    let tiles = consistency_nodes(kept.size(), size)
        .map_err(|error| error.to_string())
        .and_then(|nodes| needed(&nodes, size).map_err(|error| error.to_string()));
    let tiles = match tiles {
        Ok(tiles) => tiles,
        Err(what) => return Ok(Err(unproven(what))),
    };
    let wanted: Vec<_> = tiles.into_iter().map(|tile| (PLATFORM_LOG, tile)).collect();
    let map = rows::tiles(connection, &wanted).await?.remove(&PLATFORM_LOG).unwrap_or_default();
    let proof = prove_consistency(&TileNodes::new(&map, size), kept.size(), size);
    Ok(match proof {
        Ok(proof) => found.verify_continues(kept, &proof).map_err(Contradiction::from),
        Err(error) => Err(unproven(error.to_string())),
    })
}

/// Keeps what was signed. What cannot be written is told, and sealing goes on: an older witness is still one.
pub(crate) async fn keep(file: &WitnessFile, note: String) -> Result<(), String> {
    let (writer, path) = (file.clone(), file.path().display().to_string());
    let written = tokio::task::spawn_blocking(move || writer.write(&note)).await;
    let error = match written {
        Ok(Ok(())) => return Ok(()),
        Ok(Err(error)) => error.to_string(),
        Err(error) => error.to_string(),
    };
    Err(format!("cannot write {path}: {error}"))
}

#[cfg(test)]
mod tests {
    use super::WitnessFile;

    #[test]
    fn a_note_takes_the_place_of_the_one_before_and_can_be_given_up() {
        let directory = tempfile::tempdir().unwrap();
        let file = WitnessFile::new(directory.path().join("evidence.witness"));
        assert_eq!(file.read().unwrap(), None);
        for note in ["one\n", "two\n"] {
            file.write(note).unwrap();
            assert_eq!(file.read().unwrap().unwrap(), note.as_bytes());
        }
        let kept = file.give_up(7).unwrap();
        assert_eq!(file.read().unwrap(), None);
        assert_eq!(std::fs::read(&kept).unwrap(), b"two\n");
        let names: Vec<_> =
            std::fs::read_dir(directory.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(names, ["evidence.witness.7.given-up"], "nothing else is left behind");
    }

    #[test]
    fn what_cannot_be_written_leaves_the_one_before() {
        let directory = tempfile::tempdir().unwrap();
        let file = WitnessFile::new(directory.path().join("no/such/evidence.witness"));
        assert!(file.write("one\n").is_err());
        assert_eq!(file.read().unwrap(), None);
    }
}
