//! Makes published schemas of the domain's event types, and their examples of the golden files.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use cqrs_es::DomainEvent;
use schemars::{JsonSchema, schema_for};
use serde_json::{Map, Value, json, value::to_raw_value};

use crate::event_type::{PERSONAL, URN};

/// Definitions that ask more of a new event than holds of those that are stored: the definition, the keyword, and what holds of all of them.
///
/// A principal was once allowed to have an `@` in its name.
const LOOSER: &[(&str, &str, &str)] = &[("Principal", "pattern", "^(user|key|service):[!-~]+$")];

/// A schema that is to be published, and the name of its file.
pub(super) struct Generated {
    pub(super) file: String,
    pub(super) schema: Value,
}

/// The folder of the golden files.
pub(super) fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../domain/golden")
}

/// The golden files of an aggregate's events: event, version and data.
pub(super) fn golden_files(aggregate: &str) -> Vec<(String, u32, Value)> {
    let mut files = Vec::new();
    for entry in fs::read_dir(golden().join(aggregate)).unwrap() {
        let path = entry.unwrap().path();
        let stem = path.file_stem().unwrap().to_str().unwrap();
        let (event, version) = stem.rsplit_once(".v").unwrap();
        if event != "state" {
            let data = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
            files.push((event.to_owned(), version.parse().unwrap(), data));
        }
    }
    files
}

/// The data as readers of events see it.
pub(super) fn shown(aggregate: &str, data: &Value) -> Value {
    let shown = hub_cloudevents::without_secrets(aggregate, to_raw_value(data).unwrap());
    serde_json::from_str(shown.get()).unwrap()
}

/// The schemas of the current versions of an aggregate's events.
pub(super) fn generated<E: DomainEvent + JsonSchema>(aggregate: &str) -> Vec<Generated> {
    let mut whole = schema_for!(E).to_value();
    for (definition, keyword, looser) in LOOSER {
        if let Some(definition) = whole["$defs"].get_mut(*definition) {
            definition[*keyword] = json!(looser);
        }
    }
    let golden = golden_files(aggregate);
    let variants = whole["oneOf"].as_array().expect("an event is one of its variants");
    variants
        .iter()
        .map(|variant| {
            let event = variant["properties"]["type"]["const"].as_str().unwrap();
            let mut examples: Vec<_> = golden.iter().filter(|(named, ..)| named == event).collect();
            examples.sort_by_key(|(_, version, _)| *version);
            let (_, _, data) = examples.last().unwrap_or_else(|| panic!("{aggregate}.{event} has no golden file"));
            let parsed: E = serde_json::from_value(json!({ "type": event, "data": data })).unwrap();
            let version = parsed.event_version();
            let schema = published(aggregate, event, &version, variant, &whole["$defs"], shown(aggregate, data));
            Generated { file: format!("{aggregate}.{event}.v{version}.json"), schema }
        })
        .collect()
}

fn published(
    aggregate: &str,
    event: &str,
    version: &str,
    variant: &Value,
    definitions: &Value,
    example: Value,
) -> Value {
    let mut schema = data_schema(&variant["properties"]["data"], definitions);
    let before = members(&schema);
    let shown = shown(aggregate, &before.iter().map(|name| (name.clone(), Value::Null)).collect());
    let secrets: Vec<&String> = before.iter().filter(|name| shown.get(name.as_str()).is_none()).collect();
    if let Some(properties) = schema.get_mut("properties").and_then(Value::as_object_mut) {
        properties.retain(|name, _| !secrets.contains(&name));
    }
    if let Some(required) = schema.get_mut("required").and_then(Value::as_array_mut) {
        required.retain(|name| !secrets.iter().any(|secret| *name == ***secret));
    }
    let event_type = format!("{aggregate}.{event}");
    let personal = hub_domain::personal::FIELDS.iter().filter(|field| field.event_type == event_type);
    let personal: Vec<&str> = personal.map(|field| field.field).collect();
    let mut ordered = Map::new();
    let mut put = |name: &str, value: Value| ordered.insert(name.to_owned(), value);
    put("$schema", json!("https://json-schema.org/draft/2020-12/schema"));
    put("$id", json!(format!("{URN}{event_type}:{version}")));
    put("title", json!(event_type));
    put("description", variant["description"].clone());
    if !personal.is_empty() {
        put(PERSONAL, json!(personal));
    }
    for (name, value) in &schema {
        put(name, value.clone());
    }
    let reached = reachable(&Value::Object(schema), definitions);
    if !reached.is_empty() {
        put("$defs", Value::Object(reached));
    }
    put("examples", json!([example]));
    Value::Object(ordered)
}

/// The schema of the data itself, without what only describes it.
fn data_schema(data: &Value, definitions: &Value) -> Map<String, Value> {
    let mut schema = match data["$ref"].as_str() {
        Some(reference) => definitions[name_of(reference)].as_object().unwrap().clone(),
        None => data.as_object().expect("an event has data, if only an empty object").clone(),
    };
    schema.remove("description");
    schema.remove("title");
    schema
}

fn members(schema: &Map<String, Value>) -> Vec<String> {
    schema
        .get("properties")
        .and_then(Value::as_object)
        .map(|members| members.keys().cloned().collect())
        .unwrap_or_default()
}

/// The definitions that a schema needs, directly or by way of others.
fn reachable(schema: &Value, definitions: &Value) -> Map<String, Value> {
    let mut reached = BTreeSet::new();
    let mut waiting = references(schema);
    while let Some(name) = waiting.pop() {
        if reached.insert(name.clone()) {
            waiting.extend(references(&definitions[&name]));
        }
    }
    reached.into_iter().map(|name| (name.clone(), definitions[&name].clone())).collect()
}

fn references(schema: &Value) -> Vec<String> {
    match schema {
        Value::Object(members) => {
            let own = members.get("$ref").and_then(Value::as_str).map(|reference| name_of(reference).to_owned());
            own.into_iter().chain(members.values().flat_map(references)).collect()
        }
        Value::Array(elements) => elements.iter().flat_map(references).collect(),
        _ => Vec::new(),
    }
}

fn name_of(reference: &str) -> &str {
    reference.strip_prefix("#/$defs/").expect("schemas refer to their own definitions")
}
