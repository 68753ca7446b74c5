//! Loading an aggregate and executing commands on it: decide on the cached state, append, retry a lost race.

use std::{fmt, hash::BuildHasher, sync::Arc, time::Duration};

use cqrs_es::{Aggregate, event_sink::EventSink};
use futures::TryStreamExt;
use moka::sync::Cache;
use serde_json::value::RawValue;
use tokio::sync::Mutex;
use uuid::Uuid;

use crate::{
    append::{Accepted, Append, AppendError, Claim, CounterChange, Direction, Guard, Rejection},
    event::{Metadata, StreamId, encode},
    log::PAGE_SIZE,
    store::{EventStore, unavailable},
};

/// A command that keeps losing races is told so after this many attempts.
const ATTEMPT_COUNT_MAX: u32 = 50;

/// Between two attempts: so long for each one before, up to the maximum. Another process that works on the same stream needs no
/// reload after its own command, so it would win every time against an immediate second attempt.
const ATTEMPT_DELAY: Duration = Duration::from_millis(1);

/// The longest delay between two attempts.
const ATTEMPT_DELAY_MAX: Duration = Duration::from_millis(20);

/// So many states of one aggregate type are kept at hand.
const CACHE_SIZE: u64 = 10_000;

/// Commands of one stream take turns on one of so many locks.
const LOCK_COUNT: usize = 1_024;

/// An aggregate as it is after `sequence` events.
#[derive(Debug, Clone)]
pub struct Loaded<A> {
    /// The state.
    pub state: A,
    /// The stream's sequence, 0 when it does not exist.
    pub sequence: i64,
}

/// What an event takes, gives back and counts, in the store's own words.
#[derive(Debug, Clone, Default)]
pub struct Effects {
    /// Names taken and given back: realm, scope, key.
    pub claims: Vec<Claim>,
    /// Counters of the stream's tenant: name and delta.
    pub counters: Vec<(&'static str, i64)>,
}

/// Tells an event's effects from the state before it, in the tenant given.
pub type EffectsOf<A> = fn(Uuid, &A, &<A as Aggregate>::Event) -> Effects;

/// Everything about a command but what it says.
#[derive(Debug, Clone)]
pub struct Order {
    /// Who and why, with the command's id.
    pub metadata: Metadata,
    /// Tells the same command from another with the same id.
    pub fingerprint: [u8; 32],
    /// Whether the sender may send it again under the same id, so that its outcome must be kept even if nothing happens.
    pub repeatable: bool,
    /// The sequence that the sender has seen; nothing is retried then.
    pub expected_sequence: Option<i64>,
}

/// A command with what it depends on beside its own stream.
#[derive(Debug, Clone)]
pub struct Prepared<C> {
    /// The command.
    pub command: C,
    /// Streams that were read to prepare it.
    pub guards: Vec<Guard>,
    /// The highest value that a counter of the tenant may reach.
    pub maxima: Vec<(&'static str, i64)>,
    /// The value that a counter of the tenant had when the command was prepared.
    pub expected_counters: Vec<(&'static str, i64)>,
    /// What the sender is told when the command comes again.
    pub outcome: Option<Box<RawValue>>,
}

impl<C> Prepared<C> {
    /// A command that depends on its own stream only.
    #[must_use]
    pub const fn new(command: C) -> Self {
        Self { command, guards: Vec::new(), maxima: Vec::new(), expected_counters: Vec::new(), outcome: None }
    }
}

/// Why a command led to nothing.
#[derive(Debug, thiserror::Error)]
pub enum ExecuteError<E: std::error::Error + 'static> {
    /// The aggregate refuses.
    #[error(transparent)]
    Refused(E),
    /// The sender expected another sequence.
    #[error("the stream is at sequence {actual}")]
    VersionConflict { actual: i64 },
    /// Every attempt lost its race.
    #[error("the command lost its race {ATTEMPT_COUNT_MAX} times")]
    Contended,
    /// The log refuses or does not answer.
    #[error(transparent)]
    Append(#[from] AppendError),
    /// The stream cannot be read.
    #[error("the stream cannot be read: {0}")]
    Corrupt(String),
}

/// The aggregates of one type: loads them and executes commands on them; cheap to clone.
#[derive(Clone)]
pub struct Repository<A: Aggregate> {
    store: EventStore,
    effects: EffectsOf<A>,
    cache: Cache<(Uuid, Uuid), Arc<Loaded<A>>>,
    locks: Arc<Vec<Mutex<()>>>,
}

impl<A> Repository<A>
where
    A: Aggregate<Services = ()> + Clone + 'static,
{
    /// The aggregates of type `A` in `store`.
    #[must_use]
    pub fn new(store: EventStore, effects: EffectsOf<A>) -> Self {
        let locks = std::iter::repeat_with(|| Mutex::new(())).take(LOCK_COUNT).collect();
        Self { store, effects, cache: Cache::new(CACHE_SIZE), locks: Arc::new(locks) }
    }

    /// The aggregate as this process knows it; another process may have moved it since.
    ///
    /// # Errors
    /// When the store does not answer or the stream cannot be read.
    pub async fn load(&self, tenant_id: Uuid, aggregate_id: Uuid) -> Result<Arc<Loaded<A>>, ExecuteError<A::Error>> {
        match self.cache.get(&(tenant_id, aggregate_id)) {
            Some(loaded) => Ok(loaded),
            None => self.load_latest(tenant_id, aggregate_id).await,
        }
    }

    /// The aggregate with every event that is committed now.
    ///
    /// # Errors
    /// When the store does not answer or the stream cannot be read.
    pub async fn load_latest(
        &self,
        tenant_id: Uuid,
        aggregate_id: Uuid,
    ) -> Result<Arc<Loaded<A>>, ExecuteError<A::Error>> {
        let key = (tenant_id, aggregate_id);
        let stream = StreamId::of::<A>(tenant_id, aggregate_id);
        let known = self.cache.get(&key);
        let mut loaded = known.as_deref().cloned().unwrap_or_else(|| Loaded { state: A::default(), sequence: 0 });
        loop {
            let page = self.store.read(self.store.log().page_of_stream(&stream, loaded.sequence, PAGE_SIZE)).await?;
            let length = page.len();
            for recorded in page {
                let sequence = recorded.sequence;
                let recorded =
                    self.store.upcasters().apply(recorded).map_err(|e| ExecuteError::Corrupt(e.to_string()))?;
                loaded.state.apply(recorded.decode().map_err(|e| ExecuteError::Corrupt(e.to_string()))?);
                loaded.sequence = sequence;
            }
            // After every page: a long stream that one caller gives up on is not begun anew by the next.
            let reached = Arc::new(loaded.clone());
            if reached.sequence > 0 {
                self.cache.insert(key, reached.clone());
            }
            if i64::try_from(length).is_ok_and(|length| length < PAGE_SIZE) {
                return Ok(reached);
            }
        }
    }

    /// The events of this aggregate type in the tenant, decoded, stream by stream in its order; only those with the tags if any are given.
    ///
    /// # Errors
    /// When the store does not answer or an event cannot be read.
    pub async fn fold_all<T>(
        &self,
        tenant_id: Uuid,
        tags: &[&str],
        initial: T,
        mut step: impl FnMut(&mut T, Uuid, A::Event),
    ) -> Result<T, ExecuteError<A::Error>> {
        let mut folded = initial;
        let types = (!tags.is_empty()).then(|| tags.iter().map(|tag| format!("{}.{tag}", A::TYPE)).collect());
        let mut events = Box::pin(self.store.log().streams_of_type(tenant_id, A::TYPE, types));
        while let Some(recorded) = events.try_next().await.map_err(unavailable)? {
            let aggregate_id = recorded.aggregate_id;
            let recorded = self.store.upcasters().apply(recorded).map_err(|e| ExecuteError::Corrupt(e.to_string()))?;
            step(&mut folded, aggregate_id, recorded.decode().map_err(|e| ExecuteError::Corrupt(e.to_string()))?);
        }
        Ok(folded)
    }

    /// Executes one command: decides on the aggregate's state, appends, and decides again when a race was lost.
    ///
    /// `prepare` is called once per attempt (0 for the first) and builds the command from what it depends on; from the second attempt on
    /// it must look at the latest state of whatever it reads.
    ///
    /// # Errors
    /// The aggregate's refusal, or why the log did not take the events.
    pub async fn execute<P, F>(
        &self,
        tenant_id: Uuid,
        aggregate_id: Uuid,
        order: &Order,
        prepare: P,
    ) -> Result<Accepted, ExecuteError<A::Error>>
    where
        P: Fn(u32) -> F + Send + Sync,
        F: Future<Output = Result<Prepared<A::Command>, ExecuteError<A::Error>>> + Send,
    {
        let key = (tenant_id, aggregate_id);
        // Commands of one stream take turns, so that within a process none loses a race to another.
        let _turn = self.lock_of(&key).lock().await;
        for attempt in 0..ATTEMPT_COUNT_MAX {
            let prepared = prepare(attempt).await?;
            let loaded = if attempt == 0 {
                self.load(tenant_id, aggregate_id).await?
            } else {
                self.load_latest(tenant_id, aggregate_id).await?
            };
            match self.attempt(key, &loaded, order, prepared).await {
                // Only a database that has lost commits can do this, such as a standby that took over too early.
                Err(ExecuteError::Append(AppendError::Rejected(Rejection::SequenceConflict { actual })))
                    if actual < loaded.sequence =>
                {
                    tracing::error!(known = loaded.sequence, actual, stream = %aggregate_id, "a stream is shorter than it was");
                    self.cache.invalidate(&key);
                }
                Err(ExecuteError::Append(AppendError::Rejected(
                    Rejection::SequenceConflict { .. } | Rejection::GuardMoved { .. } | Rejection::CounterMoved { .. },
                ))) => tokio::time::sleep((ATTEMPT_DELAY * attempt).min(ATTEMPT_DELAY_MAX)).await,
                // A refusal may rest on a copy that another process has made stale: look again before saying no.
                Err(ExecuteError::Refused(_) | ExecuteError::VersionConflict { .. }) if attempt == 0 => {
                    if let Some(first) = self.first_outcome(order).await? {
                        return Ok(first);
                    }
                }
                other => return other,
            }
        }
        Err(ExecuteError::Contended)
    }

    async fn attempt(
        &self,
        key: (Uuid, Uuid),
        loaded: &Loaded<A>,
        order: &Order,
        prepared: Prepared<A::Command>,
    ) -> Result<Accepted, ExecuteError<A::Error>> {
        let (tenant_id, aggregate_id) = key;
        if order.expected_sequence.is_some_and(|expected| expected != loaded.sequence) {
            return Err(ExecuteError::VersionConflict { actual: loaded.sequence });
        }
        let sink = EventSink::default();
        let mut state = loaded.state.clone();
        state.handle(prepared.command, &(), &sink).await.map_err(ExecuteError::Refused)?;
        let events = sink.collect().await;

        let mut append = Append {
            stream: StreamId::of::<A>(tenant_id, aggregate_id),
            expected_sequence: Some(loaded.sequence),
            metadata: order.metadata.clone(),
            fingerprint: order.fingerprint,
            events: Vec::with_capacity(events.len()),
            claims: Vec::new(),
            counters: Vec::new(),
            guards: prepared.guards,
            outcome: prepared.outcome,
        };
        let mut before = loaded.state.clone();
        let mut deltas: Vec<(&'static str, i64)> = Vec::new();
        for event in events {
            let effects = (self.effects)(tenant_id, &before, &event);
            append.claims.extend(effects.claims);
            deltas.extend(effects.counters);
            let encoded = encode(A::TYPE, Uuid::now_v7(), &event).map_err(|e| ExecuteError::Corrupt(e.to_string()))?;
            append.events.push(encoded);
            before.apply(event);
        }
        append.counters = counter_changes(tenant_id, &deltas, &prepared.maxima, &prepared.expected_counters);

        let accepted = self.store.append(append).await?;
        if !accepted.replayed && accepted.sequence > 0 {
            self.cache.insert(key, Arc::new(Loaded { state, sequence: accepted.sequence }));
        }
        Ok(accepted)
    }

    async fn first_outcome(&self, order: &Order) -> Result<Option<Accepted>, ExecuteError<A::Error>> {
        if !order.repeatable {
            return Ok(None);
        }
        Ok(self.store.outcome(order.metadata.command_id, &order.fingerprint).await?)
    }

    fn lock_of(&self, key: &(Uuid, Uuid)) -> &Mutex<()> {
        let hash = std::hash::BuildHasherDefault::<std::hash::DefaultHasher>::default().hash_one(key);
        let place = usize::try_from(hash % LOCK_COUNT as u64).expect("a lock number is small");
        &self.locks[place]
    }
}

/// One change per counter: the sum of what the events count, with the conditions that the command was prepared under.
fn counter_changes(
    tenant_id: Uuid,
    deltas: &[(&'static str, i64)],
    maxima: &[(&'static str, i64)],
    expected: &[(&'static str, i64)],
) -> Vec<CounterChange> {
    let mut changes: Vec<CounterChange> = Vec::new();
    let names = deltas.iter().chain(expected).map(|(name, _)| *name);
    for name in names {
        if changes.iter().any(|change| change.name == name) {
            continue;
        }
        let value_in = |list: &[(&'static str, i64)]| list.iter().find(|(n, _)| *n == name).map(|(_, value)| *value);
        changes.push(CounterChange {
            tenant_id,
            name,
            delta: deltas.iter().filter(|(n, _)| *n == name).map(|(_, delta)| delta).sum(),
            maximum: value_in(maxima),
            expected: value_in(expected),
        });
    }
    changes
}

impl Effects {
    /// Adds a name taken.
    pub fn take(&mut self, realm_id: Uuid, scope: &'static str, key: String) {
        self.claims.push(Claim { realm_id, scope, key, direction: Direction::Take });
    }

    /// Adds a name given back.
    pub fn release(&mut self, realm_id: Uuid, scope: &'static str, key: String) {
        self.claims.push(Claim { realm_id, scope, key, direction: Direction::Release });
    }
}

impl<A: Aggregate> fmt::Debug for Repository<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Repository({})", A::TYPE)
    }
}
