//! Bundles: a whole one is valid, and whatever is changed in one is found and named.

#![expect(clippy::unwrap_used, reason = "a test says what went wrong by where it panics")]

mod log;

use std::{fs, path::Path, time::Instant};

use hub_evidence::{
    bundle::{
        CHECKPOINT, CONSISTENCY, CheckName, KEYS, LEAVES, MANIFEST, Outcome, PLATFORM, PREVIOUS, Report, Trust,
        VerifyError, member_path, put, verify,
    },
    entry::{Entry, Timestamp},
    key::{SigningKey, VerifierKeys},
    tree::leaf_hash,
};
use serde::de::IgnoredAny;
use serde_json::Value;
use tempfile::TempDir;
use uuid::Uuid;

use self::log::{Log, entry, trust};

fn verified(directory: &Path, trust: &Trust) -> Report {
    verify(directory, trust, &mut |_, _| {}).unwrap()
}

fn failed(report: &Report) -> Vec<CheckName> {
    report
        .checks
        .iter()
        .filter(|check| check.outcome != Outcome::Passed && check.outcome != Outcome::Absent)
        .map(|check| check.name)
        .collect()
}

fn wrong(report: &Report) -> Option<(u64, &str)> {
    report.first_wrong.as_ref().map(|wrong| (wrong.position, &*wrong.what))
}

#[test]
fn a_whole_bundle_is_valid_wherever_it_begins_and_ends() {
    let log = Log::of(1_000, entry);
    for (from, to, previous) in [
        (1, 1_000, None),
        (1, 1, None),
        (1_000, 1_000, Some(700)),
        (301, 700, Some(256)),
        (257, 512, Some(256)),
        (2, 999, Some(1)),
    ] {
        let bundle = log.export(from, to, 100, previous, entry);
        let report = verified(bundle.path(), &trust());
        assert!(report.valid, "{report:#?}");
        assert_eq!((report.entry_count, report.size, &report.first_wrong), (to - from + 1, Some(1_000), &None));
        assert_eq!(report.outcome(CheckName::Platform), Some(Outcome::Passed));
        assert!(report.warnings.is_empty(), "{report:#?}");
    }
}

#[test]
fn an_older_checkpoint_is_continued_or_it_is_said_why_not() {
    let log = Log::of(1_000, entry);
    let mut other = entry(5);
    other.payload = "{}".into();
    let forged = Log::of(1_001, |position| if position == 5 { other.clone() } else { entry(position) });
    let with = |note: Vec<u8>| Trust { last: Some(note), ..trust() };
    let bundle = log.export(301, 700, 100, Some(256), entry);
    let outcome = |note| {
        let report = verified(bundle.path(), &with(note));
        let valid = report.valid;
        (report.checks.into_iter().find(|check| check.name == CheckName::Last).unwrap(), valid)
    };
    for size in [300, 301, 555, 700, 256, 1_000] {
        assert_eq!(outcome(log.note(size)).0.outcome, Outcome::Passed, "{size}");
    }
    let (unknown, valid) = outcome(log.note(100));
    assert_eq!((unknown.outcome, valid), (Outcome::Unknown, false));
    for size in [300, 555, 256, 1_000, 1_001] {
        let (check, valid) = outcome(forged.note(size));
        assert_eq!((check.outcome, valid), (Outcome::Failed, false), "{size}: {check:?}");
    }
    let stranger = SigningKey::generate("hub.example.com").unwrap();
    let unsigned = log.checkpoint(500).sign([&stranger]).to_string().into_bytes();
    let refused = verify(bundle.path(), &with(unsigned), &mut |_, _| {});
    assert!(matches!(refused, Err(VerifyError::Last(_))));
}

#[test]
fn an_exporter_that_changes_entries_is_found_out_and_the_first_is_named() {
    let log = Log::of(1_000, entry);
    let changed = |position: u64| {
        let mut entry = entry(position);
        match position {
            612 => entry.payload = r#"{"period":0}"#.into(),
            700 => entry.occurred_at = Timestamp::from_micros(0),
            _ => {}
        }
        entry
    };
    let report = verified(log.export(1, 1_000, 100, None, changed).path(), &trust());
    assert_eq!(failed(&report), [CheckName::Entries]);
    assert_eq!((wrong(&report).unwrap().0, report.wrong_count), (612, 2));
    let swapped = |position: u64| match position {
        400 => Entry { tenant_position: 400, ..entry(401) },
        401 => Entry { tenant_position: 401, ..entry(400) },
        _ => entry(position),
    };
    let report = verified(log.export(1, 1_000, 100, None, swapped).path(), &trust());
    let (position, what) = wrong(&report).unwrap();
    assert_eq!((position, report.wrong_count), (400, 2));
    assert!(what.starts_with("it is not the entry that was sealed here"), "{what}");
    // One is left out and the others move up: what stands last was never sealed there.
    let shorter = |position: u64| {
        if position < 50 { entry(position) } else { Entry { tenant_position: position, ..entry(position + 1) } }
    };
    assert_eq!(wrong(&verified(log.export(1, 999, 100, None, shorter).path(), &trust())).unwrap().0, 50);
}

#[test]
fn a_log_that_was_signed_may_still_be_out_of_order() {
    for (label, fault, position) in [
        (
            "follows",
            Box::new(|position| if position == 31 { Entry { sequence: 9, ..entry(31) } } else { entry(position) })
                as Box<dyn Fn(u64) -> Entry<'static>>,
            31,
        ),
        ("begins with", Box::new(|position| Entry { sequence: entry(position).sequence + 1, ..entry(position) }), 1),
        (
            "is of the tenant",
            Box::new(
                |position| if position == 8 { Entry { tenant_id: Uuid::nil(), ..entry(8) } } else { entry(position) },
            ),
            8,
        ),
        (
            "payload is no JSON",
            Box::new(
                |position| if position == 9 { Entry { payload: "{".into(), ..entry(9) } } else { entry(position) },
            ),
            9,
        ),
    ] {
        let bundle = Log::of(100, &*fault).export(1, 100, 30, None, &*fault);
        let report = verified(bundle.path(), &trust());
        let (found, what) = wrong(&report).unwrap();
        assert_eq!(found, position, "{label}");
        assert!(what.contains(label), "{what}");
        assert_eq!(failed(&report), [CheckName::Entries]);
    }
    let backwards =
        |position: u64| Entry { occurred_at: Timestamp::from_micros(-position.cast_signed()), ..entry(position) };
    let bundle = Log::of(100, backwards).export(1, 100, 30, None, backwards);
    edit(&bundle, |manifest| {
        let (first, last) = (manifest["first_at"].take(), manifest["last_at"].take());
        (manifest["first_at"], manifest["last_at"]) = (last, first);
    });
    let report = verified(bundle.path(), &trust());
    assert!(report.valid && report.warnings.len() == 2, "{report:#?}");
}

fn edit(bundle: &TempDir, change: impl FnOnce(&mut Value)) {
    let file = bundle.path().join(MANIFEST);
    let mut manifest: Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
    change(&mut manifest);
    fs::write(file, manifest.to_string()).unwrap();
}

#[test]
fn a_byte_that_is_flipped_in_any_file_is_found() {
    let log = Log::of(300, entry);
    let bundle = log.export(101, 290, 100, Some(64), entry);
    let whole = verified(bundle.path(), &trust());
    assert!(whole.valid, "{whole:#?}");
    let files = [
        CHECKPOINT,
        PREVIOUS,
        CONSISTENCY,
        PLATFORM,
        KEYS,
        LEAVES,
        MANIFEST,
        "entries/000000.ndjson.zst",
        "entries/000001.ndjson.zst",
    ];
    for file in files {
        let path = bundle.path().join(file);
        let bytes = fs::read(&path).unwrap();
        for at in (0..bytes.len()).step_by(1 + bytes.len() / 60) {
            let mut flipped = bytes.clone();
            flipped[at] ^= 0x01;
            fs::write(&path, &flipped).unwrap();
            match verify(bundle.path(), &trust(), &mut |_, _| {}) {
                // The name of the program is for people, and nothing depends on how the manifest is laid out.
                Ok(report) if file == MANIFEST && report.valid => {
                    let before = String::from_utf8_lossy(&flipped[at.saturating_sub(30)..=at]);
                    assert!(before.contains("program"), "{at}: {before}");
                }
                Ok(report) => assert!(!report.valid, "{file} at {at}"),
                Err(error) => assert!(matches!(error, VerifyError::Version(_)), "{file} at {at}: {error}"),
            }
        }
        // Behind its last brace the manifest has a newline.
        for length in [0, bytes.len() / 2, bytes.len() - 2] {
            fs::write(&path, &bytes[..length]).unwrap();
            assert!(!verified(bundle.path(), &trust()).valid, "{file} cut at {length}");
        }
        fs::write(&path, &bytes).unwrap();
    }
    assert!(verified(bundle.path(), &trust()).valid);
}

#[test]
fn sealed_hashes_that_were_changed_accuse_no_entry() {
    let bundle = Log::of(300, entry).export(1, 300, 100, None, entry);
    let path = bundle.path().join(LEAVES);
    let mut bytes = fs::read(&path).unwrap();
    bytes[32 * 41] ^= 1;
    fs::write(&path, &bytes).unwrap();
    let report = verified(bundle.path(), &trust());
    assert_eq!((failed(&report), &report.first_wrong), (vec![CheckName::Files, CheckName::Root], &None));
    assert_eq!(report.warnings, ["the entries lead to the signed root, leaves.bin does not"]);
}

#[test]
fn members_that_are_missing_or_changed_places_are_named_with_the_first_entry_in_them() {
    let log = Log::of(300, entry);
    let bundle = log.export(1, 300, 100, None, entry);
    let member = |index| bundle.path().join(member_path(index));
    let second = fs::read(member(1)).unwrap();
    fs::remove_file(member(1)).unwrap();
    let report = verified(bundle.path(), &trust());
    assert_eq!(failed(&report), [CheckName::Files, CheckName::Entries]);
    assert_eq!(wrong(&report).unwrap().0, 101);
    fs::copy(member(2), member(1)).unwrap();
    fs::write(member(2), second).unwrap();
    let report = verified(bundle.path(), &trust());
    assert_eq!(failed(&report), [CheckName::Files, CheckName::Entries]);
    assert_eq!(wrong(&report).unwrap().0, 101);
    // Also when the manifest is made to fit.
    edit(&bundle, |manifest| {
        let (second, third) = (manifest["members"][1].clone(), manifest["members"][2].clone());
        for name in ["bytes", "content_bytes", "sha256"] {
            manifest["members"][1][name] = third[name].clone();
            manifest["members"][2][name] = second[name].clone();
        }
    });
    let report = verified(bundle.path(), &trust());
    assert_eq!(failed(&report), [CheckName::Entries]);
    assert_eq!(wrong(&report).unwrap(), (101, "an entry that says to be 201 is in its place"));
    edit(&bundle, |manifest| {
        manifest["members"].as_array_mut().unwrap().truncate(1);
    });
    let report = verified(bundle.path(), &trust());
    assert_eq!(wrong(&report).unwrap(), (101, "it is missing"));
    assert!(report.checks.iter().any(|check| check.detail.contains("should not be there")));
}

#[test]
fn who_rewrites_entries_and_hashes_does_not_reach_the_signed_root() {
    let log = Log::of(300, entry);
    let changed =
        |position: u64| if position == 42 { Entry { payload: "{}".into(), ..entry(42) } } else { entry(position) };
    let forged = Log::of(300, changed);
    let bundle = forged.export(1, 300, 100, None, changed);
    // The signed checkpoint is the old one: whoever rewrites has no key.
    let note = put(bundle.path(), CHECKPOINT, &log.note(300)).unwrap();
    edit(&bundle, |manifest| {
        let files = manifest["files"].as_array_mut().unwrap();
        let file = files.iter_mut().find(|file| file["path"] == CHECKPOINT).unwrap();
        *file = serde_json::to_value(note).unwrap();
    });
    let report = verified(bundle.path(), &trust());
    assert_eq!(failed(&report), [CheckName::Root, CheckName::Platform]);
    let stranger = Trust {
        keys: VerifierKeys::new([SigningKey::generate("hub.example.com").unwrap().verifier_key().clone()]).unwrap(),
        last: None,
    };
    assert_eq!(failed(&verified(bundle.path(), &stranger))[0], CheckName::Signature);
}

#[test]
fn a_hostile_bundle_reaches_no_other_file_and_exhausts_nothing() {
    let log = Log::of(30, entry);
    for (label, change) in [
        (
            "a file that no bundle has",
            Box::new(|manifest: &mut Value| manifest["files"][0]["path"] = "../../etc/passwd".into())
                as Box<dyn Fn(&mut Value)>,
        ),
        ("is not called", Box::new(|manifest| manifest["members"][0]["path"] = "/etc/passwd".into())),
        ("is too long", Box::new(|manifest| manifest["members"][0]["content_bytes"] = (1_u64 << 40).into())),
        ("is too long", Box::new(|manifest| manifest["members"][0]["bytes"] = (1_u64 << 40).into())),
        ("cannot have", Box::new(|manifest| manifest["files"][0]["bytes"] = (1_u64 << 40).into())),
        ("there are no entries", Box::new(|manifest| manifest["to"] = u64::MAX.into())),
        ("not that of the tenant", Box::new(|manifest| manifest["origin"] = "x".into())),
        ("malformed", Box::new(|manifest| manifest["more"] = 1.into())),
    ] {
        let bundle = log.export(1, 30, 10, None, entry);
        edit(&bundle, change);
        let report = verified(bundle.path(), &trust());
        assert_eq!(failed(&report), [CheckName::Manifest], "{label}");
        assert!(report.checks[0].detail.contains(label), "{report:#?}");
    }
    // Bombs: lines of nothing, far longer than the manifest says, and exactly as long as it says.
    let bomb = zstd::encode_all(std::io::Read::take(std::io::repeat(b' '), 256 << 20), 1).unwrap();
    for content_bytes in [1_000_u64, 90 << 20] {
        let bundle = log.export(1, 30, 10, None, entry);
        fs::write(bundle.path().join(member_path(1)), &bomb).unwrap();
        edit(&bundle, |manifest| {
            manifest["members"][1]["bytes"] = bomb.len().into();
            manifest["members"][1]["content_bytes"] = content_bytes.into();
        });
        let report = verified(bundle.path(), &trust());
        assert_eq!(wrong(&report).unwrap().0, 11);
        assert!(wrong(&report).unwrap().1.contains("cannot be unpacked"), "{report:#?}");
    }
    // A link, and a file that should not be there.
    let bundle = log.export(1, 30, 10, None, entry);
    let member = bundle.path().join(member_path(2));
    fs::remove_file(&member).unwrap();
    std::os::unix::fs::symlink("/dev/zero", &member).unwrap();
    fs::write(bundle.path().join("readme.txt"), "hello").unwrap();
    let report = verified(bundle.path(), &trust());
    assert_eq!(failed(&report), [CheckName::Files, CheckName::Entries]);
    assert!(
        report.checks.iter().any(|check| check.detail.contains("\"readme.txt\" should not be there")),
        "{report:#?}"
    );
    assert!(matches!(verify(&bundle.path().join("nowhere"), &trust(), &mut |_, _| {}), Err(VerifyError::NoBundle(_))));
    edit(&bundle, |manifest| manifest["format"] = "hub.audit-bundle.v2".into());
    assert!(matches!(verify(bundle.path(), &trust(), &mut |_, _| {}), Err(VerifyError::Version(_))));
}

/// Of a hundred thousand streams, with ids that do not resemble each other.
fn varied(position: u64) -> Entry<'static> {
    let random = leaf_hash(&position.to_be_bytes()).to_string();
    Entry {
        aggregate_id: Uuid::from_u128(u128::from(position % 100_000)),
        sequence: (1 + (position - 1) / 100_000).cast_signed(),
        payload: format!(r#"{{"amount_minor":1250,"reference":"{}","note":"Zimmer {position}, Frühstück"}}"#, &random[..32]).into(),
        metadata: format!(
            r#"{{"actor":"key:administrator","command_id":"{0}","correlation_id":"{0}","traceparent":"00-{1}-00f067aa0ba902b7-01"}}"#,
            Uuid::from_u128(u128::from_str_radix(&random[..32], 16).unwrap()),
            &random[32..]
        )
        .into(),
        ..entry(position)
    }
}

/// `cargo test -p hub-evidence --release --test bundle -- --ignored --nocapture throughput`
#[test]
#[ignore = "a measurement: a million entries, in release"]
fn throughput_of_a_million_entries_against_plain_hashing_and_parsing() {
    const COUNT: u64 = 1_000_000;
    let log = Log::of(COUNT, varied);
    let began = Instant::now();
    let bundle = log.export(1, COUNT, 10_000, None, varied);
    println!("written in {:.2} s", began.elapsed().as_secs_f64());
    let lines: Vec<String> = (1..=COUNT).map(|position| varied(position).to_line().unwrap()).collect();
    let bytes: usize = lines.iter().map(String::len).sum();
    let packed: u64 = (0..100).map(|index| fs::metadata(bundle.path().join(member_path(index))).unwrap().len()).sum();
    let mib = bytes as f64 / f64::from(1 << 20);
    let time = |name: &str, work: &mut dyn FnMut()| {
        let best = (0..3)
            .map(|_| {
                let began = Instant::now();
                work();
                began.elapsed().as_secs_f64()
            })
            .fold(f64::MAX, f64::min);
        println!("{name:32} {best:.2} s  {:.0} MiB/s  {:.0} entries/s", mib / best, COUNT as f64 / best);
        best
    };
    let verify = time("verify", &mut || assert!(verified(bundle.path(), &trust()).valid));
    let hash = |line: &str| std::hint::black_box(ring::digest::digest(&ring::digest::SHA256, line.as_bytes()));
    let ignored = time("SHA-256 + serde_json IgnoredAny", &mut || {
        for line in &lines {
            hash(line);
            std::hint::black_box(serde_json::from_str::<IgnoredAny>(line).unwrap());
        }
    });
    let value = time("SHA-256 + serde_json Value", &mut || {
        for line in &lines {
            hash(line);
            std::hint::black_box(serde_json::from_str::<Value>(line).unwrap());
        }
    });
    println!(
        "{mib:.0} MiB of lines, {} MiB compressed; ratio {:.2} to IgnoredAny, {:.2} to Value",
        packed >> 20,
        ignored / verify,
        value / verify
    );
}
