//! The broker, the links, and what happens to them.

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
    codec::{Control, Phase},
    envelope::Kind,
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
    /// Each channel with the stamp of its subscription.
    Subscribe(Vec<(String, u64)>),
    Unsubscribe(String),
    /// These are routed; the link is up when the first of a connection come.
    Confirmed(Vec<(String, u64)>),
}

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
    pub(super) book: Book,
    pub(super) tally: Tally,
    quiet: bool,
    /// Whether origins forget by age only, and stay.
    roomy: bool,
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
            roomy: faults.retained > 100 && faults.topics > 100 && faults.ends == 0,
            nodes: Vec::new(),
            queue: BinaryHeap::new(),
            events: BTreeMap::new(),
            next: 0,
            pipes: BTreeMap::new(),
            routes: BTreeMap::new(),
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
        let Faults { nodes, retained, buffered, topics, fence, .. } = self.faults;
        self.faults = Faults { nodes, retained, buffered, topics, ..Faults::none() };
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
                self.happen(event);
            }
        }
        self.now = until;
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Tick(index) => {
                if self.paused(index, Event::Tick(index)) {
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
                if !self.paused(index, Event::Connect(index)) && !self.nodes[index].connected {
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
                    && !self.paused(index, Event::Downward(index, connection, message.clone()))
                {
                    self.at_node(index, message);
                }
            }
        }
    }

    /// A paused node does everything later, in the same order; an ended one nothing.
    fn paused(&mut self, index: usize, event: Event) -> bool {
        match self.nodes[index].state {
            State::Running => false,
            State::Ended => true,
            State::Paused(until) if until <= self.now => {
                self.nodes[index].state = State::Running;
                false
            }
            State::Paused(until) => {
                self.at(until - self.now, event);
                true
            }
        }
    }

    fn connect(&mut self, index: usize) {
        let node = &mut self.nodes[index];
        node.connection += 1;
        node.connected = true;
        let first = std::mem::replace(&mut node.first, false);
        let own = vec![(channel(&Topic::all("")), 0), (channel(&Topic::node("", node.id)), 0)];
        let hello = node.alive(Phase::Hello { first }, self.now);
        let stamps = node.own.stamps.borrow().clone();
        let desired =
            stamps.iter().map(|(name, stamp)| (channel(&Topic::group("h", name)), *stamp));
        let desired: Vec<(String, u64)> = desired.collect();
        self.upward(index, Message::Subscribe(own));
        self.upward(index, Message::Envelope(Box::new(hello)));
        self.upward(index, Message::Subscribe(desired));
    }

    fn upward(&mut self, index: usize, message: Message) {
        let connection = self.nodes[index].connection;
        let after = self.pipe(index, true);
        self.at(after, Event::Upward(index, connection, message));
    }

    fn downward(&mut self, index: usize, message: Message) {
        let connection = self.nodes[index].connection;
        let after = if matches!(message, Message::Envelope(_))
            && self.random.chance(self.faults.overtaken)
        {
            MILLISECOND * (1 + self.random.below(400) as u32)
        } else {
            self.pipe(index, false)
        };
        self.at(after, Event::Downward(index, connection, message));
    }

    /// How long until something arrives, behind everything before it.
    fn pipe(&mut self, index: usize, up: bool) -> Duration {
        let latency = MILLISECOND * (1 + self.random.below(self.faults.latency) as u32);
        let last = self.pipes.entry((index, up)).or_default();
        *last = (self.now + latency).max(*last);
        *last - self.now
    }

    fn send(&mut self, index: usize, envelopes: Vec<Envelope>) {
        for envelope in envelopes {
            if !self.nodes[index].up {
                continue;
            }
            if let Some(pair) = &self.trace
                && envelope.kind != Kind::Control
            {
                pair.envelope(&self.nodes[index], &envelope, self.now, "sends");
            }
            if envelope.kind == Kind::Message {
                self.nodes[index].unanswered.push_back(envelope.clone());
            }
            self.upward(index, Message::Envelope(Box::new(envelope)));
        }
    }

    fn at_broker(&mut self, index: usize, message: Message) {
        match message {
            Message::Subscribe(channels) => {
                for (channel, _) in &channels {
                    self.routes.entry(channel.clone()).or_default().insert(index);
                }
                self.downward(index, Message::Confirmed(channels));
            }
            Message::Unsubscribe(channel) => {
                self.routes.entry(channel).or_default().remove(&index);
            }
            Message::Confirmed(_) => {}
            Message::Envelope(envelope) => {
                // Now and then the answer is lost with the connection: it stays unanswered for a while.
                if envelope.kind == Kind::Message && !self.random.chance(100) {
                    let unanswered = &mut self.nodes[index].unanswered;
                    let known = |it: &Envelope| it.sequence != envelope.sequence;
                    if let Some(at) = unanswered.iter().position(|it| !known(it)) {
                        unanswered.drain(..=at);
                    }
                }
                let channel = channel(envelope.destination());
                let routed = self.routes.get(&channel).cloned().unwrap_or_default();
                for to in routed {
                    match self.meddle.as_mut().map_or(Way::Straight, |it| it(to, &envelope)) {
                        Way::Straight => {}
                        Way::Lost => continue,
                        Way::Late(after) => {
                            let connection = self.nodes[to].connection;
                            let message = Message::Envelope(envelope.clone());
                            self.at(after, Event::Downward(to, connection, message));
                            continue;
                        }
                    }
                    let told_once = !self.faults.fence
                        && envelope.kind == Kind::Control
                        && matches!(Control::decode(&envelope.body), Ok(Control::Watermark(_)));
                    if to != index && self.random.chance(self.faults.lost) && !told_once {
                        continue;
                    }
                    if self.random.chance(self.faults.doubled) {
                        self.downward(to, Message::Envelope(envelope.clone()));
                    }
                    self.downward(to, Message::Envelope(envelope.clone()));
                }
            }
        }
    }

    fn at_node(&mut self, index: usize, message: Message) {
        match message {
            Message::Envelope(envelope) => {
                let heard = self.nodes[index].own.heard.borrow().len();
                if let Some(pair) = &self.trace {
                    pair.envelope(&self.nodes[index], &envelope, self.now, "gets");
                }
                let envelopes = self.nodes[index].receive(*envelope, self.now);
                if let Some(pair) = &self.trace {
                    pair.told(&self.nodes[index], heard);
                }
                self.send(index, envelopes);
            }
            Message::Confirmed(channels) => {
                let own = channel(&Topic::all(""));
                if !channels.iter().any(|(channel, _)| *channel == own) {
                    for (channel, stamp) in channels {
                        let name = channel.rsplit('/').next().unwrap_or_default().to_owned();
                        self.book.confirmed(&self.nodes[index], name, stamp, self.now);
                    }
                    if !self.nodes[index].up {
                        self.up(index);
                    }
                }
            }
            Message::Subscribe(_) | Message::Unsubscribe(_) => {}
        }
    }

    fn up(&mut self, index: usize) {
        self.note(index, "is up");
        let node = &mut self.nodes[index];
        node.up = true;
        let clock = node.clock(self.now);
        node.sequencer.link_up(clock);
        let buffered: Vec<Envelope> = node.buffered.drain(..).collect();
        self.send(index, buffered);
    }

    /// A node does nothing for that long.
    pub(super) fn pause(&mut self, index: usize, duration: Duration) {
        self.note(index, &format!("is paused for {duration:?}"));
        let until = self.now + duration;
        self.nodes[index].state = State::Paused(until);
        self.nodes[index].pauses.push((self.now, until));
    }

    /// Ends a node's connection; it comes back after that long.
    pub(super) fn cut(&mut self, index: usize, away: Duration) {
        if self.nodes[index].state == State::Ended {
            return;
        }
        if self.nodes[index].leaving {
            return self.end(index, false);
        }
        self.disconnect(index);
        self.at(away, Event::Connect(index));
    }

    fn disconnect(&mut self, index: usize) {
        self.note(index, "is cut off");
        for route in self.routes.values_mut() {
            route.remove(&index);
        }
        self.nodes[index].link_down(self.now);
        self.pipes.remove(&(index, true));
        self.pipes.remove(&(index, false));
    }

    /// The broker dies and is back, empty, after that long and a bit, for each node another bit.
    pub(super) fn crash(&mut self, away: Duration) {
        self.tally.crashes += 1;
        for index in 0..self.nodes.len() {
            let bit = MILLISECOND * self.random.below(300) as u32;
            self.cut(index, away + bit);
        }
    }

    /// A node begins to take its leave.
    pub(super) fn leave(&mut self, index: usize) {
        self.note(index, "takes its leave");
        self.nodes[index].leaving = true;
        self.nodes[index].sequencer.leave();
        let leaving = self.nodes[index].alive(Phase::Leaving, self.now);
        self.send(index, vec![leaving]);
    }

    pub(super) fn end(&mut self, index: usize, clean: bool) {
        self.note(index, if clean { "is gone" } else { "is killed" });
        if clean {
            let gone = self.nodes[index].alive(Phase::Gone, self.now);
            let connection = self.nodes[index].connection;
            // The connection ends in an orderly way: what was sent arrives.
            let after = self.pipe(index, true);
            self.at(after, Event::Upward(index, connection, Message::Envelope(Box::new(gone))));
        } else {
            self.disconnect(index);
        }
        self.nodes[index].state = State::Ended;
        self.book.ended(&self.nodes[index], self.now, clean);
    }

    pub(super) fn publish(&mut self, index: usize, number: u64) {
        if self.nodes[index].state != State::Running || self.nodes[index].leaving {
            return;
        }
        self.tally.published += 1;
        let node = &mut self.nodes[index];
        let up = node.up;
        let envelope = node.publish(topic(number), self.now);
        if let Some(pair) = self.trace.as_ref().filter(|_| !up) {
            pair.envelope(&self.nodes[index], &envelope, self.now, "buffers");
        }
        self.book.published(&self.nodes[index], &envelope, self.now);
        if up {
            self.send(index, vec![envelope]);
        }
    }

    pub(super) fn subscribe(&mut self, index: usize, number: u64) {
        let name = number.to_string();
        if self.nodes[index].own.stamps.borrow().contains_key(&name) {
            return;
        }
        let stamp = self.nodes[index].sequencer.subscribing();
        if let Some(pair) = &self.trace {
            pair.note_on(&self.nodes[index], &name, self.now, "subscribes");
        }
        self.nodes[index].own.stamps.borrow_mut().insert(name.clone(), stamp);
        self.book.subscribed(&self.nodes[index], &name, stamp, self.now);
        if self.nodes[index].connected {
            self.upward(index, Message::Subscribe(vec![(channel(&topic(number)), stamp)]));
        }
    }

    pub(super) fn unsubscribe(&mut self, index: usize, number: u64) {
        let name = number.to_string();
        if self.nodes[index].own.stamps.borrow_mut().remove(&name).is_none() {
            return;
        }
        self.book.unsubscribed(&self.nodes[index], &name, self.now);
        if let Some(pair) = &self.trace {
            pair.note_on(&self.nodes[index], &name, self.now, "unsubscribes");
        }
        if self.nodes[index].connected {
            self.upward(index, Message::Unsubscribe(channel(&topic(number))));
        }
    }

    fn chance(&mut self) {
        let index = self.random.below(self.nodes.len() as u64) as usize;
        let number = self.random.below(TOPICS);
        if self.nodes[index].state != State::Running || self.nodes[index].leaving {
            return;
        }
        let away = MILLISECOND * self.random.below(3_000) as u32;
        if self.random.chance(self.faults.cuts) {
            self.cut(index, away);
        } else if self.random.chance(self.faults.crashes) {
            self.crash(away);
        } else if self.random.chance(self.faults.pauses) {
            self.pause(index, away * 3);
        } else if self.random.chance(self.faults.ends) && self.nodes.len() < 6 {
            match self.random.below(3) {
                0 => self.end(index, false),
                // Everything is sent before a node takes its leave.
                1 if self.nodes[index].up => self.leave(index),
                _ => {}
            }
            self.start_node();
        } else if self.random.chance(self.faults.churn) || !self.random.chance(900) {
            if self.nodes[index].own.stamps.borrow().contains_key(&number.to_string()) {
                if self.random.chance(self.faults.churn) {
                    self.unsubscribe(index, number);
                }
            } else {
                self.subscribe(index, number);
            }
        } else {
            for _ in 0..=self.random.below(3) {
                self.publish(index, number);
            }
        }
    }

    pub(super) fn check(mut self) -> Result<Tally, Failure> {
        checker::check(&self.nodes, &self.book, &mut self.tally)?;
        if self.roomy {
            checker::check_kept(&self.nodes, &self.book)?;
        }
        Ok(self.tally)
    }
}
