use std::{sync::atomic::Ordering, time::Instant};

use backplane_core::Link;

use crate::Hub;

/// How a hub on this node stands. See [`Hub::health`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Health {
    /// The link to the other nodes is proven to deliver.
    Ready,
    /// Local only: this node serves its own connections, and what is to reach the clients of others
    /// waits or is refused, as the backplane's options say.
    Degraded {
        /// What stands in the way. Holds no secret.
        reason: String,
        /// The last instant at which the link was proven to deliver, or when the first attempt to
        /// connect began.
        since: Instant,
    },
    /// The node is about to be replaced: it serves the connections that it has, and takes no new ones, or
    /// [soon](Hub::announce_drain) will not.
    Draining,
    /// The hub or its backplane was closed: it takes no new connections.
    Closed,
}

impl Health {
    /// Whether messages reach all nodes and come from them: whether new connections are welcome.
    #[must_use]
    pub const fn is_ready(&self) -> bool {
        matches!(self, Self::Ready)
    }

    /// Whether the node serves its own connections.
    #[must_use]
    pub const fn is_live(&self) -> bool {
        !matches!(self, Self::Closed)
    }

    /// One word for it: `ready`, `degraded`, `draining` or `closed`.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::Degraded { .. } => "degraded",
            Self::Draining => "draining",
            Self::Closed => "closed",
        }
    }
}

impl Hub {
    /// How the hub stands on this node, as far as its link to the other nodes tells. Cheap.
    #[must_use]
    pub fn health(&self) -> Health {
        let link = self.backplane().link();
        let link = link.borrow();
        if self.0.connections.is_closed() {
            return Health::Closed;
        }
        if self.0.announced.load(Ordering::Acquire) {
            return Health::Draining;
        }
        match &*link {
            Link::Up { .. } => Health::Ready,
            Link::Down { since, cause } => {
                Health::Degraded { reason: cause.to_string(), since: *since }
            }
            Link::Muted { since } => Health::Degraded {
                reason: "the link to the broker takes messages but delivers none".to_owned(),
                since: *since,
            },
            Link::Closed => Health::Closed,
            _ => Health::Degraded {
                reason: "the first connection to the broker is still being made".to_owned(),
                since: self.0.started,
            },
        }
    }
}
