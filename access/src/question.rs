//! What Cedar is asked: one request with everything that policies may look at, loaded before.

use std::collections::{HashMap, HashSet};

use cedar_policy::{Context, Entities, Entity, EntityId, EntityTypeName, EntityUid, Request, RestrictedExpression};
use chrono::{DateTime, Datelike as _, Timelike as _, Utc, Weekday};
use hub_http::{Attributes, Permission, Scope};
use serde_json::Value;
use uuid::Uuid;

use crate::policy::NOW;

/// One question about one thing at one time.
#[derive(Debug, Clone, Copy)]
pub struct Question<'a> {
    /// Who asks.
    pub principal: &'a str,
    /// Where the principal is at home.
    pub scope: Scope,
    /// What is asked for.
    pub permission: Permission,
    /// Whose thing it is.
    pub tenant_id: Uuid,
    /// The thing, if there is one.
    pub resource_id: Option<Uuid>,
    /// What is known of the thing.
    pub attributes: Option<&'a Attributes>,
    /// When.
    pub now: DateTime<Utc>,
}

/// A question that could not be put.
#[derive(Debug, thiserror::Error)]
#[error("a question cannot be put to the policies: {0}")]
pub struct Unaskable(String);

impl Question<'_> {
    /// The name of the principal's entity: of two tenants' principals with one name each has its own.
    pub(crate) fn principal_name(&self) -> String {
        principal_name(self.scope, self.principal)
    }

    /// The question in Cedar's words.
    pub(crate) fn put(&self) -> Result<(Request, Entities), Unaskable> {
        let principal = uid("Principal", &self.principal_name());
        let action = uid("Action", &self.permission.to_string());
        let thing = self.resource_id.map_or_else(|| "-".to_owned(), |id| id.to_string());
        let resource = uid("Resource", &format!("{}/{thing}", self.permission.resource));
        let tenant = uid("Tenant", &self.tenant_id.to_string());
        let entities = [
            Entity::new(principal.clone(), self.principal_attributes(), HashSet::new()).map_err(unaskable)?,
            Entity::new(resource.clone(), self.resource_attributes(), HashSet::from([tenant.clone()]))
                .map_err(unaskable)?,
            Entity::new_no_attrs(tenant, HashSet::new()),
        ];
        let entities = Entities::from_entities(entities, None).map_err(unaskable)?;
        let context = Context::from_pairs(self.context()).map_err(unaskable)?;
        let request = Request::new(principal, action, resource, context, None).map_err(unaskable)?;
        Ok((request, entities))
    }

    fn principal_attributes(&self) -> HashMap<String, RestrictedExpression> {
        known(principal_facts(self.principal, self.scope))
    }

    fn resource_attributes(&self) -> HashMap<String, RestrictedExpression> {
        let mut attributes: HashMap<_, _> = self
            .attributes
            .into_iter()
            .flatten()
            .filter_map(|(name, value)| Some(((*name).to_owned(), expression(value)?)))
            .collect();
        if let Some(id) = self.resource_id {
            attributes.insert("id".to_owned(), RestrictedExpression::new_string(id.to_string()));
        }
        attributes.insert("kind".to_owned(), RestrictedExpression::new_string(self.permission.resource.to_owned()));
        attributes
    }

    fn context(&self) -> Vec<(String, RestrictedExpression)> {
        let record = |facts| RestrictedExpression::new_record(known(facts)).expect("each name is there once");
        vec![
            (NOW.to_owned(), RestrictedExpression::new_long(self.now.timestamp_millis())),
            ("time".to_owned(), record(time_facts(self.now))),
            ("tenant".to_owned(), record(tenant_facts(self.tenant_id))),
        ]
    }
}

/// What conditions may read of a principal.
pub(crate) fn principal_facts(principal: &str, scope: Scope) -> Vec<(&'static str, Value)> {
    let kind = principal.split_once(':').map_or("", |(kind, _)| kind);
    vec![("name", principal.into()), ("kind", kind.into()), ("platform", (scope == Scope::Platform).into())]
}

/// What conditions may read of the time, in UTC; the hour from 0, Monday as 1.
pub(crate) fn time_facts(now: DateTime<Utc>) -> Vec<(&'static str, Value)> {
    let weekend = matches!(now.weekday(), Weekday::Sat | Weekday::Sun);
    let weekday = now.weekday().number_from_monday();
    vec![("hour", now.hour().into()), ("weekday", weekday.into()), ("weekend", weekend.into())]
}

/// What conditions may read of a tenant.
pub(crate) fn tenant_facts(tenant_id: Uuid) -> Vec<(&'static str, Value)> {
    vec![("id", tenant_id.to_string().into())]
}

pub(crate) fn principal_name(scope: Scope, principal: &str) -> String {
    match scope {
        Scope::Platform => format!("platform/{principal}"),
        Scope::Tenant(tenant_id) => format!("{tenant_id}/{principal}"),
    }
}

fn known(facts: Vec<(&'static str, Value)>) -> HashMap<String, RestrictedExpression> {
    facts.into_iter().filter_map(|(name, value)| Some((name.to_owned(), expression(&value)?))).collect()
}

/// Texts, whole numbers and booleans; whatever else an attribute may be, no condition can be equal to it.
fn expression(value: &Value) -> Option<RestrictedExpression> {
    match value {
        Value::Bool(value) => Some(RestrictedExpression::new_bool(*value)),
        Value::Number(number) => number.as_i64().map(RestrictedExpression::new_long),
        Value::String(text) => Some(RestrictedExpression::new_string(text.clone())),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

fn uid(kind: &str, id: &str) -> EntityUid {
    let kind: EntityTypeName = kind.parse().expect("the kinds of entities are names");
    EntityUid::from_type_name_and_id(kind, EntityId::new(id))
}

fn unaskable(error: impl std::fmt::Display) -> Unaskable {
    Unaskable(error.to_string())
}
