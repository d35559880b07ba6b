use std::{
    collections::HashMap,
    fmt,
    sync::{
        Arc, LazyLock, Mutex, MutexGuard, PoisonError, RwLock,
        atomic::{AtomicU64, Ordering},
    },
};

use backplane_core::{
    Envelope, LinkError, Node, NodeOptions, Topic,
    wire::{Inbound, Wire},
};

use crate::connection::MemoryWire;

/// What the nodes of one process share: each sees what the others publish.
///
/// Clones are the same medium.
#[derive(Clone, Default)]
pub struct Medium(Arc<Shared>);

#[derive(Default)]
struct Shared {
    /// Who wants a topic. Replaced as a whole, so that routing holds no lock while it delivers.
    routes: RwLock<HashMap<Topic, Arc<[Member]>>>,
    members: Mutex<Members>,
    next: AtomicU64,
}

#[derive(Default)]
struct Members {
    stopped: bool,
    connected: HashMap<u64, Inbound>,
}

#[derive(Clone)]
struct Member {
    id: u64,
    inbound: Inbound,
}

static NAMED: LazyLock<Mutex<HashMap<String, Medium>>> = LazyLock::new(Mutex::default);

impl Medium {
    /// A medium of its own.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The process-wide medium of this name.
    #[must_use]
    pub fn named(name: &str) -> Self {
        let mut named = NAMED.lock().unwrap_or_else(PoisonError::into_inner);
        named.entry(name.to_owned()).or_default().clone()
    }

    /// A new node on this medium.
    #[must_use]
    pub fn node(&self) -> Node {
        self.node_with(NodeOptions::default())
    }

    /// A new node on this medium that behaves as told.
    #[must_use]
    pub fn node_with(&self, options: NodeOptions) -> Node {
        Node::start(self.wire(), options)
    }

    /// The way onto this medium, for [`Node::start`], bare or within another wire.
    #[must_use]
    pub fn wire(&self) -> impl Wire + use<> {
        MemoryWire::new(self.clone())
    }

    /// Disconnects every node and lets none connect, as a broker that was stopped: for tests.
    pub fn stop(&self) {
        let connected = {
            let mut members = self.members();
            members.stopped = true;
            std::mem::take(&mut members.connected)
        };
        for (id, inbound) in connected {
            self.forget(id);
            inbound.lost(LinkError::Lost { reason: "the medium was stopped".to_owned() });
        }
    }

    /// Lets nodes connect again after [`stop`](Self::stop).
    pub fn start(&self) {
        self.members().stopped = false;
    }

    /// Hands raw bytes to every node that wants `topic`, as a stranger on a broker could: for tests.
    pub fn inject(&self, topic: &Topic, bytes: &[u8]) {
        for member in self.routes(topic).iter() {
            member.inbound.frame(bytes.to_vec());
        }
    }

    pub(crate) fn connect(&self, inbound: Inbound) -> Result<u64, LinkError> {
        let mut members = self.members();
        if members.stopped {
            return Err(LinkError::Lost { reason: "the medium is stopped".to_owned() });
        }
        let id = self.0.next.fetch_add(1, Ordering::Relaxed);
        members.connected.insert(id, inbound);
        Ok(id)
    }

    pub(crate) fn disconnect(&self, id: u64) {
        self.members().connected.remove(&id);
        self.forget(id);
    }

    pub(crate) fn is_connected(&self, id: u64) -> bool {
        self.members().connected.contains_key(&id)
    }

    pub(crate) fn subscribe(&self, id: u64, topics: &[Topic]) -> Result<(), LinkError> {
        let inbound = self.members().connected.get(&id).cloned().ok_or_else(gone)?;
        let mut routes = self.0.routes.write().unwrap_or_else(PoisonError::into_inner);
        for topic in topics {
            let route = routes.entry(topic.clone()).or_default();
            let others = route.iter().filter(|member| member.id != id).cloned();
            *route = others.chain([Member { id, inbound: inbound.clone() }]).collect();
        }
        Ok(())
    }

    pub(crate) fn unsubscribe(&self, id: u64, topics: &[Topic]) {
        let mut routes = self.0.routes.write().unwrap_or_else(PoisonError::into_inner);
        for topic in topics {
            let Some(route) = routes.get_mut(topic) else { continue };
            *route = route.iter().filter(|member| member.id != id).cloned().collect();
            if route.is_empty() {
                routes.remove(topic);
            }
        }
    }

    pub(crate) fn route(&self, envelope: &Envelope) {
        self.routes(envelope.destination())
            .iter()
            .for_each(|member| member.inbound.envelope(envelope));
    }

    fn routes(&self, topic: &Topic) -> Arc<[Member]> {
        let routes = self.0.routes.read().unwrap_or_else(PoisonError::into_inner);
        routes.get(topic).cloned().unwrap_or_default()
    }

    fn forget(&self, id: u64) {
        let mut routes = self.0.routes.write().unwrap_or_else(PoisonError::into_inner);
        routes.retain(|_, route| {
            if route.iter().any(|member| member.id == id) {
                *route = route.iter().filter(|member| member.id != id).cloned().collect();
            }
            !route.is_empty()
        });
    }

    fn members(&self) -> MutexGuard<'_, Members> {
        self.0.members.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub(crate) fn gone() -> LinkError {
    LinkError::Lost { reason: "the medium was stopped".to_owned() }
}

impl fmt::Debug for Medium {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Medium").finish_non_exhaustive()
    }
}
