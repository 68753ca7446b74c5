//! The log as messages, read and written ahead of what is being published.

use std::time::Duration;

use sqlx::{Connection as _, FromRow as _, PgConnection, PgPool};
use tokio::sync::mpsc;
use tokio_util::task::AbortOnDropHandle;

use super::{
    RelayError,
    message::{Chain, Naming, Outgoing},
    start::Start,
};
use crate::{election::bounded, event::Recorded, log::PAGE, tail::Tail};

/// At most so many events are read at once. Three pages are in memory: one being published, one that waits, one being read.
const PAGE_SIZE: i64 = 512;

/// Pages become smaller when they are larger than this, so that large events do not fill the memory.
const PAGE_BYTES_MAX: usize = 4 * 1_024 * 1_024;

/// Without any notification the log is looked at this often.
const POLL_INTERVAL: Duration = Duration::from_secs(1);

/// A connection of its own: no wait for a pool, no plan from the time when the log was empty, no compiling of a query that takes a
/// fraction of a millisecond.
const PLANNING: [(&str, &str); 3] = [("enable_seqscan", "off"), ("enable_bitmapscan", "off"), ("jit", "off")];

/// The way from the reading task, which ends with this.
#[derive(Debug)]
pub(super) struct Source {
    pages: mpsc::Receiver<Result<Vec<Outgoing>, RelayError>>,
    _task: AbortOnDropHandle<()>,
}

impl Source {
    /// The next messages, at least one; waits until there are any.
    pub(super) async fn next(&mut self) -> Result<Vec<Outgoing>, RelayError> {
        self.pages.recv().await.unwrap_or_else(|| Err(RelayError::Nats("the reader has ended".to_owned())))
    }
}

/// Begins to read behind `start`.
pub(super) fn start(pool: &PgPool, nats: &async_nats::Client, tail: &Tail, start: &Start, naming: Naming) -> Source {
    let (sender, pages) = mpsc::channel(1);
    let reader = Reader {
        pool: pool.clone(),
        nats: nats.clone(),
        tail: tail.clone(),
        position: start.progress.position,
        page_size: PAGE_SIZE,
        chain: Chain::new(naming, start.progress.partitions, start.sequence),
    };
    Source { pages, _task: AbortOnDropHandle::new(tokio::spawn(reader.run(sender))) }
}

struct Reader {
    pool: PgPool,
    nats: async_nats::Client,
    tail: Tail,
    position: i64,
    page_size: i64,
    chain: Chain,
}

impl Reader {
    async fn run(mut self, pages: mpsc::Sender<Result<Vec<Outgoing>, RelayError>>) {
        if let Err(error) = self.read(&pages).await {
            // Whoever would hear it has gone if this fails.
            drop(pages.send(Err(error)).await);
        }
    }

    async fn read(&mut self, pages: &mpsc::Sender<Result<Vec<Outgoing>, RelayError>>) -> Result<(), RelayError> {
        let options = self.pool.connect_options().as_ref().clone().application_name("hub-relay").options(PLANNING);
        let mut connection = bounded(PgConnection::connect_with(&options)).await?;
        let mut head = self.tail.follow();
        loop {
            head.borrow_and_update();
            let page = self.page(&mut connection).await?;
            if page.is_empty() {
                drop(tokio::time::timeout(POLL_INTERVAL, head.changed()).await);
                continue;
            }
            if pages.send(Ok(page)).await.is_err() {
                return Ok(());
            }
        }
    }

    async fn page(&mut self, connection: &mut PgConnection) -> Result<Vec<Outgoing>, RelayError> {
        let query = sqlx::query(PAGE).bind(self.position).bind(self.page_size);
        let rows = bounded(query.fetch_all(connection)).await?;
        let (size_max, mut bytes) = (self.nats.max_payload(), 0);
        let mut page = Vec::with_capacity(rows.len());
        for row in &rows {
            let event = Recorded::from_row(row)?;
            if event.position != self.position + 1 {
                return Err(RelayError::Missing { position: self.position + 1 });
            }
            self.position = event.position;
            bytes += event.payload.get().len() + event.metadata.get().len();
            page.push(self.chain.next(&event, size_max)?);
        }
        self.page_size =
            if bytes > PAGE_BYTES_MAX { (self.page_size / 2).max(1) } else { (self.page_size * 2).min(PAGE_SIZE) };
        Ok(page)
    }
}
