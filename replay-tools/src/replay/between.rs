//! What came between two moments: rows that were added, removed and changed, each with the events that did it.

use std::collections::BTreeMap;

use hub_projections::{
    history::{Compared, Explainer, Scratch, changed, compare},
    projection::Difference,
};
use serde::Serialize;
use serde_json::Value;
use uuid::Uuid;

use super::{EventName, Moment, Place, Progress, ROW_COUNT_MAX, Replay, ReplayError, write};

/// At most so many events are named for one row, the last ones; the count goes on.
pub(super) const EVENT_COUNT_MAX: usize = 20;

/// The tables of the earlier moment end with this when there are two.
const EARLIER: &str = "_before";

/// What came between two moments.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Changes {
    /// Whose log; nothing for the platform's.
    pub tenant_id: Option<Uuid>,
    /// The earlier moment.
    pub from: Place,
    /// The later one.
    pub to: Place,
    /// The schema, if it was kept.
    pub schema: Option<String>,
    /// The read models.
    pub read_models: Vec<ChangedModel>,
}

/// What came between two moments of one read model.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ChangedModel {
    /// Its name.
    pub name: &'static str,
    /// How many rows it had.
    pub row_count_before: i64,
    /// How many rows it had afterwards.
    pub row_count_after: i64,
    /// How many rows are not the same.
    pub change_count: i64,
    /// How many events could not be taken in up to the later moment.
    pub unreadable_count: usize,
    /// The first `ROW_COUNT_MAX` of the rows, in the order of their keys.
    pub changes: Vec<Change>,
}

/// What happened to a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// It was not there before.
    Added,
    /// It is there no more.
    Removed,
    /// It has other values.
    Changed,
}

/// A row that is not what it was.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Change {
    /// Its key columns.
    pub key: Value,
    /// What happened to it.
    pub kind: Kind,
    /// The columns that are not the same, each before and after.
    pub columns: BTreeMap<String, Values>,
    /// How many events did it.
    pub event_count: usize,
    /// The last `EVENT_COUNT_MAX` of them.
    pub events: Vec<ExplainingEvent>,
}

/// A column before and after.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Values {
    /// Nothing when there was no row.
    pub before: Option<Value>,
    /// Nothing when there is no row.
    pub after: Option<Value>,
}

/// An event that changed a row.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ExplainingEvent {
    /// The event.
    #[serde(flatten)]
    pub event: EventName,
    /// What it changed of the row.
    pub columns: Vec<String>,
}

/// What came between two moments, which are given in any order.
///
/// # Errors
/// When the log has no such moment, or cannot be folded.
pub async fn between(
    replay: &Replay,
    one: Moment,
    other: Moment,
    progress: Progress<'_>,
) -> Result<Changes, ReplayError> {
    let (one, other) = (replay.place(one).await?, replay.place(other).await?);
    let (from, to) = if one.place <= other.place { (one, other) } else { (other, one) };
    let mut scratch = Scratch::begin(&replay.pool).await?;
    let mut history = replay.fold(&mut scratch, EARLIER, from.place, &mut None, progress).await?;
    let before = write(&mut scratch, &mut history, EARLIER).await?;
    let mut history = replay.fold(&mut scratch, "", to.place, &mut None, progress).await?;
    let after = write(&mut scratch, &mut history, "").await?;
    let mut found: Vec<Compared> = Vec::with_capacity(after.len());
    for (place, model) in history.models().iter().enumerate() {
        let (before, after) = (&before[place].table, &after[place].table);
        let projection = model.projection().as_ref();
        found.push(compare(scratch.connection(), projection, before, after, None, ROW_COUNT_MAX).await?);
    }
    let about = format!("Service Hub: replay of the {} as of {to}, and as of {from} ({EARLIER})", replay.scope);
    let schema = replay.ended(scratch, &about).await?;
    let explainers = replay.explained(&history, &found, from.place..to.place, EVENT_COUNT_MAX, progress).await?;
    let models = history.models().iter().zip(found).zip(explainers).enumerate();
    let read_models = models.map(|(place, ((model, compared), explainer))| ChangedModel {
        name: after[place].name,
        row_count_before: before[place].row_count,
        row_count_after: after[place].row_count,
        change_count: compared.count,
        unreadable_count: after[place].unreadable_count,
        changes: compared.differences.iter().map(|row| change(model.written(row), explainer.as_ref())).collect(),
    });
    let read_models = read_models.collect();
    Ok(Changes { tenant_id: replay.scope.tenant_id(), from, to, schema, read_models })
}

fn change(row: Difference, explainer: Option<&Explainer>) -> Change {
    let steps = explainer.map(|explainer| explainer.steps(&row.key)).unwrap_or_default();
    let kind = match (&row.found, &row.expected) {
        (None, _) => Kind::Added,
        (Some(_), None) => Kind::Removed,
        (Some(_), Some(_)) => Kind::Changed,
    };
    let events = steps
        .last
        .into_iter()
        .map(|step| ExplainingEvent { event: EventName::of(&step.event), columns: step.columns.into_iter().collect() });
    Change {
        columns: columns(row.found.as_ref(), row.expected.as_ref()),
        key: row.key,
        kind,
        event_count: steps.count,
        events: events.collect(),
    }
}

/// The columns in which two rows differ.
pub(super) fn columns(before: Option<&Value>, after: Option<&Value>) -> BTreeMap<String, Values> {
    let value = |row: Option<&Value>, column: &str| row.and_then(Value::as_object)?.get(column).cloned();
    let differing = changed(before, after).into_iter();
    differing
        .map(|column| {
            let values = Values { before: value(before, &column), after: value(after, &column) };
            (column, values)
        })
        .collect()
}
