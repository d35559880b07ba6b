//! NATS servers, set up in each way.

use backplane_tests::brokers::{Broker, Nats, NatsFlavour, NatsOptions};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

async fn nats_logins(flavour: NatsFlavour) {
    // That it started shows that the probe was let in.
    let options = NatsOptions::default().user("ann", "p@ss \"1\"");
    let broker = Nats::start(flavour, options).await.unwrap();
    let address = broker.address();
    assert_eq!(broker.url(), format!("nats://ann:p%40ss%20%221%22@{address}"));
    assert!(refuses_strangers(&broker).await);

    let broker = Nats::start(flavour, NatsOptions::default().token("t0ken")).await.unwrap();
    let address = broker.address();
    assert_eq!(broker.url(), format!("nats://t0ken@{address}"));
    assert!(refuses_strangers(&broker).await);

    let broker = Nats::start(flavour, NatsOptions::default().credentials()).await.unwrap();
    let file = std::fs::read_to_string(broker.credentials_file().unwrap()).unwrap();
    assert!(file.contains("BEGIN NATS USER JWT"));
    assert!(refuses_strangers(&broker).await);
    broker.restart().await.unwrap();
}

/// Logs in with nothing to a server that wants something.
async fn refuses_strangers(broker: &Broker) -> bool {
    let mut stream = TcpStream::connect(broker.address()).await.unwrap();
    stream.write_all(b"CONNECT {}\r\nPING\r\n").await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer.contains("-ERR 'Authorization Violation'") && !answer.contains("PONG")
}

#[tokio::test]
async fn nats2_9_logins() {
    nats_logins(NatsFlavour::Nats2_9).await;
}

#[tokio::test]
async fn nats2_15_logins() {
    nats_logins(NatsFlavour::Nats2_15).await;
}

async fn nats_over_tls(flavour: NatsFlavour) {
    let options = NatsOptions::default().tls().max_payload(2 * 1024 * 1024);
    let broker = Nats::start(flavour, options).await.unwrap();
    assert!(broker.ca_certificate().unwrap().exists());
    let info = greeting(&broker).await;
    assert!(info.contains("\"tls_required\":true"), "{info}");
    assert!(info.contains("\"max_payload\":2097152"), "{info}");
}

async fn greeting(broker: &Broker) -> String {
    let stream = TcpStream::connect(broker.address()).await.unwrap();
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line).await.unwrap();
    line
}

#[tokio::test]
async fn nats2_9_over_tls() {
    nats_over_tls(NatsFlavour::Nats2_9).await;
}

#[tokio::test]
async fn nats2_15_over_tls() {
    nats_over_tls(NatsFlavour::Nats2_15).await;
}

#[tokio::test]
async fn nats2_15_that_does_not_start_shows_its_log() {
    let options = NatsOptions::default().config_line("no_such_option: 1");
    let error = Nats::start(NatsFlavour::Nats2_15, options).await.unwrap_err();
    assert!(error.to_string().contains("no_such_option"), "{error}");
}
