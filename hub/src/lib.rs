//! A hub whose groups, users and connections span processes.
//!
//! Methods are plain async functions. Clients call them; they, and any other part of the application,
//! call clients: one, a user's, a group's, or all, whichever process those are connected to.
//!
//! ```
//! use backplane_hub::{Caller, Hub, HubError, Policy, State, connect};
//! use serde::{Deserialize, Serialize};
//!
//! #[derive(Default)]
//! struct Kitchen { /* … */ }
//!
//! #[derive(Deserialize, Serialize)]
//! struct Order { item: String, quantity: u32 }
//!
//! async fn place_order(
//!     caller: Caller,
//!     State(_kitchen): State<Kitchen>,
//!     order: Order,
//! ) -> Result<String, HubError> {
//!     if order.quantity == 0 {
//!         return Err(HubError::client("nothing to order")); // clients see this text
//!     }
//!     caller.groups().add(caller.id(), "waiting").await?; // others stay private
//!     caller.clients().group("kitchen").send("Ordered", &order).await?;
//!     Ok("order 1".to_owned())
//! }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let backplane = connect("memory:").await?; // or redis://host, nats://host
//! let orders = Hub::builder("orders")
//!     .backplane(backplane)
//!     .state(Kitchen::default())
//!     .authorize(Policy::authenticated())
//!     .method("PlaceOrder", place_order)
//!     .method_with("Close", || async {}, Policy::claim("role", "cook"))
//!     .build()?;
//! # #[derive(Debug)] struct Speech;
//! # impl backplane_hub::Protocol for Speech {
//! #     fn name(&self) -> &'static str { "speech" }
//! #     fn invocation(&self, _: Option<&str>, target: &str, _: &[&dyn erased_serde::Serialize],
//! #         _: Option<&str>) -> Result<bytes::Bytes, backplane_hub::EncodeError> { Ok(target.to_owned().into()) }
//! #     fn argument(&self, _: &[u8], _: &mut dyn FnMut(&mut dyn erased_serde::Deserializer<'_>)
//! #         -> Result<(), erased_serde::Error>) -> Result<(), erased_serde::Error> { Ok(()) }
//! # }
//! # orders.speak(std::sync::Arc::new(Speech));
//!
//! // From anywhere in the process, to clients of any process:
//! orders.clients().user("ann").send("OrderStatusChanged", ("order 1", "Shipped")).await?;
//! # async fn ask(orders: Hub, id: &str) -> Result<(), HubError> {
//! let minutes: u32 = orders.clients().connection(id).invoke("ConfirmEta", ("order 1",)).await?;
//! # let _ = minutes; Ok(())
//! # }
//! # Ok(())
//! # }
//! ```
//!
//! A front end connects clients: `backplane_signalr::router(&orders, …)` is an axum router for every
//! SignalR client. The hub itself knows neither HTTP nor a wire format.
//!
//! # Streams
//!
//! A method that returns a stream is added with [`HubBuilder::stream`]. Its items are pulled only while
//! its client has room for them. A parameter of the type [`Upload`] is a stream that the client sends
//! with the call, to either kind of method.
//!
//! ```
//! use std::time::Duration;
//!
//! use backplane_hub::{HubError, Upload};
//! use futures_util::{Stream, StreamExt, TryStreamExt, stream};
//! # use backplane_hub::HubBuilder;
//!
//! /// Streams ever greater numbers, for as long as somebody wants them.
//! async fn count(from: u64, pause_ms: u64) -> Result<impl Stream<Item = u64>, HubError> {
//!     if pause_ms == 0 {
//!         return Err(HubError::client("not so fast"));
//!     }
//!     let pause = Duration::from_millis(pause_ms);
//!     Ok(stream::iter(from..).then(move |number| async move {
//!         tokio::time::sleep(pause).await;
//!         number
//!     }))
//! }
//!
//! /// Adds up what the client streams.
//! async fn sum(numbers: Upload<u64>) -> Result<u64, HubError> {
//!     numbers.try_fold(0, async |sum, number| Ok(sum + number)).await
//! }
//! # fn described(hub: HubBuilder) -> HubBuilder {
//! hub.stream("Count", count).method("Sum", sum)
//! # }
//! ```
//!
//! # Where to look
//!
//! * To write methods: [`Hub::builder`], [`Caller`], [`State`], [`HubError`], [`Handler`]; with streams:
//!   [`HubBuilder::stream`], [`Upload`], [`Aborted`].
//! * To put something around them: [`Filter`].
//! * To reach clients: [`Hub::clients`], [`Target::send`], [`Groups`]; what can go wrong: [`SendError`],
//!   [`Sent::Queued`], [`Joined::HereOnly`], [`GroupError`].
//! * To know who is there: [`HubBuilder::presence`], [`Hub::presence`], [`Presence`].
//! * To ask a client for a result: [`Client::invoke`], [`InvokeError`].
//! * To hear of losses: [`HubBuilder::on_gap`], [`HubBuilder::on_link`], [`HubBuilder::notify_clients`],
//!   [`Hub::health`].
//! * To write a front end: [`Hub::open`], [`Connection`], [`Call`], [`upload`], [`Outbound`],
//!   [`Replies`], [`Protocol`]; for clients whose requests land on any node: [`Hub::announce`],
//!   [`Hub::claim`], [`Hub::relay`], [`Relay`]; for connections that move to another node:
//!   [`Hub::adopt`], [`Connection::freeze`], [`Hub::drain`].
//!
//! # A message's way
//!
//! ```text
//! send ─ encode, once per protocol ─ one envelope per topic ─▶ backplane
//! backplane ─▶ the topic's sink ─ except? ─ each member's bounded queue ─▶ front end
//! ```
//!
//! Every connection, every user and every group with a member on this node is a topic that the node
//! subscribes; no other node's traffic costs it anything. A connection of this node that is
//! addressed by its id is served without the backplane.
//!
//! # Promises
//!
//! * A join that returns [`Joined::Everywhere`] is effective: what any node sends from then on arrives.
//!   So is an opened connection, while the link is up.
//! * With the link to the broker down, this node's connections go on with each other, and each send
//!   and join says how far it got: for the others a message waits, or is refused, as the backplane's
//!   options say. What nodes ask each other never waits.
//! * With [presence](HubBuilder::presence) on, all nodes know who is there within two heartbeats, whatever gets lost
//!   on the way; the connections of a node that dies are gone as soon as it counts as dead.
//! * What the backplane loses is not lost in silence; see below.
//! * A client that does not keep up costs itself only: its queue is bounded, and it is closed or
//!   loses messages, as [`HubOptions`] say. [`Hub::stats`] counts every message that is dropped.
//! * Messages of one task to one target arrive in their order. Between targets there is none, nor
//!   between what is sent to a client and what it is asked.
//! * A connection that moves to another node, where its front end can do that, gets every message once. Its
//!   [portable](HubBuilder::portable) items move along.
//! * A client that is asked for a result is called once, and the call fails as soon as its connection
//!   or its node is gone. There is no other deadline.
//!
//! # When the backplane loses something
//!
//! A broker that only passes messages on forgets what nobody was connected to hear. By default the
//! backplane repairs that: nodes number what they send, keep it for a while, and send again what
//! others miss. What cannot be repaired is told:
//!
//! | what has happened | the application | the clients, if asked for |
//! |---|---|---|
//! | messages are known to be lost | [`on_gap`](HubBuilder::on_gap): which topic, of whom, how many | the members of that topic |
//! | the link is in doubt, and back | [`on_link`](HubBuilder::on_link): `Interrupted`, `Restored` | everyone, once it is back, where nobody knows what was missed |
//! | a node has fallen silent, with what it had not sent | [`on_link`](HubBuilder::on_link): `OriginLost` | everyone |
//! | a send while the link is down | [`Sent::Queued`], or [`SendError::HereOnly`] | |
//!
//! Clients then read their state anew, which is all that anybody can do about a message that is gone:
//!
//! ```
//! # use backplane_hub::{ClientNotices, Hub, HubBuilder, LinkEvent, Missed};
//! # fn described(hub: HubBuilder) -> HubBuilder {
//! hub.on_gap(|missed: Missed| eprintln!("{:?} of {} are lost", missed.count, missed.topic))
//!     .on_link(async |event: LinkEvent| eprintln!("{}: {:?}", event.hub.name(), event.change))
//!     .notify_clients(ClientNotices::new("Backplane.Missed"))
//! # }
//! ```
//!
//! [`Hub::health`] tells whether the node is ready, or degraded and serves its own connections only.
//! [`Backplane::stats`] counts what was repaired, doubled, lost, buffered and dropped;
//! [`Hub::stats`] what became of it on this node.
//!
//! # Features
//!
//! `memory` (on by default), `redis`, `redis-tls`, `nats`: the transports that [`connect`] can choose.

mod builder;
mod caller;
mod clients;
mod connect;
mod error;
mod front;
mod groups;
mod health;
mod hub;
mod loss;
mod members;
mod method;
mod options;
mod policy;
mod presence;
mod protocol;
mod routing;
mod stats;
mod user;

pub use backplane_core::{
    Backplane, ByteSize, ConnectError, LONGEST_HUB, LONGEST_NAME, Link, LinkError, Member, Members,
    NodeId, Route, RouteKind, Stats, Topic, Traffic,
};

pub use builder::{BuildError, HubBuilder};
pub use caller::{Caller, CallerClients};
pub use clients::{Arguments, Client, Clients, Invoking, Sending, Sent, Target};
pub use connect::{Connect, connect};
pub use error::{
    ArgumentsError, ClaimError, CloseError, CompletionError, GroupError, HubError, InvocationError,
    InvokeError, OpenError, RefreshError, RelayError, SendError,
};
pub use front::{
    Adopted, Arrivals, Completion, Connection, HandoverError, Left, Opening, Outbound, Ownership,
    Relay, RelayAnswer, RelayRequest, Relayed, Replies,
};
pub use groups::{Groups, Joined};
pub use health::Health;
pub use hub::Hub;
pub use loss::{
    Awaited, ClientNotices, Direct, LinkChange, LinkEvent, Listener, Listening, Missed,
};
pub use members::End;
pub use method::{
    Aborted, Answer, Call, Disconnect, Extract, Fallible, Filter, Filtered, FromInvocation,
    Handler, IntoReply, IntoReturned, Invocation, Items, Needs, Next, Plain, Reply, Returned,
    Returning, State, Streaming, Trace, Unread, Upload, UploadReceiver, UploadSender, ViaArgument,
    ViaExtract, ViaUpload, upload,
};
pub use options::{HubOptions, WhenSlow};
pub use policy::{Policy, Unauthorized};
pub use presence::{
    Freshness, GroupPresence, Presence, PresenceEvent, PresenceOff, PresenceOptions, Present,
    UserPresence, Watch, Whereabouts,
};
pub use protocol::{EncodeError, Protocol};
pub use stats::HubStats;
pub use user::{Claims, ConnectionId, User};
