use std::{
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use backplane_core::{Backplane, NodeId};
use tokio::sync::Notify;

use crate::{
    Clients, CloseError, End, Groups, HubBuilder, HubStats, Policy, Protocol, Unauthorized, User,
    front::{Registrar, Relays},
    members::{Audiences, Connections, Local},
    method::{Methods, Portables, States},
    presence::Book,
    protocol::MOST,
    routing::Routing,
};

/// A hub on this node: its methods, its connections, and the way to those of other nodes.
///
/// Clones are the same hub. It ends when the last clone and the last connection are dropped;
/// [`close`](Self::close) ends it in an orderly way.
#[derive(Debug, Clone)]
pub struct Hub(pub(crate) Arc<Shared>);

#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) name: Arc<str>,
    pub(crate) policy: Policy,
    pub(crate) methods: Methods,
    pub(crate) states: States,
    pub(crate) portables: Portables,
    /// Whether a handler takes something of the request that a connection began with.
    pub(crate) wants_request: bool,
    pub(crate) local: Arc<Local>,
    pub(crate) connections: Arc<Connections>,
    pub(crate) groups: Audiences,
    pub(crate) users: Audiences,
    pub(crate) registrar: Registrar,
    pub(crate) relays: Relays,
    pub(crate) routing: Routing,
    /// `None` where nobody asked for it.
    pub(crate) presence: Option<Book>,
    pub(crate) started: Instant,
    /// Numbers the joins.
    pub(crate) joins: AtomicU64,
    /// Numbers the messages.
    pub(crate) messages: AtomicU64,
    /// Whether it was announced that it is going to drain.
    pub(crate) announced: AtomicBool,
    /// Whether it takes no new connections and lets those go that can move.
    pub(crate) draining: AtomicBool,
    /// How many of those below can move to another node.
    pub(crate) movable: AtomicUsize,
    /// How many connections front ends hold, those included whose last hook still runs.
    pub(crate) open: AtomicUsize,
    /// Told whenever that has become less.
    pub(crate) closed: Notify,
}

impl Hub {
    /// Starts the description of a hub. Nodes whose hubs have the same name are connected; the name
    /// is 1 to 128 bytes long.
    pub fn builder(name: &str) -> HubBuilder {
        HubBuilder::new(name)
    }

    /// The hub's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// Which node this is.
    #[must_use]
    pub fn node(&self) -> NodeId {
        self.0.local.node
    }

    /// What connects it to other nodes.
    #[must_use]
    pub fn backplane(&self) -> &Arc<dyn Backplane> {
        &self.0.routing.backplane
    }

    /// Whom to send to: on all nodes.
    #[must_use]
    pub fn clients(&self) -> Clients {
        Clients::new(Arc::clone(&self.0), None, None)
    }

    /// Whether any handler takes what a front end keeps of the request that a connection began with.
    /// Where none does, a front end keeps nothing of it.
    #[must_use]
    pub fn wants_request(&self) -> bool {
        self.0.wants_request
    }

    /// Who is in which group: on all nodes.
    #[must_use]
    pub fn groups(&self) -> Groups {
        Groups::new(Arc::clone(&self.0), None)
    }

    /// What the hub holds and has counted on this node.
    #[must_use]
    pub fn stats(&self) -> HubStats {
        HubStats {
            connections: self.0.connections.len(),
            groups: self.0.groups.len(),
            users: self.0.users.len(),
            results_owed: self.0.local.owed.len(),
            ..self.0.local.counters.snapshot()
        }
    }

    /// Has hub messages encoded for this protocol too, from now on. A front end calls it before its
    /// first connection; a node without one calls it for the protocols of the others' clients.
    /// A second protocol of the same name changes nothing.
    ///
    /// # Panics
    ///
    /// When the name is longer than 255 bytes, or with more than 8 protocols: both are wrong in the
    /// program, not in its input.
    #[expect(clippy::needless_pass_by_value, reason = "callers have it anew, or clone it visibly")]
    pub fn speak(&self, protocol: Arc<dyn Protocol>) {
        let taken = self.0.local.protocols.add(&protocol);
        assert!(taken.is_some(), "at most {MOST} protocols, with names of at most 255 bytes");
    }

    /// Asks the hub-wide policy.
    ///
    /// # Errors
    ///
    /// The policy does not let the user pass.
    pub fn authorize(&self, user: Option<&User>) -> Result<(), Unauthorized> {
        self.0.policy.allows(user)
    }

    /// Ends all connections with [`End::ShuttingDown`](crate::End::ShuttingDown), takes no new ones,
    /// and waits until the front ends have closed them and their last hooks have run. The backplane stays: it is the application's.
    ///
    /// # Errors
    ///
    /// How many connections were left when the deadline passed. They are ended, but not closed.
    pub async fn close(&self, deadline: Duration) -> Result<(), CloseError> {
        let hub = &*self.0;
        hub.connections.close().iter().for_each(|member| member.queue.end(End::ShuttingDown));
        match tokio::time::timeout(deadline, hub.none_of(&hub.open)).await {
            Ok(()) => Ok(()),
            Err(_) => Err(CloseError { connections: hub.open.load(Ordering::Acquire) }),
        }
    }

    /// Says ahead that this node is going to be [drained](Self::drain): from now on [`health`](Self::health) is
    /// [`Draining`](crate::Health::Draining), and all else goes on, new connections included. Whatever hands out
    /// requests by that needs a while to notice; drain when it has had it, and no client is refused.
    pub fn announce_drain(&self) {
        self.0.announced.store(true, Ordering::Release);
    }

    /// The same for a node that is replaced while others live: connections that can move are let go first,
    /// so that their clients come back on another node, where they go on. The hub takes no new ones
    /// meanwhile ([`health`](Self::health) says so, for whatever hands out requests;
    /// [`announce_drain`](Self::announce_drain) says it ahead), and closes once they are gone, or when half
    /// of the time is over.
    ///
    /// # Errors
    ///
    /// Those of [`close`](Self::close).
    pub async fn drain(&self, deadline: Duration) -> Result<(), CloseError> {
        let hub = &*self.0;
        let began = tokio::time::Instant::now();
        self.announce_drain();
        hub.draining.store(true, Ordering::Release);
        hub.relays.drain();
        if tokio::time::timeout(deadline / 2, hub.none_of(&hub.movable)).await.is_err() {
            let left = hub.movable.load(Ordering::Acquire);
            tracing::warn!(hub = %hub.name, left, "connections that can move have not, and are closed");
        }
        self.close(deadline.saturating_sub(began.elapsed())).await
    }
}

impl Shared {
    /// Whether it takes no new connections.
    pub(crate) fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Acquire)
    }

    /// Waits until there are none of these connections.
    async fn none_of(&self, connections: &AtomicUsize) {
        loop {
            let mut closed = pin!(self.closed.notified());
            closed.as_mut().enable();
            if connections.load(Ordering::Acquire) == 0 {
                return;
            }
            closed.await;
        }
    }
}
