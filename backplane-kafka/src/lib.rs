//! A backplane over Kafka, and over what speaks its protocol.
//!
//! ```no_run
//! use backplane_core::{Backplane, Envelope, Topic};
//! use backplane_kafka::KafkaConfig;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let node = KafkaConfig::from_url("kafka://localhost:9092?topic=shop")?.start()?;
//! node.link().wait_for(|link| link.is_up()).await?;
//! node.publish(Envelope::new(Topic::user("orders", "ann"), "shipped")).await?;
//! # Ok(())
//! # }
//! ```
//!
//! One Kafka topic holds everything: the key of a record is the envelope's topic, and decides its partition.
//!
//! ```text
//! envelope ─ key: hub/kind/name ─ hash ─▶ partition ─▶ idempotent producer ─ acks ─▶ receipt
//! consumer of all partitions, by assignment ─ key of no interest? ─▶ Inbound::frame_at
//! ```
//!
//! Each node reads all partitions by itself, of no consumer group, on from where it was; it drops what it has
//! no interest in by the key, undecoded. A place in the log (where a subscription begins, what there is to
//! catch up with) is marked by an empty record: behind that everything is new, on any broker. The client
//! library, librdkafka, mends connections to one broker of several underneath; when it has lost all of them,
//! or one partition takes or brings no records, the node takes its connection for lost, says so, and makes a
//! new one.
//!
//! # Promises
//!
//! By default a node numbers what it publishes, and buffers during an outage: see
//! [`NodeOptions`](backplane_core::NodeOptions). This is what it promises without that, with
//! `?repair=off&outage=refuse`:
//!
//! | promise | Kafka |
//! |---|---|
//! | delivery | at least once: twice, where a node sends again what it had sent on another connection |
//! | order | per origin and topic |
//! | receipt | stored: as many replicas have it as `acks` and the cluster's `min.insync.replicas` say |
//! | publisher's outage | local sinks are served, the ticket says that nobody else is |
//! | subscriber's outage | read on from where it was; what was removed meanwhile is a `Gap` |
//! | replay | as long as `age`, which should be the topic's `retention.ms` |
//! | filter | the node, by the key, before it decodes anything |
//! | largest body | 760 KiB: with any header and key it fits into the default `max.message.bytes` of 1 MiB |
//!
//! A log that has lost its end, or is another one (a topic that was deleted and made again), is noticed: it is
//! shorter than what the node has read, or the last record that was read is not there any more. Then it is
//! read from its beginning, behind a `Gap`.
//!
//! # What was shown on which broker
//!
//! Kafka itself is not run by this project's tests. They run on **Tansu 0.6**, which speaks the protocol and
//! keeps everything in memory: the whole suite, and faults (cut, black hole, pause, a restart that loses the
//! log); and on the **cluster of three brokers that librdkafka brings for tests**: all brokers down and up
//! again under load, one after the other with its partitions moving, and errors that brokers answer with.
//! On Tansu one run has failed, once, beside other work and never alone: after a receiver was frozen for 30 s under full
//! load, much had not arrived another 40 s later. Why is not known.
//! A login by SASL that is refused was shown on Tansu. What only real replicas show (a leader's death with `acks=all`,
//! retention, partitions that are added, quotas, ACLs, a login that is granted) is built by the protocol's
//! documentation, for **Apache Kafka** from 2.4 on and **Redpanda**, and has not been shown.
//!
//! Of Tansu 0.6 this works around: it calls the end of a partition what is the beginning of its last batch,
//! plus one; it may show a batch before the one in front of it; and after a restart its answers to a fetch of
//! what it had before make librdkafka 2.12 crash, which is why a client ends before it connects again.
//!
//! # Throughput
//!
//! 256 bytes an envelope, from one node to another over Tansu on two cores, beside the client library with an
//! idempotent producer, 512 records on their way and a polled consumer (`cargo bench -p backplane-tests
//! --features kafka --bench transport -- --on kafka`): a node as users get it does 4.3 times that on one topic,
//! 2.4 on 64, and 1.9 on 4,096 topics, as envelopes of one topic that are published close together share a
//! record. With 4,096 records on their way the library does 3.3 times as many itself, and more than a node on
//! 64 topics and up.
//!
//! # For the cluster's administrator
//!
//! * **The topic** (`topic`, by default `backplane`) is created where it is missing, with `partitions`,
//!   `replication` and `retention.ms` from `age`, if the user may. Made by hand, it needs at least so many
//!   partitions, `cleanup.policy=delete`, and belongs to the backplane alone: offsets that are skipped, by
//!   compaction or by transactions of others, are told as a `Gap`. Applications that share a cluster need
//!   different topics.
//! * **Access rules** for a user that does this and nothing else: `Describe`, `Read` and `Write` on the topic,
//!   and `Create` if it is not made by hand; `IdempotentWrite` on the cluster before Kafka 2.8. No group is
//!   joined, and no offset committed.
//! * **What a receipt is worth.** `acks=all` with `replication.factor=3` and `min.insync.replicas=2` outlives
//!   any one broker. Kafka does not write to disk (fsync) before it acknowledges; Redpanda does, unless told
//!   otherwise. A sudden end of all replicas at once may cost what `flush.messages` leaves open.
//! * **Retention.** Kafka removes whole segments: with `retention.ms` of an hour, set `segment.ms` below that.
//!   `retention.bytes` counts for each partition.
//! * **`max.message.bytes`** below 1 MiB makes brokers refuse bodies that others would take; such an envelope
//!   is refused alone.
//! * **Load.** Each node reads the whole topic, whatever its interest: the traffic is the published bytes times
//!   the nodes. Besides, a node writes an empty record per partition at each connection and every 10 s, and
//!   one per partition for topics that are subscribed together.
//! * **Connections and threads.** A node has two clients, with a connection to each broker and a thread for
//!   each of these.
//!
//! ## More partitions
//!
//! A topic stays in its partition while `partitions` stays, so all nodes have to agree. To have more: add
//! them to the Kafka topic (nodes that run find them within 10 s, and read them), then restart the nodes with
//! the new number, one by one. Offsets that applications have kept are worth nothing from then on.
//!
//! # TLS, logins and more
//!
//! The feature `ssl` brings TLS, and SASL with user and password, by the machine's OpenSSL. Without it, nothing
//! but a C compiler and make is needed. Other features of `rdkafka` (`ssl-vendored`, `gssapi`, `zstd`, …) are
//! turned on by an application that names `rdkafka` in its own `Cargo.toml`; a login other than by user and
//! password is then chosen by `rdkafka.sasl.mechanisms=GSSAPI` and what belongs to it.
//!
//! What the library logs goes through `tracing`, with the target `librdkafka`, and never as a warning: the
//! state of the link is the node's to tell. `rdkafka.debug=broker,msg` in the URL makes it say more, as traces.

mod client;
mod cluster;
mod config;
mod connection;
mod error;
mod follow;
mod from_url;
mod part;
mod place;
mod publish;
mod read;

pub use config::{Acks, KafkaConfig, Login, Mechanism};
