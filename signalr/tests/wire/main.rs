//! The router as clients see it: a real server, real sockets, and hubs over the memory transport.

#![allow(clippy::unwrap_used, reason = "what cannot be set up fails the test")]

mod authentication;
mod busy;
mod calls;
mod client;
mod cors;
mod ending;
mod events;
mod expiry;
mod handshake;
mod health;
mod hostile;
mod http;
mod http2;
mod liveness;
mod logs;
mod messagepack;
mod negotiation;
mod nodes;
mod polling;
mod raw;
mod refresh;
mod relays;
mod requests;
mod results;
mod roaming;
mod scenario;
mod server;
mod siege;
mod stateful;
mod streams;
mod transports;
mod uploads;
