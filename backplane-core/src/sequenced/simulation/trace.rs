//! What happens between two nodes on one topic, to be read by somebody who looks for a bug.

use super::node::Node;
use crate::{
    Envelope, NodeId,
    codec::Control,
    envelope::{Kind, Sequence},
    sequenced::{Moment, Told},
};

/// One stream, at one receiver.
#[derive(Debug, Clone)]
pub(super) struct Pair {
    pub(super) receiver: NodeId,
    pub(super) origin: NodeId,
    pub(super) topic: String,
}

impl Pair {
    fn role(&self, node: NodeId) -> Option<&'static str> {
        if node == self.receiver {
            Some("receiver")
        } else if node == self.origin {
            Some("origin  ")
        } else {
            None
        }
    }

    /// Something happens to a node.
    pub(super) fn note(&self, node: &Node, now: Moment, what: &str) {
        if let Some(role) = self.role(node.id) {
            println!("{:>9.3} {role} {what}", now.as_secs_f64());
        }
    }

    /// Something happens to a node on a topic.
    pub(super) fn note_on(&self, node: &Node, topic: &str, now: Moment, what: &str) {
        if topic == self.topic {
            self.note(node, now, what);
        }
    }

    /// An envelope arrives, or goes out.
    pub(super) fn envelope(&self, node: &Node, envelope: &Envelope, now: Moment, way: &str) {
        let Some(from) = envelope.origin.and_then(|it| self.role(it)) else { return };
        let topic = &self.topic;
        let what = match envelope.kind {
            Kind::Probe => return,
            Kind::Message | Kind::Resent => {
                let Some(Sequence { epoch, number, position, predecessor }) = envelope.sequence
                else {
                    return;
                };
                if envelope.topic.name() != topic {
                    return;
                }
                let kind = envelope.kind;
                format!("{kind:?} {epoch}/{number} at {position} after {predecessor}")
            }
            Kind::Control => {
                let Ok(control) = Control::decode(&envelope.body) else { return };
                let other = match &control {
                    Control::Watermark(_) => envelope.topic.name() != topic,
                    Control::Ask { topic: other, .. } => other.name() != topic,
                    Control::Answer(answer) => answer.topic.name() != topic,
                    _ => false,
                };
                if other {
                    return;
                }
                match control {
                    Control::Listing(mut page) => {
                        page.topics.retain(|it| it.topic.name() == topic);
                        format!("{page:?}")
                    }
                    control => format!("{control:?}"),
                }
            }
        };
        self.note(node, now, &format!("{way} of {from} {what}"));
    }

    /// What the receiver's sinks were told on the topic, from this one on.
    pub(super) fn told(&self, node: &Node, from: usize) {
        if node.id != self.receiver {
            return;
        }
        for heard in node.own.heard.borrow().iter().skip(from).filter(|it| it.topic == self.topic) {
            let told = match &heard.told {
                Told::Message(envelope, _) if envelope.origin != Some(self.origin) => continue,
                Told::Message(envelope, _) => format!("takes {:?}", envelope.sequence),
                told => format!("{told:?}"),
            };
            self.note(node, heard.at, &format!("    sink {told}"));
        }
    }
}
