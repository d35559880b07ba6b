//! Sharded Pub/Sub on a Redis Cluster: `SPUBLISH` and `SSUBSCRIBE`, each to the master that owns the slot.
//!
//! ```text
//! topic ─▶ channel ─ CRC-16 ─▶ slot ─ Routes ─▶ Master ─ SPUBLISH, one pipeline per master and batch
//! Switchboard ─ SSUBSCRIBE ─▶ each Master ─ smessage ─▶ Inbound::frame
//! ```
//!
//! Each master has two connections, one that publishes and one that is subscribed. The switchboard alone
//! changes subscriptions; it also follows slots to their new owners, while the connections stay.

mod address;
mod answer;
mod config;
mod lost;
mod master;
mod order;
mod pauses;
mod publish;
mod receive;
mod routes;
mod slot;
mod survey;
mod switchboard;
mod view;
mod wire;

pub use config::ShardedConfig;
