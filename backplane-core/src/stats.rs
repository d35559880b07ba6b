use std::sync::atomic::{AtomicU64, Ordering};

use crate::RouteKind;

macro_rules! counters {
    (
        traffic { $($(#[doc = $traffic_doc:literal])+ $traffic:ident,)+ }
        machinery { $($(#[doc = $doc:literal])+ $name:ident,)+ }
    ) => {
        /// What became of the envelopes on topics of one kind.
        #[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
        #[non_exhaustive]
        pub struct Traffic {
            $($(#[doc = $traffic_doc])+ pub $traffic: u64,)+
        }

        /// What a node has counted since it was made. Sums only grow; cheap to take.
        ///
        /// Of what it accepted, a node knows at every moment what has become:
        /// `accepted = sent + buffered + link_down + refused + unknown + dropped_full + dropped_old`.
        #[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
        #[non_exhaustive]
        pub struct Stats {
            $($(#[doc = $traffic_doc])+ pub $traffic: u64,)+
            $($(#[doc = $doc])+ pub $name: u64,)+
            /// Accepted envelopes that wait to be sent, or for the broker's answer, now.
            pub buffered: u64,
            /// Envelopes retained for repairs, now.
            pub retained: u64,
            /// What they take of [`Retention::bytes`](crate::Retention::bytes), now.
            pub retained_bytes: u64,
            /// Topics whose numbers this node remembers as their publisher, now.
            pub numbered_topics: u64,
            kinds: [Traffic; RouteKind::ALL.len()],
        }

        #[derive(Debug, Default)]
        pub(crate) struct KindCounters {
            $(pub(crate) $traffic: Counter,)+
        }

        #[derive(Debug, Default)]
        pub(crate) struct Counters {
            kinds: [KindCounters; RouteKind::ALL.len()],
            $(pub(crate) $name: Counter,)+
        }

        impl Counters {
            pub(crate) const fn kind(&self, kind: RouteKind) -> &KindCounters {
                &self.kinds[kind as usize]
            }

            /// The sums; what is held now is for the caller to add.
            pub(crate) fn snapshot(&self) -> Stats {
                let kinds = self.kinds.each_ref().map(|kind| Traffic {
                    $($traffic: kind.$traffic.get(),)+
                });
                let mut stats = Stats { $($name: self.$name.get(),)+ kinds, ..Stats::default() };
                for kind in &kinds {
                    $(stats.$traffic += kind.$traffic;)+
                }
                // Read once more, after what settles it: so no snapshot has settled more than it accepted.
                for (kind, counters) in stats.kinds.iter_mut().zip(&self.kinds) {
                    let accepted = counters.accepted.get();
                    stats.accepted += accepted - kind.accepted;
                    kind.accepted = accepted;
                }
                stats.buffered = stats.accepted.saturating_sub(stats.settled());
                stats
            }
        }
    };
}

counters! {
    traffic {
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
        /// Envelopes dropped as the buffer for an outage was full.
        dropped_full,
        /// Envelopes dropped as they had waited in that buffer for too long.
        dropped_old,
        /// Envelopes of other nodes that arrived, doubles included.
        received,
        /// Calls of a sink with an envelope, local and remote.
        delivered,
        /// Envelopes that had been lost and were delivered after all, as their origin sent them again.
        repaired,
        /// Envelopes that arrived again, or too late, and were not delivered.
        doubled,
        /// Envelopes that were reported as lost, with their number.
        lost,
    }
    machinery {
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
        /// Losses reported without a number.
        uncounted_gaps,
        /// Envelopes that arrived ahead of one that is missing and found no room to wait: they are asked
        /// for again.
        held_full,
        /// Requests to an origin to send something again.
        asked,
        /// Envelopes that this node sent again for others.
        resent,
        /// Messages between nodes (heartbeats, watermarks, requests) that were not sent, as the queue was
        /// full; all are repeated.
        control_dropped,
    }
}

impl Stats {
    /// What became of envelopes on topics of this kind.
    #[must_use]
    pub const fn kind(&self, kind: RouteKind) -> &Traffic {
        &self.kinds[kind as usize]
    }

    /// Accepted envelopes whose outcome is known.
    const fn settled(&self) -> u64 {
        self.sent
            + self.link_down
            + self.refused
            + self.unknown
            + self.dropped_full
            + self.dropped_old
    }
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
