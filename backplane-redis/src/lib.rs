//! A backplane over Redis or Valkey, from Redis 5.0 and any Valkey on.
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
//! There are two ways to use a server:
//!
//! * **Pub/Sub** ([`RedisConfig`], `redis:`): the fastest. The server passes on and keeps nothing; what gets
//!   lost is repaired by the node that published it.
//! * **Streams** ([`StreamsConfig`], `redis+streams:`): the server keeps what is published, within bounds. A
//!   node reads on from where it was, whoever else is gone, and an application reads from any position.
//!
//! Either goes to one server, or to whichever of several is the master at the time, as sentinels name it
//! ([`Sentinels`], `redis+sentinel:` and `redis+sentinel+streams:`): see [below](#sentinels).
//!
//! # Promises
//!
//! By default a node numbers what it publishes, repairs or counts what gets lost, and buffers during an
//! outage: see [`NodeOptions`](backplane_core::NodeOptions). This is what it promises without that, with
//! `?repair=off&outage=refuse`:
//!
//! | promise | Pub/Sub | Streams |
//! |---|---|---|
//! | delivery | at most once | at least once |
//! | order | per origin and topic | per origin and topic |
//! | receipt | accepted: the server has passed it on to every connection subscribed at that moment | stored: it is in the server's memory, and in its append-only file as far as `appendfsync` says |
//! | publisher's outage | local sinks are served, the ticket says that nobody else is | the same |
//! | subscriber's outage | lost, and reported as `Interrupted` … `Restored` | read on from where it was; what was trimmed meanwhile is a `Gap` |
//! | replay | none | as long as `age` and `entries` keep it |
//! | filter | the server | the node, by the channel, before it decodes anything |
//! | largest body | 8 MiB | 8 MiB |
//!
//! Each node has two connections: one publishes, with one round trip per batch, and one receives: what it is
//! subscribed to, or the streams that its interest falls into.
//!
//! # Sentinels
//!
//! For each connection a node asks all sentinels of its URL at the same time, believes the newest answer of
//! more than half of them (the highest `config-epoch`), and makes sure that what it finds there calls itself
//! a master. While it is connected it listens to one of them, and asks again every ten seconds: it leaves a
//! server that is no master any more, also one that is cut off from the others and goes on answering.
//!
//! A failover is an outage of the link: about as long as the sentinels take to notice and to agree. What is
//! published meanwhile is buffered, and over Pub/Sub what got lost is repaired. Over Streams a replica may
//! lack the last entries that the old master had answered for; with `replicas=1` (and two replicas or more)
//! an entry counts as stored only once a replica has it, so that the next master has it too. Entries are
//! ordered by the clocks of the servers: a new master whose clock is behind by more than the failover took
//! may store entries where readers have been already, and those are then told as a gap, by their numbers.
//!
//! # For the server's administrator
//!
//! * **Channels** are called `{prefix}/{hub}/{kind}/{name}`, with prefix and hub percent-encoded; **streams**
//!   `{prefix}/log/{number}`. Applications that share a server need different prefixes.
//! * **Access rules** for a user that does this and nothing else, with the prefix where it is another:
//!   for Pub/Sub `+subscribe +unsubscribe +publish resetchannels &backplane/*`; for Streams
//!   `+xadd +xread +xrange +xinfo|stream +xtrim +time +client|id +client|unblock ~backplane/log/*`. A topic
//!   that the rules forbid is refused alone.
//! * **Sentinels**: `+sentinel|master +subscribe &+switch-master` there, and `+role` on the servers; for
//!   `replicas=`, `+wait` too.
//! * **Output buffer.** A node that reads too slowly is disconnected at
//!   `client-output-buffer-limit pubsub` (by default 32 MB, or 8 MB for a minute), and reports it
//!   as an interruption. Many large bodies need a larger limit. Streams know no such limit.
//! * **Memory and disk, for Streams.** Each of the streams holds up to `entries` entries, for up to `age` (the
//!   latter from Redis 6.2 on). With `appendonly yes` they outlive the server's process, also when it is
//!   killed; the machine's sudden end may cost what `appendfsync` leaves open: a second with `everysec`,
//!   nothing with `always`. Without, a restart loses them, and nodes are told so by a `Gap`. Databases: only
//!   number 0 is used.
//! * **Several servers.** In a Redis Cluster every node of it passes everything on to all others. Of a
//!   master and its replicas, all nodes of the application have to use the master: what is published on a
//!   replica stays there. With sentinels they do.

mod channel;
mod config;
mod endpoint;
mod error;
mod from_url;
mod locate;
mod pubsub;
mod sentinel;
mod server;
mod streams;
#[cfg(feature = "tls")]
mod tls;

pub use config::{Protocol, RedisConfig, Sentinels};
pub use streams::StreamsConfig;
#[cfg(feature = "tls")]
pub use tls::Tls;
