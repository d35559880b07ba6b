//! What goes wrong in a world, and what came of it.

use super::random::Random;

/// How hard the world is on its nodes. In thousandths, per event or per message.
#[derive(Debug, Clone)]
pub(super) struct Faults {
    pub(super) nodes: u64,
    pub(super) lost: u64,
    pub(super) doubled: u64,
    pub(super) overtaken: u64,
    pub(super) cuts: u64,
    pub(super) crashes: u64,
    pub(super) pauses: u64,
    pub(super) ends: u64,
    pub(super) churn: u64,
    pub(super) retained: usize,
    /// How many wait while the link is down; the oldest are dropped.
    pub(super) buffered: usize,
    /// How many topics an origin remembers; one per lane is too few for those that share one.
    pub(super) topics: usize,
    pub(super) latency: u64,
    /// Whether even watermarks get lost. What they would have told is told by the next envelope, so
    /// there is one in the end.
    pub(super) fence: bool,
    /// Whether the broker keeps a log, which its readers read on; what is lost is lost for all of them.
    pub(super) log: bool,
    /// How often the oldest of that goes.
    pub(super) trims: u64,
}

impl Faults {
    pub(super) fn of(seed: u64) -> Self {
        let mut random = Random::new(seed ^ 0xFA17);
        let mut sometimes = |most| if random.chance(500) { random.below(most) } else { 0 };
        Self {
            lost: sometimes(100),
            doubled: sometimes(100),
            overtaken: sometimes(60),
            cuts: sometimes(60),
            crashes: sometimes(20),
            pauses: sometimes(20),
            ends: sometimes(20),
            churn: sometimes(200),
            nodes: 2 + seed % 2,
            retained: if seed.is_multiple_of(3) { 8 } else { 400 },
            buffered: [4, 6, 200][(seed % 3) as usize],
            latency: 1 + seed % 60,
            topics: if seed.is_multiple_of(5) { 16 } else { 1024 },
            // A topic that is forgotten as there are too many has but one watermark, and nothing that
            // follows on its topic speaks of the same epoch.
            fence: seed % 4 == 1 && !seed.is_multiple_of(5),
            log: false,
            trims: 0,
        }
    }

    /// The same with a log.
    pub(super) fn over_a_log(seed: u64) -> Self {
        let mut random = Random::new(seed ^ 0x106);
        let trims = if random.chance(300) { random.below(20) } else { 0 };
        let faults = Self::of(seed);
        // An order that is kept, and hardly anything that was stored gets lost.
        let lost = if random.chance(300) { faults.lost / 4 } else { 0 };
        Self { log: true, trims, lost, overtaken: 0, ..faults }
    }

    /// Nothing goes wrong by itself.
    pub(super) const fn none() -> Self {
        Self {
            nodes: 2,
            lost: 0,
            doubled: 0,
            overtaken: 0,
            cuts: 0,
            crashes: 0,
            pauses: 0,
            ends: 0,
            churn: 0,
            retained: 400,
            buffered: 200,
            latency: 2,
            topics: 1024,
            fence: false,
            log: false,
            trims: 0,
        }
    }
}

/// What happened, over a run.
#[derive(Debug, Clone, Default)]
pub(super) struct Tally {
    pub(super) published: u64,
    pub(super) delivered: u64,
    pub(super) repaired: u64,
    pub(super) doubled: u64,
    pub(super) reported: u64,
    pub(super) crashes: u64,
    pub(super) trims: u64,
}

impl Tally {
    pub(super) const fn add(&mut self, other: &Self) {
        self.published += other.published;
        self.delivered += other.delivered;
        self.repaired += other.repaired;
        self.doubled += other.doubled;
        self.reported += other.reported;
        self.crashes += other.crashes;
        self.trims += other.trims;
    }
}
