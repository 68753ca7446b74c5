//! A worker that holds a share: catches up from PostgreSQL, then follows NATS; at every doubt it reads from PostgreSQL.
//!
//! It goes through every event of the log in order and takes in those of its partitions. What does not concern it moves its position at
//! once in memory and a little later in PostgreSQL.

use std::time::Duration;

use sqlx::PgConnection;
use tokio::{
    sync::{
        broadcast::error::{RecvError, TryRecvError},
        watch,
    },
    time::Instant,
};
use tokio_util::sync::CancellationToken;

use crate::{
    checkpoint::{self, Fence},
    delivery::{Delivery, DeliveryError, Live},
    incoming::{self, Incoming},
    live::LiveTable,
    parked::Parking,
    partitions::Partitions,
    positions::Teller,
    projection::Target,
    share::Share,
};

use super::{
    feed::{News, Subscription},
    worker::{Interruption, Worker, float},
};

/// One batch, its retries included, may take so long.
const BATCH_TIMEOUT: Duration = Duration::from_secs(120);

/// A position that no row speaks of is written down after so long.
const SETTLE_DELAY: Duration = Duration::from_millis(100);

/// So many times in each lease a worker looks at the others.
const LOOKS_PER_LEASE: u32 = 12;

/// What made the worker look for events.
enum Wake {
    Shutdown,
    /// This one continues what is there.
    Next(Incoming),
    /// Only PostgreSQL knows.
    Look,
    /// It is time for something else.
    Tick,
    /// What is known may be wrong.
    Outdated,
}

/// A worker that holds a share.
pub(super) struct Session<'a> {
    pub(super) worker: &'a Worker,
    /// Of its own, and not waiting for the disk.
    pub(super) connection: &'a mut PgConnection,
    pub(super) share: Share,
    /// Every event up to and with this one is taken in or passed over; at least the share's own position.
    pub(super) position: i64,
    /// A second share, held while this one is brought to its position.
    pub(super) waiting: Option<Share>,
    parking: Parking,
    table: Option<Box<dyn LiveTable>>,
    teller: Teller,
    feed: Subscription,
    head: watch::Receiver<i64>,
    /// NATS did not bring in time what is in the log; until it brings something, nobody waits for it.
    doubtful: bool,
    /// A message was missing while a batch was gathered.
    gap: bool,
    /// Since when the position is ahead of what PostgreSQL has.
    unsettled_since: Option<Instant>,
    renewed_at: Instant,
    /// When the other workers were last looked at.
    looked_at: Instant,
    /// When events last came, or were last looked for in PostgreSQL.
    read_at: Instant,
}

impl<'a> Session<'a> {
    pub(super) async fn begin(
        worker: &'a Worker,
        connection: &'a mut PgConnection,
        share: Share,
        teller: Teller,
    ) -> Result<Self, Interruption> {
        let session = Self {
            connection,
            position: share.position,
            share,
            waiting: None,
            parking: Parking::load(&worker.pool, worker.name()).await?,
            table: worker.projection.live(),
            teller,
            feed: worker.feed.subscribe(),
            head: worker.tail.follow(),
            doubtful: false,
            gap: false,
            unsettled_since: None,
            renewed_at: Instant::now(),
            looked_at: Instant::now(),
            read_at: Instant::now(),
            worker,
        };
        session.show();
        Ok(session)
    }

    pub(super) async fn run(mut self, shutdown: &CancellationToken) -> Result<(), Interruption> {
        self.catch_up(shutdown).await?;
        loop {
            match self.wake(shutdown).await {
                Wake::Shutdown => return self.settle().await,
                Wake::Outdated => return Err(Interruption::Outdated),
                Wake::Next(first) => {
                    let linger = self.worker.projection.linger();
                    if !linger.is_zero() {
                        tokio::time::sleep(linger).await;
                    }
                    let batch = self.gather(first);
                    self.take_in(&batch).await?;
                }
                Wake::Look => self.catch_up(shutdown).await?,
                Wake::Tick => {}
            }
            if self.unsettled_since.is_some_and(|since| since.elapsed() >= SETTLE_DELAY) {
                self.settle().await?;
            }
            self.renew_in_time().await?;
            if self.looked_at.elapsed() >= self.worker.settings.lease / LOOKS_PER_LEASE {
                self.looked_at = Instant::now();
                self.share_out(shutdown).await?;
            }
        }
    }

    async fn catch_up(&mut self, shutdown: &CancellationToken) -> Result<(), Interruption> {
        self.catch_up_to(i64::MAX, shutdown).await
    }

    /// Reads from PostgreSQL until there is no more, or `until` is taken in.
    pub(super) async fn catch_up_to(&mut self, until: i64, shutdown: &CancellationToken) -> Result<(), Interruption> {
        let size = i64::try_from(self.worker.settings.batch_size_max).unwrap_or(i64::MAX);
        while !shutdown.is_cancelled() && self.position < until {
            let limit = size.min(until - self.position);
            let page = incoming::page(&self.worker.log, &self.worker.upcasters, self.position, limit).await?;
            self.read_at = Instant::now();
            if !page.is_empty() {
                self.take_in(&page).await?;
            }
            self.renew_in_time().await?;
            if i64::try_from(page.len()).unwrap_or(i64::MAX) < limit {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Waits for something to do, at most the poll interval.
    async fn wake(&mut self, shutdown: &CancellationToken) -> Wake {
        if std::mem::take(&mut self.gap) {
            return Wake::Look;
        }
        let settings = self.worker.settings;
        let idle = tokio::time::sleep_until(self.read_at + settings.poll_interval);
        let look_at = self.looked_at + settings.lease / LOOKS_PER_LEASE;
        let tick =
            tokio::time::sleep_until(self.unsettled_since.map_or(look_at, |since| look_at.min(since + SETTLE_DELAY)));
        tokio::pin!(idle, tick);
        loop {
            let behind = *self.head.borrow_and_update() > self.position;
            let trusted = *self.feed.connected.borrow() && !self.doubtful;
            if behind && !trusted {
                return Wake::Look;
            }
            tokio::select! {
                () = shutdown.cancelled() => return Wake::Shutdown,
                () = self.teller.outdated() => return Wake::Outdated,
                received = self.feed.news.recv() => {
                    self.doubtful = false;
                    match self.judge(received.map_err(|error| matches!(error, RecvError::Lagged(_))), self.position) {
                        Verdict::Continues(event) => return Wake::Next(event),
                        Verdict::Known => {}
                        Verdict::Gap => return Wake::Look,
                        Verdict::Nothing => return Wake::Shutdown, // The feed lives as long as the runner.
                    }
                }
                // Never closed: this worker holds the tail too.
                _ = self.head.changed(), if !behind => {}
                () = tokio::time::sleep(settings.grace), if behind => {
                    self.doubtful = true;
                    return Wake::Look;
                }
                () = &mut tick => return Wake::Tick,
                () = &mut idle => return Wake::Look,
            }
        }
    }

    /// The first event and what directly follows it and has come already.
    fn gather(&mut self, first: Incoming) -> Vec<Incoming> {
        let mut last = first.position();
        let mut batch = vec![first];
        while batch.len() < self.worker.settings.batch_size_max {
            let received = self.feed.news.try_recv();
            match self.judge(received.map_err(|error| matches!(error, TryRecvError::Lagged(_))), last) {
                Verdict::Continues(event) => {
                    last = event.position();
                    batch.push(event);
                }
                Verdict::Known => {}
                Verdict::Gap => {
                    self.gap = true;
                    break;
                }
                Verdict::Nothing => break,
            }
        }
        batch
    }

    /// What news are to somebody who has everything up to `position`; the error tells whether messages were lost.
    fn judge(&self, received: Result<News, bool>, position: i64) -> Verdict {
        match received {
            Ok(News::Event(event)) if event.position() <= position => Verdict::Known,
            Ok(News::Event(event)) if event.position() == position + 1 => Verdict::Continues(event),
            Ok(News::Event(_) | News::Doubt) | Err(true) => {
                metrics::counter!("hub_projection_gaps_healed_total", "projection" => self.worker.name()).increment(1);
                Verdict::Gap
            }
            Err(false) => Verdict::Nothing,
        }
    }

    async fn take_in(&mut self, batch: &[Incoming]) -> Result<(), Interruption> {
        let expected = self.position + 1..;
        if let Some((hole, _)) = expected.zip(batch).find(|(position, incoming)| *position != incoming.position()) {
            return Err(sqlx::Error::Protocol(format!("the log has no event at position {hole}")).into());
        }
        let Some(last) = batch.last().map(Incoming::position) else { return Ok(()) };
        self.read_at = Instant::now();
        let (worker, partitions) = (self.worker, self.share.partitions);
        let concerns =
            |incoming: &Incoming| partitions.contain(&incoming.event) && worker.projection.concerns(&incoming.event);
        if batch.iter().any(concerns) {
            let started_at = Instant::now();
            tokio::time::timeout(BATCH_TIMEOUT, self.deliver(batch)).await.map_err(|_| Interruption::TooSlow)??;
            let name = worker.name();
            metrics::histogram!("hub_projection_batch_duration_seconds", "projection" => name)
                .record(started_at.elapsed());
            metrics::counter!("hub_events_applied_total", "projection" => name).increment(batch.len() as u64);
        } else {
            self.position = last;
            self.unsettled_since.get_or_insert_with(Instant::now);
        }
        self.show();
        Ok(())
    }

    async fn deliver(&mut self, batch: &[Incoming]) -> Result<(), Interruption> {
        match self.attempt(batch).await {
            Ok(()) => Ok(()),
            Err(DeliveryError::Poison { position, reason }) => {
                // What came before it is good.
                let good =
                    batch.iter().take_while(|incoming| incoming.position() < position).cloned().collect::<Vec<_>>();
                if !good.is_empty() {
                    self.attempt(&good).await.map_err(Interruption::of)?;
                }
                let reason = format!("the event at position {position} cannot be taken in: {reason}");
                let worker = self.worker;
                checkpoint::stop(&worker.pool, worker.name(), self.share.name, self.share.epoch, &reason).await?;
                Err(Interruption::Stopped(reason))
            }
            Err(error) => Err(Interruption::of(error)),
        }
    }

    async fn attempt(&mut self, batch: &[Incoming]) -> Result<(), DeliveryError> {
        let live = Live {
            fence: self.fence(),
            partitions: self.share.partitions,
            table: self.table.as_mut().map(|table| table.as_mut() as &mut dyn LiveTable),
        };
        let projection = self.worker.projection.as_ref();
        let mut delivery = Delivery { projection, target: Target::Live, parking: &mut self.parking };
        let parked = delivery.deliver(self.connection, batch, Some(live)).await?;
        self.moved_to(batch.last().map_or(self.position, Incoming::position));
        if !parked.is_empty() {
            self.worker.show_parked().await?;
        }
        Ok(())
    }

    fn fence(&self) -> Fence {
        let Share { name, epoch, position, .. } = self.share;
        Fence { share: name, epoch, from: position, lease: self.worker.settings.lease }
    }

    fn moved_to(&mut self, position: i64) {
        self.position = position;
        self.share.position = position;
        self.unsettled_since = None;
        self.renewed_at = Instant::now();
    }

    /// Writes the position down.
    pub(super) async fn settle(&mut self) -> Result<(), Interruption> {
        if self.position > self.share.position {
            let (name, fence) = (self.worker.name(), self.fence());
            let moving = checkpoint::advance(self.connection, name, fence, self.position);
            if !tokio::time::timeout(BATCH_TIMEOUT, moving).await.map_err(|_| Interruption::TooSlow)?? {
                return Err(Interruption::ShareLost);
            }
            self.moved_to(self.position);
        }
        self.unsettled_since = None;
        Ok(())
    }

    /// Renews what is held when it is time.
    async fn renew_in_time(&mut self) -> Result<(), Interruption> {
        // A second share is held for a moment only, and its lease is not renewed by moving this one.
        if self.renewed_at.elapsed() <= self.worker.settings.lease / 3 && self.waiting.is_none() {
            return Ok(());
        }
        for share in [Some(&self.share), self.waiting.as_ref()].into_iter().flatten() {
            if !self.worker.holder.renew(self.connection, share).await? {
                return Err(Interruption::ShareLost);
            }
        }
        self.renewed_at = Instant::now();
        self.show();
        Ok(())
    }

    /// Goes on with another share, at its own position.
    pub(super) fn turn_to(&mut self, share: Share) -> Share {
        // Others may have written the rows of its partitions.
        if let Some(table) = &mut self.table {
            table.forget();
        }
        self.position = share.position;
        self.unsettled_since = None;
        std::mem::replace(&mut self.share, share)
    }

    /// Knows what is parked again, after taking up partitions that somebody else has worked on.
    pub(super) async fn load_parked(&mut self) -> Result<(), Interruption> {
        self.parking = Parking::load(&self.worker.pool, self.worker.name()).await?;
        Ok(())
    }

    /// Tells how far this is: on the board only when it speaks for the whole projection.
    pub(super) fn show(&self) {
        if self.share.partitions == Partitions::ALL {
            self.teller.tell(self.position);
        }
        let name = self.worker.name();
        metrics::gauge!("hub_projection_position", "projection" => name).set(float(self.position));
        self.worker.show_partitions(self.share.partitions.count());
    }
}

/// What a message from NATS is worth.
enum Verdict {
    Continues(Incoming),
    Known,
    Gap,
    Nothing,
}
