//! One process of the platform, inside this one: a store, a tail, a relay and the read models, on connections of its own.

use std::{str::FromStr as _, time::Duration};

use hub::clock::Clock;
use hub_event_store::{
    append::{Accepted, Append, AppendError, Rejection},
    event::{Metadata, NewEvent, StreamId},
    relay::Relay,
    repository::{ExecuteError, Order, Prepared, Repository},
    store::EventStore,
    tail::Tail,
    upcast::Upcasters,
};
use hub_projections::runner::{Runner, Settings};
use serde_json::value::RawValue;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use tokio::task::JoinHandle;
use tokio_util::sync::{CancellationToken, DropGuard};
use uuid::Uuid;

use super::{
    history::Receipt,
    ledger::{self, COUNTER, Ledger, Marked, OPEN_MAX},
};

/// The connections of a node but for the writer's bear this name.
pub(crate) const CONNECTION_NAME: &str = "hub-fault-node";

/// A command that has no verdict by then never gets one.
const VERDICT_LIMIT: Duration = Duration::from_secs(90);

/// An order, the same every time it is sent.
#[derive(Debug, Clone)]
pub(crate) enum Errand {
    /// A command of the aggregate, through the repository.
    Ledger { tenant_id: Uuid, ledger: Uuid, marked: Marked, expected_sequence: Option<i64> },
    /// Events of a stream without an aggregate, straight into the log.
    Slips { tenant_id: Uuid, stream: Uuid, mark: Uuid, expected_sequence: i64, count: i64 },
}

impl Errand {
    pub(crate) fn mark(&self) -> Uuid {
        match self {
            Self::Ledger { marked, .. } => marked.mark,
            Self::Slips { mark, .. } => *mark,
        }
    }
}

/// What the store says to an errand.
#[derive(Debug, Clone)]
pub(crate) enum Verdict {
    Accepted {
        receipt: Receipt,
        replayed: bool,
    },
    Refused(String),
    /// Nobody knows what happened.
    Unknown,
    /// What may never be said.
    Wrong(String),
}

pub(crate) struct Node {
    store: EventStore,
    ledgers: Repository<Ledger>,
    tasks: Vec<JoinHandle<()>>,
    _shutdown: DropGuard,
}

impl Node {
    /// Starts one on the database and the NATS given. It never ends before it is dropped.
    pub(crate) async fn start(database_url: &str, nats_url: &str, clock: Clock) -> Self {
        let options = PgConnectOptions::from_str(database_url).unwrap().application_name(CONNECTION_NAME);
        let pool = PgPoolOptions::new()
            .max_connections(16)
            .acquire_timeout(Duration::from_secs(2))
            .connect_with(options)
            .await
            .unwrap();
        let nats = async_nats::ConnectOptions::new().retry_on_initial_connect().connect(nats_url).await.unwrap();
        let (tail, shutdown) = (Tail::default(), CancellationToken::new());
        let store = EventStore::start(pool.clone(), tail.clone(), Upcasters::default(), clock);
        let ledgers = Repository::new(store.clone(), ledger::effects);
        let relay = Relay::new(pool.clone(), nats.clone(), tail.clone());
        let settings = Settings { lease: Duration::from_secs(3), ..Settings::default() };
        let runner = Runner::new(pool.clone(), Some(nats), tail.clone(), Upcasters::default(), ledger::projections());
        let runner = runner.with_settings(settings);
        let ends = [shutdown.clone(), shutdown.clone(), shutdown.clone()];
        let [tail_end, relay_end, runner_end] = ends;
        let tasks = vec![
            tokio::spawn(async move { tail.run(pool, tail_end).await }),
            tokio::spawn(async move { relay.run(relay_end).await }),
            tokio::spawn(async move { runner.run(runner_end).await }),
        ];
        Self { store, ledgers, tasks, _shutdown: shutdown.drop_guard() }
    }

    /// Whether all its parts are at work.
    pub(crate) fn works(&self) -> bool {
        self.tasks.iter().all(|task| !task.is_finished())
    }

    /// Sends the errand and waits for what the store says.
    pub(crate) async fn send(&self, errand: &Errand) -> Verdict {
        self.send_with(errand, [7; 32]).await
    }

    /// Sends another errand under the same command id, which must be refused.
    pub(crate) async fn send_forged(&self, errand: &Errand) -> Verdict {
        self.send_with(errand, [8; 32]).await
    }

    async fn send_with(&self, errand: &Errand, fingerprint: [u8; 32]) -> Verdict {
        let sending = async {
            match errand {
                Errand::Ledger { .. } => send_ledger(&self.ledgers, errand, fingerprint).await,
                Errand::Slips { tenant_id, stream, mark, expected_sequence, count } => {
                    let stream = StreamId { tenant_id: *tenant_id, aggregate_type: "slip", aggregate_id: *stream };
                    let append = slips(stream, *mark, *expected_sequence, *count, fingerprint);
                    verdict::<ledger::Refusal>(self.store.append(append).await.map_err(ExecuteError::Append))
                }
            }
        };
        tokio::time::timeout(VERDICT_LIMIT, sending)
            .await
            .unwrap_or_else(|_| Verdict::Wrong(format!("{errand:?} has no verdict after {VERDICT_LIMIT:?}")))
    }
}

/// Executes the command of an errand that has one.
pub(crate) async fn send_ledger(ledgers: &Repository<Ledger>, errand: &Errand, fingerprint: [u8; 32]) -> Verdict {
    let Errand::Ledger { tenant_id, ledger, marked, expected_sequence } = errand else {
        return Verdict::Wrong(format!("{errand:?} has no command"));
    };
    let order =
        Order { metadata: metadata(marked.mark), fingerprint, repeatable: true, expected_sequence: *expected_sequence };
    let prepare = |_| {
        let prepared = Prepared { maxima: vec![(COUNTER, OPEN_MAX)], ..Prepared::new(marked.clone()) };
        async move { Ok(prepared) }
    };
    verdict(ledgers.execute(*tenant_id, *ledger, &order, prepare).await)
}

fn metadata(mark: Uuid) -> Metadata {
    Metadata {
        actor: "user:client".to_owned(),
        command_id: mark,
        correlation_id: mark,
        causation_id: None,
        traceparent: None,
    }
}

fn slips(stream: StreamId, mark: Uuid, expected_sequence: i64, count: i64, fingerprint: [u8; 32]) -> Append {
    let slip = |part: i64| NewEvent {
        event_id: Uuid::now_v7(),
        event_type: "slip.filed".to_owned(),
        event_version: 1,
        payload: RawValue::from_string(format!(r#"{{"mark":"{mark}","part":{part},"parts":{count}}}"#)).unwrap(),
    };
    Append {
        stream,
        expected_sequence: Some(expected_sequence),
        metadata: metadata(mark),
        fingerprint,
        events: (1..=count).map(slip).collect(),
        claims: Vec::new(),
        counters: Vec::new(),
        facts: Vec::new(),
        guards: Vec::new(),
        outcome: None,
    }
}

fn verdict<E: std::error::Error + 'static>(answer: Result<Accepted, ExecuteError<E>>) -> Verdict {
    match answer {
        Ok(accepted) => Verdict::Accepted {
            receipt: Receipt {
                stream: accepted.aggregate_id,
                sequence: accepted.sequence,
                event_count: accepted.event_count,
                position: Some(accepted.position),
            },
            replayed: accepted.replayed,
        },
        Err(ExecuteError::Refused(refusal)) => Verdict::Refused(refusal.to_string()),
        Err(error @ (ExecuteError::VersionConflict { .. } | ExecuteError::Contended)) => {
            Verdict::Refused(error.to_string())
        }
        Err(ExecuteError::Append(AppendError::Rejected(rejection))) => Verdict::Refused(match rejection {
            Rejection::CommandIdReused => "reused".to_owned(),
            other => other.to_string(),
        }),
        Err(ExecuteError::Append(AppendError::Overloaded | AppendError::Unavailable(_))) => Verdict::Unknown,
        Err(error @ (ExecuteError::Append(AppendError::Invalid(_)) | ExecuteError::Corrupt(_))) => {
            Verdict::Wrong(error.to_string())
        }
    }
}
