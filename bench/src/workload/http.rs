//! http: commands over HTTP at 64 connections, each with its own idempotency key, on the running program with everything it does.
//!
//! `hub` is the program in the role `all`: the relay, the projections and the process managers work on the same two cores meanwhile, and so
//! does the load. `hub-commands` is the role `commands` alone, as it is when the roles are split. A connection creates a role of its
//! tenant and grants it nine permissions of some 300 bytes, then creates the next one: each of these commands changes what decisions
//! rest on. `hub-plain` and `hub-commands-plain` send commands that change no rights: a connection renames its tenant again and again.

use std::time::{Duration, Instant};

use futures::future::BoxFuture;
use serde_json::{Value, json};
use uuid::Uuid;

use super::{Run, Workload};
use crate::{
    account::ENTRIES_PER_ACCOUNT,
    connection::Connection,
    measure::{Client, drive},
    program::{DATABASE, Program},
    report::Report,
};

/// Connections, and tenants.
pub const CLIENTS: usize = 64;

/// The tenants are ready within this time after their registration.
const SETTLE_LIMIT: Duration = Duration::from_secs(60);

const POLL: Duration = Duration::from_millis(50);

/// Twenty names, which bring the event's payload to some 300 bytes.
const ACTIONS: [&str; 20] = [
    "read", "create", "update", "delete", "archive", "restore", "export", "import", "approve", "reject", "publish",
    "retract", "assign", "unassign", "suspend", "resume", "renew", "cancel", "inspect", "annotate",
];

/// The workload.
#[derive(Debug)]
pub struct Http;

impl Workload for Http {
    fn name(&self) -> &'static str {
        "http"
    }

    fn prepare<'a>(&'a mut self, run: &'a Run) -> BoxFuture<'a, anyhow::Result<()>> {
        Box::pin(prepare(run))
    }

    fn round<'a>(&'a mut self, run: &'a Run, _: u32, report: &'a mut Report) -> BoxFuture<'a, anyhow::Result<()>> {
        Box::pin(async move {
            for (subject, role) in [("hub", "all"), ("hub-commands", "commands")] {
                run.servers.settle().await?;
                let program = Program::hub(&run.servers, role).await?;
                let tenants = tenants(&program).await?;
                let connections = program.connections(CLIENTS).await?.into_iter().zip(tenants.clone());
                let clients = connections.map(|(connection, tenant)| Names { connection, tenant, count: 0 });
                let sample = drive(clients.collect(), run.window).await?;
                report.add("http", CLIENTS, &format!("{subject}-plain"), sample);
                let connections = program.connections(CLIENTS).await?.into_iter().zip(tenants);
                let clients = connections.map(|(connection, tenant)| Roles::new(connection, tenant));
                let sample = drive(clients.collect(), run.window).await?;
                report.add("http", CLIENTS, subject, sample);
                report.peak(
                    &format!("hub serve --role {role}, {CLIENTS} connections sending commands"),
                    program.peak_memory_mib(),
                );
                program.stop().await?;
            }
            Ok(())
        })
    }
}

/// Makes the program's database and its tenants, once.
pub async fn prepare(run: &Run) -> anyhow::Result<()> {
    run.servers.create_migrated(DATABASE).await?.close().await;
    let program = Program::hub(&run.servers, "all").await?;
    let known = tenants(&program).await?.len();
    let mut connection = program.connect().await?;
    for _ in known..CLIENTS {
        let slug = format!("bench-{}", Uuid::now_v7().simple());
        let tenant = json!({ "slug": slug, "name": "Benchmark", "contact_email": "office@bench.example", "tier": "professional",
                             "region": "eu-central", "currency": "EUR" });
        let id = connection.post("/v1/tenants", &tenant).await?.success()?.json()?["id"].clone();
        let path = format!("/v1/tenants/{}/activate", id.as_str().unwrap_or_default());
        connection.post(&path, &Value::Null).await?.success()?;
    }
    settled(&program).await?;
    program.stop().await
}

/// Waits until every tenant has the roles that the process manager makes, so that nobody pays for that later.
async fn settled(program: &Program) -> anyhow::Result<()> {
    let started = Instant::now();
    let mut connection = program.connect().await?;
    for tenant in tenants(program).await? {
        while connection.get(&format!("/v1/tenants/{tenant}/roles"), None).await?.success()?.json()?["items"]
            .as_array()
            .is_none_or(Vec::is_empty)
        {
            anyhow::ensure!(started.elapsed() < SETTLE_LIMIT, "the tenant {tenant} has no roles");
            tokio::time::sleep(POLL).await;
        }
    }
    Ok(())
}

/// The ids of the tenants.
pub async fn tenants(program: &Program) -> anyhow::Result<Vec<String>> {
    if TENANTS.get().is_none() {
        let mut connection = program.connect().await?;
        let body = connection.get("/v1/tenants?limit=500", None).await?.success()?.json()?;
        let items = body["items"].as_array().cloned().unwrap_or_default();
        let ids: Vec<String> = items.iter().filter_map(|item| item["id"].as_str().map(str::to_owned)).collect();
        if ids.len() < CLIENTS {
            return Ok(ids);
        }
        drop(TENANTS.set(ids));
    }
    Ok(TENANTS.get().cloned().unwrap_or_default())
}

/// Known once they are all there, since a process with the role `commands` cannot be asked.
static TENANTS: std::sync::OnceLock<Vec<String>> = std::sync::OnceLock::new();

/// A client that makes roles.
pub struct Roles {
    pub connection: Connection,
    tenant: String,
    role: String,
    entries: u64,
}

/// What a command changed, and the token to see it.
pub struct Changed {
    pub path: String,
    pub token: String,
    pub sequence: i64,
}

impl Roles {
    /// One for a tenant.
    pub fn new(connection: Connection, tenant: String) -> Self {
        Self { connection, tenant, role: String::new(), entries: 0 }
    }

    /// Sends the next command.
    pub async fn command(&mut self) -> anyhow::Result<Changed> {
        let roles = format!("/v1/tenants/{}/roles", self.tenant);
        let place = self.entries % ENTRIES_PER_ACCOUNT;
        let answer = if place == 0 {
            let key = format!("role_{}", Uuid::now_v7().simple());
            let body = json!({ "key": key, "name": "Accountant", "description": crate::account::NOTE });
            self.connection.post(&roles, &body).await?
        } else {
            let body = json!({ "resource": format!("resource_{place}"), "actions": ACTIONS, "effect": "allow" });
            self.connection.post(&format!("{roles}/{}/grant-permission", self.role), &body).await?
        };
        let answer = answer.success()?;
        let token = answer.header("consistency-token")?;
        let body = answer.json()?;
        if place == 0 {
            self.role = body["id"].as_str().unwrap_or_default().to_owned();
        }
        self.entries += 1;
        Ok(Changed {
            path: format!("{roles}/{}", self.role),
            token,
            sequence: body["sequence"].as_i64().unwrap_or(i64::MAX),
        })
    }
}

impl Client for Roles {
    async fn step(&mut self) -> anyhow::Result<()> {
        self.command().await?;
        Ok(())
    }
}

/// A client that gives its tenant one name after the other.
struct Names {
    connection: Connection,
    tenant: String,
    count: u64,
}

impl Client for Names {
    async fn step(&mut self) -> anyhow::Result<()> {
        self.count += 1;
        let body = json!({ "name": format!("Benchmark {} of {}", self.count, Uuid::now_v7()) });
        self.connection.post(&format!("/v1/tenants/{}/rename", self.tenant), &body).await?.success()?;
        Ok(())
    }
}
