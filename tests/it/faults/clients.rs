//! The clients: they send errands at the same time, in conflict with one another, again when they were not answered, and twice on purpose.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};
use std::time::Duration;

use tokio::sync::watch;
use uuid::Uuid;

use super::{
    history::{Answer, History, Receipt},
    ledger::{CURSED, Command, Marked},
    node::{Errand, Node, Verdict},
    random::Random,
};

const TENANT_COUNT: usize = 5;

/// Ledgers of each tenant. The first is the cursed one; the next ones are hot, stay open and are posted to all the time.
const LEDGER_COUNT: usize = 36;
const HOT: std::ops::Range<usize> = 1..8;

/// So many names are fought over in each tenant.
const NAME_COUNT: usize = 30;

/// So many errands of the past are remembered, to be sent again much later.
const REMEMBERED_MAX: usize = 256;

/// Before an errand without a verdict is sent again.
const AGAIN_AFTER: Duration = Duration::from_millis(40);

/// So often it is; PostgreSQL may take a while to come back.
const ATTEMPT_COUNT_MAX: u32 = 3_000;

/// What all clients of a round share.
pub(crate) struct Office {
    pub(crate) nodes: Vec<Arc<Node>>,
    pub(crate) history: Arc<History>,
    /// How many errands have a verdict.
    pub(crate) answered: watch::Sender<usize>,
    /// How many errands are still to be sent.
    pub(crate) left: AtomicUsize,
    /// Whether cursed postings are made.
    pub(crate) cursing: AtomicBool,
    pub(crate) unsettled: Mutex<Vec<Errand>>,
    pub(crate) remembered: Mutex<Vec<(Errand, Receipt)>>,
    pub(crate) round: u64,
    /// A command without an aggregate has fewer events than this.
    pub(crate) slip_count_max: usize,
}

/// The tenant of that number.
pub(crate) fn tenant(number: usize) -> Uuid {
    Uuid::from_u128(0x7e00 + number as u128)
}

fn ledger(tenant: usize, slot: usize) -> Uuid {
    Uuid::from_u128(0x1ed0_0000 + (tenant * LEDGER_COUNT + slot) as u128)
}

impl Office {
    /// Opens what is posted to; those that are open already refuse, and that is noted like any other refusal.
    pub(crate) async fn prepare(&self, random: &mut Random) {
        for tenant_number in 0..TENANT_COUNT {
            for slot in 0..HOT.end {
                let command = Command::Open { name: format!("hot-{slot}") };
                let errand = self.ledger_errand(random, tenant_number, slot, command);
                self.see_through(&errand, random).await;
            }
        }
    }

    /// One client, until nothing is left to be sent.
    pub(crate) async fn client(&self, mut random: Random) {
        let one_less = |left: usize| left.checked_sub(1);
        while self.left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, one_less).is_ok() {
            if random.one_in(60) {
                self.send_old(&mut random).await;
            }
            let errand = self.errand(&mut random);
            if random.one_in(25) {
                self.send_to_both(&errand).await;
            } else if random.one_in(3) {
                // This client gives up at once; whether it happened is asked when the round is over.
                self.attempt(&errand, &mut random).await;
            } else {
                self.see_through(&errand, &mut random).await;
            }
            if matches!(self.history.answer(errand.mark()), Answer::Acknowledged { .. }) {
                self.pester(&errand, &mut random).await;
            } else if self.history.answer(errand.mark()) == Answer::Unknown {
                self.unsettled.lock().unwrap().push(errand);
            }
        }
    }

    /// Asks for every errand that is still without a verdict: sending it again settles it.
    pub(crate) async fn settle(&self, random: &mut Random) -> usize {
        let unsettled = std::mem::take(&mut *self.unsettled.lock().unwrap());
        let count = unsettled.len();
        for errands in unsettled.chunks(32) {
            let asking = errands.iter().map(|errand| {
                let mut random = random.fork();
                async move { self.see_through(errand, &mut random).await }
            });
            futures::future::join_all(asking).await;
        }
        count
    }

    fn node(&self, random: &mut Random) -> &Node {
        random.pick::<Arc<Node>>(&self.nodes)
    }

    /// Sends it once and notes what is said.
    async fn attempt(&self, errand: &Errand, random: &mut Random) -> Verdict {
        self.history.sending(errand.mark());
        let verdict = self.node(random).send(errand).await;
        self.note(errand, &verdict);
        verdict
    }

    /// Sends it until there is a verdict.
    async fn see_through(&self, errand: &Errand, random: &mut Random) -> Verdict {
        for _ in 0..ATTEMPT_COUNT_MAX {
            match self.attempt(errand, random).await {
                Verdict::Unknown => tokio::time::sleep(AGAIN_AFTER).await,
                verdict => return verdict,
            }
        }
        self.history.contradiction(format!("{errand:?} never got a verdict"));
        Verdict::Unknown
    }

    /// Sends two copies at the same time, each to another process.
    async fn send_to_both(&self, errand: &Errand) {
        self.history.sending(errand.mark());
        let both = futures::future::join(self.nodes[0].send(errand), self.nodes[1].send(errand)).await;
        let both = [both.0, both.1];
        let new = both.iter().filter(|verdict| matches!(verdict, Verdict::Accepted { replayed: false, .. }));
        if new.count() > 1 {
            self.history.contradiction(format!("two copies of {errand:?} were both new: {both:?}"));
        }
        // A copy that was refused says nothing while the other is still open.
        let open = both.iter().any(|verdict| matches!(verdict, Verdict::Unknown));
        for verdict in both.iter().filter(|verdict| !open || !matches!(verdict, Verdict::Refused(_))) {
            self.note(errand, verdict);
        }
    }

    fn note(&self, errand: &Errand, verdict: &Verdict) {
        match verdict {
            Verdict::Accepted { receipt, .. } => self.history.acknowledged(errand.mark(), receipt.clone()),
            Verdict::Refused(reason) => self.history.refused(errand.mark(), reason.clone()),
            Verdict::Wrong(what) => self.history.contradiction(what.clone()),
            Verdict::Unknown => return,
        }
        self.answered.send_modify(|answered| *answered += 1);
    }

    /// Now and then sends an accepted errand again, or another one under its id.
    async fn pester(&self, errand: &Errand, random: &mut Random) {
        if random.one_in(12) {
            match self.see_through(errand, random).await {
                Verdict::Accepted { replayed: true, .. } | Verdict::Unknown => {}
                other => self.history.contradiction(format!("{errand:?} was accepted, sent again: {other:?}")),
            }
        }
        if random.one_in(40) {
            let verdict = self.node(random).send_forged(errand).await;
            if matches!(verdict, Verdict::Accepted { .. } | Verdict::Wrong(_)) {
                self.history.contradiction(format!("another errand under the id of {errand:?}: {verdict:?}"));
            }
        }
        if let Answer::Acknowledged { receipt, .. } = self.history.answer(errand.mark())
            && random.one_in(50)
        {
            let mut remembered = self.remembered.lock().unwrap();
            if remembered.len() < REMEMBERED_MAX {
                remembered.push((errand.clone(), receipt));
            } else {
                let place = random.below(REMEMBERED_MAX);
                remembered[place] = (errand.clone(), receipt);
            }
        }
    }

    /// Sends an errand of long ago: the answer is that of then. It is no part of this round's history.
    async fn send_old(&self, random: &mut Random) {
        let old = {
            let remembered = self.remembered.lock().unwrap();
            if remembered.is_empty() { None } else { Some(random.pick(&remembered).clone()) }
        };
        let Some((errand, first)) = old else { return };
        match self.node(random).send(&errand).await {
            Verdict::Unknown => {}
            Verdict::Accepted { receipt, replayed: true } if receipt == first => {}
            other => self.history.contradiction(format!("{errand:?} of long ago, {first:?}, is now {other:?}")),
        }
    }

    fn errand(&self, random: &mut Random) -> Errand {
        let tenant_number = random.below(TENANT_COUNT);
        if self.cursing.load(Ordering::Relaxed) && random.one_in(20) {
            let curse = Command::Post { amount: CURSED, times: 1 };
            return self.ledger_errand(random, tenant_number, 0, curse);
        }
        let cold = random.between(HOT.end, LEDGER_COUNT);
        let name = format!("name-{}", random.below(NAME_COUNT));
        match random.below(100) {
            0..40 => {
                // One amount is kept for curses.
                let amount = i64::try_from(random.between(CURSED as usize + 1, 100)).expect("it is small");
                let times = i64::try_from(random.between(1, 7)).expect("it is small");
                let slot =
                    if random.one_in(8) { random.below(LEDGER_COUNT) } else { random.between(HOT.start, HOT.end) };
                self.ledger_errand(random, tenant_number, slot, Command::Post { amount, times })
            }
            40..52 => self.ledger_errand(random, tenant_number, cold, Command::Open { name }),
            52..60 => self.ledger_errand(random, tenant_number, cold, Command::Rename { name }),
            60..68 => self.ledger_errand(random, tenant_number, cold, Command::Close),
            68..74 => {
                // Many want the same place in one of few streams; one gets it.
                let stream = Uuid::from_u64_pair(self.round, random.below(4) as u64);
                let expected_sequence = i64::try_from(random.below(12)).expect("it is small");
                Errand::Slips {
                    tenant_id: tenant(tenant_number),
                    stream,
                    mark: random.id(),
                    expected_sequence,
                    count: 1,
                }
            }
            _ => {
                let count = i64::try_from(random.between(1, self.slip_count_max)).expect("it is small");
                let (stream, mark) = (random.id(), random.id());
                Errand::Slips { tenant_id: tenant(tenant_number), stream, mark, expected_sequence: 0, count }
            }
        }
    }

    fn ledger_errand(&self, random: &mut Random, tenant_number: usize, slot: usize, command: Command) -> Errand {
        let expected_sequence = random.one_in(30).then(|| i64::try_from(random.below(50)).expect("it is small"));
        Errand::Ledger {
            tenant_id: tenant(tenant_number),
            ledger: ledger(tenant_number, slot),
            marked: Marked { mark: random.id(), command },
            expected_sequence,
        }
    }
}
