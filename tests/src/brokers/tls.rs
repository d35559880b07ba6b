//! Certificates for a server, or for those of one cluster: an authority of their own, and a certificate for
//! 127.0.0.1.

use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair,
};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use super::{BrokerError, Layout, ProbeError};

/// What a server needs to speak TLS, and what a client needs to believe it.
#[derive(Clone, Debug)]
pub(super) struct Certificates {
    authority: CertificateDer<'static>,
    authority_pem: String,
    server_pem: String,
    key_pem: String,
}

impl Certificates {
    /// Makes a new authority and a certificate signed by it, for 127.0.0.1 and `localhost`.
    pub(super) fn generate() -> Result<Self, BrokerError> {
        Self::try_generate().map_err(|error| BrokerError::Certificates(error.into()))
    }

    fn try_generate() -> Result<Self, rcgen::Error> {
        let mut authority = CertificateParams::default();
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let name = &mut authority.distinguished_name;
        name.push(DnType::CommonName, "backplane test authority");
        let authority = CertifiedIssuer::self_signed(authority, KeyPair::generate()?)?;

        let names = ["127.0.0.1", "localhost"].map(str::to_owned);
        let mut server = CertificateParams::new(names)?;
        // Servers of a cluster show it to each other, whoever connects.
        server.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let key = KeyPair::generate()?;
        let server = server.signed_by(&key, &authority)?;
        Ok(Self {
            authority: authority.der().clone(),
            authority_pem: authority.pem(),
            server_pem: server.pem(),
            key_pem: key.serialize_pem(),
        })
    }

    /// Writes the PEM files that [`Layout`] names.
    pub(super) fn write(&self, layout: &Layout) -> Result<(), BrokerError> {
        let files = [
            (layout.ca_certificate(), &self.authority_pem),
            (layout.certificate(), &self.server_pem),
            (layout.private_key(), &self.key_pem),
        ];
        for (path, text) in files {
            fs::write(path, text).map_err(BrokerError::Folder)?;
        }
        Ok(())
    }

    /// Shakes hands as a client that trusts nobody but this authority.
    pub(super) async fn connect<S>(&self, stream: S) -> Result<TlsStream<S>, ProbeError>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send,
    {
        let mut roots = RootCertStore::empty();
        let provider = Arc::new(aws_lc_rs::default_provider());
        let config = roots
            .add(self.authority.clone())
            .and_then(|()| {
                ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()
            })
            .map_err(std::io::Error::other)?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let name = ServerName::IpAddress(IpAddr::V4(Ipv4Addr::LOCALHOST).into());
        let connector = TlsConnector::from(Arc::new(config));
        Ok(connector.connect(name, stream).await?)
    }
}

/// A client of the Redis family that trusts nobody but this authority (PEM).
#[cfg(feature = "tls")]
pub(super) fn redis_client(url: String, authority: Vec<u8>) -> redis::RedisResult<redis::Client> {
    // The client library is built without a provider of its own. Whoever was first has chosen.
    let _ = aws_lc_rs::default_provider().install_default();
    let certificates = redis::TlsCertificates { client_tls: None, root_cert: Some(authority) };
    redis::Client::build_with_tls(url, certificates)
}
