use std::{fmt, sync::Arc, time::Duration};

use async_trait::async_trait;
use backplane_core::{
    Delivery, Durability, Filter, LinkError, Offset, Order, Position, PublisherOutage, Receipt,
    Replay, Semantics, SubscriberOutage, Topic,
    wire::{Batch, Inbound, Reader, Refused, Session, Wire},
};
use tokio::{
    sync::{Mutex, mpsc, oneshot, watch},
    task::JoinSet,
};

use super::{
    api::Api,
    append::Appender,
    config::{JetStreamConfig, Storage},
    follow::{Follower, Request},
    place::Place,
    read::StreamReader,
    stream::Stream,
};
use crate::{
    connection::{Connection, Servers},
    pubsub::LARGEST_BODY,
    subject,
};

/// The oldest server that filters a consumer by several subjects.
const OLDEST: (u64, u64) = (2, 10);

/// Connects to one of some servers that keep a stream.
#[derive(Debug)]
pub(super) struct JetStreamWire {
    servers: Servers,
    stream: Arc<Stream>,
    age: Duration,
    entries: u64,
    durability: Durability,
    patience: Duration,
    /// Held by the connection that reads.
    place: Arc<Mutex<Place>>,
}

impl JetStreamWire {
    pub(super) fn new(servers: Servers, config: &JetStreamConfig) -> Self {
        let stream = Stream::new(servers.subjects.clone(), config);
        let copies = config.replicas;
        Self {
            place: Arc::new(Mutex::new(Place::new(stream.count()))),
            stream: Arc::new(stream),
            age: config.age,
            entries: config.entries,
            durability: match config.storage {
                Storage::File => Durability::Disk { copies, fsync: "sync_interval" },
                Storage::Memory => Durability::Memory { copies },
            },
            patience: config.servers.node.answer_deadline,
            servers,
        }
    }

    async fn open(&self, inbound: Option<&Inbound>) -> Result<Api, LinkError> {
        let connection = self.servers.connect(inbound).await?;
        check_version(&connection)?;
        Api::new(connection, self.patience).await
    }
}

fn check_version(connection: &Connection) -> Result<(), LinkError> {
    let found = connection.client.server_info().version;
    let mut numbers = found.split('.').map_while(|number| number.parse::<u64>().ok());
    let (major, minor) = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    if (major, minor) >= OLDEST {
        return Ok(());
    }
    Err(LinkError::TooOld {
        address: connection.notices.address().to_owned(),
        product: "NATS".to_owned(),
        found,
        needed: "NATS 2.10 with JetStream",
    })
}

#[async_trait]
impl Wire for JetStreamWire {
    type Session = JetStreamSession;

    fn semantics(&self) -> Semantics {
        Semantics {
            delivery: Delivery::AtLeastOnce,
            order: Order::PerOriginAndTopic,
            receipt: Receipt::Stored,
            durability: self.durability,
            publisher_outage: PublisherOutage::Refuses,
            subscriber_outage: SubscriberOutage::CatchesUp,
            replay: Replay::Kept { age: Some(self.age), entries: Some(self.entries) },
            filter: Filter::Node,
            largest_body: LARGEST_BODY,
        }
    }

    async fn connect(&self, inbound: Inbound) -> Result<JetStreamSession, LinkError> {
        let api = self.open(Some(&inbound)).await?;
        let standing = self.stream.open(&api).await?;
        // The connection before gives it back when it ends.
        let place = Arc::clone(&self.place).lock_owned().await;
        let (caught_up, catches_up) = watch::channel(false);
        let stream = Arc::clone(&self.stream);
        let follower =
            Follower::begin(api.clone(), stream, standing, place, inbound, caught_up).await?;
        let (requests, asked) = mpsc::channel(2);
        let mut tasks = JoinSet::new();
        tasks.spawn(follower.run(asked));
        let appender = Appender::new(api.clone(), Arc::clone(&self.stream), standing.largest);
        Ok(JetStreamSession { api, appender, requests, caught_up: catches_up, _tasks: tasks })
    }

    fn part_of(&self, topic: &Topic) -> u32 {
        topic.part_of(self.stream.parts)
    }

    async fn read(
        &self,
        topic: &Topic,
        from: Position,
    ) -> Result<(Position, Box<dyn Reader>), LinkError> {
        let part = self.part_of(topic);
        let api = self.open(None).await?;
        let standing = self.stream.open(&api).await?;
        let (created, last) = (standing.created, standing.last.sequence);
        let (position, read, trimmed) = match from {
            Position::Earliest => (from, 0, false),
            Position::Now => (Position::After(Offset::end_of(part, (created, last))), last, false),
            Position::After(offset) => match offset.entry() {
                // The entry itself may hold more envelopes, so it is read again. Where it is gone, and where
                // the stream ends before it, something may be missing.
                (stream, entry) if stream == created => {
                    let trimmed = standing.first > entry || last < entry;
                    (from, entry.saturating_sub(1).min(last), trimmed)
                }
                // Another stream: all that is in this one has come since.
                _ => (from, 0, true),
            },
        };
        // What is gone already is no news later.
        let read = read.max(standing.first.saturating_sub(1));
        let (stream, channel) = (Arc::clone(&self.stream), subject::channel(topic));
        let reader = StreamReader {
            api,
            stream,
            created,
            part,
            channel,
            read,
            trimmed,
            consumer: None,
            consumers: 0,
        };
        Ok((position, Box::new(reader)))
    }
}

/// A connection that appends, and reads. Dropping it ends it with its tasks.
pub(super) struct JetStreamSession {
    api: Api,
    appender: Appender,
    requests: mpsc::Sender<Request>,
    caught_up: watch::Receiver<bool>,
    /// What calls the sinks, and so runs where the node does.
    _tasks: JoinSet<()>,
}

impl JetStreamSession {
    async fn ask(
        &self,
        request: impl FnOnce(oneshot::Sender<()>) -> Request,
    ) -> Result<(), LinkError> {
        let (answer, answered) = oneshot::channel();
        if self.requests.send(request(answer)).await.is_err() || answered.await.is_err() {
            return ended().await;
        }
        Ok(())
    }
}

/// The reading task has ended, and has told the node why.
async fn ended() -> Result<(), LinkError> {
    std::future::pending().await
}

#[async_trait]
impl Session for JetStreamSession {
    async fn write(&self, batch: &Batch) -> Result<Vec<Refused<usize>>, LinkError> {
        self.appender.write(batch).await
    }

    async fn subscribe(&self, topics: &[Topic]) -> Result<Vec<Refused<Topic>>, LinkError> {
        self.ask(|answer| Request::Subscribe(topics.to_vec(), answer)).await?;
        Ok(Vec::new())
    }

    async fn unsubscribe(&self, topics: &[Topic]) -> Result<(), LinkError> {
        self.ask(|answer| Request::Unsubscribe(topics.to_vec(), answer)).await
    }

    async fn caught_up(&self) -> Result<(), LinkError> {
        if self.requests.send(Request::Settle).await.is_err()
            || self.caught_up.clone().wait_for(|it| *it).await.is_err()
        {
            return ended().await;
        }
        Ok(())
    }

    async fn close(&self) {
        // All that was written is stored; what else there is may be lost.
        let _ = self.api.connection.client.flush().await;
    }
}

impl fmt::Debug for JetStreamSession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JetStreamSession").field("api", &self.api).finish_non_exhaustive()
    }
}
