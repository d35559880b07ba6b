//! The receiving half: duplicates, holes, and asking for what is missing.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use hashbrown::{Equivalent, HashMap, HashSet};

use super::{Action, Contact, Hashing, Moment, Rules, Told, Track, track::Baseline};
use crate::{
    NodeId, Topic,
    codec::{Answer, Control, Start, Watermark},
    envelope::{Envelope, Sequence},
};

/// The most bytes that wait behind holes, on all topics of a node.
const MOST_HELD_BYTES: usize = 32 * 1024 * 1024;

/// The most tracks of one lane. Beyond it, what is idle is forgotten early.
pub(super) const MOST_TRACKS: usize = 16_384;

/// What all lanes have in common.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    /// Bytes that wait behind holes.
    bytes: AtomicUsize,
    /// Tracks with a hole.
    pub(super) open: AtomicUsize,
    /// Envelopes that found no room to wait.
    pub(super) full: AtomicUsize,
}

/// One lane's tracks.
#[derive(Debug)]
pub(super) struct Receiver {
    rules: Rules,
    /// Whether everything arrives in the order of a log.
    log: bool,
    tracks: HashMap<(NodeId, Topic), Track, Hashing>,
    /// Those with a hole.
    open: HashSet<(NodeId, Topic), Hashing>,
}

/// What a receiver needs of its node.
pub(crate) trait Local {
    /// The stamp of the topic's subscription, if there is one.
    fn stamp(&self, topic: &Topic) -> Option<u64>;

    /// Tells the topic's sinks.
    fn tell(&self, topic: &Topic, told: Told);
}

/// When something happens.
#[derive(Debug, Clone, Copy)]
pub(super) struct Surroundings<'a> {
    pub(super) now: Moment,
    pub(super) waiting: &'a Waiting,
}

/// Where something arrives.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place<'a> {
    pub(super) origin: NodeId,
    pub(super) topic: &'a Topic,
    /// The stamp of the topic's subscription.
    pub(super) stamp: u64,
    pub(super) now: Moment,
    pub(super) waiting: &'a Waiting,
}

impl Receiver {
    pub(super) fn new(rules: Rules, log: bool) -> Self {
        Self { rules, log, tracks: HashMap::default(), open: HashSet::default() }
    }

    /// Whether this is the next one of a track where nothing is missing, as it nearly always is; then it
    /// counts as delivered.
    pub(super) fn passes(&mut self, place: Place<'_>, sequence: &Sequence) -> bool {
        let key = Borrowed(place.origin, place.topic);
        match self.tracks.get_mut(&key).filter(|it| it.stamp == place.stamp) {
            Some(track) if track.is_next(sequence) => {
                track.peer.saw(sequence.position);
                track.pass(sequence, place.now);
                true
            }
            _ => false,
        }
    }

    /// A numbered envelope has arrived.
    pub(super) fn receive(
        &mut self,
        place: Place<'_>,
        envelope: Envelope,
        contact: impl FnOnce() -> Contact,
        actions: &mut Vec<Action>,
        told: &mut impl FnMut(Told),
    ) {
        let Some(sequence) = envelope.sequence else { return };
        if !self.follow(place, contact) {
            return told(Told::Message(envelope, false));
        }
        let (rules, log) = (self.rules, self.log);
        self.change(place, actions, |track| {
            track.peer.saw(sequence.position);
            let Sequence { epoch, number, position, .. } = sequence;
            if track.outlived(Watermark { epoch, number, position }) {
                return told(Told::Lost(place.origin, None));
            }
            if track.is_old(&sequence) {
                let dropped = rules.no_doubles;
                return told(if dropped { Told::Doubled } else { Told::Message(envelope, false) });
            }
            if track.is_late(sequence.epoch) {
                return told(Told::Lost(place.origin, None));
            }
            track.overtake(sequence.epoch, place.now, rules, told);
            if track.baseline.is_none() && sequence.epoch > track.epoch {
                track.close_epoch(sequence.epoch, place.now, rules, told);
            }
            if log {
                track.is_due(&sequence, place.now, told);
            }
            if track.baseline.is_none() && (sequence.number == track.next || !rules.hold) {
                track.deliver(envelope, place.now, told);
            } else {
                let room = track.has_room()
                    && place.waiting.bytes.load(Ordering::Relaxed) < MOST_HELD_BYTES;
                // Where nothing is asked for yet, what waits begins to be delivered instead.
                let keep = room || track.baseline == Some(Baseline::Unmet);
                if !track.hold(envelope, keep) {
                    place.waiting.full.fetch_add(1, Ordering::Relaxed);
                }
                track.resolve(room, rules);
            }
            track.advance(place.now, told);
        });
    }

    /// An origin says where its topic ended.
    pub(super) fn watermark(
        &mut self,
        place: Place<'_>,
        last: Watermark,
        contact: impl FnOnce() -> Contact,
        actions: &mut Vec<Action>,
        told: &mut impl FnMut(Told),
    ) {
        if !self.follow(place, contact) {
            return;
        }
        let (rules, log) = (self.rules, self.log);
        self.change(place, actions, |track| {
            track.overtake(last.epoch, place.now, rules, told);
            match track.baseline {
                // Had anything been published since the subscription, it would have come before this.
                Some(_) if log => track.begin_behind(last),
                Some(Baseline::After(floor)) if last.position <= floor || !rules.first_contact => {
                    // Unless what waits is of a newer epoch, which this says nothing about.
                    if !track.is_late(last.epoch) {
                        track.begin_behind(last);
                    }
                }
                Some(_) if track.is_late(last.epoch) => told(Told::Lost(place.origin, None)),
                Some(_) => track.expect(last),
                None if last.epoch > track.epoch => {
                    track.close_epoch(last.epoch, place.now, rules, told);
                    track.learn(last);
                }
                None if last.epoch == track.epoch || !rules.epochs => track.learn(last),
                None => {
                    if track.outlived(last) {
                        told(Told::Lost(place.origin, None));
                    }
                }
            }
            if log && last.epoch == track.epoch {
                track.give_up_through(last.number, place.now, told);
            }
            track.advance(place.now, told);
        });
    }

    /// An origin has answered, behind what it sent again.
    pub(super) fn answer(
        &mut self,
        place: Place<'_>,
        answer: &Answer,
        actions: &mut Vec<Action>,
        told: &mut impl FnMut(Told),
    ) {
        let rules = self.rules;
        let asked = self.tracks.get(&key(place)).is_some_and(|track| {
            let same = match answer.start {
                Start::Number { epoch, .. } => track.baseline.is_none() && epoch == track.epoch,
                Start::After { position } => match track.baseline {
                    Some(baseline) => baseline == Baseline::After(position),
                    // What came with the answer has shown already where to begin.
                    None => answer.part.as_ref().is_some_and(|part| part.epoch == track.epoch),
                },
            };
            same && track.stamp == place.stamp
        });
        if asked {
            self.change(place, actions, |track| match &answer.part {
                Some(part) => track.settle(answer.start, part, place.now, rules, told),
                None => {
                    track.give_up(place.now, told);
                }
            });
        }
    }

    /// An origin has said where it stood: what waits for that can go on.
    pub(super) fn met(
        &mut self,
        origin: NodeId,
        local: &impl Local,
        surroundings: Surroundings<'_>,
        mut floor: impl FnMut(u64) -> Option<u64>,
        actions: &mut Vec<Action>,
    ) {
        let rules = self.rules;
        let unmet = |(key, track): (&(NodeId, Topic), &Track)| {
            let waits = key.0 == origin && track.is_unmet();
            waits.then(|| (key.1.clone(), track.stamp))
        };
        for (topic, stamp) in self.tracks.iter().filter_map(unmet).collect::<Vec<_>>() {
            let Some(floor) = floor(stamp).filter(|_| local.stamp(&topic) == Some(stamp)) else {
                continue;
            };
            let place = surroundings.at(origin, &topic, stamp);
            self.change(place, actions, |track| {
                track.meet(floor, &mut |event| local.tell(&topic, event));
                track.resolve(true, rules);
                track.advance(place.now, &mut |event| local.tell(&topic, event));
            });
        }
    }

    /// Asks again for what did not come, and gives up what has not come for too long.
    ///
    /// `elapsed` is how long the link was up since the last call.
    pub(super) fn tick(
        &mut self,
        local: &impl Local,
        surroundings: Surroundings<'_>,
        elapsed: Duration,
        deadline: Duration,
        actions: &mut Vec<Action>,
    ) {
        for (origin, topic) in self.open.iter().cloned().collect::<Vec<_>>() {
            let Some(stamp) = local.stamp(&topic) else {
                self.abandon(origin, &topic, surroundings.waiting);
                continue;
            };
            let place = surroundings.at(origin, &topic, stamp);
            let own = self.tracks.get(&key(place)).map(|track| track.stamp);
            if own != Some(stamp) {
                self.abandon(origin, &topic, surroundings.waiting);
                continue;
            }
            self.change(place, actions, |track| {
                let Some(open) = &mut track.open else { return };
                open.stalled += elapsed;
                if open.stalled >= deadline {
                    track.give_up(place.now, &mut |event| local.tell(&topic, event));
                }
            });
        }
    }

    /// An origin has gone for good: what is missing of it is lost.
    pub(super) fn gone(
        &mut self,
        origin: NodeId,
        local: &impl Local,
        surroundings: Surroundings<'_>,
        actions: &mut Vec<Action>,
    ) {
        let theirs = self.open.iter().filter(|(node, _)| *node == origin).cloned();
        for (origin, topic) in theirs.collect::<Vec<_>>() {
            let Some(stamp) = local.stamp(&topic) else { continue };
            let place = surroundings.at(origin, &topic, stamp);
            self.change(place, actions, |track| {
                track.give_up(place.now, &mut |event| local.tell(&topic, event));
            });
        }
    }

    #[cfg(test)]
    pub(super) fn tracks(&self) -> usize {
        self.tracks.len()
    }

    /// Whether anything of this origin's is missing.
    pub(super) fn misses(&self, origin: NodeId) -> bool {
        self.open.iter().any(|(node, _)| *node == origin)
    }

    /// Forgets places that were idle for this long.
    pub(super) fn forget(&mut self, now: Moment, idle: Duration) {
        let open = &self.open;
        self.tracks.retain(|key, track| {
            let keep = track.used + idle > now || open.contains(key);
            if !keep {
                track.peer.forgets(track.position);
            }
            keep
        });
    }

    /// Nobody is interested in the topic any more; its place is kept.
    fn abandon(&mut self, origin: NodeId, topic: &Topic, waiting: &Waiting) {
        let key = (origin, topic.clone());
        self.open.remove(&key);
        if let Some(track) = self.tracks.get_mut(&key) {
            let before = Burden::of(track);
            track.leave();
            Burden::of(track).replaces(before, waiting);
        }
    }

    /// Sees to it that there is a track that follows the present subscription. Returns false where there
    /// are too many origins, or holes.
    fn follow(&mut self, place: Place<'_>, contact: impl FnOnce() -> Contact) -> bool {
        let key = key(place);
        if self.tracks.get(&key).is_some_and(|track| track.stamp == place.stamp) {
            return true;
        }
        let (peer, floor) = match contact() {
            Contact::Untracked => return false,
            Contact::Unmet(peer) => (peer, None),
            Contact::Met(peer, floor) => (peer, Some(floor)),
        };
        if self.tracks.len() >= MOST_TRACKS && !self.tracks.contains_key(&key) {
            if self.open.len() > MOST_TRACKS / 2 {
                return false; // So many holes are nobody's mishap. What has one is not forgotten.
            }
            self.forget_idlest();
        }
        self.open.remove(&key);
        let fresh = || Track::new(peer, place.now);
        let track = self.tracks.entry(key).or_insert_with(fresh);
        let before = Burden::of(track);
        if !self.rules.keep_place {
            *track = Track::new(Arc::clone(&track.peer), place.now);
        }
        // What was delivered before the subscription was renewed is not due again.
        let baseline = floor.map_or(Baseline::Unmet, |it| Baseline::After(it.max(track.position)));
        track.await_baseline(place.stamp, baseline);
        Burden::of(track).replaces(before, place.waiting);
        true
    }

    /// Changes a track, and asks for what is missing then.
    fn change(
        &mut self,
        place: Place<'_>,
        actions: &mut Vec<Action>,
        change: impl FnOnce(&mut Track),
    ) {
        let key = key(place);
        let Some(track) = self.tracks.get_mut(&key) else { return };
        let before = Burden::of(track);
        change(track);
        if let Some((start, through)) = track.ask(place.now) {
            let topic = place.topic.clone();
            actions.push(Action::Send(place.origin, Control::Ask { topic, start, through }));
        }
        let after = Burden::of(track);
        if before == after {
            return;
        }
        after.replaces(before, place.waiting);
        if after.open {
            self.open.insert(key);
        } else {
            self.open.remove(&key);
        }
    }

    fn forget_idlest(&mut self) {
        let open = &self.open;
        let idle = self.tracks.iter().filter(|(key, _)| !open.contains(*key));
        // Half of them at once, so that the next forgetting is far away.
        let mut used: Vec<Moment> = idle.map(|(_, track)| track.used).collect();
        used.sort_unstable();
        if let Some(median) = used.get(used.len() / 2).copied() {
            self.forget(median + Duration::from_nanos(1), Duration::ZERO);
        }
    }
}

impl<'a> Surroundings<'a> {
    pub(super) const fn at(self, origin: NodeId, topic: &'a Topic, stamp: u64) -> Place<'a> {
        let Self { now, waiting } = self;
        Place { origin, topic, stamp, now, waiting }
    }
}

/// What a track takes of what all tracks share.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Burden {
    bytes: usize,
    open: bool,
}

impl Burden {
    fn of(track: &Track) -> Self {
        Self { bytes: track.held_bytes, open: track.open.is_some() }
    }

    fn replaces(self, before: Self, waiting: &Waiting) {
        waiting.bytes.fetch_add(self.bytes, Ordering::AcqRel);
        waiting.bytes.fetch_sub(before.bytes, Ordering::AcqRel);
        waiting.open.fetch_add(usize::from(self.open), Ordering::AcqRel);
        waiting.open.fetch_sub(usize::from(before.open), Ordering::AcqRel);
    }
}

fn key(place: Place<'_>) -> (NodeId, Topic) {
    (place.origin, place.topic.clone())
}

/// A key that need not own its topic to be looked up.
#[derive(Hash)]
struct Borrowed<'a>(NodeId, &'a Topic);

impl Equivalent<(NodeId, Topic)> for Borrowed<'_> {
    fn equivalent(&self, (origin, topic): &(NodeId, Topic)) -> bool {
        self.0 == *origin && self.1 == topic
    }
}
