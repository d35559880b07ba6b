//! Redis Streams: a log that the server keeps.
//!
//! ```text
//! topic ─ hash ─▶ part ─ XADD {prefix}/log/{part} MAXLEN ~ … {channel} {frame} …
//! XREAD BLOCK … {parts with interest} ─ channel of no interest? ─▶ Inbound::frames_at
//! ```
//!
//! A node reads the parts that its interest falls into, and drops what it has no interest in by its
//! channel, undecoded. Where it has read up to outlives its connections.

mod append;
mod config;
mod follow;
mod part;
mod portion;
mod read;
mod reply;
mod wire;

pub use config::StreamsConfig;
