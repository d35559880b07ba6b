//! What nodes do, and what befalls them.

use std::time::Duration;

use super::{Event, MILLISECOND, Message, TOPICS, World, channel, topic};
use crate::{codec::Phase, sequenced::simulation::node::State};

impl World {
    /// A node does nothing for that long.
    pub(in super::super) fn pause(&mut self, index: usize, duration: Duration) {
        self.note(index, &format!("is paused for {duration:?}"));
        let until = self.now + duration;
        self.nodes[index].state = State::Paused(until);
        self.nodes[index].pauses.push((self.now, until));
    }

    /// Ends a node's connection; it comes back after that long.
    pub(in super::super) fn cut(&mut self, index: usize, away: Duration) {
        if self.nodes[index].state == State::Ended {
            return;
        }
        if self.nodes[index].leaving {
            return self.end(index, false);
        }
        self.disconnect(index);
        self.at(away, Event::Connect(index));
    }

    pub(super) fn disconnect(&mut self, index: usize) {
        self.note(index, "is cut off");
        for route in self.routes.values_mut() {
            route.remove(&index);
        }
        self.nodes[index].link_down(self.now);
        self.nodes[index].place.lost();
        self.pipes.remove(&(index, true));
        self.pipes.remove(&(index, false));
    }

    /// The broker dies and is back, empty, after that long and a bit, for each node another bit.
    pub(in super::super) fn crash(&mut self, away: Duration) {
        self.tally.crashes += 1;
        for index in 0..self.nodes.len() {
            let bit = MILLISECOND * self.random.below(300) as u32;
            self.cut(index, away + bit);
        }
    }

    /// A node begins to take its leave.
    pub(in super::super) fn leave(&mut self, index: usize) {
        self.note(index, "takes its leave");
        self.nodes[index].leaving = true;
        self.nodes[index].sequencer.leave();
        let leaving = self.nodes[index].alive(Phase::Leaving, self.now);
        self.send(index, vec![leaving]);
    }

    pub(in super::super) fn end(&mut self, index: usize, clean: bool) {
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

    pub(in super::super) fn publish(&mut self, index: usize, number: u64) {
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

    pub(in super::super) fn subscribe(&mut self, index: usize, number: u64) {
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

    pub(in super::super) fn unsubscribe(&mut self, index: usize, number: u64) {
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

    pub(super) fn chance(&mut self) {
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
        } else if self.random.chance(self.faults.trims) {
            self.trim();
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
}
