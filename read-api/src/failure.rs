//! What callers are told when PostgreSQL does not answer; the cause goes to the log.

use hub_http::Problem;
use hub_vault::VaultError;

/// SQLSTATE of a statement that took longer than it may.
const QUERY_CANCELED: &str = "57014";

/// SQLSTATEs of values that PostgreSQL cannot hold: a text with a NUL in it, a time beyond its calendar.
const OUTSIDE: &[&str] = &["22021", "22008"];

/// Beginnings of SQLSTATEs that pass by themselves: connection exceptions, insufficient resources, operator intervention.
const PASSING: &[&str] = &["08", "53", "57P"];

/// Logs why a query failed and turns it into the answer: 503 for what passes by itself, 400 for a filter that PostgreSQL cannot even
/// hold, 500 for everything else.
pub(crate) fn failed(error: sqlx::Error) -> Problem {
    let problem = problem_of(&error);
    if problem.status().is_server_error() {
        tracing::error!(%error, code = problem.code(), "a query failed");
    }
    problem
}

/// The same for the keys of personal data.
pub(crate) fn unreachable_keys(error: VaultError) -> Problem {
    match error {
        VaultError::Unavailable(error) => failed(error),
        error => {
            tracing::error!(%error, "personal data cannot be opened");
            Problem::internal()
        }
    }
}

fn problem_of(error: &sqlx::Error) -> Problem {
    match error {
        sqlx::Error::Io(_)
        | sqlx::Error::Tls(_)
        | sqlx::Error::PoolTimedOut
        | sqlx::Error::PoolClosed
        | sqlx::Error::WorkerCrashed => Problem::store_unavailable(),
        sqlx::Error::Database(error) => match error.code() {
            Some(code) if code == QUERY_CANCELED => Problem::overloaded(),
            Some(code) if PASSING.iter().any(|class| code.starts_with(class)) => Problem::store_unavailable(),
            Some(code) if OUTSIDE.contains(&code.as_ref()) => {
                Problem::invalid_query(None, "a parameter has a value that nothing here can have")
            }
            Some(_) | None => Problem::internal(),
        },
        _ => Problem::internal(),
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    #[test]
    fn only_what_passes_by_itself_asks_to_come_again() {
        let broken = sqlx::Error::Io(io::Error::from(io::ErrorKind::ConnectionReset));
        for (error, code) in [
            (broken, "store_unavailable"),
            (sqlx::Error::PoolTimedOut, "store_unavailable"),
            (sqlx::Error::PoolClosed, "store_unavailable"),
            (sqlx::Error::RowNotFound, "internal"),
            (sqlx::Error::ColumnNotFound("x".to_owned()), "internal"),
        ] {
            assert_eq!(failed(error).code(), code);
        }
    }
}
