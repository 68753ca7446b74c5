//! One pass over the entries of a bundle: one thread unpacks the members, some read and hash the lines, one holds each line to the hash
//! that was sealed at its place.

use std::{
    collections::{HashMap, hash_map::RandomState},
    fs::File,
    io::{self, BufReader, Read as _},
    ops::ControlFlow,
    path::Path,
    sync::mpsc::{Receiver, SyncSender, sync_channel},
    thread,
};

use uuid::Uuid;

use super::{
    Manifest, MemberRecord, Report, Wrong,
    digest::{Digested, Line},
    members::{Handed, lacking, read},
    write::regular,
};
use crate::tree::{Frontier, HASH_BYTES, Hash, Sha256};

/// So many threads hash. Each has one chunk of lines in hand, and one may wait before it and one behind it.
const WORKERS: usize = 2;
const CHUNKS_WAITING: usize = 1;

/// Of so many streams the order is followed.
const STREAMS_MAX: usize = 4_000_000;

/// What came of the pass, beside what stands in the report.
pub(super) struct Passed {
    /// Members that are not the files that the manifest names, in words.
    pub(super) files: Vec<String>,
    /// What is wrong with `leaves.bin` as a file.
    pub(super) leaves: Option<String>,
    /// What the sealed hashes come to behind the range.
    pub(super) sealed: Frontier,
    /// What those of the entries come to, if they are others.
    pub(super) own: Option<Frontier>,
    /// The roots at the sizes that were asked for and are in the range.
    pub(super) roots: HashMap<u64, Hash>,
    /// Entries that are wrong if the sealed hashes are right.
    pub(super) wrong: Found,
    /// Entries that are wrong even if the sealed hashes are not.
    pub(super) wrong_alone: Found,
}

/// Entries that are not what they should be.
#[derive(Default)]
pub(super) struct Found {
    pub(super) first: Option<Wrong>,
    pub(super) count: u64,
}

impl Found {
    fn add(&mut self, position: u64, what: String) {
        self.count += 1;
        self.first.get_or_insert(Wrong { position, what });
    }
}

/// Reads every entry. `frontier` is what stands before the range; of `sizes` the roots are wanted.
pub(super) fn pass(
    directory: &Path,
    manifest: &Manifest,
    frontier: Frontier,
    sizes: &[u64],
    report: &mut Report,
    progress: &mut dyn FnMut(u64, u64),
) -> io::Result<Passed> {
    let leaves = Leaves::open(directory, manifest)?;
    let mut checker = Checker::new(manifest, leaves, frontier, sizes, report);
    let kinds = RandomState::new();
    let files = thread::scope(|scope| {
        let (mut before, mut behind) = (Vec::new(), Vec::new());
        for _ in 0..WORKERS {
            let (sender, receiver) = sync_channel(CHUNKS_WAITING);
            before.push(sender);
            let (sender, digested) = sync_channel(CHUNKS_WAITING);
            behind.push(digested);
            let kinds = &kinds;
            scope.spawn(move || work(receiver, &sender, kinds));
        }
        let reader = scope.spawn(move || {
            // In turns, and taken from them in turns, so that everything stays in order.
            let mut turns = before.iter().cycle();
            read(directory, manifest, |handed| match turns.next().map(|worker| worker.send(handed)) {
                Some(Ok(())) => ControlFlow::Continue(()),
                Some(Err(_)) | None => ControlFlow::Break(()),
            })
        });
        checker.check(behind, progress);
        reader.join().expect("reading does not panic")
    })?;
    let mut passed = checker.finish()?;
    passed.files = files;
    Ok(passed)
}

/// Reads and hashes what it is handed, until nothing comes or nobody wants it.
fn work(receiver: Receiver<Handed<Vec<u8>>>, sender: &SyncSender<Handed<Digested>>, kinds: &RandomState) {
    for handed in receiver {
        let handed = match handed {
            Handed::Member(index) => Handed::Member(index),
            Handed::Lines(bytes) => Handed::Lines(Digested::new(bytes, kinds)),
            Handed::Broken(what) => Handed::Broken(what),
        };
        if sender.send(handed).is_err() {
            return;
        }
    }
}

/// `leaves.bin`, as it is read.
struct Leaves {
    file: Option<BufReader<io::Take<File>>>,
    hash: Sha256,
    trouble: Option<String>,
}

impl Leaves {
    fn open(directory: &Path, manifest: &Manifest) -> io::Result<Self> {
        let (mut file, mut trouble) = (None, None);
        match regular(&directory.join(super::LEAVES)) {
            Ok(found) => file = Some(BufReader::new(found.take(super::leaves_bytes(manifest.entry_count())))),
            Err(error) if lacking(&error) => trouble = Some(error.to_string()),
            Err(error) => return Err(error),
        }
        Ok(Self { file, hash: Sha256::new(), trouble })
    }

    /// The next hash, unless the file ends.
    fn next(&mut self) -> io::Result<Option<Hash>> {
        let Some(file) = &mut self.file else { return Ok(None) };
        let mut hash = [0; HASH_BYTES];
        match file.read_exact(&mut hash) {
            Ok(()) => {
                self.hash.update(&hash);
                Ok(Some(Hash(hash)))
            }
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                self.file = None;
                self.trouble = Some("it has fewer hashes than there are entries".to_owned());
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }
}

/// Holds each line to what it should be.
struct Checker<'a> {
    manifest: &'a Manifest,
    report: &'a mut Report,
    leaves: Leaves,
    sealed: Frontier,
    own: Option<Frontier>,
    /// The place of the next entry.
    next: u64,
    member: Option<&'a MemberRecord>,
    /// Nothing can be said of what follows.
    ended: bool,
    sequences: HashMap<(Uuid, u64), i64>,
    latest_micros: i64,
    backwards: u64,
    sizes: Vec<u64>,
    roots: HashMap<u64, Hash>,
    wrong: Found,
    wrong_alone: Found,
    trouble: Option<io::Error>,
}

impl<'a> Checker<'a> {
    fn new(manifest: &'a Manifest, leaves: Leaves, sealed: Frontier, sizes: &[u64], report: &'a mut Report) -> Self {
        let roots = sizes.iter().filter(|size| **size == sealed.size()).map(|size| (*size, sealed.root())).collect();
        Self {
            manifest,
            report,
            leaves,
            sealed,
            own: None,
            next: manifest.from,
            member: None,
            ended: false,
            sequences: HashMap::new(),
            latest_micros: i64::MIN,
            backwards: 0,
            sizes: sizes.to_vec(),
            roots,
            wrong: Found::default(),
            wrong_alone: Found::default(),
            trouble: None,
        }
    }

    fn check(&mut self, workers: Vec<Receiver<Handed<Digested>>>, progress: &mut dyn FnMut(u64, u64)) {
        for handed in workers.iter().cycle().map_while(|worker| worker.recv().ok()) {
            match handed {
                Handed::Member(index) => {
                    self.end_member();
                    self.member = self.manifest.members.get(index);
                    self.begin_member();
                }
                Handed::Lines(digested) => {
                    self.lines(&digested);
                    progress(self.report.entry_count, self.manifest.entry_count());
                }
                Handed::Broken(what) => {
                    self.wrong(self.next.min(self.manifest.to), what);
                    self.ended = true;
                }
            }
            if self.ended {
                return;
            }
        }
        self.end_member();
        if !self.ended && self.next <= self.manifest.to {
            self.wrong(self.next, "it is missing".to_owned());
        }
    }

    fn begin_member(&mut self) {
        if let Some(member) = self.member
            && !self.ended
            && self.next != member.from
        {
            self.wrong(self.next, format!("it is missing: {} begins with {}", member.path, member.from));
            self.ended = true;
        }
    }

    fn end_member(&mut self) {
        if let Some(member) = self.member
            && !self.ended
            && self.next != member.to + 1
        {
            self.wrong(self.next, format!("{} ends before it, and should with {}", member.path, member.to));
            self.ended = true;
        }
    }

    /// Whatever the sealed hashes are.
    fn wrong(&mut self, position: u64, what: String) {
        self.wrong.add(position, what.clone());
        self.wrong_alone.add(position, what);
    }

    fn lines(&mut self, digested: &Digested) {
        for line in &digested.lines {
            let position = self.next;
            match line {
                Ok(line) if position <= self.manifest.to && line.position == position => {
                    self.line(line, digested);
                    continue;
                }
                Ok(line) => self.wrong(position, format!("an entry that says to be {} is in its place", line.position)),
                Err(what) => self.wrong(position, what.clone()),
            }
            self.ended = true;
            return;
        }
    }

    /// Takes a line that stands where it says.
    fn line(&mut self, line: &Line, digested: &Digested) {
        let position = line.position;
        let sealed = self.seal(line.leaf);
        let order = self.order(line, digested);
        self.time(line);
        self.report.entry_count += 1;
        self.report.content_bytes += line.bytes();
        self.next += 1;
        let stranger = || format!("it is of the tenant {}", line.tenant_id);
        let alone = (line.tenant_id != self.manifest.tenant_id).then(stranger);
        let alone = alone.or_else(|| line.fault.clone()).or(order);
        if let Some(what) = &alone {
            self.wrong_alone.add(position, what.clone());
        }
        let unlike = sealed.is_some_and(|sealed| sealed != line.leaf);
        let unlike = unlike.then(|| format!("it is not the entry that was sealed here: {}", digested.name(line)));
        if let Some(what) = unlike.or(alone) {
            self.wrong.add(position, what);
        }
    }

    /// Takes the next sealed hash, and goes on with both trees.
    fn seal(&mut self, leaf: Hash) -> Option<Hash> {
        let sealed = match self.leaves.next() {
            Ok(sealed) => sealed,
            Err(error) => {
                self.trouble = Some(error);
                None
            }
        };
        if sealed != Some(leaf) && self.own.is_none() {
            self.own = Some(self.sealed.clone());
        }
        if let Some(own) = &mut self.own {
            own.append(leaf);
        }
        if let Some(sealed) = sealed {
            self.append(sealed);
        }
        sealed
    }

    fn append(&mut self, sealed: Hash) {
        self.sealed.append(sealed);
        if self.sizes.contains(&self.sealed.size()) {
            self.roots.insert(self.sealed.size(), self.sealed.root());
        }
    }

    /// Each stream counts from 1, and a range begins somewhere in it.
    fn order(&mut self, line: &Line, digested: &Digested) -> Option<String> {
        let full = self.sequences.len() >= STREAMS_MAX;
        let known = match self.sequences.get_mut(&line.stream) {
            Some(last) => Some(std::mem::replace(last, line.sequence)),
            None if full => return None,
            None => {
                self.sequences.insert(line.stream, line.sequence);
                None
            }
        };
        let sequence = line.sequence;
        match known {
            Some(last) if last.checked_add(1) == Some(sequence) => None,
            Some(last) => Some(format!("sequence {sequence} follows {last} in {}", digested.stream(line))),
            None if sequence < 1 || (self.manifest.from == 1 && sequence != 1) => {
                Some(format!("{} begins with sequence {sequence}", digested.stream(line)))
            }
            None => None,
        }
    }

    /// Times come from clocks, of which there may be more than one.
    fn time(&mut self, line: &Line) {
        let at = line.occurred_at;
        self.report.first_at = Some(self.report.first_at.map_or(at, |first| first.min(at)));
        self.report.last_at = Some(self.report.last_at.map_or(at, |last| last.max(at)));
        if at.micros() < self.latest_micros {
            if self.backwards == 0 {
                self.report.warnings.push(format!(
                    "the time of the entry {} is before that of an earlier one: clocks differ",
                    line.position
                ));
            }
            self.backwards += 1;
        }
        self.latest_micros = self.latest_micros.max(at.micros());
    }

    /// Reads the rest of the sealed hashes.
    fn finish(mut self) -> io::Result<Passed> {
        while self.sealed.size() < self.manifest.to {
            match self.leaves.next()? {
                Some(sealed) => self.append(sealed),
                None => break,
            }
        }
        if let Some(error) = self.trouble {
            return Err(error);
        }
        let Leaves { hash, mut trouble, .. } = self.leaves;
        let record = self.manifest.file(super::LEAVES);
        if trouble.is_none() && record.is_none_or(|record| hash.finish() != record.sha256) {
            trouble = Some("its SHA-256 is not what the manifest says".to_owned());
        }
        if self.sequences.len() >= STREAMS_MAX {
            self.report.warnings.push(format!("the order of only {} streams was followed", self.sequences.len()));
        }
        if self.backwards > 1 {
            self.report.warnings.push(format!("{} entries have a time before an earlier one's", self.backwards));
        }
        self.report.stream_count = self.sequences.len() as u64;
        // Entries that end early come to nothing that could be compared.
        let whole = self.next == self.manifest.to + 1;
        Ok(Passed {
            files: Vec::new(),
            leaves: trouble,
            sealed: self.sealed,
            own: self.own.filter(|_| whole),
            roots: self.roots,
            wrong: self.wrong,
            wrong_alone: self.wrong_alone,
        })
    }
}
