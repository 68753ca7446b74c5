//! How the operations are described in the API's document.

use aide::transform::TransformOperation;
use hub_domain::event_subscription::CODES;
use hub_http::openapi::{described, refuses};

use crate::{TAG, subscription::kind_of};

/// The texts of an operation, and these refusals.
pub(crate) fn operation<'t>(
    operation: TransformOperation<'t>,
    id: &str,
    summary: &str,
    description: &str,
    codes: &[&str],
) -> TransformOperation<'t> {
    let everywhere = ["event_subscription_not_found", "event_subscription_deleted"];
    let refusals: Vec<_> = CODES
        .iter()
        .filter(|code| everywhere.contains(&code.code) || codes.contains(&code.code))
        .map(|code| (kind_of(code.kind), code.code))
        .collect();
    refuses(described(operation, id, TAG, summary, description), &refusals)
}
