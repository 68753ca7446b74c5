use std::{sync::Arc, time::Duration};

use uuid::Uuid;

use super::{Lanes, Reached};
use crate::repository::Loaded;

const KEY: (Uuid, Uuid) = (Uuid::nil(), Uuid::nil());

fn after(sequence: i64) -> Arc<Loaded<i64>> {
    Arc::new(Loaded { state: sequence, sequence })
}

#[test]
fn the_next_command_is_decided_upon_what_the_last_one_leaves() {
    let lanes = Lanes::<i64>::default();
    let lane = lanes.of(&KEY);
    assert!(matches!(lane.reached(&KEY), Reached::Committed));
    let line = lane.begin(KEY, None, after(1)).expect("nothing is on its way");
    lane.begin(KEY, Some(&line), after(2)).expect("the line stands");
    assert!(matches!(lane.reached(&KEY), Reached::Pending(reached, _) if reached.sequence == 2));
    lane.end(&KEY);
    assert!(matches!(lane.reached(&KEY), Reached::Pending(..)));
    lane.end(&KEY);
    assert!(matches!(lane.reached(&KEY), Reached::Committed));
}

#[test]
fn nobody_joins_a_broken_line() {
    let lanes = Lanes::<i64>::default();
    let lane = lanes.of(&KEY);
    let line = lane.begin(KEY, None, after(1)).expect("nothing is on its way");
    line.break_off();
    assert!(matches!(lane.reached(&KEY), Reached::Broken));
    assert!(lane.begin(KEY, Some(&line), after(2)).is_none());
    lane.end(&KEY);
    assert!(lane.begin(KEY, Some(&line), after(2)).is_none(), "its end does not mend it");
    assert!(lane.begin(KEY, None, after(1)).is_some());
}

#[test]
fn a_line_whose_commands_were_all_accepted_may_be_joined_after_its_end() {
    let lanes = Lanes::<i64>::default();
    let lane = lanes.of(&KEY);
    let line = lane.begin(KEY, None, after(1)).expect("nothing is on its way");
    lane.end(&KEY);
    assert!(lane.begin(KEY, Some(&line), after(2)).is_some());
}

#[tokio::test]
async fn settled_waits_for_the_last_answer() {
    let lanes = Arc::new(Lanes::<i64>::default());
    let line = lanes.of(&KEY).begin(KEY, None, after(1)).expect("nothing is on its way");
    lanes.of(&KEY).begin(KEY, Some(&line), after(2)).expect("the line stands");
    let waiting = tokio::spawn({
        let lanes = lanes.clone();
        async move { lanes.of(&KEY).settled(&KEY).await }
    });
    lanes.of(&KEY).end(&KEY);
    tokio::task::yield_now().await;
    assert!(!waiting.is_finished());
    lanes.of(&KEY).end(&KEY);
    tokio::time::timeout(Duration::from_secs(5), waiting).await.expect("it ends").expect("it does not panic");
}
