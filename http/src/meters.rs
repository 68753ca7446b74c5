//! The two metrics of requests, registered once for each method, route and status instead of looked up by their labels each time.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use metrics::{Counter, Histogram};

/// Histogram of seconds until the response begins, by method, route and status.
pub const REQUEST_DURATION: &str = "hub_http_request_duration_seconds";

/// Counter of answered requests, by method, route and status.
pub const REQUESTS: &str = "hub_http_requests_total";

/// What has been registered; clones share it. Bounded by routes, known methods and the statuses that are answered.
#[derive(Clone, Default)]
pub(crate) struct Meters {
    by_route: Arc<RwLock<HashMap<Box<str>, Vec<Meter>>>>,
}

#[derive(Clone)]
struct Meter {
    method: &'static str,
    status: u16,
    requests: Counter,
    duration: Histogram,
}

impl fmt::Debug for Meters {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Meters").finish_non_exhaustive()
    }
}

impl Meters {
    /// Counts an answer. Neither `method` nor `route` may be the caller's own words.
    pub(crate) fn record(&self, method: &'static str, route: &str, status: u16, duration: Duration) {
        let of = |meters: &[Meter]| meters.iter().position(|meter| (meter.method, meter.status) == (method, status));
        let known = self.by_route.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(meters) = known.get(route)
            && let Some(place) = of(meters)
        {
            return meters[place].record(duration);
        }
        drop(known);
        let mut known = self.by_route.write().unwrap_or_else(PoisonError::into_inner);
        let meters = known.entry(route.into()).or_default();
        let place = of(meters).unwrap_or_else(|| {
            meters.push(Meter::register(method, route, status));
            meters.len() - 1
        });
        meters[place].record(duration);
    }
}

impl Meter {
    fn register(method: &'static str, route: &str, status: u16) -> Self {
        let labels = [("method", method.to_owned()), ("route", route.to_owned()), ("status", status.to_string())];
        let requests = metrics::counter!(REQUESTS, &labels);
        Self { method, status, requests, duration: metrics::histogram!(REQUEST_DURATION, &labels) }
    }

    fn record(&self, duration: Duration) {
        self.requests.increment(1);
        self.duration.record(duration);
    }
}
