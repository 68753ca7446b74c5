//! The faults, each at a moment that is a number of verdicts and no time, and each with an end.

use std::{collections::BTreeMap, sync::atomic::Ordering, time::Duration};

use chrono::TimeDelta;
use hub_tests::kit::{Mischief, Nats, NatsProxy, OwnPostgres, TestClock};
use sqlx::{Connection as _, PgConnection};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::{clients::Office, ledger::PANICS, node::CONNECTION_NAME, random::Random};

/// Without any verdict for so long the platform does not come back by itself.
const SILENCE_LIMIT: Duration = Duration::from_secs(150);

/// A batch that is to be caught in the middle is waited for so long.
const CATCH_LIMIT: Duration = Duration::from_secs(5);

const POLL: Duration = Duration::from_millis(5);

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Fault {
    /// `pg_ctl stop -m immediate`, and started again.
    CrashPostgres,
    /// The backend of a writer is terminated while it appends a batch.
    TerminateWriter,
    /// All backends of all nodes are terminated: relay, read models, readers.
    TerminateNodes,
    /// Somebody else holds a transaction open that has written and has a snapshot.
    LongTransaction,
    /// The clock jumps back, by up to two days.
    ClockBack,
    /// Postings that two of the read models cannot take in.
    Curse,
    /// A read model panics.
    Panic,
    /// NATS stands still with its connections open.
    FreezeNats,
    /// NATS is stopped and started again.
    StopNats,
    /// NATS is stopped and has lost its disk when it comes back.
    WipeNats,
    /// Messages between the nodes and NATS get lost.
    Drop,
    /// They arrive twice.
    Double,
    /// They overtake one another.
    Swap,
    /// The connections are cut.
    Cut,
}

impl Fault {
    pub(crate) const OF_DATABASE: [Self; 7] = [
        Self::CrashPostgres,
        Self::TerminateWriter,
        Self::TerminateNodes,
        Self::LongTransaction,
        Self::ClockBack,
        Self::Curse,
        Self::Panic,
    ];
    pub(crate) const OF_CARRIER: [Self; 7] =
        [Self::FreezeNats, Self::StopNats, Self::WipeNats, Self::Drop, Self::Double, Self::Swap, Self::Cut];
}

/// A fault, after so many verdicts of the round, and until so many more if it lasts.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Step {
    pub(crate) fault: Fault,
    pub(crate) at: usize,
    pub(crate) lasting: usize,
}

/// How far the clients are.
pub(crate) struct Progress {
    pub(crate) answered: watch::Receiver<usize>,
    pub(crate) finished: CancellationToken,
}

/// How often each fault happened.
pub(crate) type Tally = BTreeMap<Fault, u32>;

impl Progress {
    /// Waits for so many verdicts, or until the clients have finished.
    async fn until(&mut self, count: usize) {
        tokio::select! {
            reached = tokio::time::timeout(SILENCE_LIMIT, self.answered.wait_for(|answered| *answered >= count)) => {
                drop(reached.expect("verdicts are given").expect("the office lives on"));
            }
            () = self.finished.cancelled() => {}
        }
    }
}

/// Does what concerns the database and the nodes, one after the other.
pub(crate) async fn on_database(
    steps: &[Step],
    postgres: &mut OwnPostgres,
    (office, clock): (&Office, &TestClock),
    (mut progress, mut random): (Progress, Random),
) -> Tally {
    let mut tally = Tally::new();
    for step in steps {
        progress.until(step.at).await;
        let happened = match step.fault {
            Fault::CrashPostgres => {
                postgres.crash();
                postgres.restart().await;
                true
            }
            Fault::TerminateWriter => terminate_writer(&postgres.url).await.unwrap_or(false),
            Fault::TerminateNodes => terminate_nodes(&postgres.url).await.unwrap_or(false),
            Fault::LongTransaction => {
                let held = long_transaction(&postgres.url).await;
                progress.until(step.at + step.lasting).await;
                // It may have been ended with the server.
                held.is_ok()
            }
            Fault::ClockBack => {
                let minutes = i64::try_from(random.between(1, 2 * 24 * 60)).expect("it is small");
                clock.advance(-TimeDelta::minutes(minutes));
                true
            }
            Fault::Curse => {
                office.cursing.store(true, Ordering::Relaxed);
                progress.until(step.at + step.lasting).await;
                office.cursing.store(false, Ordering::Relaxed);
                true
            }
            Fault::Panic => {
                PANICS.store(2, Ordering::SeqCst);
                true
            }
            _ => false,
        };
        if happened {
            *tally.entry(step.fault).or_default() += 1;
        }
    }
    tally
}

/// Does what concerns NATS and the way to it, one after the other.
pub(crate) async fn on_carrier(steps: &[Step], nats: &mut Nats, proxy: &NatsProxy, mut progress: Progress) -> Tally {
    let mut tally = Tally::new();
    for step in steps {
        progress.until(step.at).await;
        let lasted = progress.until(step.at + step.lasting);
        match step.fault {
            Fault::FreezeNats => {
                nats.freeze();
                lasted.await;
                nats.thaw();
            }
            Fault::StopNats => {
                nats.stop().await;
                lasted.await;
                nats.restart().await;
            }
            Fault::WipeNats => {
                nats.lose_everything().await;
                lasted.await;
                nats.restart().await;
            }
            Fault::Drop => proxy.harm(Mischief { dropped: 2, ..Mischief::default() }),
            Fault::Double => proxy.harm(Mischief { doubled: 40, ..Mischief::default() }),
            Fault::Swap => proxy.harm(Mischief { swapped: 40, ..Mischief::default() }),
            Fault::Cut => proxy.cut(),
            _ => continue,
        }
        *tally.entry(step.fault).or_default() += 1;
    }
    tally
}

/// Catches a writer in the middle of a batch and terminates its backend: the batch waits for a table that is locked.
async fn terminate_writer(url: &str) -> Result<bool, sqlx::Error> {
    let mut connection = PgConnection::connect(url).await?;
    let mut transaction = connection.begin().await?;
    sqlx::query("LOCK TABLE log_head IN ACCESS EXCLUSIVE MODE").execute(&mut *transaction).await?;
    let catching = async {
        loop {
            let caught: Option<bool> = sqlx::query_scalar(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'hub-writer' \
                 AND datname = current_database() AND wait_event_type = 'Lock' LIMIT 1",
            )
            .fetch_optional(&mut *transaction)
            .await?;
            if caught == Some(true) {
                return Ok::<_, sqlx::Error>(true);
            }
            tokio::time::sleep(POLL).await;
        }
    };
    let caught = tokio::time::timeout(CATCH_LIMIT, catching).await.unwrap_or(Ok(false))?;
    transaction.rollback().await?;
    Ok(caught)
}

async fn terminate_nodes(url: &str) -> Result<bool, sqlx::Error> {
    let mut connection = PgConnection::connect(url).await?;
    let terminated: Vec<bool> = sqlx::query_scalar(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = $1 AND datname = current_database()",
    )
    .bind(CONNECTION_NAME)
    .fetch_all(&mut connection)
    .await?;
    Ok(!terminated.is_empty())
}

/// A transaction with a snapshot and a write, open for as long as the answer lives.
async fn long_transaction(url: &str) -> Result<PgConnection, sqlx::Error> {
    let mut connection = PgConnection::connect(url).await?;
    for statement in [
        "BEGIN ISOLATION LEVEL REPEATABLE READ",
        "CREATE TABLE held_open (id bigint)",
        "SELECT max(position) FROM events",
        "SELECT pg_notify('hub_log_of_somebody_else', 'x')",
    ] {
        sqlx::query(statement).execute(&mut connection).await?;
    }
    Ok(connection)
}
