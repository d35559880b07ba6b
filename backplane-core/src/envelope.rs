use std::sync::Arc;

use bytes::Bytes;

use crate::{NodeId, Offset, Topic};

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
    /// Where it stands in the transport's log; none where the transport keeps none, and where this node
    /// published it itself. Set on arrival.
    pub offset: Option<Offset>,
    pub(crate) kind: Kind,
    /// Its place among what its origin published; none where nothing is numbered.
    pub(crate) sequence: Option<Sequence>,
    /// Where it goes instead of to its topic: what is sent again goes to the node that asked.
    pub(crate) via: Option<Topic>,
    /// Whether it is worthless later.
    pub(crate) transient: bool,
}

/// What an envelope is for; the number is its code on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Kind {
    /// For the sinks of its topic.
    Message = 0,
    /// A node's question to itself whether its link delivers; the body is the probe's number.
    Probe = 1,
    /// From node to node; see [`Control`](crate::codec::Control).
    Control = 2,
    /// A message that is sent again, to one node.
    Resent = 3,
}

/// An envelope's place among what its origin published.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Sequence {
    /// Which count of the topic: the position at which it began.
    pub(crate) epoch: u64,
    /// Its number on the topic, from 1 within the epoch.
    pub(crate) number: u64,
    /// Its number among all that the origin published on any topic, from 1.
    pub(crate) position: u64,
    /// The position of the one before it on the topic; 0 for the first of an epoch.
    pub(crate) predecessor: u64,
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
            offset: None,
            kind: Kind::Message,
            sequence: None,
            via: None,
            transient: false,
        }
    }

    /// The same, but worthless later: never numbered, retained or buffered. For requests, which whoever
    /// asks repeats.
    #[must_use]
    pub const fn transient(mut self) -> Self {
        self.transient = true;
        self
    }

    /// The topic that a transport sends it to: its own, but for what is sent again to one node.
    #[must_use]
    pub const fn destination(&self) -> &Topic {
        match &self.via {
            Some(topic) => topic,
            None => &self.topic,
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
