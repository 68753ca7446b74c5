//! The attributes that conditions of permissions may look at: one catalogue, which the commands and the queries both offer.
//!
//! An attribute is `<root>.<name>`. What a thing is made of (`resource`) depends on its kind; everything has `resource.id` and
//! `resource.kind`. A condition on an attribute that nobody offers could never hold, or never keep anybody from anything, so it is refused.

use crate::role::{Condition, KeyPattern};

/// What conditions may look at beside the thing itself.
pub const COMMON: &[&str] = &[
    "principal.kind",
    "principal.name",
    "principal.platform",
    "resource.id",
    "resource.kind",
    "tenant.id",
    "time.hour",
    "time.weekday",
    "time.weekend",
];

/// The kinds of things that have attributes of their own, each with their names.
pub const OF_RESOURCES: &[(&str, &[&str])] =
    &[("role", &["key", "system"]), ("service_instance", &["plan", "service"]), ("subscription", &["plan", "stage"])];

/// The names of the attributes of one kind of thing.
#[must_use]
pub fn of_resource(resource: &str) -> &'static [&'static str] {
    OF_RESOURCES.iter().find(|(name, _)| *name == resource).map_or(&[], |(_, attributes)| attributes)
}

/// The first attribute of a condition that nobody offers for such a kind of thing.
#[must_use]
pub fn unknown(resource: &KeyPattern, condition: &Condition) -> Option<String> {
    let offered = |attribute: &str| {
        let own =
            attribute.strip_prefix("resource.").is_some_and(|name| of_resource(resource.as_str()).contains(&name));
        own || COMMON.contains(&attribute)
    };
    condition.attributes().into_iter().find(|attribute| !offered(attribute)).map(ToOwned::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::role::{Clause, Value};

    fn unknown_of(resource: &str, attribute: &str) -> Option<String> {
        let clause = Clause::Equals { attribute: attribute.to_owned(), value: Value::Text("x".to_owned()) };
        let condition = Condition::new(Clause::All(vec![Clause::Not(Box::new(clause))])).unwrap();
        unknown(&resource.parse().unwrap(), &condition)
    }

    #[test]
    fn a_kind_of_thing_has_its_own_attributes_and_the_common_ones() {
        for (resource, attribute) in [("subscription", "resource.plan"), ("*", "time.hour"), ("webhook", "resource.id")]
        {
            assert_eq!(unknown_of(resource, attribute), None, "{resource} {attribute}");
        }
        for (resource, attribute) in [("*", "resource.plan"), ("subscription", "resource.colour"), ("role", "plan")] {
            assert_eq!(unknown_of(resource, attribute).as_deref(), Some(attribute), "{resource}");
        }
    }
}
