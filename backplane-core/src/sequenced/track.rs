//! One origin on one topic, as a receiver follows it.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use super::{
    Moment, Rules, Told,
    peers::{LONGEST_REPEAT, Peer, REPEAT},
};
use crate::{
    codec::{Part, Start, Watermark},
    envelope::{Envelope, Kind, Sequence},
};

/// The most envelopes of one track that wait behind a hole: twice what an origin retains unless told
/// otherwise, so that it says that the hole will stay before there is no room any more. What finds none
/// is asked for later.
const MOST_HELD: usize = 32_768;

/// The place of a receiver in what one origin publishes on one topic.
#[derive(Debug)]
pub(super) struct Track {
    pub(super) peer: Arc<Peer>,
    /// Which subscription of the topic this follows.
    pub(super) stamp: u64,
    pub(super) epoch: u64,
    /// The epochs before it, the latest first, each with its first number that was neither delivered nor
    /// reported.
    closed: [(u64, u64); 3],
    /// What has a position up to here was published before the subscription.
    floor: u64,
    /// The number that is due; everything below was delivered or reported.
    pub(super) next: u64,
    /// The position of what was delivered or reported last.
    pub(super) position: u64,
    /// The highest number that is known to exist, in this epoch.
    known: u64,
    /// Whether a watermark has said so.
    confirmed: bool,
    /// What a watermark said while the baseline was not known.
    expected: Option<Watermark>,
    held: BTreeMap<u64, Envelope>,
    /// Bytes of what is held.
    pub(super) held_bytes: usize,
    /// Where `next` is not known yet: the position behind which everything is due, once known.
    pub(super) baseline: Option<Baseline>,
    /// Delivery began before the origin had said where it stood: the predecessor of what came first.
    unproven: Option<u64>,
    pub(super) open: Option<Open>,
    pub(super) used: Moment,
}

/// What is known of the first number that is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Baseline {
    /// The origin has not said yet where it stood.
    Unmet,
    /// It is the first one behind this position.
    After(u64),
}

/// A hole that is being repaired.
#[derive(Debug, Clone, Copy)]
pub(super) struct Open {
    asked: Option<Asked>,
    /// How long nothing has come, counting only time with the link up.
    pub(super) stalled: Duration,
}

/// The last question about a hole.
#[derive(Debug, Clone, Copy)]
struct Asked {
    at: Moment,
    /// How long until it is asked again.
    pause: Duration,
    /// From where on.
    start: Option<Start>,
    /// Up to which number. What is missing behind it is another question.
    through: u64,
}

impl Track {
    /// A track that follows no subscription yet.
    pub(super) fn new(peer: Arc<Peer>, now: Moment) -> Self {
        Self {
            peer,
            stamp: 0,
            epoch: 0,
            closed: [(0, 1); 3],
            floor: 0,
            next: 1,
            position: 0,
            known: 0,
            confirmed: false,
            expected: None,
            held: BTreeMap::new(),
            held_bytes: 0,
            baseline: None,
            unproven: None,
            open: None,
            used: now,
        }
    }

    /// Begins to follow a subscription whose first number is not known yet.
    pub(super) fn await_baseline(&mut self, stamp: u64, baseline: Baseline) {
        self.stamp = stamp;
        self.baseline = Some(baseline);
        self.unproven = None;
        self.confirmed = false;
        self.expected = None;
        self.held.clear();
        self.held_bytes = 0;
        self.open = None;
    }

    /// Follows no subscription any more, but keeps its place.
    pub(super) fn leave(&mut self) {
        self.await_baseline(0, Baseline::Unmet);
    }

    /// What is due is known: this number of this epoch, but nothing that was delivered before.
    fn begin(&mut self, epoch: u64, next: u64) {
        self.next = if epoch == self.epoch { self.next.max(next) } else { next };
        self.epoch = epoch;
        self.known = self.known_of_held().max(self.next - 1);
        if let Some(Baseline::After(floor)) = self.baseline.take() {
            self.position = self.position.max(floor);
            self.floor = floor;
        }
        if let Some(last) = self.expected.take().filter(|last| last.epoch == epoch) {
            self.known = self.known.max(last.number);
        }
        let due = self.held.split_off(&self.next);
        self.held = due;
        self.held_bytes = self.held.values().map(Envelope::cost).sum();
    }

    fn known_of_held(&self) -> u64 {
        self.held.last_key_value().map_or(0, |(number, _)| *number)
    }

    /// The first that is held is due, if nothing was published between the subscription and it. That is
    /// not known while the origin is silent; but it is not waited for in vain, and once there is no
    /// `room` any more it is only found out afterwards.
    pub(super) fn resolve(&mut self, room: bool, rules: Rules) {
        let first = self.held.first_key_value().and_then(|(_, envelope)| envelope.sequence);
        let (Some(first), Some(baseline)) = (first, self.baseline) else { return };
        match baseline {
            Baseline::After(floor) if first.predecessor <= floor || !rules.first_contact => {
                self.begin(first.epoch, first.number);
            }
            Baseline::Unmet if first.predecessor == 0 || !room => {
                self.begin(first.epoch, first.number);
                self.unproven = Some(first.predecessor);
            }
            _ => {}
        }
    }

    /// Whether the origin has yet to say where it stood when the topic was subscribed.
    pub(super) fn is_unmet(&self) -> bool {
        self.baseline == Some(Baseline::Unmet) || self.unproven.is_some()
    }

    /// Nothing was published since the subscription, up to this number.
    pub(super) fn begin_behind(&mut self, last: Watermark) {
        self.begin(last.epoch, last.number + 1);
        self.position = self.position.max(last.position);
        self.confirmed = self.next == last.number + 1 && !self.has_hole();
    }

    /// Whether this was delivered or reported before, or waits here.
    pub(super) fn is_old(&self, sequence: &Sequence) -> bool {
        sequence.epoch < self.epoch
            || (sequence.epoch == self.epoch && sequence.number < self.next)
            || (self.held.get(&sequence.number).and_then(|held| held.sequence))
                .is_some_and(|held| held.epoch == sequence.epoch)
    }

    /// The newest epoch of which something waits for the baseline: all of it is of one.
    fn awaiting(&self) -> Option<u64> {
        self.expected.filter(|_| self.baseline.is_some()).map(|it| it.epoch)
    }

    /// Whether what is of this epoch came so late that something newer waits already.
    pub(super) fn is_late(&self, epoch: u64) -> bool {
        self.awaiting().is_some_and(|newer| epoch < newer)
    }

    /// The origin counts anew while something of an older epoch waits for the baseline: nobody will say
    /// any more where that began.
    pub(super) fn overtake(
        &mut self,
        epoch: u64,
        now: Moment,
        rules: Rules,
        told: &mut impl FnMut(Told),
    ) {
        if self.awaiting().is_some_and(|it| it < epoch) {
            self.close_epoch(epoch, now, rules, told);
        }
    }

    /// The origin has said where it stood when the topic was subscribed.
    pub(super) fn meet(&mut self, floor: u64, told: &mut impl FnMut(Told)) {
        if let Some(predecessor) = self.unproven.take() {
            self.floor = floor;
            if predecessor > floor {
                told(Told::Lost(self.peer.node, None));
            }
            return;
        }
        let floor = floor.max(self.position);
        self.baseline = Some(Baseline::After(floor));
        self.expected = self.expected.filter(|it| it.position > floor || !self.held.is_empty());
        self.answered();
    }

    /// Something of a closed epoch shows that it had more than was known when it was closed. Says so
    /// once.
    pub(super) fn outlived(&mut self, last: Watermark) -> bool {
        let Watermark { epoch, number, position } = last;
        if epoch >= self.epoch || self.baseline.is_some() || position <= self.floor {
            return false;
        }
        let at = self.closed.iter().position(|(closed, _)| *closed <= epoch);
        let Some(at) = at else { return false };
        if self.closed[at].0 != epoch {
            self.closed[at..].rotate_right(1);
            self.closed[at] = (epoch, number + 1);
            return true;
        }
        let outlived = number >= self.closed[at].1;
        self.closed[at].1 = self.closed[at].1.max(number + 1);
        outlived
    }

    /// Something exists up to there, whatever the baseline will be.
    pub(super) fn expect(&mut self, last: Watermark) {
        if self.expected.is_none_or(|it| it.position < last.position) {
            self.expected = Some(last);
        }
    }

    /// Something exists up to there.
    pub(super) fn learn(&mut self, last: Watermark) {
        self.known = self.known.max(last.number);
        self.confirmed = self.confirmed || last.number >= self.known;
    }

    /// This one, which is due, is delivered.
    pub(super) fn pass(&mut self, sequence: &Sequence, now: Moment) {
        let Sequence { number, position, .. } = *sequence;
        self.next = number + 1;
        self.position = self.position.max(position);
        self.known = self.known.max(number);
        self.confirmed = false;
        self.used = now;
    }

    pub(super) fn deliver(&mut self, envelope: Envelope, now: Moment, told: &mut impl FnMut(Told)) {
        let Some(sequence) = &envelope.sequence else { return };
        self.pass(sequence, now);
        let repaired = envelope.kind == Kind::Resent;
        told(Told::Message(envelope, repaired));
    }

    /// This comes in the order of a log: what would have come before it is lost.
    pub(super) fn is_due(&mut self, sequence: &Sequence, now: Moment, told: &mut impl FnMut(Told)) {
        if self.baseline.is_some() {
            self.begin(sequence.epoch, sequence.number);
        }
        self.give_up_through(sequence.number - 1, now, told);
    }

    /// Whether another one may wait behind a hole.
    pub(super) fn has_room(&self) -> bool {
        self.held.len() < MOST_HELD
    }

    /// Keeps what is ahead of a hole. Returns whether there was room.
    pub(super) fn hold(&mut self, envelope: Envelope, room: bool) -> bool {
        let Some(Sequence { epoch, number, position, .. }) = envelope.sequence else { return true };
        if self.baseline.is_some() {
            self.expect(Watermark { epoch, number, position });
        } else {
            self.known = self.known.max(number);
            self.confirmed = false;
        }
        if !room {
            return false;
        }
        self.held_bytes += envelope.cost();
        self.held.insert(number, envelope);
        true
    }

    /// Delivers what is held, up to the next hole.
    pub(super) fn advance(&mut self, now: Moment, told: &mut impl FnMut(Told)) {
        if self.baseline.is_some() {
            return;
        }
        while let Some(envelope) = self.held.remove(&self.next) {
            self.held_bytes -= envelope.cost();
            self.deliver(envelope, now, told);
            self.progress();
        }
        if !self.has_hole() {
            self.open = None;
        }
    }

    fn progress(&mut self) {
        if let Some(open) = &mut self.open {
            open.stalled = Duration::ZERO;
        }
    }

    /// Whether this is due, and nothing is missing before or behind it.
    pub(super) fn is_next(&self, sequence: &Sequence) -> bool {
        self.open.is_none()
            && !self.has_hole()
            && self.held.is_empty()
            && sequence.epoch == self.epoch
            && sequence.number == self.next
    }

    /// Whether something is missing.
    pub(super) const fn has_hole(&self) -> bool {
        self.baseline.is_some() || self.unproven.is_some() || self.next <= self.known
    }

    /// What to ask for now, if it is time.
    pub(super) fn ask(&mut self, now: Moment) -> Option<(Start, u64)> {
        if !self.has_hole() {
            return None;
        }
        let open = self.open.get_or_insert(Open { asked: None, stalled: Duration::ZERO });
        let before = open.asked.filter(|it| self.baseline.is_some() || self.next <= it.through);
        let pause = match before {
            Some(Asked { at, pause, .. }) if at + pause > now => return None,
            Some(Asked { pause, .. }) => (pause * 2).min(LONGEST_REPEAT),
            None => REPEAT,
        };
        let question = match self.baseline {
            Some(Baseline::Unmet) => None,
            Some(Baseline::After(position)) => Some((Start::After { position }, u64::MAX)),
            None if self.next > self.known => None,
            None => {
                // What is held need not come again.
                let until = self.held.keys().next().map_or(self.known, |first| first - 1);
                Some((Start::Number { epoch: self.epoch, from: self.next }, until))
            }
        };
        let (start, through) = question.unzip();
        open.asked = Some(Asked { at: now, pause, start, through: through.unwrap_or(u64::MAX) });
        question
    }

    /// An answer came, so the next question need not wait.
    pub(super) const fn answered(&mut self) {
        if let Some(open) = &mut self.open {
            open.asked = None;
        }
    }

    /// Whether that was the last question. The answer to one that was repeated comes more than once.
    fn has_asked(&self, start: Start) -> bool {
        let asked = self.open.and_then(|open| open.asked);
        asked.is_some_and(|asked| asked.start == Some(start))
    }

    /// The origin has dealt with a part of what was asked for from `start` on.
    pub(super) fn settle(
        &mut self,
        start: Start,
        part: &Part,
        now: Moment,
        rules: Rules,
        told: &mut impl FnMut(Told),
    ) {
        let before = self.next;
        if self.awaiting().is_some_and(|epoch| part.epoch < epoch) {
            return; // The origin has begun to count anew since it said this.
        }
        self.overtake(part.epoch, now, rules, told);
        if self.baseline.is_some() {
            // What was forgotten with its whole topic is known to be none of this one's only while it is
            // older than what has arrived.
            if part.uncertain || part.forgotten > self.peer.safe() {
                told(Told::Lost(self.peer.node, None));
            }
            self.begin(part.epoch, part.from);
        } else if part.epoch != self.epoch && rules.epochs {
            return;
        }
        self.advance(now, told);
        for (first, last) in &part.missing {
            if rules.in_order && *first > self.next {
                break; // Something before it is still on its way.
            }
            self.give_up_through(*last, now, told);
        }
        if self.next > before {
            self.progress();
            self.answered();
        }
        // All that the answer is about has come before it: the rest is another question.
        let covered = part.from <= part.through && part.through < self.next;
        if covered && self.has_asked(start) {
            self.answered();
        }
        self.known = self.known.max(part.through);
        if self.next > part.through && !self.has_hole() {
            self.position = self.position.max(part.position);
        }
        self.advance(now, told);
    }

    /// Everything missing up to this number is lost; what is held of it is delivered.
    pub(super) fn give_up_through(&mut self, last: u64, now: Moment, told: &mut impl FnMut(Told)) {
        while self.next <= last {
            let until = self.held.keys().next().map_or(last, |first| last.min(first - 1));
            if until >= self.next {
                told(Told::Lost(self.peer.node, Some(until + 1 - self.next)));
                self.next = until + 1;
                self.used = now;
            }
            self.advance(now, told);
        }
    }

    /// Nobody will send what is missing any more. Returns whether something was.
    pub(super) fn give_up(&mut self, now: Moment, told: &mut impl FnMut(Told)) -> bool {
        if !self.has_hole() {
            return false;
        }
        if self.unproven.take().is_some_and(|predecessor| predecessor > 0) {
            told(Told::Lost(self.peer.node, None));
        }
        if self.baseline.take().is_some() {
            told(Told::Lost(self.peer.node, None));
            if let Some(last) = self.expected.take() {
                // What is known to have existed is of one epoch.
                self.epoch = last.epoch;
                self.known = last.number.max(self.known_of_held());
                self.next = self.held.keys().next().map_or(self.known + 1, |first| *first);
            } else {
                self.next = self.next.max(self.known + 1);
            }
        }
        self.give_up_through(self.known, now, told);
        self.open = None;
        true
    }

    /// The origin counts anew: what is missing of the old epoch is lost.
    pub(super) fn close_epoch(
        &mut self,
        epoch: u64,
        now: Moment,
        rules: Rules,
        told: &mut impl FnMut(Told),
    ) {
        if rules.epochs && !self.give_up(now, told) && !self.confirmed {
            // There may have been more behind the last one that arrived.
            told(Told::Lost(self.peer.node, None));
        }
        self.closed.rotate_right(1);
        self.closed[0] = (self.epoch, self.next);
        self.epoch = epoch;
        self.next = 1;
        self.known = 0;
        self.confirmed = false;
        self.open = None;
    }
}
