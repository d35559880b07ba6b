use std::sync::Arc;

use bytes::Bytes;

use crate::{hub::Shared, members::Member};

/// Queues messages of a front end's own for one connection, from wherever it is held. After the
/// connection's end there is always room, and nothing is queued.
#[derive(Debug, Clone)]
pub struct Replies {
    hub: Arc<Shared>,
    member: Arc<Member>,
}

impl Replies {
    pub(super) const fn new(hub: Arc<Shared>, member: Arc<Member>) -> Self {
        Self { hub, member }
    }

    /// Waits until so many bytes more can wait for the client without getting into the way of the hub's
    /// own messages: replies that come as fast as there is room, such as a stream's items, get a
    /// quarter of the queue. Cancel-safe.
    pub async fn room(&self, size: usize) {
        self.member.queue.room(size, &self.hub.local.limits).await;
    }

    /// Whether the connection has ended, or is being ended.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.member.queue.is_over()
    }

    /// The same as [`Connection::reply`](crate::Connection::reply).
    pub fn send(&self, bytes: Bytes) {
        send(&self.hub, &self.member, bytes);
    }
}

pub(super) fn send(hub: &Shared, member: &Member, bytes: Bytes) {
    if member.queue.reply(bytes, &hub.local.limits) {
        hub.local.closed_slow(member);
    }
}
