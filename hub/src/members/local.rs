use std::sync::Arc;

use backplane_core::NodeId;
use bytes::Bytes;

use super::{Held, Limits, Mark, Member, Message, Once, Owed, Phase, Pushed};
use crate::{
    HubOptions,
    loss::Losses,
    protocol::Protocols,
    routing::{Asking, Desk},
    stats::Counters,
};

/// What every delivery on this node needs. Shared by all sinks; holds no connection.
#[derive(Debug)]
pub(crate) struct Local {
    pub(crate) node: NodeId,
    pub(crate) protocols: Protocols,
    pub(crate) counters: Counters,
    pub(crate) once: Once,
    pub(crate) limits: Limits,
    pub(crate) owed: Owed,
    pub(crate) asking: Asking,
    pub(crate) desk: Desk,
    pub(crate) losses: Losses,
}

impl Local {
    pub(crate) fn new(node: NodeId, options: &HubOptions, desk: Desk, losses: Losses) -> Self {
        Self {
            node,
            protocols: Protocols::default(),
            counters: Counters::default(),
            once: Once::default(),
            limits: Limits::from(options),
            owed: Owed::default(),
            asking: Asking::default(),
            desk,
            losses,
        }
    }

    /// Puts a message into the queue of each of these connections that is to get it.
    pub(crate) fn deliver<'m>(
        &self,
        members: impl IntoIterator<Item = &'m Arc<Member>>,
        message: &mut Message<'_>,
    ) {
        let mut tally = Tally::default();
        let group = message.group.clone();
        for member in members {
            if message.excludes(&member.id) {
                continue;
            }
            let (once, mark) = (message.once, message.mark);
            let Some(payload) = message.payload(member.slot) else {
                tally.protocol += 1;
                continue;
            };
            // One that has left may have a namesake that is here again, and knows its messages by their marks.
            if once.is_some_and(|once| {
                member.phase() != Phase::Left && !self.once.first(&member.id, once)
            }) {
                continue;
            }
            self.push_one(member, payload.clone(), mark, group.as_ref(), &mut tally);
        }
        self.count(&tally);
    }

    /// Puts a message that nobody else gets into the queue of one connection.
    pub(crate) fn push(&self, member: &Member, payload: Bytes) -> Pushed {
        let mut tally = Tally::default();
        let pushed = self.push_one(member, payload, Mark::NONE, None, &mut tally);
        self.count(&tally);
        pushed
    }

    /// Puts a message in that has come to the connection on the node that had it.
    pub(crate) fn deliver_late(&self, member: &Member, held: Held) {
        let mut tally = Tally::default();
        self.push_one(member, held.message, held.mark, held.group.as_ref(), &mut tally);
        self.count(&tally);
    }

    fn push_one(
        &self,
        member: &Member,
        payload: Bytes,
        mark: Mark,
        group: Option<&Arc<str>>,
        tally: &mut Tally,
    ) -> Pushed {
        let pushed = member.queue.push(payload, mark, group, &self.limits);
        match pushed {
            Pushed::Queued => tally.queued += 1,
            // The connection has it, by way of the node that it was on.
            Pushed::Repeated => {}
            Pushed::Dropped => tally.slow += 1,
            Pushed::Ending => tally.ending += 1,
            Pushed::Closed => {
                tally.slow += 1;
                self.closed_slow(member);
            }
        }
        pushed
    }

    /// A connection was ended, as it takes its messages too slowly.
    pub(crate) fn closed_slow(&self, member: &Member) {
        self.counters.closed_slow.add(1);
        tracing::warn!(connection = %member.id, "a client takes its messages too slowly: closed");
    }

    fn count(&self, tally: &Tally) {
        self.counters.queued.add(tally.queued);
        self.counters.dropped_slow.add(tally.slow);
        self.counters.dropped_ending.add(tally.ending);
        self.counters.dropped_protocol.add(tally.protocol);
    }
}

/// Counted apart and added once: the counters are shared by all threads.
#[derive(Debug, Default)]
struct Tally {
    queued: u64,
    slow: u64,
    ending: u64,
    protocol: u64,
}
