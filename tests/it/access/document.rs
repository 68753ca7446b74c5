//! Requests made up from the document, by a program that knows nothing else of the platform: no 5xx, and no answer that contradicts the document.

use std::{process::Stdio, time::Duration};

use hub_tests::kit::{HubProcess, workspace};
use serde_json::{Value, json};
use tokio::{process::Command, time::timeout};

/// The program is installed and has made its requests within this time.
const LIMIT: Duration = Duration::from_secs(280);

/// This is about answers, and a refusal for haste says nothing.
const UNLIMITED: &[(&str, &str)] = &[
    ("HUB_RATE_LIMIT_PRINCIPAL_PER_SECOND", "0"),
    ("HUB_RATE_LIMIT_TENANT_PER_SECOND", "0"),
    ("HUB_RATE_LIMIT_FAILED_LOGINS_PER_SECOND", "0"),
];

#[tokio::test(flavor = "multi_thread")]
async fn no_answer_contradicts_the_document() {
    let hub = HubProcess::start_with(UNLIMITED).await;
    let (client, key) = (reqwest::Client::new(), hub.admin_key());
    let post = async |path: &str, body: &Value| -> Value {
        let request = client.post(format!("{}{path}", hub.url())).bearer_auth(&key).json(body);
        request.send().await.unwrap().error_for_status().unwrap().json().await.unwrap()
    };
    let registration = json!({
        "slug": "acme", "name": "Acme", "contact_email": "it@acme.example", "tier": "starter", "region": "eu-central",
        "currency": "EUR",
    });
    let tenant = post("/v1/tenants", &registration).await["id"].as_str().unwrap().to_owned();
    post(&format!("/v1/tenants/{tenant}/activate"), &json!({})).await;
    let run = Command::new(workspace().join("scripts/schemathesis.sh"))
        .args(["run", hub.url(), &tenant])
        .current_dir(workspace())
        .env("HUB_KEY", &key)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let output = timeout(LIMIT, run).await.expect("it has an end of its own").unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    println!("{said}");
    assert!(output.status.success(), "{}\n{said}\n{}", output.status, String::from_utf8_lossy(&output.stderr));
    assert!(!hub.output().contains("panicked"), "{}", hub.output());
}
