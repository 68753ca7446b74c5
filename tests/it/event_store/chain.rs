//! Several commands of one stream on their way at once.

use std::{
    collections::HashSet,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures::future::join_all;
use hub_event_store::{
    append::{Append, AppendError, Direction, Guard, Rejection},
    event::StreamId,
    repository::{ExecuteError, Order, Prepared, Repository},
    tail::Tail,
    upcast::Upcasters,
};
use hub_tests::kit::{Database, OwnPostgres, TestClock};
use uuid::Uuid;

use super::{
    TENANT, append, assert_contiguous, claim,
    diary::{Diary, assert_right, diaries, line, write},
    order, store, stream, whole_log,
};

const ID: Uuid = Uuid::from_u128(5);

/// Nothing here may hang.
async fn soon<T>(work: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(60), work).await.expect("it ends")
}

fn repeatable() -> Order {
    Order { repeatable: true, ..order() }
}

#[tokio::test(flavor = "multi_thread")]
async fn many_commands_on_few_streams_share_batches_and_none_is_decided_twice() {
    let database = Database::new().await;
    let repository = diaries(store(&database.pool));
    let decisions = Arc::new(AtomicUsize::new(0));
    let tasks = (0..32_u128).map(|task| {
        let (repository, decisions) = (repository.clone(), decisions.clone());
        tokio::spawn(async move {
            for _ in 0..20 {
                let prepare = |_| {
                    decisions.fetch_add(1, Ordering::Relaxed);
                    async { Ok(Prepared::new(line("x"))) }
                };
                repository.execute(TENANT, Uuid::from_u128(task % 4), &order(), prepare).await.unwrap();
            }
        })
    });
    for task in soon(join_all(tasks)).await {
        task.unwrap();
    }
    assert_eq!(decisions.load(Ordering::Relaxed), 640);
    assert_eq!(assert_right(&database.pool).await, 640);
    let batches: i64 =
        sqlx::query_scalar("SELECT count(DISTINCT xmin::text) FROM events").fetch_one(&database.pool).await.unwrap();
    assert!(batches < 320, "{batches} batches");
}

#[tokio::test]
async fn a_refused_append_takes_with_it_those_that_follow_it_and_nobody_else() {
    let database = Database::new().await;
    let store = store(&database.pool);
    store.append(Append { claims: vec![claim("ada", Direction::Take)], ..append(stream(9), 0, 1) }).await.unwrap();
    let refused = Append { claims: vec![claim("ada", Direction::Take)], ..append(stream(1), 1, 1) };
    let commands =
        [append(stream(1), 0, 1), refused, append(stream(2), 0, 2), append(stream(1), 2, 1), append(stream(2), 2, 1)];
    let answers = soon(join_all(commands.map(|command| store.append(command)))).await;
    assert_eq!(answers.iter().map(Result::is_ok).collect::<Vec<_>>(), [true, false, true, false, true]);
    assert!(matches!(answers[1], Err(AppendError::Rejected(Rejection::NameTaken { .. }))));
    assert!(matches!(answers[3], Err(AppendError::Rejected(Rejection::SequenceConflict { actual: 1 }))));
    let events = whole_log(&database.pool).await;
    assert_contiguous(&events);
    assert_eq!(events.iter().map(|event| event.tenant_position).collect::<Vec<_>>(), [1, 2, 3, 4, 5]);
    let heads: Vec<i64> = sqlx::query_scalar("SELECT sequence FROM streams ORDER BY aggregate_id")
        .fetch_all(&database.pool)
        .await
        .unwrap();
    assert_eq!(heads, [1, 3, 1]);
}

#[tokio::test]
async fn a_duplicate_within_a_chain_breaks_it_without_a_trace() {
    let database = Database::new().await;
    let store = store(&database.pool);
    let first = append(stream(1), 0, 1);
    store.append(first.clone()).await.unwrap();
    let again = Append { expected_sequence: Some(2), ..first };
    let commands = [append(stream(1), 1, 1), again, append(stream(1), 3, 1)];
    let answers = soon(join_all(commands.map(|command| store.append(command)))).await;
    assert_eq!(answers[0].as_ref().unwrap().sequence, 2);
    let duplicate = answers[1].as_ref().unwrap();
    assert!(duplicate.replayed && duplicate.sequence == 1 && duplicate.position == 1);
    assert!(matches!(answers[2], Err(AppendError::Rejected(Rejection::SequenceConflict { .. }))));
    assert_eq!(whole_log(&database.pool).await.len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_that_the_log_refuses_takes_nobody_with_it() {
    let database = Database::new().await;
    let repository = diaries(store(&database.pool));
    write(&repository, Uuid::from_u128(9), &order(), line("@ada")).await.unwrap();
    let orders: Vec<_> = std::iter::repeat_with(order).take(40).collect();
    let texts = |n: usize| if n % 10 == 5 { "@ada" } else { "x" };
    let sent = orders.iter().enumerate().map(|(n, order)| write(&repository, ID, order, line(texts(n))));
    let answers = soon(join_all(sent)).await;
    for (n, answer) in answers.iter().enumerate() {
        match answer {
            Ok(_) => assert_eq!(texts(n), "x"),
            Err(ExecuteError::Append(AppendError::Rejected(Rejection::NameTaken { .. }))) => {
                assert_eq!(texts(n), "@ada")
            }
            Err(error) => panic!("{n}: {error}"),
        }
    }
    assert_eq!(assert_right(&database.pool).await, 37);
    let loaded = repository.load(TENANT, ID).await.unwrap();
    assert_eq!((loaded.sequence, loaded.state.lines), (36, 36));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_command_twice_among_others_happens_once() {
    let database = Database::new().await;
    let repository = diaries(store(&database.pool));
    let mut orders: Vec<_> = std::iter::repeat_with(repeatable).take(20).collect();
    orders.insert(10, orders[3].clone());
    let sent = orders.iter().map(|order| write(&repository, ID, order, line("x")));
    let answers = soon(join_all(sent)).await;
    let sequences: Vec<_> = answers.iter().map(|answer| answer.as_ref().unwrap().sequence).collect();
    assert_eq!(sequences[3], sequences[10]);
    assert_eq!(sequences.iter().collect::<HashSet<_>>().len(), 20);
    assert_eq!(assert_right(&database.pool).await, 20);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_that_rests_on_what_fails_is_not_told() {
    let database = Database::new().await;
    let repository = diaries(store(&database.pool));
    write(&repository, Uuid::from_u128(9), &order(), line("@ada")).await.unwrap();
    // The first will not come to be, so the diary is not full for the second; nor has it moved for the third.
    for turn in 0..10 {
        let (first, second, third) = (order(), order(), Order { expected_sequence: Some(turn * 2 + 1), ..order() });
        let full = |lines_max| super::diary::Write { text: "x".to_owned(), lines_max };
        let lines = u64::try_from(turn).unwrap() * 2;
        let answers = soon(async {
            tokio::join!(
                write(&repository, ID, &first, line("@ada")),
                write(&repository, ID, &second, full(lines + 1)),
                write(&repository, ID, &third, line("y")),
            )
        })
        .await;
        assert!(matches!(answers.0, Err(ExecuteError::Append(AppendError::Rejected(Rejection::NameTaken { .. })))));
        assert_eq!(answers.1.unwrap().sequence, turn * 2 + 1);
        assert_eq!(answers.2.unwrap().sequence, turn * 2 + 2);
    }
    assert_eq!(assert_right(&database.pool).await, 21);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_that_rests_on_what_succeeds_is_told() {
    let database = Database::new().await;
    let repository = diaries(store(&database.pool));
    let orders: Vec<_> = std::iter::repeat_with(order).take(30).collect();
    let few = || super::diary::Write { text: "x".to_owned(), lines_max: 10 };
    let answers = soon(join_all(orders.iter().map(|order| write(&repository, ID, order, few())))).await;
    assert_eq!(answers.iter().filter(|answer| answer.is_ok()).count(), 10);
    assert!(answers.iter().flat_map(|answer| answer.as_ref().err()).all(|e| matches!(e, ExecuteError::Refused(_))));
    assert_eq!(assert_right(&database.pool).await, 10);
}

#[tokio::test(flavor = "multi_thread")]
async fn callers_that_go_away_leave_nobody_waiting_and_nothing_wrong() {
    let database = Database::new().await;
    let repository = diaries(store(&database.pool));
    for round in 0..10 {
        let tasks: Vec<_> = (0..20)
            .map(|_| {
                let repository = repository.clone();
                tokio::spawn(async move {
                    write(&repository, ID, &order(), line("x")).await.map(|accepted| accepted.sequence)
                })
            })
            .collect();
        for _ in 0..round * 3 {
            tokio::task::yield_now().await;
        }
        for task in tasks.iter().step_by(2) {
            task.abort();
        }
        for answer in soon(join_all(tasks)).await.into_iter().flatten() {
            answer.unwrap();
        }
    }
    let lines = assert_right(&database.pool).await;
    assert!((100..=200).contains(&lines), "{lines}");
    let accepted = soon(write(&repository, ID, &order(), line("x"))).await.unwrap();
    assert_eq!(usize::try_from(accepted.sequence), Ok(lines + 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stranger_s_event_in_the_place_of_one_that_failed_does_not_let_its_followers_through() {
    let database = Database::new().await;
    let (one, two) = (diaries(store(&database.pool)), diaries(store(&database.pool)));
    write(&one, Uuid::from_u128(9), &order(), line("@ada#")).await.unwrap();
    for repository in [&one, &two] {
        write(repository, ID, &order(), line("x")).await.unwrap();
    }
    one.load_latest(TENANT, ID).await.unwrap();
    // While the log is locked: a command that will be refused, in the next batch one that rests on it, and another process's command.
    let mut lock = database.pool.begin().await.unwrap();
    sqlx::query("SELECT pg_advisory_xact_lock(7236831001)").execute(&mut *lock).await.unwrap();
    let waiting = async |count: i64| {
        hub_tests::kit::eventually(Duration::from_secs(20), async || {
            let waiting: i64 = sqlx::query_scalar(
                "SELECT count(*) FROM pg_locks JOIN pg_database d ON d.oid = database \
                 WHERE datname = current_database() AND locktype = 'advisory' AND NOT granted",
            )
            .fetch_one(&database.pool)
            .await
            .unwrap();
            (waiting == count).then_some(())
        })
        .await;
    };
    let (first, second, third) = (order(), order(), order());
    let commands = async { tokio::join!(write(&one, ID, &first, line("@ada#")), write(&one, ID, &second, line("y#"))) };
    let stranger = async {
        waiting(1).await;
        let unlock = async {
            waiting(2).await;
            lock.commit().await.unwrap();
        };
        tokio::join!(write(&two, ID, &third, line("z")), unlock).0
    };
    let ((refused, rested), strange) = soon(async { tokio::join!(commands, stranger) }).await;
    assert!(matches!(refused, Err(ExecuteError::Append(AppendError::Rejected(Rejection::NameTaken { .. })))));
    assert_eq!((strange.unwrap().sequence, rested.unwrap().sequence), (3, 4));
    assert_eq!(assert_right(&database.pool).await, 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_processes_on_the_same_streams_never_decide_upon_a_state_that_was_not() {
    let database = Database::new().await;
    let processes = [diaries(store(&database.pool)), diaries(store(&database.pool))];
    // A name that is taken breaks lines again and again while the other process appends.
    write(&processes[0], Uuid::from_u128(9), &order(), line("@ada")).await.unwrap();
    let tasks = (0..24_usize).map(|task| {
        let repository = processes[task % 2].clone();
        tokio::spawn(async move {
            let mut accepted = 0;
            for turn in 0..15_usize {
                let text = if (task + turn) % 7 == 0 { "@ada" } else { "x" };
                let id = Uuid::from_u128(u128::try_from(task / 2 % 3).unwrap());
                match write(&repository, id, &order(), line(text)).await {
                    Ok(_) => accepted += 1,
                    Err(error) => assert!(text == "@ada" && error.to_string().contains("taken"), "{error}"),
                }
            }
            accepted
        })
    });
    let accepted: usize = soon(join_all(tasks)).await.into_iter().map(Result::unwrap).sum();
    assert_eq!(assert_right(&database.pool).await, accepted + 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_never_rests_does_not_starve_those_who_guard_it() {
    let database = Database::new().await;
    let repository = diaries(store(&database.pool));
    let stop = tokio_util::sync::CancellationToken::new();
    let hot: Vec<_> = (0..12).map(|_| tokio::spawn(write_until(repository.clone(), ID, stop.clone()))).collect();
    let attempts = Arc::new(AtomicUsize::new(0));
    let guarded = (0..8_u128).map(|task| {
        let (repository, attempts) = (repository.clone(), attempts.clone());
        tokio::spawn(async move {
            for _ in 0..10 {
                let prepare = |attempt| {
                    let (repository, attempts) = (&repository, &attempts);
                    async move {
                        attempts.fetch_max(usize::try_from(attempt).unwrap() + 1, Ordering::Relaxed);
                        let guarded = match attempt {
                            0 => repository.load(TENANT, ID).await?,
                            _ => repository.load_latest(TENANT, ID).await?,
                        };
                        let guard = Guard { stream: StreamId::of::<Diary>(TENANT, ID), sequence: guarded.sequence };
                        Ok(Prepared { guards: vec![guard], ..Prepared::new(line("x")) })
                    }
                };
                repository.execute(TENANT, Uuid::from_u128(100 + task), &order(), prepare).await.unwrap();
            }
        })
    });
    for task in soon(join_all(guarded)).await {
        task.unwrap();
    }
    stop.cancel();
    let written: usize = soon(join_all(hot)).await.into_iter().map(|counts| counts.unwrap().0).sum();
    assert_eq!(assert_right(&database.pool).await, written + 80);
    assert!(written > 80, "the hot stream came to rest: {written}");
    let attempts = attempts.load(Ordering::Relaxed);
    assert!(attempts <= 15, "one had to be decided {attempts} times");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outage_in_the_middle_of_chains_loses_and_repeats_nothing() {
    let mut postgres = OwnPostgres::start().await;
    let store = hub_event_store::store::EventStore::start(
        postgres.pool.clone(),
        Tail::default(),
        Upcasters::default(),
        TestClock::default().clock(),
    );
    let repository = diaries(store);
    let stop = tokio_util::sync::CancellationToken::new();
    let tasks: Vec<_> = (0..16_u128)
        .map(|task| tokio::spawn(write_until(repository.clone(), Uuid::from_u128(task % 2), stop.clone())))
        .collect();
    for _ in 0..2 {
        let before = repository.load_latest(TENANT, Uuid::from_u128(0)).await.unwrap().sequence;
        grown(&repository, before + 50).await;
        postgres.stop().await;
        postgres.restart().await;
    }
    let before = hub_tests::kit::eventually(Duration::from_secs(30), async || {
        repository.load_latest(TENANT, Uuid::from_u128(0)).await.ok().map(|loaded| loaded.sequence)
    })
    .await;
    grown(&repository, before + 50).await;
    stop.cancel();
    let (mut acknowledged, mut unknown) = (0, 0);
    for counts in soon(join_all(tasks)).await {
        let (yes, maybe) = counts.unwrap();
        acknowledged += yes;
        unknown += maybe;
    }
    let lines = assert_right(&postgres.pool).await;
    assert!((acknowledged..=acknowledged + unknown).contains(&lines), "{acknowledged} {unknown} {lines}");
}

/// Writes until it is told to stop; how many lines were acknowledged, and of how many nobody knows.
async fn write_until(
    repository: Repository<Diary>,
    id: Uuid,
    stop: tokio_util::sync::CancellationToken,
) -> (usize, usize) {
    let (mut acknowledged, mut unknown) = (0, 0);
    while !stop.is_cancelled() {
        match write(&repository, id, &order(), line("x")).await {
            Ok(_) => acknowledged += 1,
            Err(ExecuteError::Append(AppendError::Unavailable(_))) => {
                unknown += 1;
                tokio::task::yield_now().await;
            }
            Err(error) => panic!("{error}"),
        }
    }
    (acknowledged, unknown)
}

async fn grown(repository: &Repository<Diary>, sequence: i64) {
    hub_tests::kit::eventually(Duration::from_secs(30), async || {
        let loaded = repository.load_latest(TENANT, Uuid::from_u128(0)).await.ok()?;
        (loaded.sequence >= sequence).then_some(())
    })
    .await;
}
