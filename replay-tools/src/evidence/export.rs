//! A part of a tenant's log as a bundle: streamed a page at a time, and gone on with where it was interrupted.
//!
//! Files are written between two pages, by the task that exports: it has nothing else to do.

use std::{path::Path, time::Duration};

use chrono::{DateTime, SecondsFormat, Utc};
use hub_event_store::{event::Recorded, log::Log, log::PAGE_SIZE};
use hub_evidence::{
    bundle::{
        CHECKPOINT, CONSISTENCY, FORMAT, FileRecord, KEYS, LeavesWriter, MANIFEST, MEMBER_ENTRIES_MAX, Manifest,
        MemberRecord, PLATFORM, PREVIOUS, Packer, put,
    },
    checkpoint::Checkpoint,
    entry::Timestamp,
    note::Note,
    proof::{EntryProof, UpdateProof},
    tree::{Frontier, Hash, RangeProof, prove_range, range_nodes},
};
use sqlx::PgPool;
use uuid::Uuid;

use super::{
    EvidenceError, Fault, differs,
    directory::{Asked, Directory, State},
    entry,
    seals::{self, PLATFORM_LOG, Seals, WAIT_MAX, signed, unusable},
};

/// So many faults are named.
pub const FAULTS_NAMED_MAX: usize = 100;

/// Where a range begins or ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bound {
    /// With the event of this place in the tenant's log, from 1.
    Position(u64),
    /// With the first event from this moment on, or with the last one before it.
    Time(DateTime<Utc>),
}

/// What is exported.
#[derive(Debug, Clone)]
pub struct Request {
    /// Whose log.
    pub tenant_id: Uuid,
    /// Where it begins; with the first event when absent.
    pub from: Option<Bound>,
    /// Where it ends; with the last event when absent.
    pub to: Option<Bound>,
    /// An older signed checkpoint, from which it is to be proven that nothing was changed.
    pub last: Option<String>,
    /// Whether faults are written down as they are, for others to see, rather than refused.
    pub as_is: bool,
    /// So many entries a member has at most.
    pub member_entry_count_max: u64,
    /// So long it is waited for what is not sealed yet.
    pub seal_wait: Duration,
    /// The program and its version.
    pub program: String,
}

/// What was exported.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exported {
    /// The place of the first event.
    pub from: u64,
    /// The place of the last one.
    pub to: u64,
    /// How many events are covered by the checkpoint.
    pub size: u64,
    /// How many events were there.
    pub entry_count: u64,
    /// How many members had been finished before.
    pub kept_member_count: usize,
    /// How the log is not what was sealed, at most `FAULTS_NAMED_MAX`.
    pub faults: Vec<Fault>,
}

impl Request {
    /// The whole log of a tenant.
    #[must_use]
    pub fn of_tenant(tenant_id: Uuid, program: impl Into<String>) -> Self {
        Self {
            tenant_id,
            from: None,
            to: None,
            last: None,
            as_is: false,
            member_entry_count_max: MEMBER_ENTRIES_MAX,
            seal_wait: WAIT_MAX,
            program: program.into(),
        }
    }

    fn asked(&self) -> Asked {
        let text = |bound: Bound| match bound {
            Bound::Position(position) => position.to_string(),
            Bound::Time(time) => time.to_rfc3339_opts(SecondsFormat::Micros, true),
        };
        Asked {
            tenant_id: self.tenant_id,
            from: self.from.map(text),
            to: self.to.map(text),
            last: self.last.clone(),
            as_is: self.as_is,
        }
    }
}

/// What is about to be exported.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Planned {
    /// Whose log.
    pub tenant_id: Uuid,
    /// The place of the first event.
    pub from: u64,
    /// The place of the last one.
    pub to: u64,
    /// How many events are covered by the checkpoint.
    pub size: u64,
    /// Their root, in base64.
    pub root: String,
}

/// As [`export_announced`], told to nobody.
///
/// # Errors
/// See there.
pub async fn export(
    pool: &PgPool,
    request: &Request,
    directory: &Path,
    progress: impl FnMut(i64, i64) + Send,
) -> Result<Exported, EvidenceError> {
    export_announced(pool, request, directory, async |_| Ok(()), progress).await
}

/// Writes the bundle into `directory`, which is made. `announce` is told what is exported before any event is read, and nothing is exported
/// when it fails; an export that goes on is announced again. When it is interrupted, the same request goes on. `progress` is told how many
/// events of how many are done.
///
/// # Errors
/// When the range is not there or not sealed, the log is not what was sealed (unless `as_is`), the directory holds something else,
/// it cannot be announced, or PostgreSQL or the disk give up.
pub async fn export_announced(
    pool: &PgPool,
    request: &Request,
    directory: &Path,
    announce: impl AsyncFnOnce(&Planned) -> Result<(), String>,
    progress: impl FnMut(i64, i64) + Send,
) -> Result<Exported, EvidenceError> {
    let asked = request.asked();
    let (directory, state) = Directory::open(directory, &asked)?;
    let seals = Seals(pool);
    let state = match state {
        Some(state) => state,
        None => {
            let state = begin(&seals, request, asked).await?;
            directory.begin(&state)?;
            state
        }
    };
    let kept = seals.from(request.tenant_id, state.size).await?.filter(|kept| kept.size() == state.size);
    let kept = kept.ok_or_else(|| unusable(format!("the checkpoint of {} events is gone", state.size)))?;
    let (note, checkpoint) = kept.read()?;
    let planned = Planned {
        tenant_id: request.tenant_id,
        from: state.from,
        to: state.to,
        size: state.size,
        root: checkpoint.root().to_base64(),
    };
    announce(&planned).await.map_err(EvidenceError::Unannounced)?;
    let (left, right) = range_nodes(state.from - 1, state.to, state.size).map_err(unusable)?;
    let nodes = seals.nodes(request.tenant_id, &[left, right].concat(), state.size).await?;
    let range = prove_range(&nodes, state.from - 1, state.to, state.size).map_err(unusable)?;
    let mut export = Export {
        log: Log::new(pool.clone()),
        frontier: Frontier::from_hashes(state.from - 1, range.left.clone()).map_err(unusable)?,
        leaves: LeavesWriter::create(&directory.path).map_err(|source| directory.failed(source))?,
        seals,
        request,
        directory: &directory,
        state: &state,
        members: Vec::new(),
        next: state.from,
        times: None,
        done: Exported {
            from: state.from,
            to: state.to,
            size: state.size,
            entry_count: 0,
            kept_member_count: 0,
            faults: Vec::new(),
        },
        progress,
    };
    export.finished().await?;
    export.rest().await?;
    directory.keep_only(&export.members)?;
    let files = export.proofs(&kept, &note, &checkpoint, &range).await?;
    export.finish(range, checkpoint, files)
}

/// Settles what is exported, and waits until it is sealed.
async fn begin(seals: &Seals<'_>, request: &Request, asked: Asked) -> Result<State, EvidenceError> {
    let tenant = request.tenant_id;
    let sealed = seals.last(tenant).await?.map_or(0, |kept| kept.size());
    // What was sealed and is gone is asked for too.
    let head = seals.head(tenant).await?.max(sealed);
    let from = match request.from {
        None => 1,
        Some(Bound::Position(position)) => position,
        Some(Bound::Time(time)) => seals.first_at(tenant, time).await?,
    };
    let to = match request.to {
        None => head,
        Some(Bound::Position(position)) => position,
        Some(Bound::Time(time)) => seals.last_before(tenant, time).await?,
    };
    if head == 0 {
        return Err(EvidenceError::Range(format!("the tenant {tenant} has no events")));
    }
    if from == 0 || to < from || to > head {
        return Err(EvidenceError::Range(format!("there are no events from {from} to {to}: the tenant has {head}")));
    }
    let size = seals.covering(tenant, to, request.seal_wait).await?.size();
    Ok(State { asked, from, to, size })
}

/// An export under way.
struct Export<'a, P> {
    log: Log,
    seals: Seals<'a>,
    request: &'a Request,
    directory: &'a Directory,
    state: &'a State,
    leaves: LeavesWriter,
    frontier: Frontier,
    members: Vec<MemberRecord>,
    /// The place of the next event.
    next: u64,
    times: Option<(Timestamp, Timestamp)>,
    done: Exported,
    progress: P,
}

impl<P: FnMut(i64, i64) + Send> Export<'_, P> {
    /// The sealed hashes of the next events.
    async fn sealed(&self, count: u64) -> Result<Vec<Hash>, EvidenceError> {
        let end = self.state.to.min(self.next - 1 + count);
        self.seals.leaves(self.request.tenant_id, self.next - 1, end, self.state.size).await
    }

    fn seal(&mut self, leaf: Hash) -> Result<(), EvidenceError> {
        self.leaves.add(&leaf).map_err(|source| self.directory.failed(source))?;
        self.frontier.append(leaf);
        self.next += 1;
        Ok(())
    }

    fn saw(&mut self, first: Timestamp, last: Timestamp) {
        self.times = Some(self.times.map_or((first, last), |(from, to)| (from.min(first), to.max(last))));
        (self.progress)(signed(self.next - self.state.from), signed(self.state.to - self.state.from + 1));
    }

    fn fault(&mut self, fault: Fault) -> Result<(), EvidenceError> {
        if !self.request.as_is {
            return Err(EvidenceError::Fault(fault));
        }
        if self.done.faults.len() < FAULTS_NAMED_MAX {
            self.done.faults.push(fault);
        }
        Ok(())
    }

    /// Keeps the members that were finished before, as far as they are what was sealed.
    async fn finished(&mut self) -> Result<(), EvidenceError> {
        while self.next <= self.state.to {
            let leaves = self.sealed(self.request.member_entry_count_max.min(MEMBER_ENTRIES_MAX)).await?;
            let Some(member) = self.directory.finished(self.members.len(), self.next, &leaves) else { return Ok(()) };
            let count = member.record.to + 1 - member.record.from;
            for leaf in leaves.into_iter().take(usize::try_from(count).unwrap_or(usize::MAX)) {
                self.seal(leaf)?;
            }
            self.members.push(member.record);
            self.done.kept_member_count += 1;
            self.done.entry_count += count;
            self.saw(member.first_at, member.last_at);
        }
        Ok(())
    }

    /// Writes the members that are not there yet.
    async fn rest(&mut self) -> Result<(), EvidenceError> {
        let mut packer = self.packer()?;
        while self.next <= self.state.to {
            let limit = PAGE_SIZE.min(signed(self.state.to + 1 - self.next));
            let page = self.log.page_of_tenant(self.request.tenant_id, signed(self.next - 1), limit).await?;
            let page: Vec<Recorded> =
                page.into_iter().filter(|event| event.tenant_position.unsigned_abs() <= self.state.to).collect();
            // A page with a hole in it reaches further; without events, nothing is left.
            let until = page.last().map_or(self.state.to, |event| event.tenant_position.unsigned_abs());
            let mut sealed = self.sealed(until + 1 - self.next).await?.into_iter();
            for event in page {
                self.missing(event.tenant_position.unsigned_abs() - 1, &mut sealed)?;
                let entry = entry(&event);
                let leaf = sealed.next().ok_or_else(|| unusable("hashes are missing"))?;
                if leaf != entry.leaf_hash() {
                    self.fault(differs(&entry))?;
                }
                let position = entry.tenant_position;
                packer.add(&entry).map_err(|source| EvidenceError::Entry { position, source })?;
                self.seal(leaf)?;
                self.done.entry_count += 1;
                self.saw(entry.occurred_at, entry.occurred_at);
                if packer.full(self.request.member_entry_count_max) {
                    let full = std::mem::replace(&mut packer, self.packer()?);
                    self.put(full)?;
                }
            }
            self.missing(until, &mut sealed)?;
        }
        self.put(packer)
    }

    fn packer(&self) -> Result<Packer, EvidenceError> {
        Packer::new().map_err(|source| self.directory.failed(source))
    }

    fn put(&mut self, packer: Packer) -> Result<(), EvidenceError> {
        let packed = packer.finish().map_err(|source| self.directory.failed(source))?;
        if let Some(packed) = packed {
            self.members.push(self.directory.put(&packed, self.members.len())?);
        }
        Ok(())
    }

    /// Passes over events that should be there, up to and with `until`.
    fn missing(&mut self, until: u64, sealed: &mut impl Iterator<Item = Hash>) -> Result<(), EvidenceError> {
        while self.next <= until {
            self.fault(Fault::Missing(self.next))?;
            let leaf = sealed.next().ok_or_else(|| unusable("hashes are missing"))?;
            self.seal(leaf)?;
        }
        Ok(())
    }

    /// Writes what ties the entries to the signed checkpoint, that to older ones and to the platform's log.
    async fn proofs(
        &mut self,
        kept: &seals::Kept,
        note: &Note,
        checkpoint: &Checkpoint,
        range: &RangeProof,
    ) -> Result<Vec<FileRecord>, EvidenceError> {
        let root = self.frontier.clone().complete(checkpoint.size(), &range.right).map_err(unusable)?;
        if root != *checkpoint.root() {
            self.fault(Fault::Root)?;
        }
        let mut texts = vec![(CHECKPOINT, kept.note.clone())];
        let keys = seals::keys(self.seals.0).await?;
        texts.push((KEYS, keys.iter().map(|key| format!("{}\n", key.verifier_key)).collect()));
        let index = kept.platform_index()?;
        let platform = self.seals.last(PLATFORM_LOG).await?.ok_or_else(|| unusable("the platform's log is gone"))?;
        let hashes = self.seals.inclusion(PLATFORM_LOG, index, platform.size()).await?;
        let (platform, _) = platform.read()?;
        texts.push((PLATFORM, EntryProof { extra: None, index, hashes, note: platform }.to_string()));
        if let Some(previous) = self.previous().await? {
            let older = Note::parse(previous.as_bytes()).map_err(unusable)?;
            let older = Checkpoint::parse(older.text()).map_err(unusable)?;
            let (tenant, size) = (self.request.tenant_id, checkpoint.size());
            let hashes = if older.size() > 0 && older.size() < size {
                self.seals.consistency(tenant, older.size(), size).await?
            } else {
                Vec::new()
            };
            if let Err(error) = checkpoint.verify_continues(&older, &hashes) {
                self.fault(Fault::Order(error.to_string()))?;
            }
            let proof = UpdateProof { old_size: older.size(), hashes, note: note.clone() };
            texts.extend([(PREVIOUS, previous), (CONSISTENCY, proof.to_string())]);
        }
        let path = &self.directory.path;
        let files = texts.iter().map(|(name, text)| put(path, *name, text.as_bytes()));
        files.collect::<Result<_, _>>().map_err(|source| self.directory.failed(source))
    }

    /// The older checkpoint that was given, or the one before the range.
    async fn previous(&self) -> Result<Option<String>, EvidenceError> {
        if self.request.last.is_some() {
            return Ok(self.request.last.clone());
        }
        let before = self.seals.before(self.request.tenant_id, self.state.from - 1).await?;
        Ok(before.map(|kept| kept.note))
    }

    fn finish(
        self,
        range: RangeProof,
        checkpoint: Checkpoint,
        mut files: Vec<FileRecord>,
    ) -> Result<Exported, EvidenceError> {
        let directory = self.directory;
        files.push(self.leaves.finish().map_err(|source| directory.failed(source))?);
        let (first_at, last_at) = self.times.unwrap_or((Timestamp::from_micros(0), Timestamp::from_micros(0)));
        let manifest = Manifest {
            format: FORMAT.to_owned(),
            program: self.request.program.clone(),
            origin: checkpoint.origin().to_string(),
            tenant_id: self.request.tenant_id,
            from: self.state.from,
            to: self.state.to,
            first_at,
            last_at,
            left: range.left,
            right: range.right,
            files,
            members: self.members,
        };
        let json = manifest.to_json()?;
        put(&directory.path, MANIFEST, json.as_bytes()).map_err(|source| directory.failed(source))?;
        directory.end()?;
        Ok(self.done)
    }
}
