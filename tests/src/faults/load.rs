//! What is published while a fault happens.

use std::time::Duration;

/// How a publisher goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pace {
    /// At its rate.
    Steady,
    /// As fast as there is room.
    FlatOut,
    /// No more.
    Stop,
}

/// A continuous load: each node publishes on each topic and listens to all of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Load {
    /// How many nodes there are; at least 2.
    pub nodes: usize,
    /// Envelopes per second, over all publishers.
    pub rate: u32,
    /// Bytes per body; at least [`Load::SMALLEST`].
    pub size: usize,
    /// How many topics there are.
    pub topics: usize,
    /// For how long all is well before the fault.
    pub before: Duration,
    /// For how long it is published after everybody has recovered.
    pub after: Duration,
    /// How long the whole publishing lasts at least, however soon the fault is over.
    pub least: Duration,
    /// What all randomness follows from.
    pub seed: u64,
}

impl Load {
    /// A body holds its run, its place in it, and the time of its publishing.
    pub const SMALLEST: usize = 24;

    /// 3 nodes that publish 5,000 envelopes of 256 bytes each second on 4 topics.
    #[must_use]
    pub const fn full(seed: u64) -> Self {
        Self {
            nodes: 3,
            rate: 5_000,
            size: 256,
            topics: 4,
            before: Duration::from_secs(3),
            after: Duration::from_secs(3),
            least: Duration::ZERO,
            seed,
        }
    }

    /// The same for tests that many others run beside: 600 envelopes each second, for a short time.
    #[must_use]
    pub const fn light(seed: u64) -> Self {
        Self {
            rate: 600,
            before: Duration::from_millis(1_200),
            after: Duration::from_millis(700),
            ..Self::full(seed)
        }
    }
}
