//! Virtual time, and what happens in it.

mod broker;
mod fate;
mod log;

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet, BinaryHeap},
    time::Duration,
};

use super::{
    checker::{self, Book, Failure},
    faults::{Faults, Tally},
    node::{Node, State, TICK},
    random::Random,
    trace::Pair,
};
use crate::{
    Envelope, NodeId, Topic,
    sequenced::{Moment, Rules},
};

const TOPICS: u64 = 5;
const MILLISECOND: Duration = Duration::from_millis(1);

#[derive(Debug, Clone)]
pub(super) enum Event {
    Tick(usize),
    /// Something random.
    Chance,
    Connect(usize),
    /// On its way to the broker, on a connection.
    Upward(usize, u64, Message),
    /// From the broker.
    Downward(usize, u64, Message),
}

#[derive(Debug, Clone)]
pub(super) enum Message {
    Envelope(Box<Envelope>),
    /// What stands there in the log.
    Entry(usize, Box<Envelope>),
    /// Each channel with the stamp of its subscription.
    Subscribe(Vec<(String, u64)>),
    Unsubscribe(String),
    /// These are routed; the link is up when the first of a connection come.
    Confirmed(Vec<(String, u64)>),
}

pub(super) use log::Place;

/// Decides how an envelope gets to a node.
pub(super) type Meddler = Box<dyn FnMut(usize, &Envelope) -> Way>;

/// How one envelope gets to a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    Straight,
    Lost,
    Late(Duration),
}

pub(super) struct World {
    pub(super) now: Moment,
    pub(super) random: Random,
    pub(super) faults: Faults,
    rules: Rules,
    pub(super) nodes: Vec<Node>,
    queue: BinaryHeap<Reverse<(Moment, u64)>>,
    events: BTreeMap<u64, Event>,
    next: u64,
    /// When the last message of a pipe arrives, by node and direction.
    pipes: BTreeMap<(usize, bool), Moment>,
    /// The broker's subscriptions.
    routes: BTreeMap<String, BTreeSet<usize>>,
    log: log::Log,
    pub(super) book: Book,
    pub(super) tally: Tally,
    quiet: bool,
    /// Whether origins forget by age only, and stay.
    roomy: bool,
    /// Whether nothing gets lost on the way, and origins remember their topics.
    sound: bool,
    /// What a scripted test does to what the broker sends to a node.
    pub(super) meddle: Option<Meddler>,
    /// What is printed.
    pub(super) trace: Option<Pair>,
}

/// A topic of an application, or of the nodes.
fn channel(topic: &Topic) -> String {
    topic.to_string()
}

pub(super) fn topic(number: u64) -> Topic {
    Topic::group("h", &number.to_string())
}

impl World {
    pub(super) fn new(seed: u64, faults: Faults, rules: Rules) -> Self {
        let mut world = Self {
            now: Duration::from_secs(1),
            random: Random::new(seed),
            rules,
            sound: faults.lost == 0 && faults.topics > 100,
            roomy: faults.retained > 100 && faults.topics > 100 && faults.ends == 0,
            nodes: Vec::new(),
            queue: BinaryHeap::new(),
            events: BTreeMap::new(),
            next: 0,
            pipes: BTreeMap::new(),
            routes: BTreeMap::new(),
            log: log::Log::default(),
            book: Book::default(),
            tally: Tally::default(),
            quiet: false,
            meddle: None,
            trace: None,
            faults,
        };
        for _ in 0..world.faults.nodes {
            world.start_node();
        }
        world
    }

    pub(super) fn start_node(&mut self) -> usize {
        let index = self.nodes.len();
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&self.random.next().to_le_bytes());
        let node = Node::new(NodeId::from_bytes(bytes), self.now, &self.faults, self.rules);
        self.nodes.push(node);
        self.at(MILLISECOND, Event::Connect(index));
        self.at(TICK, Event::Tick(index));
        index
    }

    fn note(&self, index: usize, what: &str) {
        if let Some(pair) = &self.trace {
            pair.note(&self.nodes[index], self.now, what);
        }
    }

    fn at(&mut self, after: Duration, event: Event) {
        self.next += 1;
        self.queue.push(Reverse((self.now + after, self.next)));
        self.events.insert(self.next, event);
    }

    /// Random things happen for that long.
    pub(super) fn live(&mut self, duration: Duration) {
        self.at(MILLISECOND, Event::Chance);
        self.pass(duration);
        self.quiet = true;
    }

    /// Nothing goes wrong any more, for long enough that everything is repaired or given up.
    pub(super) fn heal(&mut self) {
        self.quiet = true;
        let Faults { nodes, retained, buffered, topics, fence, log, .. } = self.faults;
        self.faults = Faults { nodes, retained, buffered, topics, log, ..Faults::none() };
        self.pass(Duration::from_secs(16));
        for index in 0..self.nodes.len() {
            (0..TOPICS).filter(|_| fence).for_each(|number| self.publish(index, number));
        }
        self.pass(Duration::from_secs(12));
    }

    pub(super) fn pass(&mut self, duration: Duration) {
        let until = self.now + duration;
        while let Some(Reverse((at, number))) = self.queue.peek().copied()
            && at <= until
        {
            self.queue.pop();
            self.now = at;
            if let Some(event) = self.events.remove(&number) {
                self.happen(number, event);
            }
        }
        self.now = until;
    }

    fn happen(&mut self, number: u64, event: Event) {
        match event {
            Event::Tick(index) => {
                if self.paused(index, number, Event::Tick(index)) {
                    return;
                }
                let heard = self.nodes[index].own.heard.borrow().len();
                let envelopes = self.nodes[index].tick(self.now);
                if let Some(pair) = &self.trace {
                    pair.told(&self.nodes[index], heard);
                }
                self.send(index, envelopes);
                if self.nodes[index].state == State::Running {
                    if self.nodes[index].leaving && self.nodes[index].sequencer.may_go() {
                        self.end(index, true);
                    } else {
                        self.at(TICK, Event::Tick(index));
                    }
                }
            }
            Event::Chance => {
                if !self.quiet {
                    self.chance();
                    let pause = MILLISECOND * (1 + self.random.below(60) as u32);
                    self.at(pause, Event::Chance);
                }
            }
            Event::Connect(index) => {
                if !self.paused(index, number, Event::Connect(index))
                    && !self.nodes[index].connected
                {
                    self.connect(index);
                }
            }
            Event::Upward(index, connection, message) => {
                if self.nodes[index].connection == connection {
                    self.at_broker(index, message);
                }
            }
            Event::Downward(index, connection, message) => {
                if self.nodes[index].connection == connection
                    && !self.paused(
                        index,
                        number,
                        Event::Downward(index, connection, message.clone()),
                    )
                {
                    self.at_node(index, message);
                }
            }
        }
    }

    /// A paused node does everything later, in the same order; an ended one nothing.
    fn paused(&mut self, index: usize, number: u64, event: Event) -> bool {
        match self.nodes[index].state {
            State::Running => false,
            State::Ended => true,
            State::Paused(until) if until <= self.now => {
                self.nodes[index].state = State::Running;
                false
            }
            State::Paused(until) => {
                self.queue.push(Reverse((until, number)));
                self.events.insert(number, event);
                true
            }
        }
    }

    pub(super) fn check(mut self) -> Result<Tally, Failure> {
        checker::check(&self.nodes, &self.book, &mut self.tally)?;
        if self.faults.log {
            if self.sound && self.tally.trims == 0 {
                checker::check_whole(&self.nodes, &self.book)?;
            }
        } else if self.roomy {
            checker::check_kept(&self.nodes, &self.book)?;
        }
        Ok(self.tally)
    }
}
