//! Lists by keyset paging: a bounded page, and a cursor that works only for the caller and query it was given to.
//!
//! Life: a list handler takes `PageQuery<Filter>`, opens its cursor, reads `fetch_limit()` rows after it, and hands
//! them to `page`, which cuts the extra row off: that row proves that more follows. A page without `next_cursor` is
//! the last one, so an answer is complete or says that it is not.

mod cursor;

use aide::{
    OperationInput, OperationOutput,
    generate::GenContext,
    openapi::{self, Operation},
};
use axum::{
    Json,
    extract::FromRequestParts,
    http::{HeaderValue, header, request::Parts},
    response::{IntoResponse, Response},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize, de::DeserializeOwned};

pub use self::cursor::{CURSOR_BYTES_MAX, CursorBinding, CursorKey};
use crate::{
    body::path_of,
    caller::{Caller, TenantScope},
    consistency::ReadPosition,
    openapi::{add_parameter_once, header_documented, json_response, query_parameter},
    params::{document_query, parse_query, query_of},
    problem::{self, Problem},
};

/// Items of a page when `limit` is absent.
pub const PAGE_LIMIT_DEFAULT: u32 = 50;

/// Most items of a page.
pub const PAGE_LIMIT_MAX: u32 = 500;

/// For lists that cannot be filtered: every parameter but `limit` and `cursor` is refused.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NoFilter {}

/// The query of a list: `limit`, `cursor`, and the list's own filter parameters as a flat struct `F`, which should
/// derive `#[serde(deny_unknown_fields)]` and must not have fields called `limit` or `cursor`.
#[derive(Clone, Debug)]
pub struct PageQuery<F = NoFilter> {
    /// Items wanted, 1 to 500.
    pub limit: u32,
    /// Where to go on, as given by the previous page.
    pub cursor: Option<String>,
    /// The list's own parameters.
    pub filter: F,
    path: String,
    /// The filter parameters as sent, sorted, encoded again.
    filter_query: String,
}

impl<F> PageQuery<F> {
    /// How many rows to read: one more than the limit.
    pub fn fetch_limit(&self) -> i64 {
        i64::from(self.limit) + 1
    }

    /// What the cursor stands for: the key after which to read, or `None` on the first page. 400 `invalid_cursor` for
    /// the cursor of another caller, tenant or query, and for a changed one.
    pub fn open<P: DeserializeOwned>(
        &self,
        key: &CursorKey,
        caller: &Caller,
        tenant: Option<TenantScope>,
    ) -> Result<Option<P>, Problem> {
        let query = self.bound_query();
        let binding =
            CursorBinding { tenant: tenant.map(|tenant| tenant.id()), principal: &caller.principal, query: &query };
        self.cursor.as_deref().map(|cursor| key.open(&binding, cursor)).transpose()
    }

    /// Makes the page from up to `fetch_limit()` rows in order; `after` is the key of the last row that is answered,
    /// from which the next page goes on.
    pub fn page<T, P: Serialize>(
        &self,
        key: &CursorKey,
        caller: &Caller,
        tenant: Option<TenantScope>,
        mut rows: Vec<T>,
        after: impl FnOnce(&T) -> P,
    ) -> Page<T> {
        let limit = self.limit as usize;
        let more = rows.len() > limit;
        rows.truncate(limit);
        let last = if more { rows.last() } else { None };
        let next_cursor = last.map(|row| {
            let query = self.bound_query();
            let tenant = tenant.map(|tenant| tenant.id());
            key.seal(&CursorBinding { tenant, principal: &caller.principal, query: &query }, &after(row))
        });
        let link = next_cursor.as_ref().map(|cursor| {
            let and = if self.filter_query.is_empty() { "" } else { "&" };
            // The cursor is URL-safe base64, so it needs no encoding.
            format!("<{}?{}{and}limit={}&cursor={cursor}>; rel=\"next\"", self.path, self.filter_query, self.limit)
        });
        Page { items: rows, next_cursor, link, position: None }
    }

    /// What a cursor is bound to besides tenant and principal. Not the limit: it may change between pages.
    fn bound_query(&self) -> String {
        format!("{}?{}", self.path, self.filter_query)
    }
}

impl<F, S> FromRequestParts<S> for PageQuery<F>
where
    F: DeserializeOwned,
    S: Send + Sync,
{
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Problem> {
        let mut limits = Vec::new();
        let mut cursors = Vec::new();
        let mut filters = Vec::new();
        for (name, value) in form_urlencoded::parse(query_of(parts)?.as_bytes()).into_owned() {
            match name.as_str() {
                "limit" => limits.push(value),
                "cursor" => cursors.push(value),
                _ => filters.push((name, value)),
            }
        }
        filters.sort();
        let filter_query = form_urlencoded::Serializer::new(String::new()).extend_pairs(filters).finish();
        let limit = match once("limit", limits)? {
            None => PAGE_LIMIT_DEFAULT,
            Some(text) => text
                .parse()
                .ok()
                .filter(|limit| (1..=PAGE_LIMIT_MAX).contains(limit))
                .ok_or_else(|| Problem::invalid_page_limit(PAGE_LIMIT_MAX))?,
        };
        let cursor = once("cursor", cursors)?;
        Ok(Self { limit, cursor, filter: parse_query(&filter_query)?, path: path_of(parts), filter_query })
    }
}

fn once(name: &str, mut values: Vec<String>) -> Result<Option<String>, Problem> {
    let last = values.pop();
    if values.is_empty() { Ok(last) } else { Err(Problem::invalid_query(Some(name), format!("{name} is repeated"))) }
}

impl<F: JsonSchema> OperationInput for PageQuery<F> {
    fn operation_input(ctx: &mut GenContext, operation: &mut Operation) {
        document_query::<F>(ctx, operation);
        let limit = schemars::json_schema!({
            "type": "integer", "minimum": 1, "maximum": PAGE_LIMIT_MAX, "default": PAGE_LIMIT_DEFAULT,
        });
        add_parameter_once(operation, query_parameter("limit", "Most items of the page.", limit));
        let cursor = schemars::json_schema!({"type": "string", "maxLength": CURSOR_BYTES_MAX});
        let description = "`next_cursor` of the previous page, with the same other parameters.";
        add_parameter_once(operation, query_parameter("cursor", description, cursor));
    }

    fn inferred_early_responses(
        ctx: &mut GenContext,
        _operation: &mut Operation,
    ) -> Vec<(Option<openapi::StatusCode>, openapi::Response)> {
        problem::documented_statuses(ctx, &[400])
    }
}

/// One page of a list, with `Link: rel="next"` and `Projection-Position` headers; made by `PageQuery::page`.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[schemars(rename = "PageOf{T}", description = "One page of a list.")]
pub struct Page<T> {
    /// The items, in the list's order.
    pub items: Vec<T>,
    /// Where the next page begins; null when this page completes the list.
    pub next_cursor: Option<String>,
    #[serde(skip)]
    link: Option<String>,
    #[serde(skip)]
    position: Option<ReadPosition>,
}

impl<T> Page<T> {
    /// Says how far the read model behind the page had come.
    #[must_use]
    pub fn at(mut self, position: ReadPosition) -> Self {
        self.position = Some(position);
        self
    }

    /// Turns each item into its answer.
    pub fn map<U>(self, turn: impl FnMut(T) -> U) -> Page<U> {
        let Self { items, next_cursor, link, position } = self;
        Page { items: items.into_iter().map(turn).collect(), next_cursor, link, position }
    }
}

impl<T: Serialize> IntoResponse for Page<T> {
    fn into_response(self) -> Response {
        let link = self.link.as_deref().and_then(|link| HeaderValue::from_str(link).ok());
        let position = self.position;
        let mut response = Json(self).into_response();
        if let Some(link) = link {
            response.headers_mut().insert(header::LINK, link);
        }
        if let Some(position) = position {
            position.write(response.headers_mut());
        }
        response
    }
}

impl<T: JsonSchema> OperationOutput for Page<T> {
    type Inner = Self;

    fn operation_response(ctx: &mut GenContext, _operation: &mut Operation) -> Option<openapi::Response> {
        let mut response = json_response::<Self>(ctx, "One page of the list.");
        let link = "`rel=\"next\"`: the next page; absent when this page completes the list.";
        response.headers.insert("Link".into(), header_documented(link, "string"));
        ReadPosition::document(&mut response);
        Some(response)
    }

    fn inferred_responses(
        ctx: &mut GenContext,
        operation: &mut Operation,
    ) -> Vec<(Option<openapi::StatusCode>, openapi::Response)> {
        let response = Self::operation_response(ctx, operation);
        response.map(|response| (Some(openapi::StatusCode::Code(200)), response)).into_iter().collect()
    }
}

#[cfg(test)]
mod tests {
    use axum::http::Request;

    use super::*;
    use crate::caller::Scope;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Filter {
        status: Option<String>,
        seats: Option<u32>,
    }

    async fn query(uri: &str) -> Result<PageQuery<Filter>, Problem> {
        let (mut parts, ()) = Request::builder().uri(uri).body(()).unwrap().into_parts();
        PageQuery::from_request_parts(&mut parts, &()).await
    }

    fn caller(principal: &str) -> Caller {
        Caller { principal: principal.into(), scope: Scope::Platform, expires_at_ms: None, secret_id: None }
    }

    #[tokio::test]
    async fn the_limit_is_bounded() {
        assert_eq!(query("/l").await.unwrap().limit, 50);
        assert_eq!(query("/l?limit=500").await.unwrap().limit, 500);
        for bad in ["0", "501", "-1", "", "ten", "99999999999", "1.5"] {
            assert_eq!(query(&format!("/l?limit={bad}")).await.unwrap_err().code(), "invalid_page_limit", "{bad}");
        }
        assert_eq!(query("/l?limit=1&limit=2").await.unwrap_err().code(), "invalid_query");
    }

    #[tokio::test]
    async fn filters_are_typed_and_unknown_ones_refused() {
        let read = query("/l?seats=3&status=a%26b&limit=2").await.unwrap();
        assert_eq!((read.filter.seats, read.filter.status.as_deref()), (Some(3), Some("a&b")));
        for bad in ["/l?color=red", "/l?seats=x", "/l?seats=1&seats=2"] {
            assert_eq!(query(bad).await.unwrap_err().code(), "invalid_query", "{bad}");
        }
    }

    #[tokio::test]
    async fn walking_the_links_visits_every_row_once() {
        let key = CursorKey::new([1; 32]);
        let ops = caller("ops");
        let rows: Vec<u32> = (0..10).collect();
        let mut uri = "/l?status=a%26b&limit=3".to_owned();
        let mut seen = Vec::new();
        for _ in 0..10 {
            let read = query(&uri).await.unwrap();
            let after: Option<u32> = read.open(&key, &ops, None).unwrap();
            let fetched = rows.iter().copied().filter(|row| after.is_none_or(|after| *row > after));
            let fetched = fetched.take(usize::try_from(read.fetch_limit()).unwrap()).collect();
            let page = read.page(&key, &ops, None, fetched, |row| *row);
            seen.extend(page.items.iter().copied());
            let complete = page.next_cursor.is_none();
            let response = page.at(ReadPosition(4)).into_response();
            assert_eq!(response.headers()["projection-position"], "4");
            let Some(link) = response.headers().get("link") else {
                assert!(complete);
                break;
            };
            uri = link.to_str().unwrap().strip_prefix('<').unwrap().strip_suffix(">; rel=\"next\"").unwrap().to_owned();
        }
        assert_eq!(seen, rows);
    }

    #[tokio::test]
    async fn an_exactly_full_last_page_has_no_cursor() {
        let read = query("/l?limit=3").await.unwrap();
        let page = read.page(&CursorKey::new([1; 32]), &caller("ops"), None, vec![1, 2, 3], |row| *row);
        assert_eq!((page.items.len(), page.next_cursor), (3, None));
    }

    #[tokio::test]
    async fn a_cursor_serves_only_its_caller_and_query_in_any_order_of_parameters() {
        let key = CursorKey::new([1; 32]);
        let first = query("/l?seats=1&status=x&limit=1").await.unwrap();
        let cursor = first.page(&key, &caller("ops"), None, vec![1, 2], |row| *row).next_cursor.unwrap();
        let open = async |uri: &str, principal: &str| {
            let read = query(&format!("{uri}&cursor={cursor}")).await.unwrap();
            read.open::<u32>(&key, &caller(principal), None).map_err(|problem| problem.code().to_owned())
        };
        assert_eq!(open("/l?status=x&seats=1&limit=400", "ops").await, Ok(Some(1)));
        assert_eq!(open("/l?status=x&seats=1", "eve").await, Err("invalid_cursor".into()));
        assert_eq!(open("/l?status=y&seats=1", "ops").await, Err("invalid_cursor".into()));
        assert_eq!(open("/other?status=x&seats=1", "ops").await, Err("invalid_cursor".into()));
    }
}
