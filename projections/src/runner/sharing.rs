//! Sharing a projection's partitions with the workers of other processes: giving away what is too much, taking up what nobody holds.

use tokio_util::sync::CancellationToken;

use crate::share::Share;

use super::{session::Session, worker::Interruption};

impl Session<'_> {
    /// Looks at the others, and gives away or takes up partitions.
    pub(super) async fn share_out(&mut self, shutdown: &CancellationToken) -> Result<(), Interruption> {
        let worker = self.worker;
        let survey = worker.holder.survey(&mut *self.connection, self.share.name).await?;
        let held = self.share.partitions.count();
        if survey.asks_for(held) {
            return self.give_away(survey.fair()).await;
        }
        if survey.free {
            let version = worker.projection.version();
            let room = held < survey.fair();
            let other = worker.holder.acquire(self.connection, version, self.share.name, room).await?;
            if let Some(other) = other {
                return self.take_up(other, shutdown).await;
            }
        }
        Ok(())
    }

    /// Keeps `count` partitions; the others are free for whoever lacks some.
    async fn give_away(&mut self, count: u32) -> Result<(), Interruption> {
        self.settle().await?;
        let worker = self.worker;
        let kept = worker.holder.split(&worker.pool, &self.share, count).await?.ok_or(Interruption::ShareLost)?;
        tracing::info!(projection = worker.name(), partitions = ?kept.partitions.numbers(), "partitions were given away");
        self.turn_to(kept);
        self.show();
        Ok(())
    }

    /// Brings the share that is behind to the position of the other, and makes one of the two. Nobody waits longer for that: the
    /// projection is as far as the last of its shares.
    async fn take_up(&mut self, other: Share, shutdown: &CancellationToken) -> Result<(), Interruption> {
        self.settle().await?;
        self.load_parked().await?;
        let (behind, ahead) = if other.position < self.share.position {
            (other, self.share.clone())
        } else {
            (self.share.clone(), other)
        };
        self.turn_to(behind);
        let until = ahead.position;
        self.waiting = Some(ahead);
        self.catch_up_to(until, shutdown).await?;
        self.settle().await?;
        let Some(ahead) = self.waiting.take() else { return Ok(()) };
        let worker = self.worker;
        // Unless it is being shut down, which leaves two shares to whoever comes.
        if self.share.position == ahead.position {
            let merged = worker.holder.merge(&worker.pool, &self.share, &ahead).await?;
            self.turn_to(merged.ok_or(Interruption::ShareLost)?);
            tracing::info!(
                projection = worker.name(),
                partitions = ?self.share.partitions.numbers(),
                "partitions were taken up"
            );
        }
        self.show();
        Ok(())
    }
}
