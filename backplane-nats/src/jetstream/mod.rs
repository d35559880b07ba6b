//! JetStream: a log that the servers keep.
//!
//! ```text
//! topic ─ hash ─▶ part ─ PUB {prefix}.log.{part}, Nats-Msg-Id: frames, each with its topic ─▶ stored
//! one consumer of {parts with interest} ─ topic of no interest? ─▶ Inbound::frames_at
//! ```
//!
//! What is published close together on topics of one part is one message of the stream: what a message costs
//! the servers, and whoever reads it, is paid once for all of them. A node's consumer gets the parts that its
//! interest falls into, and what it has no interest in is dropped by the topic before it, undecoded. The consumer is made anew, behind what was read, whenever those parts change,
//! it was lost, or something is missing between two messages. Where a node has read up to outlives its
//! connections.

mod api;
mod append;
mod config;
mod consumer;
mod entry;
mod follow;
mod overtaken;
mod place;
mod read;
mod stream;
mod wire;

pub use config::{JetStreamConfig, Storage};
