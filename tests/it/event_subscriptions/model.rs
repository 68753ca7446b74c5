//! Random consumers against a simple model: what is handed out is allowed, and in the end everything is done with.

use std::collections::BTreeMap;

use serde_json::json;

use super::{Consuming, Handed, Process, ids};
use crate::faults::random::Random;

/// So many things are done a run.
const STEP_COUNT: usize = 160;

const CONSUMERS: [&str; 3] = ["a", "b", "c"];

const LEASE_SECONDS: i64 = 30;

/// What the model knows of an event that is not done with.
#[derive(Debug, Clone)]
pub(super) struct Known {
    pub(super) number: u128,
    /// The ack id that counts, of whoever has it.
    pub(super) ack_id: Option<String>,
    /// When it becomes free by itself.
    pub(super) free_at: i64,
    pub(super) deliveries: i64,
}

/// Events by position, as the subscription should see them; time in seconds from the beginning.
#[derive(Debug, Default)]
pub(super) struct Model {
    pub(super) open: BTreeMap<i64, Known>,
    pub(super) now: i64,
    pub(super) acknowledged: usize,
}

impl Model {
    pub(super) fn sent(&mut self, position: i64, number: u128) {
        self.open.insert(position, Known { number, ack_id: None, free_at: 0, deliveries: 0 });
    }

    /// Checks that each may be handed out now, and remembers that it was.
    fn handed(&mut self, handed: &[Handed]) {
        assert!(handed.is_sorted_by_key(|one| one.position), "{handed:?}");
        for one in handed {
            let known = self.open.get(&one.position).unwrap_or_else(|| panic!("{one:?} is done with"));
            assert!(known.free_at <= self.now, "{one:?} is with somebody: {known:?} at {}", self.now);
            assert_eq!((known.number, known.deliveries + 1), (one.number, one.delivery), "{one:?}");
            let mut earlier = self.open.range(..one.position).filter(|(_, other)| other.number == one.number);
            let held_up = earlier.find(|(position, _)| handed.iter().all(|other| other.position != **position));
            assert_eq!(held_up.map(|(position, _)| position), None, "{one:?} comes too early");
        }
        for one in handed {
            let known = self.open.get_mut(&one.position).unwrap();
            known.ack_id = Some(one.ack_id.clone());
            known.free_at = self.now + LEASE_SECONDS;
            known.deliveries = one.delivery;
        }
    }

    /// Whether the ack id counts.
    pub(super) fn counts(&self, one: &Handed) -> bool {
        self.open.get(&one.position).is_some_and(|known| known.ack_id.as_ref() == Some(&one.ack_id))
    }

    pub(super) fn acknowledged(&mut self, handed: &[Handed]) -> usize {
        let counting: Vec<i64> = handed.iter().filter(|one| self.counts(one)).map(|one| one.position).collect();
        self.open.retain(|position, _| !counting.contains(position));
        self.acknowledged += counting.len();
        counting.len()
    }

    /// What follows a rejected event in the same answer, and was not rejected itself, is taken back.
    fn rejected(&mut self, rejected: &[Handed], batch: &[Handed], rest: i64) -> (usize, usize) {
        let counting: Vec<Handed> = rejected.iter().filter(|one| self.counts(one)).cloned().collect();
        for one in &counting {
            let known = self.open.get_mut(&one.position).unwrap();
            (known.ack_id, known.free_at) = (None, self.now + rest);
        }
        let follows =
            |one: &&Handed| counting.iter().any(|first| first.number == one.number && first.position < one.position);
        let back: Vec<Handed> = batch.iter().filter(follows).filter(|one| self.counts(one)).cloned().collect();
        for one in &back {
            let known = self.open.get_mut(&one.position).unwrap();
            (known.ack_id, known.free_at, known.deliveries) = (None, self.now, known.deliveries - 1);
        }
        (counting.len(), back.len())
    }
}

async fn run(letters: Consuming<'_>, seed: u64) {
    let mut random = Random::new(seed);
    let mut model = Model::default();
    // Answers that consumers still have in their hands, whether or not they still count.
    let mut hands: Vec<Vec<Handed>> = Vec::new();
    let mut sent = 0;
    for _ in 0..STEP_COUNT {
        match random.below(10) {
            0..2 => {
                let boxes: Vec<u128> = (0..random.between(1, 5)).map(|_| random.between(1, 6) as u128).collect();
                let head = letters.letters(&boxes).await;
                let first = head + 1 - i64::try_from(boxes.len()).unwrap();
                for (position, number) in (first..).zip(&boxes) {
                    model.sent(position, *number);
                }
                sent += boxes.len();
            }
            2..5 => {
                let consumer = random.pick(&CONSUMERS);
                let handed = letters.pull(consumer, random.between(1, 6)).await;
                model.handed(&handed);
                if !handed.is_empty() {
                    hands.push(handed);
                }
            }
            5..9 if !hands.is_empty() => {
                let place = random.below(hands.len());
                let batch = hands[place].clone();
                let from = random.below(batch.len());
                let some = &batch[from..=random.between(from, batch.len())];
                if !random.one_in(3) {
                    let answer = letters.acknowledge(some).await;
                    assert_eq!(answer["acknowledged"], model.acknowledged(some), "{answer}");
                } else {
                    let rest = i64::try_from(random.below(20)).unwrap();
                    let body = json!({ "ack_ids": ids(some), "retry_after_seconds": rest });
                    let answer = letters.done("reject", body).await;
                    let (retried, taken_back) = model.rejected(some, &batch, rest);
                    assert_eq!((&answer["retried"], &answer["taken_back"]), (&json!(retried), &json!(taken_back)));
                }
                if random.one_in(3) {
                    hands.swap_remove(place);
                }
            }
            _ => {
                let seconds = i64::try_from(random.between(1, 25)).unwrap();
                letters.process.pass(seconds);
                model.now += seconds;
            }
        }
    }
    // Whoever is left does the rest.
    loop {
        letters.process.pass(LEASE_SECONDS);
        model.now += LEASE_SECONDS;
        let handed = letters.pull("last", 50).await;
        if handed.is_empty() {
            break;
        }
        model.handed(&handed);
        assert_eq!(letters.acknowledge(&handed).await["acknowledged"], model.acknowledged(&handed));
    }
    assert_eq!((model.acknowledged, model.open.len()), (sent, 0), "seed {seed}");
    let lag = letters.get("lag").await;
    assert_eq!((&lag["done_position"], &lag["in_flight"], &lag["waiting"]), (&lag["head"], &json!(0), &json!(0)));
}

#[tokio::test(flavor = "multi_thread")]
async fn random_consumers_are_handed_what_the_model_allows() {
    let process = Process::start().await;
    let settings = json!({ "lease_seconds": LEASE_SECONDS, "deliveries_max": 100 });
    for seed in 0..4 {
        let letters = process.subscription(&format!("acme-{seed}"), settings.clone()).await;
        run(letters, seed).await;
    }
}
