//! What the tests of this crate have in common.

#![allow(dead_code, reason = "each test file uses a part of it")]

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use backplane_core::{
    Backplane, Envelope, Event, Gap, Link, LinkError, Node, NodeOptions, Offset, Position, Receipt,
    Sink, Subscription, Topic,
};
use backplane_kafka::KafkaConfig;
use tokio::sync::watch;

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
    within(async { node.link().wait_for(Link::is_up).await.map(drop).unwrap() }).await;
}

/// Why the node's link is down, as soon as it is.
pub(crate) async fn down(node: &dyn Backplane) -> Arc<LinkError> {
    within(async {
        let mut link = node.link();
        match &*link.wait_for(|link| matches!(link, Link::Down { .. })).await.unwrap() {
            Link::Down { cause, .. } => Arc::clone(cause),
            other => unreachable!("{other:?}"),
        }
    })
    .await
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

/// What a sink got: bodies, where they stand, and gaps.
#[derive(Debug, Default)]
pub(crate) struct Read {
    got: Mutex<Vec<(u32, Option<Offset>)>>,
    gaps: Mutex<Vec<Gap>>,
    count: watch::Sender<usize>,
}

impl Sink for Read {
    fn accept(&self, event: &Event) {
        match event {
            Event::Message(envelope) => {
                let body = std::str::from_utf8(&envelope.body).unwrap().parse().unwrap();
                self.got.lock().unwrap().push((body, envelope.offset));
            }
            Event::Gap(gap) => self.gaps.lock().unwrap().push(gap.clone()),
            _ => {}
        }
        self.count.send_replace(self.got.lock().unwrap().len());
    }
}

impl Read {
    /// A sink that reads the topic from this position on.
    pub(crate) async fn from(
        node: &Node,
        topic: &Topic,
        position: Position,
    ) -> (Arc<Self>, Subscription) {
        let read = Arc::new(Self::default());
        let sink = Arc::<Self>::clone(&read);
        let subscription = node.subscribe_from(topic, sink, position).unwrap();
        within(subscription.confirmed()).await.unwrap();
        (read, subscription)
    }

    /// A sink that is subscribed to the topic.
    pub(crate) async fn on(node: &Node, topic: &Topic) -> (Arc<Self>, Subscription) {
        let read = Arc::new(Self::default());
        let sink = Arc::<Self>::clone(&read);
        let subscription = node.subscribe(&[(topic.clone(), sink as Arc<dyn Sink>)]).unwrap();
        within(subscription.confirmed()).await.unwrap();
        (read, subscription)
    }

    /// The bodies, once there are so many.
    pub(crate) async fn bodies(&self, count: usize) -> Vec<u32> {
        within(async {
            self.count.subscribe().wait_for(|it| *it >= count).await.unwrap();
        })
        .await;
        self.got.lock().unwrap().iter().map(|(body, _)| *body).collect()
    }

    pub(crate) fn offset(&self, index: usize) -> Offset {
        self.got.lock().unwrap()[index].1.expect("it came from the log")
    }

    pub(crate) fn gaps(&self) -> Vec<Gap> {
        self.gaps.lock().unwrap().clone()
    }
}
