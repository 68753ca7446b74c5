//! Every operation of the document, for everybody: the five system roles of a tenant, an administrator of the platform, another tenant's
//! owner, and somebody without a key.

use std::collections::{BTreeMap, BTreeSet};

use axum::{
    body::Body,
    http::{Request, StatusCode},
};
use hub_http::{as_of::CATALOGUE_SUFFIX, routes::PERMISSION_EXTENSION};
use serde_json::Value;
use uuid::Uuid;

use super::{Answer, Platform, with_key};

/// Who may do what: (O)wner, (A)dmin, (B)illing, a(U)ditor and (V)iewer of the tenant, and an administrator of the (P)latform.
///
/// Beyond this table three things hold of every operation: without a key the answer is 401; in another tenant it is the 404 of a tenant that
/// does not exist; and where the path names no tenant, the operation is the platform's own, and tenants' keys are refused with 403.
const TABLE: &[(&str, &str, &str)] = &[
    ("OA...P", "access_request", "approve deny revoke submit withdraw"),
    ("OA.U.P", "access_request", "read"),
    ("OA.U.P", "analytics", "read"),
    ("OA...P", "api_key", "issue revoke rotate"),
    ("OA.U.P", "api_key", "read"),
    ("OA.U.P", "audit", "read"),
    ("OA.U.P", "audit_report", "read"),
    ("OA...P", "authorization", "check"),
    ("OA.U.P", "authorization", "read"),
    ("OABU.P", "billing", "read"),
    ("OA...P", "break_glass", "close open review"),
    ("OA.U.P", "break_glass", "read"),
    (".....P", "control", "read"),
    (".....P", "control_run", "read request"),
    ("OA.U.P", "data_subject", "read"),
    ("OA...P", "duty_set", "change define remove"),
    ("OA.U.P", "duty_set", "read"),
    ("OA...P", "erasure", "cancel request"),
    ("OA.U.P", "erasure", "read"),
    ("OA.U.P", "event", "read"),
    ("OA...P", "event_subscription", "consume create delete pause resume update"),
    ("OA.U.P", "event_subscription", "read"),
    ("OA.U.P", "evidence", "read"),
    (".....P", "finding", "accept-risk acknowledge read resolve start-remediation"),
    ("OA.U.P", "history", "read"),
    ("OA...P", "identity_provider", "change-keys-address disable enable register remove"),
    ("OA.U.P", "identity_provider", "read"),
    ("OA...P", "inbound_source", "disable enable register remove rotate-secret"),
    ("OA.U.P", "inbound_source", "read"),
    ("OA...P", "legal_hold", "place release"),
    ("OA.U.P", "legal_hold", "read"),
    (".....P", "nats_credential", "issue"),
    ("OA.U.P", "nats_credential", "read"),
    ("OA...P", "principal", "end reinstate"),
    ("OA.U.P", "retention_policy", "read"),
    ("OA...P", "retention_policy", "set-class"),
    (
        "OA...P",
        "role",
        "add-parent apply-template archive assign clone create create-from-template grant-permission remove-parent revoke-permission unassign",
    ),
    ("OA.UVP", "role", "read"),
    (".....P", "role_template", "create publish retire"),
    ("OA.U.P", "role_template", "read"),
    ("OABUVP", "self", "read"),
    ("OA...P", "service_instance", "configure deprovision provision resume retry-provision suspend"),
    (".....P", "service_instance", "report-failure report-health report-success"),
    ("OA.UVP", "service_instance", "read"),
    ("OAB..P", "subscription", "activate cancel change-plan change-seats create end-trial pause resume undo-cancel"),
    (".....P", "subscription", "mark-paid mark-past-due open-next-period"),
    ("OABUVP", "subscription", "read"),
    ("O.....", "support_access", "grant"),
    ("OA.U.P", "support_access", "read"),
    ("OA...P", "support_access", "revoke"),
    (".....P", "tenant", "activate off-board register"),
    (
        "OA...P",
        "tenant",
        "add-domain change-contact remove-domain rename resume set-primary-domain suspend verify-domain",
    ),
    ("O....P", "tenant", "archive change-tier set-quota"),
    ("OABUVP", "tenant", "read"),
    ("OA...P", "webhook", "delete enable pause ping register replay resume rotate-secret test update"),
    ("OA.UVP", "webhook", "read"),
];

/// The tenant's callers, in the order of the table's letters.
const ROLES: &[(char, &str)] = &[('O', "owner"), ('A', "admin"), ('B', "billing"), ('U', "auditor"), ('V', "viewer")];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Class {
    Unauthenticated,
    Forbidden,
    Stranger,
    LetThrough,
}

/// One operation of the document.
#[derive(Debug)]
struct Operation {
    method: String,
    path: String,
    permission: String,
}

impl Operation {
    /// The path with the tenant's id in it, and a random id wherever it wants another one.
    fn path_in(&self, tenant_id: Uuid) -> String {
        let (path, query) = self.path.split_once('?').unwrap_or((&self.path, ""));
        let segments = path.split('/').map(|segment| match segment {
            "{tenant_id}" => tenant_id.to_string(),
            "{principal}" => "user:ada".to_owned(),
            segment if segment.starts_with('{') => Uuid::from_u128(0x1d).to_string(),
            segment => segment.to_owned(),
        });
        let path = segments.collect::<Vec<_>>().join("/");
        if !query.is_empty() {
            return format!("{path}?{query}");
        }
        if path.ends_with("/who-can") { format!("{path}?permission=tenant:read") } else { path }
    }

    fn of_tenant(&self) -> bool {
        self.path.contains("{tenant_id}")
    }

    /// A request that carries nothing, and that changes nothing whoever sends it: no stream is at that sequence.
    fn request(&self, tenant_id: Uuid, key: Option<&str>) -> Request<Body> {
        let mut request = Request::builder().method(&*self.method).uri(self.path_in(tenant_id));
        request = request.header("x-request-id", "the-same");
        if let Some(key) = key {
            request = with_key(request, key);
        }
        if self.method == "POST" {
            request = request.header("content-type", "application/json").header("if-match", "\"999999\"");
        }
        request.body(Body::from(if self.method == "POST" { "{}" } else { "" })).unwrap()
    }

    fn class_of(&self, answer: &Answer) -> Class {
        match answer.status {
            StatusCode::UNAUTHORIZED => Class::Unauthenticated,
            StatusCode::FORBIDDEN => Class::Forbidden,
            // A thing that is not there answers as a tenant that is not there.
            StatusCode::NOT_FOUND
                if answer.code() == "not_found" && self.of_tenant() && self.path.matches('{').count() < 2 =>
            {
                Class::Stranger
            }
            status => {
                assert!(!status.is_server_error(), "{self:?}: {answer:?}");
                Class::LetThrough
            }
        }
    }
}

fn operations(document: &Value) -> Vec<Operation> {
    let mut operations = Vec::new();
    for (path, methods) in document["paths"].as_object().unwrap() {
        for (method, operation) in methods.as_object().unwrap() {
            let Some(id) = operation["operationId"].as_str() else { continue };
            if hub::api::open_operations().contains(&id) {
                continue;
            }
            let permission = operation[PERMISSION_EXTENSION].as_str();
            let permission = permission.unwrap_or_else(|| panic!("{id} names no permission")).to_owned();
            operations.push(Operation { method: method.to_uppercase(), path: path.clone(), permission });
        }
    }
    for entry in hub::api::catalogue().iter().filter(|entry| entry.path.ends_with(CATALOGUE_SUFFIX)) {
        let (method, path) = (entry.method.to_string(), format!("{}1", entry.path));
        operations.push(Operation { method, path, permission: entry.permission.to_string() });
    }
    operations
}

/// The table by permission: the letters of those who may.
fn table() -> BTreeMap<String, &'static str> {
    let mut table = BTreeMap::new();
    for (letters, resource, actions) in TABLE {
        for action in actions.split(' ') {
            let permission = format!("{resource}:{action}");
            assert_eq!(table.insert(permission.clone(), *letters), None, "{permission} stands there twice");
        }
    }
    table
}

#[test]
fn the_table_names_each_permission_of_the_catalogue_and_no_other() {
    let catalogue: BTreeSet<String> = hub::api::catalogue().iter().map(|entry| entry.permission.to_string()).collect();
    let table: BTreeSet<String> = table().into_keys().collect();
    let missing: Vec<_> = catalogue.difference(&table).collect();
    let spare: Vec<_> = table.difference(&catalogue).collect();
    assert!(missing.is_empty() && spare.is_empty(), "missing: {missing:?}; without an operation: {spare:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_operation_answers_everybody_as_the_table_says() {
    let platform = Platform::start().await;
    let (acme, other) = (platform.tenant("acme").await, platform.tenant("other").await);
    let mut callers = vec![('P', platform.administrator.clone())];
    for (letter, role) in ROLES {
        callers.push((*letter, platform.key(acme, &[role]).await.text));
    }
    let stranger = platform.key(other, &["owner"]).await.text;
    // Everything is known to the gate and to the read models from here on, so no request needs to carry a token.
    for (_, key) in callers.iter().chain([&('S', stranger.clone())]) {
        let home = if *key == stranger { other } else { acme };
        platform.get(key, &format!("/v1/tenants/{home}")).await.ok();
    }
    let operations = operations(&platform.document);
    let table = table();
    let permissions: BTreeSet<&str> = operations.iter().map(|operation| &*operation.permission).collect();
    assert_eq!(permissions, table.keys().map(String::as_str).collect(), "the document has other permissions");
    assert_eq!(operations.len(), hub::api::catalogue().len(), "the document has other operations than the catalogue");
    let mut wrong = Vec::new();
    for operation in &operations {
        let letters = table[&operation.permission];
        let mut judge = |who: &str, answer: &Answer, expected: Class| {
            let found = operation.class_of(answer);
            if found != expected {
                let Operation { method, path, permission } = operation;
                wrong.push(format!("{method} {path} ({permission}) as {who}: {found:?}, not {expected:?}: {answer:?}"));
            }
        };
        let answer = platform.send(operation.request(acme, None)).await;
        judge("nobody", &answer, Class::Unauthenticated);
        for (letter, key) in &callers {
            let may = letters.contains(*letter) && (operation.of_tenant() || *letter == 'P');
            let answer = platform.send(operation.request(acme, Some(key))).await;
            judge(&letter.to_string(), &answer, if may { Class::LetThrough } else { Class::Forbidden });
        }
        let answer = platform.send(operation.request(acme, Some(&stranger))).await;
        if operation.of_tenant() {
            let unknown = platform.send(operation.request(Uuid::from_u128(0xbad), Some(&stranger))).await;
            assert_eq!(answer, unknown, "{operation:?}: another tenant answers otherwise than one that does not exist");
            answer.refused(404, "not_found");
        } else {
            judge("stranger", &answer, Class::Forbidden);
        }
    }
    assert!(wrong.is_empty(), "{} answers are not what the table says:\n{}", wrong.len(), wrong.join("\n"));
}
