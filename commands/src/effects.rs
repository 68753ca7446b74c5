//! The domain's effects in the event store's words.

use hub_domain::{
    access_request::AccessRequest,
    aggregate::Decide,
    api_key::ApiKey,
    break_glass::BreakGlass,
    duty_set::DutySet,
    effect::{Effect, Reach},
    id::PLATFORM_TENANT,
    identity_provider::IdentityProvider,
    principal,
    role::Role,
    support_access::SupportAccess,
};
use hub_event_store::{event::StreamId, facts::FactSource, repository::Effects};

/// The version of what `fact_sources` shows, from 1: raised when an aggregate shows facts that it did not, or shows them differently, so that
/// the next start makes those of older streams anew.
pub const FACTS_VERSION: i32 = 1;

/// Every aggregate whose events show facts.
#[must_use]
pub fn fact_sources() -> Vec<FactSource> {
    vec![
        FactSource::of::<AccessRequest>(effects_of),
        FactSource::of::<ApiKey>(effects_of),
        FactSource::of::<BreakGlass>(effects_of),
        FactSource::of::<DutySet>(effects_of),
        FactSource::of::<IdentityProvider>(effects_of),
        FactSource::of::<principal::Standing>(effects_of),
        FactSource::of::<Role>(effects_of),
        FactSource::of::<SupportAccess>(effects_of),
    ]
}

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
