//! Servers of the Redis family, set up in each way.

use backplane_tests::brokers::{Broker, Redis, RedisFlavour, RedisOptions};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

/// Asks a server of the Redis family one thing, in its inline form.
async fn ask(broker: &Broker, command: &str) -> String {
    try_ask(broker, command).await.unwrap()
}

async fn try_ask(broker: &Broker, command: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(broker.address()).await?;
    stream.write_all(format!("{command}\r\n").as_bytes()).await?;
    let mut answer = String::new();
    BufReader::new(stream).read_line(&mut answer).await?;
    Ok(answer.trim().to_owned())
}

async fn restarts_empty(flavour: RedisFlavour) {
    let broker = Redis::start(flavour, RedisOptions::default()).await.unwrap();
    assert_eq!(ask(&broker, "SET key value").await, "+OK");
    assert_eq!(ask(&broker, "DBSIZE").await, ":1");
    broker.restart().await.unwrap();
    assert_eq!(ask(&broker, "DBSIZE").await, ":0");
}

#[tokio::test]
async fn redis7_restarts_empty() {
    restarts_empty(RedisFlavour::Redis7).await;
}

#[tokio::test]
async fn redis6_restarts_empty() {
    restarts_empty(RedisFlavour::Redis6).await;
}

#[tokio::test]
async fn valkey9_restarts_empty() {
    restarts_empty(RedisFlavour::Valkey9).await;
}

#[tokio::test]
async fn redis7_with_a_password() {
    let options = RedisOptions::default().password("pass \"word\"/1");
    let broker = Redis::start(RedisFlavour::Redis7, options).await.unwrap();
    let address = broker.address();
    assert_eq!(broker.url(), format!("redis://:pass%20%22word%22%2F1@{address}"));
    assert!(ask(&broker, "PING").await.starts_with("-NOAUTH"));
}

#[tokio::test]
async fn redis7_with_a_user() {
    let options = RedisOptions::default().user("ann", "p@ss");
    let broker = Redis::start(RedisFlavour::Redis7, options).await.unwrap();
    let address = broker.address();
    assert_eq!(broker.url(), format!("redis://ann:p%40ss@{address}"));
    assert!(ask(&broker, "AUTH ann wrong").await.starts_with("-WRONGPASS"));
    assert_eq!(ask(&broker, "AUTH ann p@ss").await, "+OK");
    assert!(ask(&broker, "AUTH default p@ss").await.starts_with("-WRONGPASS"));
}

#[tokio::test]
async fn redis7_over_tls() {
    let options = RedisOptions::default().tls().password("secret");
    let broker = Redis::start(RedisFlavour::Redis7, options).await.unwrap();
    assert!(broker.url().starts_with("rediss://:secret@"), "{}", broker.url());
    let authority = std::fs::read_to_string(broker.ca_certificate().unwrap()).unwrap();
    assert!(authority.contains("BEGIN CERTIFICATE"));
    // With TLS the probe went through; without it, nobody answers.
    assert_ne!(try_ask(&broker, "AUTH secret").await.unwrap_or_default(), "+OK");
    broker.restart().await.unwrap();
}

#[tokio::test]
async fn redis7_takes_more_configuration() {
    let options = RedisOptions::default().config_line("databases 3");
    let broker = Redis::start(RedisFlavour::Redis7, options).await.unwrap();
    assert_eq!(ask(&broker, "SELECT 2").await, "+OK");
    assert!(ask(&broker, "SELECT 3").await.starts_with("-ERR"));
}

#[tokio::test]
async fn redis7_that_does_not_start_shows_its_log() {
    let options = RedisOptions::default().config_line("no-such-directive yes");
    let error = Redis::start(RedisFlavour::Redis7, options).await.unwrap_err();
    let message = error.to_string();
    assert!(message.contains("ended with"), "{message}");
    assert!(message.contains("no-such-directive"), "{message}");
}
