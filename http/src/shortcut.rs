//! Answering a request in front of everything, routes included, when its answer is at hand.

use std::{convert::Infallible, fmt, pin::Pin, sync::Arc, task, time::Instant};

use axum::{
    Router,
    extract::{MatchedPath, Request},
    response::Response,
};
use tower::Service;

use crate::{
    edge::Edge,
    layers::{method_label, request_id_value},
};

/// Answers a request at once, without waiting for anything, or leaves it to the routes. It must check by itself who asks.
pub type Shortcut = Arc<dyn Fn(&mut Request) -> Option<ShortAnswer> + Send + Sync>;

/// An answer without a handler.
#[derive(Debug)]
pub struct ShortAnswer {
    /// What the handler would have answered.
    pub response: Response,
    /// The route of that handler.
    pub route: MatchedPath,
}

/// Asks the shortcut first, and the routes when it has no answer.
#[derive(Clone)]
pub(crate) struct Front {
    pub(crate) shortcut: Shortcut,
    pub(crate) edge: Edge,
    pub(crate) router: Router,
}

impl fmt::Debug for Front {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Front").finish_non_exhaustive()
    }
}

impl Service<Request> for Front {
    type Response = Response;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut task::Context<'_>) -> task::Poll<Result<(), Infallible>> {
        task::Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: Request) -> Self::Future {
        let began = Instant::now();
        let admission = self.edge.enter(&mut request);
        let Some(ShortAnswer { mut response, route }) = (self.shortcut)(&mut request) else {
            return Box::pin(self.router.call(request));
        };
        self.edge.finish(response.headers_mut(), request_id_value(request.headers()), &admission);
        let (method, status) = (method_label(request.method()), response.status().as_u16());
        self.edge.meters().record(method, route.as_str(), status, began.elapsed());
        Box::pin(std::future::ready(Ok(response)))
    }
}
