//! Emergency and support access: who opened it for whom and why, how it ended, who judged it, and what was done with it in that time.

use std::collections::{BTreeMap, BTreeSet};

use hub_event_store::event::Recorded;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::{Fold, Moment, shown};

/// What is to be known from before the period.
pub(crate) const TYPES: &[&str] = &["break_glass", "support_access"];

pub(crate) const COLUMNS: &[&str] = &[
    "kind",
    "id",
    "principal",
    "opened_by",
    "opened_at",
    "opened_position",
    "role_id",
    "reason",
    "ticket",
    "until",
    "end",
    "closed_by",
    "closed_at",
    "closed_position",
    "reviewed_by",
    "reviewed_at",
    "verdict",
    "remark",
    "event_count",
    "event_types",
];

/// Every access that was open, closed or reviewed in the period.
#[derive(Debug)]
pub(crate) struct Emergency {
    principal: Option<String>,
    from: i64,
    /// By the order in which they were opened.
    accesses: BTreeMap<i64, Access>,
    /// Where each is found.
    opened: BTreeMap<(String, Uuid), i64>,
    /// Those that are open.
    open: BTreeSet<i64>,
}

#[derive(Debug)]
struct Access {
    kind: &'static str,
    id: Uuid,
    /// Who had it, as events name their actors.
    holder: String,
    opened: Moment,
    payload: Value,
    /// How it ended, and by whom.
    closed: Option<(&'static str, Moment)>,
    reviewed: Option<(Moment, Value)>,
    /// What its holder did while it was open, within the period.
    done: BTreeMap<String, u64>,
}

impl Emergency {
    pub(crate) fn new(principal: Option<String>, from: i64) -> Self {
        Self { principal, from, accesses: BTreeMap::new(), opened: BTreeMap::new(), open: BTreeSet::new() }
    }

    fn opens(&mut self, event: &Recorded, kind: &'static str, holder: &str) -> Result<(), String> {
        let payload = shown::payload(event)?;
        let holder = payload[holder].as_str().ok_or("it does not say who has the access")?.to_owned();
        let opened = Moment::of(event)?;
        self.opened.insert((event.aggregate_type.clone(), event.aggregate_id), opened.position);
        self.open.insert(opened.position);
        let access = Access {
            kind,
            id: event.aggregate_id,
            holder,
            payload,
            closed: None,
            reviewed: None,
            done: BTreeMap::new(),
            opened: opened.clone(),
        };
        self.accesses.insert(opened.position, access);
        Ok(())
    }

    fn access(&mut self, event: &Recorded) -> Option<&mut Access> {
        let stream = (event.aggregate_type.clone(), event.aggregate_id);
        self.accesses.get_mut(self.opened.get(&stream)?)
    }

    /// Counts what is done with an access that is open.
    fn count(&mut self, event: &Recorded, actor: &str) {
        for place in &self.open {
            let access = self.accesses.get_mut(place).filter(|access| access.holder == actor);
            if let Some(access) = access.filter(|access| access.id != event.aggregate_id) {
                *access.done.entry(event.event_type.clone()).or_default() += 1;
            }
        }
    }
}

impl Fold for Emergency {
    fn take(&mut self, event: &Recorded, within: bool) -> Result<Vec<Value>, String> {
        let moment = Moment::of(event)?;
        if within {
            self.count(event, &moment.by);
        }
        let end = match &*event.event_type {
            "break_glass.opened" => return self.opens(event, "break_glass", "by").map(|()| Vec::new()),
            "support_access.granted" => return self.opens(event, "support_access", "staff").map(|()| Vec::new()),
            "break_glass.closed" => "closed",
            "support_access.revoked" => "revoked",
            "break_glass.ended" | "support_access.ended" => "ended",
            "break_glass.reviewed" => {
                let payload = shown::payload(event)?;
                if let Some(access) = self.access(event) {
                    access.reviewed = Some((moment, payload));
                }
                return Ok(Vec::new());
            }
            _ => return Ok(Vec::new()),
        };
        if let Some(access) = self.access(event) {
            access.closed = Some((end, moment));
            let place = access.opened.position;
            self.open.remove(&place);
        }
        Ok(Vec::new())
    }

    fn end(self: Box<Self>) -> Vec<Value> {
        let Self { principal, from, accesses, .. } = *self;
        // What was over before the period is of no interest unless it is reviewed in it.
        let concerned = |access: &Access| {
            let open = access.closed.as_ref().is_none_or(|(_, closed)| closed.position >= from);
            let reviewed = access.reviewed.as_ref().is_some_and(|(reviewed, _)| reviewed.position >= from);
            (open || reviewed) && principal.as_ref().is_none_or(|principal| *principal == access.holder)
        };
        accesses.into_values().filter(concerned).map(Access::row).collect()
    }
}

impl Access {
    fn row(self) -> Value {
        let Self { kind, id, holder, opened, payload, closed, reviewed, done } = self;
        let (end, closed) = closed.unzip();
        let (reviewed, judged) = reviewed.unzip();
        let judged = judged.unwrap_or_default();
        json!({
            "kind": kind,
            "id": id,
            "principal": holder,
            "opened_by": opened.by,
            "opened_at": opened.at,
            "opened_position": opened.position,
            "role_id": payload["role_id"],
            "reason": payload["reason"],
            "ticket": payload["ticket"],
            "until": payload["until"],
            "end": end,
            "closed_by": closed.as_ref().map(|closed| &closed.by),
            "closed_at": closed.as_ref().map(|closed| closed.at),
            "closed_position": closed.as_ref().map(|closed| closed.position),
            "reviewed_by": reviewed.as_ref().map(|reviewed| &reviewed.by),
            "reviewed_at": reviewed.as_ref().map(|reviewed| reviewed.at),
            "verdict": judged["verdict"],
            "remark": judged["remark"],
            "event_count": done.values().sum::<u64>(),
            "event_types": done,
        })
    }
}
