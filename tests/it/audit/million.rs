//! A million events, from the database to an officer's desk, with what it takes.
//!
//! `cargo nextest run --release -p hub-tests --run-ignored only --no-capture audit::million`, below `with_servers`.

use std::{ops::ControlFlow, time::Instant};

use hub_evidence::{
    bundle::{MANIFEST, MEMBER_BYTES_MAX, Manifest, unpack},
    tree::leaf_hash,
};
use serde::de::IgnoredAny;
use serde_json::Value;

use super::{CheckName, Office, Outcome, Request, TENANT, export, verified};
use hub_tests::kit::{Database, directory};

const COUNT: i64 = 1_000_000;

/// Events of a hundred thousand streams with the leaf hashes that an append gives them.
const FILL: &str = r#"
WITH event AS (
    SELECT p,
        ('00000000-0000-7000-9000-' || lpad(to_hex(p), 12, '0'))::uuid AS event_id,
        ('00000000-0000-7000-8000-' || lpad(to_hex((p - 1) % 100000), 12, '0'))::uuid AS aggregate_id,
        (p - 1) / 100000 + 1 AS sequence,
        timestamptz '2026-01-01 00:00:00Z' + p * interval '1 second' AS at,
        '{"amount_minor":1250,"reference":"' || md5('reference ' || p) || '","note":"Zimmer ' || p || ', Frühstück"}' AS payload,
        '{"actor":"key:administrator","command_id":"' || md5('command ' || p)::uuid || '","correlation_id":"'
            || md5('command ' || p)::uuid || '","traceparent":"00-' || md5('trace ' || p) || '-00f067aa0ba902b7-01"}' AS metadata
    FROM generate_series(1, $2::bigint) AS p
)
INSERT INTO events (position, tenant_position, event_id, tenant_id, aggregate_id, sequence, occurred_at, event_version,
    aggregate_type, event_type, payload, metadata, leaf_hash)
SELECT p, p, event_id, $1, aggregate_id, sequence, at, 1, 'account', 'account.entered', payload::json, metadata::json,
    sha256('\x00'::bytea || 'hub.event.v1'::bytea || uuid_send(event_id) || uuid_send($1) || int4send(7) || 'account'::bytea
        || uuid_send(aggregate_id) || int8send(sequence) || int4send(15) || 'account.entered'::bytea || int4send(1)
        || int8send((extract(epoch FROM at) * 1000000)::bigint)
        || int4send(octet_length(payload)) || convert_to(payload, 'UTF8')
        || int4send(octet_length(metadata)) || convert_to(metadata, 'UTF8'))
FROM event"#;

#[tokio::test(flavor = "multi_thread")]
#[ignore = "a measurement: minutes"]
async fn of_events_are_sealed_exported_and_verified() {
    let mut office = Office { database: Database::new().await, desk: directory(), sealer: None };
    let pool = office.database.pool.clone();
    sqlx::query(FILL).bind(TENANT).bind(COUNT).execute(&pool).await.unwrap();
    let head = "INSERT INTO tenant_heads (tenant_id, position) VALUES ($1, $2)";
    sqlx::query(head).bind(TENANT).bind(COUNT).execute(&pool).await.unwrap();
    sqlx::query("UPDATE log_head SET position = $1").bind(COUNT).execute(&pool).await.unwrap();
    let mut began = Instant::now();
    let mut took = |what: &str| {
        let seconds = std::mem::replace(&mut began, Instant::now()).elapsed().as_secs_f64();
        println!("{what:34} {seconds:7.2} s  {:9.0} entries/s", COUNT as f64 / seconds);
        seconds
    };
    took("(nothing)");
    office.seal_with(1);
    office.sealed(COUNT).await;
    took("sealed");
    let bundle = office.place("million");
    export(&pool, &Request::of_tenant(TENANT, "a test"), &bundle, |_, _| {}).await.unwrap();
    took("exported");
    let report = verified(&bundle, None);
    let verify = took("verified");
    assert!(report.valid, "{report:#?}");
    assert_eq!((report.entry_count, report.stream_count), (COUNT.unsigned_abs(), 100_000));
    assert_eq!(report.outcome(CheckName::Root), Some(Outcome::Passed));

    let manifest = Manifest::parse(&std::fs::read(bundle.join(MANIFEST)).unwrap()).unwrap();
    let mut lines = Vec::new();
    for member in &manifest.members {
        let packed = std::fs::read(bundle.join(&member.path)).unwrap();
        let unpacked = unpack(&packed, MEMBER_BYTES_MAX, |chunk| {
            lines.extend(chunk.split_inclusive(|byte| *byte == b'\n').map(<[u8]>::to_vec));
            ControlFlow::Continue(())
        });
        assert!(unpacked.unwrap().is_continue());
    }
    took("(unpacked)");
    for line in &lines {
        std::hint::black_box((leaf_hash(line), serde_json::from_slice::<IgnoredAny>(line).unwrap()));
    }
    let ignored = took("SHA-256 and serde_json IgnoredAny");
    for line in &lines {
        std::hint::black_box((leaf_hash(line), serde_json::from_slice::<Value>(line).unwrap()));
    }
    let value = took("SHA-256 and serde_json Value");
    let packed: u64 = manifest.members.iter().map(|member| member.bytes).sum();
    println!(
        "{} MiB of lines, {} MiB compressed; ratio {:.2} to IgnoredAny, {:.2} to Value",
        report.content_bytes >> 20,
        packed >> 20,
        ignored / verify,
        value / verify
    );
}
