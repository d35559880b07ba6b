use std::sync::atomic::{AtomicU64, Ordering};

macro_rules! counters {
    ($($(#[doc = $doc:literal])+ $name:ident,)+) => {
        /// What a node has counted since it was made. Sums only grow.
        #[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
        #[non_exhaustive]
        pub struct Stats {
            $($(#[doc = $doc])+ pub $name: u64,)+
        }

        #[derive(Debug, Default)]
        pub(crate) struct Counters {
            $(pub(crate) $name: Counter,)+
        }

        impl Counters {
            pub(crate) fn snapshot(&self) -> Stats {
                Stats { $($name: self.$name.get(),)+ }
            }
        }
    };
}

counters! {
    /// Envelopes taken by `try_publish`.
    accepted,
    /// Envelopes whose receipt came.
    sent,
    /// Accepted envelopes that no other node gets, as the link was down.
    link_down,
    /// Envelopes the broker refused.
    refused,
    /// Envelopes whose outcome is unknown, as the connection failed underneath them.
    unknown,
    /// Publishes turned away as the outgoing queue was full.
    full,
    /// Batches written; each is one round trip to the broker.
    write_round_trips,
    /// Subscribe and unsubscribe batches; each is one round trip to the broker.
    interest_round_trips,
    /// Topics subscribed or resubscribed.
    topics_subscribed,
    /// Topics unsubscribed.
    topics_unsubscribed,
    /// Envelopes of other nodes that arrived.
    received,
    /// Calls of a sink with an envelope, local and remote.
    delivered,
    /// This node's own envelopes that came back and were dropped.
    echoes,
    /// Envelopes without a sink here.
    uninterested,
    /// Frames or envelopes that could not be read.
    malformed,
    /// Envelopes of a wire version or kind that this version does not know.
    unknown_version,
    /// Connections to the broker that came up.
    connections,
    /// Probes that came back.
    probes,
}

/// One counter. Relaxed: it orders nothing.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub(crate) fn add(&self, count: u64) {
        self.0.fetch_add(count, Ordering::Relaxed);
    }

    fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}
