use std::{cell::Cell, fmt, time::Instant};

use crate::{Envelope, NodeId, Topic};

/// The local receiver of a topic's events.
///
/// `accept` is called on the transport's read path (or, for what this node publishes itself,
/// on the publisher's), one event at a time per topic. It must not block and must not publish:
/// it hands over to a bounded queue and returns. Publishing from within `accept` is answered
/// with [`PublishError::InsideSink`](crate::PublishError::InsideSink).
pub trait Sink: fmt::Debug + Send + Sync + 'static {
    /// Takes one event.
    fn accept(&self, event: &Event);
}

/// What a sink is told.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Event {
    /// An envelope on a subscribed topic.
    Message(Envelope),
    /// Envelopes that are known to be lost.
    Gap(Gap),
    /// The link is in doubt: from `since` on, envelopes of other nodes may be lost. Told once to
    /// each sink of a topic that was confirmed before.
    Interrupted {
        /// The last instant at which the link was proven to deliver.
        since: Instant,
    },
    /// The link is back and the interest restored: what is published from now on arrives. With
    /// repair on, what was missed has been delivered or reported as a [`Gap`] before this.
    Restored,
    /// Envelopes of this node may be lost on any topic, and nobody can say which: it has fallen silent
    /// without taking its leave, and what it had not sent yet is lost if it is dead; or the two nodes were
    /// out of touch for longer than it keeps what it published. Told to every sink.
    OriginLost {
        /// Which node.
        origin: NodeId,
    },
}

/// A run of envelopes that are known to be lost.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Gap {
    /// The topic they were published on.
    pub topic: Topic,
    /// Who published them, where that is known.
    pub origin: Option<NodeId>,
    /// How many, where that is known.
    pub count: Option<u64>,
}

impl Gap {
    /// A gap that a layer or a transport has found.
    #[must_use]
    pub const fn new(topic: Topic, origin: Option<NodeId>, count: Option<u64>) -> Self {
        Self { topic, origin, count }
    }
}

thread_local! {
    static TELLING: Cell<bool> = const { Cell::new(false) };
}

/// Marks this thread as telling a sink, until dropped, also by a sink that panics.
#[derive(Debug)]
pub(crate) struct Telling {
    before: bool,
}

impl Telling {
    pub(crate) fn begin() -> Self {
        Self { before: TELLING.replace(true) }
    }

    /// Whether this thread is telling a sink.
    pub(crate) fn now() -> bool {
        TELLING.get()
    }
}

impl Drop for Telling {
    fn drop(&mut self) {
        TELLING.set(self.before);
    }
}
