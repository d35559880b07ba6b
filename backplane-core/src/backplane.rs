use std::{fmt::Debug, sync::Arc, time::Duration};

use async_trait::async_trait;
use tokio::sync::watch;

use crate::{
    CloseError, Envelope, Link, Members, NodeId, Position, PublishError, Receipt, Semantics, Sink,
    Stats, SubscribeError, Subscription, Ticket, Topic,
};

/// One node's connection to all the others.
///
/// Dyn-safe: an application holds an `Arc<dyn Backplane>` and carries no generic. The transports
/// of this project implement it through [`Node`](crate::Node); a layer implements it by wrapping
/// another.
#[async_trait]
pub trait Backplane: Debug + Send + Sync + 'static {
    /// Which node this is.
    fn node(&self) -> NodeId;

    /// What the transport promises.
    fn semantics(&self) -> Semantics;

    /// Publishes without waiting: this node's own sinks have the envelope when it returns, the
    /// ticket tells what became of it beyond.
    ///
    /// Envelopes that one task publishes on one topic arrive everywhere in that order.
    ///
    /// # Errors
    ///
    /// An `Err` means that nothing happened anywhere: [`PublishError::TooLarge`],
    /// [`PublishError::NameTooLong`], [`PublishError::TooManyExceptions`], [`PublishError::Full`]
    /// (with the envelope), [`PublishError::Closed`], [`PublishError::InsideSink`]. A link that is
    /// down is not among them: local sinks are served, and the ticket says
    /// [`PublishError::LinkDown`].
    fn try_publish(&self, envelope: Envelope) -> Result<Ticket, PublishError>;

    /// Waits until the outgoing queue has room for this envelope.
    ///
    /// Room is not reserved: another publisher may take it, so try again in a loop, as
    /// [`publish`](Self::publish) does. Cancel-safe.
    ///
    /// # Errors
    ///
    /// [`PublishError::Closed`].
    async fn room(&self, envelope: &Envelope) -> Result<(), PublishError>;

    /// Publishes, waiting for room first and then for the receipt.
    ///
    /// Cancelling it before it completes leaves open whether the envelope was published.
    ///
    /// # Errors
    ///
    /// Those of [`try_publish`](Self::try_publish) except `Full`, and those of its ticket.
    async fn publish(&self, envelope: Envelope) -> Result<Receipt, PublishError> {
        let mut envelope = envelope;
        loop {
            match self.try_publish(envelope) {
                Ok(ticket) => return ticket.await,
                Err(PublishError::Full(returned)) => {
                    self.room(&returned).await?;
                    envelope = *returned;
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Registers each sink for its topic and returns at once, so that a node works while its
    /// broker is away.
    ///
    /// Envelopes of this node reach the sink from now on; those of others from
    /// [`Subscription::confirmed`] on. Dropping the subscription ends it.
    ///
    /// # Errors
    ///
    /// [`SubscribeError::NameTooLong`] and [`SubscribeError::Closed`]; nothing is registered then.
    fn subscribe(
        &self,
        interest: &[(Topic, Arc<dyn Sink>)],
    ) -> Result<Subscription, SubscribeError>;

    /// Reads a topic from a position of the transport's log on, on a connection of its own: everything
    /// that stands there, in the order of the log, what this node published included, each with its
    /// [`offset`](Envelope::offset). It is confirmed once the position is found.
    ///
    /// To go on after a restart, keep the offset of the last envelope that was dealt with, and read from
    /// [`Position::After`] it; an offset is of use for its own topic only. What the log does not hold any
    /// more is told as a [`Gap`](crate::Gap). How far back it reaches, [`Semantics::replay`] says.
    ///
    /// # Errors
    ///
    /// [`SubscribeError::NoReplay`] where the transport keeps no log, which is what the provided method
    /// says; [`SubscribeError::WrongOffset`], [`SubscribeError::NameTooLong`] and
    /// [`SubscribeError::Closed`].
    fn subscribe_from(
        &self,
        topic: &Topic,
        sink: Arc<dyn Sink>,
        from: Position,
    ) -> Result<Subscription, SubscribeError> {
        let _ = (sink, from);
        Err(SubscribeError::NoReplay { topic: topic.clone() })
    }

    /// The state of the connection to the broker, now and at every change.
    fn link(&self) -> watch::Receiver<Link>;

    /// The other nodes that are alive, now and at every change. A node that takes its leave is gone at
    /// once, one that falls silent after [`NodeOptions::dead_after`](crate::NodeOptions::dead_after).
    fn members(&self) -> watch::Receiver<Members>;

    /// What the node has counted so far. Cheap.
    fn stats(&self) -> Stats;

    /// Takes no more envelopes, sends what is queued, and disconnects, within `deadline`.
    ///
    /// # Errors
    ///
    /// [`CloseError::AlreadyClosed`], and [`CloseError::DeadlinePassed`] with how much could not be
    /// sent; the node is closed all the same.
    async fn close(&self, deadline: Duration) -> Result<Flushed, CloseError>;
}

/// What closing a node came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Flushed {
    /// Envelopes that were still queued or unconfirmed when `close` was called and are confirmed now.
    pub sent: u64,
}
