//! A wire that does what a test tells it, in virtual time.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};

use async_trait::async_trait;
use backplane_core::{
    ByteSize, Delivery, Durability, Envelope, Filter, LinkError, Node, NodeOptions, Order,
    PublisherOutage, Receipt, Replay, Semantics, SubscriberOutage, Topic,
    wire::{Batch, Inbound, Refused, Session, Wire},
};
use tokio::sync::Semaphore;

/// What the test controls and sees.
#[derive(Debug, Default)]
pub struct Script {
    /// Whether connecting works.
    pub away: AtomicBool,
    /// Whether probes are swallowed.
    pub mute: AtomicBool,
    /// Topics by name that are refused.
    pub refused_topics: Mutex<Vec<String>>,
    /// Bodies that are refused.
    pub refused_bodies: Mutex<Vec<&'static str>>,
    pub attempts: AtomicUsize,
    pub written: Mutex<Vec<Envelope>>,
    /// The latest probe that was written.
    pub probe: Mutex<Option<Envelope>>,
    pub subscribed: Mutex<Vec<Topic>>,
    pub unsubscribed: Mutex<Vec<Topic>>,
    pub largest_in_flight: AtomicUsize,
    inbound: Mutex<Option<Inbound>>,
    in_flight: AtomicUsize,
}

#[derive(Debug, Clone)]
pub struct Scripted {
    pub script: Arc<Script>,
    /// One permit lets one batch be answered; probes need none.
    pub answers: Arc<Semaphore>,
}

impl Scripted {
    /// Answers everything at once.
    pub fn new() -> Self {
        Self { script: Arc::default(), answers: Arc::new(Semaphore::new(usize::MAX >> 4)) }
    }

    /// Answers one batch per permit.
    pub fn by_hand() -> Self {
        Self { script: Arc::default(), answers: Arc::new(Semaphore::new(0)) }
    }

    pub fn node(&self) -> Node {
        self.node_with(NodeOptions::bare())
    }

    pub fn node_with(&self, options: NodeOptions) -> Node {
        Node::start(self.clone(), options)
    }

    /// The present connection's receiving end.
    pub fn inbound(&self) -> Inbound {
        self.script.inbound.lock().unwrap().clone().expect("connected")
    }

    pub fn lose(&self) {
        self.inbound().lost(LinkError::Lost { reason: "scripted".to_owned() });
    }

    pub fn bodies(&self) -> Vec<String> {
        let written = self.script.written.lock().unwrap();
        written.iter().map(|it| String::from_utf8_lossy(&it.body).into_owned()).collect()
    }
}

#[async_trait]
impl Wire for Scripted {
    type Session = Connection;

    fn semantics(&self) -> Semantics {
        Semantics {
            delivery: Delivery::AtMostOnce,
            order: Order::PerOriginAndTopic,
            receipt: Receipt::Accepted,
            durability: Durability::Nothing,
            publisher_outage: PublisherOutage::Refuses,
            subscriber_outage: SubscriberOutage::LostAndReported,
            replay: Replay::None,
            filter: Filter::Broker,
            largest_body: ByteSize::kib(1),
        }
    }

    async fn connect(&self, inbound: Inbound) -> Result<Connection, LinkError> {
        self.script.attempts.fetch_add(1, Ordering::Relaxed);
        if self.script.away.load(Ordering::Relaxed) {
            return Err(LinkError::Lost { reason: "away".to_owned() });
        }
        *self.script.inbound.lock().unwrap() = Some(inbound.clone());
        Ok(Connection { wire: self.clone(), inbound })
    }
}

#[derive(Debug)]
pub struct Connection {
    wire: Scripted,
    inbound: Inbound,
}

/// Probes go to the topic of a hub without a name.
fn is_probe(envelope: &Envelope) -> bool {
    envelope.topic.hub().is_empty()
}

#[async_trait]
impl Session for Connection {
    async fn write(&self, batch: &Batch) -> Result<Vec<Refused<usize>>, LinkError> {
        let script = &self.wire.script;
        if batch.envelopes().iter().all(is_probe) {
            *script.probe.lock().unwrap() = batch.envelopes().last().cloned();
            if !script.mute.load(Ordering::Relaxed) {
                batch.envelopes().iter().for_each(|envelope| self.inbound.envelope(envelope));
            }
            return Ok(Vec::new());
        }
        // Written at the first poll, answered when allowed.
        script.written.lock().unwrap().extend_from_slice(batch.envelopes());
        let now = script.in_flight.fetch_add(1, Ordering::Relaxed) + 1;
        script.largest_in_flight.fetch_max(now, Ordering::Relaxed);
        self.wire.answers.acquire().await.expect("never closed").forget();
        script.in_flight.fetch_sub(1, Ordering::Relaxed);
        let refused = script.refused_bodies.lock().unwrap();
        let matching = batch.envelopes().iter().enumerate();
        Ok(matching
            .filter(|(_, it)| refused.iter().any(|body| it.body == body.as_bytes()))
            .map(|(what, _)| Refused { what, reason: "scripted".into() })
            .collect())
    }

    async fn subscribe(&self, topics: &[Topic]) -> Result<Vec<Refused<Topic>>, LinkError> {
        let script = &self.wire.script;
        script.subscribed.lock().unwrap().extend_from_slice(topics);
        let refused = script.refused_topics.lock().unwrap();
        Ok(topics
            .iter()
            .filter(|topic| refused.iter().any(|name| name == topic.name()))
            .map(|topic| Refused { what: topic.clone(), reason: "scripted".into() })
            .collect())
    }

    async fn unsubscribe(&self, topics: &[Topic]) -> Result<(), LinkError> {
        self.wire.script.unsubscribed.lock().unwrap().extend_from_slice(topics);
        Ok(())
    }
}
