use uuid::Uuid;

use super::{EntryProof, ProofTextError, UpdateProof};
use crate::{
    checkpoint::{Checkpoint, Origin},
    entry::{Entry, Timestamp},
    key::{SigningKey, VerifierKeys},
    tree::{MemoryTree, PROOF_HASHES_MAX, ProofError, prove_consistency, prove_inclusion},
};

const TENANT: Uuid = Uuid::from_u128(7);

struct Log {
    key: SigningKey,
    origin: Origin,
    entries: Vec<Entry<'static>>,
    tree: MemoryTree,
}

impl Log {
    fn new(size: u64) -> Self {
        let entries: Vec<_> = (1..=size).map(entry).collect();
        Self {
            key: SigningKey::generate("hub.example.com").unwrap(),
            origin: Origin::tenant("hub.example.com", TENANT).unwrap(),
            tree: entries.iter().map(Entry::leaf_hash).collect(),
            entries,
        }
    }

    fn keys(&self) -> VerifierKeys {
        VerifierKeys::new([self.key.verifier_key().clone()]).unwrap()
    }

    fn checkpoint(&self, size: u64) -> Checkpoint {
        Checkpoint::new(self.origin.clone(), size, self.tree.root(size).unwrap()).unwrap()
    }

    fn entry_proof(&self, index: u64, size: u64) -> EntryProof {
        EntryProof {
            extra: Some(self.entries[index as usize].to_line().unwrap().into_bytes()),
            index,
            hashes: prove_inclusion(&self.tree, index, size).unwrap(),
            note: self.checkpoint(size).sign([&self.key]),
        }
    }

    fn update_proof(&self, old_size: u64, size: u64) -> UpdateProof {
        let hashes = prove_consistency(&self.tree, old_size, size).unwrap();
        UpdateProof { old_size, hashes, note: self.checkpoint(size).sign([&self.key]) }
    }
}

fn entry(position: u64) -> Entry<'static> {
    Entry {
        tenant_position: position,
        event_id: Uuid::from_u128(position.into()),
        tenant_id: TENANT,
        aggregate_type: "subscription".into(),
        aggregate_id: Uuid::from_u128(1),
        sequence: position.cast_signed(),
        event_type: "subscription.renewed".into(),
        event_version: 1,
        occurred_at: Timestamp::from_micros(position.cast_signed()),
        payload: "{}".into(),
        metadata: "{}".into(),
    }
}

#[test]
fn an_entry_is_proven_alone() {
    let log = Log::new(11);
    for size in 1..=11 {
        for index in 0..size {
            let text = log.entry_proof(index, size).to_string();
            let proof = EntryProof::parse(&text).unwrap();
            assert_eq!(proof.to_string(), text);
            let (entry, opened) = proof.verify_entry(&log.origin, &log.keys()).unwrap();
            assert_eq!(entry, log.entries[index as usize]);
            assert_eq!(opened.checkpoint.size(), size);
        }
    }
}

#[test]
fn an_entry_that_was_changed_moved_or_borrowed_is_refused() {
    let log = Log::new(11);
    let (origin, keys) = (&log.origin, &log.keys());
    let changed = Entry { payload: "{ }".into(), ..entry(6) };
    let proof = EntryProof { extra: Some(changed.to_line().unwrap().into_bytes()), ..log.entry_proof(5, 11) };
    assert!(matches!(proof.verify_entry(origin, keys), Err(ProofTextError::Proof(ProofError::Root))));

    let moved = Entry { tenant_position: 7, ..entry(6) };
    let proof = EntryProof { extra: Some(moved.to_line().unwrap().into_bytes()), ..log.entry_proof(5, 11) };
    assert!(matches!(proof.verify_entry(origin, keys), Err(ProofTextError::Elsewhere { position: 7, index: 5 })));

    let elsewhere = Origin::tenant("hub.example.com", Uuid::from_u128(8)).unwrap();
    let refused = log.entry_proof(5, 11).verify_entry(&elsewhere, keys).map(drop);
    assert!(matches!(refused, Err(ProofTextError::Checkpoint(_))));
    let mut borrowed = Log::new(11);
    borrowed.origin = elsewhere.clone();
    let refused = borrowed.entry_proof(5, 11).verify_entry(&elsewhere, &borrowed.keys()).map(drop);
    assert!(matches!(refused, Err(ProofTextError::Tenant(_))));

    for extra in [None, Some(Vec::new()), Some(vec![0xff])] {
        assert!(EntryProof { extra, ..log.entry_proof(5, 11) }.verify_entry(origin, keys).is_err());
    }
    assert!(log.entry_proof(5, 11).verify_entry(origin, &VerifierKeys::default()).is_err());
}

#[test]
fn no_byte_of_a_proof_can_be_changed() {
    let log = Log::new(11);
    let text = log.entry_proof(5, 11).to_string();
    for at in 0..text.len() {
        let mut other = text.clone().into_bytes();
        other[at] ^= 1;
        let verified = String::from_utf8(other).map_err(drop).and_then(|other| {
            let proof = EntryProof::parse(&other).map_err(drop)?;
            proof.verify_entry(&log.origin, &log.keys()).map(drop).map_err(drop)
        });
        assert_eq!(verified, Err(()), "{at}");
    }
}

#[test]
fn a_newer_checkpoint_is_proven_alone() {
    let log = Log::new(11);
    for size in 0..=11 {
        for old_size in 0..=size {
            let text = log.update_proof(old_size, size).to_string();
            let proof = UpdateProof::parse(&text).unwrap();
            assert_eq!(proof.to_string(), text);
            proof.verify(&log.checkpoint(old_size), &log.keys()).unwrap();
            assert!(proof.verify(&log.checkpoint((old_size + 1) % 12), &log.keys()).is_err());
        }
    }
    let mut rewritten = Log::new(11);
    rewritten.tree = (2..13).map(|position| entry(position).leaf_hash()).collect();
    rewritten.key = SigningKey::from_text(&log.key.to_text()).unwrap();
    let refused = rewritten.update_proof(5, 11).verify(&log.checkpoint(5), &log.keys());
    assert!(matches!(refused, Err(ProofTextError::Order(_))));
}

#[test]
fn texts_of_another_form_are_no_proofs() {
    let log = Log::new(11);
    let text = log.entry_proof(5, 11).to_string();
    let hash = format!("{}\n", log.tree.root(1).unwrap().to_base64());
    for other in [
        String::new(),
        text.replace("@v1", "@v2"),
        text.replace("index 5", "index 05"),
        text.replace("index 5\n", ""),
        text.replace("index 5", "index 5 "),
        text.replace("index 5\n", "index 5\nextra AAAA\n"),
        text.replace("extra ", "extra  "),
        text.replace("index 5\n", "index 5\n\n"),
        text.replace("index 5\n", &format!("index 5\n{}", hash.repeat(PROOF_HASHES_MAX))),
        text.replace('\n', "\r\n"),
        format!("\n{text}"),
        text.trim_end().to_owned(),
    ] {
        assert!(EntryProof::parse(&other).is_err(), "{other}");
    }
    let text = log.update_proof(5, 11).to_string();
    for other in [text.replace("old 5", "old 05"), text.replace("old 5\n", ""), text.replace("old 5\n", "old 5\n\n")] {
        assert!(UpdateProof::parse(&other).is_err(), "{other}");
    }
}
