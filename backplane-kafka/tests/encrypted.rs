//! What the feature `ssl` brings: TLS, with an end of it in front of Tansu, which starts with no certificate, and logins.

#![cfg(feature = "ssl")]
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::{net::SocketAddr, sync::Arc};

use tokio::{
    net::{TcpListener, TcpStream},
    task::JoinSet,
};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{ServerConfig, crypto::aws_lc_rs, pki_types::PrivateKeyDer},
};

/// A certificate that vouches for itself, as PEM, and who accepts TLS with it.
fn certificate() -> (String, TlsAcceptor) {
    let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    (made.cert.pem(), TlsAcceptor::from(Arc::new(config)))
}

/// Takes connections, ends their TLS, and passes on what is in it.
async fn relay(listener: TcpListener, acceptor: TlsAcceptor, server: SocketAddr) {
    let mut carried = JoinSet::new();
    loop {
        let (client, _) = listener.accept().await.unwrap();
        let acceptor = acceptor.clone();
        carried.spawn(async move {
            // One that does not trust the certificate hangs up.
            let Ok(mut client) = acceptor.accept(client).await else { return };
            let mut server = TcpStream::connect(server).await.unwrap();
            let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
        });
    }
}

mod tansu {
    use backplane_core::LinkError;
    use backplane_tests::brokers::Tansu;
    use tokio::net::TcpListener;

    use super::{certificate, relay};
    use crate::common::{down, hear, node, publish, start, topic};

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn who_trusts_the_certificate_is_encrypted_and_who_does_not_is_told() {
        let (pem, acceptor) = certificate();
        let folder = tempfile::tempdir().unwrap();
        let ca = folder.path().join("ca.pem");
        std::fs::write(&ca, pem).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let broker = Tansu::behind(address).await.unwrap();
        tokio::spawn(relay(listener, acceptor, broker.address()));

        let url = format!("kafka+ssl://{address}?ca={}", ca.display());
        let (here, there) = (node(&url).await, node(&url).await);
        let (heard, _heard) = hear(&here, &topic("tea")).await;
        publish(&there, &topic("tea"), 0..10).await;
        assert_eq!(heard.numbers(10).await.unwrap(), (0..10).collect::<Vec<_>>());

        let stranger = start(&format!("kafka+ssl://{address}"));
        let cause = down(&stranger).await;
        assert!(matches!(&*cause, LinkError::Tls { .. }), "{cause:?}");
        let plain = start(&format!("kafka://{address}"));
        let cause = down(&plain).await;
        assert!(!matches!(&*cause, LinkError::TimedOut { .. }), "{cause:?}");
    }

    /// Tansu 0.6 forgets the users it was told of when it starts to ask for logins, so nobody gets in.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_login_that_is_refused_is_told_without_its_password() {
        let broker = Tansu::that_knows_nobody().await.unwrap();
        let address = broker.address();
        for mechanism in ["scram-sha-256", "scram-sha-512"] {
            let node = start(&format!("kafka://ann:hush-hush@{address}?sasl={mechanism}"));
            let cause = down(&node).await;
            assert!(matches!(&*cause, LinkError::Authentication { .. }), "{cause:?}");
            let told = format!("{cause} {cause:?} {node:?}");
            assert!(!told.contains("hush"), "{told}");
        }
        let unnamed = start(&format!("kafka://{address}"));
        let cause = down(&unnamed).await;
        assert!(!matches!(&*cause, LinkError::TimedOut { .. }), "{cause:?}");
    }
}
