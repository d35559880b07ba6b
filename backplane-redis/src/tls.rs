use std::{
    error::Error,
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use backplane_core::{BoxError, ConnectError};
use redis::{Client, ClientTlsConfig, ConnectionAddr, ConnectionInfo, RedisError, TlsCertificates};
use rustls::crypto::aws_lc_rs;

/// How a connection is encrypted: which authorities to trust, and how to prove who is asking.
///
/// The server's certificate must name the host in the URL.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct Tls {
    /// A PEM file with the certificates of the authorities to trust. Default none: those that the
    /// operating system trusts, which are read at each connection.
    pub ca: Option<PathBuf>,
    /// A PEM file with the node's own certificate, for servers that ask for one. Default none.
    pub certificate: Option<PathBuf>,
    /// A PEM file with the private key of `certificate`. Default none.
    pub key: Option<PathBuf>,
}

impl Tls {
    /// Reads the files, each on its own, so that an error names the one to look at.
    pub(crate) fn connection_info(
        &self,
        host: &str,
        port: u16,
    ) -> Result<ConnectionInfo, ConnectError> {
        // The client library is built without a provider of its own. Whoever was first has chosen.
        let _ = aws_lc_rs::default_provider().install_default();
        let address = || ConnectionAddr::TcpTls {
            host: host.to_owned(),
            port,
            insecure: false,
            tls_params: None,
        };
        let build = |certificates| Client::build_with_tls(address(), certificates);
        let root_cert = self.ca.as_deref().map(read_authorities).transpose()?;
        let mut certificates = TlsCertificates { client_tls: None, root_cert };
        let mut client = build(certificates.clone())
            .map_err(|error| unusable(self.ca.as_deref(), AUTHORITIES, error))?;
        if let Some((certificate, key)) = self.identity()? {
            let client_tls = ClientTlsConfig {
                client_cert: read(certificate, CERTIFICATE)?,
                client_key: read(key, KEY)?,
            };
            certificates.client_tls = Some(client_tls);
            client = build(certificates)
                .map_err(|error| unusable(Some(certificate), IDENTITY, error))?;
        }
        Ok(client.get_connection_info().clone())
    }

    fn identity(&self) -> Result<Option<(&Path, &Path)>, ConnectError> {
        let (missing, present) = match (&self.certificate, &self.key) {
            (Some(certificate), Some(key)) => return Ok(Some((certificate, key))),
            (None, None) => return Ok(None),
            (Some(_), None) => ("key", "cert"),
            (None, Some(_)) => ("cert", "key"),
        };
        let reason = format!("{present} is given, so {missing} has to be, too");
        Err(ConnectError::option(missing, reason))
    }
}

const AUTHORITIES: &str = "certificates of the authorities to trust (PEM)";
const CERTIFICATE: &str = "the node's certificate (PEM)";
const KEY: &str = "the private key of the node's certificate (PEM)";
const IDENTITY: &str = "the node's certificate with its private key (PEM)";

fn read_authorities(path: &Path) -> Result<Vec<u8>, ConnectError> {
    let pem = read(path, AUTHORITIES)?;
    // The client library takes a file without any for an empty list, and then trusts nobody.
    if !String::from_utf8_lossy(&pem).contains("-----BEGIN CERTIFICATE-----") {
        return Err(unusable(Some(path), AUTHORITIES, "it holds no certificate in PEM form"));
    }
    Ok(pem)
}

fn read(path: &Path, role: &'static str) -> Result<Vec<u8>, ConnectError> {
    fs::read(path).map_err(|error| unusable(Some(path), role, error))
}

fn unusable(path: Option<&Path>, role: &'static str, source: impl Into<BoxError>) -> ConnectError {
    let path = path.unwrap_or(Path::new("")).display().to_string();
    ConnectError::File { path, role, source: source.into() }
}

/// Whether a connection failed for TLS's sake. The client library says so only by what is underneath.
pub(crate) fn is_cause(error: &RedisError) -> bool {
    let shared = error.source().and_then(|source| source.downcast_ref::<Shared>());
    match shared.and_then(|cause| cause.downcast_ref::<io::Error>()) {
        Some(io) => io.get_ref().is_some_and(|cause| cause.is::<rustls::Error>()),
        // Whatever else went wrong before a byte was sent: a name, or the system's certificates.
        None => error.is_io_error() && shared.is_some(),
    }
}

/// How the client library keeps causes.
type Shared = Arc<dyn Error + Send + Sync>;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::RedisConfig;

    fn start(query: &str) -> ConnectError {
        let config = RedisConfig::from_url(&format!("rediss://localhost?{query}")).unwrap();
        config.start().unwrap_err()
    }

    #[test]
    fn a_file_that_is_missing_is_named() {
        let error = start("ca=/nowhere/ca.pem");
        assert!(matches!(&error, ConnectError::File { path, .. } if path == "/nowhere/ca.pem"));
    }

    #[test]
    fn a_file_without_a_certificate_is_no_authority() {
        let error = start(concat!("ca=", env!("CARGO_MANIFEST_DIR"), "/Cargo.toml"));
        assert!(error.to_string().contains("authorities"), "{error}");
    }

    #[test]
    fn certificate_and_key_come_together() {
        for (query, missing) in [("cert=c.pem", "key"), ("key=k.pem", "cert")] {
            let error = start(query);
            assert!(
                matches!(&error, ConnectError::Option { option, .. } if option == missing),
                "{error}"
            );
        }
    }
}
