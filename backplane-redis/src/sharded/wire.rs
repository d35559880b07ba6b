use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use async_trait::async_trait;
use backplane_core::{
    LinkError, Semantics, Topic,
    wire::{Batch, Inbound, Refused, Session, Wire},
};
use futures_util::{StreamExt, stream::FuturesUnordered};
use redis::{ProtocolVersion, aio::SendError};
use tokio::{
    sync::{mpsc, oneshot},
    time::{sleep, timeout},
};
use tokio_util::task::AbortOnDropHandle;

use super::{
    address::Address,
    publish::Publisher,
    receive::Change,
    routes::Shared,
    slot::slot_of,
    survey::{Found, Survey, refused},
    switchboard::{Proven, Request, Switchboard, gone},
    view::View,
};
use crate::{channel::Channels, endpoint::Endpoint, pubsub, server};

/// How long one server may keep silent before the next is asked as well.
const HESITATION: Duration = Duration::from_millis(250);

/// How long a connection waits for a slot to have a master, as while a replica takes over: less than a node
/// gives an attempt by default, so that it can say what is missing.
const PATIENCE: Duration = Duration::from_secs(4);

/// How often it looks meanwhile.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Connects to the masters of a cluster.
#[derive(Debug)]
pub(super) struct ShardedWire {
    endpoint: Endpoint,
    /// The servers that the configuration names.
    seeds: Vec<Address>,
    /// Those that the cluster has named last.
    known: Mutex<Vec<Address>>,
    channels: Channels,
}

impl ShardedWire {
    pub(super) fn new(endpoint: Endpoint, seeds: Vec<Address>, channels: Channels) -> Self {
        Self { endpoint, seeds, known: Mutex::default(), channels }
    }

    /// How any server of the cluster sees it. Servers are asked one after the other, without waiting long
    /// for one that keeps silent.
    async fn view(&self) -> Result<View, LinkError> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let more = known.into_iter().filter(|server| !self.seeds.contains(server));
        let mut next = self.seeds.iter().cloned().chain(more);
        let mut asked = FuturesUnordered::new();
        let mut first = None;
        loop {
            match next.next() {
                Some(server) => asked.push(self.ask(server)),
                None if asked.is_empty() => break,
                None => {}
            }
            match timeout(HESITATION, asked.next()).await {
                Ok(Some(Ok(view))) => return Ok(view),
                Ok(Some(Err(cause))) => first = first.or(Some(cause)),
                Ok(None) | Err(_) => {}
            }
        }
        // There is at least one seed.
        Err(first.unwrap_or(LinkError::NotYet))
    }

    async fn ask(&self, server: Address) -> Result<View, LinkError> {
        let endpoint = self.endpoint.at(&server.host, server.port);
        let connection = endpoint.open(ProtocolVersion::RESP3, |_| Ok::<_, SendError>(())).await;
        let connection = connection.map_err(|error| endpoint.failed(&error))?;
        server::check_for(server::SHARDED, &connection, ProtocolVersion::RESP3, &endpoint).await?;
        let view = View::ask(&connection, &server).await;
        view.map_err(|error| refused(&endpoint, &error))
    }

    /// A view of other owners than these.
    async fn other_view(&self, than: &View) -> View {
        loop {
            sleep(HESITATION).await;
            match self.view().await {
                Ok(view) if view.owners() != than.owners() => return view,
                _ => {}
            }
        }
    }

    /// Connects to all masters, once each slot has one.
    async fn find(&self, survey: &mut Survey) -> Result<Found, LinkError> {
        let until = Instant::now() + PATIENCE;
        let mut view = self.view().await?;
        loop {
            let owners: Vec<Address> = view.owners().into_values().collect();
            let found = tokio::select! {
                biased;
                found = survey.run(1, owners) => found,
                // One that does not answer may have been replaced.
                other = self.other_view(&view) => {
                    view = other;
                    continue;
                }
            };
            match found {
                Ok(found) => return Ok(found),
                Err(cause) if Instant::now() > until => return Err(cause),
                Err(_) => sleep(LOOK_EVERY).await,
            }
            view = self.view().await?;
        }
    }
}

#[async_trait]
impl Wire for ShardedWire {
    type Session = ShardedSession;

    fn semantics(&self) -> Semantics {
        pubsub::semantics()
    }

    async fn connect(&self, inbound: Inbound) -> Result<ShardedSession, LinkError> {
        let mut survey = Survey::new(self.endpoint.clone(), inbound);
        let Found { routes, epochs, servers } = self.find(&mut survey).await?;
        *self.known.lock().unwrap_or_else(PoisonError::into_inner) = servers;
        // Proves that the user may give channels up again: an access rule that forbids it would be noticed
        // much later otherwise.
        let spare = self.channels.spare().to_owned();
        let owner = Arc::clone(routes.owner(slot_of(&spare)));
        let answers = owner.receiving.change(Change::Unsubscribe, &[spare]).await;
        let denied = answers.map_or_else(Some, |answers| answers.into_iter().next().map(|it| it.1));
        if let Some(error) = denied {
            return Err(refused(
                &self.endpoint.at(&owner.address.host, owner.address.port),
                &error,
            ));
        }
        let shared = Arc::new(Shared::new(routes));
        let (requests, asked) = mpsc::channel(2);
        let channels = self.channels.clone();
        let publisher = Publisher::new(Arc::clone(&shared), channels.clone(), requests.clone());
        let proven = Arc::new(Proven::new());
        let switchboard = Switchboard::new(channels, survey, epochs, shared, Arc::clone(&proven));
        let task = AbortOnDropHandle::new(tokio::spawn(switchboard.run(asked)));
        Ok(ShardedSession { publisher, requests, proven, _task: task })
    }
}

/// Two connections to each master. Dropping it ends them, with their tasks. It needs no closing of its own:
/// every batch has been answered before.
pub(super) struct ShardedSession {
    publisher: Publisher,
    requests: mpsc::Sender<Request>,
    proven: Arc<Proven>,
    _task: AbortOnDropHandle<()>,
}

impl ShardedSession {
    async fn ask<T>(
        &self,
        request: impl FnOnce(oneshot::Sender<T>) -> Request,
    ) -> Result<T, LinkError> {
        let (done, answered) = oneshot::channel();
        self.requests.send(request(done)).await.map_err(|_| gone())?;
        answered.await.map_err(|_| gone())
    }
}

#[async_trait]
impl Session for ShardedSession {
    async fn write(&self, batch: &Batch) -> Result<Vec<Refused<usize>>, LinkError> {
        self.publisher.write(batch).await
    }

    async fn subscribe(&self, topics: &[Topic]) -> Result<Vec<Refused<Topic>>, LinkError> {
        self.ask(|done| Request::Subscribe(topics.to_vec(), done)).await
    }

    async fn unsubscribe(&self, topics: &[Topic]) -> Result<(), LinkError> {
        self.ask(|done| Request::Unsubscribe(topics.to_vec(), done)).await
    }

    fn proven(&self) -> Option<Instant> {
        Some(self.proven.at())
    }
}

impl fmt::Debug for ShardedSession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ShardedSession").finish_non_exhaustive()
    }
}
