//! Keeps the order of each slot's frames while slots move from master to master.
//!
//! Frames go to a slot's owner one batch behind the other, without waiting. One that is refused because the
//! slot has moved waits until all batches before its own are answered, and whatever comes for that slot
//! meanwhile waits behind it. Nothing overtakes.

use std::collections::{BTreeSet, HashMap};

#[derive(Debug, Default)]
pub(super) struct Order {
    begun: u64,
    under_way: BTreeSet<u64>,
    lanes: HashMap<u16, Lane>,
}

/// What is under way on one slot.
#[derive(Debug)]
struct Lane {
    /// The master to which the latest of them went.
    owner: u64,
    frames: usize,
    /// How many of them wait to be sent.
    held: usize,
}

impl Order {
    /// A new batch, behind all others.
    pub(super) fn begin(&mut self) -> u64 {
        self.begun += 1;
        self.under_way.insert(self.begun);
        self.begun
    }

    /// Another frame of the newest batch. Returns whether it is to be sent to the slot's owner at once;
    /// otherwise it is held.
    pub(super) fn enter(&mut self, slot: u16, owner: u64) -> bool {
        let lane = self.lanes.entry(slot).or_insert(Lane { owner, frames: 0, held: 0 });
        lane.frames += 1;
        let passes = lane.held == 0 && owner == lane.owner;
        lane.held += usize::from(!passes);
        passes
    }

    /// A frame that was sent was refused, as the slot has moved.
    pub(super) fn hold(&mut self, slot: u16) {
        if let Some(lane) = self.lanes.get_mut(&slot) {
            lane.held += 1;
        }
    }

    /// A frame that was held is sent to this master.
    pub(super) fn send(&mut self, slot: u16, owner: u64) {
        if let Some(lane) = self.lanes.get_mut(&slot) {
            lane.held = lane.held.saturating_sub(1);
            lane.owner = owner;
        }
    }

    /// Whether all batches before this one are over: what it holds may be sent.
    pub(super) fn is_first(&self, batch: u64) -> bool {
        self.under_way.first().is_none_or(|first| *first >= batch)
    }

    /// A batch is over. Its frames, each with whether it is still held.
    pub(super) fn end(&mut self, batch: u64, frames: impl Iterator<Item = (u16, bool)>) {
        self.under_way.remove(&batch);
        for (slot, held) in frames {
            if let Some(lane) = self.lanes.get_mut(&slot) {
                lane.frames = lane.frames.saturating_sub(1);
                lane.held = lane.held.saturating_sub(usize::from(held));
                if lane.frames == 0 {
                    self.lanes.remove(&slot);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SLOT: u16 = 7;

    fn sent() -> impl Iterator<Item = (u16, bool)> {
        std::iter::once((SLOT, false))
    }

    #[test]
    fn batches_follow_each_other_without_waiting() {
        let mut order = Order::default();
        for _ in 0..3 {
            order.begin();
            assert!(order.enter(SLOT, 1));
        }
        (1..=3).for_each(|batch| order.end(batch, sent()));
        assert!(order.lanes.is_empty() && order.under_way.is_empty());
    }

    #[test]
    fn nothing_overtakes_what_was_refused() {
        let mut order = Order::default();
        let (first, second) = (order.begin(), order.begin());
        assert!(order.enter(SLOT, 1) && order.enter(SLOT, 1));
        order.hold(SLOT);
        // The slot has a new owner meanwhile: a third batch still waits, and so does what is refused later.
        let third = order.begin();
        assert!(!order.enter(SLOT, 2));
        order.hold(SLOT);
        assert!(order.is_first(first) && !order.is_first(second) && !order.is_first(third));
        order.send(SLOT, 2);
        order.end(first, sent());
        assert!(order.is_first(second));
        order.send(SLOT, 2);
        order.end(second, sent());
        order.send(SLOT, 2);
        // All that waited is on its way: what comes now follows it.
        let fourth = order.begin();
        assert!(order.enter(SLOT, 2));
        order.end(third, sent());
        order.end(fourth, sent());
        assert!(order.lanes.is_empty());
    }

    #[test]
    fn a_new_owner_gets_nothing_before_the_old_has_answered() {
        let mut order = Order::default();
        let first = order.begin();
        assert!(order.enter(SLOT, 1));
        let second = order.begin();
        assert!(!order.enter(SLOT, 2), "it could overtake the first");
        assert!(order.enter(SLOT + 1, 2), "another slot");
        order.end(first, sent());
        assert!(order.is_first(second));
        order.end(second, [(SLOT, true), (SLOT + 1, false)].into_iter());
        assert!(order.lanes.is_empty());
    }
}
