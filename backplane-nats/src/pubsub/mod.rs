//! Core NATS: the server passes on and keeps nothing.
//!
//! ```text
//! topic ─ subject ─▶ PUB {prefix}.{hub}.{kind}.{name} … and a fence behind each batch
//! SUB {each topic of interest} ─▶ Inbound::frame
//! ```

mod publish;
mod receive;
mod subscribe;
mod wire;
mod witness;

pub(crate) use receive::kept;
pub(crate) use wire::{LARGEST_BODY, PubSubWire};
