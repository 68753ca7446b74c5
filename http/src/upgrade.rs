//! Leaving HTTP for WebSocket.

use aide::{
    OperationInput,
    generate::GenContext,
    openapi::{self, Operation},
};
use axum::{
    extract::{FromRequestParts, WebSocketUpgrade},
    http::request::Parts,
};

use crate::problem::{self, Problem};

/// The right to speak WebSocket on this connection; 426 `upgrade_required` for a request that does not ask for it.
#[derive(Debug)]
pub struct Upgrade(pub WebSocketUpgrade);

impl<S: Send + Sync> FromRequestParts<S> for Upgrade {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let upgrade = WebSocketUpgrade::from_request_parts(parts, state).await;
        upgrade.map(Self).map_err(|_| Problem::upgrade_required())
    }
}

impl OperationInput for Upgrade {
    fn inferred_early_responses(
        ctx: &mut GenContext,
        _operation: &mut Operation,
    ) -> Vec<(Option<openapi::StatusCode>, openapi::Response)> {
        problem::documented_statuses(ctx, &[426])
    }
}
