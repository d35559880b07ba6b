//! Sharded Pub/Sub on a cluster.

use std::sync::Arc;

use async_trait::async_trait;
use backplane_core::{ConnectError, Node};
use backplane_redis::ShardedConfig;
use backplane_tests::brokers::{Broker, RedisCluster, RedisFlavour, RedisOptions};
use redis::{AsyncConnectionConfig, PushInfo, PushKind, aio::MultiplexedConnection, cmd};

use super::{
    BODY, Contender, Counter, Failure, Group, IN_FLIGHT, all,
    nodes::{BARE, Nodes, REPAIRED, Style},
};

pub(super) async fn group() -> Result<Group, Failure> {
    // A subscriber that falls behind is to be measured, not cut off.
    let options = RedisOptions::default().config_line("client-output-buffer-limit pubsub 0 0 0");
    let cluster = RedisCluster::start(RedisFlavour::Valkey9, options).await?;
    cluster.well().await?;
    let mut contenders: Vec<Box<dyn Contender>> = vec![Box::new(Plain::start(&cluster).await?)];
    let places: Vec<String> = cluster.brokers().map(|it| it.address().to_string()).collect();
    let url = format!("redis+sharded://{}", places.join(","));
    for topics in [1, 64, 4096] {
        for layer in [BARE, REPAIRED] {
            let nodes = Nodes::of(layer, &url, node, Style::Queued { topics }).await?;
            contenders.push(Box::new(nodes));
        }
    }
    Ok(Group {
        name: cluster.name(),
        processes: cluster.brokers().filter_map(Broker::pid).collect(),
        contenders,
        _medium: Box::new(cluster),
    })
}

fn node(url: &str) -> Result<Node, ConnectError> {
    ShardedConfig::from_url(url).and_then(ShardedConfig::start)
}

/// The client library with a connection to each master, many publishes on their way, and a subscribed
/// connection to each that counts as it reads: no less than its own cluster client could do.
struct Plain {
    /// The channels, each with the connection to its master.
    channels: Vec<(String, MultiplexedConnection)>,
    counter: Arc<Counter>,
    _subscribed: Vec<MultiplexedConnection>,
}

impl Plain {
    const CHANNELS: usize = 64;

    async fn start(cluster: &RedisCluster) -> Result<Self, Failure> {
        let counter = Arc::new(Counter::default());
        let (mut publishing, mut subscribed) = (Vec::new(), Vec::new());
        for broker in cluster.brokers().take(3) {
            let client = redis::Client::open(format!("{}?protocol=resp3", broker.url()))?;
            publishing.push(client.get_multiplexed_async_connection().await?);
            let counting = Arc::clone(&counter);
            let count = move |push: PushInfo| {
                if push.kind == PushKind::SMessage {
                    counting.add();
                }
                Ok::<(), redis::aio::SendError>(())
            };
            let config = AsyncConnectionConfig::new().set_push_sender(count);
            let connection = client.get_multiplexed_async_connection_with_config(&config).await?;
            subscribed.push(connection);
        }
        let mut channels = Vec::new();
        for number in 0..Self::CHANNELS {
            let channel = format!("plain/{number}");
            let slot: usize = cluster.ask(0, cmd("CLUSTER").arg("KEYSLOT").arg(&channel)).await?;
            // The masters have equal parts.
            let master = slot * 3 / 16_384;
            let subscribe = cmd("SSUBSCRIBE").arg(&channel).to_owned();
            subscribe.query_async::<redis::Value>(&mut subscribed[master]).await?;
            channels.push((channel, publishing[master].clone()));
        }
        Ok(Self { channels, counter, _subscribed: subscribed })
    }
}

#[async_trait]
impl Contender for Plain {
    fn name(&self) -> String {
        format!("redis crate, {IN_FLIGHT} in flight, {} channels", Self::CHANNELS)
    }

    async fn run(&self, messages: u64) -> Result<(), Failure> {
        self.counter.expect(messages);
        let publishes = (0..messages).map(|number| {
            let (channel, connection) = &self.channels[number as usize % Self::CHANNELS];
            let mut connection = connection.clone();
            async move {
                let mut command = cmd("SPUBLISH");
                command.arg(channel).arg(&BODY);
                command.query_async::<u64>(&mut connection).await
            }
        });
        all(publishes, IN_FLIGHT).await?;
        self.counter.enough().await;
        Ok(())
    }
}
