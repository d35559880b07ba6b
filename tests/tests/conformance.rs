//! Judges the transports of this project by every scenario of the kit.

use backplane_tests::{
    brokers::{NatsFlavour, RedisFlavour},
    kit::{MemoryFixture, NatsFixture, RedisClusterFixture, RedisFixture},
};

backplane_tests::conformance! {
    memory => MemoryFixture::start(),
    redis7 => RedisFixture::start(RedisFlavour::Redis7),
    valkey9 => RedisFixture::start(RedisFlavour::Valkey9),
    redis7_streams => RedisFixture::streams(RedisFlavour::Redis7),
    valkey9_streams => RedisFixture::streams(RedisFlavour::Valkey9),
    valkey9_sentinel => RedisFixture::sentinel(RedisFlavour::Valkey9),
    valkey9_sentinel_streams => RedisFixture::sentinel_streams(RedisFlavour::Valkey9),
    valkey9_sharded => RedisClusterFixture::sharded(RedisFlavour::Valkey9),
    #[cfg(feature = "tls")]
    redis7_sharded_tls => RedisClusterFixture::encrypted(RedisFlavour::Redis7),
    valkey9_cluster => RedisClusterFixture::classic(RedisFlavour::Valkey9),
    nats2_9 => NatsFixture::start(NatsFlavour::Nats2_9),
    nats2_15 => NatsFixture::start(NatsFlavour::Nats2_15),
    nats2_15_cluster => NatsFixture::cluster(NatsFlavour::Nats2_15),
    nats2_15_jetstream => NatsFixture::jetstream(NatsFlavour::Nats2_15),
    nats2_15_jetstream_cluster => NatsFixture::jetstream_cluster(NatsFlavour::Nats2_15),
    #[cfg(feature = "kafka")]
    tansu => backplane_tests::kit::KafkaFixture::tansu(),
}
