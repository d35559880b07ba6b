//! A wire that loses, doubles, reorders and delays: for tests, of this project and of applications.
//!
//! [`Chaos`] wraps any [`Wire`] and is one itself, so that a node over it is an ordinary
//! [`Node`](crate::Node). What it does follows from a seed. Its clock is Tokio's: under `start_paused` a
//! minute of delays takes a millisecond.
//!
//! ```
//! use backplane_core::{
//!     Backplane, Envelope, Event, Next, Node, NodeOptions, Topic,
//!     chaos::{Chaos, ChaosError, ChaosHandle, ChaosOptions},
//!     stream,
//! };
//! use futures_util::StreamExt;
//!
//! // In a test of your own: #[tokio::test(start_paused = true)]
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # tokio::time::pause();
//! let medium = backplane_memory::Medium::new();
//! let switch = ChaosHandle::new();
//! let node = |seed| {
//!     let chaos = Chaos::new(medium.wire(), ChaosOptions::one_in_ten(seed))?;
//!     Ok::<_, ChaosError>(Node::start(chaos.switched_by(&switch), NodeOptions::default()))
//! };
//! let (kitchen, counter) = (node(1)?, node(2)?);
//!
//! let topic = Topic::group("orders", "kitchen");
//! let mut events = stream(&kitchen, &[topic.clone()], 1024)?;
//! events.subscription().confirmed().await?;
//! counter.members().wait_for(|members| members.contains(kitchen.node())).await?;
//! for order in 0..200 {
//!     counter.publish(Envelope::new(topic.clone(), order.to_string())).await?;
//! }
//!
//! // Some were dropped on the way, some came twice or late, and the nodes made up for it.
//! for order in 0..200 {
//!     match events.next().await {
//!         Some(Next::Event(Event::Message(it))) => assert_eq!(it.body, order.to_string()),
//!         other => panic!("{other:?}"),
//!     }
//! }
//! assert!(switch.counts().dropped > 0 && kitchen.stats().repaired > 0);
//! # Ok(())
//! # }
//! ```
//!
//! # What it meets
//!
//! Every frame that arrives on a connection, whatever is in it: envelopes, and what nodes say to each
//! other (heartbeats, watermarks, requests to send again, and their answers). Each receiving node has
//! a fate of its own. What a node writes leaves it unharmed: wrap the others' wires as well.
//!
//! The same seed and the same frames give the same decisions. Each further connection of a wire goes
//! on with decisions of its own.
//!
//! # What it spares
//!
//! * The node's own probes, unless [`ChaosOptions::probes`] says otherwise: without them a node takes
//!   its link for mute and reconnects, which is another test.
//! * Connecting, subscribing and writing. To stop a medium, and to cut links, see the kit.
//! * Nothing is held for ever, beyond [`ChaosOptions::held_frames`], or without being counted. A delay
//!   longer than [`probe_deadline`](crate::NodeOptions::probe_deadline) is what no probe would survive: the
//!   layers do not expect it of a link that counts as up.
//!
//! # What is left of the wire's promises
//!
//! [`Wire::semantics`] says so: [`Delivery::BestEffort`] and [`Order::None`], as far as the options
//! bring that about. Over such a wire nodes number and repair by default
//! ([`Sequencing`](crate::Sequencing)), and everything still arrives once and in order. All nodes have to: one on
//! the bare wire of a medium that loses nothing does not number what it publishes.
//!
//! The layers are made for links that lose when they fail, and say so. Against chaos, which does not
//! say so, they are left with these limits; a test minds them, or loses in silence:
//!
//! * **The last of a topic.** That it is missing, its watermarks tell, and there are two of them. Where
//!   all three are dropped nobody is told, until the next envelope on that topic. A test that ends by
//!   comparing [stops](ChaosHandle::stop) the chaos first, and publishes once more on each topic.
//! * **The first of a node.** What others publish before they have heard of a node is none of its
//!   business, even if it is subscribed by then. A test begins when each node's
//!   [`members()`](crate::Backplane::members) has all others.
//! * **Patience.** A hole that no answer closes for
//!   [`repair_deadline`](crate::NodeOptions::repair_deadline) becomes a [`Gap`](crate::Gap), and a node whose
//!   heartbeats get lost for [`dead_after`](crate::NodeOptions::dead_after) counts as dead. Both are told, and
//!   both happen where a fifth of everything is dropped: raise them.

mod connection;
mod handle;
mod options;
mod storm;
#[cfg(test)]
mod tests;

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};

use async_trait::async_trait;

use self::{connection::Running, handle::Control};
use crate::{
    Delivery, LinkError, Order, Position, Semantics, SubscriberOutage, Topic,
    random::Random,
    wire::{Batch, Inbound, Reader, Refused, Session, Wire},
};

pub use handle::{ChaosCounts, ChaosHandle};
pub use options::{ChaosError, ChaosOptions};

/// A [`Wire`] that does to what arrives what [`ChaosOptions`] say. See the [module](self).
#[derive(Debug)]
pub struct Chaos<W> {
    wire: W,
    options: ChaosOptions,
    handle: ChaosHandle,
    connections: AtomicU64,
}

impl<W: Wire> Chaos<W> {
    /// Wraps `wire`. It is on from the start.
    ///
    /// # Errors
    ///
    /// [`ChaosError`]: the options contradict themselves.
    pub fn new(wire: W, options: ChaosOptions) -> Result<Self, ChaosError> {
        options.check()?;
        let (handle, connections) = (ChaosHandle::new(), AtomicU64::new(0));
        Ok(Self { wire, options, handle, connections })
    }

    /// The same, switched and counted by this handle, which others may share.
    #[must_use]
    pub fn switched_by(mut self, handle: &ChaosHandle) -> Self {
        self.handle = handle.clone();
        self
    }

    /// Switches it, and says what it has done; to be taken before a node gets the wire.
    #[must_use]
    pub fn handle(&self) -> ChaosHandle {
        self.handle.clone()
    }
}

#[async_trait]
impl<W: Wire> Wire for Chaos<W> {
    type Session = ChaosSession<W::Session>;

    fn semantics(&self) -> Semantics {
        let mut semantics = self.wire.semantics();
        if self.options.changes_number() {
            semantics.delivery = Delivery::BestEffort;
            // What is dropped on the way from a log is not read again.
            if semantics.keeps_log() {
                semantics.subscriber_outage = SubscriberOutage::LostAndReported;
            }
        }
        if self.options.changes_order() {
            semantics.order = Order::None;
        }
        semantics
    }

    async fn connect(&self, inbound: Inbound) -> Result<Self::Session, LinkError> {
        let connection = self.connections.fetch_add(1, Ordering::Relaxed);
        // The first number of each connection's own sequence: neighbouring seeds have nothing in common.
        let mut seeds = Random::new(self.options.seed);
        let seed = seeds.next() ^ Random::new(connection).next();
        let control: Arc<Control> = self.handle.control();
        let running = Running::start(inbound, self.options.clone(), Random::new(seed), control);
        let session = self.wire.connect(running.inbound()).await?;
        Ok(ChaosSession { session, _running: running })
    }

    fn part_of(&self, topic: &Topic) -> u32 {
        self.wire.part_of(topic)
    }

    /// Without chaos: what is read from a position comes as it stands there.
    async fn read(
        &self,
        topic: &Topic,
        from: Position,
    ) -> Result<(Position, Box<dyn Reader>), LinkError> {
        self.wire.read(topic, from).await
    }
}

/// One connection of a [`Chaos`]. Dropping it drops what is held.
#[derive(Debug)]
pub struct ChaosSession<S> {
    session: S,
    _running: Running,
}

#[async_trait]
impl<S: Session> Session for ChaosSession<S> {
    async fn write(&self, batch: &Batch) -> Result<Vec<Refused<usize>>, LinkError> {
        self.session.write(batch).await
    }

    async fn subscribe(&self, topics: &[Topic]) -> Result<Vec<Refused<Topic>>, LinkError> {
        self.session.subscribe(topics).await
    }

    async fn unsubscribe(&self, topics: &[Topic]) -> Result<(), LinkError> {
        self.session.unsubscribe(topics).await
    }

    async fn caught_up(&self) -> Result<(), LinkError> {
        self.session.caught_up().await
    }

    fn proven(&self) -> Option<Instant> {
        self.session.proven()
    }

    async fn close(&self) {
        self.session.close().await;
    }
}
