//! The README's tour works as printed: its own shell blocks are run, in order, against a hub that was just started.

use std::process::Command;

use hub_tests::kit::{HubProcess, workspace};

/// The shell blocks below the heading, up to the next one.
fn blocks(readme: &str, heading: &str) -> Vec<String> {
    let section =
        readme.split("\n## ").find(|section| section.starts_with(heading)).expect("the README has the heading");
    let blocks = section.split("```sh\n").skip(1).map(|rest| rest.split("```").next().unwrap().to_owned());
    blocks.collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_tour_works_as_printed() {
    let readme = std::fs::read_to_string(workspace().join("README.md")).unwrap();
    let hub = HubProcess::start().await;
    let tour = blocks(&readme, "A tour").concat();
    assert!(tour.matches("curl -sS").count() >= 10, "the tour has ten calls");
    let script = tour.replace("http://127.0.0.1:8080", hub.url()).replace("$(cat .hub/admin.key)", &hub.admin_key());
    let output =
        tokio::task::spawn_blocking(move || Command::new("bash").args(["-euo", "pipefail", "-c", &script]).output());
    let output = output.await.unwrap().unwrap();
    let (said, failed) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{said}\n{failed}");
    for expected in [
        "\"code\":\"service_instance_quota_reached\"",
        "\"endpoint\":\"https://mail.alpenglow.example\"",
        "\"minor\":17250",
        "service_instance.provisioned",
        "event: tenant.registered",
        "event: subscription.period_opened",
    ] {
        assert!(said.contains(expected), "nothing says {expected}:\n{said}");
    }
    assert!(!said.contains("\"code\":\"store_unavailable\""), "{said}");
}
