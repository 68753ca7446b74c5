//! Precedence of the sources, and the messages for what cannot be used.

use std::path::PathBuf;

use super::{Config, Error, Flags, KEYS, LogFormat, Role};

fn load(flags: &Flags, environment: &[(&str, &str)], file: &str) -> Result<Config, Error> {
    let environment: Vec<(String, String)> =
        environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    Config::from_sources(
        flags,
        &|name| environment.iter().find(|(known, _)| known == name).map(|(_, value)| value.clone()),
        Some(&(PathBuf::from("hub.toml"), file.to_owned())),
    )
}

fn message(environment: &[(&str, &str)], file: &str) -> String {
    load(&Flags::default(), environment, file).unwrap_err().to_string()
}

#[test]
fn without_anything_the_defaults_hold() {
    let config = Config::from_sources(&Flags::default(), &|_| None, None).unwrap();
    assert_eq!(config.listen.to_string(), "127.0.0.1:8080");
    assert_eq!(config.directory, PathBuf::from(".hub"));
    assert_eq!(config.admin_key_file, PathBuf::from(".hub/admin.key"));
    assert_eq!(config.role, Role::All);
    assert_eq!(config.log_format, LogFormat::Text);
    assert!(config.database_url.is_none() && config.metrics_listen.is_none());
}

#[test]
fn a_flag_wins_over_the_environment_and_the_environment_over_the_file() {
    let file = "listen = \"127.0.0.1:1\"\nmetrics_listen = \"127.0.0.1:1\"\nlog = \"warn\"";
    let environment = [("HUB_LISTEN", "127.0.0.1:2"), ("HUB_METRICS_LISTEN", "127.0.0.1:2")];
    let flags = Flags { listen: Some("127.0.0.1:3".to_owned()), ..Flags::default() };
    let config = load(&flags, &environment, file).unwrap();
    assert_eq!(config.listen.port(), 3);
    assert_eq!(config.metrics_listen.unwrap().port(), 2);
    assert_eq!(config.log, "warn");
}

#[test]
fn an_empty_variable_is_the_same_as_none() {
    let config = load(&Flags::default(), &[("HUB_LISTEN", "")], "listen = \"127.0.0.1:1\"").unwrap();
    assert_eq!(config.listen.port(), 1);
}

#[test]
fn the_keys_follow_the_directory() {
    let config = load(&Flags::default(), &[("HUB_DIRECTORY", "/srv/hub")], "").unwrap();
    assert_eq!(config.secret_key_file, PathBuf::from("/srv/hub/secret.key"));
}

#[test]
fn numbers_may_be_written_as_numbers() {
    let config = load(&Flags::default(), &[], "database_pool_size = 7").unwrap();
    assert_eq!(config.database_pool_size, 7);
}

#[test]
fn an_unknown_key_is_named_together_with_its_file() {
    let message = message(&[], "listen = \"127.0.0.1:1\"\nlissten = \"x\"");
    assert!(message.starts_with("hub.toml: unknown key `lissten`"), "{message}");
    assert!(message.contains("metrics_listen"), "{message}");
}

#[test]
fn a_table_is_an_unknown_key() {
    assert!(message(&[], "[database]\nurl = 1").contains("unknown key `database`"));
}

#[test]
fn a_syntax_error_names_file_and_line() {
    let message = message(&[], "log = \"info\"\nlisten = = 3\n");
    assert!(message.starts_with("hub.toml, line 2: "), "{message}");
    assert!(!message.contains('\n'), "{message}");
}

#[test]
fn a_bad_value_says_what_was_expected_and_where_it_came_from() {
    assert_eq!(
        message(&[("HUB_LISTEN", "8080")], ""),
        "listen `8080` is not an address and a port such as 127.0.0.1:8080 (from HUB_LISTEN)"
    );
    assert_eq!(
        message(&[], "role = \"boss\""),
        "role `boss` is not one of all, commands, queries, relay, projections (from hub.toml)"
    );
    assert!(message(&[], "database_pool_size = 0").contains("from 4 to 1000"));
    assert!(message(&[], "log_format = true").contains("`true` is not text or json"));
}

#[test]
fn a_bad_url_is_not_repeated_because_it_may_hold_a_password() {
    let message = message(&[("DATABASE_URL", "mysql://me:secret@host/db")], "");
    assert_eq!(message, "database_url is not a postgres:// URL (from DATABASE_URL)");
}

#[test]
fn the_edge_is_closed_and_bounded_by_default() {
    let edge = Config::from_sources(&Flags::default(), &|_| None, None).unwrap().edge;
    assert!(edge.cors_allowed_origins.is_empty() && edge.trusted_proxies.networks.is_empty() && edge.tls.is_none());
    assert_eq!(edge.header_timeout.as_secs(), 10);
    assert_eq!(edge.rates, hub_http::Rates::default());
}

#[test]
fn rates_bursts_and_lists_are_read() {
    let file = "rate_limit_tenant_per_second = 7\nrate_limit_principal_per_second = 0\n\
                rate_limit_failed_logins_burst = 3\ntrusted_proxies = \"10.0.0.0/8, 2001:db8::1\"\n\
                cors_allowed_origins = [\"https://console.example\", \"http://localhost:3000\"]\nproxy_header = \"forwarded\"";
    let edge = load(&Flags::default(), &[("HUB_IDLE_TIMEOUT_SECONDS", "5")], file).unwrap().edge;
    assert_eq!((edge.rates.tenant.per_second, edge.rates.tenant.burst), (7, 14));
    assert_eq!(edge.rates.principal.per_second, 0);
    assert_eq!((edge.rates.failed_logins.per_second, edge.rates.failed_logins.burst), (50, 3));
    let networks: Vec<_> = edge.trusted_proxies.networks.iter().map(ToString::to_string).collect();
    assert_eq!(networks, ["10.0.0.0/8", "2001:db8::1/128"]);
    assert_eq!(edge.trusted_proxies.header, hub_http::ProxyHeader::Forwarded);
    assert_eq!(edge.cors_allowed_origins, ["https://console.example", "http://localhost:3000"]);
    assert_eq!(edge.idle_timeout.as_secs(), 5);
}

#[test]
fn an_edge_that_makes_no_sense_is_refused() {
    for (file, words) in [
        ("cors_allowed_origins = \"*\"", "is not a list of origins"),
        ("cors_allowed_origins = \"https://Console.example/\"", "is not a list of origins"),
        ("trusted_proxies = \"10.0.0.0/99\"", "is not a list of networks"),
        ("header_timeout_seconds = 0", "from 1 to 300"),
        ("connections_max = 0", "from 1 to"),
        ("rate_limit_tenant_burst = 0", "from 1 to 10000000"),
        ("proxy_header = \"x-real-ip\"", "x-forwarded-for or forwarded"),
        ("tls_key_file = \"key.pem\"", "tls_key_file needs tls_certificate_file beside it"),
    ] {
        let message = message(&[], file);
        assert!(message.contains(words), "{message}");
    }
}

#[test]
fn the_keys_are_sorted_and_every_one_has_a_flag_or_a_verb() {
    assert!(KEYS.is_sorted_by_key(|key| key.name));
    let command = <Flags as clap::Args>::augment_args(clap::Command::new("hub"));
    for key in KEYS.iter().filter(|key| key.name != "role") {
        assert!(command.get_arguments().any(|argument| argument.get_id() == key.name), "{} has no flag", key.name);
    }
}

#[test]
fn whoever_may_let_integrators_in_says_where_they_go() {
    let account = "A".repeat(56);
    assert!(message(&[("HUB_NATS_ACCOUNT", &account)], "").contains("nats_account_key_file"));
    assert!(message(&[("HUB_NATS_ACCOUNT_KEY_FILE", "key")], "").contains("nats_public_urls"));
    assert!(message(&[("HUB_NATS_ACCOUNT", "U")], "").contains("public key of an account"));
    let urls = "nats_account_key_file = \"key\"\nnats_public_urls = [\"tls://a:4222\", \"wss://b\"]";
    assert_eq!(load(&Flags::default(), &[], urls).unwrap().nats.public_urls, ["tls://a:4222", "wss://b"]);
    let passwords = message(&[("HUB_NATS_PUBLIC_URLS", "nats://a,http://user:secret@b")], "");
    assert!(passwords.contains("nats_public_urls") && !passwords.contains("secret"), "{passwords}");
}
