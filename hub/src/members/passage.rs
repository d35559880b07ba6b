use std::{collections::VecDeque, sync::Arc};

use backplane_core::NodeId;
use bytes::Bytes;

/// How many messages are remembered: far more than come while a connection moves.
const REMEMBERED: usize = 512;

/// What a message costs beside its bytes and its group's name where it is sent on.
const AROUND: usize = 16;

/// Tells one message from all others, on every node: who sent it, and which of his messages it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Mark(u64);

impl Mark {
    /// What nobody else could hand over: a message that is for one connection of this node alone.
    pub(crate) const NONE: Self = Self(0);

    /// The message that `origin` numbered so. Nodes are random, so that no two of them count over the
    /// same marks.
    pub(crate) fn of(origin: NodeId, number: u64) -> Self {
        let (first, _) = origin.as_bytes().split_first_chunk().unwrap_or((&[0; 8], &[]));
        Self(u64::from_le_bytes(*first).wrapping_add(number))
    }

    pub(crate) const fn from_wire(number: u64) -> Self {
        Self(number)
    }

    pub(crate) const fn to_wire(self) -> u64 {
        self.0
    }
}

/// What a connection needs that may move to another node: which messages have come lately, and, while it
/// moves, those that come meanwhile.
///
/// Two nodes hear its topics while it moves, and each may hear any of the messages before the other does
/// or not at all. So what both have is told from what one has by its mark.
#[derive(Debug, Default)]
pub(crate) struct Passage {
    /// The marks of the latest messages, the oldest first.
    recent: VecDeque<Mark>,
    /// `None` while it does not move.
    held: Option<Vec<Held>>,
    held_bytes: usize,
}

/// A message that has come to a connection that moves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Held {
    pub(crate) mark: Mark,
    /// Whose members get it. By the time that it goes on the connection may be none of them.
    pub(crate) group: Option<Arc<str>>,
    pub(crate) message: Bytes,
}

impl Held {
    /// What it takes to send it on.
    fn size(&self) -> usize {
        self.message.len() + self.group.as_ref().map_or(0, |group| group.len()) + AROUND
    }
}

impl Passage {
    /// Takes note of a message; `false` if it has come before.
    pub(super) fn notes(&mut self, mark: Mark) -> bool {
        if mark == Mark::NONE {
            return true;
        }
        if self.knows(mark) {
            return false;
        }
        if self.recent.len() >= REMEMBERED {
            self.recent.pop_front();
        }
        self.recent.push_back(mark);
        true
    }

    /// Whether a message has come before.
    pub(super) fn knows(&self, mark: Mark) -> bool {
        // The latest are the likeliest.
        mark != Mark::NONE && self.recent.iter().rev().any(|known| *known == mark)
    }

    /// Holds what comes from now on.
    pub(super) fn start(&mut self) {
        self.held.get_or_insert_default();
    }

    pub(super) const fn is_holding(&self) -> bool {
        self.held.is_some()
    }

    /// Holds a message, once it is [started](Self::start).
    pub(super) fn hold(&mut self, message: Held) {
        self.held_bytes += message.message.len();
        self.held.get_or_insert_default().push(message);
    }

    /// How many messages are held, and how many bytes.
    pub(super) fn held(&self) -> (usize, usize) {
        (self.held.as_ref().map_or(0, Vec::len), self.held_bytes)
    }

    /// Takes the oldest messages of about so many bytes, at least one, and goes on holding.
    pub(super) fn take_held(&mut self, most: usize) -> Vec<Held> {
        let Some(held) = &mut self.held else { return Vec::new() };
        let mut room = most;
        let fitting = held.iter().take_while(|it| {
            let rest = room.checked_sub(it.size());
            room = rest.unwrap_or(room);
            rest.is_some()
        });
        let count = fitting.count().max(1).min(held.len());
        let taken: Vec<Held> = held.drain(..count).collect();
        self.held_bytes -= taken.iter().map(|it| it.message.len()).sum::<usize>();
        taken
    }

    /// Holds nothing more, and gives out what was held.
    pub(super) fn release(&mut self) -> Vec<Held> {
        self.held_bytes = 0;
        self.held.take().unwrap_or_default()
    }

    pub(super) fn recent(&self) -> Vec<Mark> {
        self.recent.iter().copied().collect()
    }

    /// These have come before all that is known here.
    pub(super) fn follows(&mut self, before: &[Mark]) {
        let mut recent: VecDeque<Mark> = before.iter().copied().collect();
        recent.extend(self.recent.iter().filter(|mark| !before.contains(mark)));
        let surplus = recent.len().saturating_sub(REMEMBERED);
        recent.drain(..surplus);
        self.recent = recent;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn marks(numbers: std::ops::Range<u64>) -> Vec<Mark> {
        numbers.map(Mark::from_wire).collect()
    }

    #[test]
    fn a_message_is_noted_once() {
        let mut passage = Passage::default();
        let (one, other) = (NodeId::random(), NodeId::random());
        assert!(passage.notes(Mark::of(one, 1)));
        assert!(passage.notes(Mark::of(one, 2)));
        assert!(passage.notes(Mark::of(other, 1)));
        assert!(!passage.notes(Mark::of(one, 1)));
        assert!(passage.notes(Mark::NONE) && passage.notes(Mark::NONE));
    }

    #[test]
    fn the_latest_are_remembered() {
        let mut passage = Passage::default();
        for mark in marks(1..1000) {
            assert!(passage.notes(mark));
        }
        assert_eq!(passage.recent().len(), REMEMBERED);
        assert!(!passage.notes(Mark::from_wire(1000 - REMEMBERED as u64)));
        assert!(passage.notes(Mark::from_wire(1)));
    }

    #[test]
    fn what_is_held_is_taken_in_parts() {
        let mut passage = Passage::default();
        let message = |size| {
            let message = Bytes::from(vec![0; size]);
            Held { mark: Mark::NONE, group: Some("bar".into()), message }
        };
        assert!(!passage.is_holding());
        passage.start();
        [100, 10, 20, 30].into_iter().for_each(|size| passage.hold(message(size)));
        assert_eq!(passage.held(), (4, 160));
        assert_eq!(passage.take_held(50), [message(100)]);
        assert_eq!(passage.take_held(10 + 20 + 2 * (AROUND + 3)), [message(10), message(20)]);
        assert_eq!(passage.held(), (1, 30));
        assert_eq!(passage.release(), [message(30)]);
        assert!(!passage.is_holding());
    }

    #[test]
    fn what_came_elsewhere_came_before() {
        let mut passage = Passage::default();
        marks(5..8).into_iter().for_each(|mark| assert!(passage.notes(mark)));
        passage.follows(&marks(1..6));
        assert_eq!(passage.recent(), [marks(1..6), marks(6..8)].concat());
        passage.follows(&marks(1000..1000 + REMEMBERED as u64));
        assert_eq!(passage.recent().len(), REMEMBERED);
        assert!(!passage.notes(Mark::from_wire(7)), "the latest is kept");
    }
}
