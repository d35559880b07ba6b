//! What the backplane calls when something arrives. Nothing here blocks, publishes, or looks a
//! topic up.

use std::sync::Arc;

use backplane_core::{Envelope, Event, Sink};

use super::body::{self, Malformed};
use crate::members::{Audience, Connections, Local, Member, Message};

/// Every connection of the hub on this node. Also the one sink that tells of the link.
#[derive(Debug)]
pub(super) struct Everyone {
    pub(super) hub: Arc<str>,
    pub(super) local: Arc<Local>,
    pub(super) connections: Arc<Connections>,
}

impl Sink for Everyone {
    fn accept(&self, event: &Event) {
        match event {
            Event::Message(envelope) => self.local.invocation(envelope, |message| {
                self.connections.deliver(&self.local, message);
            }),
            Event::Interrupted { since } => {
                self.local.counters.interruptions.add(1);
                let for_how_long = since.elapsed();
                tracing::warn!(hub = %self.hub, ?for_how_long, "messages of other nodes may be lost");
            }
            Event::Restored => {
                tracing::info!(hub = %self.hub, "messages of other nodes arrive again")
            }
            event => self.local.other(event),
        }
    }
}

impl Sink for Audience {
    fn accept(&self, event: &Event) {
        match event {
            Event::Message(envelope) => {
                self.local.invocation(envelope, |message| self.deliver(message));
            }
            event => self.local.other(event),
        }
    }
}

/// One connection of this node.
#[derive(Debug)]
pub(super) struct Own {
    pub(super) local: Arc<Local>,
    pub(super) member: Arc<Member>,
}

impl Sink for Own {
    fn accept(&self, event: &Event) {
        match event {
            Event::Message(envelope) => self.local.invocation(envelope, |message| {
                self.local.deliver([&self.member], message);
            }),
            event => self.local.other(event),
        }
    }
}

impl Local {
    /// Reads a hub message and hands it to `deliver`.
    fn invocation(&self, envelope: &Envelope, deliver: impl FnOnce(&mut Message<'_>)) {
        let mut rest = envelope.body.clone();
        match rest.first() {
            Some(&body::INVOCATION) => drop(rest.split_to(1)),
            Some(_) => return self.counters.unknown.add(1),
            None => return self.counters.malformed.add(1),
        }
        let foreign = envelope.origin.is_some_and(|origin| origin != self.node);
        let mut message = Message::new(&envelope.except);
        match body::decode(rest, &self.protocols, foreign, &mut message) {
            Ok(once) => {
                let origin = envelope.origin.unwrap_or(self.node);
                message.once = once.map(|number| self.once.name(origin.as_bytes(), number));
                deliver(&mut message);
            }
            Err(Malformed) => self.counters.malformed.add(1),
        }
    }

    fn other(&self, event: &Event) {
        if matches!(event, Event::Gap(_)) {
            self.counters.gaps.add(1);
        }
    }
}
