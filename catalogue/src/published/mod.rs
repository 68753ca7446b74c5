//! Whether what is published is what the program says, and whether it may have changed so.

mod aggregates;
mod compatible;
mod generate;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::PathBuf,
};

use serde_json::Value;

use self::{aggregates::aggregates, compatible::complaints, generate::Generated};
use crate::event_type::name_and_version;

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("schemas")
}

/// What is published in that file; `None` when there is none.
fn kept(file: &str) -> Option<Value> {
    let bytes = fs::read(folder().join(file)).ok()?;
    Some(serde_json::from_slice(&bytes).unwrap_or_else(|error| panic!("{file}: {error}")))
}

fn all() -> Vec<Generated> {
    aggregates().into_iter().flat_map(|(_, generate)| generate()).collect()
}

#[test]
fn every_aggregate_is_in_the_catalogue() {
    let listed: BTreeSet<String> = aggregates().iter().map(|(name, _)| (*name).to_owned()).collect();
    let golden = fs::read_dir(generate::golden()).unwrap();
    let golden: BTreeSet<String> = golden.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    assert_eq!(listed, golden, "the aggregates of the domain and the folders of domain/golden");
}

#[test]
fn published_schemas_are_what_the_program_says() {
    let update = std::env::var_os("UPDATE_DOCUMENTS").is_some();
    let mut complained = Vec::new();
    for Generated { file, schema } in all() {
        let kept = kept(&file);
        if kept.as_ref() == Some(&schema) {
            continue;
        }
        let broken = kept.as_ref().map(|kept| complaints(kept, &schema)).unwrap_or_default();
        if !broken.is_empty() {
            complained.push(format!(
                "{file}: readers or stored events would notice, so the event needs a new version\n  {}",
                broken.join("\n  ")
            ));
        } else if update {
            fs::write(folder().join(&file), serde_json::to_string_pretty(&sorted(&schema)).unwrap() + "\n").unwrap();
        } else {
            complained.push(format!("{file} is not what the program says: UPDATE_DOCUMENTS=1 writes it anew, and docs/asyncapi.json when run again"));
        }
    }
    assert!(complained.is_empty(), "{}", complained.join("\n"));
}

#[test]
fn every_published_version_is_still_known() {
    let current: BTreeSet<(String, u32)> = all().iter().map(|generated| id(&generated.schema)).collect();
    for entry in fs::read_dir(folder()).unwrap() {
        let file = entry.unwrap().file_name().into_string().unwrap();
        let (name, version) = id(&kept(&file).unwrap());
        assert_eq!(file, format!("{name}.v{version}.json"));
        let newest = current.iter().find(|(current, _)| *current == name).map(|(_, newest)| *newest);
        assert!(
            newest.is_some_and(|newest| version <= newest),
            "{file}: events of it are in logs for ever, and the program has no such event"
        );
    }
}

#[test]
fn every_version_with_a_golden_file_is_published_with_it_as_its_example() {
    let current: BTreeMap<String, Value> =
        all().into_iter().map(|generated| (generated.file, generated.schema)).collect();
    for (aggregate, _) in aggregates() {
        for (event, version, data) in generate::golden_files(aggregate) {
            let file = format!("{aggregate}.{event}.v{version}.json");
            let schema = current.get(&file).cloned().or_else(|| kept(&file));
            let schema = schema.unwrap_or_else(|| panic!("{file} is not published"));
            let example = generate::shown(aggregate, &data);
            assert_eq!(schema["examples"], Value::from(vec![example.clone()]), "{file}");
            let properties = schema["properties"].as_object().cloned().unwrap_or_default();
            for name in example.as_object().unwrap().keys() {
                assert!(properties.contains_key(name), "{file} does not describe `{name}`");
            }
        }
    }
}

/// With its members in alphabetical order, whatever the features that `serde_json` was compiled with.
pub(crate) fn sorted(value: &Value) -> Value {
    match value {
        Value::Object(members) => {
            let members: BTreeMap<&String, Value> = members.iter().map(|(name, value)| (name, sorted(value))).collect();
            members.into_iter().map(|(name, value)| (name.clone(), value)).collect()
        }
        Value::Array(elements) => elements.iter().map(sorted).collect(),
        other => other.clone(),
    }
}

fn id(schema: &Value) -> (String, u32) {
    let (name, version) = name_and_version(schema["$id"].as_str().unwrap()).unwrap();
    (name.to_owned(), version)
}
