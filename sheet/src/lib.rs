//! CSV (RFC 4180) that is safe to open in a spreadsheet: the only place where cells are made.

use csv::{Terminator, WriterBuilder};
use serde_json::Value;

/// As it is named in documents.
pub const MEDIA_TYPE: &str = "text/csv";

/// As it is answered: RFC 4180, section 3.
pub const MEDIA_TYPE_ANSWERED: &str = "text/csv; charset=utf-8; header=present";

/// A cell that begins with one of these may be a formula to a spreadsheet.
const FORMULA_BEGINS: [char; 7] = ['=', '+', '-', '@', '\t', '\r', '\n'];

/// What a cell shows. A text that a spreadsheet may take for a formula begins with an apostrophe, which makes it a text.
#[must_use]
pub fn cell(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) if text.starts_with(FORMULA_BEGINS) => format!("'{text}"),
        Value::String(text) => text.clone(),
        Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => value.to_string(),
    }
}

/// The lines, each ended by CR LF, below a line with the names of the columns. Each line has as many values as there are columns.
#[must_use]
pub fn written<'a>(columns: &[&str], lines: impl IntoIterator<Item = Vec<&'a Value>>) -> Vec<u8> {
    let mut writer = WriterBuilder::new().terminator(Terminator::CRLF).from_writer(Vec::new());
    writer.write_record(columns).expect("memory takes what is written");
    for line in lines {
        let cells = line.into_iter().map(cell);
        writer.write_record(cells).expect("lines are alike, and memory takes them");
    }
    writer.into_inner().expect("memory takes what is written")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn csv(lines: &[[Value; 2]]) -> String {
        let lines = lines.iter().map(|line| line.iter().collect());
        String::from_utf8(written(&["name", "count"], lines)).unwrap()
    }

    #[test]
    fn cells_are_quoted_as_rfc_4180_has_it() {
        assert_eq!(csv(&[]), "name,count\r\n");
        assert_eq!(csv(&[[json!("a,\"b\"\r\nc"), json!(1)]]), "name,count\r\n\"a,\"\"b\"\"\r\nc\",1\r\n");
    }

    #[test]
    fn no_cell_is_a_formula() {
        for (text, shown) in [
            ("=1+1", "'=1+1"),
            ("+1", "'+1"),
            ("-1", "'-1"),
            ("@SUM(A1)", "'@SUM(A1)"),
            ("\t=1", "'\t=1"),
            ("\r=1", "'\r=1"),
            ("\n=1", "'\n=1"),
            ("=cmd|' /C calc'!A0", "'=cmd|' /C calc'!A0"),
            ("user:=1", "user:=1"),
            ("", ""),
        ] {
            assert_eq!(cell(&json!(text)), shown);
        }
        assert_eq!(cell(&json!(-1)), "-1", "a number is no text");
    }
}
