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
mod random;
mod soak;
mod tampered;
mod twins;
mod world;

use fault::Fault;
use hub_tests::kit::Mischief;
use program::{Blow, Program};
use random::Random;
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
async fn two_nodes_at_once_without_a_fault() {
    survives(2_000, &[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn postgresql_that_is_stopped_at_once_and_backends_that_are_terminated() {
    survives(3_000, &[Fault::CrashPostgres, Fault::TerminateWriter, Fault::TerminateNodes, Fault::CrashPostgres]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_transaction_a_clock_that_jumps_back_and_read_models_that_throw() {
    survives(3_000, &[Fault::LongTransaction, Fault::ClockBack, Fault::Curse, Fault::Panic]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nats_that_stands_still_stops_and_loses_its_disk() {
    survives(3_000, &[Fault::FreezeNats, Fault::StopNats, Fault::WipeNats]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_way_to_nats_that_loses_repeats_reorders_and_is_cut() {
    let outcome = survives(3_000, &[Fault::Drop, Fault::Double, Fault::Swap, Fault::Cut]).await;
    let Mischief { dropped, doubled, swapped } = outcome.mischief;
    assert!(dropped > 0 && doubled > 0 && swapped > 0, "{outcome:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn faults_mixed_by_the_seed() {
    let (_, mut random) = Random::of_run();
    let mut world = World::start(&mut random).await;
    for _ in 0..2 {
        let plan = Plan::mixed(&mut random, 2_000);
        println!("{:?}", plan.faults);
        println!("{}", world.round(&plan).await);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_programs_on_one_database_that_are_killed() {
    let (_, mut random) = Random::of_run();
    let mut program = Program::start(&mut random).await;
    program.round(&mut random, 400, &[Blow::KillOne, Blow::HarmTheWay, Blow::KillBoth]).await;
    program.round(&mut random, 200, &[Blow::KillOneAndCrashPostgres]).await;
}
