//! Stateful reconnect: a client that loses its WebSocket comes back with another one, and neither side
//! notices more than a pause.
//!
//! ```text
//! socket lost ─ the session waits at its seat ─ new socket ─ Sequence, what was not acknowledged ─▶ goes on
//! ```
//!
//! Both sides number their messages and keep them until the other has acknowledged them ([`Buffer`]).
//! After a break each says where it goes on and sends again what the other may have missed, and the other
//! skips what it has. A new socket finds the session by its [`Seat`].

mod buffer;
mod luggage;
mod seat;

use std::{
    pin::pin,
    sync::Arc,
    task::{Context, Poll},
};

use backplane_hub::{Connection, Outbound};
use bytes::Bytes;

pub(crate) use self::{
    buffer::{Ahead, Buffer},
    luggage::Luggage,
    seat::{Departure, Frozen, Preview, Seat, Visit},
};

/// What a session has beyond others, where its client may come back.
#[derive(Debug)]
pub(crate) struct Stateful {
    pub(crate) buffer: Buffer,
    pub(crate) seat: Arc<Seat>,
}

impl Stateful {
    pub(crate) fn new(buffer: Buffer, seat: Arc<Seat>, connection: &Connection) -> Self {
        seat.expect(connection.arrivals());
        Self { buffer, seat }
    }

    /// Takes messages from the queue and keeps them, at most so many, and only for as long as the client
    /// acknowledges enough.
    pub(crate) fn poll_outbound(
        &mut self,
        context: &mut Context<'_>,
        outbound: &mut Outbound,
        batch: &mut Vec<Bytes>,
        most: usize,
    ) -> Poll<()> {
        while batch.len() < most && self.buffer.has_room() {
            let received = pin!(outbound.receive(batch, 1)).poll(context);
            match batch.last().filter(|_| matches!(received, Poll::Ready(1..))) {
                Some(message) => self.buffer.keep(message.clone()),
                None => break,
            }
        }
        if batch.is_empty() { Poll::Pending } else { Poll::Ready(()) }
    }
}

impl Drop for Stateful {
    fn drop(&mut self) {
        self.seat.close();
    }
}
