//! The aggregates that have facts, as functions over their recorded events.

use std::{fmt, sync::Arc};

use cqrs_es::Aggregate;
use uuid::Uuid;

use crate::{
    append::FactChange,
    event::{Recorded, StreamId},
    repository::EffectsOf,
    upcast::Upcasters,
};

/// Begins the fold of one stream.
type Begin = Arc<dyn Fn(Uuid, Uuid) -> Box<dyn Fold> + Send + Sync>;

/// One aggregate type whose events show or hide facts.
#[derive(Clone)]
pub struct FactSource {
    aggregate_type: &'static str,
    begin: Begin,
}

impl FactSource {
    /// The aggregates of type `A`, whose facts are what these effects say.
    #[must_use]
    pub fn of<A: Aggregate + 'static>(effects: EffectsOf<A>) -> Self {
        let begin = move |tenant_id, aggregate_id| -> Box<dyn Fold> {
            Box::new(Folded { stream: StreamId::of::<A>(tenant_id, aggregate_id), state: A::default(), effects })
        };
        Self { aggregate_type: A::TYPE, begin: Arc::new(begin) }
    }
}

impl fmt::Debug for FactSource {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "FactSource({})", self.aggregate_type)
    }
}

/// Every aggregate type with facts, and how old events are read; cheap to clone.
#[derive(Debug, Clone)]
pub struct FactSources {
    sources: Arc<[FactSource]>,
    pub(super) upcasters: Upcasters,
}

impl FactSources {
    /// These types; one that is missing has its facts taken for wrong.
    #[must_use]
    pub fn new(sources: Vec<FactSource>, upcasters: Upcasters) -> Self {
        Self { sources: sources.into(), upcasters }
    }

    /// Whether streams of this type have facts.
    #[must_use]
    pub fn bear(&self, aggregate_type: &str) -> bool {
        self.sources.iter().any(|source| source.aggregate_type == aggregate_type)
    }

    /// The types.
    #[must_use]
    pub fn aggregate_types(&self) -> Vec<&'static str> {
        self.sources.iter().map(|source| source.aggregate_type).collect()
    }

    /// The fold of one stream of a type that has facts.
    pub(super) fn begin(&self, aggregate_type: &str, tenant_id: Uuid, aggregate_id: Uuid) -> Option<Box<dyn Fold>> {
        let source = self.sources.iter().find(|source| source.aggregate_type == aggregate_type)?;
        Some((source.begin)(tenant_id, aggregate_id))
    }
}

/// An aggregate that is led through its events.
pub(super) trait Fold: Send {
    /// Takes the next event in; answers what it changes among the facts, or why it cannot be read.
    fn apply(&mut self, event: &Recorded) -> Result<Vec<FactChange>, String>;
}

struct Folded<A: Aggregate> {
    stream: StreamId,
    state: A,
    effects: EffectsOf<A>,
}

impl<A: Aggregate> Fold for Folded<A> {
    fn apply(&mut self, event: &Recorded) -> Result<Vec<FactChange>, String> {
        let event: A::Event = event.decode().map_err(|error| error.to_string())?;
        let facts = (self.effects)(&self.stream, &self.state, &event).facts;
        self.state.apply(event);
        Ok(facts)
    }
}
