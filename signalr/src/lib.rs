//! The SignalR protocol as an axum router over a [hub](backplane_hub): clients that speak JSON or
//! MessagePack, over WebSockets, server-sent events or long polling, connect unchanged. The suite
//! runs the JavaScript client.
//!
//! ```
//! use axum::{Router, serve::ListenerExt};
//! use backplane_hub::{Caller, Hub, HubError, connect};
//! use backplane_signalr::{Options, router};
//!
//! async fn say(text: String, caller: Caller) -> Result<(), HubError> {
//!     caller.clients().others().send("Said", (caller.id().as_str(), text)).await?;
//!     Ok(())
//! }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let chat = Hub::builder("chat")
//!     .backplane(connect("memory:").await?)
//!     .method("Say", say)
//!     .build()?;
//! // An ordinary axum application, in which the hub is one part.
//! let app: Router = Router::new().nest("/hubs/chat", router(&chat, Options::new()));
//! // Messages are small: without this, TCP holds each back until the one before has been confirmed.
//! let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?.tap_io(|socket| {
//!     let _ = socket.set_nodelay(true);
//! });
//! let server = async { axum::serve(listener, app).await };
//! # drop(server);
//! # Ok(())
//! # }
//! ```
//!
//! # What is served
//!
//! | request | answer |
//! |---|---|
//! | `POST negotiate` | the connection's id and token, in versions 0 and 1 |
//! | `GET` with an upgrade, or `CONNECT`, with or without a token as `id` | a WebSocket |
//! | `GET` that accepts `text/event-stream` | server-sent events, for as long as the client listens |
//! | any other `GET` | a poll: what there is for the client, or the next that comes |
//! | `POST` | what a client of these two sends; answered when it waits for the hub, in 64 KiB |
//! | `DELETE` | the end of a connection that polls |
//! | `POST refresh` | how long the new credentials are good, where [`Options::authentication_refresh`] is on |
//! | `OPTIONS` of a browser | what pages of [`Options::allowed_origins`] may send, where those are set |
//! | what does not fit the connection | the status that clients know for it |
//!
//! WebSockets are opened over HTTP/1.1, and over HTTP/2 (RFC 8441) where the server speaks it: axum with its
//! feature `http2`. Paths are axum's, so unlike the original's they have a case.
//!
//! Calls of a client run one after the other, or so many at a time as
//! [`Options::parallel_invocations`] lets; those that return streams or send some run beside them, at
//! most [`Options::parallel_streams`]. Of a call that cannot run, a client is told at once, unless it is
//! the type of an argument that does not fit: that is seen when its turn comes.
//!
//! [`Options::transports`] limits which transports there are. All of them carry JSON, and MessagePack
//! but for server-sent events, which are text.
//!
//! [`raw_router`] serves connections of plain bytes in the same way, for clients that bring a protocol of
//! their own.
//!
//! # Values
//!
//! Whatever implements serde's traits can be an argument and a result, by the names of its fields in
//! both protocols. MessagePack is no format for human readers, so types that have a compact form
//! take it there: an `IpAddr` is a text in JSON only. The clients' own types want these:
//!
//! | client | JSON | MessagePack | here |
//! |---|---|---|---|
//! | `DateTime`, `Date` | text by RFC 3339 | timestamp | [`Timestamp`] |
//! | `byte[]`, `Uint8Array` | base64 | bytes | [`Binary`] |
//! | `Guid` | text | text | `String`, or a type that is written as text (`#[serde(with = …)]`) |
//!
//! # No sticky sessions
//!
//! A negotiation hands out a token that says which connection it stands for, for whom, and which
//! node will grant it, once. Any node takes it as long as all nodes sign with the same
//! [`Options::token_keys`]: **give all nodes of a hub the same keys**. Without keys of its own, a
//! process uses random ones, which are good for itself only.
//!
//! A client of version 0 shows the very id that it connects with, so there the token is the
//! connection's id.
//!
//! The node that the first request of a connection lands on has it from then on. Every further POST,
//! poll and DELETE may land on any node: it checks the token, which has to be the user's but may have
//! expired by then, and relays the request over the backplane to the node that has the connection:
//!
//! * A POST is answered once its bytes wait for the hub, so a client that sends too fast is slowed down
//!   wherever it sends. Of a client that waits for each answer before it goes on, as all do, what it sends
//!   keeps its order. Bodies of more than 64 KiB travel in pieces.
//! * A poll waits at the connection's node, until another one comes by whichever node, or its client
//!   hangs up. What it fetches is kept there until it is said that it was written to the client, and is
//!   for the next poll if it was not. Where a node dies between the two, or is cut off for half a minute, a
//!   client may get something twice.
//! * What the node with the connection refuses is refused everywhere with the same status and text.
//! * A connection that no node has is not found (404), within about a second where nobody
//!   knows of it; so are those of a node that died, as soon as that is known. While the link to the broker is
//!   down, requests about connections of other nodes get a 503.
//!
//! So a relayed request costs a round trip over the backplane, and a load balancer with affinity still
//! saves that: it is an optimisation, and nothing depends on it.
//!
//! # Stateful reconnect
//!
//! With [`Options::stateful_reconnect`], a client that asks for it (`withStatefulReconnect()`) and loses its
//! WebSocket opens another one and goes on: no hook runs, its id, groups and items stay, and neither side
//! misses a message. Both number what they send and keep it until the other has acknowledged it; after a break
//! each says where it goes on and sends again what the other may lack. As the original does it, a client
//! has [`Options::disconnect_timeout`] to come back. One that says that it goes, by a Close message or a close frame
//! with the code 1000 or 1001, is not waited for.
//!
//! Beyond the original, the new socket may come to **any node**. The node that has the connection hands it
//! over, by way of the backplane:
//!
//! ```text
//! new node ─ preview? ─▶ old node: its groups
//!   subscribes to all of them, and holds what comes
//! new node ─ take ─▶ old node: freezes; what is not acknowledged, counters, groups, items, marks of what came
//!   what both have heard is dropped once; the client's socket goes on here
//! new node ─ taken ─▶ old node: forgets the connection, and sends on what still comes
//! ```
//!
//! * Nothing is lost or doubled, as each message has a mark by which both nodes know it: the last 512 of
//!   a connection are remembered. What the old node hears later than the new one is sent on; of different
//!   topics, messages may overtake each other, as ever.
//! * Calls that run go on where they are, and are answered by way of the new node, for as long as
//!   [`Options::disconnect_timeout`]; then they fail for their client. So do streams, of which those that the client
//!   sends take no more items. Results that the old node waits for from the client fail at once.
//! * Items move that the hub [names](backplane_hub::HubBuilder::portable); claims are those that the client
//!   proves to the new node. Presence sees the connection join there and leave here.
//! * The old node keeps the connection where the handover fails: its client is answered 503, or 404 where
//!   nobody has it, and negotiates anew. A connection moves only while both links are up.
//! * What waits for the client moves along, so a handover is as large as the connection's queue and
//!   [`Options::stateful_buffer`] at most, in pieces that the backplane carries.
//!
//! Its limits, where something else happens in the middle of a move:
//!
//! * The old node dies after it has handed over and before it hears that the new one has it: nobody has the
//!   connection then, and `on_disconnected` runs on neither. Where the new node dies or the link breaks, the old one
//!   keeps it, but may take up to 40 s to know that, for which a client that comes back waits.
//! * More than 512 messages that both nodes hear within one move may come twice. A notice of a gap may come from each.
//! * `groups().add_user` may miss a connection that is on neither node at that moment.
//! * The names of its groups have to fit into one envelope, or it is answered 503.
//!
//! [`Hub::drain`](backplane_hub::Hub::drain) uses that to replace a node: it closes the sockets of such clients
//! with the code 1012, whose clients come back at once, and lets no client in (503). Whatever hands out requests must
//! not send them to it by then, or try another node on a 503: the official client tries once. Where that goes by
//! [`health_router`], which says `draining`, call
//! [`Hub::announce_drain`](backplane_hub::Hub::announce_drain) and drain when it has had the time to look. Where a
//! node dies instead, its connections are gone, and clients connect anew.
//!
//! # When the backplane loses something
//!
//! While the link to the broker is down, a node serves its own clients, and [`health_router`] says
//! that it is degraded, so that a load balancer sends new ones elsewhere. What was lost is repaired or
//! reported to the application ([`HubBuilder::on_gap`](backplane_hub::HubBuilder::on_gap)). With
//! [`HubBuilder::notify_clients`](backplane_hub::HubBuilder::notify_clients) the clients concerned
//! are told too, by an ordinary invocation that any of them can listen to:
//!
//! ```js
//! connection.on("Backplane.Missed", ({ reason, count, scope, name }) => readEverythingAnew());
//! ```
//!
//! # Who is there
//!
//! [`Options::authenticate`] takes whatever tells the user of a request: a [`Bearer`] for JSON Web
//! Tokens, a function, or any [`Authenticate`]. The hub's policy then decides: 401 where nobody
//! told who they are, 403 where they are not who the policy wants.
//!
//! Credentials that expire end the connection with
//! [`Options::close_on_authentication_expiration`]; new ones take their place while it is open with
//! [`Options::authentication_refresh`], and with each poll that brings some. The user of a connection
//! stays who it is: a request of anybody else about it finds nothing.
//!
//! Where cookies or the network prove who a client is, any page that its user looks at could connect:
//! [`Options::allowed_origins`] names those that may, for all transports, and tells browsers so.
//!
//! Credentials and tokens appear in
//! queries, as browsers cannot send them otherwise with a WebSocket: this crate never logs a query.
//! Nobody else should.
//!
//! # Limits
//!
//! An idle connection costs less than 12 KiB of resident memory on the memory backplane: 4.6 KiB over a
//! WebSocket; 8.4 KiB with server-sent events and 10.7 KiB while a poll waits, on top of the 18 KiB that the
//! HTTP server keeps for any connection (`cargo bench -p backplane-signalr --bench idle`). A client can make the server hold one
//! message of [`Options::largest_message`] that has not come whole, as much again for each call that
//! runs, for one that waits and for each stream that the client sends, and 32 KiB; 48 KiB more without a
//! WebSocket. What waits for a client is bounded by the hub
//! ([`HubOptions`](backplane_hub::HubOptions)), how long a write may take by
//! [`Options::send_timeout`]. A client of server-sent events that takes nothing has its connection
//! ended by that too, but the HTTP server keeps the response open, with up to 400 KiB of it, until the
//! network gives the client up: limit that where it matters, as with a reverse proxy.
//!
//! A negotiation holds no connection: the node remembers an id, at most
//! [`HubOptions::announcements`](backplane_hub::HubOptions::announcements) of them.
//!
//! # A connection's way
//!
//! ```text
//! negotiate ─ authenticate ─ authorize ─ announce ─▶ id and token
//! first request ─ authenticate ─ authorize ─ token ─ claim ─ handshake ─ open ─ on_connected
//!   ─▶ { read ─ parse ─ call │ answers and hub messages ─ write │ pings and timeouts }
//!   ─▶ Close message ─ close frame ─ on_disconnected
//! ```

mod auth;
mod carrier;
mod codec;
mod cors;
mod endpoint;
#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub mod fuzzing;
mod handshake;
mod health;
mod message;
mod negotiate;
mod options;
mod polled;
mod query;
mod raw;
mod refresh;
mod refusal;
mod relayed;
mod request;
mod requests;
mod router;
mod session;
mod standing;
mod stateful;
mod table;
mod texts;
mod token;
mod transport;
mod value;
mod websocket;

pub use auth::{
    Authenticate, Bearer, BearerBuilder, BearerError, Identity, KeyError, Rejection,
    VerificationKey,
};
pub use health::health_router;
pub use negotiate::NegotiateVersion;
pub use options::Options;
pub use raw::{RawConnection, RawSendError, raw_router};
pub use request::ConnectionRequest;
pub use router::router;
pub use token::{TokenKey, TokenKeyError, TokenKeys};
pub use transport::Transport;
pub use value::{Binary, Timestamp, TimestampError};
