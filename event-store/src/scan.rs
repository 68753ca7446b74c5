//! Reading long parts of the log at the speed of PostgreSQL: binary `COPY`, range after range, while the caller works on the last one.
//!
//! Each range is a statement of its own, so no snapshot is held for long. Memory: `CONNECTION_COUNT` times `PAGES_AHEAD` pages
//! and the one that the caller holds. The connections are the scan's own; they end with it.

mod decode;

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
    time::Duration,
};

use futures::TryStreamExt;
use sqlx::{Connection, PgConnection, PgPool, postgres::PgConnectOptions};
use tokio::{sync::mpsc, task::JoinSet};

use crate::event::Recorded;

use self::decode::Decoder;

/// So many positions are one page.
pub const RANGE_SIZE: i64 = 10_000;

/// So many connections read, each every other range.
const CONNECTION_COUNT: i64 = 2;

/// A connection reads one page and keeps so many more that nobody has taken yet.
const PAGES_AHEAD: usize = 1;

/// One range may take so long; a server that is gone without a word must not keep anybody waiting.
const RANGE_TIMEOUT: Duration = Duration::from_secs(60);

/// At most so many event types are passed over by PostgreSQL itself; those beyond are passed over here.
const EXCLUDED_COUNT_MAX: usize = 200;

/// The events of a range of positions; `COPY` takes no parameters, so numbers and plain names are written into the braces.
const RANGE: &str = "COPY (SELECT position, tenant_position, event_id, tenant_id, aggregate_type, aggregate_id, sequence, event_type, \
     event_version, occurred_at, payload, metadata, leaf_hash FROM events WHERE position BETWEEN {range}{filter} ORDER BY position) \
     TO STDOUT (FORMAT binary)";

/// Tells of an event type whether its events are wanted; asked once a type and connection.
pub type Wanted = Arc<dyn Fn(&str) -> bool + Send + Sync>;

/// A part of the log that is being read.
#[derive(Debug)]
pub struct Scan {
    pages: Vec<mpsc::Receiver<Result<Page, sqlx::Error>>>,
    turn: usize,
    // Ends the readers with the scan.
    _readers: JoinSet<()>,
}

/// The events of one range, in order.
#[derive(Debug)]
pub struct Page {
    /// Those that are wanted.
    pub events: Vec<Recorded>,
    /// Every event up to and with this position has been read.
    pub until: i64,
}

impl Scan {
    /// Every event after `position` up to and with `until`, which must be in the log; only those whose type is `wanted`, if that is given.
    #[must_use]
    pub fn start(pool: &PgPool, position: i64, until: i64, wanted: Option<Wanted>) -> Self {
        Self::read(pool, position, until, wanted, true)
    }

    fn read(pool: &PgPool, position: i64, until: i64, wanted: Option<Wanted>, whole: bool) -> Self {
        let mut readers = JoinSet::new();
        let range_count = (until - position).max(0).div_euclid(RANGE_SIZE) + 1;
        let pages = (0..CONNECTION_COUNT.min(range_count))
            .map(|place| {
                let (sender, receiver) = mpsc::channel(PAGES_AHEAD);
                let reader = Reader {
                    options: (*pool.connect_options()).clone(),
                    first: position + 1 + place * RANGE_SIZE,
                    until,
                    wanted: wanted.clone(),
                    whole,
                    verdicts: HashMap::new(),
                    excluded: BTreeSet::new(),
                };
                readers.spawn(reader.run(sender));
                receiver
            })
            .collect();
        Self { pages, turn: 0, _readers: readers }
    }

    /// As [`Scan::start`] for all events of a log that may have holes; who reads it finds them.
    #[must_use]
    pub fn of_damaged(pool: &PgPool, position: i64, until: i64) -> Self {
        Self::read(pool, position, until, None, false)
    }

    /// The next page, `None` after the last one.
    ///
    /// # Errors
    /// When PostgreSQL does not answer or the log has a hole; nothing follows after that.
    pub async fn next(&mut self) -> Result<Option<Page>, sqlx::Error> {
        let page = self.pages[self.turn].recv().await.transpose();
        self.turn = (self.turn + 1) % self.pages.len();
        page
    }
}

/// One connection's part of a scan.
struct Reader {
    options: PgConnectOptions,
    first: i64,
    until: i64,
    wanted: Option<Wanted>,
    /// A hole is an error.
    whole: bool,
    /// What was said of the types that were seen.
    verdicts: HashMap<String, bool>,
    /// The types that were seen and are not wanted.
    excluded: BTreeSet<String>,
}

impl Reader {
    async fn run(mut self, sender: mpsc::Sender<Result<Page, sqlx::Error>>) {
        if let Err(error) = self.read(&sender).await {
            // Nobody listens any more when the scan was given up.
            drop(sender.send(Err(error)).await);
        }
    }

    async fn read(&mut self, sender: &mpsc::Sender<Result<Page, sqlx::Error>>) -> Result<(), sqlx::Error> {
        if self.first > self.until {
            return Ok(());
        }
        let mut connection = PgConnection::connect_with(&self.options).await?;
        let mut first = self.first;
        while first <= self.until {
            let last = (first + RANGE_SIZE - 1).min(self.until);
            let page = tokio::time::timeout(RANGE_TIMEOUT, self.range(&mut connection, first, last)).await;
            if sender.send(Ok(page.map_err(|_| sqlx::Error::PoolTimedOut)??)).await.is_err() {
                return Ok(());
            }
            first += RANGE_SIZE * CONNECTION_COUNT;
        }
        connection.close().await
    }

    async fn range(&mut self, connection: &mut PgConnection, first: i64, last: i64) -> Result<Page, sqlx::Error> {
        let statement = self.statement(first, last);
        let countable = self.whole && self.excluded.is_empty();
        let mut decoder = Decoder::default();
        let mut events = Vec::with_capacity(usize::try_from(last - first + 1).unwrap_or(0));
        let mut seen = 0;
        let mut chunks = connection.copy_out_raw(&statement).await?;
        while let Some(chunk) = chunks.try_next().await? {
            decoder.feed(&chunk, |row| {
                seen += 1;
                if self.wants(row.event_type()?) {
                    events.push(row.recorded()?);
                }
                Ok(())
            })?;
        }
        decoder.finish()?;
        if countable && seen != last - first + 1 {
            return Err(sqlx::Error::Protocol(format!("the log has {seen} events from position {first} to {last}")));
        }
        Ok(Page { events, until: last })
    }

    fn wants(&mut self, event_type: &str) -> bool {
        let Some(wanted) = &self.wanted else { return true };
        if let Some(verdict) = self.verdicts.get(event_type) {
            return *verdict;
        }
        let verdict = wanted(event_type);
        self.verdicts.insert(event_type.to_owned(), verdict);
        if !verdict {
            self.exclude(event_type);
        }
        verdict
    }

    fn exclude(&mut self, event_type: &str) {
        // It becomes part of an SQL text, so nothing but plain names may pass.
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_' || c == '.';
        if self.excluded.len() < EXCLUDED_COUNT_MAX && event_type.chars().all(plain) {
            self.excluded.insert(event_type.to_owned());
        }
    }

    fn statement(&self, first: i64, last: i64) -> String {
        let names: Vec<_> = self.excluded.iter().map(|name| format!("'{name}'")).collect();
        let filter = match &names[..] {
            [] => String::new(),
            names => format!(" AND event_type <> ALL (ARRAY[{}])", names.join(", ")),
        };
        RANGE.replace("{range}", &format!("{first} AND {last}")).replace("{filter}", &filter)
    }
}
