//! Virtual time, and what happens in it.

mod chance;

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet, BinaryHeap},
    time::Duration,
};

use backplane_core::NodeId;
use bytes::Bytes;

use super::node::{Node, Truth};
use crate::presence::{
    Moment,
    exchange::{Action, Settings},
    message::Message,
    rules::Rules,
};
pub(super) use chance::Tally;
use chance::{Faults, Random};

/// The group that everybody watches.
pub(super) const WATCHED: &str = "g0";

const HEARTBEAT: Duration = Duration::from_secs(1);

/// How long a node may be silent before the others take it for dead.
const DEAD_AFTER: Duration = Duration::from_secs(3);

/// How long until a node that lives again counts as such.
const NOTICED: Duration = Duration::from_millis(500);

const LATENCY: u64 = 10;

#[derive(Debug)]
enum Event {
    /// The node does what is due; the number tells which of its plans this is.
    Tick(usize, u64),
    /// Something random.
    Chance,
    Arrive {
        from: NodeId,
        to: usize,
        body: Bytes,
    },
    LinkUp(usize),
    /// Each node hears who is alive.
    Members,
}

pub(super) struct World {
    now: Moment,
    random: Random,
    faults: Faults,
    rules: Rules,
    nodes: Vec<Node>,
    epochs: u64,
    connections: u64,
    queue: BinaryHeap<Reverse<(Moment, u64)>>,
    events: BTreeMap<u64, Event>,
    next: u64,
    /// Who takes whom for alive.
    alive: BTreeMap<usize, BTreeSet<NodeId>>,
    quiet: bool,
    /// The sum of what was so, by node, epoch and version.
    history: BTreeMap<(NodeId, u64, u64), u64>,
    /// Whether something was shown that never was so.
    fiction: Option<String>,
    tally: Tally,
}

impl World {
    pub(super) fn new(seed: u64, rules: Rules) -> Self {
        let mut random = Random(seed);
        let faults = Faults::of(&mut random);
        let mut world = Self {
            now: Moment::from_secs(1),
            random,
            faults,
            rules,
            nodes: Vec::new(),
            epochs: 0,
            connections: 0,
            queue: BinaryHeap::new(),
            events: BTreeMap::new(),
            next: 0,
            alive: BTreeMap::new(),
            quiet: false,
            history: BTreeMap::new(),
            fiction: None,
            tally: Tally::default(),
        };
        for _ in 0..2 + seed % 2 {
            world.start_node();
        }
        world.at(Duration::ZERO, Event::Members);
        world
    }

    fn start_node(&mut self) {
        let mut id = [0; 16];
        id[..8].copy_from_slice(&self.random.below(u64::MAX).to_le_bytes());
        let node = self.fresh(NodeId::from_bytes(id));
        self.nodes.push(node);
        let index = self.nodes.len() - 1;
        let connects = Duration::from_millis(self.random.below(50));
        self.at(connects, Event::LinkUp(index));
        self.plan(index);
    }

    /// A node that has just built its hub.
    fn fresh(&mut self, id: NodeId) -> Node {
        self.epochs += 1;
        // Small, so that there are many of everything.
        let settings = Settings {
            heartbeat: HEARTBEAT,
            limit: 0,
            most_pending: 60,
            kept: 8 * 1024,
            rules: self.rules,
        };
        let capacity = 1 + self.random.below(40) as usize;
        Node::new(id, self.epochs, settings, capacity)
    }

    fn at(&mut self, after: Duration, event: Event) {
        self.next += 1;
        self.queue.push(Reverse((self.now + after, self.next)));
        self.events.insert(self.next, event);
    }

    /// Random things happen for that long.
    pub(super) fn live(&mut self, duration: Duration) {
        self.at(Duration::ZERO, Event::Chance);
        self.pass(duration);
    }

    /// Nothing goes wrong any more. What was on its way arrives, and all know who is alive; then
    /// two heartbeats have to be enough.
    pub(super) fn heal(&mut self) {
        self.quiet = true;
        self.faults = Faults::default();
        for index in 0..self.nodes.len() {
            if self.nodes[index].lives && !self.nodes[index].up {
                self.at(Duration::ZERO, Event::LinkUp(index));
            }
        }
        self.pass(DEAD_AFTER + NOTICED * 2);
        // A hub that ended without a word is noticed by its silence.
        if self.nodes.iter().any(|node| node.lives && !node.serves) {
            self.pass(HEARTBEAT * 6);
        }
        self.pass(HEARTBEAT * 2 + Duration::from_millis(10 * LATENCY));
    }

    fn pass(&mut self, duration: Duration) {
        let until = self.now + duration;
        while let Some(Reverse((at, number))) = self.queue.peek().copied()
            && at <= until
        {
            self.queue.pop();
            self.now = at;
            if let Some(event) = self.events.remove(&number) {
                self.happen(event);
            }
        }
        self.now = until;
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Tick(index, plan) => {
                if self.nodes[index].next_tick == plan {
                    self.act(index);
                }
            }
            Event::Chance => {
                if !self.quiet {
                    self.chance();
                    let pause = Duration::from_millis(1 + self.random.below(40));
                    self.at(pause, Event::Chance);
                }
            }
            Event::Arrive { from, to, body } => {
                let node = &mut self.nodes[to];
                if node.lives && node.serves && node.up {
                    let message = Message::decode(&body).unwrap();
                    node.exchange.heard(from, message, self.now);
                    self.act(to);
                }
            }
            Event::LinkUp(index) => {
                let node = &mut self.nodes[index];
                if node.lives && !node.up {
                    node.up = true;
                    node.exchange.link(true, self.now);
                    self.act(index);
                }
            }
            Event::Members => {
                self.membership();
                self.at(Duration::from_millis(50), Event::Members);
            }
        }
    }

    /// What is due at a node, and when something is next.
    fn act(&mut self, index: usize) {
        let node = &mut self.nodes[index];
        if !node.lives || !node.serves {
            return;
        }
        let actions = node.exchange.tick(self.now);
        let done = node.exchange.done();
        self.tally.asked += done.asked;
        self.tally.snapshots += done.snapshots;
        if self.random.chance(300) {
            self.nodes[index].follow();
        }
        self.compare(index);
        self.send(index, actions);
        self.plan(index);
    }

    /// Notes what is so here, and looks whether what is shown of others was so there.
    fn compare(&mut self, index: usize) {
        let node = &self.nodes[index];
        let directory = &node.exchange.directory;
        if let Some((epoch, version)) = node.exchange.told() {
            self.history.insert((node.id, epoch, version), directory.sum(node.id));
        }
        // What no message explains is not known to be wrong before the next digest.
        if self.tally.corrupted > 0 {
            return;
        }
        for other in self.nodes.iter().filter(|other| other.id != node.id) {
            let Some((epoch, version)) = node.exchange.shown(other.id) else { continue };
            let known = self.history.get(&(other.id, epoch, version));
            if known.is_some_and(|sum| *sum != directory.sum(other.id)) {
                let (node, other) = (node.id, other.id);
                let fiction = format!("{node} shows what never was so on {other}");
                self.fiction.get_or_insert(fiction);
            }
        }
    }

    fn plan(&mut self, index: usize) {
        self.nodes[index].next_tick += 1;
        let plan = self.nodes[index].next_tick;
        let wake = self.nodes[index].exchange.wake().saturating_sub(self.now);
        self.at(wake.max(Duration::from_micros(100)), Event::Tick(index, plan));
    }

    fn send(&mut self, from: usize, actions: Vec<Action>) {
        let origin = self.nodes[from].id;
        for action in actions {
            let (only, body) = match action {
                Action::Tell(body) => (None, body),
                Action::Send(node, body) => (Some(node), body),
            };
            for to in 0..self.nodes.len() {
                if only.is_some_and(|only| only != self.nodes[to].id) {
                    continue;
                }
                self.tally.messages += 1;
                // What a killed or cut node has sent may be late as well.
                let late = self.random.chance(self.faults.overtaken);
                self.tally.overtaken += u64::from(late);
                let delay = if late { self.random.below(4000) } else { LATENCY };
                if self.random.chance(self.faults.lost) {
                    self.tally.lost += 1;
                    continue;
                }
                let delay = Duration::from_millis(delay);
                if self.random.chance(self.faults.doubled) {
                    self.tally.doubled += 1;
                    let delay = Duration::from_millis(self.random.below(3000));
                    self.at(delay, Event::Arrive { from: origin, to, body: body.clone() });
                }
                self.at(delay, Event::Arrive { from: origin, to, body: body.clone() });
            }
        }
    }

    /// Who is alive, as each node sees it; one that is cut off judges nobody.
    fn membership(&mut self) {
        let now = self.now;
        for index in 0..self.nodes.len() {
            if !self.nodes[index].up || !self.nodes[index].lives {
                continue;
            }
            let before = self.alive.entry(index).or_default().clone();
            let mut members = before.clone();
            let others = self.nodes.iter().enumerate().filter(|(other, _)| *other != index);
            for (_, node) in others {
                let since = match (node.lives, node.up) {
                    (true, true) => None,
                    (false, true) => Some(node.killed),
                    (false, false) => Some(node.killed.min(node.cut)),
                    (true, false) => Some(node.cut),
                };
                match since {
                    None => drop(members.insert(node.id)),
                    Some(since) if since + DEAD_AFTER <= now => drop(members.remove(&node.id)),
                    Some(_) => {}
                }
            }
            if members != before {
                self.tally.returned += members.difference(&before).count() as u64;
                self.alive.insert(index, members.clone());
                let members: BTreeSet<NodeId> = members.into_iter().collect();
                if self.nodes[index].serves {
                    self.nodes[index].members(members, now);
                    self.act(index);
                }
            }
        }
    }

    pub(super) fn check(mut self) -> Result<Tally, String> {
        if let Some(fiction) = self.fiction {
            return Err(fiction);
        }
        let truths: Vec<(NodeId, Truth)> = self
            .nodes
            .iter()
            .map(|node| {
                let there = node.lives && node.serves;
                (node.id, if there { node.truth.clone() } else { Truth::new() })
            })
            .collect();
        let now = self.now;
        for node in self.nodes.iter_mut().filter(|node| node.lives && node.serves) {
            let mut watched = BTreeSet::new();
            for (id, truth) in &truths {
                let shown = node.shows(*id);
                if shown != *truth {
                    return Err(format!(
                        "{} shows {} connections of {id}, which has {}",
                        node.id,
                        shown.len(),
                        truth.len()
                    ));
                }
                let members = truth.iter().filter(|(_, (_, groups))| groups.contains(WATCHED));
                watched.extend(members.map(|(connection, _)| (connection.clone(), *id)));
            }
            if node.exchange.directory.groups.count(WATCHED) != watched.len() {
                return Err(format!("{} counts its group wrong", node.id));
            }
            node.follow();
            if node.watched != watched {
                return Err(format!("who watches on {} believes otherwise", node.id));
            }
            if node.exchange.behind(now) != Some(0) {
                return Err(format!("{} does not know that it knows everything", node.id));
            }
            self.tally.lagged += node.lagged;
        }
        Ok(self.tally)
    }
}
