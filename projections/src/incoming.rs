//! An event on its way to a projection, lifted to its present shape, or known to be unreadable.

use std::sync::Arc;

use hub_event_store::{event::Recorded, log::Log, upcast::Upcasters};

/// An event on its way to a projection.
#[derive(Debug, Clone)]
pub(crate) struct Incoming {
    /// In its present shape, or as stored when it is unreadable.
    pub(crate) event: Arc<Recorded>,
    /// Why it could not be lifted.
    pub(crate) unreadable: Option<Arc<str>>,
}

impl Incoming {
    pub(crate) fn new(upcasters: &Upcasters, event: Recorded) -> Self {
        let stored = event.clone();
        match upcasters.apply(event) {
            Ok(event) => Self { event: Arc::new(event), unreadable: None },
            Err(error) => Self { event: Arc::new(stored), unreadable: Some(error.to_string().into()) },
        }
    }

    pub(crate) fn position(&self) -> i64 {
        self.event.position
    }
}

/// At most `limit` events after `position`.
pub(crate) async fn page(
    log: &Log,
    upcasters: &Upcasters,
    position: i64,
    limit: i64,
) -> Result<Vec<Incoming>, sqlx::Error> {
    let page = log.page(position, limit).await?;
    Ok(page.into_iter().map(|event| Incoming::new(upcasters, event)).collect())
}
