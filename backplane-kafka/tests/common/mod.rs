//! What the tests of this crate have in common.

#![allow(dead_code, reason = "each test file uses a part of it")]

use std::{sync::Arc, time::Duration};

use backplane_core::{
    Backplane, Envelope, LinkError, Node, NodeOptions, Receipt, Subscription, Topic,
};
use backplane_kafka::KafkaConfig;
use backplane_tests::kit::{self, Collector};

/// Above anything that works, so that what doesn't ends.
const DEADLINE: Duration = Duration::from_secs(60);

pub(crate) async fn within<T>(work: impl Future<Output = T>) -> T {
    tokio::time::timeout(DEADLINE, work).await.expect("it should not take this long")
}

pub(crate) fn start(url: &str) -> Node {
    let mut config = KafkaConfig::from_url(url).unwrap();
    config.node = NodeOptions::bare();
    config.start().unwrap()
}

/// A node whose link is up.
pub(crate) async fn node(url: &str) -> Node {
    let node = start(url);
    up(&node).await;
    node
}

pub(crate) async fn up(node: &dyn Backplane) {
    kit::up(node).await.unwrap();
}

/// Why the node's link is down, as soon as it is.
pub(crate) async fn down(node: &dyn Backplane) -> Arc<LinkError> {
    kit::down(node).await.unwrap()
}

pub(crate) fn topic(name: &str) -> Topic {
    Topic::group("orders", name)
}

pub(crate) async fn publish(node: &Node, topic: &Topic, bodies: impl IntoIterator<Item = u32>) {
    for body in bodies {
        let envelope = Envelope::new(topic.clone(), body.to_string());
        assert_eq!(within(node.publish(envelope)).await.unwrap(), Receipt::Stored);
    }
}

/// Listens to the topic.
pub(crate) async fn hear(node: &Node, topic: &Topic) -> (Arc<Collector>, Subscription) {
    Collector::listen(node, std::slice::from_ref(topic)).await.unwrap()
}
