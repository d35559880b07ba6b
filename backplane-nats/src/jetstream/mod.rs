//! JetStream: a log that the servers keep.
//!
//! ```text
//! topic ─ hash ─▶ part ─ PUB {prefix}.log.{part}, headers: the topic, Nats-Msg-Id ─▶ stored
//! one consumer of {parts with interest} ─ topic of no interest? ─▶ Inbound::frame_at
//! ```
//!
//! A node's consumer gets the parts that its interest falls into, and what it has no interest in is dropped
//! by the header, undecoded. The consumer is made anew, behind what was read, whenever those parts change,
//! it was lost, or something is missing between two messages. Where a node has read up to outlives its
//! connections.

mod api;
mod append;
mod config;
mod consumer;
mod follow;
mod place;
mod read;
mod stream;
mod wire;

pub use config::{JetStreamConfig, Storage};
