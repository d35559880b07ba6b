//! The broker, and the connections that lead to it.

use std::time::Duration;

use super::{Event, MILLISECOND, Message, Way, World, channel};
use crate::{
    Envelope, Topic,
    codec::{Control, Phase},
    envelope::Kind,
};

impl World {
    pub(super) fn connect(&mut self, index: usize) {
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

    pub(super) fn upward(&mut self, index: usize, message: Message) {
        let connection = self.nodes[index].connection;
        let after = self.pipe(index, true);
        self.at(after, Event::Upward(index, connection, message));
    }

    pub(super) fn downward(&mut self, index: usize, message: Message) {
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
    pub(super) fn pipe(&mut self, index: usize, up: bool) -> Duration {
        let latency = MILLISECOND * (1 + self.random.below(self.faults.latency) as u32);
        let last = self.pipes.entry((index, up)).or_default();
        *last = (self.now + latency).max(*last);
        *last - self.now
    }

    pub(super) fn send(&mut self, index: usize, envelopes: Vec<Envelope>) {
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

    pub(super) fn at_broker(&mut self, index: usize, message: Message) {
        match message {
            Message::Subscribe(channels) => {
                if self.faults.log {
                    self.wants(index, &channels);
                } else {
                    for (channel, _) in &channels {
                        self.routes.entry(channel.clone()).or_default().insert(index);
                    }
                }
                self.downward(index, Message::Confirmed(channels));
            }
            Message::Unsubscribe(channel) if self.faults.log => self.gives_up(index, &channel),
            Message::Unsubscribe(channel) => {
                self.routes.entry(channel).or_default().remove(&index);
            }
            Message::Confirmed(_) | Message::Entry(..) => {}
            Message::Envelope(envelope) => {
                // Now and then the answer is lost with the connection: it stays unanswered for a while.
                if envelope.kind == Kind::Message && !self.random.chance(100) {
                    let unanswered = &mut self.nodes[index].unanswered;
                    let known = |it: &Envelope| it.sequence != envelope.sequence;
                    if let Some(at) = unanswered.iter().position(|it| !known(it)) {
                        unanswered.drain(..=at);
                    }
                }
                let told_once = !self.faults.fence
                    && envelope.kind == Kind::Control
                    && matches!(Control::decode(&envelope.body), Ok(Control::Watermark(_)));
                if self.faults.log {
                    // Gone with a server that had answered for it.
                    if told_once || !self.random.chance(self.faults.lost) {
                        self.store(&envelope);
                    }
                    return;
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

    pub(super) fn at_node(&mut self, index: usize, message: Message) {
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
            Message::Entry(at, envelope) => self.entry(index, at, envelope),
            Message::Subscribe(_) | Message::Unsubscribe(_) => {}
        }
    }

    pub(super) fn up(&mut self, index: usize) {
        self.note(index, "is up");
        let node = &mut self.nodes[index];
        node.up = true;
        let clock = node.clock(self.now);
        node.sequencer.link_up(clock);
        let buffered: Vec<Envelope> = node.buffered.drain(..).collect();
        self.send(index, buffered);
        if self.faults.log {
            self.look_at_end(index);
        }
    }
}
