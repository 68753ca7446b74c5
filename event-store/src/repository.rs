//! Loading an aggregate and executing commands on it: decide on the state that the last decision left, append, retry a lost race.
//!
//! Commands of one stream are decided one after the other but wait for their answers together, so a batch may hold many of them. What was
//! decided upon something that is then not accepted is decided again; no caller hears of it.

mod cache;
mod effects;
mod lane;
mod ticket;

use std::{fmt, sync::Arc, time::Duration};

use cqrs_es::{Aggregate, event_sink::EventSink};
use futures::TryStreamExt;
use serde_json::value::RawValue;
use uuid::Uuid;

use crate::{
    append::{Accepted, Append, AppendError, Guard, Rejection},
    event::{Metadata, Recorded, StreamId, encode},
    log::{PAGE_SIZE, fetch},
    quiet::Resting,
    snapshot::{self, Found, Snapshots},
    store::{EventStore, checked, unavailable},
    writer::Verdict,
};

use self::{
    cache::States,
    effects::counter_changes,
    lane::{Key, Lane, Lanes, Line, Reached},
    ticket::OnItsWay,
};

pub use self::effects::{Effects, EffectsOf};

/// A command that keeps losing races is told so after this many attempts.
const ATTEMPT_COUNT_MAX: u32 = 50;

/// Between two attempts: so long for each one before, up to the maximum. Another process that works on the same stream needs no
/// reload after its own command, so it would win every time against an immediate second attempt.
const ATTEMPT_DELAY: Duration = Duration::from_millis(1);

/// The longest delay between two attempts.
const ATTEMPT_DELAY_MAX: Duration = Duration::from_millis(20);

/// From this attempt on (0 is the first) a command waits for all before it and lets none begin before it has its answer, so that it
/// rests on nothing that can fall.
const ALONE_FROM: u32 = 2;

/// An aggregate as it is after `sequence` events.
#[derive(Debug, Clone)]
pub struct Loaded<A> {
    /// The state.
    pub state: A,
    /// The stream's sequence, 0 when it does not exist.
    pub sequence: i64,
}

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
    /// The sequence that the command was made for, when something in it is bound to its place in the stream; it is prepared anew when
    /// the stream is elsewhere.
    pub sequence: Option<i64>,
}

impl<C> Prepared<C> {
    /// A command that depends on its own stream only.
    #[must_use]
    pub const fn new(command: C) -> Self {
        Self {
            command,
            guards: Vec::new(),
            maxima: Vec::new(),
            expected_counters: Vec::new(),
            outcome: None,
            sequence: None,
        }
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
    shared: Arc<Shared<A>>,
}

/// What all clones of a repository and all their commands on their way share.
struct Shared<A: Aggregate> {
    store: EventStore,
    effects: EffectsOf<A>,
    states: States<A>,
    lanes: Lanes<A>,
    snapshots: Option<Snapshots>,
}

/// What a command is decided upon.
struct Base<A> {
    loaded: Arc<Loaded<A>>,
    /// The commands that have not been accepted yet but must be; none when the state is committed.
    line: Option<Arc<Line>>,
}

impl<A> Repository<A>
where
    A: Aggregate<Services = ()> + Clone + 'static,
{
    /// The aggregates of type `A` in `store`, without snapshots.
    #[must_use]
    pub fn new(store: EventStore, effects: EffectsOf<A>) -> Self {
        Self::build(store, effects, None)
    }

    /// The same with snapshots of long streams. `state_version` is raised whenever the serialised state changes its shape or its meaning;
    /// snapshots of another version are not looked at.
    #[must_use]
    pub fn with_snapshots(self, state_version: i32) -> Self {
        Self::build(self.shared.store.clone(), self.shared.effects, Some(Snapshots::new(state_version)))
    }

    fn build(store: EventStore, effects: EffectsOf<A>, snapshots: Option<Snapshots>) -> Self {
        let (states, lanes) = (States::default(), Lanes::default());
        Self { shared: Arc::new(Shared { store, effects, states, lanes, snapshots }) }
    }

    /// The aggregate as this process knows it to be committed; another process may have moved it since.
    ///
    /// # Errors
    /// When the store does not answer or the stream cannot be read.
    pub async fn load(&self, tenant_id: Uuid, aggregate_id: Uuid) -> Result<Arc<Loaded<A>>, ExecuteError<A::Error>> {
        match self.shared.states.fresh(&(tenant_id, aggregate_id)) {
            Some(loaded) => Ok(loaded),
            None => self.load_latest(tenant_id, aggregate_id).await,
        }
    }

    /// The aggregate with at least its first `sequence` events, which the caller knows to be committed.
    ///
    /// # Errors
    /// When the store does not answer or the stream cannot be read.
    pub async fn load_up_to(
        &self,
        tenant_id: Uuid,
        aggregate_id: Uuid,
        sequence: i64,
    ) -> Result<Arc<Loaded<A>>, ExecuteError<A::Error>> {
        match self.shared.states.get(&(tenant_id, aggregate_id)) {
            Some(loaded) if loaded.sequence >= sequence => Ok(loaded),
            _ => self.load_latest(tenant_id, aggregate_id).await,
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
        let Shared { store, states, snapshots, .. } = &*self.shared;
        let key = (tenant_id, aggregate_id);
        let stream = StreamId::of::<A>(tenant_id, aggregate_id);
        let (mut loaded, mut page) = match (states.get(&key), snapshots) {
            (None, Some(snapshots)) => self.load_cold(&stream, snapshots).await?,
            (known, _) => {
                let loaded = known.as_deref().cloned().unwrap_or_else(nothing);
                let page = store.read(store.log().page_of_stream(&stream, loaded.sequence, PAGE_SIZE)).await?;
                (loaded, page)
            }
        };
        loop {
            let (length, before) = (page.len(), loaded.sequence);
            for recorded in page {
                let sequence = recorded.sequence;
                let recorded = store.upcasters().apply(recorded).map_err(corrupt)?;
                loaded.state.apply(recorded.decode().map_err(corrupt)?);
                loaded.sequence = sequence;
            }
            // After every page: a long stream that one caller gives up on is not begun anew by the next.
            let reached = Arc::new(loaded.clone());
            self.shared.committed(key, before, reached.clone());
            if i64::try_from(length).is_ok_and(|length| length < PAGE_SIZE) {
                return Ok(reached);
            }
            page = store.read(store.log().page_of_stream(&stream, loaded.sequence, PAGE_SIZE)).await?;
        }
    }

    /// The snapshot of the stream, or nothing, and the first page of events after it.
    async fn load_cold(
        &self,
        stream: &StreamId,
        snapshots: &Snapshots,
    ) -> Result<(Loaded<A>, Vec<Recorded>), ExecuteError<A::Error>> {
        let store = &self.shared.store;
        let query = sqlx::query(snapshot::LOAD)
            .bind(stream.tenant_id)
            .bind(stream.aggregate_type)
            .bind(stream.aggregate_id)
            .bind(snapshots.state_version)
            .bind(PAGE_SIZE);
        let rows = store.read(fetch(store.pool(), query)).await?;
        let found = Found::of(&rows).map_err(unavailable)?;
        let Some((sequence, kept)) = found.kept else { return Ok((nothing(), found.events)) };
        match serde_json::from_str(&kept) {
            Ok(state) => Ok((Loaded { state, sequence }, found.events)),
            Err(error) => {
                snapshots.unreadable(stream, &error);
                Ok((nothing(), store.read(store.log().page_of_stream(stream, 0, PAGE_SIZE)).await?))
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
        let store = &self.shared.store;
        let mut events = Box::pin(store.log().streams_of_type(tenant_id, A::TYPE, types));
        while let Some(recorded) = events.try_next().await.map_err(unavailable)? {
            let aggregate_id = recorded.aggregate_id;
            let recorded = store.upcasters().apply(recorded).map_err(corrupt)?;
            step(&mut folded, aggregate_id, recorded.decode().map_err(corrupt)?);
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
        let lane = self.shared.lanes.of(&key);
        let stream = StreamId::of::<A>(tenant_id, aggregate_id);
        let quiet = self.shared.store.quiet();
        let mut resting = Resting::default();
        let mut settle_first = false;
        for attempt in 0..ATTEMPT_COUNT_MAX {
            let alone = attempt >= ALONE_FROM;
            let turn = lane.turn.lock().await;
            if resting.is_empty() {
                quiet.pass(&stream).await;
            }
            if alone || settle_first {
                lane.settled(&key).await;
            }
            let prepared = prepare(attempt).await?;
            let guarded: Vec<StreamId> = prepared.guards.iter().map(|guard| guard.stream.clone()).collect();
            let base = self.base(lane, key, attempt).await?;
            if prepared.sequence.is_some_and(|sequence| sequence != base.loaded.sequence) {
                settle_first = true;
                continue;
            }
            let answer = match self.enqueue(lane, key, &base, order, prepared).await {
                Ok(Some(verdict)) => {
                    // Whoever comes next decides upon what this command leaves.
                    let turn = alone.then_some(turn);
                    let answer = verdict.answer().await;
                    drop(turn);
                    answer.map_err(ExecuteError::Append)
                }
                // What it was decided upon fell at this moment.
                Ok(None) => continue,
                Err(error) => {
                    drop(turn);
                    Err(error)
                }
            };
            match answer {
                // Only a database that has lost commits can do this, such as a standby that took over too early.
                Err(ExecuteError::Append(AppendError::Rejected(Rejection::SequenceConflict { actual })))
                    if base.line.is_none() && actual < base.loaded.sequence =>
                {
                    let known = base.loaded.sequence;
                    tracing::error!(known, actual, stream = %aggregate_id, "a stream is shorter than it was");
                    self.shared.states.forget(&key);
                }
                Err(ExecuteError::Append(AppendError::Rejected(
                    lost @ (Rejection::SequenceConflict { .. }
                    | Rejection::GuardMoved { .. }
                    | Rejection::CounterMoved { .. }),
                ))) => {
                    if matches!(lost, Rejection::GuardMoved { .. }) && attempt > 0 && resting.is_empty() {
                        resting = quiet.ask(&guarded).await;
                    }
                    tokio::time::sleep((ATTEMPT_DELAY * attempt).min(ATTEMPT_DELAY_MAX)).await;
                }
                Err(no @ (ExecuteError::Refused(_) | ExecuteError::VersionConflict { .. })) => {
                    // Refused by its own effect, when the same command came through another process meanwhile.
                    if let Some(first) = self.first_outcome(order).await? {
                        return Ok(first);
                    }
                    // It may rest on a copy that another process has made stale, or on what will not come to be: look again
                    // before saying no.
                    if attempt > 0 && base.line.is_none() {
                        return Err(no);
                    }
                    settle_first = true;
                }
                other => return other,
            }
        }
        Err(ExecuteError::Contended)
    }

    /// What the next command of the stream is decided upon; its caller has the turn.
    async fn base(&self, lane: &Lane<A>, key: Key, attempt: u32) -> Result<Base<A>, ExecuteError<A::Error>> {
        let (tenant_id, aggregate_id) = key;
        let loaded = match lane.reached(&key) {
            Reached::Pending(loaded, line) => return Ok(Base { loaded, line: Some(line) }),
            Reached::Committed if attempt == 0 => self.load(tenant_id, aggregate_id).await?,
            Reached::Committed => self.load_latest(tenant_id, aggregate_id).await?,
            Reached::Broken => {
                lane.settled(&key).await;
                self.load_latest(tenant_id, aggregate_id).await?
            }
        };
        Ok(Base { loaded, line: None })
    }

    /// Decides and puts the events on their way; nothing when what was decided upon has fallen meanwhile.
    async fn enqueue(
        &self,
        lane: &Lane<A>,
        key: Key,
        base: &Base<A>,
        order: &Order,
        prepared: Prepared<A::Command>,
    ) -> Result<Option<Verdict>, ExecuteError<A::Error>> {
        let (append, reached) = self.decide(key, &base.loaded, order, prepared).await?;
        checked(&append)?;
        let slot = self.shared.store.reserve()?;
        let reached = Arc::new(reached);
        let Some(line) = lane.begin(key, base.line.as_ref(), reached.clone()) else { return Ok(None) };
        let before = base.loaded.sequence;
        let ticket = OnItsWay::new(self.shared.clone(), key, line, before, reached);
        Ok(Some(slot.send(append, Some(Box::new(ticket)))?))
    }

    /// What the command asks of the log, and how it leaves the aggregate.
    async fn decide(
        &self,
        (tenant_id, aggregate_id): Key,
        loaded: &Loaded<A>,
        order: &Order,
        prepared: Prepared<A::Command>,
    ) -> Result<(Append, Loaded<A>), ExecuteError<A::Error>> {
        if order.expected_sequence.is_some_and(|expected| expected != loaded.sequence) {
            return Err(ExecuteError::VersionConflict { actual: loaded.sequence });
        }
        let sink = EventSink::default();
        let mut scratch = loaded.state.clone();
        scratch.handle(prepared.command, &(), &sink).await.map_err(ExecuteError::Refused)?;
        let events = sink.collect().await;

        let mut append = Append {
            stream: StreamId::of::<A>(tenant_id, aggregate_id),
            expected_sequence: Some(loaded.sequence),
            metadata: order.metadata.clone(),
            fingerprint: order.fingerprint,
            events: Vec::with_capacity(events.len()),
            claims: Vec::new(),
            counters: Vec::new(),
            facts: Vec::new(),
            guards: prepared.guards,
            outcome: prepared.outcome,
        };
        // The state is folded from the events here, as a load does, and not taken from the hands of `handle`.
        let mut reached = loaded.clone();
        let mut deltas: Vec<(&'static str, i64)> = Vec::new();
        for event in events {
            let effects = (self.shared.effects)(&append.stream, &reached.state, &event);
            append.claims.extend(effects.claims);
            append.facts.extend(effects.facts);
            deltas.extend(effects.counters);
            append.events.push(encode(A::TYPE, Uuid::now_v7(), &event).map_err(corrupt)?);
            reached.state.apply(event);
            reached.sequence += 1;
        }
        append.counters = counter_changes(tenant_id, &deltas, &prepared.maxima, &prepared.expected_counters);
        Ok((append, reached))
    }

    async fn first_outcome(&self, order: &Order) -> Result<Option<Accepted>, ExecuteError<A::Error>> {
        if !order.repeatable {
            return Ok(None);
        }
        Ok(self.shared.store.outcome(order.metadata.command_id, &order.fingerprint).await?)
    }
}

impl<A: Aggregate + 'static> Shared<A> {
    /// The stream is now known to have been committed up to `loaded`; it was at `before`.
    fn committed(&self, key: Key, before: i64, loaded: Arc<Loaded<A>>) {
        if let Some(snapshots) = &self.snapshots
            && snapshot::due(before, loaded.sequence)
        {
            snapshots.keep(&self.store, StreamId::of::<A>(key.0, key.1), loaded.clone());
        }
        self.states.put(key, loaded);
    }
}

fn nothing<A: Default>() -> Loaded<A> {
    Loaded { state: A::default(), sequence: 0 }
}

fn corrupt<E: std::error::Error + 'static>(error: impl fmt::Display) -> ExecuteError<E> {
    ExecuteError::Corrupt(error.to_string())
}

impl<A: Aggregate> fmt::Debug for Repository<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Repository({})", A::TYPE)
    }
}
