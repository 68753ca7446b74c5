//! Every grant of a tenant, for a review of who holds what.

use aide::transform::TransformOperation;
use axum::extract::State;
use chrono::{DateTime, Utc};
use hub_domain::fact::GrantFact;
use hub_http::{Problem, ReadConsistency, TenantCaller, openapi::described};
use schemars::JsonSchema;
use serde::Serialize;

use crate::facts::{Granted, TenantFacts};

use super::{
    Asking, Authorization, TAG,
    answers::GrantAnswer,
    report::{Form, Report, Sheet},
    scope_of,
};

/// So many grants are in one report.
const GRANT_COUNT_MAX: usize = 5_000;

const SHEET: Sheet = Sheet {
    name: "access-review",
    rows: "grants",
    columns: &[
        "principal",
        "home",
        "role_id",
        "role_key",
        "source",
        "granted_by_id",
        "from",
        "until",
        "position",
        "made_at",
        "complete",
    ],
};

/// Every grant of a tenant.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "AccessReview")]
pub(super) struct ReviewAnswer {
    /// The position of the log that the review is of.
    position: i64,
    made_at: DateTime<Utc>,
    grants: Vec<GrantAnswer>,
    /// Whether these are all.
    complete: bool,
}

pub(super) async fn review(
    caller: TenantCaller,
    form: Form,
    consistency: ReadConsistency,
    State(authorization): State<Authorization>,
) -> Result<Report<ReviewAnswer>, Problem> {
    let tenant_id = caller.tenant.id();
    let asking = Asking { authorization: &authorization, tenant_id, at_least: consistency.at_least };
    let facts = asking.facts(scope_of(tenant_id, None)).await?.tenant;
    let (granted, complete) = grants_of(&facts, |_| true);
    let grants = granted.into_iter().map(|granted| GrantAnswer::of(granted, &facts)).collect();
    let (position, made_at) = (facts.position, authorization.gate.now());
    let review = ReviewAnswer { position, made_at, grants, complete };
    Ok(Report::new(form, &SHEET, tenant_id, position, &review))
}

/// The first grants of interest by principal, role and time, and whether these are all.
pub(super) fn grants_of(facts: &TenantFacts, of_interest: impl Fn(&GrantFact) -> bool) -> (Vec<&Granted>, bool) {
    let mut grants: Vec<&Granted> =
        facts.grants.values().flatten().filter(|granted| of_interest(&granted.grant)).collect();
    grants.sort_by(|left, right| {
        let key = |granted: &'_ Granted| (granted.grant.role_id, granted.grant.from, granted.aggregate_id);
        let (one, other) = (left.grant.principal.as_str(), right.grant.principal.as_str());
        one.cmp(other).then_with(|| key(left).cmp(&key(right)))
    });
    let complete = grants.len() <= GRANT_COUNT_MAX;
    grants.truncate(GRANT_COUNT_MAX);
    (grants, complete)
}

pub(super) fn describe(operation: TransformOperation<'_>) -> TransformOperation<'_> {
    let description = "Every grant of the tenant for an access review: who holds which role from when until when, and what brought it. \
                       `complete` is false when there are more than 5,000.";
    described(operation, "reviewAccess", TAG, "Export an access review", description)
}
