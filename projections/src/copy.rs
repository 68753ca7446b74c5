//! Rows as lines of `COPY .. FROM STDIN`: each field of a row's JSON as the text that PostgreSQL reads for its column.
//!
//! What cannot be written this way (a field that is missing, a nested value for a column that is not `jsonb`) is an error, and the rows
//! are then handed over as JSON.

use std::fmt::{Display, Write as _};

use serde::{
    Serialize, Serializer,
    ser::{Error as _, Impossible, SerializeStruct},
};

/// A column that rows are copied to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Column {
    pub(crate) name: String,
    /// Whether it holds JSON; then so is its text.
    pub(crate) json: bool,
}

/// Why a row cannot be written as a line.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct CopyError(String);

impl serde::ser::Error for CopyError {
    fn custom<T: Display>(message: T) -> Self {
        Self(message.to_string())
    }
}

/// The names of the fields of a row in the order in which they are written.
pub(crate) fn field_names(row: &impl Serialize) -> Result<Vec<&'static str>, CopyError> {
    let mut names = Vec::new();
    row.serialize(Structs(Names(&mut names)))?;
    Ok(names)
}

/// Appends the row as one line; its fields must be the columns, in their order.
pub(crate) fn write_line(row: &impl Serialize, columns: &[Column], line: &mut Vec<u8>) -> Result<(), CopyError> {
    let begin = line.len();
    let written = row.serialize(Structs(Line { columns, next: 0, line }));
    match written {
        Ok(()) => line.push(b'\n'),
        Err(_) => line.truncate(begin),
    }
    written
}

/// Takes a struct, and nothing else.
struct Structs<T>(T);

struct Names<'a>(&'a mut Vec<&'static str>);

struct Line<'a> {
    columns: &'a [Column],
    next: usize,
    line: &'a mut Vec<u8>,
}

impl SerializeStruct for Names<'_> {
    type Ok = ();
    type Error = CopyError;

    fn serialize_field<T: Serialize + ?Sized>(&mut self, key: &'static str, _: &T) -> Result<(), CopyError> {
        self.0.push(key);
        Ok(())
    }

    fn end(self) -> Result<(), CopyError> {
        Ok(())
    }
}

impl SerializeStruct for Line<'_> {
    type Ok = ();
    type Error = CopyError;

    fn serialize_field<T: Serialize + ?Sized>(&mut self, key: &'static str, value: &T) -> Result<(), CopyError> {
        let column = self.columns.get(self.next).filter(|column| column.name == key);
        let column = column.ok_or_else(|| CopyError::custom(format!("the field `{key}` comes out of turn")))?;
        if self.next > 0 {
            self.line.push(b'\t');
        }
        self.next += 1;
        if column.json { write_json(value, self.line) } else { value.serialize(Text(self.line)) }
    }

    fn end(self) -> Result<(), CopyError> {
        if self.next == self.columns.len() { Ok(()) } else { Err(CopyError::custom("a field is missing")) }
    }
}

fn write_json<T: Serialize + ?Sized>(value: &T, line: &mut Vec<u8>) -> Result<(), CopyError> {
    let begin = line.len();
    serde_json::to_writer(&mut *line, value).map_err(CopyError::custom)?;
    if &line[begin..] == b"null" {
        line.truncate(begin);
        line.extend(NULL);
    } else if line[begin..].contains(&b'\\') {
        let text = line.split_off(begin);
        escape(&text, line);
    }
    Ok(())
}

const NULL: &[u8] = b"\\N";

/// What `COPY` would take for something else gets a backslash.
fn escape(text: &[u8], line: &mut Vec<u8>) {
    let mut rest = text;
    while let Some(place) = rest.iter().position(|byte| matches!(byte, b'\\' | b'\t' | b'\n' | b'\r')) {
        line.extend(&rest[..place]);
        line.push(b'\\');
        line.push(match rest[place] {
            b'\t' => b't',
            b'\n' => b'n',
            b'\r' => b'r',
            backslash => backslash,
        });
        rest = &rest[place + 1..];
    }
    line.extend(rest);
}

/// One field that is a text, a number, a truth or nothing.
struct Text<'a>(&'a mut Vec<u8>);

impl Text<'_> {
    fn display(self, value: impl Display) -> Result<(), CopyError> {
        let mut text = String::new();
        write!(text, "{value}").map_err(CopyError::custom)?;
        self.0.extend(text.as_bytes());
        Ok(())
    }
}

fn nested<T>() -> Result<T, CopyError> {
    Err(CopyError::custom("a nested value needs a column of type jsonb"))
}

/// The methods of `Serializer` for numbers, each of which goes to `display`.
macro_rules! displayed {
    ($($method:ident: $type:ty),*) => {
        $(fn $method(self, value: $type) -> Result<(), CopyError> {
            self.display(value)
        })*
    };
}

impl Serializer for Text<'_> {
    type Ok = ();
    type Error = CopyError;
    type SerializeSeq = Impossible<(), CopyError>;
    type SerializeTuple = Impossible<(), CopyError>;
    type SerializeTupleStruct = Impossible<(), CopyError>;
    type SerializeTupleVariant = Impossible<(), CopyError>;
    type SerializeMap = Impossible<(), CopyError>;
    type SerializeStruct = Impossible<(), CopyError>;
    type SerializeStructVariant = Impossible<(), CopyError>;

    displayed!(
        serialize_i8: i8, serialize_i16: i16, serialize_i32: i32, serialize_i64: i64, serialize_u8: u8, serialize_u16: u16,
        serialize_u32: u32, serialize_u64: u64, serialize_f32: f32, serialize_f64: f64, serialize_bool: bool
    );

    fn serialize_char(self, value: char) -> Result<(), CopyError> {
        self.serialize_str(value.encode_utf8(&mut [0; 4]))
    }

    fn serialize_str(self, value: &str) -> Result<(), CopyError> {
        escape(value.as_bytes(), self.0);
        Ok(())
    }

    fn collect_str<T: Display + ?Sized>(self, value: &T) -> Result<(), CopyError> {
        let mut text = String::new();
        write!(text, "{value}").map_err(CopyError::custom)?;
        self.serialize_str(&text)
    }

    fn serialize_none(self) -> Result<(), CopyError> {
        self.0.extend(NULL);
        Ok(())
    }

    fn serialize_unit(self) -> Result<(), CopyError> {
        self.serialize_none()
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<(), CopyError> {
        value.serialize(self)
    }

    fn serialize_unit_struct(self, _: &'static str) -> Result<(), CopyError> {
        self.serialize_none()
    }

    fn serialize_unit_variant(self, _: &'static str, _: u32, variant: &'static str) -> Result<(), CopyError> {
        self.serialize_str(variant)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(self, _: &'static str, value: &T) -> Result<(), CopyError> {
        value.serialize(self)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: &T,
    ) -> Result<(), CopyError> {
        nested()
    }

    fn serialize_bytes(self, _: &[u8]) -> Result<(), CopyError> {
        nested()
    }

    fn serialize_seq(self, _: Option<usize>) -> Result<Self::SerializeSeq, CopyError> {
        nested()
    }

    fn serialize_tuple(self, _: usize) -> Result<Self::SerializeTuple, CopyError> {
        nested()
    }

    fn serialize_tuple_struct(self, _: &'static str, _: usize) -> Result<Self::SerializeTupleStruct, CopyError> {
        nested()
    }

    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Self::SerializeTupleVariant, CopyError> {
        nested()
    }

    fn serialize_map(self, _: Option<usize>) -> Result<Self::SerializeMap, CopyError> {
        nested()
    }

    fn serialize_struct(self, _: &'static str, _: usize) -> Result<Self::SerializeStruct, CopyError> {
        nested()
    }

    fn serialize_struct_variant(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Self::SerializeStructVariant, CopyError> {
        nested()
    }
}

/// The methods of `Serializer` for everything that is no struct.
macro_rules! refused {
    ($($method:ident($($argument:ty),*) -> $answer:ty;)*) => {
        $(fn $method(self, $(_: $argument),*) -> Result<$answer, CopyError> {
            Err(CopyError::custom("a row is a struct with named fields"))
        })*
    };
}

impl<S: SerializeStruct<Ok = (), Error = CopyError>> Serializer for Structs<S> {
    type Ok = ();
    type Error = CopyError;
    type SerializeSeq = Impossible<(), CopyError>;
    type SerializeTuple = Impossible<(), CopyError>;
    type SerializeTupleStruct = Impossible<(), CopyError>;
    type SerializeTupleVariant = Impossible<(), CopyError>;
    type SerializeMap = Impossible<(), CopyError>;
    type SerializeStruct = S;
    type SerializeStructVariant = Impossible<(), CopyError>;

    refused! {
        serialize_bool(bool) -> ();
        serialize_i8(i8) -> ();
        serialize_i16(i16) -> ();
        serialize_i32(i32) -> ();
        serialize_i64(i64) -> ();
        serialize_u8(u8) -> ();
        serialize_u16(u16) -> ();
        serialize_u32(u32) -> ();
        serialize_u64(u64) -> ();
        serialize_f32(f32) -> ();
        serialize_f64(f64) -> ();
        serialize_char(char) -> ();
        serialize_str(&str) -> ();
        serialize_bytes(&[u8]) -> ();
        serialize_none() -> ();
        serialize_unit() -> ();
        serialize_unit_struct(&'static str) -> ();
        serialize_unit_variant(&'static str, u32, &'static str) -> ();
        serialize_seq(Option<usize>) -> Self::SerializeSeq;
        serialize_tuple(usize) -> Self::SerializeTuple;
        serialize_tuple_struct(&'static str, usize) -> Self::SerializeTupleStruct;
        serialize_tuple_variant(&'static str, u32, &'static str, usize) -> Self::SerializeTupleVariant;
        serialize_map(Option<usize>) -> Self::SerializeMap;
        serialize_struct_variant(&'static str, u32, &'static str, usize) -> Self::SerializeStructVariant;
    }

    fn serialize_struct(self, _: &'static str, _: usize) -> Result<S, CopyError> {
        Ok(self.0)
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<(), CopyError> {
        value.serialize(self)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(self, _: &'static str, value: &T) -> Result<(), CopyError> {
        value.serialize(self)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: &T,
    ) -> Result<(), CopyError> {
        Err(CopyError::custom("a row is a struct with named fields"))
    }
}

#[cfg(test)]
mod tests {
    use serde::Serialize;
    use serde_json::json;

    use super::{Column, field_names, write_line};

    #[derive(Serialize)]
    #[serde(rename_all = "snake_case")]
    enum Stage {
        InTransit,
    }

    #[derive(Serialize)]
    struct Row {
        id: i64,
        stage: Stage,
        last: Option<&'static str>,
        seen: bool,
        tags: serde_json::Value,
    }

    fn columns(json: &[&str]) -> Vec<Column> {
        let names = ["id", "stage", "last", "seen", "tags"];
        names.map(|name| Column { name: name.to_owned(), json: json.contains(&name) }).to_vec()
    }

    fn row(last: Option<&'static str>, tags: serde_json::Value) -> Row {
        Row { id: -7, stage: Stage::InTransit, last, seen: true, tags }
    }

    fn line(row: &Row, columns: &[Column]) -> Option<String> {
        let mut line = Vec::new();
        write_line(row, columns, &mut line).ok()?;
        Some(String::from_utf8(line).unwrap())
    }

    #[test]
    fn a_row_is_a_line_of_its_fields() {
        assert_eq!(field_names(&row(None, json!({}))).unwrap(), ["id", "stage", "last", "seen", "tags"]);
        let plain = line(&row(Some("Ada"), json!({ "a": [1] })), &columns(&["tags"]));
        assert_eq!(plain.unwrap(), "-7\tin_transit\tAda\ttrue\t{\"a\":[1]}\n");
        let nothing = line(&row(None, json!(null)), &columns(&["tags"]));
        assert_eq!(nothing.unwrap(), "-7\tin_transit\t\\N\ttrue\t\\N\n");
    }

    #[test]
    fn what_copy_would_misread_is_escaped() {
        let escaped = line(&row(Some("a\tb\\N\nc\r"), json!("\\")), &columns(&["tags"]));
        assert_eq!(escaped.unwrap(), "-7\tin_transit\ta\\tb\\\\N\\nc\\r\ttrue\t\"\\\\\\\\\"\n");
    }

    #[test]
    fn a_row_that_does_not_fit_its_columns_is_no_line() {
        assert!(line(&row(None, json!({})), &columns(&[])).is_none(), "nested");
        assert!(line(&row(None, json!({})), &columns(&["tags"])[1..]).is_none(), "out of turn");
        let mut more = columns(&["tags"]);
        more.push(Column { name: "more".to_owned(), json: false });
        assert!(line(&row(None, json!({})), &more).is_none(), "missing");
        assert!(write_line(&json!([1]), &[], &mut Vec::new()).is_err());
    }
}
