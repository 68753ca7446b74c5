//! The oracle: reads the log beside what the clients remember, and objects to whatever does not fit.
//!
//! It knows nothing of the store but what the log says, and goes on from round to round: what was judged once is kept as heads, names
//! and counters only.

use std::collections::{BTreeMap, HashMap, HashSet};

use uuid::Uuid;

use super::history::{Answer, Receipt, Sent};

/// An event as the oracle reads it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Logged {
    pub(crate) position: i64,
    pub(crate) tenant_position: i64,
    pub(crate) tenant_id: Uuid,
    pub(crate) kind: String,
    pub(crate) stream: Uuid,
    pub(crate) sequence: i64,
    /// Whether it has the hash that it was appended with.
    pub(crate) intact: bool,
    pub(crate) command_id: Uuid,
    /// What the client gave its command; nothing when no client sent it.
    pub(crate) mark: Option<Uuid>,
    /// Which of how many events of its command, when its payload tells.
    pub(crate) part: Option<(i64, i64)>,
    /// What it adds to the total of its stream, and the total that the decision was made for.
    pub(crate) total: Option<(i64, i64)>,
    /// Names taken (true) and given back.
    pub(crate) names: Vec<(String, bool)>,
    /// What it adds to the tenant's counter.
    pub(crate) counted: i64,
}

/// What is wrong.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Objection {
    #[error("position {found} follows {after}")]
    Position { after: i64, found: i64 },
    #[error("at {position}: tenant position {found} follows {after}")]
    TenantPosition { position: i64, after: i64, found: i64 },
    #[error("at {position}: sequence {found} follows {after} of {stream}")]
    Sequence { position: i64, stream: Uuid, after: i64, found: i64 },
    #[error("at {position}: the event is not the one that was appended")]
    Changed { position: i64 },
    #[error("{mark} was acknowledged and is not in the log: {receipt:?}")]
    Lost { mark: Uuid, receipt: Receipt },
    #[error("{mark} was refused ({reason}) and is in the log at {position}")]
    RefusedButThere { mark: Uuid, reason: String, position: i64 },
    #[error("{mark} is in the log more than once, at {positions:?}")]
    Twice { mark: Uuid, positions: Vec<i64> },
    #[error("{mark} is not whole in the log, at {positions:?}")]
    Torn { mark: Uuid, positions: Vec<i64> },
    #[error("{mark} stands elsewhere than its sender was told, at {positions:?}: {receipt:?}")]
    Elsewhere { mark: Uuid, positions: Vec<i64>, receipt: Receipt },
    #[error("{mark} at {position} was sent by nobody")]
    SentByNobody { mark: Uuid, position: i64 },
    #[error("{mark} at {position} was sent after the command at {earlier} had been acknowledged")]
    OutOfOrder { mark: Uuid, position: i64, earlier: i64 },
    #[error("at {position}: {name} is taken though {holder} holds it")]
    NameHeldTwice { position: i64, name: String, holder: Uuid },
    #[error("at {position}: {name} is given back by one that does not hold it")]
    NameNotHeld { position: i64, name: String },
    #[error("at {position}: the counter of {tenant_id} is {value}")]
    Counter { position: i64, tenant_id: Uuid, value: i64 },
    #[error("at {position}: decided for a total of {decided}, which is {total}")]
    StaleDecision { position: i64, decided: i64, total: i64 },
    #[error("the store keeps other {what} than the log leads to: {kept} beside {expected}")]
    Kept { what: &'static str, kept: String, expected: String },
    #[error("{0}")]
    Other(String),
}

/// What the log has led to so far.
#[derive(Debug, Default, Clone)]
pub(crate) struct Oracle {
    pub(crate) head: i64,
    /// No counter may be above it.
    pub(crate) maximum: i64,
    tenants: HashMap<Uuid, i64>,
    streams: HashMap<(Uuid, String, Uuid), i64>,
    totals: HashMap<Uuid, i64>,
    pub(crate) names: BTreeMap<(Uuid, String), Uuid>,
    pub(crate) counters: BTreeMap<Uuid, i64>,
}

impl Oracle {
    pub(crate) fn new(maximum: i64) -> Self {
        Self { maximum, ..Self::default() }
    }

    /// Judges everything after the head: the events in their order, and all commands that were sent since.
    pub(crate) fn judge(&mut self, log: &[Logged], sent: &[Sent]) -> Vec<Objection> {
        let mut objections = Vec::new();
        for event in log {
            self.follow(event, &mut objections);
            self.fold(event, &mut objections);
        }
        let mut commands: HashMap<Uuid, Vec<&Logged>> = HashMap::new();
        for event in log {
            if let Some(mark) = event.mark {
                commands.entry(mark).or_default().push(event);
            }
        }
        let known: HashSet<Uuid> = sent.iter().map(|sent| sent.mark).collect();
        for (mark, events) in commands.iter().filter(|(mark, _)| !known.contains(mark)) {
            objections.push(Objection::SentByNobody { mark: *mark, position: events[0].position });
        }
        for sent in sent {
            let events = commands.get(&sent.mark).map_or(&[][..], Vec::as_slice);
            objections.extend(command_objection(sent, events));
        }
        objections.extend(order_objections(sent, &commands));
        objections
    }

    fn follow(&mut self, event: &Logged, objections: &mut Vec<Objection>) {
        let position = event.position;
        if position != self.head + 1 {
            objections.push(Objection::Position { after: self.head, found: position });
        }
        self.head = position;
        let last = self.tenants.entry(event.tenant_id).or_default();
        if event.tenant_position != *last + 1 {
            objections.push(Objection::TenantPosition { position, after: *last, found: event.tenant_position });
        }
        *last = event.tenant_position;
        let last = self.streams.entry((event.tenant_id, event.kind.clone(), event.stream)).or_default();
        if event.sequence != *last + 1 {
            let (stream, found) = (event.stream, event.sequence);
            objections.push(Objection::Sequence { position, stream, after: *last, found });
        }
        *last = event.sequence;
        if !event.intact {
            objections.push(Objection::Changed { position });
        }
    }

    fn fold(&mut self, event: &Logged, objections: &mut Vec<Objection>) {
        let position = event.position;
        for (name, taken) in &event.names {
            let key = (event.tenant_id, name.clone());
            if *taken {
                if let Some(holder) = self.names.insert(key, event.stream) {
                    objections.push(Objection::NameHeldTwice { position, name: name.clone(), holder });
                }
            } else if self.names.remove(&key) != Some(event.stream) {
                objections.push(Objection::NameNotHeld { position, name: name.clone() });
            }
        }
        if event.counted != 0 {
            let value = self.counters.entry(event.tenant_id).or_default();
            *value += event.counted;
            if *value < 0 || *value > self.maximum {
                objections.push(Objection::Counter { position, tenant_id: event.tenant_id, value: *value });
            }
        }
        if let Some((added, decided)) = event.total {
            let total = self.totals.entry(event.stream).or_default();
            *total += added;
            if *total != decided {
                objections.push(Objection::StaleDecision { position, decided, total: *total });
            }
        }
    }
}

/// What one command's events say against what its sender was told.
fn command_objection(sent: &Sent, events: &[&Logged]) -> Option<Objection> {
    let mark = sent.mark;
    let positions: Vec<i64> = events.iter().map(|event| event.position).collect();
    if let Some(objection) = wholeness_objection(mark, events, &positions) {
        return Some(objection);
    }
    match (&sent.answer, events.last()) {
        (Answer::Refused(reason), Some(event)) => {
            Some(Objection::RefusedButThere { mark, reason: reason.clone(), position: event.position })
        }
        (Answer::Acknowledged { receipt, .. }, None) if receipt.event_count > 0 => {
            Some(Objection::Lost { mark, receipt: receipt.clone() })
        }
        (Answer::Acknowledged { receipt, .. }, Some(last)) => {
            let told = (receipt.stream, receipt.sequence, usize::try_from(receipt.event_count).unwrap_or(0));
            let there = (last.stream, last.sequence, events.len());
            let placed = receipt.position.is_none_or(|position| position == last.position);
            (told != there || !placed).then(|| Objection::Elsewhere { mark, positions, receipt: receipt.clone() })
        }
        (Answer::Unknown | Answer::Refused(_) | Answer::Acknowledged { .. }, None) | (Answer::Unknown, Some(_)) => None,
    }
}

/// A command is in the log once and whole, side by side on one stream, or not at all.
fn wholeness_objection(mark: Uuid, events: &[&Logged], positions: &[i64]) -> Option<Objection> {
    let first = events.first()?;
    let parts = first.part.map_or(events.len(), |(_, parts)| usize::try_from(parts).unwrap_or(0));
    if events.len() > parts || events.iter().any(|event| event.command_id != first.command_id) {
        return Some(Objection::Twice { mark, positions: positions.to_vec() });
    }
    let in_place = |(index, event): (i64, &&Logged)| {
        event.position == first.position + index
            && event.sequence == first.sequence + index
            && event.stream == first.stream
            && event.part.is_none_or(|(part, _)| part == index + 1)
    };
    let whole = events.len() == parts && (0..).zip(events).all(in_place);
    (!whole).then(|| Objection::Torn { mark, positions: positions.to_vec() })
}

/// What a client noted of a command that is in the log, with the position of its first or last event.
enum Moment {
    Sent { mark: Uuid, first: i64 },
    Acknowledged { last: i64 },
}

/// If B was sent after A was acknowledged, B stands behind A.
fn order_objections(sent: &[Sent], commands: &HashMap<Uuid, Vec<&Logged>>) -> Vec<Objection> {
    let place = |sent: &Sent| {
        let events = commands.get(&sent.mark)?;
        Some((events.first()?.position, events.last()?.position))
    };
    let mut moments: Vec<(u64, Moment)> = Vec::new();
    for sent in sent {
        let Some((first, last)) = place(sent) else { continue };
        moments.push((sent.first_sent_at, Moment::Sent { mark: sent.mark, first }));
        if let Answer::Acknowledged { at, .. } = sent.answer {
            moments.push((at, Moment::Acknowledged { last }));
        }
    }
    moments.sort_unstable_by_key(|(at, _)| *at);
    let mut highest = 0;
    let mut objections = Vec::new();
    for (_, moment) in moments {
        match moment {
            Moment::Acknowledged { last } => highest = highest.max(last),
            Moment::Sent { mark, first: position } if position <= highest => {
                objections.push(Objection::OutOfOrder { mark, position, earlier: highest });
            }
            Moment::Sent { .. } => {}
        }
    }
    objections
}
