use std::sync::atomic::{AtomicU64, Ordering};

macro_rules! counters {
    ($($(#[doc = $doc:literal])+ $name:ident,)+) => {
        /// What a hub holds and has counted on this node. Sums only grow. Cheap to take.
        #[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
        #[non_exhaustive]
        pub struct HubStats {
            /// Open connections.
            pub connections: usize,
            /// Groups with a member on this node.
            pub groups: usize,
            /// Users with a connection on this node.
            pub users: usize,
            /// Calls of this node's clients that wait for a result.
            pub results_owed: usize,
            $($(#[doc = $doc])+ pub $name: u64,)+
        }

        #[derive(Debug, Default)]
        pub(crate) struct Counters {
            $(pub(crate) $name: Counter,)+
        }

        impl Counters {
            /// The sums; what is held now is for the caller to add.
            pub(crate) fn snapshot(&self) -> HubStats {
                HubStats { $($name: self.$name.get(),)+ ..HubStats::default() }
            }
        }
    };
}

counters! {
    /// Method calls from clients.
    invocations,
    /// Sends, from methods and from outside.
    sends,
    /// Calls of clients that want a result.
    client_calls,
    /// Results of clients that nobody waits for any more, or that another client owes.
    stray_results,
    /// Messages put into a connection's queue.
    queued,
    /// Messages dropped as a connection's queue was full.
    dropped_slow,
    /// Messages dropped as their connection was ending.
    dropped_ending,
    /// Messages dropped as they were not encoded for their connection's protocol where they came
    /// from.
    dropped_protocol,
    /// Connections ended as their queue was full.
    closed_slow,
    /// Requests of clients that were relayed to other nodes.
    relays,
    /// Questions to other nodes, each counted once.
    requests,
    /// Questions of other nodes that were answered.
    answered,
    /// Questions and cancellations dropped as too many waited, and are repeated; and those refused as
    /// too much waits for clients of this node.
    dropped_requests,
    /// Bodies on the backplane that could not be read.
    malformed,
    /// Bodies of a kind that this version does not know.
    unknown,
    /// Times that the link to the broker was in doubt: messages may have been lost.
    interruptions,
    /// Runs of messages that are known to be lost.
    gaps,
    /// Nodes that have fallen silent without taking their leave.
    origins_lost,
    /// Losses that clients were told of, if they are to be told at all; each counted once.
    notices,
    /// Events that `on_gap` or `on_link` was not told of, as too many waited.
    dropped_events,
    /// What was told to other nodes about presence, in messages.
    presence_sent,
    /// The same in bytes, without the backplane's headers.
    presence_bytes,
    /// Times that another node was asked for what is missing of its presence.
    presence_asked,
    /// Times that everything was told of this node's presence, as deltas were no longer kept.
    presence_snapshots,
    /// What other nodes said about presence and was dropped, as too much waited or too many nodes
    /// spoke; it is asked for.
    dropped_presence,
}

/// One counter. Relaxed: it orders nothing.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub(crate) fn add(&self, count: u64) {
        if count > 0 {
            self.0.fetch_add(count, Ordering::Relaxed);
        }
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}
