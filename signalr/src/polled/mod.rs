//! Connections that are made of requests: server-sent events and long polling.
//!
//! What the client sends comes in the bodies of POSTs, and waits in a bounded pipe for the session;
//! a POST is answered when its bytes are in there. What the session writes waits, as one batch, for a
//! response to carry it: the one of server-sent events that never ends, or that of the next poll. So
//! the session takes nothing from the hub's queue that nobody fetches.

mod events;
mod loan;
mod poll;
mod post;
mod socket;
#[cfg(test)]
mod tests;

use std::{
    collections::VecDeque,
    sync::{Mutex, MutexGuard, PoisonError},
    task::{Context, Waker},
};

use bytes::Bytes;
use tokio::time::Instant;

pub(crate) use self::{
    events::Events, loan::Loan, poll::Polled, post::PostError, socket::PolledSocket,
};
use crate::Transport;

/// What the requests of one connection share with its session.
#[derive(Debug)]
pub(crate) struct PolledConnection {
    transport: Transport,
    state: Mutex<State>,
    /// Held by the POST whose turn it is: what clients send has an order.
    posting: tokio::sync::Mutex<()>,
}

#[derive(Debug)]
struct State {
    /// What the client has sent and the session has not read.
    arrived: VecDeque<Bytes>,
    arrived_bytes: usize,
    /// What the session has written and no response has taken.
    leaving: Vec<Bytes>,
    /// What the poll of this number took on loan: whether its client has got it is not known yet.
    lent: Option<(u64, Bytes)>,
    /// The number of the newest poll, and whether it waits.
    poll: u64,
    waits: bool,
    /// When the last poll was answered or given up.
    left: Instant,
    /// A response has taken the batch, or has come to wait for one.
    turned: bool,
    /// The client has ended the connection.
    hung_up: bool,
    /// The session has ended.
    over: bool,
    /// A response has told the client so.
    told: bool,
    session: Option<Waker>,
    response: Option<Waker>,
    post: Option<Waker>,
}

impl PolledConnection {
    pub(crate) fn new(transport: Transport) -> Self {
        let state = State {
            arrived: VecDeque::new(),
            arrived_bytes: 0,
            leaving: Vec::new(),
            lent: None,
            poll: 0,
            waits: false,
            left: Instant::now(),
            turned: false,
            hung_up: false,
            over: false,
            told: false,
            session: None,
            response: None,
            post: None,
        };
        Self { transport, state: Mutex::new(state), posting: tokio::sync::Mutex::default() }
    }

    pub(crate) const fn transport(&self) -> Transport {
        self.transport
    }

    /// The client ends the connection. What it has sent before is still read.
    pub(crate) fn hang_up(&self) {
        let mut state = self.state();
        state.hung_up = true;
        state.wake_all();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    const fn is_over(&self) -> bool {
        self.over || self.hung_up
    }

    /// Whether all that was written has reached the client.
    const fn has_left(&self) -> bool {
        self.leaving.is_empty() && self.lent.is_none()
    }

    fn wake_all(&mut self) {
        [&mut self.session, &mut self.response, &mut self.post].into_iter().for_each(wake);
    }

    /// A response takes what has been written.
    fn take(&mut self) -> Vec<Bytes> {
        let batch = std::mem::take(&mut self.leaving);
        self.turned = true;
        wake(&mut self.session);
        batch
    }
}

/// The messages as one piece.
pub(crate) fn whole(batch: Vec<Bytes>) -> Bytes {
    match <[Bytes; 1]>::try_from(batch) {
        Ok([message]) => message,
        Err(batch) => batch.concat().into(),
    }
}

fn wake(waker: &mut Option<Waker>) {
    if let Some(waker) = waker.take() {
        waker.wake();
    }
}

fn remember(waker: &mut Option<Waker>, context: &Context<'_>) {
    match waker {
        Some(waker) => waker.clone_from(context.waker()),
        None => *waker = Some(context.waker().clone()),
    }
}
