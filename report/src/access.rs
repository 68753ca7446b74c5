//! Who had access to what when: each grant of a role, with who gave and took it, what brought it, and what the role permitted then.
//!
//! Made of the facts that the events show, by the rules that decisions are made by. When what a role permits changes while it is held, or its
//! principal is let in no longer, one row ends and another one begins.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, hash_map::Entry},
    sync::Arc,
};

use cqrs_es::Aggregate as _;
use hub_domain::{
    access_request::AccessRequest,
    aggregate::Decide,
    api_key::ApiKey,
    break_glass::BreakGlass,
    effect::Effect,
    fact::{Fact, GrantFact, Home},
    principal,
    role::{Permission, PermissionEffect, Role, decide::ROLE},
    support_access::SupportAccess,
};
use hub_event_store::event::Recorded;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::{Fold, Moment};

/// Every type whose events give or take access.
pub(crate) const TYPES: &[&str] = &["access_request", "api_key", "break_glass", "principal", "role", "support_access"];

pub(crate) const COLUMNS: &[&str] = &[
    "principal",
    "home",
    "role_id",
    "role_key",
    "source",
    "source_id",
    "given_by",
    "given_at",
    "given_position",
    "from",
    "until",
    "held_from",
    "held_from_position",
    "held_until",
    "held_until_position",
    "end",
    "taken_by",
    "scopes",
    "permissions",
];

/// A stream, by its type and its id.
type Stream = (String, Uuid);

/// A fact, by its stream and its name in it.
type Part = (Stream, String);

/// See the module.
pub(crate) struct Access {
    principal: Option<String>,
    from: i64,
    streams: HashMap<Stream, Box<dyn Shows>>,
    roles: BTreeMap<Uuid, RoleState>,
    grants: BTreeMap<Part, Grant>,
    /// Of each key.
    scopes: HashMap<Stream, BTreeSet<String>>,
    /// Who is let in nowhere, by the fact that says so.
    ended: BTreeMap<Part, String>,
    rows: Vec<Value>,
}

/// An aggregate that is led through its events.
trait Shows: Send {
    fn apply(&mut self, event: &Recorded) -> Result<Vec<Effect>, String>;
}

struct Of<A>(A);

impl<A: Decide> Shows for Of<A> {
    fn apply(&mut self, recorded: &Recorded) -> Result<Vec<Effect>, String> {
        let event: A::Event = recorded.decode().map_err(|error| error.to_string())?;
        let effects = self.0.effects(recorded.aggregate_id, &event);
        self.0.apply(event);
        Ok(effects)
    }
}

fn of<A: Decide + 'static>() -> Option<Box<dyn Shows>> {
    Some(Box::new(Of(A::default())))
}

fn begin(aggregate_type: &str) -> Option<Box<dyn Shows>> {
    match aggregate_type {
        "access_request" => of::<AccessRequest>(),
        "api_key" => of::<ApiKey>(),
        "break_glass" => of::<BreakGlass>(),
        "principal" => of::<principal::Standing>(),
        "role" => of::<Role>(),
        "support_access" => of::<SupportAccess>(),
        _ => None,
    }
}

struct RoleState {
    key: String,
    permissions: Vec<String>,
    parents: Vec<Uuid>,
}

struct Grant {
    fact: GrantFact,
    given: Moment,
    /// Since when it has been what it is.
    held: Moment,
    permissions: Arc<[String]>,
}

/// Why a row ends.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    Taken,
    Changed,
    PermissionsChanged,
}

impl End {
    const fn name(self) -> &'static str {
        match self {
            Self::Taken => "taken",
            Self::Changed => "changed",
            Self::PermissionsChanged => "permissions_changed",
        }
    }
}

impl Access {
    pub(crate) fn new(principal: Option<String>, from: i64) -> Self {
        Self {
            principal,
            from,
            streams: HashMap::new(),
            roles: BTreeMap::new(),
            grants: BTreeMap::new(),
            scopes: HashMap::new(),
            ended: BTreeMap::new(),
            rows: Vec::new(),
        }
    }

    fn show(&mut self, part: Part, fact: Fact, now: &Moment) -> bool {
        match fact {
            Fact::Role(role) => {
                let state = RoleState {
                    key: role.key.to_string(),
                    permissions: role.permissions.iter().map(text).collect(),
                    parents: role.parents.iter().map(|parent| parent.0).collect(),
                };
                self.roles.insert(part.0.1, state);
                true
            }
            Fact::Grant(fact) => {
                // A key shows all its grants with each of its events.
                if self.grants.get(&part).is_some_and(|grant| grant.fact == fact) {
                    return false;
                }
                self.take(&part, End::Changed, now);
                let permissions = self.permitted(&fact);
                self.grants.insert(part, Grant { fact, given: now.clone(), held: now.clone(), permissions });
                false
            }
            Fact::Credential(credential) => {
                self.scopes.insert(part.0, credential.scopes);
                false
            }
            Fact::Ended(ended) => {
                self.ended.insert(part, ended.principal.as_str().to_owned());
                true
            }
            Fact::IdentityProvider(_) | Fact::DutySet(_) => false,
        }
    }

    fn hide(&mut self, part: &Part, now: &Moment) -> bool {
        if self.grants.contains_key(part) {
            self.take(part, End::Taken, now);
            return false;
        }
        let role = part.0.0 == Role::TYPE && part.1 == ROLE && self.roles.remove(&part.0.1).is_some();
        self.ended.remove(part).is_some() || role
    }

    fn take(&mut self, part: &Part, end: End, now: &Moment) {
        if let Some(grant) = self.grants.remove(part) {
            self.row(part, &grant, Some((end, now)));
        }
    }

    /// Looks at every grant again after what roles permit has changed.
    fn refresh(&mut self, now: &Moment) {
        let changed: Vec<(Part, Arc<[String]>)> = self
            .grants
            .iter()
            .filter_map(|(part, grant)| {
                let permissions = self.permitted(&grant.fact);
                (permissions != grant.permissions).then(|| (part.clone(), permissions))
            })
            .collect();
        for (part, permissions) in changed {
            let Some(mut grant) = self.grants.remove(&part) else { continue };
            self.row(&part, &grant, Some((End::PermissionsChanged, now)));
            (grant.held, grant.permissions) = (now.clone(), permissions);
            self.grants.insert(part, grant);
        }
    }

    /// What a grant permits: nothing to whom is let in nowhere, else what the role and those that it inherits from permit.
    fn permitted(&self, grant: &GrantFact) -> Arc<[String]> {
        let name = grant.principal.as_str();
        if grant.home == Home::Tenant && self.ended.values().any(|ended| ended == name) {
            return Arc::new([]);
        }
        let mut permissions = BTreeSet::new();
        let (mut seen, mut open) = (BTreeSet::new(), vec![grant.role_id.0]);
        while let Some(id) = open.pop() {
            if let Some(role) = self.roles.get(&id).filter(|_| seen.insert(id)) {
                permissions.extend(role.permissions.iter().cloned());
                open.extend(&role.parents);
            }
        }
        permissions.into_iter().collect()
    }

    fn row(&mut self, part: &Part, grant: &Grant, end: Option<(End, &Moment)>) {
        let Grant { fact, given, held, permissions } = grant;
        let name = fact.principal.as_str();
        let over = end.is_some_and(|(_, end)| end.position < self.from || end.position == held.position);
        if over || self.principal.as_ref().is_some_and(|principal| principal != name) {
            return;
        }
        let taken = end.filter(|(end, _)| *end == End::Taken);
        self.rows.push(json!({
            "principal": name,
            "home": fact.home,
            "role_id": fact.role_id,
            "role_key": self.roles.get(&fact.role_id.0).map(|role| &role.key),
            "source": fact.source,
            "source_id": part.0.1,
            "given_by": given.by,
            "given_at": given.at,
            "given_position": given.position,
            "from": fact.from,
            "until": fact.until,
            "held_from": held.at,
            "held_from_position": held.position,
            "held_until": end.map(|(_, end)| end.at),
            "held_until_position": end.map(|(_, end)| end.position),
            "end": end.map(|(end, _)| end.name()),
            "taken_by": taken.map(|(_, end)| &end.by),
            "scopes": self.scopes.get(&part.0).filter(|scopes| !scopes.is_empty()),
            "permissions": permissions,
        }));
    }
}

/// What a permission says, on one line.
fn text(permission: &Permission) -> String {
    let actions: Vec<&str> = permission.actions.iter().map(|action| action.as_str()).collect();
    let denied = if permission.effect == PermissionEffect::Deny { "deny " } else { "" };
    let guard = permission.condition.as_ref().map(|condition| {
        let condition = serde_json::to_string(condition).expect("conditions are plain json");
        format!(" if {condition}")
    });
    format!("{denied}{}:{}{}", permission.resource, actions.join("|"), guard.unwrap_or_default())
}

impl Fold for Access {
    fn take(&mut self, event: &Recorded, _within: bool) -> Result<Vec<Value>, String> {
        let stream = (event.aggregate_type.clone(), event.aggregate_id);
        let state = match self.streams.entry(stream.clone()) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(entry) => entry.insert(begin(&event.aggregate_type).ok_or("nothing is known of its type")?),
        };
        let effects = state.apply(event)?;
        let now = Moment::of(event)?;
        let mut refresh = false;
        for effect in effects {
            refresh |= match effect {
                Effect::Show { part, fact } => self.show((stream.clone(), part), fact, &now),
                Effect::Hide { part } => self.hide(&(stream.clone(), part), &now),
                Effect::Take { .. } | Effect::Release { .. } | Effect::Count { .. } => false,
            };
        }
        if refresh {
            self.refresh(&now);
        }
        Ok(Vec::new())
    }

    fn end(mut self: Box<Self>) -> Vec<Value> {
        let grants = std::mem::take(&mut self.grants);
        for (part, grant) in &grants {
            self.row(part, grant, None);
        }
        let key = |row: &Value| {
            (row["principal"].as_str().unwrap_or_default().to_owned(), row["held_from_position"].as_i64())
        };
        self.rows.sort_by_cached_key(key);
        self.rows
    }
}
