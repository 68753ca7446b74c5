//! Two copies of one command on the way through two processes at the same moment, while a third command moves the stream.

use std::sync::Arc;

use hub_event_store::{repository::Repository, store::EventStore, tail::Tail, upcast::Upcasters};
use hub_tests::kit::{Database, TestClock};
use uuid::Uuid;

use super::{
    clients::tenant,
    ledger::{self, Command, Ledger, Marked},
    node::{Errand, Verdict, send_ledger},
    random::Random,
};

/// So often it is tried; the moment in which it goes wrong is short.
const TRY_COUNT: u32 = 150;

fn errand(ledger: Uuid, random: &mut Random, command: Command) -> Errand {
    let marked = Marked { mark: random.id(), command };
    Errand::Ledger { tenant_id: tenant(0), ledger, marked, expected_sequence: None }
}

#[tokio::test(flavor = "multi_thread")]
async fn neither_copy_is_refused_because_of_what_the_other_has_done() {
    let (_, mut random) = Random::of_run();
    let database = Database::new().await;
    let process = || {
        let clock = TestClock::default().clock();
        let store = EventStore::start(database.pool.clone(), Tail::default(), Upcasters::default(), clock);
        Arc::new(Repository::<Ledger>::new(store, ledger::effects))
    };
    let (one, two) = (process(), process());
    for number in 0..TRY_COUNT {
        let id = random.id();
        let open = errand(id, &mut random, Command::Open { name: format!("name-{number}") });
        for process in [&one, &two] {
            let opened = send_ledger(process, &open, [7; 32]).await;
            assert!(matches!(opened, Verdict::Accepted { .. }), "{opened:?}");
        }
        let close = errand(id, &mut random, Command::Close);
        let post = errand(id, &mut random, Command::Post { amount: 20, times: 1 });
        let (first, posted, second) = tokio::join!(
            send_ledger(&one, &close, [7; 32]),
            send_ledger(&two, &post, [7; 32]),
            send_ledger(&two, &close, [7; 32]),
        );
        for copy in [&first, &second] {
            let told = format!("try {number}: {first:?}, {second:?}, posted {posted:?}");
            assert!(matches!(copy, Verdict::Accepted { .. }), "{told}");
        }
    }
}
