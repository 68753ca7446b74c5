//! What every aggregate of the platform is, on top of cqrs-es's `Aggregate`: one pure decision.

use cqrs_es::{Aggregate, event_sink::EventSink};
use uuid::Uuid;

use crate::{effect::Effect, refusal::Refusal};

/// An aggregate whose whole behaviour is `decide` (state and command in, events out) and `apply`.
pub trait Decide: Aggregate<Services = (), Error: Refusal> {
    /// The version of the serialised state, from 1: raised with every change of its shape or its meaning, so that no snapshot is read that
    /// was taken before. The golden file of the state tells when.
    const STATE_VERSION: i32 = 1;

    /// Answers the events that the command leads to, none if it changes nothing, or why it is refused.
    ///
    /// # Errors
    /// The aggregate's own refusal; state and command are all it depends on.
    fn decide(&self, command: Self::Command) -> Result<Vec<Self::Event>, Self::Error>;

    /// What `event` takes, gives back or shows beside its stream; `id` is the aggregate's, `self` its state before the event.
    fn effects(&self, id: Uuid, event: &Self::Event) -> Vec<Effect> {
        let _ = (id, event);
        Vec::new()
    }
}

/// The body of every `Aggregate::handle`: decide, then write each event to the sink, which applies it.
///
/// # Errors
/// What `decide` refuses.
pub async fn handle<A: Decide>(state: &mut A, command: A::Command, sink: &EventSink<A>) -> Result<(), A::Error> {
    for event in state.decide(command)? {
        sink.write(event, state).await;
    }
    Ok(())
}
