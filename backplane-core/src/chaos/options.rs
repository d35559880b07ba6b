use std::{ops::RangeInclusive, time::Duration};

use bytesize::ByteSize;

/// What a [`Chaos`](super::Chaos) does to what arrives, and how often.
///
/// `drop`, `double`, `reorder` and `delay` are probabilities per frame, from 0 to 1, each by default 0:
/// nothing happens that was not asked for. All are drawn for every frame; of a frame that several of
/// them hit, dropping comes before delaying, and that before reordering.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct ChaosOptions {
    /// What all decisions follow from. Default 0. Give each node of a test its own.
    pub seed: u64,
    /// How probably a frame is dropped.
    pub drop: f64,
    /// How probably a frame that is not dropped arrives once more: at once, or as often, later by a time
    /// drawn from [`delay_for`](Self::delay_for).
    pub double: f64,
    /// How probably a frame is held back until others have overtaken it.
    pub reorder: f64,
    /// How probably a frame is delayed. What follows does not wait for it.
    pub delay: f64,
    /// The most frames that overtake one; how many is drawn from 1 to this. Default 8: more than a burst
    /// on one topic, so that the order across topics changes too.
    pub overtaken_by: u32,
    /// When a frame goes on that fewer have overtaken. Default 100 ms: before the first watermark of a
    /// topic that has fallen silent.
    pub overtaken_within: Duration,
    /// From how long to how long a frame is delayed. Default 10 to 500 ms: before and after that
    /// watermark. [Longer than 3 s](super#what-it-spares) is no link that counts as up.
    pub delay_for: RangeInclusive<Duration>,
    /// The most frames that are held at a time. Default 4,096. Beyond it, and beyond
    /// [`held_bytes`](Self::held_bytes), a frame goes on at once; see
    /// [`ChaosCounts::full`](super::ChaosCounts::full).
    pub held_frames: usize,
    /// The most bytes that are held at a time. Default 16 MiB.
    pub held_bytes: ByteSize,
    /// Whether the node's own probes are hit too. Default false: a node that misses one for
    /// [`probe_deadline`](crate::NodeOptions::probe_deadline) takes its link for mute, and reconnects.
    pub probes: bool,
}

impl Default for ChaosOptions {
    fn default() -> Self {
        Self {
            seed: 0,
            drop: 0.0,
            double: 0.0,
            reorder: 0.0,
            delay: 0.0,
            overtaken_by: 8,
            overtaken_within: Duration::from_millis(100),
            delay_for: Duration::from_millis(10)..=Duration::from_millis(500),
            held_frames: 4096,
            held_bytes: ByteSize::mib(16),
            probes: false,
        }
    }
}

impl ChaosOptions {
    /// Everything happens to one frame in ten: often enough that a few hundred frames meet every
    /// combination, and seldom enough that most of them get through.
    #[must_use]
    pub fn one_in_ten(seed: u64) -> Self {
        let often = 0.1;
        Self { seed, drop: often, double: often, reorder: often, delay: often, ..Self::default() }
    }

    /// Whether frames may get lost, or come twice.
    pub(super) fn changes_number(&self) -> bool {
        self.drop > 0.0 || self.double > 0.0
    }

    /// Whether frames may overtake each other. A second copy comes behind what came after the first.
    pub(super) fn changes_order(&self) -> bool {
        self.double > 0.0 || self.reorder > 0.0 || self.delay > 0.0
    }

    pub(super) fn check(&self) -> Result<(), ChaosError> {
        let probabilities = [
            ("drop", self.drop),
            ("double", self.double),
            ("reorder", self.reorder),
            ("delay", self.delay),
        ];
        // Not a number is in no range.
        if let Some((option, value)) =
            probabilities.into_iter().find(|(_, value)| !(0.0..=1.0).contains(value))
        {
            return Err(ChaosError::Probability { option, value });
        }
        let (from, to) = (*self.delay_for.start(), *self.delay_for.end());
        if from > to {
            return Err(ChaosError::Delay { from, to });
        }
        if self.overtaken_by == 0 && self.reorder > 0.0 {
            return Err(ChaosError::NeverOvertaken);
        }
        Ok(())
    }
}

/// Why options make no [`Chaos`](super::Chaos).
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ChaosError {
    /// A probability is not between 0 and 1.
    #[error(
        "the probability {option} is {value}: use 0 for never, 1 for always, and 0.1 for one frame in ten"
    )]
    Probability {
        /// Which of the options.
        option: &'static str,
        /// What it is.
        value: f64,
    },
    /// The shortest delay is longer than the longest.
    #[error("delay_for goes from {from:?} to {to:?}: put the shortest first")]
    Delay {
        /// Where the range starts.
        from: Duration,
        /// Where it ends.
        to: Duration,
    },
    /// Frames are to be reordered, and none may overtake another.
    #[error(
        "frames are to be reordered, but overtaken_by is 0: use 1 or more, or set reorder to 0"
    )]
    NeverOvertaken,
}
