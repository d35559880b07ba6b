//! A node's numbering and repair: the machines, one lock per lane of topics.

#[cfg(test)]
mod tests;

use std::{
    sync::{
        Mutex, MutexGuard, PoisonError, TryLockError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use super::{
    Action, Contact, Moment, Origin, Peers, Receiver, Rules, Told,
    origin::Held,
    receiver::{Local, Surroundings, Waiting},
};
use crate::{
    NodeId, Topic,
    codec::{Alive, Answer, Control, Listed, Page, Phase, Start, Watermark},
    envelope::{Envelope, Sequence},
    node::Retention,
};

/// Topics are spread over this many lanes.
const LANES: usize = 16;

/// The most topics, and bytes of their names, on one page of a listing.
const PAGE: usize = 256;
const PAGE_BYTES: usize = 64 * 1024;

/// How a sequencer behaves.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Settings {
    /// Whether this node numbers what it publishes, and follows the numbers of others.
    pub(crate) numbered: bool,
    pub(crate) retention: Retention,
    /// How long a hole may stay without progress.
    pub(crate) deadline: Duration,
    /// Whether the medium keeps a log, which brings everything in its order: what is missing then is lost,
    /// and what was missed is read from it.
    pub(crate) log: bool,
    pub(crate) rules: Rules,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Sequencer {
    settings: Settings,
    origins: [Mutex<Origin>; LANES],
    receivers: [Mutex<Receiver>; LANES],
    peers: Mutex<Peers>,
    held: Held,
    waiting: Waiting,
    /// Whether the link was in doubt and `Restored` has not been told since.
    interrupted: AtomicBool,
    up: AtomicBool,
    /// Whether the log has not been read up to its end since the link came up.
    behind: AtomicBool,
    /// Counts heartbeats.
    beats: AtomicUsize,
    name: Option<String>,
}

/// What a sequencer holds now.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Holding {
    pub(crate) retained: usize,
    pub(crate) retained_bytes: usize,
    pub(crate) topics: usize,
    /// Envelopes that found no room to wait, so far.
    pub(crate) held_full: usize,
}

impl Sequencer {
    pub(crate) fn new(settings: Settings, name: Option<&str>) -> Self {
        let mut rules = settings.rules;
        rules.resynchronise &= settings.numbered && !settings.log;
        let origin = |_| Mutex::new(Origin::new(settings.retention, LANES, rules));
        Self {
            settings,
            origins: std::array::from_fn(origin),
            receivers: std::array::from_fn(|_| Mutex::new(Receiver::new(rules, settings.log))),
            peers: Mutex::new(Peers::new(rules)),
            held: Held::default(),
            waiting: Waiting::default(),
            interrupted: AtomicBool::new(false),
            up: AtomicBool::new(false),
            behind: AtomicBool::new(false),
            beats: AtomicUsize::new(0),
            name: name.map(str::to_owned),
        }
    }

    pub(crate) const fn numbers(&self) -> bool {
        self.settings.numbered
    }

    fn lane(&self, topic: &Topic) -> usize {
        (topic.hashed() >> 32) as usize % LANES
    }

    fn origin(&self, topic: &Topic) -> MutexGuard<'_, Origin> {
        locked(&self.origins[self.lane(topic)])
    }

    fn receiver(&self, topic: &Topic) -> MutexGuard<'_, Receiver> {
        locked(&self.receivers[self.lane(topic)])
    }

    fn peers(&self) -> MutexGuard<'_, Peers> {
        locked(&self.peers)
    }

    #[cfg(test)]
    pub(super) fn has_met(&self, node: NodeId) -> bool {
        matches!(self.peers().contact(node, u64::MAX), Contact::Met(..))
    }

    /// Gives an envelope of this node its place, and retains it.
    ///
    /// The caller sees to it that what is numbered first on a topic is sent first.
    pub(crate) fn publish(&self, envelope: &mut Envelope, now: Moment) {
        self.origin(&envelope.topic).publish(envelope, now, &self.held);
    }

    /// No other node gets this one, and its publisher was told so.
    pub(crate) fn withdraw(&self, topic: &Topic, sequence: Sequence) {
        self.origin(topic).withdraw(topic, sequence, &self.held);
    }

    /// The newest position. What has it may not have been sent yet.
    pub(crate) fn position(&self) -> u64 {
        self.held.position.load(Ordering::Acquire)
    }

    /// A topic is about to be subscribed: the stamp of that subscription.
    pub(crate) fn subscribing(&self) -> u64 {
        self.peers().subscribing()
    }

    /// Whether an envelope of another node is the next of its topic and nothing is missing before it. If
    /// so, it is to be delivered before what is returned is dropped, so that nothing overtakes it; else
    /// [`receive`](Self::receive) sees to it.
    pub(crate) fn passes(
        &self,
        origin: NodeId,
        topic: &Topic,
        stamp: u64,
        sequence: &Sequence,
        now: Moment,
    ) -> Option<impl Drop + '_> {
        let mut lane = self.receiver(topic);
        let place = self.surroundings(now).at(origin, topic, stamp);
        lane.passes(place, sequence).then_some(lane)
    }

    /// A numbered envelope of another node has arrived on a topic of interest.
    pub(crate) fn receive(
        &self,
        origin: NodeId,
        stamp: u64,
        envelope: Envelope,
        now: Moment,
        actions: &mut Vec<Action>,
        told: &mut impl FnMut(Told),
    ) {
        let topic = envelope.topic.clone();
        let place = self.surroundings(now).at(origin, &topic, stamp);
        let mut first = false;
        let contact = || {
            first = true;
            self.peers().contact(origin, stamp)
        };
        self.receiver(&topic).receive(place, envelope, contact, actions, told);
        if first {
            self.introduce(origin, now, actions);
        }
    }

    /// Asks a node at once who it is if that is not known: what it publishes may have to wait for the
    /// answer.
    fn introduce(&self, origin: NodeId, now: Moment, actions: &mut Vec<Action>) {
        const NOTHING_SENT: u64 = 0; // Nothing is known here of what was, and nothing need be said.
        let hello = || self.alive(Phase::Hello { first: false }, NOTHING_SENT, now);
        self.peers().introduce(origin, now, hello, actions);
    }

    /// This node's word that it lives. Everything up to `position` was sent before.
    pub(crate) fn alive(&self, phase: Phase, position: u64, now: Moment) -> Alive {
        Alive {
            name: self.name.clone(),
            phase,
            uptime: u64::try_from(now.as_millis()).unwrap_or(u64::MAX),
            numbered: self.settings.numbered,
            position,
            lost_track: self.held.lost_track.load(Ordering::Acquire),
            known_since: None,
        }
    }

    /// Another node has said something. `topic` is the one it came on; `position` is as in
    /// [`alive`](Self::alive).
    #[expect(clippy::too_many_arguments, reason = "what a message is, and where it is handled")]
    pub(crate) fn heard(
        &self,
        origin: NodeId,
        topic: &Topic,
        control: Control,
        position: u64,
        now: Moment,
        local: &impl Local,
        actions: &mut Vec<Action>,
    ) {
        match control {
            Control::Alive(alive) => {
                self.heard_alive(origin, &alive, position, now, local, actions)
            }
            Control::Watermark(last) => self.heard_last(origin, topic, last, now, local, actions),
            Control::Resync { since } => {
                let page = Control::Listing(self.page(since, position));
                actions.push(Action::Send(origin, page));
            }
            Control::Listing(page) => {
                for Listed { topic, last } in &page.topics {
                    self.heard_last(origin, topic, *last, now, local, actions);
                }
                self.peers().listed(origin, &page, now, actions);
            }
            Control::Ask { topic, start, through } => {
                self.ask(origin, &topic, start, through, actions)
            }
            Control::Answer(answer) => self.answered(origin, &answer, now, local, actions),
            Control::Farewell => self.peers().farewell(origin),
        }
    }

    fn heard_alive(
        &self,
        origin: NodeId,
        alive: &Alive,
        position: u64,
        now: Moment,
        local: &impl Local,
        actions: &mut Vec<Action>,
    ) {
        let answer = |known_since| Alive {
            known_since: Some(known_since),
            ..self.alive(Phase::Beat, position, now)
        };
        let met = self.peers().heard(origin, alive, now, position, answer, actions);
        if met {
            for lane in &self.receivers {
                let floor = |stamp| match self.peers().contact(origin, stamp) {
                    Contact::Met(_, floor) => Some(floor),
                    _ => None,
                };
                locked(lane).met(origin, local, self.surroundings(now), floor, actions);
            }
        }
        match alive.phase {
            Phase::Gone => {
                self.peers().left(origin, alive.position, actions);
                self.gone(origin, now, local, actions);
            }
            Phase::Leaving => self.say_farewells(actions),
            _ => self.introduce(origin, now, actions),
        }
    }

    fn heard_last(
        &self,
        origin: NodeId,
        topic: &Topic,
        last: Watermark,
        now: Moment,
        local: &impl Local,
        actions: &mut Vec<Action>,
    ) {
        let Some(stamp) = local.stamp(topic) else { return };
        let place = self.surroundings(now).at(origin, topic, stamp);
        let contact = || self.peers().contact(origin, stamp);
        let mut told = |told| local.tell(topic, told);
        self.receiver(topic).watermark(place, last, contact, actions, &mut told);
    }

    fn ask(
        &self,
        asker: NodeId,
        topic: &Topic,
        start: Start,
        through: u64,
        actions: &mut Vec<Action>,
    ) {
        self.origin(topic).answer(asker, topic.clone(), start, through, &self.held, actions);
    }

    fn answered(
        &self,
        origin: NodeId,
        answer: &Answer,
        now: Moment,
        local: &impl Local,
        actions: &mut Vec<Action>,
    ) {
        let Some(stamp) = local.stamp(&answer.topic) else { return };
        let place = self.surroundings(now).at(origin, &answer.topic, stamp);
        let mut told = |told| local.tell(&answer.topic, told);
        self.receiver(&answer.topic).answer(place, answer, actions, &mut told);
    }

    /// The topics used since this position, in the order of their last ones.
    fn page(&self, since: u64, position: u64) -> Page {
        // Of many topics, those of one page are copied.
        let mut positions = Vec::new();
        for lane in &self.origins {
            locked(lane).positions(since, &mut positions);
        }
        let until = if positions.len() > PAGE {
            *positions.select_nth_unstable(PAGE - 1).1
        } else {
            u64::MAX
        };
        let complete = until == u64::MAX;
        let mut topics = Vec::new();
        for lane in &self.origins {
            locked(lane).list(since, until, &mut topics);
        }
        topics.sort_unstable_by_key(|listed| listed.last.position);
        let mut bytes = 0;
        let fits = topics.iter().take(PAGE).take_while(|listed| {
            bytes += listed.topic.hub().len() + listed.topic.name().len() + 64;
            bytes <= PAGE_BYTES
        });
        let count = fits.count();
        let end = complete && count == topics.len();
        topics.truncate(count);
        let last = match topics.last() {
            Some(listed) => listed.last.position,
            // All of this page have been used again since, and come on a later one.
            None if !complete => until,
            None => since,
        };
        let forgotten = self.held.forgotten.load(Ordering::Acquire);
        let through = if end { position.max(since) } else { last };
        Page { since, through, end, forgotten, topics }
    }

    /// The link to the broker came up.
    pub(crate) fn link_up(&self, now: Moment) {
        self.up.store(true, Ordering::Release);
        let since = {
            let mut peers = self.peers();
            peers.link(true);
            peers.proven()
        };
        self.held.link_up(since);
        for lane in &self.origins {
            locked(lane).mark_again(since, now);
        }
    }

    /// The link failed, or what it delivered is in doubt.
    pub(crate) fn doubt(&self, up: bool) {
        self.up.store(up, Ordering::Release);
        self.interrupted.store(true, Ordering::Release);
        if self.settings.log && !up {
            self.behind.store(true, Ordering::Release);
        }
        let mut peers = self.peers();
        peers.link(up);
        peers.doubt();
    }

    /// What the log held when the link came up has been read.
    pub(crate) fn caught_up(&self) {
        self.behind.store(false, Ordering::Release);
    }

    /// Whether everything that was in doubt has been compared and repaired or reported: `Restored` is
    /// to be told now. Says so once.
    pub(crate) fn restored(&self) -> bool {
        self.interrupted.load(Ordering::Acquire)
            && self.up.load(Ordering::Acquire)
            && !self.behind.load(Ordering::Acquire)
            && !self.peers().in_doubt()
            && self.waiting.open.load(Ordering::Acquire) == 0
            && self.interrupted.swap(false, Ordering::AcqRel)
    }

    /// Another node has left, or is given up for good.
    pub(crate) fn gone(
        &self,
        origin: NodeId,
        now: Moment,
        local: &impl Local,
        actions: &mut Vec<Action>,
    ) {
        self.peers().gone(origin);
        for lane in &self.receivers {
            locked(lane).gone(origin, local, self.surroundings(now), actions);
        }
    }

    /// Another node has fallen silent.
    pub(crate) fn died(&self, origin: NodeId) {
        self.peers().died(origin);
    }

    /// Another node is forgotten.
    pub(crate) fn forget(&self, origin: NodeId) {
        self.peers().forget(origin);
    }

    /// This node takes its leave; see [`may_go`](Self::may_go).
    pub(crate) fn leave(&self) {
        self.peers().leave();
    }

    /// Whether every node that lives has confirmed that it misses nothing of this one's.
    pub(crate) fn may_go(&self) -> bool {
        self.peers().may_go()
    }

    fn say_farewells(&self, actions: &mut Vec<Action>) {
        let leaving: Vec<NodeId> = self.peers().leaving().collect();
        let misses =
            |lane, node| free(lane).is_none_or(|it: MutexGuard<'_, Receiver>| it.misses(node));
        let complete = |node: &NodeId| !self.receivers.iter().any(|lane| misses(lane, *node));
        let ready = leaving.into_iter().filter(complete);
        actions.extend(ready.map(|node| Action::Send(node, Control::Farewell)));
    }

    /// Time goes on. `elapsed` is how much of it the link was up and this node ran.
    pub(crate) fn tick(
        &self,
        now: Moment,
        elapsed: Duration,
        position: u64,
        local: &impl Local,
        actions: &mut Vec<Action>,
    ) {
        let up = self.up.load(Ordering::Acquire);
        if self.settings.numbered {
            for lane in &self.origins {
                locked(lane).tick(now, up, &self.held, actions);
            }
        }
        let deadline = self.settings.deadline;
        if up {
            for mut lane in self.receivers.iter().filter_map(free) {
                let surroundings = self.surroundings(now);
                lane.tick(local, surroundings, elapsed, deadline, actions);
            }
        }
        let hello = || self.alive(Phase::Hello { first: false }, position, now);
        self.peers().tick(now, hello, actions);
        self.say_farewells(actions);
    }

    /// A heartbeat: notes where this node stands, and forgets what was idle for long.
    pub(crate) fn beat(&self, position: u64, now: Moment) -> Alive {
        // Twice the age, so that a receiver forgets only later than an origin would have.
        let age = self.settings.retention.age.max(Duration::from_secs(10));
        self.peers().beat(now, position, age);
        // One lane at a time: to forget later is safe, and short.
        let turn = self.beats.fetch_add(1, Ordering::Relaxed) % LANES;
        if let Some(mut lane) = free(&self.receivers[turn]) {
            lane.forget(now, age * 2);
        }
        self.alive(Phase::Beat, position, now)
    }

    pub(crate) fn holding(&self) -> Holding {
        let held_full = self.waiting.full.load(Ordering::Relaxed);
        let mut all = Holding { held_full, ..Holding::default() };
        for lane in &self.origins {
            let (retained, retained_bytes, topics) = locked(lane).holding();
            all.retained += retained;
            all.retained_bytes += retained_bytes;
            all.topics += topics;
        }
        all
    }

    fn surroundings(&self, now: Moment) -> Surroundings<'_> {
        Surroundings { now, waiting: &self.waiting }
    }
}

/// The lock, unless somebody has it: a sink that blocks holds up its lane, and never the clock.
fn free<T>(mutex: &Mutex<T>) -> Option<MutexGuard<'_, T>> {
    match mutex.try_lock() {
        Ok(guard) => Some(guard),
        Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
        Err(TryLockError::WouldBlock) => None,
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
