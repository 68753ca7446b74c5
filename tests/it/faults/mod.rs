//! The platform under faults: clients send conflicting commands while something breaks, and an oracle judges what is left.
//!
//! A seed decides commands, faults and their moments; it is printed, and `HUB_FAULT_SEED` plays it again. `docs/guides/faults.md` says
//! what is demanded and how to run it for longer.

mod carrier;
mod clients;
mod fault;
mod history;
mod ledger;
mod node;
mod oracle;
mod program;
pub(crate) mod random;
mod soak;
mod tampered;
mod twins;
mod world;

use fault::Fault;
use hub_tests::kit::Mischief;
use program::{Blow, Program};
pub(crate) use random::Random;
use world::{Outcome, Plan, World};

/// One round with these faults.
async fn survives(errands: usize, faults: &[Fault]) -> Outcome {
    let (_, mut random) = Random::of_run();
    let mut world = World::start(&mut random).await;
    let plan = Plan::new(&mut random, errands, faults);
    let outcome = world.round(&plan).await;
    println!("{outcome}");
    for fault in faults {
        assert!(outcome.faults.contains_key(fault), "{fault:?} did not happen");
    }
    assert!(outcome.acknowledged > errands / 3, "{outcome:?}");
    assert!(outcome.refused > 0, "{outcome:?}");
    outcome
}

#[tokio::test(flavor = "multi_thread")]
async fn postgresql_crashes_backends_are_terminated_the_clock_jumps_back_and_read_models_throw() {
    let faults = [
        Fault::LongTransaction,
        Fault::CrashPostgres,
        Fault::Curse,
        Fault::TerminateWriter,
        Fault::ClockBack,
        Fault::Panic,
        Fault::TerminateNodes,
    ];
    survives(1_600, &faults).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nats_stands_still_stops_and_loses_its_disk() {
    survives(1_000, &[Fault::FreezeNats, Fault::StopNats, Fault::WipeNats]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_way_to_nats_loses_repeats_and_reorders_and_is_cut() {
    let outcome = survives(1_200, &[Fault::Drop, Fault::Double, Fault::Swap, Fault::Cut]).await;
    let Mischief { dropped, doubled, swapped } = outcome.mischief;
    assert!(dropped > 0 && doubled > 0 && swapped > 0, "{outcome:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn faults_mixed_by_the_seed() {
    let (_, mut random) = Random::of_run();
    let mut world = World::start(&mut random).await;
    for _ in 0..2 {
        let plan = Plan::mixed(&mut random, 800);
        println!("{:?}", plan.faults);
        println!("{}", world.round(&plan).await);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_programs_on_one_database_are_killed() {
    let (_, mut random) = Random::of_run();
    let mut program = Program::start(&mut random).await;
    let blows = [Blow::KillOne, Blow::HarmTheWay, Blow::KillOneAndCrashPostgres, Blow::KillBoth];
    program.round(&mut random, 360, &blows).await;
}
