//! A log that was signed, and bundles of it as an honest or a dishonest exporter writes them.

use std::fs;

use hub_evidence::{
    bundle::{
        CHECKPOINT, CONSISTENCY, ENTRIES, FORMAT, KEYS, LeavesWriter, MANIFEST, Manifest, PLATFORM, PREVIOUS, Packer,
        Trust, member_path, put,
    },
    checkpoint::{Checkpoint, Origin},
    entry::{Entry, Timestamp},
    key::{SigningKey, VerifierKeys},
    proof::{EntryProof, UpdateProof},
    tree::{Hash, MemoryTree, prove_consistency, prove_inclusion, prove_range},
};
use tempfile::TempDir;
use uuid::Uuid;
use zeroize::Zeroizing;

const TENANT: Uuid = Uuid::from_u128(7);

pub(super) fn key() -> SigningKey {
    SigningKey::from_seed("hub.example.com", Zeroizing::new([3; 32])).unwrap()
}

pub(super) fn trust() -> Trust {
    Trust { keys: VerifierKeys::new([key().verifier_key().clone()]).unwrap(), last: None }
}

pub(super) fn entry(position: u64) -> Entry<'static> {
    Entry {
        tenant_position: position,
        event_id: Uuid::from_u128(0x0193_6b2e_7c4d_7f10_9a3b_0000_0000_0000 + u128::from(position)),
        tenant_id: TENANT,
        aggregate_type: "subscription".into(),
        aggregate_id: Uuid::from_u128(u128::from(position % 10)),
        sequence: (1 + (position - 1) / 10).cast_signed(),
        event_type: "subscription.period_opened".into(),
        event_version: 1,
        occurred_at: Timestamp::from_micros(1_700_000_000_000_000 + position.cast_signed()),
        payload: format!(
            r#"{{"period":{position},"plan":{{"code":"mail","name":"Mail für alle","tier":"basic"}},"price":{{"minor":{},"currency":"EUR"}},"seats":3}}"#,
            position * 5 % 9_000
        )
        .into(),
        metadata: format!(
            r#"{{"actor":"key:01936b2e-7c4d-7f10-9a3b-5d2e8c1f0a47","command_id":"01936b2e-7c4d-7f10-9a3b-{position:012x}","correlation_id":"01936b2e-7c4d-7f10-9a3b-{position:012x}"}}"#
        )
        .into(),
    }
}

/// A log that was signed, and another one that may be shown in its place.
pub(super) struct Log {
    tree: MemoryTree,
    size: u64,
}

impl Log {
    pub(super) fn of(size: u64, entry: impl Fn(u64) -> Entry<'static>) -> Self {
        let mut tree = MemoryTree::default();
        (1..=size).for_each(|position| tree.append(entry(position).leaf_hash()));
        Self { tree, size }
    }

    pub(super) fn checkpoint(&self, size: u64) -> Checkpoint {
        Checkpoint::new(Origin::tenant("hub.example.com", TENANT).unwrap(), size, self.tree.root(size).unwrap())
            .unwrap()
    }

    pub(super) fn note(&self, size: u64) -> Vec<u8> {
        self.checkpoint(size).sign([&key()]).to_string().into_bytes()
    }

    /// What an honest or dishonest exporter writes: these entries, in members of so many, with the hashes of the log.
    pub(super) fn export(
        &self,
        from: u64,
        to: u64,
        count: u64,
        previous: Option<u64>,
        entry: impl Fn(u64) -> Entry<'static>,
    ) -> TempDir {
        let directory = tempfile::tempdir().unwrap();
        let bundle = directory.path();
        fs::create_dir(bundle.join(ENTRIES)).unwrap();
        let note = self.checkpoint(self.size).sign([&key()]);
        let mut leaves = LeavesWriter::create(bundle).unwrap();
        let (mut members, mut packer) = (Vec::new(), Packer::new().unwrap());
        for position in from..=to {
            let index = position - 1;
            leaves
                .add(
                    &hub_evidence::tree::Nodes::hash(&self.tree, hub_evidence::tree::Node { level: 0, index }).unwrap(),
                )
                .unwrap();
            packer.add(&entry(position)).unwrap();
            if packer.full(count) || position == to {
                let packed = std::mem::replace(&mut packer, Packer::new().unwrap()).finish().unwrap().unwrap();
                members.push(packed.put(bundle, member_path(members.len())).unwrap());
            }
        }
        let mut files = vec![
            leaves.finish().unwrap(),
            put(bundle, CHECKPOINT, note.to_string().as_bytes()).unwrap(),
            put(bundle, KEYS, format!("{}\n", key().verifier_key()).as_bytes()).unwrap(),
        ];
        let mut platform = MemoryTree::default();
        for leaf in [Hash([1; 32]), self.checkpoint(self.size).leaf_hash(), Hash([2; 32])] {
            platform.append(leaf);
        }
        let origin = Origin::platform("hub.example.com").unwrap();
        let platform_note = Checkpoint::new(origin, 3, platform.root(3).unwrap()).unwrap().sign([&key()]);
        let hashes = prove_inclusion(&platform, 1, 3).unwrap();
        let proof = EntryProof { extra: None, index: 1, hashes, note: platform_note };
        files.push(put(bundle, PLATFORM, proof.to_string().as_bytes()).unwrap());
        if let Some(old_size) = previous {
            files.push(put(bundle, PREVIOUS, &self.note(old_size)).unwrap());
            let hashes = prove_consistency(&self.tree, old_size, self.size).unwrap();
            let proof = UpdateProof { old_size, hashes, note };
            files.push(put(bundle, CONSISTENCY, proof.to_string().as_bytes()).unwrap());
        }
        let range = prove_range(&self.tree, from - 1, to, self.size).unwrap();
        let manifest = Manifest {
            format: FORMAT.to_owned(),
            program: "a test".to_owned(),
            origin: self.checkpoint(1).origin().to_string(),
            tenant_id: TENANT,
            from,
            to,
            first_at: entry(from).occurred_at,
            last_at: entry(to).occurred_at,
            left: range.left,
            right: range.right,
            files,
            members,
        };
        put(bundle, MANIFEST, manifest.to_json().unwrap().as_bytes()).unwrap();
        directory
    }
}
