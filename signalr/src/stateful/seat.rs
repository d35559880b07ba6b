use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
};

use backplane_hub::{Arrivals, NodeId};
use bytes::Bytes;
use tokio::sync::oneshot;

use crate::{codec::Codec, websocket::Socket};

/// Where a session can be found by those who come for it.
#[derive(Debug, Default)]
pub(crate) struct Seat(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// The newest socket of the client.
    socket: Option<Box<Socket>>,
    /// One for each node that prepares.
    previews: Vec<oneshot::Sender<Preview>>,
    departure: Option<Departure>,
    drains: bool,
    session: Option<Waker>,
    closed: bool,
    /// For messages that the connection's old node sends on.
    arrivals: Option<Arrivals>,
    /// What is being handed over.
    luggage: Option<Bytes>,
}

/// Who has come.
#[derive(Debug)]
pub(crate) enum Visit {
    /// The client, by this socket.
    Client(Box<Socket>),
    /// A node that prepares to take the session.
    Preview(oneshot::Sender<Preview>),
    /// A node that takes the session.
    Departure(Departure),
    /// The node is to be replaced: the client is let go, to come back on another one.
    Drain,
}

/// What a node needs that prepares to take a session.
#[derive(Debug)]
pub(crate) struct Preview {
    pub(crate) codec: Codec,
    pub(crate) groups: Bytes,
}

/// A session is taken.
#[derive(Debug)]
pub(crate) struct Departure {
    pub(crate) to: NodeId,
    pub(crate) reply: oneshot::Sender<Frozen>,
}

/// A session that is handed over.
#[derive(Debug)]
pub(crate) struct Frozen {
    pub(crate) luggage: Bytes,
    /// Told whether the other node has it. It stays if this is dropped.
    pub(crate) settle: oneshot::Sender<bool>,
}

impl Seat {
    /// The client has come back by this socket, which takes the place of any other. Where the session has
    /// ended, it is let go.
    pub(crate) fn take(&self, socket: Socket) {
        drop(self.come(|state| state.socket.replace(Box::new(socket))));
    }

    /// What another node needs to prepare; `None` if the session is no more.
    pub(crate) async fn preview(&self) -> Option<Preview> {
        let (reply, preview) = oneshot::channel();
        self.come(|state| state.previews.push(reply));
        preview.await.ok()
    }

    /// Hands the session over, if it is still there, and nobody else takes it.
    pub(crate) async fn depart(&self, to: NodeId) -> Option<Frozen> {
        let (reply, frozen) = oneshot::channel();
        drop(self.come(|state| state.departure.replace(Departure { to, reply })));
        let frozen = frozen.await.ok()?;
        self.state().luggage = Some(frozen.luggage.clone());
        Some(frozen)
    }

    /// What is being handed over.
    pub(crate) fn luggage(&self) -> Option<Bytes> {
        self.state().luggage.clone()
    }

    /// The session was not taken.
    pub(crate) fn unpack(&self) {
        let luggage = self.state().luggage.take();
        drop(luggage);
    }

    /// The client is to come back on another node.
    pub(crate) fn drain(&self) {
        self.come(|state| state.drains = true);
    }

    /// Lets somebody in, unless the session is no more, and wakes it.
    fn come<T>(&self, enter: impl FnOnce(&mut State) -> T) -> Option<T> {
        let mut state = self.state();
        if state.closed {
            return None;
        }
        let before = enter(&mut state);
        let session = state.session.take();
        drop(state);
        session.into_iter().for_each(Waker::wake);
        Some(before)
    }

    /// Waits for whoever comes; if it does not `move`, not for nodes. A client that is to be let go has to
    /// be `here`. Cancel-safe.
    pub(crate) fn poll_visit(&self, context: &Context<'_>, moves: bool, here: bool) -> Poll<Visit> {
        let mut state = self.state();
        if let Some(socket) = state.socket.take() {
            return Poll::Ready(Visit::Client(socket));
        }
        if moves {
            if let Some(reply) = state.previews.pop() {
                return Poll::Ready(Visit::Preview(reply));
            }
            if let Some(departure) = state.departure.take() {
                return Poll::Ready(Visit::Departure(departure));
            }
            // Also one that comes back later, by a request that was on its way.
            if here && std::mem::take(&mut state.drains) {
                return Poll::Ready(Visit::Drain);
            }
        }
        match &mut state.session {
            Some(waker) => waker.clone_from(context.waker()),
            none => *none = Some(context.waker().clone()),
        }
        Poll::Pending
    }

    /// Where messages go that the connection's old node sends on.
    pub(crate) fn expect(&self, arrivals: Arrivals) {
        self.state().arrivals = Some(arrivals);
    }

    pub(crate) fn arrivals(&self) -> Option<Arrivals> {
        self.state().arrivals.clone()
    }

    /// Nobody is waited for any more.
    pub(crate) fn close(&self) {
        let left =
            std::mem::replace(&mut *self.state(), State { closed: true, ..State::default() });
        drop(left);
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.state().closed
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_is_let_go_even_if_it_comes_while_the_node_drains() {
        let seat = Seat::default();
        let context = Context::from_waker(Waker::noop());
        seat.drain();
        assert!(seat.poll_visit(&context, true, false).is_pending());
        assert!(seat.poll_visit(&context, false, true).is_pending());
        assert!(matches!(seat.poll_visit(&context, true, true), Poll::Ready(Visit::Drain)));
        assert!(seat.poll_visit(&context, true, true).is_pending());
    }
}
