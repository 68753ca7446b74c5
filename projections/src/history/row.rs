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

#[cfg(test)]
mod tests {
    use hub_event_store::{event::Recorded, upcast::Upcasters};

    use super::fold;
    use crate::{
        model::AggregateKey,
        subscription::{SubscriptionRow, Subscriptions},
        testing::{
            AGGREGATE, History, TENANT, rows,
            subscription::{activated, created},
        },
    };

    #[test]
    fn one_stream_leads_to_the_row_that_the_table_has() {
        let mut history = History::default();
        history.subscription(created(0));
        history.subscription(activated(3_000));
        let key = AggregateKey { tenant_id: TENANT, id: AGGREGATE };
        let one = |row: Option<SubscriptionRow>, events: &[Recorded]| {
            fold::<Subscriptions>(&Upcasters::default(), &key, row, events.iter().cloned())
        };
        let events: Vec<Recorded> = history.events.iter().map(|event| (**event).clone()).collect();
        let row = one(None, &events).unwrap();
        assert_eq!(row, Some(rows::<Subscriptions>(&history).unwrap().remove(0)));
        let begun = one(None, &events[..1]).unwrap();
        assert_eq!(one(begun, &events[1..]).unwrap(), row, "a page at a time");
        assert!(one(None, &events[1..]).is_err(), "a stream without its beginning is not guessed at");
    }
}
