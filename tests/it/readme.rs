//! The README's tour and its sections on access, audit, forgetting and integrating work as printed: their own shell blocks are run, in order, against a hub that was just started.

use std::process::Command;

use hub_tests::kit::{HubProcess, directory, free_port, program, workspace};

use crate::interop::Language;

/// The shell blocks below the heading, up to the next one.
fn blocks(readme: &str, heading: &str) -> Vec<String> {
    let section =
        readme.split("\n## ").find(|section| section.starts_with(heading)).expect("the README has the heading");
    let blocks = section.split("```sh\n").skip(1).map(|rest| rest.split("```").next().unwrap().to_owned());
    blocks.collect()
}

/// The script with the program under test, on the data of the hub.
fn with_program(script: &str, hub: &HubProcess) -> String {
    let run = format!(
        "hub() {{ '{}' \"$@\" --directory '{}'; }}",
        program("hub_under_test").display(),
        hub.directory().display()
    );
    format!("{run}\n{}", script.replace("target/release/hub", "hub"))
}

/// What the script prints, run in a folder of its own against the hub.
async fn printed(script: &str, hub: &HubProcess) -> String {
    let script = script.replace("http://127.0.0.1:8080", hub.url()).replace("$(cat .hub/admin.key)", &hub.admin_key());
    let folder = directory();
    let mut bash = Command::new("bash");
    bash.args(["-euo", "pipefail", "-c", &script]).current_dir(folder.path());
    let output = tokio::task::spawn_blocking(move || bash.output()).await.unwrap().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{said}\n{}", String::from_utf8_lossy(&output.stderr));
    said
}

#[tokio::test(flavor = "multi_thread")]
async fn somebody_is_forgotten_as_the_section_on_forgetting_says() {
    let readme = std::fs::read_to_string(workspace().join("README.md")).unwrap();
    let hub = HubProcess::start().await;
    let script = [blocks(&readme, "A tour").remove(0), blocks(&readme, "Forgetting").concat()].concat();
    let said = printed(&with_program(&script, &hub), &hub).await;
    for expected in [
        "\"contact_email\":\"ada@basalt.example\"",
        "\"value\": \"ada@basalt.example\"",
        "1 record, signed, in ada.json",
        "\"contact_email\":\"[erased]\"",
        "\"event_type\":\"erasure.executed\"",
    ] {
        assert!(said.contains(expected), "nothing says {expected}:\n{said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_integrator_gets_every_event_once_as_the_section_on_integrating_says() {
    if Language::Python.command(workspace().join("examples/receivers/python/receiver.py")).is_none() {
        return;
    }
    let readme = std::fs::read_to_string(workspace().join("README.md")).unwrap();
    let hub = HubProcess::start().await;
    let root = workspace().display();
    let script = [blocks(&readme, "A tour").remove(0), blocks(&readme, "Integrating").concat()].concat();
    let script = script
        .replace("scripts/interop.sh", &format!("{root}/scripts/interop.sh"))
        .replace("examples/receivers", &format!("{root}/examples/receivers"))
        .replace("8090", &free_port().to_string());
    // Whatever becomes of the script, its receiver ends with it.
    let said = printed(&format!("trap 'kill ${{RECEIVER:-}} 2>/dev/null || true' EXIT\n{script}"), &hub).await;
    for expected in ["\"outcome\":\"retrying\"", "\n7\n", "\"behind\":0", "\"in_flight\":0"] {
        assert!(said.contains(expected), "nothing says {expected}:\n{said}");
    }
    assert!(!said.contains("\n\"specversion\""), "an event came twice over the stream:\n{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_system_roles_do_what_the_section_on_access_says() {
    let readme = std::fs::read_to_string(workspace().join("README.md")).unwrap();
    let hub = HubProcess::start().await;
    let preparation = blocks(&readme, "A tour").remove(0);
    let section = blocks(&readme, "Access").concat();
    // `ask .. # 403`, perhaps with a body of two lines.
    let asks = section.split("\nask ").skip(1);
    let expected: Vec<(&str, &str)> = asks
        .map(|ask| {
            let (asked, rest) = ask.split_once("# ").expect("each question has its answer behind it");
            (asked.split_whitespace().nth(1).unwrap(), &rest[..3])
        })
        .collect();
    assert!(expected.len() >= 30, "{expected:?}");
    let said = printed(&format!("{preparation}\n{section}"), &hub).await;
    let answered: Vec<(&str, &str)> = said
        .lines()
        .filter_map(|line| {
            let mut words = line.split(' ');
            let (status, method) = (words.next()?, words.next()?);
            (status.len() == 3 && ["GET", "POST"].contains(&method)).then_some((method, status))
        })
        .collect();
    assert_eq!(answered, expected, "{said}");
    for expected in [
        "the backup is left out",
        "\"results\":[{\"allowed\":true,\"reason\":\"permitted\"},{\"allowed\":false,\"reason\":\"no_role\"}]",
        "\"allowed\":false,\"reason\":\"denied\"",
        "\"status\":\"revoked\"",
    ] {
        assert!(said.contains(expected), "nothing says {expected}:\n{said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_officers_tour_works_as_printed() {
    let readme = std::fs::read_to_string(workspace().join("README.md")).unwrap();
    let hub = HubProcess::start().await;
    let script = [blocks(&readme, "A tour").remove(0), blocks(&readme, "Audit").concat()].concat();
    let said = printed(&with_program(&script, &hub), &hub).await;
    assert_eq!(said.lines().filter(|line| *line == "valid").count(), 3, "{said}");
    for expected in [
        "are in monday\n",
        "last        passed   it continues that of ",
        "platform    passed ",
        "event       1 of ",
        "tenant.registered version ",
        "files       FAILED   entries/000000.ndjson.zst: its ",
        "entries     FAILED   the first wrong entry is ",
        "not valid\nexit code 1\n",
    ] {
        assert!(said.contains(expected), "nothing says {expected}:\n{said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_tour_works_as_printed() {
    let readme = std::fs::read_to_string(workspace().join("README.md")).unwrap();
    let hub = HubProcess::start().await;
    let tour = blocks(&readme, "A tour").concat();
    assert!(tour.matches("curl -sS").count() >= 10, "the tour has ten calls");
    let said = printed(&tour, &hub).await;
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
