use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use backplane_hub::{ConnectionId, Ownership};

use crate::{
    Transport, polled::PolledConnection, refusal::Refusal, standing::Standing, stateful::Seat,
};

/// The connections of this node that were negotiated: those that further requests may name.
#[derive(Debug, Default)]
pub(crate) struct Table {
    connections: Mutex<HashMap<ConnectionId, Entry>>,
    draining: AtomicBool,
}

#[derive(Debug)]
struct Entry {
    local: Local,
    /// `None` for anonymous users.
    standing: Option<Arc<Standing>>,
}

/// Such a connection.
#[derive(Debug, Clone)]
pub(crate) enum Local {
    /// With a seat, its client may come back.
    WebSocket(Option<Arc<Seat>>),
    Polled(Arc<PolledConnection>),
}

impl Local {
    pub(crate) fn transport(&self) -> Transport {
        match self {
            Self::WebSocket(_) => Transport::WebSockets,
            Self::Polled(connection) => connection.transport(),
        }
    }

    /// Where its session is found, if the client may come back.
    pub(crate) fn seat(&self) -> Option<&Arc<Seat>> {
        match self {
            Self::WebSocket(seat) => seat.as_ref().filter(|seat| !seat.is_closed()),
            Self::Polled(_) => None,
        }
    }

    /// The refusal of a request that would begin it once more, with this transport.
    pub(crate) fn begun(&self, transport: Transport) -> Refusal {
        if self.transport() == transport { Refusal::Begun } else { Refusal::OtherTransport }
    }
}

impl Table {
    pub(crate) fn find(&self, id: &str) -> Option<Local> {
        self.lock().get(id).map(|entry| entry.local.clone())
    }

    /// Who a connection belongs to, if it is there and belongs to anybody.
    pub(crate) fn standing(&self, id: &str) -> Option<Arc<Standing>> {
        self.lock().get(id)?.standing.clone()
    }

    /// Keeps a connection until the registration is dropped. No two have one id: a token is granted
    /// once.
    pub(crate) fn register(
        self: &Arc<Self>,
        id: &ConnectionId,
        local: Local,
        standing: Option<Arc<Standing>>,
        ownership: Option<Ownership>,
    ) -> Registration {
        {
            let mut connections = self.lock();
            // One that has come while the others were let go.
            if let Some(seat) = local.seat().filter(|_| self.is_draining()) {
                seat.drain();
            }
            connections.insert(id.clone(), Entry { local, standing });
        }
        Registration { table: Arc::clone(self), id: id.clone(), ownership }
    }

    /// Lets the clients go that can come back on another node, and takes no new ones.
    pub(crate) fn drain(&self) {
        self.draining.store(true, Ordering::Release);
        let connections = self.lock();
        let seats = connections.values().filter_map(|entry| entry.local.seat());
        seats.for_each(|seat| seat.drain());
    }

    pub(crate) fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Acquire)
    }

    /// Ends a connection of long polling, as its client asks.
    pub(crate) fn delete(&self, id: &str) -> Result<(), Refusal> {
        match self.find(id).ok_or(Refusal::Unknown)? {
            Local::Polled(connection) if connection.transport() == Transport::LongPolling => {
                self.remove(id);
                connection.hang_up();
                Ok(())
            }
            _ => Err(Refusal::NoDelete),
        }
    }

    /// No request finds it any more, and none that has waits for its session.
    fn remove(&self, id: &str) {
        let removed = self.lock().remove(id);
        if let Some(Entry { local: Local::WebSocket(Some(seat)), .. }) = removed {
            seat.close();
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<ConnectionId, Entry>> {
        self.connections.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A connection's place in the table.
#[derive(Debug)]
pub(crate) struct Registration {
    table: Arc<Table>,
    id: ConnectionId,
    /// Other nodes are told that it has ended. `None` before it is this node's.
    ownership: Option<Ownership>,
}

impl Registration {
    /// It is this node's now.
    pub(crate) fn owned(self, ownership: Ownership) -> Self {
        let mut owned = self;
        owned.ownership = Some(ownership);
        owned
    }

    /// Another node has the connection.
    pub(crate) fn hand_over(mut self) {
        self.ownership.take().into_iter().for_each(Ownership::hand_over);
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        self.table.remove(&self.id);
    }
}
