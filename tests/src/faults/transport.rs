//! The transports that faults can be staged on, by name.

use std::sync::Arc;

use crate::{
    brokers::{NatsFlavour, RedisFlavour},
    kit::{Fixture, MemoryFixture, NatsFixture, Outcome, RedisClusterFixture, RedisFixture},
};

/// A transport of this project with the server that it is staged on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Transport {
    /// Within this process.
    Memory,
    /// Pub/Sub on a server of the Redis family.
    Redis(RedisFlavour),
    /// Streams on a server of the Redis family.
    Streams(RedisFlavour),
    /// Pub/Sub on the master that sentinels name.
    Sentinel(RedisFlavour),
    /// Streams on the master that sentinels name.
    SentinelStreams(RedisFlavour),
    /// Sharded Pub/Sub on a cluster of servers of the Redis family.
    Sharded(RedisFlavour),
    /// Classic Pub/Sub on such a cluster, which passes everything on to all its servers.
    Cluster(RedisFlavour),
    /// Core NATS.
    Nats(NatsFlavour),
    /// JetStream.
    JetStream(NatsFlavour),
    /// Core NATS on a cluster of three servers.
    NatsCluster(NatsFlavour),
    /// JetStream on a cluster of three servers that all keep the stream.
    JetStreamCluster(NatsFlavour),
    /// Kafka's protocol, on Tansu.
    #[cfg(feature = "kafka")]
    Tansu,
}

impl Transport {
    /// All that are compared.
    pub const ALL: &[Self] = &[
        Self::Memory,
        Self::Redis(RedisFlavour::Redis7),
        Self::Redis(RedisFlavour::Valkey9),
        Self::Streams(RedisFlavour::Redis7),
        Self::Sentinel(RedisFlavour::Valkey9),
        Self::SentinelStreams(RedisFlavour::Valkey9),
        Self::Sharded(RedisFlavour::Valkey9),
        Self::Cluster(RedisFlavour::Valkey9),
        Self::Nats(NatsFlavour::Nats2_9),
        Self::Nats(NatsFlavour::Nats2_15),
        Self::JetStream(NatsFlavour::Nats2_15),
        Self::NatsCluster(NatsFlavour::Nats2_15),
        Self::JetStreamCluster(NatsFlavour::Nats2_15),
        #[cfg(feature = "kafka")]
        Self::Tansu,
    ];

    /// The name for tests and command lines: `redis7`.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Redis(flavour) => flavour.label(),
            Self::Streams(RedisFlavour::Redis7) => "redis7_streams",
            Self::Streams(RedisFlavour::Valkey9) => "valkey9_streams",
            Self::Streams(RedisFlavour::Redis6) => "redis6_streams",
            Self::Sentinel(RedisFlavour::Redis7) => "redis7_sentinel",
            Self::Sentinel(RedisFlavour::Valkey9) => "valkey9_sentinel",
            Self::Sentinel(RedisFlavour::Redis6) => "redis6_sentinel",
            Self::SentinelStreams(RedisFlavour::Redis7) => "redis7_sentinel_streams",
            Self::SentinelStreams(RedisFlavour::Valkey9) => "valkey9_sentinel_streams",
            Self::SentinelStreams(RedisFlavour::Redis6) => "redis6_sentinel_streams",
            Self::Sharded(RedisFlavour::Redis7) => "redis7_sharded",
            Self::Sharded(RedisFlavour::Valkey9) => "valkey9_sharded",
            Self::Sharded(RedisFlavour::Redis6) => "redis6_sharded",
            Self::Cluster(RedisFlavour::Redis7) => "redis7_cluster",
            Self::Cluster(RedisFlavour::Valkey9) => "valkey9_cluster",
            Self::Cluster(RedisFlavour::Redis6) => "redis6_cluster",
            Self::Nats(flavour) => flavour.label(),
            Self::JetStream(NatsFlavour::Nats2_9) => "nats2_9_jetstream",
            Self::JetStream(NatsFlavour::Nats2_15) => "nats2_15_jetstream",
            Self::NatsCluster(NatsFlavour::Nats2_9) => "nats2_9_cluster",
            Self::NatsCluster(NatsFlavour::Nats2_15) => "nats2_15_cluster",
            Self::JetStreamCluster(NatsFlavour::Nats2_9) => "nats2_9_jetstream_cluster",
            Self::JetStreamCluster(NatsFlavour::Nats2_15) => "nats2_15_jetstream_cluster",
            #[cfg(feature = "kafka")]
            Self::Tansu => crate::brokers::Tansu::LABEL,
        }
    }

    /// The transport of that label; `redis`, `valkey`, `nats`, `streams` and `jetstream` are the newest of theirs.
    #[must_use]
    pub fn named(label: &str) -> Option<Self> {
        match label {
            "redis" => Some(Self::Redis(RedisFlavour::Redis7)),
            "valkey" => Some(Self::Redis(RedisFlavour::Valkey9)),
            "nats" => Some(Self::Nats(NatsFlavour::Nats2_15)),
            "jetstream" => Some(Self::JetStream(NatsFlavour::Nats2_15)),
            "redis6" => Some(Self::Redis(RedisFlavour::Redis6)),
            "streams" => Some(Self::Streams(RedisFlavour::Redis7)),
            "valkey9_streams" => Some(Self::Streams(RedisFlavour::Valkey9)),
            "redis6_streams" => Some(Self::Streams(RedisFlavour::Redis6)),
            "sharded" => Some(Self::Sharded(RedisFlavour::Valkey9)),
            "redis7_sharded" => Some(Self::Sharded(RedisFlavour::Redis7)),
            "redis7_cluster" => Some(Self::Cluster(RedisFlavour::Redis7)),
            _ => Self::ALL.iter().copied().find(|transport| transport.label() == label),
        }
    }

    /// Starts a fresh medium, with a password where it knows any.
    ///
    /// # Errors
    ///
    /// It does not start; where its program is missing, the error names what installs it.
    pub async fn start(self) -> Outcome<Arc<dyn Fixture>> {
        Ok(match self {
            Self::Memory => Arc::new(MemoryFixture::start().await?),
            Self::Redis(flavour) => Arc::new(RedisFixture::with_password(flavour).await?),
            Self::Streams(flavour) => Arc::new(RedisFixture::streams(flavour).await?),
            Self::Sentinel(flavour) => Arc::new(RedisFixture::sentinel(flavour).await?),
            Self::SentinelStreams(flavour) => {
                Arc::new(RedisFixture::sentinel_streams(flavour).await?)
            }
            Self::Sharded(flavour) => Arc::new(RedisClusterFixture::sharded(flavour).await?),
            Self::Cluster(flavour) => Arc::new(RedisClusterFixture::classic(flavour).await?),
            Self::Nats(flavour) => Arc::new(NatsFixture::with_password(flavour).await?),
            Self::JetStream(flavour) => Arc::new(NatsFixture::jetstream(flavour).await?),
            Self::NatsCluster(flavour) => Arc::new(NatsFixture::cluster(flavour).await?),
            Self::JetStreamCluster(flavour) => {
                Arc::new(NatsFixture::jetstream_cluster(flavour).await?)
            }
            #[cfg(feature = "kafka")]
            Self::Tansu => Arc::new(crate::kit::KafkaFixture::tansu().await?),
        })
    }
}
