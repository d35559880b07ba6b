//! On a real server that speaks TLS.

#![cfg(feature = "tls")]
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use backplane_core::{Backplane, Envelope, LinkError, Topic};
use backplane_tests::brokers::{Broker, Redis, RedisFlavour, RedisOptions};
use common::{body, down, events, node, start, within};

async fn server() -> (Broker, String) {
    let options = RedisOptions::default().tls().user("ann", "p@ss");
    let broker = Redis::start(RedisFlavour::Redis7, options).await.unwrap();
    let ca = broker.ca_certificate().unwrap().display().to_string();
    (broker, ca)
}

#[tokio::test]
async fn redis7_delivers_encrypted() {
    let (broker, ca) = server().await;
    for protocol in ["resp2", "resp3"] {
        let url = format!("{}?ca={ca}&protocol={protocol}", broker.url());
        assert!(url.starts_with("rediss:"));
        let (ours, theirs) = (node(&url).await, node(&url).await);
        let topic = Topic::group("orders", "kitchen");
        let mut events = events(&ours, std::slice::from_ref(&topic)).await;
        within(theirs.publish(Envelope::new(topic, "tea"))).await.unwrap();
        assert_eq!(body(&mut events).await, b"tea");
    }
}

#[tokio::test]
async fn redis7_must_be_trusted() {
    let (broker, _) = server().await;
    let cause = down(&start(&broker.url())).await;
    assert!(matches!(*cause, LinkError::Tls { .. }), "{cause:?}");
}

#[tokio::test]
async fn redis7_must_be_called_by_its_name() {
    let (broker, ca) = server().await;
    let url = broker.url().replace("127.0.0.1", "[::ffff:127.0.0.1]");
    let cause = down(&start(&format!("{url}?ca={ca}"))).await;
    assert!(matches!(*cause, LinkError::Tls { .. }), "{cause:?}");
}

#[tokio::test]
async fn redis7_hangs_up_on_plain_text() {
    let (broker, _) = server().await;
    let cause = down(&start(&broker.url().replace("rediss:", "redis:"))).await;
    assert!(cause.to_string().contains("TLS"), "{cause}");
}
