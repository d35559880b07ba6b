//! A broker that keeps a log, and the places of its readers.

use std::collections::BTreeMap;

use super::{Event, Message, World, channel};
use crate::{Envelope, Topic};

/// What was stored, from the beginning on.
#[derive(Debug, Default)]
pub(super) struct Log {
    entries: Vec<Envelope>,
    /// What stood before this is gone.
    first: usize,
}

/// How far a node has read, and what it wants. Outlives its connections.
#[derive(Debug, Default)]
pub(in super::super) struct Place {
    read: Option<usize>,
    /// Channels, each with the place from which on it is due.
    wanted: BTreeMap<String, usize>,
    /// Those of the connection before, until they are asked for again.
    before: BTreeMap<String, usize>,
    /// Up to where entries are on their way, on this connection.
    sent: Option<usize>,
    /// Where the log ended when the connection was made, until that is read.
    end: Option<usize>,
}

impl Place {
    /// The connection is lost, with what was on its way.
    pub(in super::super) fn lost(&mut self) {
        let wanted = std::mem::take(&mut self.wanted);
        self.before.extend(wanted);
        (self.sent, self.end) = (None, None);
    }
}

impl World {
    /// Stores an envelope, twice where it is doubled.
    pub(super) fn store(&mut self, envelope: &Envelope) {
        let copies = 1 + usize::from(self.random.chance(self.faults.doubled));
        self.log.entries.extend(std::iter::repeat_n(envelope.clone(), copies));
        (0..self.nodes.len()).for_each(|index| self.read_on(index));
    }

    /// What is oldest goes.
    pub(super) fn trim(&mut self) {
        let held = (self.log.entries.len() - self.log.first) as u64;
        if held > 0 {
            self.log.first += self.random.below(held) as usize;
            self.tally.trims += 1;
        }
    }

    /// A node has asked for these on its connection; all of them, where it is settled.
    pub(super) fn wants(&mut self, index: usize, channels: &[(String, u64)]) {
        let end = self.log.entries.len();
        let place = &mut self.nodes[index].place;
        if place.sent.is_none() {
            let read = *place.read.get_or_insert(end);
            (place.sent, place.end) = (Some(read), Some(end));
        }
        for (channel, _) in channels {
            let due = place.before.remove(channel).unwrap_or(end);
            place.wanted.entry(channel.clone()).or_insert(due);
        }
        let own = channel(&Topic::all(""));
        if !self.nodes[index].up && !channels.iter().any(|(channel, _)| *channel == own) {
            self.nodes[index].place.before.clear();
        }
        self.read_on(index);
    }

    pub(super) fn gives_up(&mut self, index: usize, channel: &str) {
        self.nodes[index].place.wanted.remove(channel);
    }

    /// Sends what the node has not been sent on this connection.
    fn read_on(&mut self, index: usize) {
        while let Some(sent) = self.nodes[index].place.sent {
            let at = sent.max(self.log.first);
            if at > sent {
                self.nodes[index].trimmed.push(self.now);
            }
            let Some(envelope) = self.log.entries.get(at).cloned() else { return };
            self.nodes[index].place.sent = Some(at + 1);
            let connection = self.nodes[index].connection;
            let after = self.pipe(index, false);
            let message = Message::Entry(at, Box::new(envelope));
            self.at(after, Event::Downward(index, connection, message));
        }
    }

    /// An entry has arrived.
    pub(super) fn entry(&mut self, index: usize, at: usize, envelope: Box<Envelope>) {
        let name = channel(envelope.destination());
        let place = &mut self.nodes[index].place;
        let due = place.wanted.get(&name).or_else(|| place.before.get(&name));
        let due = due.is_some_and(|due| at >= *due);
        if due {
            self.at_node(index, Message::Envelope(envelope));
        }
        self.nodes[index].place.read = Some(at + 1);
        self.look_at_end(index);
    }

    /// Whether all has been read that stood there when the connection was made.
    pub(super) fn look_at_end(&mut self, index: usize) {
        let node = &mut self.nodes[index];
        let reached = node.place.end.is_some_and(|end| {
            let read = node.place.read.unwrap_or_default();
            read >= end || self.log.first >= end
        });
        if node.up && reached {
            node.place.end = None;
            node.sequencer.caught_up();
            node.restore(self.now);
        }
    }
}
