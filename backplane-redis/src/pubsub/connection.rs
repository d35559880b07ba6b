use std::fmt;

use async_trait::async_trait;
use backplane_core::{
    ByteSize, Delivery, Durability, Filter, LinkError, Order, PublisherOutage, Receipt, Replay,
    Semantics, SubscriberOutage, Topic,
    wire::{Batch, Inbound, Refused, Session, Wire},
};
use redis::{
    ProtocolVersion, PushInfo, PushKind,
    aio::{MultiplexedConnection, SendError},
};

use tokio_util::task::AbortOnDropHandle;

use super::{publish::Publisher, subscribe::Subscriber};
use crate::{Protocol, channel::Channels, endpoint::Endpoint, locate::Locator, server};

/// Redis would carry 512 MB. But what a subscriber has not read yet counts against its output
/// buffer, and by default the server disconnects it at 32 MB: four of these.
const LARGEST_BODY: ByteSize = ByteSize::mib(8);

/// What Pub/Sub promises, sharded or not.
pub(crate) const fn semantics() -> Semantics {
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

/// Connects to one server.
#[derive(Debug)]
pub(crate) struct RedisWire {
    locator: Locator,
    protocol: Protocol,
    channels: Channels,
}

impl RedisWire {
    pub(crate) const fn new(locator: Locator, protocol: Protocol, channels: Channels) -> Self {
        Self { locator, protocol, channels }
    }

    /// Opens the publishing connection in the newest protocol that both sides may speak.
    async fn open(
        &self,
        endpoint: &Endpoint,
        inbound: &Inbound,
    ) -> Result<(MultiplexedConnection, ProtocolVersion), LinkError> {
        let on_push = || {
            let inbound = inbound.clone();
            move |push: PushInfo| {
                // Known at once, rather than by the next probe.
                if push.kind == PushKind::Disconnection {
                    let reason = "the server ended the publishing connection".to_owned();
                    inbound.lost(LinkError::Lost { reason });
                }
                Ok::<(), SendError>(())
            }
        };
        let opened = endpoint.open_newest(self.protocol, on_push).await;
        opened.map_err(|error| endpoint.failed(&error))
    }
}

#[async_trait]
impl Wire for RedisWire {
    type Session = RedisSession;

    fn semantics(&self) -> Semantics {
        semantics()
    }

    async fn connect(&self, inbound: Inbound) -> Result<RedisSession, LinkError> {
        let place = self.locator.locate().await?;
        let (connection, protocol) = self.open(&place.endpoint, &inbound).await?;
        server::check(&connection, protocol, &place.endpoint).await?;
        let channels = self.channels.clone();
        let subscriber =
            Subscriber::connect(&place.endpoint, protocol, channels, inbound.clone()).await?;
        let publisher = Publisher::new(connection, self.channels.clone());
        let watch = self.locator.watch(place, move |moved| inbound.lost(moved));
        Ok(RedisSession { protocol, publisher, subscriber, _watch: watch })
    }
}

/// Two connections: one publishes, one is subscribed. Dropping it ends both with their tasks. It
/// needs no closing of its own: every batch has been answered before.
pub(crate) struct RedisSession {
    protocol: ProtocolVersion,
    publisher: Publisher,
    subscriber: Subscriber,
    _watch: Option<AbortOnDropHandle<()>>,
}

#[async_trait]
impl Session for RedisSession {
    async fn write(&self, batch: &Batch) -> Result<Vec<Refused<usize>>, LinkError> {
        self.publisher.write(batch).await
    }

    async fn subscribe(&self, topics: &[Topic]) -> Result<Vec<Refused<Topic>>, LinkError> {
        self.subscriber.subscribe(topics).await
    }

    async fn unsubscribe(&self, topics: &[Topic]) -> Result<(), LinkError> {
        self.subscriber.unsubscribe(topics).await
    }
}

impl fmt::Debug for RedisSession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisSession").field("protocol", &self.protocol).finish_non_exhaustive()
    }
}
