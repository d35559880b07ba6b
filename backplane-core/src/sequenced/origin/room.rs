//! What the retained envelopes of a lane may cost.

use std::sync::atomic::Ordering;

use super::Held;

/// Half of [`Retention::bytes`](crate::Retention::bytes) is divided among the lanes, so that a topic in a
/// lane that holds nothing yet finds room; the other half is for whoever comes first.
#[derive(Debug)]
pub(super) struct Room {
    pub(super) share: usize,
    common: usize,
    pub(super) used: usize,
}

impl Room {
    pub(super) const fn new(bound: usize, lanes: usize) -> Self {
        let share = bound / 2 / lanes;
        Self { share, common: bound - share * lanes, used: 0 }
    }

    const fn beyond(&self, used: usize) -> usize {
        used.saturating_sub(self.share)
    }

    /// Returns whether there is room.
    pub(super) fn take(&mut self, cost: usize, held: &Held) -> bool {
        let more = self.beyond(self.used + cost) - self.beyond(self.used);
        let fits = |common: usize| Some(common + more).filter(|it| *it <= self.common);
        let (set, get) = (Ordering::AcqRel, Ordering::Acquire);
        if more > 0 && held.common.fetch_update(set, get, fits).is_err() {
            return false;
        }
        self.used += cost;
        true
    }

    pub(super) fn give_back(&mut self, cost: usize, held: &Held) {
        let less = self.beyond(self.used) - self.beyond(self.used - cost);
        self.used -= cost;
        if less > 0 {
            held.common.fetch_sub(less, Ordering::AcqRel);
        }
    }
}
