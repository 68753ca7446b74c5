//! Event types as integrators see them, read from the published schemas.

use std::{collections::BTreeMap, sync::LazyLock};

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Map, Value};

/// The texts of all published schemas.
const SCHEMAS: &[&str] = include!(concat!(env!("OUT_DIR"), "/schemas.rs"));

/// What an event's `dataschema` and its schema's `$id` begin with; type and version follow, with a colon between them.
pub(crate) const URN: &str = "urn:service-hub:event-type:";

/// The member of a published schema that names the members with sealed personal data.
pub(crate) const PERSONAL: &str = "x-personal-data";

/// Types that will not happen any more one day: the type, since when (a date), and what happens in its place.
pub const DEPRECATED: &[(&str, Deprecation)] = &[];

/// An event type will not happen any more one day.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(rename = "EventTypeDeprecation")]
pub struct Deprecation {
    /// The day since which it is so, such as `2026-11-30`.
    pub since: &'static str,
    /// The event type that tells the same from then on, if there is one.
    pub successor: Option<&'static str>,
}

/// A kind of event.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct EventType {
    /// The name, `<aggregate type>.<event>`, such as `tenant.suspended`.
    #[serde(rename = "type")]
    pub name: String,
    /// What it happens to, such as `tenant`.
    pub aggregate_type: String,
    /// What it says has happened.
    pub description: String,
    /// The version that new events have.
    pub version: u32,
    /// Members of the data that hold personal data, which is sealed and stays so on its way out; see `description` of each.
    pub personal_data: Vec<String>,
    /// Whether and since when it is not to be relied on any more.
    pub deprecated: Option<Deprecation>,
    /// Every version that events in the log can have, the newest first.
    pub versions: Vec<Version>,
}

/// One shape of an event's data.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[schemars(rename = "EventTypeVersion")]
pub struct Version {
    /// From 1.
    pub version: u32,
    /// The attribute of events of this version, and the `$id` of the schema.
    pub dataschema: String,
    /// The JSON Schema (2020-12) of the data.
    #[schemars(with = "Map<String, Value>")]
    pub schema: Value,
    /// Data of such an event.
    #[schemars(with = "Map<String, Value>")]
    pub example: Value,
}

static EVENT_TYPES: LazyLock<Vec<EventType>> = LazyLock::new(read);

/// Every event type, in alphabetical order.
#[must_use]
pub fn event_types() -> &'static [EventType] {
    &EVENT_TYPES
}

fn read() -> Vec<EventType> {
    let mut types: BTreeMap<String, Vec<Version>> = BTreeMap::new();
    for text in SCHEMAS {
        let (name, version) = version(text);
        types.entry(name).or_default().push(version);
    }
    types.into_iter().map(|(name, versions)| event_type(name, versions)).collect()
}

fn version(text: &str) -> (String, Version) {
    let schema: Value = serde_json::from_str(text).expect("a test has read every published schema");
    let dataschema = text_of(&schema, "$id");
    let (name, version) = name_and_version(&dataschema).expect("a test has read every published schema's id");
    let example = schema["examples"][0].clone();
    (name.to_owned(), Version { version, dataschema: dataschema.clone(), schema, example })
}

/// The type and version that an id of a schema names.
pub(crate) fn name_and_version(id: &str) -> Option<(&str, u32)> {
    let (name, version) = id.strip_prefix(URN)?.split_once(':')?;
    Some((name, version.parse().ok()?))
}

fn event_type(name: String, mut versions: Vec<Version>) -> EventType {
    versions.sort_by_key(|version| std::cmp::Reverse(version.version));
    let newest = &versions[0]; // Each type was made with its first version.
    let personal_data = newest.schema[PERSONAL].as_array().map(Vec::as_slice).unwrap_or_default();
    EventType {
        aggregate_type: name.split_once('.').map_or(&*name, |(aggregate, _)| aggregate).to_owned(),
        description: text_of(&newest.schema, "description"),
        version: newest.version,
        personal_data: personal_data.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
        deprecated: DEPRECATED.iter().find(|(deprecated, _)| *deprecated == name).map(|(_, deprecation)| *deprecation),
        name,
        versions,
    }
}

fn text_of(schema: &Value, member: &str) -> String {
    schema[member].as_str().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::{DEPRECATED, event_types};

    #[test]
    fn every_type_has_its_name_a_description_and_an_example_of_each_version() {
        assert!(event_types().len() > 100, "{}", event_types().len());
        for found in event_types() {
            assert!(found.name.starts_with(&format!("{}.", found.aggregate_type)), "{found:?}");
            assert!(!found.description.is_empty(), "{} has no description", found.name);
            assert_eq!(found.version as usize, found.versions.len(), "{}", found.name);
            for version in &found.versions {
                assert_eq!(version.schema["title"], found.name);
                assert!(version.example.is_object(), "{}", version.dataschema);
            }
        }
    }

    #[test]
    fn what_is_deprecated_exists_and_so_does_its_successor() {
        for (name, deprecation) in DEPRECATED {
            for name in [Some(*name), deprecation.successor].into_iter().flatten() {
                assert!(event_types().iter().any(|found| found.name == name), "{name}");
            }
        }
    }
}
