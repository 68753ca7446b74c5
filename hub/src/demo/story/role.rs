//! Who may do what: roles, what they allow, whom they inherit from, and who holds them.

use serde_json::{Value, json};

use crate::demo::catalogue::pick;
use crate::demo::company::{FAMILIES, PEOPLE};
use crate::demo::step::at;

use super::Draft;

const NOUN: &str = "roles";

/// The roles that tenants make for themselves: key, name and description.
const ROLES: [(&str, &str, &str); 5] = [
    ("support-desk", "Support desk", "Answers the phone and looks things up."),
    ("on-call", "On call", "Acts at night; everything the support desk may, and a little more."),
    ("site-manager", "Site manager", "Looks after the services of one region."),
    ("finance-reader", "Finance reader", "Reads what is paid for."),
    ("integration", "Integration", "What programs of the tenant may do."),
];

/// A time far enough ahead for a demo to come to it, and near enough to see it end by itself.
const SOON_MINUTES: u32 = 3;

impl Draft {
    /// Somebody owns the tenant.
    pub(super) fn own(&mut self) {
        self.next_work();
        let owner = self.person();
        self.of(NOUN, "owner", "assign", json!({ "principal": owner }));
        if self.chance(20) {
            self.of(NOUN, "owner", "assign", json!({ "principal": owner })).refused("role_already_assigned");
        }
    }

    /// Roles of the tenant's own; `large` tenants have more of them.
    pub(super) fn staff(&mut self, large: bool) {
        self.own();
        self.desk();
        if large {
            self.on_call();
            self.site_manager();
            self.integration();
        } else if self.chance(40) {
            self.site_manager();
        }
    }

    fn create(&mut self, place: usize) -> &'static str {
        self.next_work();
        let (key, name, description) = ROLES[place];
        self.make(NOUN, key, json!({ "key": key, "name": name, "description": description }));
        key
    }

    fn grant(&mut self, role: &str, resource: &str, actions: &[&str], effect: &str, condition: Value) {
        let mut body = json!({ "resource": resource, "actions": actions, "effect": effect });
        if !condition.is_null() {
            body["condition"] = condition;
        }
        self.of(NOUN, role, "grant-permission", body).keep(role);
    }

    fn desk(&mut self) {
        let role = self.create(0);
        self.grant(role, "service_instance", &["read", "report-health"], "allow", Value::Null);
        self.grant(role, "subscription", &["read"], "allow", Value::Null);
        let people = self.between(1, 3);
        for _ in 0..people {
            let until = self.chance(30).then(|| at(90, 0));
            self.assign(role, until);
        }
        if self.chance(25) {
            self.create_reserved();
        }
        if self.chance(30) {
            // The last permission that was granted.
            let id = format!("{{{role}.permission_id}}");
            self.of(NOUN, role, "revoke-permission", json!({ "permission_id": id }));
        }
    }

    fn create_reserved(&mut self) {
        let body = json!({ "key": "admin", "name": "Second administrator", "description": "" });
        self.order(format!("{NOUN}: make a system role"), format!("/v1/tenants/{{tenant}}/{NOUN}"), body)
            .refused("role_key_reserved");
    }

    /// Inherits from the support desk; the other way round would be a circle.
    fn on_call(&mut self) {
        let role = self.create(1);
        self.grant(role, "service_instance", &["suspend", "resume", "configure"], "allow", Value::Null);
        self.grant(role, "service_instance", &["deprovision"], "deny", Value::Null);
        self.of(NOUN, role, "add-parent", json!({ "parent_id": "{support-desk}" }));
        self.of(NOUN, "support-desk", "add-parent", json!({ "parent_id": "{on-call}" })).refused("role_cycle");
        // A watch that ends by itself.
        let soon = i64::from(SOON_MINUTES + self.between(0, 6));
        let principal = self.person();
        self.of(NOUN, role, "assign", json!({ "principal": principal, "until": at(0, soon) }))
            .unless_late("role_assignment_in_the_past");
        if self.chance(40) {
            self.of(NOUN, role, "remove-parent", json!({ "parent_id": "{support-desk}" }));
        }
    }

    fn site_manager(&mut self) {
        let role = self.create(2);
        let condition = json!({ "all": [
            { "in": { "attribute": "resource.service", "values": ["hosting", "mail"] } },
            { "not": { "equals": { "attribute": "time.weekend", "value": true } } },
        ] });
        self.grant(role, "service_instance", &["*"], "allow", condition);
        self.assign(role, None);
    }

    /// Finance, copied for programs and then narrowed.
    fn integration(&mut self) {
        let source = self.create(3);
        self.grant(source, "billing", &["read"], "allow", Value::Null);
        self.grant(source, "subscription", &["read"], "allow", Value::Null);
        let (key, name, description) = ROLES[4];
        self.of(NOUN, source, "clone", json!({ "key": key, "name": name, "description": description })).keep(key);
        let program = pick(&mut self.rng, &["service:erp", "service:dashboard", "key:billing-export"]);
        self.of(NOUN, key, "assign", json!({ "principal": program, "from": at(1, 0), "until": at(120, 0) }))
            .unless_late("role_assignment_in_the_past");
        self.of(NOUN, key, "archive", Value::Null).refused("role_still_assigned");
        if self.chance(50) {
            self.of(NOUN, key, "unassign", json!({ "principal": program }));
            self.of(NOUN, key, "archive", Value::Null);
        }
    }

    fn assign(&mut self, role: &str, until: Option<String>) {
        let mut body = json!({ "principal": self.person() });
        if let Some(until) = until {
            body["until"] = until.into();
        }
        self.of(NOUN, role, "assign", body).unless_late("role_assignment_in_the_past");
    }

    /// Somebody who works for the tenant, another one each time.
    fn person(&mut self) -> String {
        let place = self.steps.len();
        let (first, last) = (PEOPLE[place % PEOPLE.len()], FAMILIES[place / PEOPLE.len() % FAMILIES.len()]);
        format!("user:{{slug}}/{first}.{last}")
    }
}
