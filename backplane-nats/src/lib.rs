//! A backplane over NATS: core NATS from 2.9 on, JetStream from 2.10 on.
//!
//! ```no_run
//! use backplane_core::{Backplane, Envelope, Topic};
//! use backplane_nats::NatsConfig;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let node = NatsConfig::from_url("nats://localhost:4222?prefix=shop")?.start()?;
//! node.link().wait_for(|link| link.is_up()).await?;
//! node.publish(Envelope::new(Topic::user("orders", "ann"), "shipped")).await?;
//! # Ok(())
//! # }
//! ```
//!
//! There are two ways to use the servers:
//!
//! * **Core NATS** ([`NatsConfig`], `nats:`): the fastest. The servers pass on and keep nothing; what gets lost is
//!   repaired by the node that published it.
//! * **JetStream** ([`JetStreamConfig`], `nats+jetstream:`): the servers keep what is published, within bounds. A
//!   node reads on from where it was, whoever else is gone, and an application reads from any position.
//!
//! Each node has one connection; the client library (`async-nats`) runs on a thread of its own for it. A lost
//! connection is not mended underneath: the node makes a new one, subscribes everything again, and says so. TLS
//! is always compiled in, as the library brings it.
//!
//! Over core NATS, a topic that a node subscribes costs it about 6 KiB of memory, and up to 13 KiB once messages
//! have passed: the library gives each subscription a queue of its own.
//!
//! # Promises
//!
//! By default a node numbers what it publishes, repairs or counts what gets lost, and buffers during an outage:
//! see [`NodeOptions`](backplane_core::NodeOptions). This is what it promises without that, with
//! `?repair=off&outage=refuse`:
//!
//! | promise | core NATS | JetStream |
//! |---|---|---|
//! | delivery | at most once | at least once |
//! | order | per origin and topic | per origin and topic |
//! | receipt | accepted: the node's server has taken it and passed it on | stored: by the server, or by a majority of the replicas |
//! | what is stored outlives | nothing is kept | killed servers, and a minority of the machines; the sudden end of all of them as far as `sync_interval` says |
//! | publisher's outage | local sinks are served, the ticket says that nobody else is | the same |
//! | subscriber's outage | lost, and reported as `Interrupted` … `Restored` | read on from where it was; what was trimmed meanwhile is a `Gap` |
//! | replay | none | as long as `age`, `entries` and `bytes` keep it |
//! | filter | the server | the node, by the topic that stands before each frame, before it decodes anything |
//! | largest body | 768 KiB: with any header it fits into the default `max_payload` of 1 MiB | the same |
//!
//! In a cluster, a node over core NATS has a connection to each other server too, on which it sees that these
//! know of a subscription before that is confirmed, and, before its link is up, that its server and the others
//! pass on to each other: servers that were just started take nodes in before they have found each other. A
//! server that is silent is waited for for a second or two, and asked again after 10 seconds. While servers are parted from each other, what one does not
//! pass on is lost, and without numbers nobody is told. Two nodes at one server that subscribe the same new
//! topic at the same instant may miss what another server's node publishes within that instant.
//!
//! A node over core NATS that falls behind what arrives by 64 MiB gives its connection up, as the server would
//! do; a message that the client library drops, as 65,536 wait on its topic, is reported as an interruption too.
//! Over JetStream the server sends no more than 32 MB ahead, and what is dropped on the way is sent again.
//!
//! # For the server's administrator
//!
//! * **Subjects** of core NATS are called `{prefix}.{hub}.{kind}.{name}`. Each of prefix, hub and name is one
//!   token: its own text if that is made of letters, digits, `_` and `-`, otherwise `~` and the text in
//!   base64url. JetStream's are `{prefix}.log.{part}`: a message holds what a node published close together on
//!   topics of that part, each under its `{hub}.{kind}.{name}`, up to 64 KiB or one larger envelope. Besides,
//!   each node sends itself messages below `{prefix}.fence`.
//! * **Permissions** for a user that uses core NATS and nothing else: publish and subscribe on `backplane.>` (the
//!   prefix, where it is another). A topic that is denied within that is refused alone. Permissions that are
//!   extended count from a node's next connection on.
//!   For JetStream: publish on `backplane.log.*`, `backplane.fence.>`, `$JS.API.STREAM.INFO.backplane`,
//!   `$JS.API.STREAM.MSG.GET.backplane`, `$JS.API.CONSUMER.CREATE.backplane.>` and `$JS.FC.backplane.>`, besides
//!   `$JS.API.STREAM.CREATE.backplane` unless somebody else makes the stream; subscribe on `backplane.fence.>`.
//! * **The stream** is called as the prefix (as one token). The first node makes it; no node changes it. See
//!   [`JetStreamConfig`] for what has to agree.
//! * **Storage and replicas.** `storage=file` outlives the servers' processes, also when they are killed.
//!   `replicas=3` needs a cluster, and outlives the loss of one server of three. Its leader's end costs some
//!   seconds, in which nodes buffer.
//! * **`sync_interval`** (in the servers' `jetstream` block, by default 2 minutes) is how often what was written
//!   is forced onto the disk: what the sudden end of a machine may cost, where no other replica has it. `always`
//!   costs throughput. A stream has no such setting of its own. Nodes notice that the end of a stream is gone,
//!   and tell a `Gap`.
//! * **`max_payload`** below 1 MiB makes the server refuse bodies that other servers would take; such an
//!   envelope is refused alone, with a reason that says so.
//! * **`max_control_line`** has to hold the longest subject: the default of 4,096 bytes does, for all names. A
//!   longer line makes the server close the connection.
//! * **`max_subscriptions`** has to allow one subscription per group, user and connection that a node of core
//!   NATS serves, two more per hub, and four of the node's own; over JetStream four in all.
//! * **`max_pending`**: a node that reads too slowly is disconnected by the server, and reports it as an
//!   interruption.
//! * **Several servers.** A node uses one of those in its URL, or of those that it announces, and goes on to the
//!   next when that is gone. **Lame duck mode**: a node stays until the server closes its connection.

mod client;
mod config;
mod connection;
mod error;
mod fence;
mod files;
mod from_url;
mod jetstream;
mod notices;
mod pubsub;
mod subject;
mod thread;

pub use config::{Login, NatsConfig, Tls};
pub use jetstream::{JetStreamConfig, Storage};
