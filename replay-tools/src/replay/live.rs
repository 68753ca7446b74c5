//! Whether the live read models are what the log leads to, with the event behind each row that is not.
//!
//! Checkpoints, parked events and live rows are all of one snapshot, and each read model is folded up to its own checkpoint, so what has
//! not been taken in yet is no difference.

use std::collections::{BTreeMap, HashMap};

use hub_projections::{
    history::{Compared, Explainer, History, Scratch, compare},
    projection::Difference,
    status,
};
use serde::Serialize;
use serde_json::Value;
use uuid::Uuid;

use super::{EventName, Progress, ROW_COUNT_MAX, Replay, ReplayError, write};
use crate::read_models::trouble_of;

/// How the live read models compare with the log.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Comparison {
    /// Whose log; nothing for the platform's.
    pub tenant_id: Option<Uuid>,
    /// The place of the last event of the log.
    pub head: i64,
    /// Whether no row differs.
    pub same: bool,
    /// The schema, if it was kept.
    pub schema: Option<String>,
    /// The read models.
    pub read_models: Vec<LiveModel>,
}

/// How one live read model compares with the log.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LiveModel {
    /// Its name.
    pub name: &'static str,
    /// Its checkpoint, a position of the platform's log.
    pub platform_position: i64,
    /// Why it cannot be right whatever its rows are: it stands still, or was never built.
    pub trouble: Option<String>,
    /// How many rows the log leads to.
    pub row_count: i64,
    /// How many of the events are not in it, because they are parked or were left out for good; they are left out of the comparison.
    pub left_out_count: usize,
    /// How many events it has taken in that cannot be taken in any more.
    pub unreadable_count: usize,
    /// How many rows differ.
    pub difference_count: i64,
    /// The first `ROW_COUNT_MAX` of them, in the order of their keys.
    pub differences: Vec<Deviation>,
}

impl LiveModel {
    /// Whether nothing is wrong.
    #[must_use]
    pub fn passed(&self) -> bool {
        self.trouble.is_none() && self.difference_count == 0 && self.unreadable_count == 0
    }
}

/// A live row that is not what the log leads to.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Deviation {
    /// Its key columns.
    pub key: Value,
    /// What is wrong with it.
    pub kind: Wrong,
    /// The columns that differ.
    pub columns: BTreeMap<String, LiveValues>,
    /// The last event that made the row what it should be; nothing when no event ever had to do with it.
    pub explained_by: Option<EventName>,
    /// The event after which the row was as it is found; nothing when no event explains it.
    pub found_as_of: Option<EventName>,
    /// All of it in words.
    pub verdict: String,
}

/// What is wrong with a live row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Wrong {
    /// There should be one.
    Missing,
    /// There should be none.
    Unexpected,
    /// It has other values.
    Different,
}

/// A column as it is and as it should be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LiveValues {
    /// As it is; nothing when there is no row.
    pub found: Option<Value>,
    /// As the log has it; nothing when there should be no row.
    pub expected: Option<Value>,
}

/// Compares every live read model with the log up to its checkpoint.
///
/// # Errors
/// When the comparison cannot be made; differences are no error here.
pub async fn compare_live(replay: &Replay, progress: Progress<'_>) -> Result<Comparison, ReplayError> {
    let mut scratch = Scratch::begin(&replay.pool).await?;
    // The first statement that reads begins the snapshot, so the log has everything that the live tables have.
    let mut history = History::as_live(scratch.connection(), &replay.projections, &replay.upcasters).await?;
    let head = replay.head().await?;
    let statuses = status::list(&replay.pool, &replay.projections).await?;
    let troubles: HashMap<_, _> = statuses.iter().map(|status| (status.name, trouble_of(status))).collect();
    let mut pages = replay.pages(head);
    while let Some(page) = pages.next().await? {
        history.take_in(&page)?;
        scratch.relieve(&mut history, "").await?;
        progress(pages.after, head);
    }
    let written = write(&mut scratch, &mut history, "").await?;
    let mut found: Vec<Compared> = Vec::with_capacity(written.len());
    for (model, written) in history.models().iter().zip(&written) {
        let (projection, tenant_id) = (model.projection().as_ref(), replay.scope.tenant_id());
        let live = projection.table();
        found.push(compare(scratch.connection(), projection, live, &written.table, tenant_id, ROW_COUNT_MAX).await?);
    }
    let about = format!("Service Hub: replay of the {} up to its live checkpoints", replay.scope);
    let schema = replay.ended(scratch, &about).await?;
    let explainers = replay.explained(&history, &found, 0..head, 1, progress).await?;
    let models = history.models().iter().zip(written).zip(found).zip(explainers);
    let read_models = models.map(|(((model, written), compared), explainer)| LiveModel {
        name: written.name,
        platform_position: model.live_position().unwrap_or(0),
        trouble: troubles.get(written.name).cloned().flatten(),
        row_count: written.row_count,
        left_out_count: written.left_out_count,
        unreadable_count: written.unreadable_count,
        difference_count: compared.count,
        differences: compared.differences.iter().map(|row| deviation(model.written(row), explainer.as_ref())).collect(),
    });
    let read_models: Vec<_> = read_models.collect();
    let same = read_models.iter().all(LiveModel::passed);
    Ok(Comparison { tenant_id: replay.scope.tenant_id(), head, same, schema, read_models })
}

fn deviation(row: Difference, explainer: Option<&Explainer>) -> Deviation {
    let steps = explainer.map(|explainer| explainer.steps(&row.key)).unwrap_or_default();
    let kind = match (&row.found, &row.expected) {
        (None, _) => Wrong::Missing,
        (Some(_), None) => Wrong::Unexpected,
        (Some(_), Some(_)) => Wrong::Different,
    };
    let explained_by = steps.last.back().map(|step| EventName::of(&step.event));
    // A row that is missing is as it was before its first event, which says nothing.
    let found_as_of = steps.as_found.as_ref().filter(|_| row.found.is_some()).map(EventName::of);
    let should = match (kind, &explained_by) {
        (Wrong::Unexpected, None) => "no event explains it: it should not be there".to_owned(),
        (Wrong::Unexpected, Some(event)) => format!("it was removed by {event}"),
        (_, Some(event)) => format!("it should be as of {event}"),
        (_, None) => "no event explains what it should be".to_owned(),
    };
    let is = match (kind, &found_as_of) {
        (Wrong::Missing, _) => "; no event explains that it is missing".to_owned(),
        (_, Some(event)) => format!("; it stands as of {event}"),
        (Wrong::Unexpected, None) if explained_by.is_none() => String::new(),
        (Wrong::Different | Wrong::Unexpected, None) => "; no event explains what stands there".to_owned(),
    };
    let columns = super::between::columns(row.found.as_ref(), row.expected.as_ref()).into_iter();
    let columns = columns.map(|(name, values)| (name, LiveValues { found: values.before, expected: values.after }));
    Deviation { columns: columns.collect(), kind, explained_by, found_as_of, verdict: should + &is, key: row.key }
}
