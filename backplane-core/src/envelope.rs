use std::sync::Arc;

use bytes::Bytes;

use crate::{NodeId, Topic};

/// One routed message.
///
/// The body is opaque to the backplane and never copied per receiver: clones share it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Envelope {
    /// Where it goes.
    pub topic: Topic,
    /// Which node published it. Set by [`Backplane::try_publish`](crate::Backplane::try_publish);
    /// `None` before that.
    pub origin: Option<NodeId>,
    /// Connections that are not to get it.
    pub except: Vec<Box<str>>,
    /// The W3C `traceparent` of the work that sent it.
    pub trace: Option<Arc<str>>,
    /// What the subscriber gets, untouched.
    pub body: Bytes,
    pub(crate) kind: Kind,
}

/// What an envelope is for; the number is its code on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Kind {
    /// For the sinks of its topic.
    Message = 0,
    /// A node's question to itself whether its link delivers; the body is the probe's number.
    Probe = 1,
}

impl Envelope {
    /// A message for everyone who is interested in `topic`.
    #[must_use]
    pub fn new(topic: Topic, body: impl Into<Bytes>) -> Self {
        Self {
            topic,
            origin: None,
            except: Vec::new(),
            trace: None,
            body: body.into(),
            kind: Kind::Message,
        }
    }

    /// The same, but not for these connections.
    #[must_use]
    pub fn except<S: Into<Box<str>>>(mut self, connections: impl IntoIterator<Item = S>) -> Self {
        self.except.extend(connections.into_iter().map(Into::into));
        self
    }

    /// The same, sent on behalf of this W3C `traceparent`.
    #[must_use]
    pub fn trace(mut self, traceparent: Option<Arc<str>>) -> Self {
        self.trace = traceparent;
        self
    }

    /// What it costs of a queue's byte bound: the body, the names, and a flat charge for the rest.
    pub(crate) fn cost(&self) -> usize {
        const FLAT: usize = 256;
        let except: usize = self.except.iter().map(|id| id.len() + 16).sum();
        FLAT + self.body.len() + except
    }
}
