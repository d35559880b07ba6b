//! What happens by chance: to messages, to nodes, and on them.

use std::time::Duration;

use super::{Event, World};
use crate::presence::message::Change;

/// SplitMix64.
#[derive(Debug)]
pub(super) struct Random(pub(super) u64);

impl Random {
    pub(super) fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (mixed ^ (mixed >> 31)) % bound
    }

    /// True so many times in a thousand.
    pub(super) fn chance(&mut self, thousandth: u64) -> bool {
        self.below(1000) < thousandth
    }
}

/// How hard the world is on its nodes. In thousandths, per message or per event.
#[derive(Debug, Default)]
pub(super) struct Faults {
    pub(super) lost: u64,
    pub(super) doubled: u64,
    pub(super) overtaken: u64,
    kills: u64,
    restarts: u64,
    cuts: u64,
    corrupted: u64,
    bursts: u64,
}

impl Faults {
    pub(super) fn of(random: &mut Random) -> Self {
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
pub(in super::super) struct Tally {
    pub(in super::super) changes: u64,
    pub(in super::super) messages: u64,
    pub(in super::super) lost: u64,
    pub(in super::super) doubled: u64,
    pub(in super::super) overtaken: u64,
    pub(in super::super) kills: u64,
    pub(in super::super) restarts: u64,
    pub(in super::super) cuts: u64,
    pub(in super::super) corrupted: u64,
    pub(in super::super) returned: u64,
    pub(in super::super) asked: u64,
    pub(in super::super) snapshots: u64,
    pub(in super::super) lagged: u64,
}

impl Tally {
    pub(in super::super) const fn add(&mut self, other: &Self) {
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

impl World {
    pub(super) fn chance(&mut self) {
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
}
