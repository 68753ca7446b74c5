//! pgbench: what PostgreSQL itself gives to somebody who sends one transaction a command.
//!
//! Its own program with a script of two prepared statements: SELECT the stream, INSERT the event. Columns and indexes are those of
//! hub's log; positions come from two sequences, so they have gaps and are not in commit order. Account ids are the run's number and the account's,
//! then the client's: they grow with time as UUIDv7 do, and a client begins a new one after every tenth event. No aggregate is decoded
//! and nothing decides. Latencies are those of the whole script from pgbench's own log.

use std::{path::Path, process::Stdio};

use anyhow::{Context as _, bail};
use sqlx::postgres::PgConnectOptions;
use tokio::process::Command;
use uuid::Uuid;

use crate::{
    account::NOTE,
    measure::{Sample, Window},
    servers::Servers,
};

/// Where its script and its logs are, below the run's directory.
pub const DIRECTORY: &str = "pgbench";

/// pgbench may take so much longer than it was told to.
const GRACE: std::time::Duration = std::time::Duration::from_secs(60);

/// Sends the script for the window.
pub async fn append(
    servers: &Servers,
    database: &str,
    clients: usize,
    run: u32,
    window: Window,
) -> anyhow::Result<Sample> {
    let work = tempfile(servers.work())?;
    let script = work.join("append.sql");
    std::fs::write(&script, script_text()).context("cannot write the script of pgbench")?;
    let options: PgConnectOptions = servers.url(database).parse()?;
    let password = servers.url(database);
    let password =
        password.split_once(':').and_then(|(_, rest)| rest.split_once(':')).and_then(|(_, rest)| rest.split_once('@'));
    let password = password.map(|(password, _)| password).context("the URL has no password")?;
    let seconds = (window.warm_up + window.length).as_secs_f64().ceil() + 1.0;
    let mut command = Command::new(servers.programs.join("pgbench"));
    command
        .args(["--no-vacuum", "--protocol=prepared", "--jobs=2", "--log", "--log-prefix=latency"])
        .arg(format!("--client={clients}"))
        .arg(format!("--time={seconds}"))
        .args(["--define=n=0", &format!("--define=run={run}")])
        .arg(format!("--file={}", script.display()))
        .args([
            "--host=127.0.0.1",
            &format!("--port={}", options.get_port()),
            &format!("--username={}", options.get_username()),
        ])
        .arg(database)
        .env("PGPASSWORD", password)
        .current_dir(&work)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    let limit = window.warm_up + window.length + GRACE;
    let output = tokio::time::timeout(limit, command.output()).await.context("pgbench did not end")?;
    let output = output.context("cannot start pgbench, which comes with PostgreSQL")?;
    if !output.status.success() {
        bail!("pgbench failed: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    let sample = read(&work, window);
    std::fs::remove_dir_all(&work).context("cannot remove the files of pgbench")?;
    sample
}

fn tempfile(parent: &Path) -> anyhow::Result<std::path::PathBuf> {
    let work = parent.join(DIRECTORY).join(Uuid::now_v7().simple().to_string());
    std::fs::create_dir_all(&work).with_context(|| format!("cannot make {}", work.display()))?;
    Ok(work)
}

fn script_text() -> String {
    // pgbench takes a colon and a word for a variable, even within quotes.
    let note = NOTE.replace('\'', "''");
    let tenant = "('01900000-0000-7000-8000-' || lpad(to_hex(:client_id::bigint), 12, '0'))::uuid";
    let account = "(lpad(to_hex((1000000 + :run::bigint) * 100000000 + :stream::bigint), 16, '0') || lpad(to_hex(:client_id::bigint), 16, '0'))::uuid";
    format!(
        "\\set n :n + 1\n\
         \\set stream (:n - 1) / 10\n\
         \\set sequence (:n - 1) % 10 + 1\n\
         SELECT position, event_id, sequence, event_type, event_version, occurred_at, payload, metadata FROM events \
         WHERE tenant_id = {tenant} AND aggregate_type = 'account' AND aggregate_id = {account} ORDER BY sequence;\n\
         INSERT INTO events (event_id, tenant_id, aggregate_id, sequence, occurred_at, event_version, aggregate_type, event_type, payload, \
         metadata, leaf_hash) VALUES (gen_random_uuid(), {tenant}, {account}, :sequence::bigint, now(), 1, 'account', 'account.entered', \
         '{{\"amount_minor\":1250,\"balance_minor\":12500,\"reference\":\"019a0000-0000-7000-8000-000000000000\",\"note\":\"{note}\"}}', \
         '{{\"actor\":\"key.administrator\",\"command_id\":\"019a0000-0000-7000-8000-000000000000\",\"correlation_id\":\"019a0000-0000-7000-8000-000000000000\",\
         \"traceparent\":\"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01\"}}', \
         '\\x000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f');\n"
    )
}

/// Reads the lines `client transaction latency_us script epoch_s epoch_us` of every thread's log.
fn read(work: &Path, window: Window) -> anyhow::Result<Sample> {
    let mut done: Vec<(u64, u32)> = Vec::new();
    for entry in std::fs::read_dir(work)?.flatten() {
        if !entry.file_name().to_string_lossy().starts_with("latency.") {
            continue;
        }
        for line in std::fs::read_to_string(entry.path())?.lines() {
            let fields: Vec<&str> = line.split_whitespace().collect();
            let [_, _, latency, _, seconds, micros, ..] = fields[..] else { bail!("pgbench logged `{line}`") };
            done.push((seconds.parse::<u64>()? * 1_000_000 + micros.parse::<u64>()?, latency.parse()?));
        }
    }
    let begun = done.iter().map(|(ended, latency)| ended.saturating_sub(u64::from(*latency))).min();
    let begun = begun.context("pgbench logged nothing")?;
    let begin = begun + u64::try_from(window.warm_up.as_micros())?;
    let end = begin + u64::try_from(window.length.as_micros())?;
    let latencies_us: Vec<u32> =
        done.iter().filter(|(ended, _)| (begin..end).contains(ended)).map(|(_, latency)| *latency).collect();
    Ok(Sample { count: latencies_us.len() as u64, seconds: window.length.as_secs_f64(), latencies_us, conflicts: 0 })
}
