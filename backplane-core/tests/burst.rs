//! More than a receiver lets wait, and an origin retains, in one go.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicU64, Ordering},
};

use backplane_core::{
    Backplane, Envelope, Event, Link, Node, NodeOptions, PublishError, Sequencing, Sink,
    Subscription, Topic,
};
use backplane_memory::Medium;
use tokio::sync::Notify;

/// Several times what waits behind a hole, and what an origin retains of one topic.
const BURST: u64 = 100_000;

/// Sees to it that nothing is lost, doubled or out of order, from the first one on.
#[derive(Debug)]
struct InOrder {
    next: AtomicU64,
    surprises: Mutex<Vec<String>>,
    all: Notify,
}

/// Whatever comes first is the first.
const ANY: u64 = u64::MAX;

impl InOrder {
    fn from(first: u64) -> Arc<Self> {
        let (surprises, all) = (Mutex::default(), Notify::new());
        Arc::new(Self { next: first.into(), surprises, all })
    }
}

impl Sink for InOrder {
    fn accept(&self, event: &Event) {
        let number = match event {
            Event::Message(envelope) => str::from_utf8(&envelope.body).unwrap().parse().ok(),
            _ => None,
        };
        let next = self.next.load(Ordering::Relaxed);
        let due = number.filter(|_| next == ANY).unwrap_or(next);
        match event {
            Event::Message(_) if number == Some(due) => {
                self.next.store(due + 1, Ordering::Relaxed);
                if due + 1 == BURST {
                    self.all.notify_one();
                }
            }
            other => {
                let mut surprises = self.surprises.lock().unwrap();
                surprises.push(format!("{other:?} where {due} was due"));
                self.all.notify_one();
            }
        }
    }
}

async fn publish(node: &Node, topic: &Topic) {
    for number in 0..BURST {
        let mut envelope = Envelope::new(topic.clone(), number.to_string());
        while let Err(error) = node.try_publish(envelope) {
            let PublishError::Full(returned) = error else { panic!("{error}") };
            node.room(&returned).await.unwrap();
            envelope = *returned;
        }
    }
}

fn node(medium: &Medium) -> Node {
    let mut options = NodeOptions::default();
    options.sequencing = Sequencing::Repaired;
    medium.node_with(options)
}

async fn subscribe(node: &Node, topic: &Topic, sink: &Arc<InOrder>) -> Subscription {
    let sink: Arc<dyn Sink> = Arc::<InOrder>::clone(sink);
    let subscription = node.subscribe(&[(topic.clone(), sink)]).unwrap();
    subscription.confirmed().await.unwrap();
    subscription
}

fn check(receiver: &Node, sink: &InOrder) {
    assert_eq!(*sink.surprises.lock().unwrap(), Vec::<String>::new());
    assert_eq!(sink.next.load(Ordering::Relaxed), BURST);
    assert_eq!((receiver.stats().lost, receiver.stats().uncounted_gaps), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_new_node_may_publish_as_fast_as_it_can() {
    let medium = Medium::new();
    let receiver = node(&medium);
    let topic = Topic::group("orders", "kitchen");
    let sink = InOrder::from(0);
    let _subscription = subscribe(&receiver, &topic, &sink).await;
    let sender = node(&medium);
    sender.link().wait_for(Link::is_up).await.unwrap();
    publish(&sender, &topic).await;
    sink.all.notified().await;
    check(&receiver, &sink);
}

#[tokio::test(start_paused = true)]
async fn a_new_node_may_subscribe_what_another_publishes_as_fast_as_it_can() {
    let medium = Medium::new();
    let sender = node(&medium);
    sender.link().wait_for(Link::is_up).await.unwrap();
    let topic = Topic::group("orders", "kitchen");
    let publishing = async {
        publish(&sender, &topic).await;
    };
    let subscribing = async {
        let receiver = node(&medium);
        let sink = InOrder::from(ANY);
        let subscription = subscribe(&receiver, &topic, &sink).await;
        sink.all.notified().await;
        check(&receiver, &sink);
        drop(subscription);
    };
    tokio::join!(publishing, subscribing);
}
