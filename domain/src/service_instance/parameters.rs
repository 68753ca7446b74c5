//! The JSON objects of a service instance: what it was ordered with, and what its provider tells about it.
//!
//! `TryFrom` is the gate; `Deserialize` trusts what is stored. Request bodies name [`parsed`] or [`parsed_option`].

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, de::Error as _};
use serde_json::{Map, Value};

/// At most so many keys at the top.
pub const KEY_COUNT_MAX: usize = 64;
/// At most so many bytes when written as compact JSON.
pub const SIZE_BYTES_MAX: usize = 16 * 1024;
/// At most so many objects and arrays within each other; the object itself is the first.
pub const DEPTH_MAX: usize = 8;

/// A bounded JSON object: parameters of a service, or outputs of its provider.
///
/// Never a place for secrets: it is kept in the log for ever and shown to whoever may read the instance. A provider puts
/// passwords and keys where the tenant fetches them, and names that place here.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
#[schemars(extend("maxProperties" = KEY_COUNT_MAX))]
pub struct Parameters(Map<String, Value>);

/// Why a JSON value cannot be the parameters or outputs of a service instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidParameters {
    #[error("expected a JSON object")]
    NotAnObject,
    #[error("the object has more than {KEY_COUNT_MAX} keys")]
    TooManyKeys,
    #[error("objects and arrays are nested more than {DEPTH_MAX} deep")]
    TooDeep,
    #[error("the object has more than {SIZE_BYTES_MAX} bytes as JSON")]
    TooLarge,
    #[error("the character U+0000 is not allowed in keys and texts")]
    NulCharacter,
}

impl Parameters {
    /// The object.
    #[must_use]
    pub fn as_map(&self) -> &Map<String, Value> {
        &self.0
    }
}

impl TryFrom<Value> for Parameters {
    type Error = InvalidParameters;

    fn try_from(value: Value) -> Result<Self, Self::Error> {
        // The depth comes first, so that nothing after it recurses further than that.
        check(&value, DEPTH_MAX)?;
        let size_bytes = value.to_string().len();
        let Value::Object(map) = value else {
            return Err(InvalidParameters::NotAnObject);
        };
        if map.len() > KEY_COUNT_MAX {
            return Err(InvalidParameters::TooManyKeys);
        }
        if size_bytes > SIZE_BYTES_MAX {
            return Err(InvalidParameters::TooLarge);
        }
        Ok(Self(map))
    }
}

/// U+0000 is refused because PostgreSQL's `text` and `jsonb`, which read models are made of, cannot hold it.
fn check(value: &Value, depth_left: usize) -> Result<(), InvalidParameters> {
    match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => Ok(()),
        Value::String(text) => check_text(text),
        Value::Array(items) => {
            let depth_left = depth_left.checked_sub(1).ok_or(InvalidParameters::TooDeep)?;
            items.iter().try_for_each(|item| check(item, depth_left))
        }
        Value::Object(map) => {
            let depth_left = depth_left.checked_sub(1).ok_or(InvalidParameters::TooDeep)?;
            map.iter().try_for_each(|(key, item)| check_text(key).and_then(|()| check(item, depth_left)))
        }
    }
}

fn check_text(text: &str) -> Result<(), InvalidParameters> {
    if text.contains('\0') { Err(InvalidParameters::NulCharacter) } else { Ok(()) }
}

/// Reads an object through the gate; for request bodies.
///
/// # Errors
/// What the gate says.
pub fn parsed<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Parameters, D::Error> {
    Value::deserialize(deserializer)?.try_into().map_err(D::Error::custom)
}

/// Reads an optional object through the gate; for request bodies, together with `#[serde(default)]`.
///
/// # Errors
/// What the gate says.
pub fn parsed_option<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Parameters>, D::Error> {
    Option::<Value>::deserialize(deserializer)?.map(|value| value.try_into().map_err(D::Error::custom)).transpose()
}

#[cfg(test)]
mod tests {
    use serde_json::{Map, Value, json};

    use super::{DEPTH_MAX, InvalidParameters, KEY_COUNT_MAX, Parameters, SIZE_BYTES_MAX};

    fn gate(value: Value) -> Result<Parameters, InvalidParameters> {
        value.try_into()
    }

    fn nested(depth: usize) -> Value {
        (1..depth).fold(json!({}), |inner, _| json!({ "a": inner }))
    }

    fn keys(count: usize) -> Value {
        Value::Object((0..count).map(|n| (format!("k{n}"), json!(n))).collect::<Map<_, _>>())
    }

    #[test]
    fn an_object_comes_out_as_it_went_in() {
        let object = json!({ "mailboxes": 25, "spam": { "level": "high" }, "aliases": ["a", "b"] });
        assert_eq!(serde_json::to_value(gate(object.clone()).unwrap()).unwrap(), object);
    }

    #[test]
    fn what_is_not_an_object_is_refused() {
        for value in [json!(null), json!([]), json!("a"), json!(1), json!(true)] {
            assert_eq!(gate(value), Err(InvalidParameters::NotAnObject));
        }
    }

    #[test]
    fn the_number_of_keys_is_bounded() {
        assert!(gate(keys(KEY_COUNT_MAX)).is_ok());
        assert_eq!(gate(keys(KEY_COUNT_MAX + 1)), Err(InvalidParameters::TooManyKeys));
    }

    #[test]
    fn the_depth_is_bounded() {
        assert!(gate(nested(DEPTH_MAX)).is_ok());
        assert_eq!(gate(nested(DEPTH_MAX + 1)), Err(InvalidParameters::TooDeep));
        let mut array_too_deep = json!([]);
        for _ in 1..DEPTH_MAX {
            array_too_deep = json!([array_too_deep]);
        }
        assert_eq!(gate(json!({ "a": array_too_deep })), Err(InvalidParameters::TooDeep));
    }

    #[test]
    fn the_size_is_bounded() {
        let frame = r#"{"a":""}"#.len();
        assert!(gate(json!({ "a": "x".repeat(SIZE_BYTES_MAX - frame) })).is_ok());
        assert_eq!(gate(json!({ "a": "x".repeat(SIZE_BYTES_MAX - frame + 1) })), Err(InvalidParameters::TooLarge));
    }

    #[test]
    fn the_nul_character_is_refused_in_keys_and_texts() {
        for value in [json!({ "a": ["\0"] }), json!({ "a": { "\0": 1 } })] {
            assert_eq!(gate(value), Err(InvalidParameters::NulCharacter));
        }
    }

    #[derive(Debug, serde::Deserialize)]
    struct Body {
        #[serde(deserialize_with = "super::parsed")]
        parameters: Parameters,
        #[serde(default, deserialize_with = "super::parsed_option")]
        outputs: Option<Parameters>,
    }

    #[test]
    fn bodies_pass_the_gate() {
        let read = |body: Value| serde_json::from_value::<Body>(body);
        let body = read(json!({ "parameters": { "a": 1 } })).unwrap();
        assert_eq!(body.parameters, gate(json!({ "a": 1 })).unwrap());
        assert_eq!(body.outputs, None);
        assert!(read(json!({ "parameters": {}, "outputs": null })).unwrap().outputs.is_none());
        assert!(read(json!({ "parameters": {}, "outputs": keys(2) })).unwrap().outputs.is_some());
        assert!(read(json!({ "parameters": [] })).is_err());
        assert!(read(json!({ "parameters": {}, "outputs": nested(DEPTH_MAX + 1) })).is_err());
    }
}
