//! One connection to one of the servers, and the proof of what these have handled.

use std::{
    fmt,
    hash::{BuildHasher, Hasher, RandomState},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use async_nats::{Client, Subscriber, connection::State};
use backplane_core::{LinkError, Server, wire::Inbound};
use futures_util::StreamExt;
use tokio::sync::oneshot;

use crate::{
    client, config::NatsConfig, fence::Fences, from_url, notices::Notices, subject::Subjects,
    thread::Thread,
};

/// The servers of one cluster, one of which a node uses at a time.
pub(crate) struct Servers {
    config: NatsConfig,
    named: Vec<Server>,
    /// What the server that was connected last knows of the others.
    announced: Mutex<Vec<Server>>,
    pub(crate) subjects: Subjects,
    /// The server to try first: the one that worked last, or the one behind the one that failed.
    first: AtomicUsize,
}

impl Servers {
    /// `named` are those of `config`, at least one.
    pub(crate) fn new(config: NatsConfig, named: Vec<Server>) -> Self {
        // Anywhere, so that many nodes spread over the servers.
        let random = RandomState::new().build_hasher().finish() as usize;
        Self {
            subjects: Subjects::new(&config.prefix),
            first: AtomicUsize::new(random % named.len().max(1)),
            announced: Mutex::default(),
            config,
            named,
        }
    }

    /// Connects to the first that lets it, those in the configuration before those announced by others.
    /// What happens to the connection is told to `inbound`, if there is one to tell.
    pub(crate) async fn connect(&self, inbound: Option<&Inbound>) -> Result<Connection, LinkError> {
        let servers = self.known();
        let mut failed = LinkError::NotYet;
        for _ in &servers {
            let at = self.first.load(Ordering::Relaxed);
            let server = &servers[at % servers.len()];
            match self.connect_to(server, inbound).await {
                Ok(connection) => {
                    self.hear_of(&connection.client.server_info().connect_urls);
                    return Ok(connection);
                }
                Err(error) => failed = error,
            }
            self.first.store((at + 1) % servers.len(), Ordering::Relaxed);
        }
        Err(failed)
    }

    /// The other servers of the cluster that this is a connection to one of: all that are known. The client
    /// library does not say when the server tells of more.
    pub(crate) fn others(&self, connection: &Connection) -> Vec<Server> {
        let mut servers = self.known();
        servers.retain(|server| server.to_string() != connection.notices.address());
        servers
    }

    pub(crate) async fn connect_to(
        &self,
        server: &Server,
        inbound: Option<&Inbound>,
    ) -> Result<Connection, LinkError> {
        let notices = Notices::new(server.to_string(), self.subjects.clone(), inbound.cloned());
        let notices = Arc::new(notices);
        let fences = self.subjects.fences();
        let (client, thread) =
            client::connect(&self.config, server, &fences, Arc::clone(&notices)).await?;
        Connection::start(client, thread, notices, self.subjects.clone()).await
    }

    pub(crate) const fn connect_deadline(&self) -> Duration {
        self.config.node.connect_deadline
    }

    fn known(&self) -> Vec<Server> {
        let announced = self.announced.lock().unwrap_or_else(PoisonError::into_inner);
        self.named.iter().chain(&*announced).cloned().collect()
    }

    fn hear_of(&self, addresses: &[String]) {
        // What cannot be read cannot be connected to.
        let others = addresses.iter().filter_map(|address| from_url::server(address).ok());
        let others = others.filter(|server| !self.named.contains(server)).collect();
        *self.announced.lock().unwrap_or_else(PoisonError::into_inner) = others;
    }
}

impl fmt::Debug for Servers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Servers").field("config", &self.config).finish_non_exhaustive()
    }
}

/// One connection of the client library, which never makes a second one. Dropping it ends it.
pub(crate) struct Connection {
    pub(crate) client: Client,
    pub(crate) subjects: Subjects,
    pub(crate) notices: Arc<Notices>,
    /// A subject of this connection alone: its fences use it, and what it subscribes below it.
    pub(crate) inbox: String,
    fences: Arc<Fences>,
    /// Where the client and what takes its fences run.
    pub(crate) thread: Thread,
}

impl Connection {
    async fn start(
        client: Client,
        thread: Thread,
        notices: Arc<Notices>,
        subjects: Subjects,
    ) -> Result<Self, LinkError> {
        // A token that nobody else has, behind the subject that all fences begin with.
        let inbox = client.new_inbox();
        let subscriber = client.subscribe(inbox.clone()).await.map_err(|_| notices.lost())?;
        let fences = Arc::new(Fences::new(inbox.clone().into()));
        thread.spawn(keep(subscriber, Arc::clone(&fences), Arc::clone(&notices)));
        Ok(Self { client, subjects, notices, inbox, fences, thread })
    }

    /// Whether it has not ended, as far as is known here.
    pub(crate) fn is_open(&self) -> bool {
        self.client.connection_state() == State::Connected
    }

    /// Sends a fence behind all that the client was given.
    pub(crate) async fn send_fence(&self) -> Result<oneshot::Receiver<()>, LinkError> {
        self.fences.send(&self.client).await.ok_or_else(|| self.notices.lost())
    }

    /// Sends a fence and waits for its return.
    pub(crate) async fn pass_fence(&self) -> Result<(), LinkError> {
        self.send_fence().await?.await.map_err(|_| self.notices.lost())
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").field("notices", &self.notices).finish_non_exhaustive()
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
