use std::fmt;

use async_trait::async_trait;
use backplane_core::{
    ByteSize, Delivery, Durability, Filter, LinkError, Order, PublisherOutage, Receipt, Replay,
    Semantics, SubscriberOutage, Topic,
    wire::{Batch, Inbound, Refused, Session, Wire},
};

use crate::medium::{Medium, gone};

/// Joins a medium.
#[derive(Debug)]
pub(crate) struct MemoryWire(Medium);

impl MemoryWire {
    pub(crate) const fn new(medium: Medium) -> Self {
        Self(medium)
    }
}

#[async_trait]
impl Wire for MemoryWire {
    type Session = MemorySession;

    fn semantics(&self) -> Semantics {
        Semantics {
            delivery: Delivery::AtLeastOnce,
            order: Order::PerOriginAndTopic,
            receipt: Receipt::Accepted,
            durability: Durability::Nothing,
            publisher_outage: PublisherOutage::Never,
            subscriber_outage: SubscriberOutage::Never,
            replay: Replay::None,
            filter: Filter::Broker,
            largest_body: ByteSize::mib(16),
        }
    }

    async fn connect(&self, inbound: Inbound) -> Result<MemorySession, LinkError> {
        let id = self.0.connect(inbound)?;
        Ok(MemorySession { medium: self.0.clone(), id })
    }
}

/// A node's membership of a medium.
pub(crate) struct MemorySession {
    medium: Medium,
    id: u64,
}

#[async_trait]
impl Session for MemorySession {
    async fn write(&self, batch: &Batch) -> Result<Vec<Refused<usize>>, LinkError> {
        if !self.medium.is_connected(self.id) {
            return Err(gone());
        }
        batch.envelopes().iter().for_each(|envelope| self.medium.route(envelope));
        Ok(Vec::new())
    }

    async fn subscribe(&self, topics: &[Topic]) -> Result<Vec<Refused<Topic>>, LinkError> {
        self.medium.subscribe(self.id, topics)?;
        Ok(Vec::new())
    }

    async fn unsubscribe(&self, topics: &[Topic]) -> Result<(), LinkError> {
        self.medium.unsubscribe(self.id, topics);
        Ok(())
    }
}

impl Drop for MemorySession {
    fn drop(&mut self) {
        self.medium.disconnect(self.id);
    }
}

impl fmt::Debug for MemorySession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("MemorySession").field(&self.id).finish()
    }
}
