//! Every version of every event that was ever published stays readable: one golden file each, kept for ever.
//!
//! A file `golden/<context>/<event>.v<version>.json` holds a payload as stored. Files of the current version must also come out
//! again exactly as they went in. `golden/<context>/state.v<version>.json` holds the aggregate's state at some stages of its life as a
//! snapshot has it.

use std::{collections::BTreeSet, fs, path::Path};

use cqrs_es::DomainEvent;
use serde_json::{Value, json};

use crate::aggregate::Decide;

/// Checks the golden files of one context against its event type.
pub(crate) fn check<E: DomainEvent>(context: &str, variants: &[&str]) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("golden").join(context);
    let mut seen = BTreeSet::new();
    for entry in fs::read_dir(&folder).expect("the context has golden files") {
        let path = entry.unwrap().path();
        let file = path.file_name().unwrap().to_str().unwrap().to_owned();
        if file.starts_with("state.") {
            continue;
        }
        let (tag, version) = file.strip_suffix(".json").unwrap().rsplit_once(".v").unwrap();
        let data: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        let event: E =
            serde_json::from_value(json!({ "type": tag, "data": data })).unwrap_or_else(|e| panic!("{file}: {e}"));
        assert_eq!(event.event_type(), format!("{context}.{tag}"), "{file}");
        if event.event_version() == version {
            assert_eq!(serde_json::to_value(&event).unwrap()["data"], data, "{file} comes out differently");
            seen.insert(tag.to_owned());
        }
    }
    for variant in variants {
        assert!(seen.contains(*variant), "{context}.{variant} has no golden file of its current version");
    }
}

/// Checks that the aggregate's state is serialised as the golden file of its version says, at each of these named stages.
pub(crate) fn check_state<A: Decide>(stages: &[(&str, A)]) {
    let version = A::STATE_VERSION;
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("golden/{}/state.v{version}.json", A::TYPE));
    let found: Value = stages.iter().map(|(stage, state)| ((*stage).to_owned(), json!(state))).collect();
    let golden = fs::read(&path).map_or(Value::Null, |bytes| serde_json::from_slice(&bytes).unwrap());
    assert_eq!(
        golden,
        found,
        "the state of {} is not as in version {version}: raise its STATE_VERSION and add the golden file of the new one\n{found:#}",
        A::TYPE
    );
    for (stage, state) in stages {
        let back: A = serde_json::from_value(golden[stage].clone()).unwrap();
        assert_eq!(json!(back), json!(state), "{stage} comes back differently");
    }
}
