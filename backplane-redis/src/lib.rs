//! A backplane over Redis or Valkey Pub/Sub, from Redis 5.0 and any Valkey on.
//!
//! ```no_run
//! use backplane_core::{Backplane, Envelope, Topic};
//! use backplane_redis::RedisConfig;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let node = RedisConfig::from_url("redis://localhost:6379?prefix=shop")?.start()?;
//! node.link().wait_for(|link| link.is_up()).await?;
//! node.publish(Envelope::new(Topic::user("orders", "ann"), "shipped")).await?;
//! # Ok(())
//! # }
//! ```
//!
//! Each node has two connections: one publishes, with one round trip per batch, and one is
//! subscribed to what the node is interested in, and to nothing else.
//!
//! # Promises
//!
//! By default a node numbers what it publishes, repairs what gets lost, and buffers during an outage: see
//! [`NodeOptions`](backplane_core::NodeOptions). This is what it promises without that, with
//! `?repair=off&outage=refuse`:
//!
//! | promise | Redis Pub/Sub |
//! |---|---|
//! | delivery | at most once |
//! | order | per origin and topic |
//! | receipt | accepted: the server has passed it on to every connection subscribed at that moment |
//! | publisher's outage | local sinks are served, the ticket says that nobody else is |
//! | subscriber's outage | lost, and reported as `Interrupted` … `Restored` |
//! | replay | none |
//! | filter | the server |
//! | largest body | 8 MiB |
//!
//! # For the server's administrator
//!
//! * **Channels** are called `{prefix}/{hub}/{kind}/{name}`, with prefix and hub percent-encoded.
//!   Applications that share a server need different prefixes; database numbers do not separate
//!   them.
//! * **Access rules** for a user that does this and nothing else:
//!   `+subscribe +unsubscribe +publish resetchannels &backplane/*` (the prefix, where it is
//!   another). A topic that the rules forbid is refused alone.
//! * **Output buffer.** A node that reads too slowly is disconnected at
//!   `client-output-buffer-limit pubsub` (by default 32 MB, or 8 MB for a minute), and reports it
//!   as an interruption. Many large bodies need a larger limit.
//! * **Several servers.** In a Redis Cluster every node of it passes everything on to all others;
//!   behind replicas, all nodes of the application have to use the same server: what is published
//!   on a replica stays there.

mod channel;
mod config;
mod connection;
mod endpoint;
mod error;
mod from_url;
mod publish;
mod server;
mod subscribe;
#[cfg(feature = "tls")]
mod tls;

pub use config::{Protocol, RedisConfig};
#[cfg(feature = "tls")]
pub use tls::Tls;
