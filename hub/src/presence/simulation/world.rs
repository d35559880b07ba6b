//! Virtual time, and what happens in it.

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
    message::{Change, Message},
    rules::Rules,
};

/// The group that everybody watches.
pub(super) const WATCHED: &str = "g0";

const HEARTBEAT: Duration = Duration::from_secs(1);

/// How long a node may be silent before the others take it for dead.
const DEAD_AFTER: Duration = Duration::from_secs(3);

/// How long until a node that lives again counts as such.
const NOTICED: Duration = Duration::from_millis(500);

const LATENCY: u64 = 10;

/// SplitMix64.
#[derive(Debug)]
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (mixed ^ (mixed >> 31)) % bound
    }

    /// True so many times in a thousand.
    fn chance(&mut self, thousandth: u64) -> bool {
        self.below(1000) < thousandth
    }
}

/// How hard the world is on its nodes. In thousandths, per message or per event.
#[derive(Debug, Default)]
struct Faults {
    lost: u64,
    doubled: u64,
    overtaken: u64,
    kills: u64,
    restarts: u64,
    cuts: u64,
    corrupted: u64,
    bursts: u64,
}

impl Faults {
    fn of(random: &mut Random) -> Self {
        let mut sometimes = |most| if random.chance(500) { random.below(most) } else { 0 };
        Self {
            lost: sometimes(200),
            doubled: sometimes(100),
            overtaken: sometimes(200),
            kills: sometimes(12),
            restarts: sometimes(20),
            cuts: sometimes(20),
            corrupted: sometimes(20),
            bursts: sometimes(40),
        }
    }
}

/// What happened, over a run.
#[derive(Debug, Clone, Default)]
pub(super) struct Tally {
    pub(super) changes: u64,
    pub(super) messages: u64,
    pub(super) lost: u64,
    pub(super) doubled: u64,
    pub(super) overtaken: u64,
    pub(super) kills: u64,
    pub(super) restarts: u64,
    pub(super) cuts: u64,
    pub(super) corrupted: u64,
    pub(super) returned: u64,
    pub(super) asked: u64,
    pub(super) snapshots: u64,
    pub(super) lagged: u64,
}

impl Tally {
    pub(super) const fn add(&mut self, other: &Self) {
        self.changes += other.changes;
        self.messages += other.messages;
        self.lost += other.lost;
        self.doubled += other.doubled;
        self.overtaken += other.overtaken;
        self.kills += other.kills;
        self.restarts += other.restarts;
        self.cuts += other.cuts;
        self.corrupted += other.corrupted;
        self.returned += other.returned;
        self.asked += other.asked;
        self.snapshots += other.snapshots;
        self.lagged += other.lagged;
    }
}

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

    fn chance(&mut self) {
        let index = self.random.below(self.nodes.len() as u64) as usize;
        let faults = &self.faults;
        let (kills, restarts, cuts) = (faults.kills, faults.restarts, faults.cuts);
        let (corrupted, bursts) = (faults.corrupted, faults.bursts);
        if self.random.chance(kills) && self.nodes.len() < 6 {
            self.nodes[index].lives = false;
            self.nodes[index].killed = self.now;
            self.tally.kills += 1;
            self.start_node();
        } else if self.random.chance(restarts) && self.nodes[index].lives {
            self.restart(index);
        } else if self.random.chance(cuts) && self.nodes[index].up && self.nodes[index].lives {
            self.tally.cuts += 1;
            self.nodes[index].up = false;
            self.nodes[index].cut = self.now;
            self.nodes[index].exchange.link(false, self.now);
            let pause = Duration::from_millis(self.random.below(6000));
            self.at(pause, Event::LinkUp(index));
        } else if self.random.chance(corrupted) {
            self.corrupt(index);
        }
        let many = if self.random.chance(bursts) { 100 } else { 2 };
        for _ in 0..many {
            self.change(index);
        }
        if self.nodes[index].lives {
            self.plan(index);
        }
    }

    /// The hub of a node ends, with a word or without, and mostly a new one is built.
    fn restart(&mut self, index: usize) {
        self.tally.restarts += 1;
        let (id, up) = (self.nodes[index].id, self.nodes[index].up);
        if self.random.chance(500) {
            let farewell = self.nodes[index].exchange.farewell();
            self.send(index, farewell);
        }
        let fresh = self.fresh(id);
        let before = std::mem::replace(&mut self.nodes[index], fresh);
        self.tally.lagged += before.lagged;
        let again = self.random.chance(700);
        let members = self.alive.get(&index).into_iter().flatten().copied().collect();
        let (now, node) = (self.now, &mut self.nodes[index]);
        node.serves = again;
        (node.cut, node.next_tick) = (before.cut, before.next_tick + 1);
        node.up = up;
        if up {
            node.exchange.link(true, now);
        }
        node.members(members, now);
    }

    /// Something that no message explains.
    fn corrupt(&mut self, index: usize) {
        let other = self.random.below(self.nodes.len() as u64) as usize;
        if other == index {
            return;
        }
        let shown = self.nodes[index].shows(self.nodes[other].id);
        let Some(connection) = shown.keys().next() else { return };
        self.tally.corrupted += 1;
        let change = Change::Closed { connection: connection.as_str().into() };
        let id = self.nodes[other].id;
        self.nodes[index].exchange.directory.apply(id, &change);
    }

    fn change(&mut self, index: usize) {
        if !self.nodes[index].lives || !self.nodes[index].serves {
            return;
        }
        self.tally.changes += 1;
        let what = self.random.below(10);
        let place = self.random.below(1 + self.nodes[index].truth.len() as u64) as usize;
        let some = self.nodes[index].truth.keys().nth(place).cloned();
        let group = format!("g{}", self.random.below(4));
        let user = self.random.below(4);
        let node = &mut self.nodes[index];
        match (what, some) {
            (0..2, _) | (_, None) => {
                self.connections += 1;
                // Some ids are used again, here or on another node.
                let id = format!("c{}", self.connections % 150).repeat(40);
                if !node.truth.contains_key(&id) {
                    node.open(&id, (user > 0).then(|| format!("u{user}")).as_deref());
                }
            }
            (2, Some(connection)) => node.close(&connection),
            (3..7, Some(connection)) => node.join(&connection, &group),
            (_, Some(connection)) => node.leave(&connection, &group),
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
