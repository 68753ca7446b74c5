//! What a process is configured with, as far as controls ask for it, told to the others through PostgreSQL.
//!
//! Each process knows its own listeners and files only, and one process runs the controls for all.

use std::{
    net::{IpAddr, SocketAddr},
    os::unix::fs::PermissionsExt as _,
    path::PathBuf,
    time::Duration,
};

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Value, json};
use sqlx::PgPool;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::runner::Clock;

/// Says how a process is configured now.
pub(crate) const TELL: &str = "INSERT INTO process_configurations (process_id, configuration, seen_at) VALUES ($1, $2, $3) \
     ON CONFLICT (process_id) DO UPDATE SET configuration = EXCLUDED.configuration, seen_at = EXCLUDED.seen_at";

/// Forgets a process that has ended, and those that have not been heard of.
pub(crate) const FORGET: &str = "DELETE FROM process_configurations WHERE process_id = $1 OR seen_at < $2";

/// Between two times of telling.
const INTERVAL: Duration = Duration::from_secs(60);

/// A process that was killed is forgotten after this.
const KEPT: TimeDelta = TimeDelta::days(1);

/// Bits of a file's mode for others than its owner.
const OTHERS: u32 = 0o077;

/// What one process is configured with.
#[derive(Debug, Clone)]
pub struct Configuration {
    /// Where the API listens.
    pub listen: SocketAddr,
    /// Whether it speaks TLS there.
    pub tls: bool,
    /// Where `/metrics` listens.
    pub metrics_listen: SocketAddr,
    /// Files with keys, by the names of their settings; those that are not there are left out.
    pub key_files: Vec<(&'static str, PathBuf)>,
}

impl Configuration {
    /// Tells it once a minute until `end`; a process that ends takes its word back.
    pub async fn run(self, pool: PgPool, clock: Clock, end: CancellationToken) {
        let process_id = Uuid::now_v7();
        while !end.is_cancelled() {
            if let Err(error) = self.tell(&pool, process_id, clock()).await {
                tracing::debug!(%error, "cannot tell the configuration, trying again");
            }
            tokio::select! {
                () = end.cancelled() => {}
                () = tokio::time::sleep(INTERVAL) => {}
            }
        }
        let forgotten = sqlx::query(FORGET).bind(process_id).bind(clock() - KEPT).execute(&pool).await;
        if let Err(error) = forgotten {
            tracing::debug!(%error, "cannot take the configuration back");
        }
    }

    /// Tells it as it is now.
    ///
    /// # Errors
    /// When PostgreSQL does not answer.
    pub async fn tell(&self, pool: &PgPool, process_id: Uuid, now: DateTime<Utc>) -> Result<(), sqlx::Error> {
        sqlx::query(TELL).bind(process_id).bind(self.told()).bind(now).execute(pool).await.map(drop)
    }

    fn told(&self) -> Value {
        let file = |(name, path): &(&'static str, PathBuf)| {
            let mode = std::fs::metadata(path).ok()?.permissions().mode();
            Some(json!({ "name": name, "private": mode & OTHERS == 0, "mode": format!("{:03o}", mode & 0o777) }))
        };
        json!({
            "listen": self.listen.to_string(),
            "listen_is_local": self.listen.ip().is_loopback(),
            "tls": self.tls,
            "metrics_listen": self.metrics_listen.to_string(),
            "metrics_are_public": is_public(self.metrics_listen.ip()),
            "key_files": self.key_files.iter().filter_map(file).collect::<Vec<_>>(),
        })
    }
}

/// Whether somebody outside could be at such an address, or it stands for all of them.
fn is_public(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => !(ip.is_loopback() || ip.is_private() || ip.is_link_local()),
        IpAddr::V6(ip) => !(ip.is_loopback() || ip.is_unique_local() || ip.is_unicast_link_local()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_public_unless_only_neighbours_reach_it() {
        for (ip, public) in [
            ("127.0.0.1", false),
            ("10.1.2.3", false),
            ("192.168.0.9", false),
            ("0.0.0.0", true),
            ("203.0.113.9", true),
            ("::1", false),
            ("fd00::1", false),
            ("::", true),
            ("2001:db8::1", true),
        ] {
            assert_eq!(is_public(ip.parse().unwrap()), public, "{ip}");
        }
    }

    #[test]
    fn a_process_tells_who_may_read_its_keys_and_never_where_they_are() {
        let directory = std::env::temp_dir().join(Uuid::now_v7().to_string());
        std::fs::create_dir(&directory).unwrap();
        let (mine, open) = (directory.join("mine"), directory.join("open"));
        for (path, mode) in [(&mine, 0o600), (&open, 0o644)] {
            std::fs::write(path, "key").unwrap();
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
        }
        let configuration = Configuration {
            listen: "127.0.0.1:8080".parse().unwrap(),
            tls: false,
            metrics_listen: "0.0.0.0:9090".parse().unwrap(),
            key_files: vec![("mine", mine), ("open", open), ("none", directory.join("none"))],
        };
        let told = configuration.told();
        std::fs::remove_dir_all(&directory).unwrap();
        let files = json!([
            { "name": "mine", "private": true, "mode": "600" },
            { "name": "open", "private": false, "mode": "644" },
        ]);
        assert_eq!(told["key_files"], files);
        assert_eq!((&told["listen_is_local"], &told["metrics_are_public"]), (&json!(true), &json!(true)));
        assert!(!told.to_string().contains(directory.to_str().unwrap()));
    }
}
