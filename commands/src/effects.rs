//! The domain's effects in the event store's words.

use hub_domain::{
    aggregate::Decide,
    effect::{Effect, Reach},
    id::PLATFORM_TENANT,
};
use hub_event_store::{event::StreamId, repository::Effects};

/// What `event` of `stream` takes, gives back, counts and shows; `state` is the one before the event.
#[must_use]
pub fn effects_of<A: Decide>(stream: &StreamId, state: &A, event: &A::Event) -> Effects {
    let realm_of = |reach| match reach {
        Reach::Platform => PLATFORM_TENANT.0,
        Reach::Tenant => stream.tenant_id,
    };
    let mut effects = Effects::default();
    for effect in state.effects(stream.aggregate_id, event) {
        match effect {
            Effect::Take { reach, scope, key } => effects.take(realm_of(reach), scope, key),
            Effect::Release { reach, scope, key } => effects.release(realm_of(reach), scope, key),
            Effect::Count { counter, delta } => effects.counters.push((counter, delta)),
            Effect::Show { part, fact } => {
                effects.show(part, serde_json::value::to_raw_value(&fact).expect("facts have text keys only"));
            }
            Effect::Hide { part } => effects.hide(part),
        }
    }
    effects
}
