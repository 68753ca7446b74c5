//! The long form: rounds of mixed faults until the time is over, then a summary. `make soak` runs it.

use std::{
    panic::AssertUnwindSafe,
    time::{Duration, Instant},
};

use futures::FutureExt as _;

use super::{
    program::{Blow, Program},
    random::Random,
    world::{Outcome, Plan, World},
};

/// How long it goes on; the round that has begun is ended.
const MINUTES: &str = "HUB_SOAK_MINUTES";
const MINUTES_DEFAULT: u64 = 20;

/// How many events there should be in the end; the summary says whether there are.
const EVENTS: &str = "HUB_SOAK_EVENTS";
const EVENTS_DEFAULT: u64 = 1_000_000;

/// Errands of one round, and events of a large one among them: many events in few commands.
const ERRAND_COUNT: usize = 2_500;
const SLIP_COUNT_MAX: usize = 120;

/// Every so many rounds the real program is killed as well.
const PROGRAM_EVERY: u32 = 8;

const REPORT_EVERY: Duration = Duration::from_secs(30);

/// What has been done so far.
#[derive(Debug, Default)]
struct Sum {
    rounds: u32,
    program_rounds: u32,
    program_events: i64,
    outcome: Outcome,
}

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().expect("it is a whole number"))
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes as long as HUB_SOAK_MINUTES says; `make soak` runs it"]
async fn soak() {
    let (seed, mut random) = Random::of_run();
    let (minutes, target) = (setting(MINUTES, MINUTES_DEFAULT), setting(EVENTS, EVENTS_DEFAULT));
    let started = Instant::now();
    let mut sum = Sum::default();
    let played = AssertUnwindSafe(play(&mut random, &mut sum, Duration::from_secs(minutes * 60))).catch_unwind().await;
    let Sum { rounds, program_rounds, program_events, outcome } = &sum;
    let seconds = started.elapsed().as_secs();
    println!("seed      {seed}");
    println!("time      {seconds} s, {rounds} rounds, {program_rounds} of the program");
    let events = u64::try_from(outcome.events + program_events).unwrap_or(0);
    let reached = if events >= target { "reached" } else { "not reached" };
    println!("events    {events}, the aim of {target} is {reached}");
    println!("all       {outcome}");
    println!("verdict   {}", if played.is_ok() { "nothing lost, nothing twice" } else { "FAILED" });
    if let Err(panic) = played {
        std::panic::resume_unwind(panic);
    }
}

async fn play(random: &mut Random, sum: &mut Sum, time: Duration) {
    let started = Instant::now();
    let mut reported = started;
    let mut world = World::start(random).await;
    let mut program = Program::start(random).await;
    loop {
        let last = started.elapsed() >= time;
        let mut plan = Plan::mixed(random, ERRAND_COUNT);
        plan.slip_count_max = SLIP_COUNT_MAX;
        // Reading everything again takes longer and longer, so it is done more and more rarely, and at the end.
        plan.verify = last || sum.rounds.is_power_of_two();
        sum.outcome.add(&world.round(&plan).await);
        sum.rounds += 1;
        if sum.rounds % PROGRAM_EVERY == 1 {
            let blows = [Blow::KillOne, Blow::KillBoth, Blow::KillOneAndCrashPostgres, Blow::HarmTheWay];
            let blows = [*random.pick(&blows), *random.pick(&blows)];
            sum.program_events = program.round(random, 400, &blows).await;
            sum.program_rounds += 1;
        }
        if last {
            return;
        }
        if reported.elapsed() >= REPORT_EVERY {
            reported = Instant::now();
            println!("after {} s, {} rounds: {}", started.elapsed().as_secs(), sum.rounds, sum.outcome);
        }
    }
}
