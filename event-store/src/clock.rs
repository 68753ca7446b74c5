//! The one source of time, injected so that tests can move it.

use std::sync::Arc;

use chrono::{DateTime, Utc};

/// Answers the present time in UTC, to the microsecond, as PostgreSQL keeps it.
pub type Clock = Arc<dyn Fn() -> DateTime<Utc> + Send + Sync>;
