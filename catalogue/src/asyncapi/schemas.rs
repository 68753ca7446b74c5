//! The schemas of the document: published schemas, whose own definitions become components that they share.

use serde_json::{Map, Value, json};

/// Where components are.
const COMPONENTS: &str = "#/components/schemas/";
/// Where a published schema has its definitions.
const DEFINITIONS: &str = "#/$defs/";
/// What a schema says of itself that would be wrong, or in the way, within another document.
const OWN: &[&str] = &["$schema", "$id", "$defs"];

/// Components under their names.
pub(super) struct Schemas {
    components: Map<String, Value>,
    /// What each shared definition was made of: itself and all that it leads to.
    made_of: Map<String, Value>,
}

impl Schemas {
    pub(super) fn new(components: Map<String, Value>) -> Self {
        Self { components, made_of: Map::new() }
    }

    pub(super) fn into_components(self) -> Map<String, Value> {
        self.components
    }

    /// Adds a published schema with its definitions, and answers a reference to it.
    pub(super) fn add(&mut self, name: &str, schema: &Value) -> String {
        let none = Map::new();
        let definitions = schema["$defs"].as_object().unwrap_or(&none);
        let names: Map<String, Value> = definitions
            .keys()
            .map(|definition| (definition.clone(), Value::from(self.name_for(name, definition, definitions))))
            .collect();
        for (definition, content) in definitions {
            let component = names[definition].as_str().unwrap_or_default();
            if !self.components.contains_key(component) {
                self.components.insert(component.to_owned(), renamed(content, &names));
            }
        }
        let mut own = renamed(schema, &names);
        if let Some(members) = own.as_object_mut() {
            members.retain(|keyword, _| !OWN.contains(&keyword.as_str()));
            members.insert("x-dataschema".to_owned(), schema["$id"].clone());
        }
        self.components.insert(name.to_owned(), own);
        format!("{COMPONENTS}{name}")
    }

    /// The definition's own name, or a longer one when another definition has it that is not the same.
    fn name_for(&mut self, schema: &str, definition: &str, definitions: &Map<String, Value>) -> String {
        let aggregate = schema.split('.').next().unwrap_or_default();
        let made_of = json!([definition, closure(definition, definitions)]);
        let candidates = [definition.to_owned(), format!("{aggregate}.{definition}"), format!("{schema}.{definition}")];
        let fits = |name: &&String| match self.made_of.get(*name) {
            Some(other) => *other == made_of,
            None => !self.components.contains_key(*name),
        };
        let name = candidates.iter().find(fits).unwrap_or(&candidates[2]).clone();
        self.made_of.insert(name.clone(), made_of);
        name
    }
}

/// The definition and all that it leads to.
fn closure(definition: &str, definitions: &Map<String, Value>) -> Map<String, Value> {
    let mut found = Map::new();
    let mut waiting = vec![definition.to_owned()];
    while let Some(name) = waiting.pop() {
        let Some(content) = definitions.get(&name) else { continue };
        if found.insert(name, content.clone()).is_none() {
            waiting.extend(references(content));
        }
    }
    found
}

fn references(schema: &Value) -> Vec<String> {
    match schema {
        Value::Object(members) => {
            let own =
                members.get("$ref").and_then(Value::as_str).and_then(|reference| reference.strip_prefix(DEFINITIONS));
            own.map(str::to_owned).into_iter().chain(members.values().flat_map(references)).collect()
        }
        Value::Array(elements) => elements.iter().flat_map(references).collect(),
        _ => Vec::new(),
    }
}

/// The schema with its references to definitions changed to those to components.
fn renamed(schema: &Value, names: &Map<String, Value>) -> Value {
    match schema {
        Value::Object(members) => {
            let member = |(keyword, value): (&String, &Value)| {
                let component = value
                    .as_str()
                    .filter(|_| keyword == "$ref")
                    .and_then(|reference| reference.strip_prefix(DEFINITIONS))
                    .and_then(|definition| names.get(definition)?.as_str());
                let value = component
                    .map_or_else(|| renamed(value, names), |component| json!(format!("{COMPONENTS}{component}")));
                (keyword.clone(), value)
            };
            Value::Object(members.iter().map(member).collect())
        }
        Value::Array(elements) => elements.iter().map(|element| renamed(element, names)).collect(),
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Map, json};

    use super::Schemas;

    #[test]
    fn definitions_are_shared_where_they_are_the_same() {
        let schema = |text: &str| {
            json!({
                "$id": "urn:x",
                "properties": { "a": { "$ref": "#/$defs/A" } },
                "$defs": { "A": { "items": { "$ref": "#/$defs/B" } }, "B": { "type": text, "not": { "$ref": "#/$defs/A" } } },
            })
        };
        let mut schemas = Schemas::new(Map::new());
        assert_eq!(schemas.add("letter.sent.v1", &schema("string")), "#/components/schemas/letter.sent.v1");
        schemas.add("letter.lost.v1", &schema("string"));
        schemas.add("parcel.sent.v1", &schema("integer"));
        let components = schemas.into_components();
        assert_eq!(components["A"], json!({ "items": { "$ref": "#/components/schemas/B" } }));
        assert_eq!(components["parcel.A"], json!({ "items": { "$ref": "#/components/schemas/parcel.B" } }));
        assert_eq!(
            components["parcel.sent.v1"],
            json!({ "properties": { "a": { "$ref": "#/components/schemas/parcel.A" } }, "x-dataschema": "urn:x" }),
        );
        assert_eq!(components.len(), 7, "{components:?}");
    }
}
