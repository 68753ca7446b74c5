//! How far each part of a read model has got: workers that share a projection need not stand at the same position.

use hub_event_store::{event::Recorded, partition::partition_of};
use serde::{Deserialize, Serialize};
use sqlx::{PgConnection, types::Json};

/// The parts of a projection; a checkpoint that names no partitions has all of them.
pub(crate) const REACHED: &str = "SELECT coalesce(jsonb_agg(jsonb_build_object('position', c.position, \
     'partitions', to_jsonb(c) -> 'partitions')), '[]') FROM projection_checkpoints c WHERE c.projection = $1";

/// How far each part has got.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Reached {
    parts: Vec<Part>,
}

/// Everything of these partitions up to and with the position is in the read model, and nothing after it.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Part {
    partitions: Option<Vec<usize>>,
    position: i64,
}

impl Reached {
    /// As it is in the transaction's snapshot.
    pub(crate) async fn read(connection: &mut PgConnection, projection: &str) -> Result<Self, sqlx::Error> {
        let reached: Json<Self> = sqlx::query_scalar(REACHED).bind(projection).fetch_one(connection).await?;
        Ok(reached.0)
    }

    /// Everything up to and with this position is in the read model.
    pub(crate) fn lowest(&self) -> i64 {
        self.parts.iter().map(|part| part.position).min().unwrap_or(0)
    }

    /// Nothing after this position is in the read model.
    pub(crate) fn highest(&self) -> i64 {
        self.parts.iter().map(|part| part.position).max().unwrap_or(0)
    }

    /// Whether the event is in the read model.
    pub(crate) fn covers(&self, event: &Recorded) -> bool {
        if event.position <= self.lowest() || event.position > self.highest() {
            return event.position <= self.lowest();
        }
        let partition = partition_of(event.tenant_id);
        let has = |part: &&Part| part.partitions.as_ref().is_none_or(|partitions| partitions.contains(&partition));
        self.parts.iter().find(has).is_some_and(|part| event.position <= part.position)
    }
}
