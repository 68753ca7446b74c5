//! The examples of `docs/guides/evidence-format.md` against the program.

#![expect(clippy::unwrap_used, reason = "a test says what went wrong by where it panics")]

use hub_evidence::{
    checkpoint::{Checkpoint, Origin},
    entry::Entry,
    key::{SigningKey, VerifierKey, VerifierKeys},
};
use zeroize::Zeroizing;

const GUIDE: &str = include_str!("../../docs/guides/evidence-format.md");

/// The blocks of code, with the language that each begins with.
fn blocks() -> Vec<&'static str> {
    GUIDE.split("```").skip(1).step_by(2).collect()
}

fn block(beginning: &str) -> &'static str {
    blocks()
        .into_iter()
        .find_map(|block| block.split_once('\n').filter(|(_, code)| code.starts_with(beginning)))
        .unwrap()
        .1
}

fn key() -> SigningKey {
    SigningKey::from_seed("hub.example.com", Zeroizing::new([0; 32])).unwrap()
}

#[test]
fn the_entry_of_the_guide_has_the_leaf_it_says() {
    let line = block("{\"tenant_position\"");
    let entry = Entry::parse(line).unwrap();
    assert_eq!(entry.to_line().unwrap(), line);
    assert_eq!(block(&entry.leaf_hash().to_string()), format!("{}\n", entry.leaf_hash()));
    assert!(GUIDE.contains(&format!("Its leaf has {} bytes", entry.leaf_bytes().len())));
}

#[test]
fn the_key_of_the_guide_is_that_of_its_seed() {
    let written: VerifierKey = block("hub.example.com+").trim().parse().unwrap();
    assert_eq!(written, *key().verifier_key());
}

#[test]
fn the_checkpoints_of_the_guide_are_those_of_its_entry() {
    let keys = VerifierKeys::new([key().verifier_key().clone()]).unwrap();
    let entry = Entry::parse(block("{\"tenant_position\"")).unwrap();
    let origin = Origin::tenant("hub.example.com", entry.tenant_id).unwrap();
    let note = block("hub.example.com/tenant/");
    let opened = Checkpoint::open(note.as_bytes(), &origin, &keys).unwrap().checkpoint;
    assert_eq!(opened, Checkpoint::new(origin, 1, entry.leaf_hash()).unwrap());
    assert_eq!(opened.sign([&key()]).to_string(), note);

    assert!(GUIDE.contains(&format!("`{}`", opened.leaf_hash())));
    let platform = Checkpoint::new(Origin::platform("hub.example.com").unwrap(), 1, opened.leaf_hash()).unwrap();
    assert_eq!(block("hub.example.com/platform"), platform.sign([&key()]).to_string());
}
