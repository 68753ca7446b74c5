//! The certificate of the API: read at the start and again whenever its files change.

use std::{path::Path, sync::Arc, time::Duration};

use anyhow::{Context as _, anyhow};
use axum_server::tls_rustls::RustlsConfig;
use rustls::{
    ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
    version::{TLS12, TLS13},
};

use crate::config::TlsFiles;

/// How often the files are looked at.
const LOOK_INTERVAL: Duration = Duration::from_secs(5);

/// Larger files are no certificates.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// What is spoken over TLS, the preferred one first.
const PROTOCOLS: [&[u8]; 2] = [b"h2", b"http/1.1"];

/// A certificate with its key; clones share it.
#[derive(Clone)]
pub(super) struct Tls {
    files: TlsFiles,
    config: RustlsConfig,
    /// What was read last, also when it could not be used.
    seen: Pem,
}

/// The bytes of both files. Not `Debug`: one of them is secret.
#[derive(Clone, PartialEq, Eq)]
struct Pem {
    certificate: Vec<u8>,
    key: Vec<u8>,
}

impl Tls {
    /// Reads both files.
    pub(super) fn read(files: &TlsFiles) -> anyhow::Result<Self> {
        let seen = Pem::read(files)?;
        let config = RustlsConfig::from_config(seen.config(files)?);
        Ok(Self { files: files.clone(), config, seen })
    }

    /// What new connections are accepted with.
    pub(super) fn config(&self) -> RustlsConfig {
        self.config.clone()
    }

    /// Reads the files again and again. What cannot be used is logged once, and the certificate before stays.
    pub(super) async fn follow(mut self) {
        loop {
            tokio::time::sleep(LOOK_INTERVAL).await;
            let files = self.files.clone();
            let read = tokio::task::spawn_blocking(move || Pem::read(&files)).await;
            // While a file is being replaced it may not be there.
            let Ok(Ok(pem)) = read else { continue };
            if pem == self.seen {
                continue;
            }
            match pem.config(&self.files) {
                Ok(config) => {
                    self.config.reload_from_config(config);
                    tracing::info!("the certificate was read again");
                }
                Err(error) => tracing::warn!("the new certificate cannot be used: {error:#}"),
            }
            self.seen = pem;
        }
    }
}

impl Pem {
    fn read(files: &TlsFiles) -> anyhow::Result<Self> {
        let certificate =
            read(&files.certificate).with_context(|| named("tls_certificate_file", &files.certificate))?;
        let key = read(&files.key).with_context(|| named("tls_key_file", &files.key))?;
        Ok(Self { certificate, key })
    }

    fn config(&self, files: &TlsFiles) -> anyhow::Result<Arc<ServerConfig>> {
        let chain = CertificateDer::pem_slice_iter(&self.certificate).collect::<Result<Vec<_>, _>>();
        let chain = chain.ok().filter(|chain| !chain.is_empty());
        let chain = chain
            .ok_or_else(|| anyhow!("it holds no certificate in PEM"))
            .with_context(|| named("tls_certificate_file", &files.certificate))?;
        let key = PrivateKeyDer::from_pem_slice(&self.key)
            // The parser's words might quote the file.
            .map_err(|_| anyhow!("it holds no private key in PEM"))
            .with_context(|| named("tls_key_file", &files.key))?;
        let mut config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_protocol_versions(&[&TLS13, &TLS12])
            .context("the TLS versions are not supported")?
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .with_context(|| {
                let (certificate, key) = (files.certificate.display(), files.key.display());
                format!("the certificate in {certificate} and the key in {key} cannot be used together")
            })?;
        config.alpn_protocols = PROTOCOLS.map(<[u8]>::to_vec).to_vec();
        Ok(Arc::new(config))
    }
}

fn named(key: &str, path: &Path) -> String {
    format!("cannot use {key} {}", path.display())
}

fn read(path: &Path) -> std::io::Result<Vec<u8>> {
    if std::fs::metadata(path)?.len() > FILE_BYTES_MAX {
        return Err(std::io::Error::other("it is too large"));
    }
    std::fs::read(path)
}
