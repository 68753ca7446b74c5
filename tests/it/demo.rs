//! The demo plays through the public API, can be repeated, and leaves a platform that verifies.

use hub_tests::kit::{HubProcess, run_hub};

#[tokio::test(flavor = "multi_thread")]
async fn a_year_is_played_once_and_everything_verifies() {
    let hub = HubProcess::start().await;
    let (url, key) = (hub.url().to_owned(), hub.admin_key());
    let directory = hub.directory();
    let play = async || run_hub(&directory, &["demo", "--url", &url, "--key", &key, "--tenants", "12"], &[]).await;
    let first = play().await;
    assert_eq!(first.code, Some(0), "{first:?}");
    assert!(first.stdout.contains("0 known from before"), "{}", first.stdout);
    let second = play().await;
    assert_eq!(second.code, Some(0), "{second:?}");
    assert!(second.stdout.contains(" 0 were new"), "{}", second.stdout);
    let verified = run_hub(&directory, &["replay", "verify"], &[("DATABASE_URL", hub.database_url())]).await;
    assert_eq!(verified.code, Some(0), "{verified:?}");
    assert!(verified.stdout.ends_with("all is well\n"), "{}", verified.stdout);
}
