//! What a transport author writes.
//!
//! A [`Wire`] connects; a [`Session`] is one connection. Everything else (queues, order, interest,
//! reconnection, probes, local delivery) is [`Node`](crate::Node)'s.

use std::{fmt::Debug, sync::Arc, time::Instant};

use async_trait::async_trait;
use bytes::Bytes;

use crate::{LinkError, Offset, Position, Semantics, Topic};
pub use crate::{
    codec::Frame,
    node::{Batch, Inbound},
};

/// A messaging system, as a recipe for connections to it.
#[async_trait]
pub trait Wire: Debug + Send + Sync + 'static {
    /// One connection.
    type Session: Session;

    /// What the messaging system promises.
    fn semantics(&self) -> Semantics;

    /// Makes one connection, on which nothing is subscribed yet.
    ///
    /// What arrives is handed to `inbound` as it comes, from any task the wire likes, in the
    /// order of arrival. Must be cancel-safe: it is dropped when it takes too long.
    ///
    /// # Errors
    ///
    /// Why there is no connection; the node reports it and tries again.
    async fn connect(&self, inbound: Inbound) -> Result<Self::Session, LinkError>;

    /// The part of the log in which this topic's envelopes stand.
    fn part_of(&self, topic: &Topic) -> u32 {
        let _ = topic;
        0
    }

    /// Reads a topic's part of the log, on a connection of its own, from this position on: from the
    /// entry itself, where it is [`Position::After`] one, as that may hold several envelopes. Returns
    /// with the reader where it stands, which is never [`Position::Now`].
    ///
    /// Provided for a medium that keeps no log ([`Replay::None`](crate::Replay::None)): it is never
    /// called there. Must be cancel-safe.
    ///
    /// # Errors
    ///
    /// Why there is no connection; the node tries again.
    async fn read(
        &self,
        topic: &Topic,
        from: Position,
    ) -> Result<(Position, Box<dyn Reader>), LinkError> {
        let _ = from;
        Err(LinkError::Lost { reason: format!("there is no log to read {topic} from") })
    }
}

/// Reads one part of a log. Dropping it ends its connection.
#[async_trait]
pub trait Reader: Debug + Send {
    /// Waits for what comes next, in the order of the log; entries of other topics of that part may be
    /// among it. Must be cancel-safe.
    ///
    /// # Errors
    ///
    /// The connection is lost.
    async fn next(&mut self) -> Result<Vec<Entry>, LinkError>;
}

/// What a [`Reader`] finds.
#[derive(Debug, Clone)]
pub enum Entry {
    /// What was written there: the bytes of a [`Frame`], or whatever else turned up.
    Frame {
        /// The bytes.
        bytes: Bytes,
        /// Where they stand.
        offset: Offset,
    },
    /// What should have come before the next entry is not in the log any more.
    Trimmed,
}

/// One connection to a messaging system. Dropping it must end it, with its tasks.
///
/// The node calls `write` with up to two batches at once, in order, and `subscribe` or
/// `unsubscribe` with one batch at a time beside them.
#[async_trait]
pub trait Session: Debug + Send + Sync + 'static {
    /// Writes a batch and waits until the broker has answered as far as
    /// [`Semantics::receipt`] promises.
    ///
    /// The first poll must claim the batch's place in the order of writing: batches are
    /// polled in their order.
    ///
    /// # Errors
    ///
    /// The connection is lost. What the broker refused without that is in [`Refused`], by its
    /// index in [`Batch::envelopes`].
    async fn write(&self, batch: &Batch) -> Result<Vec<Refused<usize>>, LinkError>;

    /// Asks for these topics and returns when the broker routes each of them, or refuses it.
    ///
    /// Provided for a medium that gives every connection everything
    /// ([`Filter::Node`](crate::Filter::Node)): there is nothing to ask for.
    ///
    /// # Errors
    ///
    /// The connection is lost.
    async fn subscribe(&self, topics: &[Topic]) -> Result<Vec<Refused<Topic>>, LinkError> {
        let _ = topics;
        Ok(Vec::new())
    }

    /// Gives these topics up. Provided as [`subscribe`](Self::subscribe) is.
    ///
    /// # Errors
    ///
    /// The connection is lost.
    async fn unsubscribe(&self, topics: &[Topic]) -> Result<(), LinkError> {
        let _ = topics;
        Ok(())
    }

    /// Returns once what the medium's log held when this connection was made, of the topics that were
    /// subscribed before, has been handed over.
    ///
    /// Provided for a medium that keeps no log
    /// ([`SubscriberOutage::CatchesUp`](crate::SubscriberOutage::CatchesUp)). Must be cancel-safe.
    ///
    /// # Errors
    ///
    /// The connection is lost.
    async fn caught_up(&self) -> Result<(), LinkError> {
        Ok(())
    }

    /// The last instant at which everything was proven to deliver, where the node's own probe proves only a
    /// part: a connection to several servers knows that best. Provided: none, which leaves it to the probe.
    fn proven(&self) -> Option<Instant> {
        None
    }

    /// Ends the connection in an orderly way, after everything written has been sent.
    async fn close(&self) {}
}

/// What the broker refused, and why.
#[derive(Debug, Clone)]
pub struct Refused<T> {
    /// The topic, or the envelope's index.
    pub what: T,
    /// What the broker said.
    pub reason: Arc<str>,
}
