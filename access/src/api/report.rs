//! Reports that are answered as JSON, or as CSV (RFC 4180) to those who ask for it with `Accept: text/csv`.
//!
//! A report is an object with a list of rows. In CSV each row also has the report's own members that are among the columns, such as the
//! position it is of: whoever keeps, sorts or cuts the file keeps them.

use std::marker::PhantomData;

use aide::{
    OperationInput, OperationOutput,
    generate::GenContext,
    openapi::{self, MediaType, Operation},
};
use axum::{
    Json,
    extract::FromRequestParts,
    http::{HeaderMap, HeaderValue, header, request::Parts},
    response::{IntoResponse, Response},
};
use hub_http::{
    Problem, ReadPosition,
    accept::preferred,
    openapi::{Inferred, header_documented, inferred},
};
use hub_sheet::{MEDIA_TYPE, MEDIA_TYPE_ANSWERED};
use schemars::{JsonSchema, json_schema};
use serde::Serialize;
use serde_json::Value;
use uuid::Uuid;

/// What the caller wants to read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    Json,
    Csv,
}

impl Form {
    /// CSV when `Accept` prefers it to JSON; else JSON, which is what every operation answers whatever `Accept` says.
    fn of(headers: &HeaderMap) -> Self {
        if preferred(headers, &["application/json", MEDIA_TYPE]) == 1 { Self::Csv } else { Self::Json }
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Form {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Problem> {
        Ok(Self::of(&parts.headers))
    }
}

/// `Accept` is no parameter of an operation: the document lists the media types of the answer.
impl OperationInput for Form {}

/// How a report becomes a file.
#[derive(Debug)]
pub(super) struct Sheet {
    /// What the file's name begins with.
    pub(super) name: &'static str,
    /// The member of the report that is the list of rows.
    pub(super) rows: &'static str,
    /// Members of a row, or of the report.
    pub(super) columns: &'static [&'static str],
}

/// The answer.
#[derive(Debug)]
pub(super) struct Report<T> {
    answer: Response,
    report: PhantomData<T>,
}

impl<T: Serialize> Report<T> {
    /// The report of a tenant, at this position of the log.
    pub(super) fn new(form: Form, sheet: &Sheet, tenant_id: Uuid, position: i64, report: &T) -> Self {
        let answer = match form {
            Form::Json => Json(report).into_response(),
            Form::Csv => {
                let file = format!("attachment; filename=\"{}-{tenant_id}-{position}.csv\"", sheet.name);
                let file = HeaderValue::try_from(file).expect("names of sheets, ids and numbers are visible ascii");
                let headers = [
                    (header::CONTENT_TYPE, HeaderValue::from_static(MEDIA_TYPE_ANSWERED)),
                    (header::CONTENT_DISPOSITION, file),
                ];
                let report = serde_json::to_value(report).expect("an answer is plain json");
                (headers, written(sheet, &report)).into_response()
            }
        };
        Self { answer: (ReadPosition(position), answer).into_response(), report: PhantomData }
    }
}

/// The rows below a line with the names of the columns.
fn written(sheet: &Sheet, report: &Value) -> Vec<u8> {
    let rows = report[sheet.rows].as_array().into_iter().flatten();
    let cells = rows.map(|row| sheet.columns.iter().map(|name| row.get(*name).unwrap_or(&report[*name])).collect());
    hub_sheet::written(sheet.columns, cells)
}

impl<T> IntoResponse for Report<T> {
    fn into_response(self) -> Response {
        self.answer
    }
}

impl<T: JsonSchema> OperationOutput for Report<T> {
    type Inner = T;

    fn operation_response(ctx: &mut GenContext, operation: &mut Operation) -> Option<openapi::Response> {
        let mut response = Json::<T>::operation_response(ctx, operation)?;
        response.description = "The report, as JSON or, when `Accept` prefers it, as CSV.".to_owned();
        let description = "RFC 4180, with a line of names first. Each row also has the members of the report beside its list. A text that begins \
                           with `=`, `+`, `-`, `@` or a blank that breaks cells has an apostrophe before it, so that no spreadsheet takes it for a formula.";
        let schema = json_schema!({"type": "string", "description": description});
        let schema = openapi::SchemaObject { json_schema: schema, external_docs: None, example: None };
        response.content.insert(MEDIA_TYPE.to_owned(), MediaType { schema: Some(schema), ..MediaType::default() });
        let position = "Position in the log up to which the rights that the report is of were known.";
        response.headers.insert("Projection-Position".into(), header_documented(position, "integer"));
        let disposition = "Of CSV: `attachment`, with a file name that has the tenant's id and the position.";
        response.headers.insert("Content-Disposition".into(), header_documented(disposition, "string"));
        Some(response)
    }

    fn inferred_responses(ctx: &mut GenContext, operation: &mut Operation) -> Inferred {
        inferred(200, Self::operation_response(ctx, operation))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const SHEET: Sheet = Sheet { name: "x", rows: "rows", columns: &["name", "count", "position"] };

    fn csv(rows: Value) -> String {
        String::from_utf8(written(&SHEET, &json!({ "rows": rows, "position": 7 }))).unwrap()
    }

    #[test]
    fn a_line_of_names_stands_above_rows_that_all_have_the_members_of_the_report() {
        let rows = json!([{ "count": 3, "name": "ada" }, { "name": null, "count": 0 }]);
        assert_eq!(csv(rows), "name,count,position\r\nada,3,7\r\n,0,7\r\n");
        assert_eq!(csv(json!([])), "name,count,position\r\n");
    }

    #[test]
    fn csv_is_answered_to_those_who_prefer_it() {
        let form = |values: &[&str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(header::ACCEPT, value.parse().unwrap());
            }
            Form::of(&headers)
        };
        for csv in [
            &["text/csv"][..],
            &["Text/CSV; charset=utf-8; header=present"],
            &["text/*"],
            &["text/csv, */*"],
            &["application/json;q=0.5", "text/csv;q=0.6"],
            &["application/json;q=0, text/csv;q=0.001"],
            &["text/html, text/csv;q=0.9, */*;q=0.8"],
        ] {
            assert_eq!(form(csv), Form::Csv, "{csv:?}");
        }
        for json in [
            &[][..],
            &[""],
            &["*/*"],
            &["application/json"],
            &["application/json, text/csv"],
            &["text/csv;q=0"],
            &["text/csv;q=many"],
            &["text/csv;q=1.5"],
            &["text/csv;q=-0.5"],
            &["text/csv;q=0.+5"],
            &["text/csv;q=0.5, application/*"],
            &["image/png"],
            &["text/csvx"],
        ] {
            assert_eq!(form(json), Form::Json, "{json:?}");
        }
    }
}
