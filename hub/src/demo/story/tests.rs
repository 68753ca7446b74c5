use std::collections::{BTreeMap, BTreeSet};

use hub_domain::refusal::Code;
use hub_domain::role::{Clause, Condition, KeyPattern, Principal, SystemRole};
use hub_domain::service_instance::Parameters;
use hub_domain::text::{DomainName, Key, Remark};
use hub_domain::webhook::EndpointUrl;
use hub_filter::TypePattern;
use serde_json::Value;

use super::{LIVES, Life, tell};
use crate::demo::step::{Book, Expect, Order, Step, names};

fn orders(seed: u64, index: usize) -> Vec<Order> {
    let orders = tell(seed, index).steps.into_iter().filter_map(|step| match step {
        Step::Order(order) => Some(order),
        Step::Settle(_) => None,
    });
    orders.collect()
}

fn many() -> impl Iterator<Item = (u64, usize)> {
    (1..=3).flat_map(|seed| (0..60).map(move |index| (seed, index)))
}

#[test]
fn the_same_seed_tells_the_same_story() {
    for (seed, index) in many() {
        assert_eq!(tell(seed, index), tell(seed, index));
    }
}

#[test]
fn another_seed_tells_another_story() {
    let steps = |seed| (0..20).map(|index| tell(seed, index).steps).collect::<Vec<_>>();
    assert_ne!(steps(1), steps(2));
}

#[test]
fn twenty_tenants_lead_every_life_in_its_share() {
    let count = |lives: &[Life]| {
        lives.iter().fold(BTreeMap::new(), |mut counts, life| {
            *counts.entry(*life).or_insert(0) += 1;
            counts
        })
    };
    for seed in 0..5 {
        let lives: Vec<_> = (20..40).map(|index| tell(seed, index).life).collect();
        assert_eq!(count(&lives), count(&LIVES));
    }
}

#[test]
fn a_story_begins_with_the_registration_and_has_a_bounded_length() {
    for (seed, index) in many() {
        let story = tell(seed, index);
        assert!(matches!(&story.steps[0], Step::Order(order) if order.path == "/v1/tenants"));
        assert!((6..150).contains(&story.steps.len()), "{} steps of {:?}", story.steps.len(), story.life);
    }
}

/// Every text of a JSON value.
fn texts(value: &Value) -> Vec<&str> {
    match value {
        Value::String(text) => vec![text],
        Value::Array(items) => items.iter().flat_map(texts).collect(),
        Value::Object(members) => members.values().flat_map(texts).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) => vec![],
    }
}

#[test]
fn whatever_a_step_needs_was_told_before() {
    for (seed, index) in many() {
        let mut known: BTreeSet<String> = SystemRole::ALL.iter().map(|system| system.as_ref().to_owned()).collect();
        known.insert("slug".to_owned());
        for step in tell(seed, index).steps {
            let order = match step {
                Step::Settle(name) => {
                    assert!(known.contains(&name), "{name}");
                    continue;
                }
                Step::Order(order) => order,
            };
            let needed = names(&order.path).chain(texts(&order.body).into_iter().flat_map(names));
            for name in needed.filter(|name| !name.starts_with("at:")) {
                let thing = name.split('.').next().unwrap_or_default();
                assert!(known.contains(name) || known.contains(thing), "{} needs {name}", order.what);
            }
            known.extend(order.keep);
        }
    }
}

#[test]
fn every_refusal_that_is_asked_for_is_a_code_of_the_domain() {
    let lists: [&[Code]; 5] = [
        hub_domain::role::CODES,
        hub_domain::service_instance::CODES,
        hub_domain::subscription::CODES,
        hub_domain::tenant::CODES,
        hub_domain::webhook::CODES,
    ];
    let known: BTreeSet<_> = lists.iter().flat_map(|list| list.iter().map(|code| code.code)).collect();
    let mut asked = BTreeSet::new();
    for (seed, index) in many() {
        for order in orders(seed, index) {
            if let Expect::Refused(code) | Expect::DoneUnlessLate(code) = order.expect {
                assert!(known.contains(code), "{code}");
                asked.insert(code);
            }
        }
    }
    for code in ["service_instance_quota_reached", "tenant_slug_taken", "tenant_archived"] {
        assert!(asked.contains(code), "{code}");
    }
}

#[test]
fn every_verb_of_the_five_aggregates_is_used() {
    let used: BTreeSet<String> = many()
        .flat_map(|(seed, index)| orders(seed, index))
        .filter(|order| !matches!(order.expect, Expect::Refused(_)))
        .map(|order| {
            let parts: Vec<_> = order.path.split('/').skip(3).collect();
            match parts.as_slice() {
                [] => "register".to_owned(),
                [_, verb] => (*verb).to_owned(),
                [_, noun, _, verb] => format!("{noun}/{verb}"),
                other => panic!("{other:?}"),
            }
        })
        .collect();
    let wanted = "register activate suspend resume rename change-tier set-quota add-domain verify-domain remove-domain \
        set-primary-domain archive subscriptions subscriptions/activate subscriptions/change-plan subscriptions/change-seats \
        subscriptions/pause subscriptions/resume subscriptions/cancel subscriptions/undo-cancel subscriptions/mark-past-due \
        subscriptions/mark-paid roles roles/grant-permission roles/revoke-permission roles/add-parent roles/remove-parent \
        roles/assign roles/unassign roles/clone roles/archive service-instances service-instances/configure \
        service-instances/suspend service-instances/resume service-instances/deprovision service-instances/report-success \
        service-instances/report-failure service-instances/report-health service-instances/retry-provision webhooks \
        webhooks/update webhooks/rotate-secret webhooks/pause webhooks/resume webhooks/delete";
    for verb in wanted.split_whitespace() {
        assert!(used.contains(verb), "{verb}");
    }
}

#[test]
fn what_is_sent_passes_the_gates_of_the_domain() {
    let mut book = Book::new("2026-03-31T12:00:00Z".parse().unwrap());
    book.note("slug", "acme-dental");
    let text = |value: &Value| book.fill(value.as_str().unwrap()).unwrap();
    for order in many().flat_map(|(seed, index)| orders(seed, index)) {
        let Value::Object(body) = &order.body else { continue };
        for (field, value) in body {
            let passes = match field.as_str() {
                "domain" => text(value).parse::<DomainName>().is_ok(),
                "key" | "service" => text(value).parse::<Key>().is_ok(),
                "plan" => value.as_str().is_none_or(|plan| plan.parse::<Key>().is_ok()),
                "principal" => text(value).parse::<Principal>().is_ok(),
                "description" | "reason" | "note" | "detail" => text(value).parse::<Remark>().is_ok(),
                "url" => text(value).parse::<EndpointUrl>().is_ok(),
                "events" => value.as_array().unwrap().iter().all(|filter| text(filter).parse::<TypePattern>().is_ok()),
                "resource" => text(value).parse::<KeyPattern>().is_ok(),
                "parameters" | "outputs" => Parameters::try_from(value.clone()).is_ok(),
                "condition" => {
                    Condition::new(serde_json::from_value::<Clause>(book.fill_json(value).unwrap()).unwrap()).is_ok()
                }
                _ => true,
            };
            assert!(passes, "{}: {field} is {value}", order.what);
        }
    }
}
