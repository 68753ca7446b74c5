//! Which room may import which; a new edge is a decision, not an accident.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use hub_tests::kit::workspace;

/// Each room, and the rooms it may know. `hub` and the tests may know all.
const MAY_KNOW: &[(&str, &[&str])] = &[
    ("hub-access", &["hub-domain", "hub-http", "hub-sheet", "hub-token"]),
    // The catalogue knows the others in its tests only, which compare what is published with what is.
    ("hub-catalogue", &["hub-cloudevents", "hub-domain", "hub-http"]),
    (
        "hub-delivery",
        &["hub-cloudevents", "hub-domain", "hub-event-store", "hub-outbound", "hub-sealing", "hub-signature"],
    ),
    ("hub-domain", &["hub-filter"]),
    ("hub-event-store", &[]),
    ("hub-evidence", &[]),
    ("hub-filter", &[]),
    ("hub-http", &[]),
    ("hub-cloudevents", &["hub-event-store", "hub-filter"]),
    (
        "hub-commands",
        &[
            "hub-domain",
            "hub-event-store",
            "hub-filter",
            "hub-http",
            "hub-nats-jwt",
            "hub-outbound",
            "hub-sealing",
            "hub-signature",
            "hub-vault",
        ],
    ),
    ("hub-consumers", &["hub-cloudevents", "hub-domain", "hub-event-store", "hub-filter", "hub-http"]),
    ("hub-nats-jwt", &[]),
    ("hub-outbound", &[]),
    ("hub-compliance", &["hub-domain", "hub-event-store"]),
    ("hub-projections", &["hub-domain", "hub-event-store", "hub-filter"]),
    (
        "hub-read-api",
        &[
            "hub-cloudevents",
            "hub-compliance",
            "hub-event-store",
            "hub-evidence",
            "hub-filter",
            "hub-http",
            "hub-projections",
            "hub-report",
            "hub-vault",
        ],
    ),
    ("hub-replay-tools", &["hub-event-store", "hub-evidence", "hub-projections", "hub-vault"]),
    ("hub-report", &["hub-domain", "hub-event-store", "hub-evidence", "hub-sheet"]),
    ("hub-seal", &["hub-event-store", "hub-evidence"]),
    ("hub-sealing", &[]),
    ("hub-sheet", &[]),
    ("hub-signature", &[]),
    ("hub-token", &["hub-outbound"]),
    ("hub-vault", &[]),
];

/// The rooms, and what they depend on inside the workspace, in any way.
fn rooms() -> BTreeMap<String, BTreeSet<String>> {
    let output = Command::new(std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned()))
        .args(["metadata", "--no-deps", "--offline", "--format-version", "1"])
        .current_dir(workspace())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    metadata["packages"]
        .as_array()
        .unwrap()
        .iter()
        .map(|package| {
            let inside = package["dependencies"]
                .as_array()
                .unwrap()
                .iter()
                .filter(|dependency| dependency["path"].is_string())
                .map(|dependency| dependency["name"].as_str().unwrap().to_owned())
                .collect();
            (package["name"].as_str().unwrap().to_owned(), inside)
        })
        .collect()
}

#[test]
fn rooms_know_only_whom_they_may_know() {
    for (room, known) in rooms() {
        if room == "hub-tests" {
            continue;
        }
        if room == "hub" {
            assert!(!known.contains("hub-tests"), "hub knows the tests");
            continue;
        }
        let Some((_, allowed)) = MAY_KNOW.iter().find(|(name, _)| *name == room) else {
            panic!("{room} is a new room: say in this test whom it may know");
        };
        for other in known {
            assert!(allowed.contains(&other.as_str()), "{room} imports {other}; it may know {allowed:?}");
        }
    }
}

#[test]
fn every_room_of_the_list_exists() {
    let rooms = rooms();
    for (room, _) in MAY_KNOW {
        assert!(rooms.contains_key(*room), "{room} is gone");
    }
}
