//! A node over a medium that keeps a log.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod logged;

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use backplane_core::{
    Backplane, Delivery, Envelope, Event, Node, NodeOptions, Offset, Position, Sink,
    SubscribeError, SubscriberOutage, Subscription, Topic,
};
use logged::{Log, LogWire};
use tokio::sync::watch;

fn topic() -> Topic {
    Topic::group("log", "topic")
}

/// What a sink was told, in words, and the offsets of its envelopes.
#[derive(Debug, Default)]
struct Heard {
    told: Mutex<Vec<(String, Option<Offset>)>>,
    changed: watch::Sender<usize>,
}

impl Sink for Heard {
    fn accept(&self, event: &Event) {
        let told = match event {
            Event::Message(envelope) => {
                let body = String::from_utf8(envelope.body.to_vec()).unwrap();
                (body, envelope.offset)
            }
            Event::Gap(gap) => (format!("gap of {:?}", gap.count), None),
            Event::Interrupted { .. } => ("interrupted".to_owned(), None),
            Event::Restored => ("restored".to_owned(), None),
            other => panic!("{other:?}"),
        };
        self.told.lock().unwrap().push(told);
        self.changed.send_modify(|count| *count += 1);
    }
}

impl Heard {
    /// Waits until it was told this last, and returns all.
    async fn until(&self, last: &str) -> Vec<String> {
        let heard = |_: &usize| self.told.lock().unwrap().iter().any(|(told, _)| told == last);
        let mut changed = self.changed.subscribe();
        let wait = tokio::time::timeout(Duration::from_secs(60), changed.wait_for(heard));
        if wait.await.is_err() {
            panic!("not told {last}: {:?}", self.told.lock().unwrap());
        }
        self.told.lock().unwrap().iter().map(|(told, _)| told.clone()).collect()
    }

    fn offset(&self, of: &str) -> Offset {
        let told = self.told.lock().unwrap();
        told.iter().find(|(told, _)| told == of).and_then(|(_, offset)| *offset).unwrap()
    }
}

async fn node(log: &Log) -> (Node, LogWire) {
    let wire = log.wire();
    let node = Node::start(wire.clone(), NodeOptions::default());
    node.link().wait_for(|link| link.is_up()).await.unwrap();
    (node, wire)
}

async fn publish(node: &Node, bodies: impl IntoIterator<Item = u32>) {
    for body in bodies {
        node.publish(Envelope::new(topic(), body.to_string())).await.unwrap();
    }
}

async fn listen(node: &Node) -> (Arc<Heard>, Subscription) {
    let heard = Arc::new(Heard::default());
    let subscription = node.subscribe(&[(topic(), Arc::<Heard>::clone(&heard))]).unwrap();
    subscription.confirmed().await.unwrap();
    (heard, subscription)
}

async fn read(node: &Node, from: Position) -> (Arc<Heard>, Subscription) {
    let heard = Arc::new(Heard::default());
    let subscription = node.subscribe_from(&topic(), Arc::<Heard>::clone(&heard), from).unwrap();
    subscription.confirmed().await.unwrap();
    (heard, subscription)
}

fn words(numbers: impl IntoIterator<Item = u32>) -> Vec<String> {
    numbers.into_iter().map(|number| number.to_string()).collect()
}

#[tokio::test(start_paused = true)]
async fn by_default_a_log_is_numbered_and_read_on_after_an_outage() {
    let log = Log::default();
    let ((sender, _), (receiver, link)) = (node(&log).await, node(&log).await);
    let semantics = receiver.semantics();
    assert_eq!(semantics.delivery, Delivery::Kept);
    assert_eq!(semantics.subscriber_outage, SubscriberOutage::CatchesUp);
    publish(&sender, 0..3).await;
    let (heard, _subscription) = listen(&receiver).await;
    publish(&sender, 3..6).await;
    heard.until("5").await;
    link.cut();
    publish(&sender, 6..2000).await;
    let told = heard.until("restored").await;
    let expected: Vec<String> = words(3..6)
        .into_iter()
        .chain(["interrupted".to_owned()])
        .chain(words(6..2000))
        .chain(["restored".to_owned()])
        .collect();
    assert_eq!(told, expected);
    assert_eq!(receiver.stats().doubled, 0);
}

#[tokio::test(start_paused = true)]
async fn what_the_log_has_dropped_is_counted() {
    let log = Log::default();
    let ((sender, _), (receiver, link)) = (node(&log).await, node(&log).await);
    let (heard, _subscription) = listen(&receiver).await;
    publish(&sender, 0..2).await;
    heard.until("1").await;
    link.drop_next(3);
    publish(&sender, 2..7).await;
    let told = heard.until("6").await;
    assert_eq!(told, ["0", "1", "gap of Some(3)", "5", "6"]);
    // The last before silence: its watermark says so.
    link.drop_next(1);
    publish(&sender, 7..8).await;
    heard.until("gap of Some(1)").await;
    assert_eq!(receiver.stats().lost, 4);
}

#[tokio::test(start_paused = true)]
async fn what_the_log_has_dropped_is_known_without_its_origin() {
    let log = Log::default();
    let ((sender, _), (receiver, link)) = (node(&log).await, node(&log).await);
    let (heard, _subscription) = listen(&receiver).await;
    publish(&sender, 0..2).await;
    heard.until("1").await;
    link.hold(true);
    link.drop_next(1);
    publish(&sender, 2..3).await;
    // Its watermark stands in the log when it is gone.
    tokio::time::sleep(Duration::from_millis(1500)).await;
    drop(sender);
    link.hold(false);
    let begun = tokio::time::Instant::now();
    assert_eq!(heard.until("gap of Some(1)").await, ["0", "1", "gap of Some(1)"]);
    // Nobody was asked, and nobody's answer was waited for.
    assert_eq!(begun.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn a_topic_is_read_from_any_position() {
    let log = Log::default();
    let ((one, _), (two, _)) = (node(&log).await, node(&log).await);
    publish(&one, 0..5).await;
    publish(&two, 5..10).await;
    let (all, _all) = read(&one, Position::Earliest).await;
    assert_eq!(all.until("9").await, words(0..10));
    let (later, _later) = read(&one, Position::After(all.offset("6"))).await;
    let (new, _new) = read(&two, Position::Now).await;
    publish(&one, 10..12).await;
    assert_eq!(all.until("11").await, words(0..12));
    assert_eq!(later.until("11").await, words(7..12));
    assert_eq!(new.until("11").await, words(10..12));
    assert!(new.offset("10") < new.offset("11"));
}

#[tokio::test(start_paused = true)]
async fn a_position_may_be_within_a_bundle() {
    let log = Log::default();
    let (node, _) = node(&log).await;
    let tickets: Vec<_> = (0..6)
        .map(|body: u32| node.try_publish(Envelope::new(topic(), body.to_string())).unwrap())
        .collect();
    for ticket in tickets {
        ticket.await.unwrap();
    }
    let (all, _all) = read(&node, Position::Earliest).await;
    all.until("5").await;
    assert_eq!(all.offset("2").entry(), all.offset("4").entry(), "they were bundled");
    let (later, _later) = read(&node, Position::After(all.offset("2"))).await;
    assert_eq!(later.until("5").await, words(3..6));
}

#[tokio::test(start_paused = true)]
async fn a_reading_goes_on_where_it_was_after_an_outage() {
    let log = Log::default();
    let ((sender, _), (reader, _)) = (node(&log).await, node(&log).await);
    let (heard, subscription) = read(&reader, Position::Now).await;
    publish(&sender, 0..3).await;
    heard.until("2").await;
    log.cut_readers();
    publish(&sender, 3..6).await;
    let told = heard.until("5").await;
    let expected = ["0", "1", "2", "interrupted", "restored", "3", "4", "5"];
    assert_eq!(told, expected);
    assert_eq!(subscription.topics().count(), 1);
    drop(subscription);
    publish(&sender, 6..7).await;
    // Whoever reads on hears it; who was dropped does not.
    let (other, _other) = read(&reader, Position::Earliest).await;
    other.until("6").await;
    assert_eq!(heard.told.lock().unwrap().len(), expected.len());
}

#[tokio::test(start_paused = true)]
async fn what_can_not_be_read_is_refused() {
    let medium = backplane_memory::Medium::new();
    let plain = medium.node();
    let sink = Arc::new(Heard::default());
    let refused = plain.subscribe_from(&topic(), Arc::<Heard>::clone(&sink), Position::Earliest);
    let error = refused.unwrap_err();
    assert!(matches!(error, SubscribeError::NoReplay { .. }), "{error}");
    let log = Log::default();
    let (node, _) = node(&log).await;
    let elsewhere = Position::After(Offset::new(9, (1, 0)));
    let error = node.subscribe_from(&topic(), sink, elsewhere).unwrap_err();
    assert!(matches!(error, SubscribeError::WrongOffset { .. }), "{error}");
}
