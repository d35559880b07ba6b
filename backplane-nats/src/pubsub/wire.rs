use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use async_trait::async_trait;
use backplane_core::{
    ByteSize, Delivery, Durability, Filter, LinkError, Order, PublisherOutage, Receipt, Replay,
    Semantics, SubscriberOutage, Topic,
    wire::{Batch, Inbound, Refused, Session, Wire},
};
use tokio::task::JoinSet;

use super::{publish::Publisher, receive::Inflow, subscribe::Routes, witness::Witnesses};
use crate::{
    connection::{Connection, Servers},
    notices::Notices,
};

/// The largest body. With the longest header, 256 KiB, it fits into the default `max_payload` of 1
/// MiB.
pub(crate) const LARGEST_BODY: ByteSize = ByteSize::kib(768);

/// The least time between two doubts: each visits every sink.
const DOUBT_EVERY: Duration = Duration::from_millis(100);

/// Connects to one of some servers.
#[derive(Debug)]
pub(crate) struct PubSubWire {
    servers: Arc<Servers>,
}

impl PubSubWire {
    pub(crate) fn new(servers: Servers) -> Self {
        Self { servers: Arc::new(servers) }
    }
}

#[async_trait]
impl Wire for PubSubWire {
    type Session = PubSubSession;

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
            largest_body: LARGEST_BODY,
        }
    }

    async fn connect(&self, inbound: Inbound) -> Result<PubSubSession, LinkError> {
        let connection = self.servers.connect(Some(&inbound)).await?;
        let witnesses = Witnesses::new(Arc::clone(&self.servers));
        witnesses.meet(&connection).await?;
        let inflow = Arc::new(Inflow::new(inbound, connection.client.statistics()));
        let (routes, reader) = Routes::new(Arc::clone(&inflow));
        let mut tasks = JoinSet::new();
        tasks.spawn(reader.run());
        tasks.spawn(doubt(Arc::clone(&connection.notices)));
        Ok(PubSubSession {
            connection,
            publisher: Publisher::default(),
            routes,
            inflow,
            witnesses,
            _tasks: tasks,
        })
    }
}

/// A connection and what works on it.
#[derive(Debug)]
pub(crate) struct PubSubSession {
    connection: Connection,
    publisher: Publisher,
    routes: Routes,
    inflow: Arc<Inflow>,
    witnesses: Witnesses,
    /// What calls the sinks, and so runs where the node does. Ended when dropped.
    _tasks: JoinSet<()>,
}

/// Tells the sinks whenever messages may have been dropped.
async fn doubt(notices: Arc<Notices>) {
    loop {
        notices.doubt.notified().await;
        notices.doubted();
        // What is reported meanwhile becomes one more doubt.
        tokio::time::sleep(DOUBT_EVERY).await;
    }
}

#[async_trait]
impl Session for PubSubSession {
    async fn write(&self, batch: &Batch) -> Result<Vec<Refused<usize>>, LinkError> {
        self.publisher.write(batch, &self.connection).await
    }

    async fn subscribe(&self, topics: &[Topic]) -> Result<Vec<Refused<Topic>>, LinkError> {
        let refused = self.routes.subscribe(topics, &self.connection).await?;
        self.witnesses.know(&self.connection).await?;
        Ok(refused)
    }

    async fn unsubscribe(&self, topics: &[Topic]) -> Result<(), LinkError> {
        self.routes.unsubscribe(topics);
        Ok(())
    }

    /// What waits here when the connection ends is lost with it, as is what was dropped and not told of yet.
    fn proven(&self) -> Option<Instant> {
        let dropped = self.connection.notices.untold();
        [self.inflow.proven(), dropped].into_iter().flatten().min()
    }

    async fn close(&self) {
        // All that was written has come through its fence; what else there is may be lost.
        let _ = self.connection.client.flush().await;
    }
}
