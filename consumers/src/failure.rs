//! What callers are told when PostgreSQL does not answer; the cause goes to the log.

use hub_http::Problem;

/// SQLSTATE of a statement that took longer than it may, such as waiting for others who pull the same subscription.
const QUERY_CANCELED: &str = "57014";

/// SQLSTATEs of transactions that were in each other's way.
const IN_THE_WAY: &[&str] = &["40001", "40P01", "55P03"];

/// Beginnings of SQLSTATEs that pass by themselves: connection exceptions, insufficient resources, operator intervention.
const PASSING: &[&str] = &["08", "53", "57P"];

/// Logs why a statement failed and turns it into the answer: 503 for what passes by itself, 500 for everything else.
pub(crate) fn failed(error: sqlx::Error) -> Problem {
    let problem = problem_of(&error);
    tracing::error!(%error, code = problem.code(), "consuming an event subscription failed");
    problem
}

fn problem_of(error: &sqlx::Error) -> Problem {
    match error {
        sqlx::Error::Io(_)
        | sqlx::Error::Tls(_)
        | sqlx::Error::PoolTimedOut
        | sqlx::Error::PoolClosed
        | sqlx::Error::WorkerCrashed => Problem::store_unavailable(),
        sqlx::Error::Database(error) => match error.code() {
            Some(code) if code == QUERY_CANCELED || IN_THE_WAY.contains(&code.as_ref()) => Problem::overloaded(),
            Some(code) if PASSING.iter().any(|class| code.starts_with(class)) => Problem::store_unavailable(),
            Some(_) | None => Problem::internal(),
        },
        _ => Problem::internal(),
    }
}
