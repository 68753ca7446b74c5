//! The domain's effects in the event store's words.

use hub_domain::{
    aggregate::Decide,
    effect::{Effect, Reach},
    id::PLATFORM_TENANT,
};
use hub_event_store::repository::Effects;
use uuid::Uuid;

/// What `event` takes, gives back, counts and shows in `tenant_id`; `state` is the one before the event.
#[must_use]
pub fn effects_of<A: Decide>(tenant_id: Uuid, state: &A, event: &A::Event) -> Effects {
    let realm_of = |reach| match reach {
        Reach::Platform => PLATFORM_TENANT.0,
        Reach::Tenant => tenant_id,
    };
    let mut effects = Effects::default();
    for effect in state.effects(event) {
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
