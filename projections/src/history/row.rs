//! One row of a read model from the events of one stream.

use hub_event_store::{
    event::Recorded,
    upcast::{UpcastError, Upcasters},
};

use crate::model::{FoldError, ReadModel};

/// Why the row cannot be told.
#[derive(Debug, thiserror::Error)]
pub enum RowError {
    #[error(transparent)]
    Fold(#[from] FoldError),
    #[error("the event at position {} cannot be read: {}", .0.position, .0.reason)]
    Upcast(UpcastError),
}

/// The row under `key` after the events of its stream, in order; `row` is what it was before them. Only for read models whose rows depend on
/// one stream each.
///
/// # Errors
/// When an event cannot be read. A live table parks such an event and stands still; here nothing is told.
pub fn fold<M: ReadModel>(
    upcasters: &Upcasters,
    key: &M::Key,
    row: Option<M::Row>,
    events: impl IntoIterator<Item = Recorded>,
) -> Result<Option<M::Row>, RowError> {
    let mut row = row;
    for event in events {
        let event = upcasters.apply(event).map_err(RowError::Upcast)?;
        if M::concerns(&event.event_type) && M::keys(&event)?.contains(key) {
            row = M::fold(row.take(), key, &event)?;
        }
    }
    Ok(row)
}
