use std::{
    fmt,
    hash::{BuildHasher, Hasher, RandomState},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use async_nats::{Client, Subscriber};
use async_trait::async_trait;
use backplane_core::{
    ByteSize, Delivery, Filter, LinkError, Order, PublisherOutage, Receipt, Replay, Semantics,
    SubscriberOutage, Topic,
    wire::{Batch, Inbound, Refused, Session, Wire},
};
use futures_util::StreamExt;
use tokio::{sync::oneshot, task::JoinSet};

use crate::{
    client, config::NatsConfig, fence::Fences, from_url::Server, notices::Notices,
    publish::Publisher, receive::Inflow, subject::Subjects, subscribe::Routes, thread::Thread,
};

/// The largest body. With the longest header, 256 KiB, it fits into the default `max_payload` of 1
/// MiB.
const LARGEST_BODY: ByteSize = ByteSize::kib(768);

/// The least time between two doubts: each visits every sink.
const DOUBT_EVERY: Duration = Duration::from_millis(100);

/// Connects to one of some servers.
pub(crate) struct NatsWire {
    config: NatsConfig,
    servers: Vec<Server>,
    subjects: Subjects,
    /// The server to try first: the one that worked last, or the one behind the one that failed.
    first: AtomicUsize,
}

impl NatsWire {
    /// `servers` are those of `config`, at least one.
    pub(crate) fn new(config: NatsConfig, servers: Vec<Server>) -> Self {
        // Anywhere, so that many nodes spread over the servers.
        let random = RandomState::new().build_hasher().finish() as usize;
        Self {
            subjects: Subjects::new(&config.prefix),
            first: AtomicUsize::new(random % servers.len().max(1)),
            config,
            servers,
        }
    }

    async fn connect_to(
        &self,
        server: &Server,
        inbound: &Inbound,
    ) -> Result<NatsSession, LinkError> {
        let notices = Notices::new(server.to_string(), self.subjects.clone(), inbound.clone());
        let notices = Arc::new(notices);
        let fences = self.subjects.fences();
        let (client, thread) =
            client::connect(&self.config, server, &fences, Arc::clone(&notices)).await?;
        NatsSession::start(client, thread, notices, self.subjects.clone(), inbound).await
    }
}

#[async_trait]
impl Wire for NatsWire {
    type Session = NatsSession;

    fn semantics(&self) -> Semantics {
        Semantics {
            delivery: Delivery::AtMostOnce,
            order: Order::PerOriginAndTopic,
            receipt: Receipt::Accepted,
            publisher_outage: PublisherOutage::Refuses,
            subscriber_outage: SubscriberOutage::LostAndReported,
            replay: Replay::None,
            filter: Filter::Broker,
            largest_body: LARGEST_BODY,
        }
    }

    async fn connect(&self, inbound: Inbound) -> Result<NatsSession, LinkError> {
        let mut failed = LinkError::NotYet;
        for _ in &self.servers {
            let at = self.first.load(Ordering::Relaxed);
            let server = &self.servers[at % self.servers.len()];
            match self.connect_to(server, &inbound).await {
                Ok(session) => return Ok(session),
                Err(error) => failed = error,
            }
            self.first.store((at + 1) % self.servers.len(), Ordering::Relaxed);
        }
        Err(failed)
    }
}

impl fmt::Debug for NatsWire {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NatsWire").field("config", &self.config).finish_non_exhaustive()
    }
}

/// One connection of the client library, which never makes a second one.
pub(crate) struct Connection {
    pub(crate) client: Client,
    pub(crate) subjects: Subjects,
    pub(crate) notices: Arc<Notices>,
    fences: Arc<Fences>,
}

impl Connection {
    /// Sends a fence behind all that the client was given.
    pub(crate) async fn send_fence(&self) -> Result<oneshot::Receiver<()>, LinkError> {
        self.fences.send(&self.client).await.ok_or_else(|| self.notices.lost())
    }

    /// Sends a fence and waits for its return.
    pub(crate) async fn pass_fence(&self) -> Result<(), LinkError> {
        self.send_fence().await?.await.map_err(|_| self.notices.lost())
    }
}

/// A connection and what works on it.
pub(crate) struct NatsSession {
    connection: Connection,
    publisher: Publisher,
    routes: Routes,
    /// Where the client and what takes its fences run. Ended when dropped.
    _thread: Thread,
    /// What calls the sinks, and so runs where the node does. Ended when dropped.
    _tasks: JoinSet<()>,
}

impl NatsSession {
    async fn start(
        client: Client,
        thread: Thread,
        notices: Arc<Notices>,
        subjects: Subjects,
        inbound: &Inbound,
    ) -> Result<Self, LinkError> {
        // A token that nobody else has, behind the subject that all fences begin with.
        let inbox = client.new_inbox();
        let subscriber = client.subscribe(inbox.clone()).await.map_err(|_| notices.lost())?;
        let fences = Arc::new(Fences::new(inbox.into()));
        let (routes, reader) = Routes::new(Inflow::new(inbound.clone(), client.statistics()));
        thread.spawn(keep(subscriber, Arc::clone(&fences), Arc::clone(&notices)));
        let mut tasks = JoinSet::new();
        tasks.spawn(reader.run());
        tasks.spawn(doubt(Arc::clone(&notices)));
        Ok(Self {
            connection: Connection { client, subjects, notices, fences },
            publisher: Publisher::default(),
            routes,
            _thread: thread,
            _tasks: tasks,
        })
    }
}

/// Takes fences until the connection ends, and reports that. It does not depend on an event, which
/// may be dropped: when the client library has given up, its subscriptions end.
async fn keep(mut returned: Subscriber, fences: Arc<Fences>, notices: Arc<Notices>) {
    while let Some(message) = returned.next().await {
        // What was reported before it came is next in turn.
        tokio::task::yield_now().await;
        fences.returned(&message.payload);
    }
    fences.end();
    notices.ended();
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
impl Session for NatsSession {
    async fn write(&self, batch: &Batch) -> Result<Vec<Refused<usize>>, LinkError> {
        self.publisher.write(batch, &self.connection).await
    }

    async fn subscribe(&self, topics: &[Topic]) -> Result<Vec<Refused<Topic>>, LinkError> {
        self.routes.subscribe(topics, &self.connection).await
    }

    async fn unsubscribe(&self, topics: &[Topic]) -> Result<(), LinkError> {
        self.routes.unsubscribe(topics);
        Ok(())
    }

    async fn close(&self) {
        // All that was written has come through its fence; what else there is may be lost.
        let _ = self.connection.client.flush().await;
    }
}

impl fmt::Debug for NatsSession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NatsSession")
            .field("notices", &self.connection.notices)
            .finish_non_exhaustive()
    }
}
