//! Verifies a bundle with nothing but its files, the keys that are trusted and, perhaps, an older checkpoint.

use std::{
    collections::BTreeSet,
    fs, io,
    path::{Path, PathBuf},
};

use super::{
    CHECKPOINT, CONSISTENCY, CheckName, ENTRIES, LEAVES, MANIFEST, MANIFEST_BYTES_MAX, Manifest, ManifestError,
    Outcome, PLATFORM, PREVIOUS, Report, SMALL_BYTES_MAX,
    entries::{Passed, pass},
    members::{differs, lacking},
    write::read_bounded,
};
use crate::{
    checkpoint::{Checkpoint, CheckpointError, Origin},
    key::VerifierKeys,
    note::Note,
    proof::{EntryProof, UpdateProof},
    tree::{Frontier, Hash},
};

/// So many files that are wrong or should not be there are named.
const FILES_NAMED_MAX: usize = 10;

/// What whoever verifies believes.
#[derive(Debug, Clone, Default)]
pub struct Trust {
    /// Whose signatures count: those that came another way than the bundle did.
    pub keys: VerifierKeys,
    /// A signed checkpoint of the log that was kept before.
    pub last: Option<Vec<u8>>,
}

/// Why nothing can be said of a bundle.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// A file or directory cannot be read.
    #[error("cannot read {path}: {source}")]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// There is no manifest.
    #[error("{0} is no bundle: it has no manifest.json")]
    NoBundle(PathBuf),
    /// The manifest is of a format that is not known.
    #[error(transparent)]
    Version(ManifestError),
    /// The older checkpoint cannot be used.
    #[error("the older checkpoint: {0}")]
    Last(CheckpointError),
}

/// Verifies the bundle in `directory`. `progress` is told how many entries of how many are done.
///
/// # Errors
/// When nothing can be said: no bundle, files that cannot be read, an older checkpoint that is none or not of a trusted key. Everything
/// else, however wrong, is a report.
pub fn verify(directory: &Path, trust: &Trust, progress: &mut dyn FnMut(u64, u64)) -> Result<Report, VerifyError> {
    let last = trust.last.as_deref().map(|note| Checkpoint::open_any(note, &trust.keys));
    let last = last.transpose().map_err(VerifyError::Last)?.map(|opened| opened.checkpoint);
    let mut report = Report::new();
    let manifest = match manifest(directory)? {
        Ok(manifest) => manifest,
        Err(wrong) => {
            report.add(CheckName::Manifest, Outcome::Failed, wrong);
            return Ok(report.concluded());
        }
    };
    report.origin = Some(manifest.origin.clone());
    report.tenant_id = Some(manifest.tenant_id);
    (report.from, report.to) = (Some(manifest.from), Some(manifest.to));
    let bundle = Bundle::open(directory, &manifest)?;
    let checkpoint = bundle.signature(trust, &mut report);
    let previous = bundle.file(PREVIOUS).map(|note| Checkpoint::open_any(note, &trust.keys));
    let sizes: Vec<u64> =
        [last.as_ref(), previous.as_ref().and_then(|previous| previous.as_ref().ok().map(|opened| &opened.checkpoint))]
            .into_iter()
            .flatten()
            .map(Checkpoint::size)
            .collect();
    let mut passed = match Frontier::from_hashes(manifest.from - 1, manifest.left.clone()) {
        Ok(frontier) => {
            let passed = pass(directory, &manifest, frontier, &sizes, &mut report, progress);
            Some(passed.map_err(|source| VerifyError::Read { path: directory.to_owned(), source })?)
        }
        Err(error) => {
            report.add(CheckName::Root, Outcome::Failed, format!("the range proof: {error}"));
            None
        }
    };
    if let Some(passed) = &mut passed {
        let right = checkpoint.as_ref().is_some_and(|checkpoint| root(passed, &manifest, checkpoint, &mut report));
        let wrong = if right { &mut passed.wrong_alone } else { &mut passed.wrong };
        (report.first_wrong, report.wrong_count) = (wrong.first.take(), wrong.count);
    }
    report.note(CheckName::Manifest, described(&manifest, &report));
    bundle.files(passed.as_ref(), &mut report);
    let Some(checkpoint) = checkpoint else { return Ok(report.concluded()) };
    // Hashes that lead nowhere say nothing of older roots either.
    let proven = passed.filter(|_| report.outcome(CheckName::Root) == Some(Outcome::Passed));
    let known = Known { checkpoint: &checkpoint, bundle: &bundle, proven };
    match previous {
        None => report.add(CheckName::Previous, Outcome::Absent, "the bundle has no older checkpoint"),
        Some(Err(error)) => report.add(CheckName::Previous, Outcome::Failed, error.to_string()),
        Some(Ok(opened)) => known.continues(CheckName::Previous, &opened.checkpoint, &mut report),
    }
    match last {
        None => report.add(CheckName::Last, Outcome::Absent, "no older checkpoint was given"),
        Some(last) => known.continues(CheckName::Last, &last, &mut report),
    }
    known.platform(trust, &mut report);
    Ok(report.concluded())
}

/// The manifest, or what is wrong with it.
fn manifest(directory: &Path) -> Result<Result<Manifest, String>, VerifyError> {
    let path = directory.join(MANIFEST);
    let bytes = match read_bounded(&path, MANIFEST_BYTES_MAX) {
        Ok(bytes) => bytes,
        Err(error) if lacking(&error) => return Err(VerifyError::NoBundle(directory.to_owned())),
        Err(source) => return Err(VerifyError::Read { path, source }),
    };
    match Manifest::parse(&bytes) {
        Ok(manifest) => Ok(Ok(manifest)),
        Err(error @ ManifestError::Version(_)) => Err(VerifyError::Version(error)),
        Err(error) => Ok(Err(error.to_string())),
    }
}

/// The small files of a bundle, and what is wrong with its files.
struct Bundle<'a> {
    manifest: &'a Manifest,
    small: Vec<(&'a str, Vec<u8>)>,
    wrong: Vec<String>,
}

impl<'a> Bundle<'a> {
    fn open(directory: &Path, manifest: &'a Manifest) -> Result<Self, VerifyError> {
        let mut bundle = Self { manifest, small: Vec::new(), wrong: Vec::new() };
        for file in &manifest.files {
            let path = directory.join(&file.path);
            if file.path == LEAVES {
                let length = fs::symlink_metadata(&path).map(|metadata| metadata.len()).unwrap_or(0);
                if length != file.bytes {
                    bundle.wrong.push(format!("{LEAVES}: its length is not the {} bytes of the manifest", file.bytes));
                }
                continue;
            }
            match read_bounded(&path, SMALL_BYTES_MAX) {
                Ok(bytes) => {
                    if let Some(what) = differs(&bytes, file.bytes, &file.sha256) {
                        bundle.wrong.push(format!("{}: {what}", file.path));
                    }
                    bundle.small.push((&file.path, bytes));
                }
                Err(error) if lacking(&error) => bundle.wrong.push(format!("{}: {error}", file.path)),
                Err(source) => return Err(VerifyError::Read { path, source }),
            }
        }
        bundle.unexpected(directory)?;
        Ok(bundle)
    }

    /// Files that the manifest does not name are no part of what was exported.
    fn unexpected(&mut self, directory: &Path) -> Result<(), VerifyError> {
        let manifest = self.manifest;
        let named: BTreeSet<&str> = manifest.files.iter().map(|file| &*file.path).chain([MANIFEST, ENTRIES]).collect();
        let members: BTreeSet<&str> = manifest.members.iter().map(|member| &*member.path).collect();
        for (place, known) in [(directory.to_owned(), named), (directory.join(ENTRIES), members)] {
            let prefix = if place == *directory { String::new() } else { format!("{ENTRIES}/") };
            let read = |source| VerifyError::Read { path: place.clone(), source };
            let found = match fs::read_dir(&place) {
                Ok(found) => found,
                Err(error) if lacking(&error) => continue,
                Err(source) => return Err(read(source)),
            };
            for file in found {
                let name = format!("{prefix}{}", file.map_err(read)?.file_name().to_string_lossy());
                if !known.contains(&*name) {
                    self.wrong.push(format!("{name:?} should not be there"));
                }
                if self.wrong.len() > FILES_NAMED_MAX {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    fn file(&self, path: &str) -> Option<&[u8]> {
        self.small.iter().find(|(name, _)| *name == path).map(|(_, bytes)| &**bytes)
    }

    /// The checkpoint, also when nobody who is trusted signed it.
    fn signature(&self, trust: &Trust, report: &mut Report) -> Option<Checkpoint> {
        let note = self.file(CHECKPOINT).unwrap_or_default();
        let opened = Checkpoint::open_any(note, &trust.keys);
        let checkpoint = match &opened {
            Ok(opened) => Some(opened.checkpoint.clone()),
            Err(_) => Note::parse(note).ok().and_then(|note| Checkpoint::parse(note.text()).ok()),
        };
        if let Some(checkpoint) = &checkpoint {
            (report.size, report.root) = (Some(checkpoint.size()), Some(*checkpoint.root()));
        }
        let result = opened.map_err(|error| error.to_string()).and_then(|opened| {
            let origin = opened.checkpoint.origin();
            let is_host = |host: &str| Origin::tenant(host, self.manifest.tenant_id).as_ref() == Ok(origin);
            report.signers = opened.signers.iter().map(ToString::to_string).collect();
            if origin.as_str() != self.manifest.origin {
                return Err(format!("the checkpoint is of the log {origin}"));
            }
            if !opened.signers.iter().any(|signer| is_host(signer.name())) {
                return Err(format!("none of the keys that signed it is of the platform of the log {origin}"));
            }
            if opened.checkpoint.size() < self.manifest.to {
                return Err(format!("it covers {} entries only", opened.checkpoint.size()));
            }
            Ok(format!("signed by {}", report.signers.join(", ")))
        });
        report.note(CheckName::Signature, result);
        checkpoint
    }

    fn files(&self, passed: Option<&Passed>, report: &mut Report) {
        let of_pass = passed.into_iter().flat_map(|passed| {
            let leaves = passed.leaves.iter().map(|what| format!("{LEAVES}: {what}"));
            passed.files.iter().cloned().chain(leaves)
        });
        let wrong: Vec<String> = self.wrong.iter().cloned().chain(of_pass).take(FILES_NAMED_MAX).collect();
        let count = self.manifest.files.len() + self.manifest.members.len() + 1;
        let result = if wrong.is_empty() { Ok(format!("{count} files")) } else { Err(wrong.join("; ")) };
        report.note(CheckName::Files, result);
        let entries = match &report.first_wrong {
            None if passed.is_some() => {
                Ok(format!("{} entries of {} streams", report.entry_count, report.stream_count))
            }
            None => Err("they were not read".to_owned()),
            Some(wrong) => Err(format!("the first wrong entry is {}: {}", wrong.position, wrong.what)),
        };
        report.note(CheckName::Entries, entries);
    }
}

/// What the manifest says of times is for people only, but shall be right.
fn described(manifest: &Manifest, report: &Report) -> Result<String, String> {
    let right = (report.first_at, report.last_at) == (Some(manifest.first_at), Some(manifest.last_at));
    if right || report.first_wrong.is_some() {
        Ok(format!("written by {:?}", manifest.program))
    } else {
        Err("it has other times than the entries".to_owned())
    }
}

/// Whether what was sealed leads to the checkpoint. If only the entries do, they are right and the hashes are wrong: this is answered.
fn root(passed: &Passed, manifest: &Manifest, checkpoint: &Checkpoint, report: &mut Report) -> bool {
    let leads = |frontier: &Frontier| {
        if frontier.size() != manifest.to {
            return Err(format!("{LEAVES} ends before the range"));
        }
        let root = frontier.clone().complete(checkpoint.size(), &manifest.right).map_err(|error| error.to_string())?;
        if root == *checkpoint.root() {
            Ok(format!("{} of {} entries lead to it", manifest.entry_count(), checkpoint.size()))
        } else {
            Err(format!("the hashes in {LEAVES} lead to another one, {}", root.to_base64()))
        }
    };
    let result = leads(&passed.sealed);
    let only_entries = result.is_err() && passed.own.as_ref().is_some_and(|own| leads(own).is_ok());
    if only_entries {
        report.warnings.push(format!("the entries lead to the signed root, {LEAVES} does not"));
    } else if result.is_err() && passed.wrong.first.is_some() {
        report.warnings.push(format!("{LEAVES} was changed too, so the first wrong entry may be another one"));
    }
    report.note(CheckName::Root, result);
    only_entries
}

/// What an older checkpoint is compared with.
struct Known<'a> {
    checkpoint: &'a Checkpoint,
    bundle: &'a Bundle<'a>,
    proven: Option<Passed>,
}

impl Known<'_> {
    /// Whether the log continues what `older` says of it.
    fn continues(&self, name: CheckName, older: &Checkpoint, report: &mut Report) {
        if let Some(root) = self.root_at(older.size()).filter(|_| older.origin() == self.checkpoint.origin()) {
            let result = if root == *older.root() {
                Ok(format!("it continues that of {} entries", older.size()))
            } else {
                Err(format!("the first {} entries are not those that were signed then", older.size()))
            };
            return report.note(name, result);
        }
        let proof = match self.consistency() {
            Some(Ok(proof)) if proof.old_size == older.size() => proof.hashes,
            Some(Err(error)) if name == CheckName::Previous => return report.note(name, Err(error)),
            _ if older.origin() != self.checkpoint.origin() || older.size() >= self.checkpoint.size() => Vec::new(),
            _ if name == CheckName::Previous => {
                return report.note(name, Err(format!("{CONSISTENCY} does not begin with it")));
            }
            _ => {
                let what = format!(
                    "the bundle has no proof from {} entries: export with that checkpoint, or from an earlier entry",
                    older.size()
                );
                return report.add(name, Outcome::Unknown, what);
            }
        };
        let result = self.checkpoint.verify_continues(older, &proof);
        report.note(
            name,
            match result {
                Ok(()) => Ok(format!("it continues that of {} entries", older.size())),
                Err(error) => Err(error.to_string()),
            },
        );
    }

    /// The root that the log had at this size, if the range tells it and leads to the checkpoint itself.
    fn root_at(&self, size: u64) -> Option<Hash> {
        self.proven.as_ref()?.roots.get(&size).copied()
    }

    fn consistency(&self) -> Option<Result<UpdateProof, String>> {
        let text = std::str::from_utf8(self.bundle.file(CONSISTENCY)?);
        Some(text.map_err(|error| error.to_string()).and_then(|text| {
            let proof = UpdateProof::parse(text).map_err(|error| error.to_string())?;
            if self.bundle.file(CHECKPOINT) == Some(proof.note.to_string().as_bytes()) {
                Ok(proof)
            } else {
                Err(format!("{CONSISTENCY} is of another checkpoint"))
            }
        }))
    }

    /// Whether the checkpoint stands in the platform's log.
    fn platform(&self, trust: &Trust, report: &mut Report) {
        let Some(bytes) = self.bundle.file(PLATFORM) else {
            report.add(
                CheckName::Platform,
                Outcome::Absent,
                "the bundle does not say where it stands in the platform's log",
            );
            return;
        };
        let result = std::str::from_utf8(bytes).map_err(|error| error.to_string()).and_then(|text| {
            let proof = EntryProof::parse(text).map_err(|error| error.to_string())?;
            let host = self.checkpoint.origin().as_str().split('/').next().unwrap_or_default();
            let origin = Origin::platform(host).map_err(|error| error.to_string())?;
            let leaf = self.checkpoint.leaf_hash();
            let opened = proof.verify(&leaf, &origin, &trust.keys).map_err(|error| error.to_string())?;
            Ok(format!("entry {} of {}", proof.index + 1, opened.checkpoint.size()))
        });
        report.note(CheckName::Platform, result);
    }
}
