//! What PostgreSQL remembers of the relay's place: for those who look, and for a stream that has lost everything.

use std::time::Duration;

use sqlx::{Connection as _, PgConnection, Postgres, Row, postgres::PgArguments, query::Query};
use tokio::sync::watch;

use super::{Progress, RelayError};
use crate::election::bounded;

/// How far the relay has published.
pub(crate) const READ_CURSOR: &str = "SELECT position, partition_positions FROM relay_cursor";

/// Puts the cursor where the stream ends, which may be further back when the stream has lost something.
pub(crate) const SET_CURSOR: &str = "UPDATE relay_cursor SET position = $1, partition_positions = $2";

/// Moves the cursor forward, never back.
pub(crate) const MOVE_CURSOR: &str =
    "UPDATE relay_cursor SET position = $1, partition_positions = $2 WHERE position < $1";

/// The cursor is moved at most this often; what it is behind by is found in the stream.
const MOVE_INTERVAL: Duration = Duration::from_millis(250);

/// Without anything to move, the connection is tried after so many intervals.
const PING_INTERVALS: u32 = 4;

pub(super) async fn read(connection: &mut PgConnection) -> Result<i64, RelayError> {
    let row = bounded(sqlx::query(READ_CURSOR).fetch_one(connection)).await?;
    Ok(row.try_get("position")?)
}

pub(super) fn set(progress: &Progress) -> Query<'_, Postgres, PgArguments> {
    sqlx::query(SET_CURSOR).bind(progress.position).bind(progress.partitions)
}

/// Moves the cursor behind what is acknowledged, and watches over the connection that holds the lock; answers why it is lost.
pub(super) async fn keep(connection: &mut PgConnection, mut progress: watch::Receiver<Progress>) -> RelayError {
    loop {
        match step(connection, &mut progress).await {
            Ok(()) => {}
            Err(error) => return error.into(),
        }
    }
}

async fn step(connection: &mut PgConnection, progress: &mut watch::Receiver<Progress>) -> Result<(), sqlx::Error> {
    for _ in 0..PING_INTERVALS {
        tokio::time::sleep(MOVE_INTERVAL).await;
        // The sender lives as long as the window that is published beside this.
        if progress.has_changed().unwrap_or(false) {
            let now = *progress.borrow_and_update();
            let moving = sqlx::query(MOVE_CURSOR).bind(now.position).bind(now.partitions);
            bounded(moving.execute(connection)).await?;
            return Ok(());
        }
    }
    bounded(connection.ping()).await
}
