//! Genuine frames, to be damaged.

use async_trait::async_trait;
use backplane_core::{
    Backplane, ByteSize, Delivery, Durability, Envelope, Filter, LinkError, Node, NodeOptions,
    Order, PublisherOutage, Receipt, Replay, Semantics, SubscriberOutage,
    wire::{Batch, Inbound, Refused, Session, Wire},
};
use bytes::Bytes;
use tokio::sync::mpsc;

use super::{Doing, Outcome, SOON, Stop, within};

/// The frame in which a node of its own, with these options, sends this envelope.
pub(super) async fn frame(envelope: Envelope, options: NodeOptions) -> Outcome<Bytes> {
    let (tape, mut recorded) = mpsc::channel(1);
    let node = Node::start(Recorder(tape), options);
    super::up(&node).await?;
    let ticket = node.try_publish(envelope).doing("recording an envelope")?;
    let frame = within(SOON, "the recorder", recorded.recv()).await?;
    within(SOON, "the recorder's receipt", ticket).await?.doing("recording an envelope")?;
    frame.ok_or_else(|| Stop::Broken("nothing was recorded".to_owned()))
}

/// A wire to nowhere that keeps what is written to it.
#[derive(Debug)]
struct Recorder(mpsc::Sender<Bytes>);

#[derive(Debug)]
struct Recording {
    inbound: Inbound,
    tape: mpsc::Sender<Bytes>,
}

#[async_trait]
impl Wire for Recorder {
    type Session = Recording;

    fn semantics(&self) -> Semantics {
        Semantics {
            delivery: Delivery::AtMostOnce,
            order: Order::PerOriginAndTopic,
            receipt: Receipt::Queued,
            durability: Durability::Nothing,
            publisher_outage: PublisherOutage::Never,
            subscriber_outage: SubscriberOutage::Never,
            replay: Replay::None,
            filter: Filter::Node,
            largest_body: ByteSize::mib(1),
        }
    }

    async fn connect(&self, inbound: Inbound) -> Result<Recording, LinkError> {
        Ok(Recording { inbound, tape: self.0.clone() })
    }
}

#[async_trait]
impl Session for Recording {
    async fn write(&self, batch: &Batch) -> Result<Vec<Refused<usize>>, LinkError> {
        // The node's own probes come back; no hub has an empty name.
        let probes = batch.envelopes().iter().all(|envelope| envelope.topic.hub().is_empty());
        for frame in batch.frames() {
            if probes {
                self.inbound.frame(frame.bytes);
            } else if self.tape.send(frame.bytes).await.is_err() {
                return Err(LinkError::Lost { reason: "nobody reads the tape".to_owned() });
            }
        }
        Ok(Vec::new())
    }
}
