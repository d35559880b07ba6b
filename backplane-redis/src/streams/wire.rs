use std::{cmp::Ordering, fmt, sync::Arc};

use async_trait::async_trait;
use backplane_core::{
    ByteSize, Delivery, Durability, Filter, LinkError, Order, Position, PublisherOutage, Receipt,
    Replay, Semantics, SubscriberOutage, Topic,
    wire::{Batch, Inbound, Reader, Refused, Session, Wire},
};
use redis::{
    ProtocolVersion, PushInfo, PushKind,
    aio::{MultiplexedConnection, SendError},
    cmd,
};
use tokio::sync::{Mutex, mpsc, oneshot, watch};
use tokio_util::task::AbortOnDropHandle;

use super::{
    append::{Appender, Bounds, sweep},
    follow::{Follower, Place, Request, ends_of, gone, is_trimmed},
    part::{Id, Parts},
    portion::Portion,
    read::StreamReader,
};
use crate::{Protocol, endpoint::Endpoint, error, locate::Locator, server};

/// As for Pub/Sub: what a reader has not taken yet is held by the server, several times over.
const LARGEST_BODY: ByteSize = ByteSize::mib(8);

/// Connects to one server that keeps streams.
#[derive(Debug)]
pub(super) struct StreamsWire {
    locator: Locator,
    protocol: Protocol,
    parts: Arc<Parts>,
    bounds: Bounds,
    /// Held by the connection that reads.
    place: Arc<Mutex<Place>>,
}

impl StreamsWire {
    pub(super) fn new(locator: Locator, protocol: Protocol, parts: Parts, bounds: Bounds) -> Self {
        let place = Arc::new(Mutex::new(Place::new(&parts)));
        Self { locator, protocol, parts: Arc::new(parts), bounds, place }
    }

    /// Where a part ends.
    async fn end(
        &self,
        connection: &mut MultiplexedConnection,
        part: u32,
    ) -> Result<Id, LinkError> {
        let mut ends =
            ends_of(connection, &self.parts, &[part]).await.map_err(|error| error::lost(&error))?;
        ends.pop().unwrap_or(Ok(Id::ZERO)).map_err(|error| error::lost(&error))
    }

    /// Opens a connection; its end is told to `inbound`, if there is one to tell.
    async fn open(
        &self,
        endpoint: &Endpoint,
        inbound: Option<&Inbound>,
    ) -> Result<(MultiplexedConnection, ProtocolVersion), LinkError> {
        let opened = endpoint.open_newest(self.protocol, || {
            let inbound = inbound.cloned();
            move |push: PushInfo| {
                if push.kind == PushKind::Disconnection
                    && let Some(inbound) = &inbound
                {
                    let reason = "the server ended a connection".to_owned();
                    inbound.lost(LinkError::Lost { reason });
                }
                Ok::<(), SendError>(())
            }
        });
        opened.await.map_err(|error| endpoint.failed(&error))
    }
}

#[async_trait]
impl Wire for StreamsWire {
    type Session = StreamsSession;

    fn semantics(&self) -> Semantics {
        Semantics {
            delivery: Delivery::AtLeastOnce,
            order: Order::PerOriginAndTopic,
            receipt: Receipt::Stored,
            durability: Durability::AsSetUp { settings: "appendonly, appendfsync" },
            publisher_outage: PublisherOutage::Refuses,
            subscriber_outage: SubscriberOutage::CatchesUp,
            replay: Replay::Kept { age: Some(self.bounds.age), entries: Some(self.bounds.entries) },
            filter: Filter::Node,
            largest_body: LARGEST_BODY,
        }
    }

    async fn connect(&self, inbound: Inbound) -> Result<StreamsSession, LinkError> {
        let found = self.locator.locate().await?;
        let endpoint = &found.endpoint;
        let (connection, protocol) = self.open(endpoint, Some(&inbound)).await?;
        server::check(&connection, protocol, endpoint).await?;
        let (mut reading, _) = self.open(endpoint, Some(&inbound)).await?;
        let client = cmd("CLIENT").arg("ID").query_async(&mut reading).await;
        let client = client.map_err(|error| endpoint.failed(&error))?;
        // The connection before gives it back when it ends.
        let mut place = Arc::clone(&self.place).lock_owned().await;
        place.begin();
        let (caught_up, catches_up) = watch::channel(false);
        let mut follower = Follower {
            connection: reading,
            waker: connection.clone(),
            client,
            parts: Arc::clone(&self.parts),
            place,
            inbound: inbound.clone(),
            ends: vec![None; self.parts.count()],
            caught_up,
            portion: Portion::SMALLEST,
            behind: Vec::new(),
        };
        follower.begin().await.map_err(|error| endpoint.failed(&error))?;
        let (requests, asked) = mpsc::channel(2);
        let appender = Appender::new(connection, Arc::clone(&self.parts), self.bounds);
        let sweeping = sweep(appender.connection(), Arc::clone(&self.parts), self.bounds.age);
        let tasks = [
            AbortOnDropHandle::new(tokio::spawn(follower.run(asked))),
            AbortOnDropHandle::new(tokio::spawn(sweeping)),
        ];
        let watch = self.locator.watch(found, move |moved| inbound.lost(moved));
        Ok(StreamsSession {
            appender,
            requests,
            caught_up: catches_up,
            _tasks: tasks,
            _watch: watch,
        })
    }

    fn part_of(&self, topic: &Topic) -> u32 {
        self.parts.of(topic)
    }

    async fn read(
        &self,
        topic: &Topic,
        from: Position,
    ) -> Result<(Position, Box<dyn Reader>), LinkError> {
        let part = self.parts.of(topic);
        let found = self.locator.locate().await?;
        let (mut connection, _) = self.open(&found.endpoint, None).await?;
        let (position, read, trimmed) = match from {
            Position::Earliest => (from, Id::ZERO, false),
            Position::Now => {
                let end = self.end(&mut connection, part).await?;
                (Position::After(end.last_offset(part)), end, false)
            }
            Position::After(offset) => {
                let entry = Id::of(offset);
                let end = self.end(&mut connection, part).await?;
                let key = self.parts.key(part);
                let trimmed = match end.cmp(&entry) {
                    Ordering::Less => true,
                    Ordering::Equal => false,
                    Ordering::Greater => is_trimmed(&mut connection, key, entry)
                        .await
                        .map_err(|error| error::lost(&error))?,
                };
                // A server that has lost its data may begin anew.
                (from, entry.before().min(end), trimmed)
            }
        };
        let (parts, channel) = (Arc::clone(&self.parts), self.parts.channels.of(topic));
        let (moves, moved) = oneshot::channel();
        let watch = self.locator.watch(found, move |error| drop(moves.send(error)));
        let moved = watch.is_some().then_some(moved);
        let reader = StreamReader {
            connection,
            parts,
            part,
            channel,
            read,
            trimmed,
            portion: Portion::SMALLEST,
            behind: false,
            moved,
            _watch: watch,
        };
        Ok((position, Box::new(reader)))
    }
}

/// Two connections: one appends, one reads. Dropping it ends both with their tasks.
pub(super) struct StreamsSession {
    appender: Appender,
    requests: mpsc::Sender<Request>,
    caught_up: watch::Receiver<bool>,
    _tasks: [AbortOnDropHandle<()>; 2],
    _watch: Option<AbortOnDropHandle<()>>,
}

impl StreamsSession {
    async fn ask<T>(
        &self,
        request: impl FnOnce(oneshot::Sender<T>) -> Request,
    ) -> Result<T, LinkError> {
        let (answer, answered) = oneshot::channel();
        self.requests.send(request(answer)).await.map_err(|_| gone())?;
        answered.await.map_err(|_| gone())
    }
}

#[async_trait]
impl Session for StreamsSession {
    async fn write(&self, batch: &Batch) -> Result<Vec<Refused<usize>>, LinkError> {
        self.appender.write(batch).await
    }

    async fn subscribe(&self, topics: &[Topic]) -> Result<Vec<Refused<Topic>>, LinkError> {
        self.ask(|answer| Request::Subscribe(topics.to_vec(), answer)).await
    }

    async fn unsubscribe(&self, topics: &[Topic]) -> Result<(), LinkError> {
        self.ask(|answer| Request::Unsubscribe(topics.to_vec(), answer)).await
    }

    async fn caught_up(&self) -> Result<(), LinkError> {
        self.requests.send(Request::Settle).await.map_err(|_| gone())?;
        self.caught_up.clone().wait_for(|it| *it).await.map_err(|_| gone())?;
        Ok(())
    }
}

impl fmt::Debug for StreamsSession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StreamsSession").finish_non_exhaustive()
    }
}
