//! What the backplane calls when something arrives. Nothing here blocks, publishes, or looks a
//! topic up.

use std::sync::Arc;

use backplane_core::{Envelope, Event, NodeId, Sink};

use super::{
    body::{self, Head, Malformed},
    desk::Errand,
    question::{Letter, Question, Unreadable},
};
use crate::members::{Audience, Connections, Local, Mark, Member, Message, Phase};

/// Every connection of the hub on this node. Also the one sink that tells of the link: each hub has one,
/// and it is told everything of that kind once.
#[derive(Debug)]
pub(super) struct Everyone {
    pub(super) hub: Arc<str>,
    pub(super) local: Arc<Local>,
    pub(super) connections: Arc<Connections>,
}

impl Sink for Everyone {
    fn accept(&self, event: &Event) {
        match event {
            Event::Message(envelope) => {
                self.local.invocation(envelope, |message| self.deliver(message));
            }
            Event::Gap(gap) => self.local.missed(gap, |message| self.deliver(message)),
            event => {
                match event {
                    Event::Interrupted { since } => {
                        let for_how_long = since.elapsed();
                        tracing::warn!(hub = %self.hub, ?for_how_long, "messages of other nodes may be lost");
                    }
                    Event::Restored => {
                        tracing::info!(hub = %self.hub, "messages of other nodes arrive again");
                    }
                    _ => {}
                }
                self.local.link(event, |message| self.deliver(message));
            }
        }
    }
}

impl Everyone {
    fn deliver(&self, message: &mut Message<'_>) {
        self.connections.deliver(&self.local, message);
    }
}

impl Sink for Audience {
    fn accept(&self, event: &Event) {
        match event {
            Event::Message(envelope) => {
                self.local.invocation(envelope, |message| self.deliver(message));
            }
            Event::Gap(gap) => self.local.missed(gap, |message| self.deliver(message)),
            _ => {}
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
            Event::Message(envelope) if is_invocation(envelope) => {
                self.local.invocation(envelope, |message| {
                    self.local.deliver([&self.member], message);
                });
            }
            Event::Message(envelope) => {
                let phase = self.member.phase();
                self.local.letter(envelope, |letter, origin| match letter {
                    Letter::Ask(question, number) if is_taken(&question, phase) => Some(
                        Errand::Connection((origin, number), Arc::clone(&self.member), question),
                    ),
                    _ => None,
                });
            }
            Event::Gap(gap) => self.local.missed(gap, |message| {
                self.local.deliver([&self.member], message);
            }),
            _ => {}
        }
    }
}

/// The hub on this node, as others address it.
#[derive(Debug)]
pub(super) struct Node(pub(super) Arc<Local>);

impl Sink for Node {
    fn accept(&self, event: &Event) {
        // Letters are not numbered, so there are no gaps between them.
        let Event::Message(envelope) = event else { return };
        self.0.letter(envelope, |letter, origin| match letter {
            Letter::Ask(question, number) => Some(Errand::Node((origin, number), question)),
            Letter::Cancel(number) => Some(Errand::Undo((origin, number))),
            Letter::Accepted(number) => {
                let late = self.0.asking.accepted(number, origin);
                late.then_some(Errand::TellToUndo((origin, number)))
            }
            Letter::Remind(number) => Some(Errand::Remind((origin, number))),
            Letter::Ended(connection) => Some(Errand::Ended(origin, connection)),
            Letter::Result(number, outcome) => {
                let late = self.0.asking.done(number, origin, outcome);
                late.then_some(Errand::TellToUndo((origin, number)))
            }
        });
    }
}

/// Whether a question is for this node. Otherwise whoever asks asks again, and then one node has the
/// connection. Of one that may move somewhere, the front end alone knows when it is decided.
const fn is_taken(question: &Question, phase: Phase) -> bool {
    match phase {
        Phase::Here => true,
        Phase::Frozen => matches!(question, Question::Relay { .. }),
        Phase::Arriving | Phase::Left => false,
    }
}

fn is_invocation(envelope: &Envelope) -> bool {
    envelope.body.first() == Some(&body::INVOCATION)
}

impl Local {
    /// Reads a hub message and hands it to `deliver`.
    fn invocation(&self, envelope: &Envelope, deliver: impl FnOnce(&mut Message<'_>)) {
        let Some(origin) = envelope.origin.filter(|_| !envelope.body.is_empty()) else {
            return self.counters.malformed.add(1);
        };
        if !is_invocation(envelope) {
            return self.counters.unknown.add(1);
        }
        let mut message = Message::new(&envelope.except);
        let rest = envelope.body.slice(1..);
        match body::decode(rest, &self.protocols, origin != self.node, &mut message) {
            Ok(Head { number, several }) => {
                message.mark = Mark::of(origin, number);
                message.once = several.then(|| self.once.name(origin.as_bytes(), number));
                deliver(&mut message);
            }
            Err(Malformed) => self.counters.malformed.add(1),
        }
    }

    /// Reads a letter of another node's hub and brings to the desk what `errand` makes of it.
    fn letter(&self, envelope: &Envelope, errand: impl FnOnce(Letter, NodeId) -> Option<Errand>) {
        let Some(origin) = envelope.origin else { return self.counters.malformed.add(1) };
        match Letter::decode(envelope.body.clone()) {
            Ok(letter) => {
                if let Some(errand) = errand(letter, origin) {
                    self.desk.bring(errand, &self.counters);
                }
            }
            Err(Unreadable::Malformed) => self.counters.malformed.add(1),
            Err(Unreadable::UnknownKind) => self.counters.unknown.add(1),
        }
    }
}
