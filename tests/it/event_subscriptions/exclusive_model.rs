//! Random consumers of an exclusive subscription against a model that says exactly who is handed what.

use chrono::{DateTime, SecondsFormat, TimeDelta};
use serde_json::{Value, json};

use super::{Consuming, Handed, Process, ids, model::Model};
use crate::faults::random::Random;

/// So many things are done a run.
const STEP_COUNT: usize = 200;

const CONSUMERS: [&str; 3] = ["a", "b", "c"];

const LEASE_SECONDS: i64 = 30;

/// Nobody asks for more when he extends.
const EXTENSION_SECONDS_MAX: usize = 60;

/// The model of the events, and who has the subscription until when.
#[derive(Debug, Default)]
struct Exclusive {
    events: Model,
    holder: Option<(&'static str, i64)>,
}

impl Exclusive {
    /// Who keeps the consumer from it, and until when.
    fn taken_from(&self, consumer: &str) -> Option<(&'static str, i64)> {
        self.holder.filter(|(holder, until)| *holder != consumer && *until > self.events.now)
    }

    /// The consumer has it from now on; whoever had it before has nothing any more.
    fn hold(&mut self, consumer: &'static str) {
        let now = self.events.now;
        let held = self.holder.filter(|(holder, until)| *holder == consumer && *until > now);
        if self.holder.is_some_and(|(holder, _)| holder != consumer) {
            self.events.open.values_mut().for_each(|known| known.ack_id = None);
        }
        self.holder = Some((consumer, (now + LEASE_SECONDS).max(held.map_or(0, |(_, until)| until))));
    }

    /// What is handed out now: those before the first that is with somebody or rests.
    fn next(&self, max: usize) -> Vec<(i64, u128, i64)> {
        let free = self.events.open.iter().take_while(|(_, known)| known.free_at <= self.events.now);
        free.take(max).map(|(position, known)| (*position, known.number, known.deliveries + 1)).collect()
    }

    fn handed(&mut self, handed: &[Handed]) {
        for one in handed {
            let known = self.events.open.get_mut(&one.position).unwrap();
            known.ack_id = Some(one.ack_id.clone());
            known.free_at = self.events.now + LEASE_SECONDS;
            known.deliveries = one.delivery;
        }
    }

    /// Whatever follows a rejected event in the same answer is taken back.
    fn rejected(&mut self, rejected: &[Handed], batch: &[Handed], rest: i64) -> (usize, usize) {
        let now = self.events.now;
        let counting: Vec<i64> =
            rejected.iter().filter(|one| self.events.counts(one)).map(|one| one.position).collect();
        let Some(first) = counting.first() else { return (0, 0) };
        for position in &counting {
            let known = self.events.open.get_mut(position).unwrap();
            (known.ack_id, known.free_at) = (None, now + rest);
        }
        let back: Vec<i64> = batch
            .iter()
            .filter(|one| one.position > *first && self.events.counts(one))
            .map(|one| one.position)
            .collect();
        for position in &back {
            let known = self.events.open.get_mut(position).unwrap();
            (known.ack_id, known.free_at, known.deliveries) = (None, now, known.deliveries - 1);
        }
        (counting.len(), back.len())
    }

    /// Whoever has a lease has the subscription.
    fn extended(&mut self, some: &[Handed], seconds: i64) -> usize {
        let until = self.events.now + seconds;
        let counting: Vec<&Handed> = some.iter().filter(|one| self.events.counts(one)).collect();
        for one in &counting {
            self.events.open.get_mut(&one.position).unwrap().free_at = until;
        }
        if let Some((_, held)) = self.holder.as_mut().filter(|_| !counting.is_empty()) {
            *held = until.max(*held);
        }
        counting.len()
    }
}

/// A moment of the model as answers say it.
fn moment(began: DateTime<chrono::Utc>, seconds: i64) -> Value {
    json!((began + TimeDelta::seconds(seconds)).to_rfc3339_opts(SecondsFormat::Secs, true))
}

/// Asks as the consumer, holds the answer to the model, and gives what was handed out.
async fn pull(
    letters: Consuming<'_>,
    model: &mut Exclusive,
    began: DateTime<chrono::Utc>,
    consumer: &'static str,
    max: usize,
) -> Vec<Handed> {
    if let Some((holder, until)) = model.taken_from(consumer) {
        let refused = letters.post("pull", json!({ "consumer": consumer, "max": max })).await;
        refused.refused(409, "event_subscription_taken");
        assert_eq!(refused.body["data"], json!({ "consumer": holder, "until": moment(began, until) }));
        return Vec::new();
    }
    model.hold(consumer);
    let handed = letters.pull(consumer, max).await;
    let found: Vec<_> = handed.iter().map(|one| (one.position, one.number, one.delivery)).collect();
    assert_eq!(found, model.next(max), "{consumer} at {}", model.events.now);
    model.handed(&handed);
    handed
}

async fn run(letters: Consuming<'_>, seed: u64) {
    let began = letters.process.clock.now();
    let mut random = Random::new(seed);
    let mut model = Exclusive::default();
    // Answers that consumers still have in their hands, whether or not they still count.
    let mut hands: Vec<Vec<Handed>> = Vec::new();
    let (mut sent, mut changes) = (0, 0);
    for _ in 0..STEP_COUNT {
        match random.below(12) {
            0..2 => {
                let boxes: Vec<u128> = (0..random.between(1, 5)).map(|_| random.between(1, 6) as u128).collect();
                let head = letters.letters(&boxes).await;
                let first = head + 1 - i64::try_from(boxes.len()).unwrap();
                for (position, number) in (first..).zip(&boxes) {
                    model.events.sent(position, *number);
                }
                sent += boxes.len();
            }
            2..6 => {
                let before = model.holder;
                let consumer = *random.pick(&CONSUMERS);
                let handed = pull(letters, &mut model, began, consumer, random.between(1, 6)).await;
                changes += usize::from(before.map(|(holder, _)| holder) != model.holder.map(|(holder, _)| holder));
                if !handed.is_empty() {
                    hands.push(handed);
                }
            }
            6..10 if !hands.is_empty() => {
                let place = random.below(hands.len());
                let batch = hands[place].clone();
                let from = random.below(batch.len());
                let some = &batch[from..=random.between(from, batch.len())];
                match random.below(6) {
                    0 => {
                        let seconds = random.between(1, EXTENSION_SECONDS_MAX);
                        let answer = letters.done("extend", json!({ "ack_ids": ids(some), "seconds": seconds })).await;
                        assert_eq!(answer["extended"], model.extended(some, seconds.try_into().unwrap()), "{answer}");
                    }
                    1 => {
                        let rest = i64::try_from(random.below(20)).unwrap();
                        let body = json!({ "ack_ids": ids(some), "retry_after_seconds": rest });
                        let answer = letters.done("reject", body).await;
                        let (retried, taken_back) = model.rejected(some, &batch, rest);
                        assert_eq!((&answer["retried"], &answer["taken_back"]), (&json!(retried), &json!(taken_back)));
                    }
                    _ => {
                        let answer = letters.acknowledge(some).await;
                        assert_eq!(answer["acknowledged"], model.events.acknowledged(some), "{answer}");
                    }
                }
                if random.one_in(3) {
                    hands.swap_remove(place);
                }
            }
            _ => {
                let seconds = i64::try_from(random.between(1, 40)).unwrap();
                letters.process.pass(seconds);
                model.events.now += seconds;
            }
        }
    }
    assert!(changes > 5, "seed {seed}: it has changed hands {changes} times only");
    // Whoever is left does the rest.
    loop {
        let seconds = EXTENSION_SECONDS_MAX.max(20) as i64;
        letters.process.pass(seconds);
        model.events.now += seconds;
        let handed = pull(letters, &mut model, began, "last", 50).await;
        if handed.is_empty() {
            break;
        }
        assert_eq!(letters.acknowledge(&handed).await["acknowledged"], model.events.acknowledged(&handed));
    }
    assert_eq!((model.events.acknowledged, model.events.open.len()), (sent, 0), "seed {seed}");
    let lag = letters.get("lag").await;
    assert_eq!((&lag["done_position"], &lag["in_flight"], &lag["waiting"]), (&lag["head"], &json!(0), &json!(0)));
}

#[tokio::test(flavor = "multi_thread")]
async fn random_consumers_of_an_exclusive_subscription_are_handed_exactly_what_the_model_says() {
    let process = Process::start().await;
    let settings = json!({ "mode": "exclusive", "lease_seconds": LEASE_SECONDS, "deliveries_max": 100 });
    for seed in 0..4 {
        let letters = process.subscription(&format!("acme-{seed}"), settings.clone()).await;
        run(letters, seed).await;
    }
}
