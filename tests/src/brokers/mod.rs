//! Real brokers for tests: each on a free loopback port, in a private folder, gone when dropped.
//!
//! ```no_run
//! use backplane_tests::brokers::{Redis, RedisFlavour, RedisOptions};
//!
//! # async fn example() -> Result<(), backplane_tests::brokers::BrokerError> {
//! let broker = Redis::start(RedisFlavour::Redis7, RedisOptions::default()).await?;
//! println!("{} at {}", broker.name(), broker.url()); // redis 7.0.15 at redis://127.0.0.1:17342
//!
//! broker.pause().await?; // connected, and silent
//! broker.resume()?;
//! broker.restart().await?; // the same port, and empty
//! # Ok(())
//! # }
//! ```
//!
//! [`Redis`], [`Nats`] and [`Tansu`] hand out a [`Broker`], which is all that a scenario needs to know. Another
//! kind of server joins by implementing [`Server`] and calling [`Broker::launch`].
//!
//! The programs come from environment variables, from `.brokers/` at the top of the workspace, or from
//! the PATH, in this order: see [`Program`]. `tests/run --fetch` brings what is missing.

mod binaries;
mod broker;
mod conversation;
mod error;
mod nats;
mod nats_login;
mod ports;
mod process;
mod redis;
mod redis_cluster;
mod sentinel;
mod server;
mod start;
mod tansu;
mod tls;

pub use binaries::Program;
pub use broker::{Broker, BrokerState};
pub use error::{BrokerError, ProbeError};
pub use nats::{Nats, NatsFlavour, NatsOptions};
pub(crate) use ports::Port;
pub(crate) use process::ServerProcess;
pub use redis::{Redis, RedisFlavour, RedisOptions};
pub use redis_cluster::RedisCluster;
pub use sentinel::{SERVICE, Sentinel};
pub use server::{Layout, Server, Version};
pub use tansu::Tansu;
