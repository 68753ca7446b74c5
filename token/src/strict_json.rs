//! JSON objects in which no member stands twice, at any depth.
//!
//! Readers of JSON disagree about which of two equal members counts, so a token that has one twice can mean one thing to
//! whoever issued it and another to us (RFC 8725, 2.6 and 3.1). It means nothing here.

use std::{cell::Cell, fmt};

use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

/// Why some bytes are no such object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Error {
    /// No JSON, or no object, or something behind it.
    Malformed,
    /// A member twice.
    Duplicate,
}

/// The object that is exactly these bytes. Depth is bounded by `serde_json` (128), size by the caller.
pub(crate) fn object(bytes: &[u8]) -> Result<Map<String, Value>, Error> {
    let duplicate = Cell::new(false);
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    let value =
        Strict { duplicate: &duplicate }.deserialize(&mut reader).and_then(|value| reader.end().map(|()| value));
    match value {
        Ok(Value::Object(members)) => Ok(members),
        Err(_) if duplicate.get() => Err(Error::Duplicate),
        Ok(_) | Err(_) => Err(Error::Malformed),
    }
}

/// Reads one value, and notes when it stopped at a member that it had already.
#[derive(Clone, Copy)]
struct Strict<'a> {
    duplicate: &'a Cell<bool>,
}

impl<'de> DeserializeSeed<'de> for Strict<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict<'_> {
    type Value = Value;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = access.next_element_seed(self)? {
            items.push(item);
        }
        Ok(Value::Array(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let mut members = Map::new();
        while let Some(name) = access.next_key::<String>()? {
            if members.contains_key(&name) {
                self.duplicate.set(true);
                return Err(A::Error::custom("a member twice"));
            }
            members.insert(name, access.next_value_seed(self)?);
        }
        Ok(Value::Object(members))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{Error, object};

    #[test]
    fn an_object_is_read_as_serde_json_reads_it() {
        let text = r#"{"a":[1,-2,1.5,true,null,"\u00e9"],"b":{"c":{}}}"#;
        assert_eq!(
            serde_json::Value::Object(object(text.as_bytes()).unwrap()),
            json!({"a": [1, -2, 1.5, true, null, "é"], "b": {"c": {}}})
        );
    }

    #[test]
    fn a_member_twice_is_refused_at_every_depth_and_however_it_is_spelled() {
        for text in
            [r#"{"a":1,"a":1}"#, r#"{"b":{"a":1,"a":2}}"#, r#"{"b":[{"a":1,"a":2}]}"#, r#"{"sub":1,"\u0073ub":2}"#]
        {
            assert_eq!(object(text.as_bytes()), Err(Error::Duplicate), "{text}");
        }
    }

    #[test]
    fn what_is_no_object_or_more_than_one_is_malformed() {
        for text in [
            "",
            "1",
            "[]",
            "null",
            "{}{}",
            "{} x",
            "{",
            r#"{"a":1,}"#,
            r#"{"a":1e999}"#,
            r#"{"a":"\ud800"}"#,
            "\u{feff}{}",
        ] {
            assert_eq!(object(text.as_bytes()), Err(Error::Malformed), "{text}");
        }
        assert_eq!(object(b"{\"a\":\"\xff\"}"), Err(Error::Malformed));
    }

    #[test]
    fn depth_ends() {
        let deep = format!(r#"{{"a":{}{}}}"#, "[".repeat(4000), "]".repeat(4000));
        assert_eq!(object(deep.as_bytes()), Err(Error::Malformed));
    }
}
