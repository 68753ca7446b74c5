//! A log from its first event to an officer's desk: sealed in parts, handed on, verified, and found out when it was changed.

#![expect(clippy::unwrap_used, reason = "a test says what went wrong by where it panics")]

use std::collections::BTreeMap;

use hub_evidence::{
    checkpoint::{Checkpoint, OrderError, Origin, Witness},
    entry::{Entry, Timestamp},
    key::{SigningKey, VerifierKeys},
    note::Note,
    proof::EntryProof,
    tile::{Tile, TileMap, TileNodes, TileReader, Writer, edge_tiles, needed},
    tree::{
        Frontier, Hash, Node, Nodes, RangeProof, consistency_nodes, inclusion_nodes, prove_consistency,
        prove_inclusion, prove_range, range_nodes,
    },
};
use uuid::Uuid;

const TENANT: Uuid = Uuid::from_u128(7);
const BATCH: usize = 256;

/// What a database keeps for the sealer: tiles by their address, and the last signed checkpoint.
struct Store {
    tiles: BTreeMap<(u8, u64), Vec<u8>>,
    key: SigningKey,
    origin: Origin,
    notes: Vec<Note>,
}

impl Store {
    fn new(key: SigningKey) -> Self {
        Self {
            tiles: BTreeMap::new(),
            key,
            origin: Origin::tenant("hub.example.com", TENANT).unwrap(),
            notes: Vec::new(),
        }
    }

    fn keys(&self) -> VerifierKeys {
        VerifierKeys::new([self.key.verifier_key().clone()]).unwrap()
    }

    fn last(&self) -> Option<Checkpoint> {
        let note = self.notes.last()?.to_string();
        Some(Checkpoint::open(note.as_bytes(), &self.origin, &self.keys()).unwrap().checkpoint)
    }

    /// As one query would fetch them.
    fn fetch(&self, wanted: impl IntoIterator<Item = Tile>) -> TileMap {
        let mut map = TileMap::default();
        for tile in wanted {
            map.insert(tile.level(), tile.index(), self.tiles[&(tile.level(), tile.index())].clone());
        }
        map
    }

    /// What a sealer does that has just been started.
    fn seal(&mut self, leaves: impl IntoIterator<Item = Hash>) {
        let mut writer = match self.last() {
            Some(last) => {
                let edge = self.fetch(edge_tiles(last.size()).unwrap());
                Writer::resume(last.size(), *last.root(), &edge).unwrap()
            }
            None => Writer::new(),
        };
        leaves.into_iter().for_each(|leaf| writer.append(leaf));
        self.tiles.extend(writer.take_changed().into_iter().map(|(tile, bytes)| ((tile.level(), tile.index()), bytes)));
        let checkpoint = Checkpoint::new(self.origin.clone(), writer.size(), writer.root()).unwrap();
        self.notes.push(checkpoint.sign([&self.key]));
    }

    fn nodes(&self, nodes: &[Node], size: u64) -> TileNodes<TileMap> {
        TileNodes::new(self.fetch(needed(nodes, size).unwrap()), size)
    }

    fn consistency(&self, old_size: u64, size: u64) -> Vec<Hash> {
        prove_consistency(&self.nodes(&consistency_nodes(old_size, size).unwrap(), size), old_size, size).unwrap()
    }

    fn range(&self, begin: u64, end: u64, size: u64) -> RangeProof {
        let (left, right) = range_nodes(begin, end, size).unwrap();
        prove_range(&self.nodes(&[left, right].concat(), size), begin, end, size).unwrap()
    }
}

fn entries(count: u64) -> Vec<Entry<'static>> {
    (1..=count)
        .map(|position| Entry {
            tenant_position: position,
            event_id: Uuid::from_u128(position.into()),
            tenant_id: TENANT,
            aggregate_type: "subscription".into(),
            aggregate_id: Uuid::from_u128(1),
            sequence: position.cast_signed(),
            event_type: "subscription.renewed".into(),
            event_version: 1,
            occurred_at: Timestamp::from_micros(position.cast_signed()),
            payload: format!(r#"{{"period":{position}}}"#).into(),
            metadata: "{}".into(),
        })
        .collect()
}

fn sealed(entries: &[Entry<'_>]) -> Store {
    sealed_by(SigningKey::generate("hub.example.com").unwrap(), entries)
}

fn sealed_by(key: SigningKey, entries: &[Entry<'_>]) -> Store {
    let mut store = Store::new(key);
    entries.chunks(BATCH).for_each(|batch| store.seal(batch.iter().map(Entry::leaf_hash)));
    store
}

/// The root that a part of the log leads to.
fn root_of(lines: &str, begin: u64, size: u64, proof: RangeProof) -> Hash {
    let mut frontier = Frontier::from_hashes(begin, proof.left).unwrap();
    for line in lines.lines() {
        let entry = Entry::parse(line).unwrap();
        assert_eq!(entry.leaf_index(), Some(frontier.size()));
        frontier.append(entry.leaf_hash());
    }
    frontier.complete(size, &proof.right).unwrap()
}

#[test]
fn a_log_is_sealed_in_parts_and_each_part_continues_the_one_before() {
    let store = sealed(&entries(1_000));
    let mut witness = Witness::new(store.origin.clone(), store.keys());
    let mut last = 0;
    for note in &store.notes {
        let checkpoint = Checkpoint::parse(note.text()).unwrap();
        let proof = store.consistency(last, checkpoint.size());
        witness.observe(note.to_string().as_bytes(), &proof).unwrap();
        last = checkpoint.size();
    }
    assert_eq!((store.notes.len(), last), (4, 1_000));
}

#[test]
fn a_part_of_a_log_is_verified_from_its_lines() {
    let entries = entries(1_000);
    let store = sealed(&entries);
    let root = *store.last().unwrap().root();
    for (begin, end) in [(0, 1_000), (0, 1), (999, 1_000), (300, 700), (256, 512), (500, 500)] {
        let lines: String = entries[begin..end].iter().map(|entry| entry.to_line().unwrap()).collect();
        let range = || store.range(begin as u64, end as u64, 1_000);
        assert_eq!(root_of(&lines, begin as u64, 1_000, range()), root, "{begin} to {end}");
        if begin < end {
            let changed = lines.replacen(r#"\"period\":"#, r#"\"period\": "#, 1);
            assert_ne!(root_of(&changed, begin as u64, 1_000, range()), root, "{begin} to {end}");
        }
    }
}

#[test]
fn the_entry_that_was_changed_is_found_by_the_tiles() {
    let mut entries = entries(1_000);
    let store = sealed(&entries);
    entries[612].payload = r#"{"period":0}"#.into();
    let leaf_nodes: Vec<Node> = (0..1_000).map(|index| Node { level: 0, index }).collect();
    let nodes = store.nodes(&leaf_nodes, 1_000);
    let first_wrong =
        entries.iter().zip(leaf_nodes).find(|(entry, node)| nodes.hash(*node).unwrap() != entry.leaf_hash());
    assert_eq!(first_wrong.unwrap().0.tenant_position, 613);
}

#[test]
fn an_entry_is_handed_on_alone() {
    let entries = entries(1_000);
    let store = sealed(&entries);
    let nodes = store.nodes(&inclusion_nodes(612, 1_000).unwrap(), 1_000);
    let proof = EntryProof {
        extra: Some(entries[612].to_line().unwrap().into_bytes()),
        index: 612,
        hashes: prove_inclusion(&nodes, 612, 1_000).unwrap(),
        note: store.notes.last().unwrap().clone(),
    };
    let proof = EntryProof::parse(&proof.to_string()).unwrap();
    let (entry, _) = proof.verify_entry(&store.origin, &store.keys()).unwrap();
    assert_eq!(entry, entries[612]);
}

#[test]
fn an_operator_who_signs_another_past_is_found_out() {
    let mut entries = entries(1_000);
    let store = sealed(&entries);
    entries.swap(10, 11);
    let mut rewritten = sealed_by(SigningKey::from_text(&store.key.to_text()).unwrap(), &entries);
    rewritten.seal([Hash([1; 32])]);
    let seen = store.last().unwrap();
    let shown = rewritten.notes.last().unwrap().to_string();
    let shown = Checkpoint::open(shown.as_bytes(), &store.origin, &store.keys()).unwrap().checkpoint;
    let refused = shown.verify_continues(&seen, &rewritten.consistency(1_000, 1_001));
    assert!(matches!(refused, Err(OrderError::Inconsistent { .. })));
    // Nor would the sealer go on from tiles that somebody changed.
    let edge = rewritten.fetch(edge_tiles(1_000).unwrap());
    assert!(edge.tile(Tile::new(0, 3, 232).unwrap()).is_ok());
    assert!(Writer::resume(1_000, *seen.root(), &edge).is_err());
}
