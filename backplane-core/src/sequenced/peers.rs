//! The origins, as a receiver knows them.

use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use hashbrown::{HashMap, HashSet};

use super::{Action, Hashing, Moment, Rules};
use crate::{
    NodeId,
    codec::{Alive, Control, Page, Phase},
};

/// The most origins that are followed. Envelopes of more are delivered as they come.
pub(super) const MOST: usize = 4096;

/// The most positions at subscription that are remembered per origin. Beyond it, neighbours share the
/// older one: a receiver then asks for a little too much.
const FLOORS: usize = 64;

/// After so many heartbeats, what an origin had published before has been followed by a watermark.
const SETTLED_BEATS: usize = 3;

/// Longer than a message is on its way through a link that counts as up: a probe's deadline and a bit.
const TRANSIT: Duration = Duration::from_secs(5);

/// A node whose clock ticks so late was stalled.
const STALL: Duration = Duration::from_secs(1);

/// How long until an unanswered question is repeated, at first; it doubles up to the longest.
pub(super) const REPEAT: Duration = Duration::from_millis(250);
pub(super) const LONGEST_REPEAT: Duration = Duration::from_secs(2);

/// One origin: what its tracks share.
#[derive(Debug)]
pub(super) struct Peer {
    pub(super) node: NodeId,
    /// The newest of its positions that arrived here.
    newest: AtomicU64,
    /// The last position of a topic whose place was forgotten as it was idle for long.
    forgotten: AtomicU64,
    /// Everything up to here has arrived, or is of no interest, or its watermark has told of it.
    safe: AtomicU64,
}

impl Peer {
    pub(super) fn new(node: NodeId) -> Self {
        Self { node, newest: 0.into(), forgotten: 0.into(), safe: 0.into() }
    }

    pub(super) fn safe(&self) -> u64 {
        self.safe.load(Ordering::Acquire)
    }

    fn makes_safe(&self, position: u64) {
        self.safe.fetch_max(position, Ordering::AcqRel);
    }

    pub(super) fn saw(&self, position: u64) {
        self.newest.fetch_max(position, Ordering::AcqRel);
    }

    pub(super) fn forgets(&self, position: u64) {
        self.forgotten.fetch_max(position, Ordering::AcqRel);
    }
}

/// All of them.
#[derive(Debug)]
pub(super) struct Peers {
    rules: Rules,
    known: HashMap<NodeId, Known, Hashing>,
    /// Counts subscriptions.
    stamp: u64,
    /// This node's own position, as its recent heartbeats had it, oldest first.
    own: VecDeque<(Moment, u64)>,
    /// When the clock last ticked.
    ticked: Moment,
    /// When this node was last found to have stalled.
    stalled: Option<Moment>,
    /// Whether the link is up.
    up: bool,
    proven: u64,
    /// While this node takes its leave: who has confirmed that nothing of it is missing there.
    farewells: Option<HashSet<NodeId, Hashing>>,
}

#[derive(Debug)]
struct Known {
    peer: Arc<Peer>,
    numbered: bool,
    /// Whether it is alive, as membership has it.
    alive: bool,
    /// Its position before anything that this node may expect of it; none until it has answered.
    before: Option<u64>,
    /// The newest position known at some subscriptions: by their stamps.
    floors: Vec<(u64, u64)>,
    /// The positions of its latest heartbeats, oldest first.
    beats: VecDeque<u64>,
    doubt: Option<Doubt>,
    /// When it was last asked who it is, and the pause after that.
    asked: Option<(Moment, Duration)>,
    /// The position of this node when that one came to be, as far as it has said.
    known_since: Option<u64>,
    /// Up to where it has lost track of topics, as was told here.
    lost_track: u64,
    /// Whether it takes its leave and waits for a farewell.
    leaving: bool,
}

/// What is being compared with an origin.
#[derive(Debug, Clone, Copy)]
struct Doubt {
    /// What was safe when it began.
    since: u64,
    /// When it was last asked, and the pause after that.
    asked: Option<(Moment, Duration)>,
}

/// What is known of an origin when one of its envelopes arrives on a topic for the first time.
#[derive(Debug, Clone)]
pub(super) enum Contact {
    /// It has not said yet where it stands.
    Unmet(Arc<Peer>),
    /// What it published up to this position was published before the subscription.
    Met(Arc<Peer>, u64),
    /// There are too many origins.
    Untracked,
}

impl Known {
    /// What it has published since what is safe has to be compared.
    fn doubts(&mut self) {
        self.beats.clear();
        let since = self.doubt.map_or_else(|| self.peer.safe(), |doubt| doubt.since);
        self.doubt = Some(Doubt { since, asked: None });
    }
}

impl Peers {
    pub(super) fn new(rules: Rules) -> Self {
        Self {
            rules,
            known: HashMap::default(),
            stamp: 0,
            own: VecDeque::new(),
            ticked: Moment::ZERO,
            stalled: None,
            up: false,
            proven: 0,
            farewells: None,
        }
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.known.len()
    }

    /// A topic is about to be subscribed: notes where every origin stands.
    pub(super) fn subscribing(&mut self) -> u64 {
        self.stamp += 1;
        for known in self.known.values_mut() {
            let newest = known.peer.newest.load(Ordering::Acquire);
            if newest == 0 {
                continue;
            }
            // Also of one that is not met yet: what came from it shows where it stood.
            if known.floors.last().is_none_or(|(_, floor)| *floor < newest) {
                known.floors.push((self.stamp, newest));
            }
            if known.floors.len() > FLOORS {
                // The later of two neighbours goes: what is looked up there finds the older position.
                let mut index = 0;
                known.floors.retain(|_| {
                    index += 1;
                    index % 2 == 1 || index > FLOORS / 2
                });
            }
        }
        self.stamp
    }

    /// Where `origin` stood when the subscription with this stamp was made.
    pub(super) fn contact(&mut self, origin: NodeId, stamp: u64) -> Contact {
        let Some(known) = self.entry(origin) else { return Contact::Untracked };
        let Some(before) = known.before else { return Contact::Unmet(Arc::clone(&known.peer)) };
        let floor = known.floors.iter().rev().find(|(at, _)| *at <= stamp).map_or(0, |it| it.1);
        let floor = floor.max(before);
        let forgotten = known.peer.forgotten.load(Ordering::Acquire);
        Contact::Met(Arc::clone(&known.peer), floor.max(forgotten))
    }

    fn entry(&mut self, node: NodeId) -> Option<&mut Known> {
        if !self.known.contains_key(&node) && self.known.len() >= MOST {
            return None;
        }
        Some(self.known.entry(node).or_insert_with(|| Known {
            peer: Arc::new(Peer::new(node)),
            numbered: true,
            alive: true,
            before: None,
            floors: Vec::new(),
            beats: VecDeque::new(),
            doubt: None,
            asked: None,
            known_since: None,
            lost_track: 0,
            leaving: false,
        }))
    }

    /// Another node has said that it lives. Answers it where it asks. Returns whether it was met by
    /// this.
    pub(super) fn heard(
        &mut self,
        node: NodeId,
        alive: &Alive,
        now: Moment,
        own_position: u64,
        answer: impl FnOnce(u64) -> Alive,
        actions: &mut Vec<Action>,
    ) -> bool {
        // What this node published before the other existed is none of its business.
        let known_since = match alive.phase {
            Phase::Hello { first: true } if !self.stalled(now) => own_position,
            _ => {
                let age = Duration::from_millis(alive.uptime) + TRANSIT;
                let started = self.ticked.checked_sub(age);
                let before = |(at, _): &&(Moment, u64)| started.is_some_and(|it| *at <= it);
                self.own.iter().rev().find(before).map_or(0, |it| it.1)
            }
        };
        let (up, resynchronise) = (self.up, self.rules.resynchronise);
        let Some(known) = self.entry(node) else { return false };
        let known_since = *known.known_since.get_or_insert(known_since);
        known.numbered = alive.numbered;
        known.alive = true;
        let leaves = alive.phase == Phase::Leaving && !known.leaving;
        known.leaving |= leaves;
        let met = known.before.is_none() && (alive.known_since.is_some() || !alive.numbered);
        if met {
            let before = alive.known_since.unwrap_or(alive.position);
            known.before = Some(before);
            known.peer.makes_safe(before);
            known.asked = None;
            known.peer.saw(before);
        }
        if let Some(before) = known.before {
            let told = known.lost_track.max(before);
            known.lost_track = alive.lost_track.max(told);
            if alive.lost_track > told {
                actions.push(Action::OriginLost(node));
            }
        }
        // Behind a doubt, the comparison decides what has arrived; and a greeting goes out before what was
        // buffered.
        let sent = !matches!(alive.phase, Phase::Hello { .. });
        if known.before.is_some() && known.doubt.is_none() && up && sent && !met {
            known.beats.push_back(alive.position);
            if known.beats.len() > SETTLED_BEATS
                && let Some(position) = known.beats.pop_front()
            {
                known.peer.makes_safe(position);
            }
        }
        if known.before.is_some() {
            known.peer.saw(alive.position);
        }
        if (met || (leaves && known.before.is_some())) && resynchronise && alive.numbered {
            // What it published since then, and this node should have got, shows in its listing.
            known.doubts();
        }
        if matches!(alive.phase, Phase::Hello { .. }) {
            actions.push(Action::Send(node, Control::Alive(answer(known_since))));
        }
        met
    }

    /// Asks a node who it is where it has not said so yet, unless it was asked a moment ago.
    pub(super) fn introduce(
        &mut self,
        node: NodeId,
        now: Moment,
        hello: impl FnOnce() -> Alive,
        actions: &mut Vec<Action>,
    ) {
        let unmet = self.known.get_mut(&node).filter(|known| known.before.is_none());
        if self.up
            && let Some(known) = unmet
            && known.alive
            && due(&mut known.asked, now)
        {
            actions.push(Action::Send(node, Control::Alive(hello())));
        }
    }

    /// It has taken its leave at this position.
    pub(super) fn left(&mut self, node: NodeId, position: u64, actions: &mut Vec<Action>) {
        if let Some(known) = self.known.get(&node) {
            let misses = match known.before {
                // Whether it did not wait for this node.
                Some(_) => {
                    let hurried = known.doubt.is_some() || !known.leaving;
                    hurried && known.peer.safe() < position
                }
                // It never said where it stood: nothing is known of what did not arrive.
                None => known.peer.newest.load(Ordering::Acquire) < position,
            };
            if known.numbered && misses {
                actions.push(Action::OriginLost(node));
            }
        }
    }

    /// It is gone for good: nothing is awaited from it any more.
    pub(super) fn gone(&mut self, node: NodeId) {
        if let Some(known) = self.known.get_mut(&node) {
            known.alive = false;
            known.doubt = None;
        }
    }

    pub(super) fn died(&mut self, node: NodeId) {
        self.gone(node);
        if let Some(known) = self.known.get_mut(&node) {
            // Should it come back, everything since then is compared.
            known.doubts();
        }
    }

    /// Forgets origins that are gone and were silent for long.
    pub(super) fn forget(&mut self, node: NodeId) {
        self.known.remove(&node);
    }

    /// From now on this node's own link is in doubt: every origin has to be compared.
    pub(super) fn doubt(&mut self) {
        if !self.rules.resynchronise {
            return;
        }
        for known in
            self.known.values_mut().filter(|known| known.numbered && known.before.is_some())
        {
            known.doubts();
        }
    }

    /// This node's own position a while before its link failed. What was sent since may be lost.
    pub(super) const fn proven(&self) -> u64 {
        self.proven
    }

    pub(super) fn link(&mut self, up: bool) {
        if self.up && !up {
            let until = self.ticked.checked_sub(TRANSIT);
            let before = |(at, _): &&(Moment, u64)| until.is_some_and(|it| *at <= it);
            self.proven = self.own.iter().rev().find(before).map_or(0, |it| it.1);
        }
        self.up = up;
    }

    /// Whether an origin that lives has not been compared yet.
    pub(super) fn in_doubt(&self) -> bool {
        self.known.values().any(|known| known.alive && known.numbered && known.doubt.is_some())
    }

    /// A page has been dealt with; asks for the next.
    pub(super) fn listed(
        &mut self,
        node: NodeId,
        page: &Page,
        now: Moment,
        actions: &mut Vec<Action>,
    ) {
        let Some(known) = self.known.get_mut(&node) else { return };
        if known.doubt.is_none() || page.since > known.peer.safe() {
            return;
        }
        known.peer.makes_safe(page.through);
        known.peer.saw(page.through);
        if page.end {
            let since = known.doubt.take().map_or(page.since, |doubt| doubt.since);
            if page.forgotten > since {
                actions.push(Action::OriginLost(node));
            }
        } else {
            if let Some(doubt) = &mut known.doubt {
                doubt.asked = Some((now, REPEAT));
            }
            actions.push(Action::Send(node, Control::Resync { since: known.peer.safe() }));
        }
    }

    /// This node takes its leave: waits for those that live.
    pub(super) fn leave(&mut self) {
        self.farewells = Some(HashSet::default());
    }

    pub(super) fn farewell(&mut self, node: NodeId) {
        if let Some(farewells) = &mut self.farewells {
            farewells.insert(node);
        }
    }

    /// Whether everyone who lives has confirmed that nothing is missing.
    pub(super) fn may_go(&self) -> bool {
        let Some(farewells) = &self.farewells else { return false };
        let mut live = self.known.values().filter(|known| known.alive && known.numbered);
        live.all(|known| farewells.contains(&known.peer.node))
    }

    /// Origins that wait for this node's farewell and have been compared.
    pub(super) fn leaving(&self) -> impl Iterator<Item = NodeId> + '_ {
        let compared = |known: &&Known| {
            known.leaving && known.alive && known.before.is_some() && known.doubt.is_none()
        };
        self.known.values().filter(compared).map(|known| known.peer.node)
    }

    /// Notes this node's own position for those that will be heard of later.
    pub(super) fn beat(&mut self, now: Moment, position: u64, age: Duration) {
        self.own.push_back((now, position));
        while self.own.len() > 2 && self.own.get(1).is_some_and(|(at, _)| *at + age < now) {
            self.own.pop_front();
        }
        const MOST_BEATS: usize = 1024;
        if self.own.len() > MOST_BEATS {
            self.own.pop_front();
        }
    }

    /// Whether what arrives now may have waited here for long.
    fn stalled(&self, now: Moment) -> bool {
        now > self.ticked + STALL || self.stalled.is_some_and(|at| at + TRANSIT > now)
    }

    /// Repeats what is unanswered.
    pub(super) fn tick(
        &mut self,
        now: Moment,
        hello: impl Fn() -> Alive,
        actions: &mut Vec<Action>,
    ) {
        if now > self.ticked + STALL {
            // What this node knows of its own past does not date what it hears of others now.
            self.own.clear();
            self.stalled = Some(now);
        }
        self.ticked = now;
        if !self.up {
            return;
        }
        for (node, known) in self.known.iter_mut().filter(|(_, known)| known.alive) {
            if known.before.is_none() {
                if due(&mut known.asked, now) {
                    actions.push(Action::Send(*node, Control::Alive(hello())));
                }
            } else if let Some(doubt) = &mut known.doubt
                && due(&mut doubt.asked, now)
            {
                actions.push(Action::Send(*node, Control::Resync { since: known.peer.safe() }));
            }
        }
    }
}

/// Whether it is time to ask, and notes that it is done.
pub(super) fn due(asked: &mut Option<(Moment, Duration)>, now: Moment) -> bool {
    match asked {
        None => *asked = Some((now, REPEAT)),
        Some((at, pause)) if *at + *pause <= now => {
            *asked = Some((now, (*pause * 2).min(LONGEST_REPEAT)));
        }
        Some(_) => return false,
    }
    true
}
