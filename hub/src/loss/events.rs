use std::time::Instant;

use backplane_core::{NodeId, Topic};

use crate::Hub;

/// Messages that are known to be lost, all of one origin on one topic. See
/// [`HubBuilder::on_gap`](crate::HubBuilder::on_gap).
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Missed {
    /// The hub on this node.
    pub hub: Hub,
    /// Whom they were for: [`Topic::route`] tells whether all, or which group, user or connection.
    pub topic: Topic,
    /// The node that sent them, where that is known.
    pub origin: Option<NodeId>,
    /// How many, where that is known.
    pub count: Option<u64>,
    /// How many earlier events were dropped since the last one that was told, as too many waited.
    pub skipped: u64,
}

/// Something has happened to what connects this node to the others. See
/// [`HubBuilder::on_link`](crate::HubBuilder::on_link).
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct LinkEvent {
    /// The hub on this node.
    pub hub: Hub,
    /// What has happened.
    pub change: LinkChange,
    /// How many earlier events were dropped since the last one that was told, as too many waited.
    pub skipped: u64,
}

/// What has happened. See [`LinkEvent`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum LinkChange {
    /// The link is in doubt: messages of other nodes may be lost from `since` on.
    Interrupted {
        /// The last instant at which the link was proven to deliver.
        since: Instant,
    },
    /// Messages of other nodes arrive again.
    Restored {
        /// Whether everything that was missed has been delivered or reported as a gap, which is so
        /// where the backplane numbers its messages. If not, anything may be missing.
        complete: bool,
    },
    /// A node has fallen silent without taking its leave. If it is dead, what it had not sent yet is
    /// lost.
    OriginLost {
        /// Which node.
        origin: NodeId,
    },
}
