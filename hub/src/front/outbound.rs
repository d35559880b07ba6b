use std::{future::poll_fn, sync::Arc};

use bytes::Bytes;

use crate::members::Member;

/// The front end's end of a connection's queue: bounded in messages and bytes. Messages are shared,
/// never copied.
///
/// Dropping it discards what waits and what still comes.
#[derive(Debug)]
pub struct Outbound(Arc<Member>);

impl Outbound {
    pub(crate) const fn new(member: Arc<Member>) -> Self {
        Self(member)
    }

    /// Waits for messages and moves up to `most` of them (at least one) into `into`.
    ///
    /// Returns how many; 0 means that no more will come: the connection was closed and what waited
    /// is through, or it was ended as too slow. Cancel-safe.
    pub async fn receive(&mut self, into: &mut Vec<Bytes>, most: usize) -> usize {
        poll_fn(|context| self.0.queue.poll_receive(context, into, most.max(1))).await
    }
}

impl Drop for Outbound {
    fn drop(&mut self) {
        self.0.queue.discard();
    }
}
