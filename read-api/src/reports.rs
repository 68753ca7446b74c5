//! Reports for auditors, made of the tenant's log and answered as CSV or NDJSON. Each is written down in that log before it is answered.

use std::sync::Arc;

use aide::{
    OperationInput, OperationOutput,
    generate::GenContext,
    openapi::{self, MediaType, Operation, SchemaObject},
    transform::TransformOperation,
};
use axum::{
    extract::{FromRequestParts, State},
    http::{HeaderValue, header, request::Parts},
    response::{IntoResponse, Response},
};
use hub_http::{
    Caller, Path, Problem, Query, ReadConsistency, ReadPosition, Routes, TenantCaller,
    accept::preferred,
    access::BoxFuture,
    openapi::{Inferred, described, header_documented, inferred},
};
use hub_report::{Bound, Format, Head, Kind, Limits, Report, ReportError, Request};
use schemars::{JsonSchema, json_schema};
use serde::Deserialize;
use uuid::Uuid;

use crate::{audit::TAG, failure::failed, reach::Source, state::Queries};

/// So many reports are made at once in a process; each is held in memory as a whole.
pub(crate) const REPORTS_MAX: usize = 4;

/// What one answer takes in. Longer periods and reports are for `hub audit report`, which has other limits.
const LIMITS: Limits = Limits { position_count_max: 100_000, row_count_max: 10_000 };

/// The media types of an answer; the first one when nothing is asked for.
const FORMS: [(&str, &str, Format); 2] = [
    ("application/x-ndjson", "application/x-ndjson", Format::Ndjson),
    ("text/csv", "text/csv; charset=utf-8; header=present", Format::Csv),
];

/// Writes down that a report leaves the platform.
pub trait Disclosures: Send + Sync {
    /// Writes it into the log of the report's tenant. Nothing is answered unless this succeeds.
    fn report_run<'a>(
        &'a self,
        caller: &'a Caller,
        head: &'a Head,
        format: Format,
    ) -> BoxFuture<'a, Result<(), Problem>>;
}

/// For processes without anybody who writes: no report is answered.
#[derive(Debug)]
pub(crate) struct Unrecorded;

impl Disclosures for Unrecorded {
    fn report_run<'a>(&'a self, _: &'a Caller, _: &'a Head, _: Format) -> BoxFuture<'a, Result<(), Problem>> {
        Box::pin(std::future::ready(Err(Problem::store_unavailable())))
    }
}

impl Queries {
    /// Answers reports, too, which are written down by `disclosures`.
    #[must_use]
    pub fn with_reports(self, disclosures: Arc<dyn Disclosures>) -> Self {
        Self { disclosures, ..self }
    }
}

pub(crate) fn routes() -> Routes<Queries> {
    Routes::new().get("/v1/tenants/{tenant_id}/audit/reports/{kind}", "audit_report:read", report, describe)
}

#[derive(Debug, Deserialize, JsonSchema)]
struct ReportPath {
    /// What the report is about.
    kind: KindName,
}

#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(rename = "ReportKind")]
enum KindName {
    Access,
    Activity,
    Emergency,
    History,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct ReportQuery {
    /// Where the period begins: a place in the tenant's log, or a moment (RFC 3339), from which the first event is meant. The beginning of the log
    /// when absent.
    from: Option<String>,
    /// Where the period ends: a place in the tenant's log, or a moment, before which the last event is meant. The end of the log when absent.
    to: Option<String>,
    /// Whose activity; only whose access, or only whose emergency access.
    principal: Option<String>,
    /// Of a history: the type of the aggregate.
    aggregate_type: Option<String>,
    /// Of a history: the aggregate.
    aggregate_id: Option<Uuid>,
    /// What is answered, whatever `Accept` says.
    format: Option<FormatName>,
}

#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(rename = "ReportFormat")]
enum FormatName {
    Csv,
    Ndjson,
}

/// What `Accept` prefers.
#[derive(Debug, Clone, Copy)]
struct Accepted(Format);

impl<S: Send + Sync> FromRequestParts<S> for Accepted {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Problem> {
        let offers = FORMS.map(|(name, ..)| name);
        Ok(Self(FORMS[preferred(&parts.headers, &offers)].2))
    }
}

/// `Accept` is no parameter of an operation: the document lists the media types of the answer.
impl OperationInput for Accepted {}

async fn report(
    caller: TenantCaller,
    Path(ReportPath { kind }): Path<ReportPath>,
    consistency: ReadConsistency,
    Query(query): Query<ReportQuery>,
    Accepted(accepted): Accepted,
    State(queries): State<Queries>,
) -> Result<ReportAnswer, Problem> {
    let format = match query.format {
        Some(FormatName::Csv) => Format::Csv,
        Some(FormatName::Ndjson) => Format::Ndjson,
        None => accepted,
    };
    let request = request(caller.tenant.id(), kind, query)?;
    let _room = queries.reports.try_acquire().map_err(|_| Problem::overloaded())?;
    let mut reading = queries.reach(caller.tenant, Source::Log, consistency).await?;
    let report = hub_report::make(&mut reading.connection, &request, &queries.upcasters).await.map_err(problem_of)?;
    drop(reading);
    // First, so that whatever leaves is known; an answer that gets lost on its way is known, too.
    queries.disclosures.report_run(&caller.caller, &report.head, format).await?;
    Ok(ReportAnswer { report, format })
}

fn request(tenant_id: Uuid, kind: KindName, query: ReportQuery) -> Result<Request, Problem> {
    let bound = |name: &'static str, text: Option<String>| {
        let bound: Option<Result<Bound, _>> = text.map(|text| text.parse());
        bound.transpose().map_err(|detail| Problem::invalid_query(Some(name), detail))
    };
    Ok(Request {
        tenant_id,
        kind: match kind {
            KindName::Access => Kind::Access,
            KindName::Activity => Kind::Activity,
            KindName::Emergency => Kind::Emergency,
            KindName::History => Kind::History,
        },
        from: bound("from", query.from)?,
        to: bound("to", query.to)?,
        principal: query.principal,
        aggregate_type: query.aggregate_type,
        aggregate_id: query.aggregate_id,
        limits: LIMITS,
    })
}

fn problem_of(error: ReportError) -> Problem {
    match error {
        ReportError::Database(error) => failed(error),
        ReportError::NoEvents => Problem::not_found(),
        ReportError::Invalid { parameter, detail } => Problem::invalid_query(Some(parameter), detail),
        ReportError::Unreadable { .. } => {
            tracing::error!(%error, "a report cannot be made");
            Problem::internal()
        }
    }
}

/// A report as a file.
#[derive(Debug)]
struct ReportAnswer {
    report: Report,
    format: Format,
}

impl IntoResponse for ReportAnswer {
    fn into_response(self) -> Response {
        let Self { report, format } = self;
        let Head { tenant_id, from, to, position, .. } = report.head;
        let (media_type, end) = match format {
            Format::Ndjson => (FORMS[0].1, "ndjson"),
            Format::Csv => (FORMS[1].1, "csv"),
        };
        let name = report.head.report.name();
        let file = format!("attachment; filename=\"{name}-report-{tenant_id}-{from}-{to}.{end}\"");
        let file = HeaderValue::try_from(file).expect("names of reports, ids and numbers are visible ascii");
        let headers =
            [(header::CONTENT_TYPE, HeaderValue::from_static(media_type)), (header::CONTENT_DISPOSITION, file)];
        let position = ReadPosition(i64::try_from(position).unwrap_or(i64::MAX));
        (position, headers, report.written(format)).into_response()
    }
}

impl OperationOutput for ReportAnswer {
    type Inner = Self;

    fn operation_response(_: &mut GenContext, _: &mut Operation) -> Option<openapi::Response> {
        let description = "The first record is the report's statement of what it is of (period, position, checkpoint, whether it is complete); its \
                           member `record` is `report`, and that of each row is `row`. In CSV the statement is JSON in the column `report`. A text that \
                           a spreadsheet could take for a formula has an apostrophe before it.";
        let mut response = openapi::Response { description: "The report.".to_owned(), ..openapi::Response::default() };
        for (media_type, ..) in FORMS {
            let schema = json_schema!({"type": "string", "description": description});
            let schema = SchemaObject { json_schema: schema, external_docs: None, example: None };
            response.content.insert(media_type.to_owned(), MediaType { schema: Some(schema), ..MediaType::default() });
        }
        let position = "Place of the tenant's last event when the report was made.";
        response.headers.insert("Projection-Position".into(), header_documented(position, "integer"));
        let disposition = "`attachment`, with a file name that has the tenant's id and the period.";
        response.headers.insert("Content-Disposition".into(), header_documented(disposition, "string"));
        Some(response)
    }

    fn inferred_responses(ctx: &mut GenContext, operation: &mut Operation) -> Inferred {
        inferred(200, Self::operation_response(ctx, operation))
    }
}

fn describe(operation: TransformOperation<'_>) -> TransformOperation<'_> {
    let description = "`access`: who held which role from when until when, who gave and took it, what brought it, and what it permitted then. \
        `activity`: everything that `principal` did, with what it was refused and what it read of what is sensitive. `history`: what each event \
        changed of one aggregate, field by field, before and after. `emergency`: emergency and support access with reason, ticket, review, and \
        what was done with it. At most 10,000 rows of a period of at most 100,000 events; a report that was cut says so and where to go on. \
        Its own run becomes an event of the tenant before it is answered.";
    described(operation, "makeAuditReport", TAG, "Make a report for auditors", description)
}
