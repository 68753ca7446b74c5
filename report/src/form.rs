//! A report as a file: CSV, or NDJSON.
//!
//! In both, the first record is the report's own statement of what it is of, and `record` tells it from the rows: `report`, then `row`. In CSV the
//! statement is JSON in the last column of the first line below the names; that keeps the file one table, which a spreadsheet filters and sorts, and
//! what it is of cannot be lost beside it.

use serde::Serialize;
use serde_json::Value;

use crate::{Head, Report};

/// What a report is written as.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Format {
    /// RFC 4180, each cell safe to open in a spreadsheet.
    Csv,
    /// One object a line.
    Ndjson,
}

/// The first column.
const RECORD: &str = "record";

/// The last column, and what the first record is.
const REPORT: &str = "report";

/// A line of NDJSON.
#[derive(Serialize)]
struct Line<'a, T> {
    record: &'static str,
    #[serde(flatten)]
    rest: &'a T,
}

/// The head of NDJSON, where the kind of the report has a member of its own.
#[derive(Serialize)]
struct Statement<'a> {
    record: &'static str,
    #[serde(flatten)]
    head: &'a Head,
}

impl Report {
    /// The whole file.
    #[must_use]
    pub fn written(&self, format: Format) -> Vec<u8> {
        match format {
            Format::Csv => self.csv(),
            Format::Ndjson => self.ndjson(),
        }
    }

    fn csv(&self) -> Vec<u8> {
        let columns: Vec<&str> = [&[RECORD], self.columns, &[REPORT]].concat();
        let (report, row, nothing) = (Value::from(REPORT), Value::from("row"), Value::Null);
        // A text, whose first character is a brace: no formula.
        let statement = Value::from(serde_json::to_string(&self.head).expect("a head is plain json"));
        let mut first = vec![&report];
        first.extend(self.columns.iter().map(|_| &nothing));
        first.push(&statement);
        let rows = self.rows.iter().map(|values| {
            let mut line = vec![&row];
            line.extend(self.columns.iter().map(|column| values.get(*column).unwrap_or(&nothing)));
            line.push(&nothing);
            line
        });
        hub_sheet::written(&columns, std::iter::once(first).chain(rows))
    }

    fn ndjson(&self) -> Vec<u8> {
        let mut bytes =
            serde_json::to_vec(&Statement { record: REPORT, head: &self.head }).expect("a head is plain json");
        for row in &self.rows {
            bytes.push(b'\n');
            serde_json::to_writer(&mut bytes, &Line { record: "row", rest: row }).expect("rows are objects");
        }
        bytes.push(b'\n');
        bytes
    }
}
