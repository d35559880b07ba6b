//! Several nodes over one medium that fails, in virtual time: repair, counting, and membership.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use backplane_core::{
    Backplane, ByteSize, Envelope, Event, Link, Members, Node, NodeOptions, Outage, Sequencing,
    Sink, Subscription, Topic, WhenFull,
    chaos::{Chaos, ChaosHandle, ChaosOptions},
};
use backplane_memory::Medium;

fn topic() -> Topic {
    Topic::group("orders", "kitchen")
}

fn options(sequencing: Sequencing) -> NodeOptions {
    let mut options = NodeOptions::default();
    options.sequencing = sequencing;
    options.outage = Outage::buffer();
    options
}

async fn up(node: &Node) {
    node.link().wait_for(Link::is_up).await.unwrap();
}

/// What a sink heard, as words.
#[derive(Debug, Default)]
struct Heard(Mutex<Vec<String>>);

impl Sink for Heard {
    fn accept(&self, event: &Event) {
        let heard = match event {
            Event::Message(envelope) => String::from_utf8_lossy(&envelope.body).into_owned(),
            Event::Gap(gap) => format!("gap {:?}", gap.count),
            Event::Interrupted { .. } => "interrupted".to_owned(),
            Event::Restored => "restored".to_owned(),
            Event::OriginLost { .. } => "origin lost".to_owned(),
            other => format!("{other:?}"),
        };
        self.0.lock().unwrap().push(heard);
    }
}

impl Heard {
    fn all(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }

    /// Waits until it has heard this.
    async fn until(&self, word: &str) -> Vec<String> {
        let heard = async {
            while !self.0.lock().unwrap().iter().any(|it| it == word) {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        let waited = tokio::time::timeout(Duration::from_secs(60), heard).await;
        assert!(waited.is_ok(), "no {word:?} in {:?}", self.all());
        self.all()
    }
}

async fn publish(node: &Node, numbers: std::ops::Range<u32>) {
    for number in numbers {
        node.publish(Envelope::new(topic(), number.to_string())).await.unwrap();
    }
}

async fn members(node: &Node, what: &str, satisfied: impl FnMut(&Members) -> bool) -> Members {
    let mut members = node.members();
    let waited = tokio::time::timeout(Duration::from_secs(60), members.wait_for(satisfied)).await;
    let found = waited.map(|found| found.unwrap().clone());
    assert!(found.is_ok(), "not {what}: {:?}", *node.members().borrow());
    found.unwrap()
}

/// A sink on a node that knows the other, whose link is up.
async fn listen(node: &Node, other: &Node) -> (Arc<Heard>, Subscription) {
    up(other).await;
    let heard = Arc::new(Heard::default());
    let subscription = node.subscribe(&[(topic(), Arc::<Heard>::clone(&heard))]).unwrap();
    subscription.confirmed().await.unwrap();
    members(node, "met", |it| it.contains(other.node())).await;
    (heard, subscription)
}

/// The bodies among it.
fn numbers(told: &[String]) -> Vec<u32> {
    told.iter().filter_map(|it| it.parse().ok()).collect()
}

#[tokio::test(start_paused = true)]
async fn nothing_is_lost_over_an_outage_and_restored_comes_after_the_repair() {
    let medium = Medium::new();
    let (sender, receiver) = (
        medium.node_with(options(Sequencing::Repaired)),
        medium.node_with(options(Sequencing::Repaired)),
    );
    let (heard, _subscription) = listen(&receiver, &sender).await;
    publish(&sender, 0..10).await;
    for outage in 1..=3 {
        medium.stop();
        tokio::time::sleep(Duration::from_secs(1)).await;
        publish(&sender, outage * 10..outage * 10 + 10).await;
        tokio::time::sleep(Duration::from_secs(1)).await;
        medium.start();
        let last = (outage * 10 + 9).to_string();
        heard.until(&last).await;
    }
    heard.until("restored").await;
    let told = heard.all();
    assert_eq!(numbers(&told), (0..40).collect::<Vec<_>>());
    assert!(!told.iter().any(|it| it.starts_with("gap")), "{told:?}");
    assert_eq!((receiver.stats().lost, receiver.stats().uncounted_gaps), (0, 0));
}

/// More is lost on the way to the receiver than one answer sends again; its link is found mute and
/// replaced meanwhile. The sender's stays up.
#[tokio::test(start_paused = true)]
async fn restored_is_told_strictly_after_the_last_repair() {
    const LOST: u32 = 2_000;
    let medium = Medium::new();
    let sender = medium.node_with(options(Sequencing::Repaired));
    let mut everything = ChaosOptions::default();
    (everything.drop, everything.probes) = (1.0, true);
    let deaf = ChaosHandle::new();
    deaf.stop();
    let wire = Chaos::new(medium.wire(), everything).unwrap().switched_by(&deaf);
    let receiver = Node::start(wire, options(Sequencing::Repaired));
    let (heard, _subscription) = listen(&receiver, &sender).await;
    publish(&sender, 0..5).await;
    heard.until("4").await;
    deaf.start();
    publish(&sender, 5..5 + LOST).await;
    heard.until("interrupted").await;
    deaf.stop();
    let told = heard.until("restored").await;
    let mut expected: Vec<String> = (0..5).map(|it| it.to_string()).collect();
    expected.push("interrupted".to_owned());
    expected.extend((5..5 + LOST).map(|it| it.to_string()));
    expected.push("restored".to_owned());
    assert_eq!(told, expected);
    assert_eq!(receiver.stats().repaired, u64::from(LOST));
}

/// The buffer holds four of ten: the others are lost, and each is counted.
#[tokio::test(start_paused = true)]
async fn what_an_outage_costs_is_counted_exactly() {
    for sequencing in [Sequencing::Counted, Sequencing::Repaired] {
        let medium = Medium::new();
        let mut small = options(sequencing);
        small.outage = Outage::Buffer {
            count: 4,
            bytes: ByteSize::mib(1),
            age: Duration::from_secs(60),
            when_full: WhenFull::DropOldest,
        };
        let sender = medium.node_with(small);
        let receiver = medium.node_with(options(sequencing));
        let (heard, _subscription) = listen(&receiver, &sender).await;
        publish(&sender, 0..5).await;
        medium.stop();
        receiver.link().wait_for(|link| !link.is_up()).await.unwrap();
        sender.link().wait_for(|link| !link.is_up()).await.unwrap();
        publish(&sender, 5..15).await;
        tokio::time::sleep(Duration::from_secs(1)).await;
        medium.start();
        up(&sender).await;
        up(&receiver).await;
        publish(&sender, 15..16).await;
        heard.until("15").await;
        heard.until("restored").await;
        let told = heard.all();
        let numbers = numbers(&told);
        let stats = receiver.stats();
        assert_eq!(stats.uncounted_gaps, 0, "{told:?}");
        assert_eq!(numbers.len() as u64 + stats.lost, 16, "{told:?}");
        assert!(numbers.is_sorted(), "{told:?}");
        if sequencing == Sequencing::Repaired {
            assert_eq!(numbers, [0, 1, 2, 3, 4, 11, 12, 13, 14, 15]);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_join_a_leave_and_a_shared_name_are_told() {
    let medium = Medium::new();
    let mut named = options(Sequencing::Repaired);
    named.name = Some("kitchen-1".into());
    let first = medium.node_with(named.clone());
    up(&first).await;
    let second = medium.node_with(named);
    let third = medium.node_with(options(Sequencing::Repaired));
    let told = members(&first, "three", |it| it.nodes.len() == 2).await;
    assert!(told.contains(second.node()) && told.contains(third.node()));
    assert!(told.name_is_shared);
    assert!(!members(&third, "three", |it| it.nodes.len() == 2).await.name_is_shared);
    let begun = tokio::time::Instant::now();
    second.close(Duration::from_secs(5)).await.unwrap();
    let left = second.node();
    let told = members(&first, "two", move |it| !it.contains(left)).await;
    assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
    assert!(!told.name_is_shared);
}

#[tokio::test(start_paused = true)]
async fn a_node_that_falls_silent_is_dead_after_a_while_and_its_loss_is_told() {
    let medium = Medium::new();
    let first = medium.node_with(options(Sequencing::Repaired));
    let second = medium.node_with(options(Sequencing::Repaired));
    let (heard, _subscription) = listen(&first, &second).await;
    let silent = second.node();
    tokio::time::sleep(Duration::from_secs(3)).await;
    let begun = tokio::time::Instant::now();
    // Without taking its leave.
    drop(second);
    members(&first, "alone", move |it| !it.contains(silent)).await;
    let took = begun.elapsed();
    assert!(took > Duration::from_secs(3) && took < Duration::from_secs(8), "{took:?}");
    heard.until("origin lost").await;
}
