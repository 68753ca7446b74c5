//! Whether a schema may take the place of another under the same version.
//!
//! Two kinds of readers hold a version to its word: those that were written after the old schema and meet new events, and those that are
//! written after the new one and meet events that are stored already. So what is valid must stay the same, in both directions. Only this may change:
//!
//! - what describes (title, description, examples, defaults, comments, deprecation, members that begin with `x-`);
//! - an object gets another property, if it is not required and the object did not forbid others;
//! - how it is written: names of definitions, the order of properties, of required names, of values and of alternatives.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

/// Keywords that say nothing of what is valid.
const DESCRIBING: &[&str] = &[
    "$comment",
    "$defs",
    "$id",
    "$schema",
    "default",
    "deprecated",
    "description",
    "examples",
    "readOnly",
    "title",
    "writeOnly",
];

/// Keywords whose arrays are sets.
const SETS: &[&str] = &["enum", "required", "type"];

/// Keywords whose arrays are alternatives, in no order.
const ALTERNATIVES: &[&str] = &["allOf", "anyOf", "oneOf"];

/// What would be noticed if the new schema took the old one's place, each with its place in the old one; empty when nothing would.
pub(super) fn complaints(old: &Value, new: &Value) -> Vec<String> {
    let mut comparison = Comparison { old_root: old, new_root: new, compared: BTreeSet::new() };
    comparison.schemas("", old, new)
}

struct Comparison<'a> {
    old_root: &'a Value,
    new_root: &'a Value,
    /// Pairs of references that were followed, so that schemas that contain themselves have an end.
    compared: BTreeSet<(String, String)>,
}

impl<'a> Comparison<'a> {
    fn schemas(&mut self, at: &str, old: &'a Value, new: &'a Value) -> Vec<String> {
        let reference = |schema: &Value| schema["$ref"].as_str().unwrap_or_default().to_owned();
        let pair = (reference(old), reference(new));
        if pair != Default::default() && !self.compared.insert(pair) {
            return Vec::new();
        }
        let (Some(old), Some(new)) = (resolved(self.old_root, old), resolved(self.new_root, new)) else {
            // `true`, `false`, or a reference beside other keywords.
            return if old == new { Vec::new() } else { vec![format!("{at}: {old} became {new}")] };
        };
        let keywords: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
        let telling = |keyword: &&&String| !DESCRIBING.contains(&keyword.as_str()) && !keyword.starts_with("x-");
        keywords.iter().filter(telling).flat_map(|keyword| self.keyword(at, keyword, old, new)).collect()
    }

    fn keyword(
        &mut self,
        at: &str,
        keyword: &str,
        old: &'a Map<String, Value>,
        new: &'a Map<String, Value>,
    ) -> Vec<String> {
        let at_keyword = format!("{at}/{keyword}");
        if keyword == "properties" {
            return self.properties(&at_keyword, old, new);
        }
        match (old.get(keyword), new.get(keyword)) {
            (None, Some(new)) => vec![format!("{at_keyword}: {new} is new")],
            (Some(old), None) => vec![format!("{at_keyword}: {old} is gone")],
            (Some(Value::Array(old)), Some(Value::Array(new))) if ALTERNATIVES.contains(&keyword) => {
                self.alternatives(&at_keyword, old, new)
            }
            (Some(old), Some(new)) if SETS.contains(&keyword) => {
                if set(old) == set(new) {
                    Vec::new()
                } else {
                    vec![format!("{at_keyword}: {old} became {new}")]
                }
            }
            (Some(old @ Value::Object(_)), Some(new @ Value::Object(_)))
                if matches!(keyword, "items" | "additionalProperties" | "propertyNames" | "not") =>
            {
                self.schemas(&at_keyword, old, new)
            }
            (old, new) if old == new => Vec::new(),
            (old, new) => vec![format!("{at_keyword}: {} became {}", shown(old), shown(new))],
        }
    }

    fn properties(&mut self, at: &str, old: &'a Map<String, Value>, new: &'a Map<String, Value>) -> Vec<String> {
        let none = Map::new();
        let open = !matches!(old.get("additionalProperties"), Some(Value::Bool(false) | Value::Object(_)));
        let required = new.get("required").map(set).unwrap_or_default();
        let named = |schema: &'a Map<String, Value>| schema.get("properties").and_then(Value::as_object);
        let (old, new) = (named(old), named(new));
        let mut found = Vec::new();
        for (name, property) in
            new.unwrap_or(&none).iter().filter(|(name, _)| old.is_none_or(|old| !old.contains_key(*name)))
        {
            if required.contains(&format!("{:?}", name)) {
                found.push(format!("{at}/{name}: the new property is required, and stored events do not have it"));
            } else if !open {
                found.push(format!("{at}/{name}: {property} is new where other properties were forbidden"));
            }
        }
        for (name, property) in old.into_iter().flatten() {
            let at = format!("{at}/{name}");
            match new.and_then(|new| new.get(name)) {
                Some(new) => found.extend(self.schemas(&at, property, new)),
                None => found.push(format!("{at}: the property is gone")),
            }
        }
        found
    }

    /// Each of the old must be among the new ones, and the other way round.
    fn alternatives(&mut self, at: &str, old: &'a [Value], new: &'a [Value]) -> Vec<String> {
        let mut left: Vec<&Value> = new.iter().collect();
        for alternative in old {
            let Some(place) = left.iter().position(|new| self.same(alternative, new)) else {
                return vec![format!("{at}: the alternative {alternative} is gone or became another")];
            };
            left.swap_remove(place);
        }
        left.iter().map(|new| format!("{at}: the alternative {new} is new")).collect()
    }

    /// A try: what it compared counts only when it succeeds.
    fn same(&mut self, old: &'a Value, new: &'a Value) -> bool {
        let compared = self.compared.clone();
        let same = self.schemas("", old, new).is_empty();
        if !same {
            self.compared = compared;
        }
        same
    }
}

/// The schema itself, or what it refers to when it does nothing else; `None` when it is no object, or refers to nothing that is there.
fn resolved<'a>(root: &'a Value, schema: &'a Value) -> Option<&'a Map<String, Value>> {
    let members = schema.as_object()?;
    let Some(reference) = members.get("$ref") else { return Some(members) };
    let beside = members.keys().any(|keyword| keyword != "$ref" && !DESCRIBING.contains(&keyword.as_str()));
    if beside {
        return None;
    }
    let target = root.pointer(reference.as_str()?.strip_prefix('#')?)?;
    resolved(root, target)
}

fn set(value: &Value) -> BTreeSet<String> {
    match value {
        Value::Array(values) => values.iter().map(Value::to_string).collect(),
        one => BTreeSet::from([one.to_string()]),
    }
}

fn shown(value: Option<&Value>) -> String {
    value.map_or_else(|| "nothing".to_owned(), Value::to_string)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::complaints;

    fn base() -> Value {
        json!({
            "$id": "urn:service-hub:event-type:letter.sent:1",
            "description": "A letter was sent.",
            "type": "object",
            "properties": {
                "to": { "$ref": "#/$defs/Address" },
                "kind": { "type": "string", "enum": ["plain", "registered"] },
                "weight": { "type": ["integer", "null"], "minimum": 0, "maximum": 2000 },
                "pages": { "type": "array", "items": { "$ref": "#/$defs/Page" } },
                "paid": { "oneOf": [{ "const": "cash" }, { "type": "object", "properties": { "card": { "type": "string" } } }] },
            },
            "required": ["to", "kind"],
            "$defs": {
                "Address": { "type": "object", "properties": { "street": { "type": "string" } }, "required": ["street"], "additionalProperties": false },
                "Page": { "type": "object", "properties": { "next": { "$ref": "#/$defs/Page" }, "text": { "type": "string", "maxLength": 9 } } },
            },
        })
    }

    /// The base with another value at that place.
    fn with(pointer: &str, value: Value) -> Value {
        let mut schema = base();
        let (parent, name) = pointer.rsplit_once('/').unwrap();
        schema.pointer_mut(parent).unwrap()[name] = value;
        schema
    }

    #[test]
    fn what_describes_may_change() {
        assert_eq!(complaints(&base(), &base()), Vec::<String>::new());
        for (pointer, value) in [
            ("/description", json!("Somebody has sent a letter.")),
            ("/examples", json!([{ "kind": "plain" }])),
            ("/x-personal-data", json!(["to"])),
            ("/properties/kind/description", json!("How it goes.")),
            ("/properties/kind/default", json!("plain")),
            ("/$defs/Address/title", json!("Where it goes")),
        ] {
            assert_eq!(complaints(&base(), &with(pointer, value)), Vec::<String>::new(), "{pointer}");
        }
    }

    #[test]
    fn an_optional_property_may_come() {
        for pointer in ["/properties/colour", "/$defs/Page/properties/number", "/properties/paid/oneOf/1/properties/at"]
        {
            assert_eq!(
                complaints(&base(), &with(pointer, json!({ "type": "string" }))),
                Vec::<String>::new(),
                "{pointer}"
            );
        }
        assert_eq!(
            complaints(&json!({ "type": "object" }), &json!({ "type": "object", "properties": { "a": {} } })),
            Vec::<String>::new()
        );
    }

    #[test]
    fn the_way_it_is_written_may_change() {
        let mut renamed = base();
        renamed["$defs"]["Place"] = renamed["$defs"]["Address"].clone();
        renamed["properties"]["to"] = json!({ "$ref": "#/$defs/Place" });
        assert_eq!(complaints(&base(), &renamed), Vec::<String>::new());
        let mut inlined = base();
        inlined["properties"]["to"] = inlined["$defs"]["Address"].clone();
        assert_eq!(complaints(&base(), &inlined), Vec::<String>::new());
        for (pointer, value) in [
            ("/required", json!(["kind", "to"])),
            ("/properties/kind/enum", json!(["registered", "plain"])),
            ("/properties/weight/type", json!(["null", "integer"])),
            (
                "/properties/paid/oneOf",
                json!([{ "type": "object", "properties": { "card": { "type": "string" } } }, { "const": "cash" }]),
            ),
        ] {
            assert_eq!(complaints(&base(), &with(pointer, value)), Vec::<String>::new(), "{pointer}");
        }
    }

    #[test]
    fn what_readers_or_stored_events_would_notice_is_complained_about() {
        let without = |pointer: &str| {
            let mut schema = base();
            let (parent, name) = pointer.rsplit_once('/').unwrap();
            schema.pointer_mut(parent).unwrap().as_object_mut().unwrap().remove(name);
            schema
        };
        for (what, new, at) in [
            ("a property goes", without("/properties/kind"), "/properties/kind"),
            ("nested, too", without("/$defs/Page/properties/text"), "/properties/pages/items/properties/text"),
            ("a type changes", with("/properties/kind", json!({ "type": "integer" })), "/properties/kind"),
            (
                "null becomes possible",
                with("/$defs/Address/properties/street/type", json!(["string", "null"])),
                "/properties/to/properties/street/type",
            ),
            ("null becomes impossible", with("/properties/weight/type", json!("integer")), "/properties/weight/type"),
            (
                "a value comes",
                with("/properties/kind/enum", json!(["plain", "registered", "express"])),
                "/properties/kind/enum",
            ),
            ("a value goes", with("/properties/kind/enum", json!(["plain"])), "/properties/kind/enum"),
            ("a bound moves", with("/properties/weight/maximum", json!(3000)), "/properties/weight/maximum"),
            ("a bound comes", with("/properties/weight/multipleOf", json!(5)), "/properties/weight/multipleOf"),
            (
                "a bound goes",
                without("/$defs/Page/properties/text/maxLength"),
                "/properties/pages/items/properties/text/maxLength",
            ),
            ("what was optional becomes required", with("/required", json!(["kind", "to", "weight"])), "/required"),
            ("what was required becomes optional", with("/required", json!(["to"])), "/required"),
            (
                "an alternative comes",
                with(
                    "/properties/paid/oneOf",
                    json!([{ "const": "cash" }, { "const": "later" }, base()["properties"]["paid"]["oneOf"][1]]),
                ),
                "/properties/paid/oneOf",
            ),
            (
                "an alternative goes",
                with("/properties/paid/oneOf", json!([{ "const": "cash" }])),
                "/properties/paid/oneOf",
            ),
            (
                "a closed object is opened",
                without("/$defs/Address/additionalProperties"),
                "/properties/to/additionalProperties",
            ),
            (
                "a closed object gets a property",
                with("/$defs/Address/properties/town", json!({ "type": "string" })),
                "/properties/to/properties/town",
            ),
        ] {
            let complaints = complaints(&base(), &new);
            assert!(!complaints.is_empty(), "{what}");
            assert!(complaints.iter().all(|complaint| complaint.starts_with(at)), "{what}: {complaints:?}");
        }
    }

    #[test]
    fn a_new_property_that_is_required_is_complained_about() {
        let mut new = with("/properties/colour", json!({ "type": "string" }));
        new["required"] = json!(["colour", "kind", "to"]);
        assert_eq!(complaints(&base(), &new).len(), 2);
    }
}
