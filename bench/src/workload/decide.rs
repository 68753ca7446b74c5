//! decide: may somebody do something, in a tenant with 200 roles and 5,000 grants, against one round trip to PostgreSQL.
//!
//! Each of 1,000 principals holds 5 roles, each role has 20 permissions, half of them under a condition on the thing, and inherits from
//! another role. `hub` decides with what it keeps of an earlier decision of the same kind, `hub, cold` makes the policies first, which happens once
//! for a principal and a permission after each change of the tenant's roles. PostgreSQL answers `SELECT 1` over TCP to the same thread.

use std::sync::Arc;

use cedar_policy::Authorizer;
use chrono::{DateTime, Utc};
use futures::future::BoxFuture;
use hub_access::{
    AccessGate, Board,
    facts::TenantFacts,
    gate::Facts,
    judge::Wish,
    question::Question,
    slice::{Slice, Subject, held_for},
};
use hub_domain::{
    fact::{Fact, GrantFact, GrantSource, Home, RoleFact},
    id::RoleId,
    role::{Actions, Clause, Condition, Permission as RolePermission, PermissionEffect, PermissionId, Value},
};
use hub_http::{Attributes, Permission, Problem, Resources, Scope};
use sqlx::PgPool;
use uuid::Uuid;

use super::{Run, Workload};
use crate::{
    measure::{Client, drive},
    report::Report,
};

const ROLES: u128 = 200;
const PRINCIPALS: u128 = 1_000;
const ROLES_OF_ONE: u128 = 5;
const TENANT: Uuid = Uuid::from_u128(7);

/// What is asked for, in turn; each role names half of the actions without and half with a condition.
const ACTIONS: [&str; 20] = [
    "read",
    "create",
    "change-plan",
    "change-seats",
    "cancel",
    "pause",
    "resume",
    "activate",
    "end-trial",
    "undo-cancel",
    "a",
    "b",
    "c",
    "d",
    "e",
    "f",
    "g",
    "h",
    "i",
    "j",
];

/// The workload.
#[derive(Debug)]
pub struct Decide;

impl Workload for Decide {
    fn name(&self) -> &'static str {
        "decide"
    }

    fn prepare<'a>(&'a mut self, _: &'a Run) -> BoxFuture<'a, anyhow::Result<()>> {
        Box::pin(std::future::ready(Ok(())))
    }

    fn round<'a>(&'a mut self, run: &'a Run, _: u32, report: &'a mut Report) -> BoxFuture<'a, anyhow::Result<()>> {
        Box::pin(async move {
            run.servers.settle().await?;
            let pool = run.servers.pool("postgres", 1).await?;
            let now: DateTime<Utc> = "2026-06-01T12:00:00Z".parse()?;
            let gate = AccessGate::new(pool.clone(), Board::default(), Arc::new(move || now));
            let facts = Facts { tenant: Arc::new(tenant()?), platform: None };
            let asker = |kept| Asker { gate: gate.clone(), facts: facts.clone(), now, kept, turn: 0 };
            let mut warm = asker(true);
            for _ in 0..PRINCIPALS * ACTIONS.len() as u128 {
                warm.step().await?;
            }
            report.add("decide", 1, "hub", drive(vec![warm], run.window).await?);
            report.add("decide", 1, "hub, cold", drive(vec![asker(false)], run.window).await?);
            report.add("decide", 1, "postgres", drive(vec![RoundTrip(pool)], run.window).await?);
            Ok(())
        })
    }
}

/// The tenant's facts, as they are loaded.
fn tenant() -> anyhow::Result<TenantFacts> {
    let mut facts = TenantFacts::default();
    for number in 0..ROLES {
        let permissions = (0..ACTIONS.len()).map(|place| permission(number, place)).collect::<anyhow::Result<_>>()?;
        let parents = (number > 0).then(|| RoleId(Uuid::from_u128(1_000 + number / 10))).into_iter().collect();
        let role = RoleFact { key: format!("role-{number}").parse()?, system: false, permissions, parents };
        facts.add(Uuid::from_u128(1_000 + number), Fact::Role(role));
    }
    for number in 0..PRINCIPALS * ROLES_OF_ONE {
        let grant = GrantFact {
            principal: principal(number % PRINCIPALS).parse()?,
            home: Home::Tenant,
            role_id: RoleId(Uuid::from_u128(1_000 + number % ROLES)),
            from: "2026-01-01T00:00:00Z".parse()?,
            until: (number % 2 == 0).then_some("2027-01-01T00:00:00Z".parse()?),
            source: GrantSource::Assignment,
        };
        facts.add(Uuid::from_u128(100_000 + number), Fact::Grant(grant));
    }
    Ok(facts)
}

fn principal(number: u128) -> String {
    format!("user:{number}")
}

fn permission(role: u128, place: usize) -> anyhow::Result<RolePermission> {
    let clause = Clause::Equals { attribute: "resource.plan".to_owned(), value: Value::Text("basic".to_owned()) };
    Ok(RolePermission {
        id: PermissionId(Uuid::from_u128(role * 100 + place as u128)),
        resource: "subscription".parse()?,
        actions: Actions::new([ACTIONS[place].parse()?])?,
        effect: PermissionEffect::Allow,
        condition: (place % 2 == 0).then(|| Condition::new(clause)).transpose()?,
    })
}

/// The thing that everybody asks about.
struct Basic;

impl Resources for Basic {
    fn attributes<'a>(
        &'a self,
        _: Uuid,
        _: &'a str,
        _: Uuid,
    ) -> hub_http::access::BoxFuture<'a, Result<Option<Attributes>, Problem>> {
        let attributes = Attributes::from([("plan", "basic".into()), ("stage", "active".into())]);
        Box::pin(std::future::ready(Ok(Some(attributes))))
    }
}

/// Asks for one principal after the other, and one permission after the other.
struct Asker {
    gate: AccessGate,
    facts: Facts,
    now: DateTime<Utc>,
    kept: bool,
    turn: u128,
}

impl Client for Asker {
    async fn step(&mut self) -> anyhow::Result<()> {
        self.turn += 1;
        let principal = principal(self.turn % PRINCIPALS);
        let action = ACTIONS[(self.turn / PRINCIPALS) as usize % ACTIONS.len()];
        let permission = Permission { resource: "subscription", action };
        let (scope, tenant_id, resource_id) = (Scope::Tenant(TENANT), TENANT, Some(Uuid::from_u128(self.turn)));
        let allowed = if self.kept {
            let wish = Wish { principal: &principal, scope, tenant_id, permission, resource_id };
            let judged = self.gate.judge(&wish, &self.facts, &Basic).await;
            judged.map_err(|problem| anyhow::anyhow!("{}", problem.code()))?.allowed
        } else {
            let subject = Subject { principal: &principal, scope, tenant_id };
            let held = held_for(self.facts.grounds(), subject, permission);
            let slice = Slice::of(self.facts.grounds(), subject, permission, held);
            let attributes = Attributes::from([("plan", "basic".into()), ("stage", "active".into())]);
            let attributes = Some(&attributes);
            let question = Question {
                principal: &principal,
                scope,
                permission,
                tenant_id,
                resource_id,
                attributes,
                now: self.now,
            };
            slice.decide(&Authorizer::new(), &question).allowed
        };
        anyhow::ensure!(allowed, "{principal} is not permitted {permission}");
        Ok(())
    }
}

/// What a decision would cost that asked PostgreSQL, at least.
struct RoundTrip(PgPool);

impl Client for RoundTrip {
    async fn step(&mut self) -> anyhow::Result<()> {
        sqlx::query("SELECT 1").execute(&self.0).await?;
        Ok(())
    }
}
