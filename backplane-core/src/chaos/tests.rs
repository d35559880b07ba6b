//! What arrives as bytes, which may hold anything.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use bytesize::ByteSize;

use super::*;
use crate::{
    Backplane, Durability, Envelope, Filter, Node, NodeId, NodeOptions, PublisherOutage, Receipt,
    Replay, SubscriberOutage, codec, envelope::Kind,
};

/// Delivers only what the test hands over.
#[derive(Debug, Clone, Default)]
struct Quiet(Arc<Mutex<Option<Inbound>>>);

#[async_trait]
impl Wire for Quiet {
    type Session = Self;

    fn semantics(&self) -> Semantics {
        Semantics {
            delivery: Delivery::AtMostOnce,
            order: Order::PerOriginAndTopic,
            receipt: Receipt::Accepted,
            durability: Durability::Nothing,
            publisher_outage: PublisherOutage::Refuses,
            subscriber_outage: SubscriberOutage::LostAndReported,
            replay: Replay::None,
            filter: Filter::Node,
            largest_body: ByteSize::kib(1),
        }
    }

    async fn connect(&self, inbound: Inbound) -> Result<Self, LinkError> {
        *self.0.lock().unwrap() = Some(inbound);
        Ok(self.clone())
    }
}

#[async_trait]
impl Session for Quiet {
    async fn write(&self, _: &Batch) -> Result<Vec<Refused<usize>>, LinkError> {
        Ok(Vec::new())
    }
}

impl Quiet {
    async fn node(&self, options: ChaosOptions) -> (Node, ChaosHandle) {
        let chaos = Chaos::new(self.clone(), options).unwrap();
        let switch = chaos.handle();
        let node = Node::start(chaos, NodeOptions::bare());
        let connected = async {
            while self.inbound().is_none() {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(1), connected).await.unwrap();
        (node, switch)
    }

    fn inbound(&self) -> Option<Inbound> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn arrives(&self, frames: Vec<Bytes>) {
        let inbound = self.inbound().unwrap();
        frames.into_iter().for_each(|frame| inbound.frame(frame));
    }
}

fn frames(kinds: &[Kind], origin: NodeId) -> Vec<Bytes> {
    let envelope = |kind: &Kind| {
        let mut envelope = Envelope::new(Topic::all("orders"), 1_u64.to_le_bytes().to_vec());
        envelope.kind = *kind;
        envelope
    };
    let envelopes: Vec<Envelope> = kinds.iter().map(envelope).collect();
    codec::frames(&envelopes, origin, usize::MAX).into_iter().map(|frame| frame.bytes).collect()
}

const OTHER: NodeId = NodeId::from_bytes([7; 16]);

#[tokio::test(start_paused = true)]
async fn what_a_dropped_frame_held_is_counted() {
    let (wire, options) = (Quiet::default(), ChaosOptions { drop: 1.0, ..ChaosOptions::default() });
    let (node, switch) = wire.node(options).await;
    let lost = |frames| {
        let before = switch.counts();
        wire.arrives(frames);
        let counts = switch.counts();
        (counts.dropped - before.dropped, counts.lost_messages - before.lost_messages)
    };
    assert_eq!(lost(frames(&[Kind::Message, Kind::Resent, Kind::Message], OTHER)), (1, 3));
    assert_eq!(lost(frames(&[Kind::Control], OTHER)), (1, 0));
    // Nobody misses an echo, or what nobody can read.
    assert_eq!(lost(frames(&[Kind::Message], node.node())), (1, 0));
    assert_eq!(lost(vec![Bytes::from_static(b"garbage"), Bytes::new()]), (2, 0));
    // A probe of one's own is spared, and only that.
    assert_eq!(lost(frames(&[Kind::Probe], OTHER)), (1, 0));
    assert_eq!(lost(frames(&[Kind::Probe], node.node())), (0, 0));
    let stats = node.stats();
    assert_eq!((stats.received, stats.echoes, stats.malformed, stats.probes), (0, 0, 0, 1));
}

#[tokio::test(start_paused = true)]
async fn a_frame_that_passes_is_as_it_was() {
    let options = ChaosOptions { double: 1.0, delay: 1.0, ..ChaosOptions::default() };
    let wire = Quiet::default();
    let (node, switch) = wire.node(options).await;
    wire.arrives(frames(&[Kind::Message, Kind::Message], OTHER));
    wire.arrives(vec![Bytes::from_static(b"garbage")]);
    tokio::time::sleep(Duration::from_secs(1)).await;
    let (stats, counts) = (node.stats(), switch.counts());
    assert_eq!((stats.received, stats.malformed), (4, 2));
    assert_eq!((counts.arrived, counts.doubled, counts.passed), (2, 2, 4));
}

/// Each has its own way with what passes through both.
#[tokio::test(start_paused = true)]
async fn one_within_another_gets_what_that_lets_pass() {
    let twice = || ChaosOptions { double: 1.0, ..ChaosOptions::default() };
    let wire = Quiet::default();
    let inner = Chaos::new(wire.clone(), twice()).unwrap();
    let (node, outer) = {
        let chaos = Chaos::new(inner, twice()).unwrap();
        let switch = chaos.handle();
        (Node::start(chaos, NodeOptions::bare()), switch)
    };
    while wire.inbound().is_none() {
        tokio::task::yield_now().await;
    }
    wire.arrives(frames(&[Kind::Message], OTHER));
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(outer.counts().arrived, 2);
    assert_eq!(node.stats().received, 4);
}
