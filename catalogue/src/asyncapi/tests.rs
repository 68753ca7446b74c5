use std::{
    collections::BTreeSet,
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::Value;

use super::document;
use crate::{event_types, published::sorted};

fn references(value: &Value, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(members) => {
            found.extend(members.get("$ref").and_then(Value::as_str).map(str::to_owned));
            members.values().for_each(|value| references(value, found));
        }
        Value::Array(elements) => elements.iter().for_each(|value| references(value, found)),
        _ => {}
    }
}

#[test]
fn every_reference_leads_somewhere() {
    let document = document("0");
    let mut found = BTreeSet::new();
    references(&document, &mut found);
    assert!(found.len() > event_types().len(), "{}", found.len());
    for reference in found {
        let pointer = reference.strip_prefix('#').unwrap_or_else(|| panic!("{reference} leads out of the document"));
        assert!(document.pointer(pointer).is_some(), "{reference} leads nowhere");
    }
}

#[test]
fn every_schema_is_used() {
    let document = document("0");
    let mut found = BTreeSet::new();
    references(&document, &mut found);
    for name in document["components"]["schemas"].as_object().unwrap().keys() {
        assert!(found.contains(&format!("#/components/schemas/{name}")), "{name} is not used");
    }
}

#[test]
fn every_event_type_is_a_message_of_streams_and_webhooks() {
    let document = document("0");
    for event_type in event_types() {
        let name = &event_type.name;
        let message = &document["components"]["messages"][name];
        assert_eq!(message["payload"]["allOf"][1]["properties"]["type"]["const"], **name);
        for channel in ["event-stream", "event-socket", "webhook"] {
            let reference = &document["channels"][channel]["messages"][name]["$ref"];
            assert_eq!(*reference, format!("#/components/messages/{name}"), "{channel}");
        }
    }
}

#[test]
fn parameters_are_those_of_the_address() {
    let document = document("0");
    for (name, channel) in document["channels"].as_object().unwrap() {
        let address = channel["address"].as_str().unwrap_or_default();
        let named: BTreeSet<&str> = address.split('{').skip(1).filter_map(|rest| rest.split('}').next()).collect();
        let documented =
            channel["parameters"].as_object().map(|all| all.keys().map(String::as_str).collect()).unwrap_or_default();
        assert_eq!(named, documented, "{name}");
    }
}

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

#[test]
fn the_document_is_the_one_in_docs() {
    let document = document(env!("CARGO_PKG_VERSION"));
    let file = workspace().join("docs/asyncapi.json");
    let kept = || fs::read(&file).ok().and_then(|bytes| serde_json::from_slice::<Value>(&bytes).ok());
    if env::var_os("UPDATE_DOCUMENTS").is_some() && kept().as_ref() != Some(&document) {
        fs::write(&file, serde_json::to_string_pretty(&sorted(&document)).unwrap() + "\n").unwrap();
    }
    assert!(
        kept() == Some(document),
        "docs/asyncapi.json is not what the program serves: UPDATE_DOCUMENTS=1 writes it anew"
    );
}

/// By the official schema, with a validator that knows nothing of the platform; every example is a valid event of the document, too.
#[test]
fn the_document_and_all_examples_are_valid() {
    let file = Path::new(env!("OUT_DIR")).join("asyncapi.json");
    fs::write(&file, serde_json::to_vec(&document("0")).unwrap()).unwrap();
    let output = Command::new(workspace().join("scripts/asyncapi.sh"))
        .arg("check")
        .arg(&file)
        .arg(workspace().join("catalogue/schemas"))
        .current_dir(workspace())
        .output()
        .unwrap();
    println!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success());
}
