//! Joins what this node tells, what the others have told, and the directory of it all.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use backplane_core::NodeId;
use bytes::Bytes;

use super::{
    Moment,
    directory::Directory,
    message::{self, Change, Message},
    origin::Origin,
    peer::Peer,
    rules::Rules,
};

/// Changes are told at most so often, so that many go together.
const GATHER: Duration = Duration::from_millis(20);

/// How long what is missing may still be on its way before it is asked for.
const PATIENCE: Duration = Duration::from_millis(100);

/// A beat that comes so late says that this node stood still.
const STALLED: Duration = Duration::from_secs(1);

/// Everything that is to be known is known so many beats after the link has come up.
const SETTLED_BEATS: u32 = 2;

/// The most nodes that are known, and the most that are remembered as gone. More than that is not one
/// application.
const MOST_NODES: usize = 4096;

/// How long a node is remembered as gone: far longer than a word of it can be late.
const REMEMBERED: Duration = Duration::from_secs(300);

#[derive(Debug, Clone)]
pub(super) struct Settings {
    pub(super) heartbeat: Duration,
    /// The largest body.
    pub(super) limit: usize,
    /// The most changes that wait to be told. More than that is told as a snapshot to whoever asks.
    pub(super) most_pending: usize,
    /// The most bytes of deltas that are kept for those who have missed some. What is older costs a
    /// snapshot.
    pub(super) kept: usize,
    pub(super) rules: Rules,
}

/// What is to be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Action {
    /// To every node.
    Tell(Bytes),
    /// To one node.
    Send(NodeId, Bytes),
}

/// What was done, for the counters.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Done {
    pub(crate) asked: u64,
    pub(crate) snapshots: u64,
    /// Messages of nodes beyond the most.
    pub(crate) refused: u64,
}

#[derive(Debug)]
pub(super) struct Exchange {
    own: NodeId,
    settings: Settings,
    pub(super) directory: Directory,
    origin: Origin,
    peers: BTreeMap<NodeId, Peer>,
    members: BTreeSet<NodeId>,
    /// Members of which nothing was heard yet, and until when that means that something is missing.
    awaited: BTreeMap<NodeId, Moment>,
    /// When each node that is no member any more was one.
    departed: BTreeMap<NodeId, Moment>,
    up: bool,
    settled: Moment,
    next_beat: Moment,
    next_flush: Moment,
    /// Whether everyone is to be asked where he stands.
    greet_all: bool,
    greet: BTreeSet<NodeId>,
    /// Who has asked where this node stands.
    greeted: BTreeSet<NodeId>,
    asked: BTreeMap<NodeId, (u64, u64)>,
    done: Done,
}

impl Exchange {
    pub(super) fn new(own: NodeId, epoch: u64, settings: Settings) -> Self {
        Self {
            own,
            directory: Directory::default(),
            origin: Origin::new(own, epoch, settings.clone()),
            settings,
            peers: BTreeMap::new(),
            members: BTreeSet::new(),
            awaited: BTreeMap::new(),
            departed: BTreeMap::new(),
            up: false,
            settled: Moment::ZERO,
            next_beat: Moment::ZERO,
            next_flush: Moment::ZERO,
            greet_all: false,
            greet: BTreeSet::new(),
            greeted: BTreeSet::new(),
            asked: BTreeMap::new(),
            done: Done::default(),
        }
    }

    /// A connection of this node has changed. Whether somebody has to see to it that it is told.
    pub(super) fn changed(&mut self, change: Change) -> bool {
        self.directory.apply(self.own, &change);
        let first = !self.origin.is_pending();
        self.origin.changed(change);
        first
    }

    /// The link has changed, or was in doubt and is restored.
    pub(super) fn link(&mut self, up: bool, now: Moment) {
        self.up = up;
        self.peers.values_mut().for_each(|peer| peer.confirmed = false);
        if up {
            self.settled = now + self.settings.heartbeat * SETTLED_BEATS;
            self.greet_all = true;
        }
    }

    /// These are the other nodes that are alive.
    pub(super) fn members(&mut self, members: BTreeSet<NodeId>, now: Moment) {
        if self.settings.rules.death {
            for gone in self.members.difference(&members) {
                self.peers.remove(gone);
                self.awaited.remove(gone);
                self.directory.clear(*gone);
                self.departed.insert(*gone, now);
            }
        }
        self.departed.retain(|_, since| *since + REMEMBERED > now);
        while self.departed.len() > MOST_NODES
            && let Some((oldest, _)) = self.departed.iter().min_by_key(|(_, since)| **since)
        {
            let oldest = *oldest;
            self.departed.remove(&oldest);
        }
        let until = now + self.settings.heartbeat * SETTLED_BEATS;
        for new in members.difference(&self.members) {
            self.departed.remove(new);
            // What it said before this node took it for alive may have been lost on one of the two.
            self.greet.insert(*new);
            if !self.peers.contains_key(new) {
                self.awaited.insert(*new, until);
            }
        }
        self.members = members;
    }

    /// Another node has said this.
    pub(super) fn heard(&mut self, node: NodeId, message: Message, now: Moment) {
        let rules = self.settings.rules;
        if node == self.own || (rules.late_words && self.departed.contains_key(&node)) {
            return;
        }
        if !self.peers.contains_key(&node) && self.peers.len() >= MOST_NODES {
            self.done.refused += 1;
            return;
        }
        self.awaited.remove(&node);
        let peer = self.peers.entry(node).or_insert_with(|| Peer::new(node, rules));
        let directory = &mut self.directory;
        let mut progress = false;
        match message {
            Message::Ask { epoch, version } => {
                self.asked.insert(node, (epoch, version));
                return;
            }
            Message::Delta { epoch, version, changes } => {
                if peer.heard(epoch, directory) {
                    peer.delta(version, changes, directory);
                }
            }
            Message::Part(part) => {
                if peer.heard(part.epoch, directory) {
                    peer.part(part, directory);
                    progress = true;
                }
            }
            Message::Digest(digest) => {
                if peer.heard(digest.epoch, directory) {
                    peer.digest(digest, directory);
                }
                if digest.asks {
                    self.greeted.insert(node);
                }
            }
            Message::Farewell { epoch } => {
                if peer.heard(epoch, directory) {
                    peer.farewell(directory);
                }
            }
        }
        peer.plan(now + if progress { self.settings.heartbeat } else { PATIENCE }, progress);
    }

    /// What is to be sent by now.
    pub(super) fn tick(&mut self, now: Moment) -> Vec<Action> {
        let heartbeat = self.settings.heartbeat;
        let mut actions = Vec::new();
        let beats = now >= self.next_beat;
        if beats {
            self.beat(now);
        }
        // What others are told is worthless later, and they ask for it when the link is back.
        if !self.up {
            return actions;
        }
        let speaks = beats
            || self.greet_all
            || !(self.greet.is_empty() && self.greeted.is_empty() && self.asked.is_empty());
        if self.origin.is_pending() && (now >= self.next_flush || speaks) {
            actions.extend(self.origin.flush().into_iter().map(Action::Tell));
            self.next_flush = now + GATHER;
        }
        if speaks {
            self.speak(beats, &mut actions);
        }
        for (node, peer) in &mut self.peers {
            if let Some((epoch, version)) = peer.ask(now, now + heartbeat) {
                self.done.asked += 1;
                actions.push(Action::Send(*node, message::ask(epoch, version)));
            }
        }
        actions
    }

    fn beat(&mut self, now: Moment) {
        let counts = self.up && now < self.next_beat + STALLED;
        self.next_beat = now + self.settings.heartbeat;
        let directory = &mut self.directory;
        self.peers.retain(|node, peer| {
            let ended = peer.beat(counts);
            if ended {
                directory.clear(*node);
            }
            !ended
        });
        self.awaited.retain(|_, until| *until > now);
    }

    /// Says where this node stands, and what others lack. Everything is flushed.
    fn speak(&mut self, beats: bool, actions: &mut Vec<Action>) {
        let digest = |asks| self.origin.digest(&self.directory, asks).encode();
        let greet_all = std::mem::take(&mut self.greet_all);
        if greet_all || (beats && self.settings.rules.digests) {
            actions.push(Action::Tell(digest(greet_all)));
        }
        let greet = std::mem::take(&mut self.greet);
        let mut greeted = std::mem::take(&mut self.greeted);
        if greet_all {
            greeted.clear();
        } else {
            greeted.retain(|node| !greet.contains(node));
            actions.extend(greet.into_iter().map(|node| Action::Send(node, digest(true))));
        }
        actions.extend(greeted.into_iter().map(|node| Action::Send(node, digest(false))));
        for (node, known) in std::mem::take(&mut self.asked) {
            let (bodies, snapshot) = self.origin.answer(known, &self.directory);
            self.done.snapshots += u64::from(snapshot);
            actions.extend(bodies.into_iter().map(|body| Action::Send(node, body)));
        }
    }

    /// The hub has ended.
    pub(super) fn farewell(&mut self) -> Vec<Action> {
        if self.up { vec![Action::Tell(message::farewell(self.origin.epoch))] } else { Vec::new() }
    }

    /// When [`tick`](Self::tick) is to be called.
    pub(super) fn wake(&self) -> Moment {
        if !self.up {
            return self.next_beat;
        }
        if self.greet_all
            || !(self.greet.is_empty() && self.greeted.is_empty() && self.asked.is_empty())
        {
            return Moment::ZERO;
        }
        let flush = self.origin.is_pending().then_some(self.next_flush);
        let asks = self.peers.values().filter_map(Peer::ask_at);
        asks.chain(flush).fold(self.next_beat, Moment::min)
    }

    pub(super) const fn is_up(&self) -> bool {
        self.up
    }

    /// How many nodes are known, or believed, to have told more than is known here; `None` as long as
    /// that cannot be told.
    pub(super) fn behind(&self, now: Moment) -> Option<usize> {
        let unsettled = |until: &Moment| *until > now;
        let awaited = self.awaited.values().filter(|until| unsettled(until)).count();
        let behind = self.peers.values().filter(|peer| peer.is_behind() || !peer.confirmed).count();
        (!unsettled(&self.settled)).then_some(awaited + behind)
    }

    pub(super) fn done(&mut self) -> Done {
        std::mem::take(&mut self.done)
    }

    /// Which epoch and version of another node's the directory shows, if it is not known to be wrong.
    #[cfg(test)]
    pub(super) fn shown(&self, node: NodeId) -> Option<(u64, u64)> {
        self.peers.get(&node).and_then(Peer::shown)
    }

    /// The epoch and version that this node told last, if there was nothing to tell since.
    #[cfg(test)]
    pub(super) fn told(&self) -> Option<(u64, u64)> {
        (!self.origin.is_pending()).then(|| self.origin.told())
    }

    pub(super) const fn own(&self) -> NodeId {
        self.own
    }
}
