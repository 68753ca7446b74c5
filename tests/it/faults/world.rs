//! A platform to be harmed: PostgreSQL, NATS behind a proxy, and two nodes; each round harms it, lets it come to rest, and is judged.

use std::{
    collections::{BTreeMap, HashSet},
    fmt,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use futures::{TryStreamExt as _, future::join_all};
use hub_event_store::{log::Log, upcast::Upcasters};
use hub_projections::{
    projection::Projection,
    status::{self, State, parked_events},
};
use hub_replay_tools::{read_models::verify_read_models, verify::verify_log};
use hub_tests::kit::{Mischief, Nats, NatsProxy, OwnPostgres, TestClock, eventually};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{
    carrier::Carried,
    clients::Office,
    fault::{Fault, Progress, Step, Tally, on_carrier, on_database},
    history::{Answer, History},
    ledger::{self, COUNTER, CURSED, NAMES, OPEN_MAX, PANICKING, PANICS, PARKING, RIGHT, SCOPE, STOPPING, logged},
    node::Node,
    oracle::{Logged, Objection, Oracle},
    random::Random,
};

/// After the last fault everything has to be at the end of the log within this.
const REST_LIMIT: Duration = Duration::from_secs(180);

/// Who waits for rest is told so often what is missing.
const TELL_EVERY: Duration = Duration::from_secs(10);

/// What a round is made of.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    /// So many errands are sent, besides those that are sent again.
    pub(crate) errands: usize,
    pub(crate) clients: usize,
    pub(crate) faults: Vec<Step>,
    /// Whether everything is read again at the end, by the tools of the audit.
    pub(crate) verify: bool,
    /// A command without an aggregate has fewer events than this.
    pub(crate) slip_count_max: usize,
}

impl Plan {
    /// So many errands, with faults of each of the lists spread over them.
    pub(crate) fn new(random: &mut Random, errands: usize, faults: &[Fault]) -> Self {
        let mut steps: Vec<Step> = Vec::new();
        for of_lane in [&Fault::OF_DATABASE[..], &Fault::OF_CARRIER[..]] {
            let lane: Vec<Fault> = faults.iter().copied().filter(|fault| of_lane.contains(fault)).collect();
            let share = errands * 8 / 10 / lane.len().max(1);
            for (place, fault) in lane.into_iter().enumerate() {
                let at = errands / 20 + place * share + random.below(share / 2 + 1);
                steps.push(Step { fault, at, lasting: random.between(share / 4, share / 2 + 2) });
            }
        }
        Self { errands, clients: 24, faults: steps, verify: true, slip_count_max: 9 }
    }

    /// Some faults of each lane.
    pub(crate) fn mixed(random: &mut Random, errands: usize) -> Self {
        let mut faults = Vec::new();
        for _ in 0..random.between(2, 6) {
            faults.push(*random.pick(&Fault::OF_DATABASE));
        }
        for _ in 0..random.between(1, 4) {
            faults.push(*random.pick(&Fault::OF_CARRIER));
        }
        Self::new(random, errands, &faults)
    }
}

/// What a round, or all rounds so far, came to.
#[derive(Debug, Default, Clone)]
pub(crate) struct Outcome {
    pub(crate) events: i64,
    pub(crate) acknowledged: usize,
    pub(crate) refused: usize,
    /// Without a verdict when the round ended, and settled afterwards.
    pub(crate) unsettled: usize,
    pub(crate) faults: Tally,
    pub(crate) mischief: Mischief,
}

impl Outcome {
    /// Both together.
    pub(crate) fn add(&mut self, other: &Self) {
        self.events += other.events;
        self.acknowledged += other.acknowledged;
        self.refused += other.refused;
        self.unsettled += other.unsettled;
        for (fault, count) in &other.faults {
            *self.faults.entry(*fault).or_default() += count;
        }
        self.mischief.dropped += other.mischief.dropped;
        self.mischief.doubled += other.mischief.doubled;
        self.mischief.swapped += other.mischief.swapped;
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { events, acknowledged, refused, unsettled, faults, mischief } = self;
        write!(
            f,
            "{events} events, {acknowledged} commands acknowledged, {refused} refused, {unsettled} settled by asking again; "
        )?;
        let Mischief { dropped, doubled, swapped } = mischief;
        write!(f, "messages {dropped} lost, {doubled} doubled, {swapped} swapped; faults {faults:?}")
    }
}

pub(crate) struct World {
    postgres: OwnPostgres,
    nats: Nats,
    proxy: NatsProxy,
    nodes: Vec<Arc<Node>>,
    clock: TestClock,
    oracle: Oracle,
    history: Arc<History>,
    carried: Carried,
    remembered: Vec<(super::node::Errand, super::history::Receipt)>,
    round: u64,
    random: Random,
    /// The first cursed posting, and the streams that have one.
    first_cursed: Option<i64>,
    cursed: HashSet<Uuid>,
}

impl World {
    pub(crate) async fn start(random: &mut Random) -> Self {
        let postgres = OwnPostgres::start().await;
        for name in NAMES {
            sqlx::query(&ledger::table(name)).execute(&postgres.pool).await.unwrap();
        }
        let nats = Nats::start().await;
        let proxy = NatsProxy::start(&nats.url(), random.next()).await;
        let clock = TestClock::default();
        let mut nodes = Vec::new();
        for _ in 0..2 {
            nodes.push(Arc::new(Node::start(&postgres.url, &proxy.url(), clock.clock()).await));
        }
        Self {
            postgres,
            nats,
            proxy,
            nodes,
            clock,
            oracle: Oracle::new(OPEN_MAX),
            history: Arc::default(),
            carried: Carried::default(),
            remembered: Vec::new(),
            round: 0,
            random: random.fork(),
            first_cursed: None,
            cursed: HashSet::new(),
        }
    }

    /// Plays a round and judges it.
    ///
    /// # Panics
    /// With everything that the oracle objects to.
    pub(crate) async fn round(&mut self, plan: &Plan) -> Outcome {
        let before = self.oracle.head;
        let done_before = self.proxy.done();
        let (faults, unsettled) = self.harm(plan).await;
        let head = self.rest().await;
        let (sent, contradictions) = self.history.take();
        let count = |matching: fn(&Answer) -> bool| sent.iter().filter(|sent| matching(&sent.answer)).count();
        let outcome = Outcome {
            events: head - before,
            acknowledged: count(|answer| matches!(answer, Answer::Acknowledged { .. })),
            refused: count(|answer| matches!(answer, Answer::Refused(_))),
            unsettled,
            faults,
            mischief: difference(self.proxy.done(), done_before),
        };
        let log = self.log_after(before).await;
        let mut objections = self.oracle.judge(&log, &sent);
        objections.extend(contradictions.into_iter().map(Objection::Other));
        objections.extend(self.kept_objections().await);
        objections.extend(self.poison_objections(&log).await);
        objections.extend(self.carried.look(&self.nats.url(), head).await.into_iter().map(Objection::Other));
        if plan.verify {
            objections.extend(self.audit_objections().await);
        }
        if let Some(node) = self.nodes.iter().position(|node| !node.works()) {
            objections.push(Objection::Other(format!("a part of node {node} has ended")));
        }
        let shown: Vec<String> = objections.iter().take(25).map(ToString::to_string).collect();
        assert!(objections.is_empty(), "{} objections after {outcome:?}:\n{}", objections.len(), shown.join("\n"));
        outcome
    }

    /// The clients at work and the faults among them; afterwards everything is whole again and every errand has its verdict.
    async fn harm(&mut self, plan: &Plan) -> (Tally, usize) {
        self.round += 1;
        let (answered, _) = watch::channel(0);
        let office = Arc::new(Office {
            nodes: self.nodes.clone(),
            history: Arc::clone(&self.history),
            answered,
            left: AtomicUsize::new(plan.errands),
            cursing: AtomicBool::new(false),
            unsettled: Mutex::default(),
            remembered: Mutex::new(std::mem::take(&mut self.remembered)),
            round: self.round,
            slip_count_max: plan.slip_count_max,
        });
        let finished = CancellationToken::new();
        let progress = || Progress { answered: office.answered.subscribe(), finished: finished.clone() };
        let lane = |of_lane: &[Fault]| {
            plan.faults.iter().copied().filter(|step| of_lane.contains(&step.fault)).collect::<Vec<_>>()
        };
        let clients = async {
            office.prepare(&mut self.random.fork()).await;
            let mut tasks = Vec::new();
            for _ in 0..plan.clients {
                let (office, random) = (Arc::clone(&office), self.random.fork());
                tasks.push(tokio::spawn(async move { office.client(random).await }));
            }
            for ended in join_all(tasks).await {
                ended.unwrap();
            }
            finished.cancel();
        };
        let random = Random::new(plan.errands as u64 ^ self.round);
        let (of_database, of_carrier) = (lane(&Fault::OF_DATABASE), lane(&Fault::OF_CARRIER));
        let ((), mut tally, more) = tokio::join!(
            clients,
            on_database(&of_database, &mut self.postgres, (&office, &self.clock), (progress(), random)),
            on_carrier(&of_carrier, &mut self.nats, &self.proxy, progress()),
        );
        tally.extend(more);
        let unsettled = office.settle(&mut self.random).await;
        self.remembered = std::mem::take(&mut *office.remembered.lock().unwrap());
        (tally, unsettled)
    }

    /// Waits until the relay and the read models are at the end of the log, and answers where that is.
    async fn rest(&self) -> i64 {
        PANICS.store(0, Ordering::SeqCst);
        let all = ledger::projections();
        let mut told_at = Instant::now();
        eventually(REST_LIMIT, async || {
            let head = Log::new(self.postgres.pool.clone()).head().await.ok()?;
            let cursor: i64 =
                sqlx::query_scalar("SELECT position FROM relay_cursor").fetch_one(&self.postgres.pool).await.ok()?;
            let statuses = status::list(&self.postgres.pool, &all).await.ok()?;
            let behind = statuses.iter().filter(|status| status.position != head && status.state != State::Stopped);
            let behind: Vec<_> = behind.map(|status| (status.name, status.position)).collect();
            if told_at.elapsed() > TELL_EVERY {
                told_at = Instant::now();
                println!("the log ends at {head}, the relay is at {cursor}, behind are {behind:?}");
            }
            (cursor == head && behind.is_empty()).then_some(head)
        })
        .await
    }

    async fn log_after(&self, position: i64) -> Vec<Logged> {
        let events = Log::new(self.postgres.pool.clone()).read(position, i64::MAX);
        events.map_ok(|event| logged(&event)).try_collect().await.unwrap()
    }

    /// Names and counters as the store keeps them, beside those that the log leads to.
    async fn kept_objections(&self) -> Vec<Objection> {
        let pool = &self.postgres.pool;
        let names: Vec<(Uuid, String, Uuid)> =
            sqlx::query_as("SELECT realm_id, key, aggregate_id FROM claims WHERE scope = $1")
                .bind(SCOPE)
                .fetch_all(pool)
                .await
                .unwrap();
        let names: BTreeMap<_, _> = names.into_iter().map(|(realm, key, stream)| ((realm, key), stream)).collect();
        let counters: Vec<(Uuid, i64)> = sqlx::query_as("SELECT tenant_id, value FROM counters WHERE name = $1")
            .bind(COUNTER)
            .fetch_all(pool)
            .await
            .unwrap();
        let counters: BTreeMap<_, _> = counters.into_iter().collect();
        let mut objections = Vec::new();
        if names != self.oracle.names {
            let (kept, expected) = (format!("{names:?}"), format!("{:?}", self.oracle.names));
            objections.push(Objection::Kept { what: "names", kept, expected });
        }
        if counters != self.oracle.counters {
            let (kept, expected) = (format!("{counters:?}"), format!("{:?}", self.oracle.counters));
            objections.push(Objection::Kept { what: "counters", kept, expected });
        }
        objections
    }

    /// The read models that throw: one has parked the streams of cursed postings and nothing else, the other has stopped before the first.
    async fn poison_objections(&mut self, log: &[Logged]) -> Vec<Objection> {
        let Some(first) = log.first() else { return Vec::new() };
        let mut expected = Vec::new();
        for event in log.iter().filter(|event| event.kind == "ledger") {
            if self.is_cursed(event) {
                self.cursed.insert(event.stream);
                self.first_cursed.get_or_insert(event.position);
            }
            if self.cursed.contains(&event.stream) {
                expected.push(event.position);
            }
        }
        let (pool, name) = (&self.postgres.pool, NAMES[PARKING as usize]);
        let mut parked: Vec<i64> = Vec::new();
        let mut after = first.position - 1;
        loop {
            let page = parked_events(pool, name, after, 1_000).await.unwrap();
            let Some(last) = page.last() else { break };
            after = last.position;
            parked.extend(page.iter().map(|event| event.position));
        }
        let mut objections = Vec::new();
        if parked != expected {
            let (kept, expected) = (format!("{parked:?}"), format!("{expected:?}"));
            objections.push(Objection::Kept { what: "parked events", kept, expected });
        }
        let statuses = status::list(pool, &ledger::projections()).await.unwrap();
        let stopping = statuses.iter().find(|status| status.name == NAMES[STOPPING as usize]).unwrap();
        let (stopped, position) = (stopping.state == State::Stopped, stopping.position);
        if stopped != self.first_cursed.is_some() || self.first_cursed.is_some_and(|cursed| position >= cursed) {
            let cursed = self.first_cursed;
            let what =
                format!("{} is {:?} at {position}, the first cursed is {cursed:?}", stopping.name, stopping.state);
            objections.push(Objection::Other(what));
        }
        objections
    }

    fn is_cursed(&self, event: &Logged) -> bool {
        event.total.is_some_and(|(amount, _)| amount == CURSED)
    }

    /// What the tools of the audit find: in the log, and in the read models that leave nothing out.
    async fn audit_objections(&self) -> Vec<Objection> {
        let pool = &self.postgres.pool;
        let report = verify_log(pool, |_, _| {}).await.unwrap();
        let mut objections: Vec<_> =
            report.findings.iter().map(|finding| Objection::Other(format!("{finding:?}"))).collect();
        let whole: Vec<Arc<dyn Projection>> = ledger::projections()
            .into_iter()
            .filter(|projection| [RIGHT, PANICKING].iter().any(|kind| projection.name() == NAMES[*kind as usize]))
            .collect();
        let reports = verify_read_models(pool, &Upcasters::default(), &whole, &|_, _, _| {}).await.unwrap();
        let wrong = reports.iter().filter(|report| !report.passed());
        objections.extend(wrong.map(|report| Objection::Other(format!("{report:?}"))));
        objections
    }
}

fn difference(after: Mischief, before: Mischief) -> Mischief {
    Mischief {
        dropped: after.dropped - before.dropped,
        doubled: after.doubled - before.doubled,
        swapped: after.swapped - before.swapped,
    }
}
