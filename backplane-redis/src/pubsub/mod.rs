//! Redis Pub/Sub: `PUBLISH` on one connection, `SUBSCRIBE` on another.

mod connection;
mod publish;
mod subscribe;

pub(crate) use connection::{RedisWire, semantics};
pub(crate) use publish::{publishing, refusals};
