//! What becomes of what is published while the link is down, over a scripted wire in virtual time.

#![expect(
    clippy::unwrap_used,
    unreachable_pub,
    dead_code,
    reason = "a test fails by panicking, and shares its helpers"
)]

mod scripted;

use std::{sync::atomic::Ordering, time::Duration};

use backplane_core::{
    Backplane, ByteSize, CloseError, Envelope, Link, Node, NodeOptions, Outage, PublishError,
    Receipt, Sequencing, Stats, Topic, WhenFull,
};
use futures_util::FutureExt;
use scripted::Scripted;

fn envelope(body: &'static str) -> Envelope {
    Envelope::new(Topic::group("orders", "kitchen"), body)
}

async fn up(node: &Node) {
    node.link().wait_for(Link::is_up).await.unwrap();
}

async fn down(node: &Node) {
    node.link().wait_for(|link| matches!(link, Link::Down { .. })).await.unwrap();
}

fn accounted(node: &Node) -> Stats {
    let stats = node.stats();
    let Stats { sent, buffered, link_down, refused, unknown, dropped_full, dropped_old, .. } =
        stats;
    let known = sent + buffered + link_down + refused + unknown + dropped_full + dropped_old;
    assert_eq!(stats.accepted, known, "{stats:?}");
    stats
}

/// What the node has counted once it has dropped so many.
async fn dropped(node: &Node, count: u64) -> Stats {
    let enough = async {
        while accounted(node).dropped_full < count {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), enough).await.unwrap();
    accounted(node)
}

fn buffer(count: usize, age: Duration, when_full: WhenFull) -> Outage {
    Outage::Buffer { count, bytes: ByteSize::mib(1), age, when_full }
}

fn options(outage: Outage, sequencing: Sequencing) -> NodeOptions {
    let mut options = NodeOptions::default();
    options.outage = outage;
    options.sequencing = sequencing;
    options
}

/// A node whose link is down, and stays down until the test says otherwise.
async fn cut_off(outage: Outage, sequencing: Sequencing) -> (Scripted, Node) {
    let wire = Scripted::new();
    let node = wire.node_with(options(outage, sequencing));
    up(&node).await;
    wire.script.away.store(true, Ordering::Relaxed);
    wire.lose();
    down(&node).await;
    (wire, node)
}

async fn back(wire: &Scripted, node: &Node) {
    wire.script.away.store(false, Ordering::Relaxed);
    up(node).await;
}

/// The bodies that were published, without what nodes say to each other.
fn bodies(wire: &Scripted) -> Vec<String> {
    let written = wire.script.written.lock().unwrap();
    let published = written.iter().filter(|it| it.topic.hub() == "orders" && it.body.len() == 1);
    published.map(|it| String::from_utf8_lossy(&it.body).into_owned()).collect()
}

async fn written(wire: &Scripted, count: usize) -> Vec<String> {
    let enough = async {
        while bodies(wire).len() < count {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), enough).await.unwrap();
    bodies(wire)
}

#[tokio::test(start_paused = true)]
async fn buffered_envelopes_are_queued_at_once_and_sent_in_order() {
    let outage = buffer(100, Duration::from_secs(60), WhenFull::DropOldest);
    let (wire, node) = cut_off(outage, Sequencing::Repaired).await;
    for body in ["a", "b", "c"] {
        assert_eq!(node.publish(envelope(body)).await.unwrap(), Receipt::Queued);
        accounted(&node);
    }
    assert_eq!(accounted(&node).buffered, 3);
    back(&wire, &node).await;
    assert_eq!(node.publish(envelope("d")).await.unwrap(), Receipt::Accepted);
    assert_eq!(written(&wire, 4).await, ["a", "b", "c", "d"]);
    let stats = accounted(&node);
    assert_eq!((stats.sent, stats.buffered), (4, 0));
}

#[tokio::test(start_paused = true)]
async fn what_waits_is_sent_when_the_link_is_back_or_answered_at_its_deadline() {
    let outage = Outage::Wait { deadline: Duration::from_secs(5) };
    let (wire, node) = cut_off(outage, Sequencing::Repaired).await;
    let begun = tokio::time::Instant::now();
    let outcome = node.publish(envelope("a")).await;
    assert!(matches!(outcome, Err(PublishError::LinkDown(_))), "{outcome:?}");
    let waited = begun.elapsed();
    assert!(waited >= Duration::from_secs(5) && waited < Duration::from_secs(6), "{waited:?}");
    assert_eq!(accounted(&node).link_down, 1);
    let mut ticket = node.try_publish(envelope("b")).unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!((&mut ticket).now_or_never().is_none());
    assert_eq!(accounted(&node).buffered, 1);
    back(&wire, &node).await;
    assert_eq!(ticket.await.unwrap(), Receipt::Accepted);
    assert_eq!(written(&wire, 1).await, ["b"]);
    accounted(&node);
}

#[tokio::test(start_paused = true)]
async fn a_full_buffer_drops_the_oldest() {
    let outage = buffer(2, Duration::from_secs(60), WhenFull::DropOldest);
    let (wire, node) = cut_off(outage, Sequencing::Repaired).await;
    for body in ["a", "b", "c", "d"] {
        assert_eq!(node.publish(envelope(body)).await.unwrap(), Receipt::Queued);
        accounted(&node);
    }
    let stats = dropped(&node, 2).await;
    assert_eq!((stats.dropped_full, stats.buffered), (2, 2));
    back(&wire, &node).await;
    assert_eq!(written(&wire, 2).await, ["c", "d"]);
}

#[tokio::test(start_paused = true)]
async fn a_full_buffer_drops_the_newest() {
    let outage = buffer(2, Duration::from_secs(60), WhenFull::DropNewest);
    let (wire, node) = cut_off(outage, Sequencing::Repaired).await;
    for body in ["a", "b", "c", "d"] {
        drop(node.publish(envelope(body)).await);
        accounted(&node);
    }
    assert_eq!(dropped(&node, 2).await.dropped_full, 2);
    back(&wire, &node).await;
    assert_eq!(written(&wire, 2).await, ["a", "b"]);
}

#[tokio::test(start_paused = true)]
async fn a_full_buffer_refuses_and_gives_the_envelope_back() {
    let outage = buffer(2, Duration::from_secs(60), WhenFull::Refuse);
    let (wire, node) = cut_off(outage, Sequencing::Repaired).await;
    for body in ["a", "b"] {
        assert_eq!(node.publish(envelope(body)).await.unwrap(), Receipt::Queued);
    }
    let refused = node.try_publish(envelope("c"));
    assert!(matches!(refused, Err(PublishError::Full(it)) if it.body == "c"));
    assert_eq!(accounted(&node).accepted, 2);
    back(&wire, &node).await;
    assert_eq!(node.publish(envelope("d")).await.unwrap(), Receipt::Accepted);
    assert_eq!(written(&wire, 3).await, ["a", "b", "d"]);
    accounted(&node);
}

#[tokio::test(start_paused = true)]
async fn what_is_too_old_is_dropped() {
    let outage = buffer(100, Duration::from_secs(10), WhenFull::DropOldest);
    let (wire, node) = cut_off(outage, Sequencing::Repaired).await;
    node.publish(envelope("a")).await.unwrap();
    tokio::time::sleep(Duration::from_secs(7)).await;
    node.publish(envelope("b")).await.unwrap();
    // The next attempt to connect is at most two seconds later: not too late for this one.
    tokio::time::sleep(Duration::from_millis(3500)).await;
    let stats = accounted(&node);
    assert_eq!((stats.dropped_old, stats.buffered), (1, 1));
    back(&wire, &node).await;
    assert_eq!(written(&wire, 1).await, ["b"]);
}

#[tokio::test(start_paused = true)]
async fn what_is_transient_is_never_buffered() {
    let (wire, node) = cut_off(Outage::buffer(), Sequencing::Repaired).await;
    let outcome = node.publish(envelope("a").transient()).await;
    assert!(matches!(outcome, Err(PublishError::LinkDown(_))), "{outcome:?}");
    node.publish(envelope("b")).await.unwrap();
    assert_eq!(accounted(&node).link_down, 1);
    back(&wire, &node).await;
    assert_eq!(written(&wire, 1).await, ["b"]);
}

/// A node whose broker takes what is written and does not answer.
async fn unanswered(sequencing: Sequencing) -> (Scripted, Node) {
    let wire = Scripted::by_hand();
    let node = wire.node_with(options(Outage::buffer(), sequencing));
    up(&node).await;
    (wire, node)
}

#[tokio::test(start_paused = true)]
async fn what_was_in_flight_is_sent_again_where_it_is_numbered() {
    let (wire, node) = unanswered(Sequencing::Repaired).await;
    let tickets = ["a", "b"].map(|body| node.try_publish(envelope(body)).unwrap());
    written(&wire, 2).await;
    wire.script.away.store(true, Ordering::Relaxed);
    wire.lose();
    down(&node).await;
    for ticket in tickets {
        assert_eq!(ticket.await.unwrap(), Receipt::Queued);
    }
    node.publish(envelope("c")).await.unwrap();
    assert_eq!(accounted(&node).buffered, 3);
    wire.answers.add_permits(1000);
    back(&wire, &node).await;
    assert_eq!(written(&wire, 5).await, ["a", "b", "a", "b", "c"]);
    let again = wire.script.written.lock().unwrap().clone();
    assert!(again.iter().filter(|it| it.body.len() == 1).all(|it| it.topic.name() == "kitchen"));
    while accounted(&node).sent < 3 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn what_was_in_flight_without_a_number_is_unknown() {
    let (wire, node) = unanswered(Sequencing::Off).await;
    let ticket = node.try_publish(envelope("a")).unwrap();
    written(&wire, 1).await;
    wire.lose();
    assert!(matches!(ticket.await, Err(PublishError::Unknown)));
    assert_eq!(accounted(&node).unknown, 1);
    wire.answers.add_permits(1000);
    up(&node).await;
    node.publish(envelope("b")).await.unwrap();
    assert_eq!(bodies(&wire), ["a", "b"]);
}

#[tokio::test(start_paused = true)]
async fn closing_with_a_buffer_says_how_much_is_unsent() {
    let (_wire, node) = cut_off(Outage::buffer(), Sequencing::Repaired).await;
    for body in ["a", "b", "c"] {
        node.publish(envelope(body)).await.unwrap();
    }
    let closed = node.close(Duration::from_secs(1)).await;
    assert!(matches!(closed, Err(CloseError::DeadlinePassed { unsent: 3, .. })), "{closed:?}");
    let stats = accounted(&node);
    assert_eq!((stats.buffered, stats.link_down), (0, 3));
}
