//! A backplane over core NATS, from NATS 2.9 on.
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
//! Each node has one connection and, on it, one subscription per topic; the client library
//! (`async-nats`) runs on a thread of its own for it. A lost connection is not mended underneath:
//! the node makes a new one, subscribes everything again, and says so. TLS is always compiled in,
//! as the library brings it.
//!
//! A topic that a node subscribes costs it about 6 KiB of memory, and up to 13 KiB once messages
//! have passed: the library gives each subscription a queue of its own.
//!
//! # Promises
//!
//! By default a node numbers what it publishes, repairs what gets lost, and buffers during an outage: see
//! [`NodeOptions`](backplane_core::NodeOptions). This is what it promises without that, with
//! `?repair=off&outage=refuse`:
//!
//! | promise | core NATS |
//! |---|---|
//! | delivery | at most once |
//! | order | per origin and topic |
//! | receipt | accepted: the node's server has taken it and passed it on |
//! | publisher's outage | local sinks are served, the ticket says that nobody else is |
//! | subscriber's outage | lost, and reported as `Interrupted` … `Restored` |
//! | replay | none |
//! | filter | the server |
//! | largest body | 768 KiB: with any header it fits into the default `max_payload` of 1 MiB |
//!
//! What is proven is what the node's own server does. In a cluster, what is published right behind
//! a confirmation by a node on another server may overtake the news of the subscription.
//!
//! A node that falls behind what arrives by 64 MiB gives its connection up, as the server would
//! do; a message that the client library drops, as 65,536 wait on its topic, is reported as an
//! interruption too.
//!
//! # For the server's administrator
//!
//! * **Subjects** are called `{prefix}.{hub}.{kind}.{name}`. Each of prefix, hub and name is one
//!   token: its own text if that is made of letters, digits, `_` and `-`, otherwise `~` and the
//!   text in base64url. Besides, each node sends itself messages on `{prefix}.fence.*`.
//! * **Permissions** for a user that does this and nothing else: publish and subscribe on
//!   `backplane.>` (the prefix, where it is another). A topic that is denied within that is refused
//!   alone. Permissions that are extended count from a node's next connection on.
//! * **`max_payload`** below 1 MiB makes the server refuse bodies that other servers would take;
//!   such an envelope is refused alone, with a reason that says so.
//! * **`max_control_line`** has to hold the longest subject: the default of 4,096 bytes does, for
//!   all names. A longer line makes the server close the connection.
//! * **`max_subscriptions`** has to allow one subscription per group, user and connection that a
//!   node serves, two more per hub, and three of the node's own.
//! * **`max_pending`**: a node that reads too slowly is disconnected by the server, and reports it
//!   as an interruption.
//! * **Lame duck mode**: a node stays until the server closes its connection, then goes to the next
//!   server of its URL.

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
