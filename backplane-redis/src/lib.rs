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
//! There are three ways to use a server, or a cluster of them:
//!
//! * **Pub/Sub** ([`RedisConfig`], `redis:`): the fastest. The server passes on and keeps nothing; what gets
//!   lost is repaired by the node that published it.
//! * **Streams** ([`StreamsConfig`], `redis+streams:`): the server keeps what is published, within bounds. A
//!   node reads on from where it was, whoever else is gone, and an application reads from any position.
//! * **Sharded Pub/Sub** ([`ShardedConfig`], `redis+sharded:`): the masters of a Redis Cluster divide the topics
//!   among them, so that more of them take more load. From Redis 7.0 and any Valkey on.
//!
//! The first two go to one server, or to whichever of several is the master at the time, as sentinels name it
//! ([`Sentinels`], `redis+sentinel:` and `redis+sentinel+streams:`): see [below](#sentinels).
//!
//! # Promises
//!
//! By default a node numbers what it publishes, repairs or counts what gets lost, and buffers during an
//! outage: see [`NodeOptions`](backplane_core::NodeOptions). This is what it promises without that, with
//! `?repair=off&outage=refuse`:
//!
//! | promise | Pub/Sub, sharded or not | Streams |
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
//! subscribed to, or the streams that its interest falls into. In a cluster it has two to each master.
//!
//! # Sentinels
//!
//! For each connection a node asks all sentinels of its URL at the same time, takes the newest answer (the
//! highest `config-epoch`) once more than half of them have answered, or of as many as do, and makes sure that
//! what it finds there calls itself a master. While it is connected it listens to one of them, and asks again every ten seconds: it leaves a
//! server that is no master any more, also one that is cut off from the others and goes on answering.
//!
//! A failover is an outage of the link: about as long as the sentinels take to notice and to agree. What is
//! published meanwhile is buffered, and over Pub/Sub what got lost is repaired. Over Streams a replica may
//! lack the last entries that the old master had answered for; with `replicas=` an entry counts as stored
//! only once so many have it. Sentinels do not ask which of them that is: name as many as there are, and any
//! of them may become the master without a loss. With fewer, a failover rarely loses something, but may. What
//! is published waits while there are not enough. Entries are ordered by the clocks of the servers: a new
//! master whose clock is behind by more than the failover took may store entries where readers have been
//! already, and those are then told as a gap, by their numbers.
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
//!   latter from Redis 6.2 on). With `appendonly yes` they outlive the server's process, and
//!   `appendfsync` says what a sudden end costs. `always`: nothing. `no`: nothing where only the process is
//!   killed, and what the system had not yet written where the machine ends. `everysec`: a second where the
//!   machine ends; while the disk is slow, also up to two where only the process is killed, as the server then
//!   answers before it writes. Without `appendonly`, a restart loses all. Nodes are told by a `Gap` where
//!   what they have read is lost. Databases: only number 0 is used.
//! * **Several servers.** Of a master and its replicas, all nodes of the application have to use the master:
//!   what is published on a replica stays there. With sentinels they do.
//!
//! ## For the administrator of a cluster
//!
//! * **Sharded or classic.** `redis:` at any member works too, but each `PUBLISH` then crosses the cluster bus
//!   to all its servers, whoever is interested, so that more servers take more load off nobody. And between two
//!   members a broken bus link loses in silence what only the nodes' numbers bring to light: without
//!   `repair`, let all nodes use the same member.
//! * **Channels** are called as above, with `{` and `%` percent-encoded in names too: what is in braces never
//!   decides about a slot.
//! * **Access rules**, on every server: `+ssubscribe +sunsubscribe +spublish +ping +role +cluster|info
//!   +cluster|myid +cluster|slots resetchannels &backplane/*`. The user and the password are the same on all.
//! * **Addresses** are those that the servers announce (`CLUSTER SLOTS`), for the next connection: see
//!   `cluster-announce-ip` and `cluster-preferred-endpoint-type`. With TLS, a certificate names what is
//!   announced.
//! * **Failover.** The link is up when every slot has a master that answers, and down when one is lost; nodes
//!   look ten times per second for the replica that takes over. `cluster-node-timeout` (15 s by default) decides
//!   how long that takes; below the 60 s for which nodes retain what they publish, nothing is lost. A master
//!   that keeps silent for 3 s is given up.
//! * **Slots that move** are followed while the link stays up: what a subscriber may have missed between its
//!   old and its new master is repaired, or reported as an interruption of the topics concerned. The order is
//!   kept: what the old master has not answered is waited for.
//! * **`cluster-require-full-coverage`** plays no role: with a slot that is nobody's, the link is down in any
//!   case. **`cluster-allow-pubsubshard-when-down`** should stay on: the masters that are left go on passing
//!   on while another one is replaced.
//! * **A split** of the cluster's own network: a master that the others cannot reach, but nodes can, goes on
//!   taking envelopes until its nodes have seen the new one, which they look for each second. Without numbers,
//!   what it takes then is lost in silence.

mod channel;
mod config;
mod endpoint;
mod error;
mod from_url;
mod locate;
mod pubsub;
mod sentinel;
mod server;
mod sharded;
mod streams;
#[cfg(feature = "tls")]
mod tls;

pub use config::{Protocol, RedisConfig, Sentinels};
pub use sharded::ShardedConfig;
pub use streams::StreamsConfig;
#[cfg(feature = "tls")]
pub use tls::Tls;
