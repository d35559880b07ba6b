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
#[derive(Debug, Default)]
struct Lane {
    /// How many frames no master has answered yet: mostly one master's.
    unanswered: Vec<(u64, usize)>,
    /// How many frames wait to be sent.
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
    /// otherwise it is held, as it could overtake another one.
    pub(super) fn enter(&mut self, slot: u16, owner: u64) -> bool {
        let lane = self.lanes.entry(slot).or_default();
        let passes = lane.held == 0 && lane.unanswered.iter().all(|(master, _)| *master == owner);
        if passes {
            lane.send(owner);
        } else {
            lane.held += 1;
        }
        passes
    }

    /// A frame that was held is sent to this master.
    pub(super) fn send(&mut self, slot: u16, owner: u64) {
        let lane = self.lanes.entry(slot).or_default();
        lane.held = lane.held.saturating_sub(1);
        lane.send(owner);
    }

    /// A master has answered a frame, or never will. If it refused that, as the slot has moved, the frame
    /// is held.
    pub(super) fn answered(&mut self, slot: u16, master: u64, moved: bool) {
        let Some(lane) = self.lanes.get_mut(&slot) else { return };
        if let Some((_, count)) = lane.unanswered.iter_mut().find(|(other, _)| *other == master) {
            *count -= 1;
        }
        lane.unanswered.retain(|(_, count)| *count > 0);
        lane.held += usize::from(moved);
        self.tidy(slot);
    }

    /// A frame that was held will not be sent.
    pub(super) fn give_up(&mut self, slot: u16) {
        if let Some(lane) = self.lanes.get_mut(&slot) {
            lane.held = lane.held.saturating_sub(1);
            self.tidy(slot);
        }
    }

    /// Whether all batches before this one are over: what it holds may be sent.
    pub(super) fn is_first(&self, batch: u64) -> bool {
        self.under_way.first().is_none_or(|first| *first >= batch)
    }

    pub(super) fn end(&mut self, batch: u64) {
        self.under_way.remove(&batch);
    }

    fn tidy(&mut self, slot: u16) {
        if self.lanes.get(&slot).is_some_and(|lane| lane.held == 0 && lane.unanswered.is_empty()) {
            self.lanes.remove(&slot);
        }
    }
}

impl Lane {
    fn send(&mut self, owner: u64) {
        match self.unanswered.iter_mut().find(|(master, _)| *master == owner) {
            Some((_, count)) => *count += 1,
            None => self.unanswered.push((owner, 1)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SLOT: u16 = 7;

    #[test]
    fn batches_follow_each_other_without_waiting() {
        let mut order = Order::default();
        for _ in 0..3 {
            order.begin();
            assert!(order.enter(SLOT, 1));
        }
        for batch in 1..=3 {
            order.answered(SLOT, 1, false);
            order.end(batch);
        }
        assert!(order.lanes.is_empty() && order.under_way.is_empty());
    }

    #[test]
    fn nothing_overtakes_what_was_refused() {
        let mut order = Order::default();
        let (first, second) = (order.begin(), order.begin());
        assert!(order.enter(SLOT, 1) && order.enter(SLOT, 1));
        order.answered(SLOT, 1, true);
        let third = order.begin();
        assert!(!order.enter(SLOT, 2), "the first waits");
        assert!(order.is_first(first) && !order.is_first(second) && !order.is_first(third));
        order.send(SLOT, 2);
        let fourth = order.begin();
        assert!(!order.enter(SLOT, 2), "the third waits");
        order.answered(SLOT, 2, false);
        order.end(first);
        // Refused late: the old master was slower than the new one.
        order.answered(SLOT, 1, true);
        assert!(order.is_first(second));
        order.send(SLOT, 2);
        order.answered(SLOT, 2, false);
        order.end(second);
        order.send(SLOT, 2);
        order.send(SLOT, 2);
        let fifth = order.begin();
        assert!(order.enter(SLOT, 2), "all that waited is on its way, and this follows it");
        for batch in [third, fourth, fifth] {
            order.answered(SLOT, 2, false);
            order.end(batch);
        }
        assert!(order.lanes.is_empty());
    }

    #[test]
    fn a_new_owner_gets_nothing_before_the_old_one_has_answered() {
        let mut order = Order::default();
        let first = order.begin();
        assert!(order.enter(SLOT, 1));
        let second = order.begin();
        assert!(!order.enter(SLOT, 2), "it could overtake the first");
        assert!(order.enter(SLOT + 1, 2), "another slot");
        order.answered(SLOT, 1, false);
        order.end(first);
        assert!(order.is_first(second));
        order.answered(SLOT + 1, 2, false);
        order.give_up(SLOT);
        order.end(second);
        assert!(order.lanes.is_empty());
    }

    /// What an early version did not notice: the first waits no more, but the second is not answered yet.
    #[test]
    fn what_was_sent_to_the_old_owner_is_waited_for() {
        let mut order = Order::default();
        order.begin();
        order.begin();
        assert!(order.enter(SLOT, 1) && order.enter(SLOT, 1));
        order.answered(SLOT, 1, true);
        order.send(SLOT, 2);
        order.begin();
        assert!(!order.enter(SLOT, 2));
    }
}
