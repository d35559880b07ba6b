use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
};

use crate::websocket::Socket;

/// Where a session can be found by those who come for it.
#[derive(Debug, Default)]
pub(crate) struct Seat(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// The newest socket of the client.
    socket: Option<Socket>,
    session: Option<Waker>,
    closed: bool,
}

/// Who has come.
#[derive(Debug)]
pub(crate) enum Visit {
    /// The client, by this socket.
    Client(Socket),
}

impl Seat {
    /// The client has come back by this socket, which takes the place of any other. Where the session has
    /// ended, it is let go.
    pub(crate) fn take(&self, socket: Socket) {
        let mut state = self.state();
        if state.closed {
            return;
        }
        let older = state.socket.replace(socket);
        let session = state.session.take();
        drop(state);
        drop(older);
        session.into_iter().for_each(Waker::wake);
    }

    /// Waits for whoever comes. Cancel-safe.
    pub(crate) fn poll_visit(&self, context: &Context<'_>) -> Poll<Visit> {
        let mut state = self.state();
        if let Some(socket) = state.socket.take() {
            return Poll::Ready(Visit::Client(socket));
        }
        match &mut state.session {
            Some(waker) => waker.clone_from(context.waker()),
            none => *none = Some(context.waker().clone()),
        }
        Poll::Pending
    }

    /// Nobody is waited for any more.
    pub(crate) fn close(&self) {
        let mut state = self.state();
        state.closed = true;
        let left = (state.socket.take(), state.session.take());
        drop(state);
        drop(left);
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.state().closed
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
