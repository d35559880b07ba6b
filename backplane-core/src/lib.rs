//! The contract of a pluggable backplane, and the pipeline that every transport shares.
//!
//! A server process knows only its own connections. A backplane connects the processes: each
//! *node* publishes *envelopes* on *topics*, and each gets those it is interested in.
//!
//! ```
//! use backplane_core::{Backplane, Envelope, Event, Next, Topic, stream};
//! use futures_util::StreamExt;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! // Two nodes in one process; any other transport looks the same from here on.
//! let medium = backplane_memory::Medium::new();
//! let (kitchen, counter) = (medium.node(), medium.node());
//!
//! let topic = Topic::group("orders", "kitchen");
//! let mut events = stream(&kitchen, &[topic.clone()], 16)?;
//! events.subscription().confirmed().await?;
//! # counter.link().wait_for(|link| link.is_up()).await?;
//!
//! counter.publish(Envelope::new(topic, "one tea")).await?;
//! match events.next().await {
//!     Some(Next::Event(Event::Message(envelope))) => assert_eq!(envelope.body, "one tea"),
//!     other => panic!("{other:?}"),
//! }
//! # Ok(())
//! # }
//! ```
//!
//! # Where to look
//!
//! * To use a backplane: [`Backplane`], [`Envelope`], [`Topic`], [`Sink`] or [`stream()`], and what
//!   can go wrong: [`PublishError`], [`Link`], [`Event::Interrupted`].
//! * To choose a transport: [`Semantics`].
//! * To write a transport: [`wire`]. [`Node`] turns any [`Wire`](wire::Wire) into a [`Backplane`].
//! * To test what a bad network does to an application, or to a transport: [`chaos`].
//!
//! # An envelope's way
//!
//! ```text
//! try_publish ─ size, room ─ local sinks ─ number, retain ─ queue ─ batch ─ Session::write ─▶ broker
//! broker ─▶ Inbound::frame ─ header ─ own echo? ─ interest? ─ numbers ─ sinks
//! ```
//!
//! One supervisor task per node owns the connection: it connects, subscribes all that is desired,
//! proves with a probe of its own that the link delivers, declares it [`Link::Up`], and starts over
//! whenever it fails. While it is down, local sinks are served, and what is for others is buffered,
//! waits or is refused, as [`Outage`] says.

mod backplane;
mod broker_url;
pub mod chaos;
mod codec;
mod envelope;
mod error;
mod event;
mod interest;
mod link;
mod membership;
mod node;
mod node_id;
mod offset;
mod random;
mod semantics;
mod sequenced;
mod stats;
mod stream;
mod ticket;
mod topic;
pub mod wire;

pub use bytesize::ByteSize;

pub use backplane::{Backplane, Flushed};
pub use broker_url::{BrokerUrl, Server};
pub use envelope::Envelope;
pub use error::{CloseError, ConnectError, PublishError, SubscribeError};
pub use event::{Event, Gap, Sink};
pub use interest::Subscription;
pub use link::{BoxError, Link, LinkError};
pub use membership::{Member, Members};
pub use node::{Node, NodeOptions, Outage, Retention, Sequencing, WhenFull};
pub use node_id::NodeId;
pub use offset::{Offset, OffsetError, Position};
pub use semantics::{
    Delivery, Durability, Filter, Order, PublisherOutage, Replay, Semantics, SubscriberOutage,
};
pub use stats::{Stats, Traffic};
pub use stream::{Events, Next, stream};
pub use ticket::{Receipt, Ticket};
pub use topic::{LONGEST_HUB, LONGEST_NAME, Route, RouteKind, Topic};
