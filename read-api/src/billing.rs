//! A tenant's account statement: one charge for each opened period, with totals per currency.

use aide::{
    OperationOutput,
    generate::GenContext,
    openapi::{self, Operation},
    transform::TransformOperation,
};
use axum::{
    Json,
    extract::State,
    http::{HeaderMap, header},
    response::{IntoResponse, Response},
};
use chrono::{DateTime, Utc};
use hub_http::{
    Page, PageQuery, Problem, ReadConsistency, Routes, TenantCaller,
    openapi::{Inferred, described, inferred},
};
use hub_projections::{
    billing::{ChargeRow, Charges},
    model::ReadModel,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sqlx::{FromRow, types::Json as JsonColumn};
use uuid::Uuid;

use crate::{
    failure::failed,
    rows::{known_or_filled, rows_of},
    state::Queries,
    statement::{Statement, statement},
};

/// The tag of the context.
pub(crate) const TAG: &str = "billing";

/// Charges, the one whose period begins last first.
pub(crate) const NEWEST: Statement = statement!(
    "SELECT to_jsonb(c) FROM charges c WHERE c.tenant_id = $1",
    [
        " AND c.starts_at >= $3",
        " AND c.starts_at < $4",
        " AND c.currency = $5",
        " AND c.subscription_id = $6",
        " AND (c.starts_at, c.subscription_id, c.period_number) < ($7, $8, $9)",
    ],
    " ORDER BY c.starts_at DESC, c.subscription_id DESC, c.period_number DESC LIMIT $2",
);

/// Charges, the one whose period begins first first.
pub(crate) const OLDEST: Statement = statement!(
    "SELECT to_jsonb(c) FROM charges c WHERE c.tenant_id = $1",
    [
        " AND c.starts_at >= $3",
        " AND c.starts_at < $4",
        " AND c.currency = $5",
        " AND c.subscription_id = $6",
        " AND (c.starts_at, c.subscription_id, c.period_number) > ($7, $8, $9)",
    ],
    " ORDER BY c.starts_at, c.subscription_id, c.period_number LIMIT $2",
);

/// The sums of the same charges, whatever page is read.
pub(crate) const TOTALS: Statement = statement!(
    "SELECT c.currency, sum(c.amount_minor)::bigint AS amount_minor, count(*) AS charge_count FROM charges c WHERE c.tenant_id = $1",
    [" AND c.starts_at >= $2", " AND c.starts_at < $3", " AND c.currency = $4", " AND c.subscription_id = $5"],
    " GROUP BY c.currency ORDER BY c.currency",
);

pub(crate) fn routes() -> Routes<Queries> {
    Routes::new().get("/v1/tenants/{tenant_id}/statement", "billing:read", read, describe)
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum StatementOrder {
    #[default]
    Newest,
    Oldest,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct StatementFilter {
    /// Only periods that begin at this time or later.
    from: Option<DateTime<Utc>>,
    /// Only periods that begin before this time.
    to: Option<DateTime<Utc>>,
    /// Only charges in this currency, as its ISO 4217 code.
    currency: Option<String>,
    /// Only charges of this subscription.
    subscription_id: Option<Uuid>,
    /// Which period comes first; `newest` if absent.
    order: Option<StatementOrder>,
}

/// A page of an account statement.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Statement")]
struct StatementAnswer {
    /// The charges of this page.
    items: Vec<ChargeRow>,
    /// Where the next page begins; null when this page completes the list.
    next_cursor: Option<String>,
    /// The sums over all charges that the filters let through, not only those of this page.
    totals: Vec<Total>,
}

/// What was charged in one currency.
#[derive(Debug, Serialize, JsonSchema, FromRow)]
#[schemars(rename = "StatementTotal")]
struct Total {
    /// ISO 4217 code.
    currency: String,
    /// Minor units of the currency.
    amount_minor: i64,
    /// How many charges.
    charge_count: i64,
}

/// The key of a charge within its tenant, in the order of a statement.
type ChargePlace = (DateTime<Utc>, Uuid, i64);

async fn read(
    TenantCaller { caller, tenant, .. }: TenantCaller,
    consistency: ReadConsistency,
    query: PageQuery<StatementFilter>,
    State(queries): State<Queries>,
) -> Result<StatementPage, Problem> {
    let after: Option<ChargePlace> = query.open(&queries.cursor_key, &caller, Some(tenant))?;
    let mut reading = queries.reach_moment(tenant, Charges::NAME, consistency).await?;
    let StatementFilter { from, to, currency, subscription_id, order } = &query.filter;
    let statement = match order.unwrap_or_default() {
        StatementOrder::Newest => &NEWEST,
        StatementOrder::Oldest => &OLDEST,
    };
    let filters = [from.is_some(), to.is_some(), currency.is_some(), subscription_id.is_some()];
    let [one, two, three, four] = filters;
    let (page_text, totals_text) = (statement.with([one, two, three, four, after.is_some()]), TOTALS.with(filters));
    let (starts_at, subscription, number) = after.map_or((None, None, None), |(a, b, c)| (Some(a), Some(b), Some(c)));

    let rows: Vec<JsonColumn<ChargeRow>> = rows_of(&page_text)
        .bind(tenant.id())
        .bind(query.fetch_limit())
        .bind(from)
        .bind(to)
        .bind(currency.as_deref())
        .bind(subscription_id)
        .bind(starts_at)
        .bind(subscription)
        .bind(number)
        .fetch_all(&mut *reading.connection)
        .await
        .map_err(failed)?;
    let totals = sqlx::query_as(&totals_text)
        .bind(tenant.id())
        .bind(from)
        .bind(to)
        .bind(currency.as_deref())
        .bind(subscription_id)
        .fetch_all(&mut *reading.connection)
        .await
        .map_err(failed)?;

    known_or_filled(tenant, &rows, &mut reading.connection).await?;
    let rows = rows.into_iter().map(|JsonColumn(row)| row).collect();
    let place = |row: &ChargeRow| -> ChargePlace { (row.starts_at, row.subscription_id, row.period_number.into()) };
    let page = query.page(&queries.cursor_key, &caller, Some(tenant), rows, place);
    Ok(StatementPage::new(page.at(reading.position), totals))
}

/// A page with totals beside its items.
struct StatementPage {
    headers: HeaderMap,
    answer: StatementAnswer,
}

impl StatementPage {
    /// The page's own headers are kept; only its body gets one more member.
    fn new(page: Page<ChargeRow>, totals: Vec<Total>) -> Self {
        let next_cursor = page.next_cursor.clone();
        let mut items = Vec::with_capacity(page.items.len());
        let bare = page.map(|item| items.push(item));
        let mut headers = bare.into_response().into_parts().0.headers;
        headers.remove(header::CONTENT_LENGTH);
        Self { headers, answer: StatementAnswer { items, next_cursor, totals } }
    }
}

impl IntoResponse for StatementPage {
    fn into_response(self) -> Response {
        (self.headers, Json(self.answer)).into_response()
    }
}

impl OperationOutput for StatementPage {
    type Inner = StatementAnswer;

    fn operation_response(ctx: &mut GenContext, operation: &mut Operation) -> Option<openapi::Response> {
        let mut response = Page::<ChargeRow>::operation_response(ctx, operation)?;
        let with_totals = Json::<StatementAnswer>::operation_response(ctx, operation)?;
        response.content = with_totals.content;
        Some(response)
    }

    fn inferred_responses(ctx: &mut GenContext, operation: &mut Operation) -> Inferred {
        inferred(200, Self::operation_response(ctx, operation))
    }
}

fn describe(operation: TransformOperation<'_>) -> TransformOperation<'_> {
    let description = "The tenant's account statement: one charge for each period that was opened, by the time at which the period \
        begins, and the totals per currency over everything that the filters let through. Currencies are never added to each other.";
    described(operation, "getStatement", TAG, "Read a tenant's account statement", description)
}
