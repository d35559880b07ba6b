//! What every flavour of server does alike.

use std::net::TcpStream;
use std::time::Duration;

use backplane_tests::brokers::{
    Broker, BrokerError, BrokerState, Nats, NatsFlavour, NatsOptions, ProbeError, Redis,
    RedisFlavour, RedisOptions,
};
use tokio::time::timeout;

use crate::{SOON, is_gone};

/// Long enough for a server that runs to answer many times over.
const A_WHILE: Duration = Duration::from_millis(300);

/// Every test of this file, for each flavour of server.
macro_rules! flavours {
    ($($module:ident: $name:literal, $start:expr;)*) => {$(
        mod $module {
            use super::*;

            #[tokio::test]
            async fn starts_and_answers() {
                super::starts_and_answers(&$start.await.unwrap(), $name).await;
            }

            #[tokio::test]
            async fn answers_nothing_while_paused() {
                super::answers_nothing_while_paused(&$start.await.unwrap()).await;
            }

            #[tokio::test]
            async fn ends_when_told_and_starts_on_the_same_port() {
                super::ends_and_starts(&$start.await.unwrap()).await;
            }

            #[tokio::test]
            async fn is_gone_when_dropped() {
                super::is_gone_when_dropped($start.await.unwrap()).await;
            }
        }
    )*};
}

flavours! {
    redis7: "redis 7.", Redis::start(RedisFlavour::Redis7, RedisOptions::default());
    redis6: "redis 6.2.", Redis::start(RedisFlavour::Redis6, RedisOptions::default());
    valkey9: "valkey 9.", Redis::start(RedisFlavour::Valkey9, RedisOptions::default());
    nats2_9: "nats 2.9.", Nats::start(NatsFlavour::Nats2_9, NatsOptions::default());
    nats2_15: "nats 2.15.", Nats::start(NatsFlavour::Nats2_15, NatsOptions::default());
}

async fn starts_and_answers(broker: &Broker, name: &str) {
    assert!(broker.name().starts_with(name), "{}", broker.name());
    assert_eq!(broker.state(), BrokerState::Running);
    let port = broker.port();
    assert!(broker.url().ends_with(&format!("127.0.0.1:{port}")), "{}", broker.url());
    assert!(broker.url_at(1).ends_with("127.0.0.1:1"), "{}", broker.url_at(1));
    broker.probe(SOON).await.unwrap();
    let already = broker.start().await.unwrap_err();
    assert!(matches!(already, BrokerError::AlreadyRunning { .. }), "{already}");
}

async fn answers_nothing_while_paused(broker: &Broker) {
    broker.pause().await.unwrap();
    assert_eq!(broker.state(), BrokerState::Paused);
    // The kernel takes the connection, and the server says nothing on it …
    let mut asked = std::pin::pin!(broker.probe(SOON));
    assert!(timeout(A_WHILE, &mut asked).await.is_err(), "a paused server answered");
    // … until it goes on: the very same question is answered.
    broker.resume().unwrap();
    asked.await.unwrap();
    assert_eq!(broker.state(), BrokerState::Running);
    // A paused server can also be told to end.
    broker.pause().await.unwrap();
    broker.stop().await.unwrap();
    assert!(matches!(broker.resume(), Err(BrokerError::NotRunning { .. })));
}

async fn ends_and_starts(broker: &Broker) {
    let (port, first) = (broker.port(), broker.pid().unwrap());
    broker.stop().await.unwrap();
    assert_eq!(broker.state(), BrokerState::Stopped);
    assert!(matches!(broker.probe(SOON).await, Err(ProbeError::Connection(_))));
    broker.stop().await.unwrap(); // nothing to do, and no error
    assert!(matches!(broker.pause().await, Err(BrokerError::NotRunning { .. })));

    broker.start().await.unwrap();
    broker.kill().await.unwrap();
    assert_eq!(broker.state(), BrokerState::Stopped);
    assert!(matches!(broker.probe(SOON).await, Err(ProbeError::Connection(_))));

    broker.start().await.unwrap();
    broker.restart().await.unwrap();
    broker.probe(SOON).await.unwrap();
    assert_eq!(broker.port(), port);
    assert_ne!(broker.pid().unwrap(), first);
}

async fn is_gone_when_dropped(broker: Broker) {
    let (pid, address, folder) =
        (broker.pid().unwrap(), broker.address(), broker.folder().to_owned());
    assert!(folder.exists());
    broker.pause().await.unwrap(); // even then
    drop(broker);
    assert!(is_gone(pid));
    assert!(!folder.exists());
    assert!(TcpStream::connect(address).is_err());
}
