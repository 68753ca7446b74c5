//! Taking away what nobody gets any more, a part at each turn, since there may be very much of it.

use super::{Engine, EngineError, write::lazily};
use crate::{endpoint, queue};

impl Engine<'_> {
    /// Takes away a part of what a webhook had that is disabled or deleted; answers whether there is more.
    pub(super) async fn clear(&mut self) -> Result<bool, EngineError> {
        let Some(((tenant_id, webhook_id), deleted)) = self.cleared.pop_first() else { return Ok(false) };
        let pool = self.given.pool.clone();
        let cleared = async move {
            let mut transaction = pool.begin().await?;
            lazily(&mut transaction).await?;
            let more = queue::drop_slice(&mut transaction, webhook_id).await?;
            if deleted && !more {
                sqlx::query(endpoint::DROP).bind(tenant_id).bind(webhook_id).execute(&mut *transaction).await?;
            }
            transaction.commit().await?;
            Ok::<_, sqlx::Error>(more)
        };
        if self.meanwhile(cleared).await? {
            self.cleared.insert((tenant_id, webhook_id), deleted);
        }
        Ok(!self.cleared.is_empty())
    }
}
