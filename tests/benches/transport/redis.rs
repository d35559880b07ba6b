//! Pub/Sub.

use std::sync::Arc;

use async_trait::async_trait;
use backplane_core::{ConnectError, Node};
use backplane_redis::RedisConfig;
use backplane_tests::brokers::{Redis, RedisFlavour, RedisOptions};
use futures_util::StreamExt;
use tokio::task::JoinHandle;

use super::{
    BODY, Contender, Counter, Failure, Group, IN_FLIGHT, all,
    nodes::{BARE, Nodes, REPAIRED, Style},
};

pub(super) async fn group() -> Result<Group, Failure> {
    // A subscriber that falls behind is to be measured, not cut off.
    let options = RedisOptions::default().config_line("client-output-buffer-limit pubsub 0 0 0");
    let broker = Redis::start(RedisFlavour::Redis7, options).await?;
    let mut contenders: Vec<Box<dyn Contender>> =
        vec![Box::new(PlainRedis::start(&broker.url()).await?)];
    for topics in [1, 64, 4096] {
        for layer in [BARE, REPAIRED] {
            let nodes = Nodes::of(layer, &broker.url(), node, Style::Queued { topics }).await?;
            contenders.push(Box::new(nodes));
        }
    }
    let awaited = Nodes::of(REPAIRED, &broker.url(), node, Style::Awaited).await?;
    contenders.push(Box::new(awaited));
    Ok(Group::on(broker, contenders))
}

fn node(url: &str) -> Result<Node, ConnectError> {
    RedisConfig::from_url(url).and_then(RedisConfig::start)
}

/// The client library as most people use it: one multiplexed connection with many publishes on
/// their way, and a subscriber that reads a stream.
struct PlainRedis {
    connection: redis::aio::MultiplexedConnection,
    counter: Arc<Counter>,
    reader: JoinHandle<()>,
}

impl PlainRedis {
    const CHANNEL: &str = "plain";

    async fn start(url: &str) -> Result<Self, Failure> {
        let client = redis::Client::open(url)?;
        let connection = client.get_multiplexed_async_connection().await?;
        let mut subscriber = client.get_async_pubsub().await?;
        subscriber.subscribe(Self::CHANNEL).await?;
        let counter = Arc::new(Counter::default());
        let counting = Arc::clone(&counter);
        let reader = tokio::spawn(async move {
            let mut messages = subscriber.into_on_message();
            while let Some(message) = messages.next().await {
                if message.get_payload_bytes().len() == BODY.len() {
                    counting.add();
                }
            }
        });
        Ok(Self { connection, counter, reader })
    }
}

#[async_trait]
impl Contender for PlainRedis {
    fn name(&self) -> String {
        format!("redis crate, {IN_FLIGHT} in flight")
    }

    async fn run(&self, messages: u64) -> Result<(), Failure> {
        self.counter.expect(messages);
        let publishes = (0..messages).map(|_| {
            let mut connection = self.connection.clone();
            async move {
                let mut command = redis::cmd("PUBLISH");
                command.arg(Self::CHANNEL).arg(&BODY);
                command.query_async::<u64>(&mut connection).await
            }
        });
        all(publishes, IN_FLIGHT).await?;
        self.counter.enough().await;
        Ok(())
    }
}

impl Drop for PlainRedis {
    fn drop(&mut self) {
        self.reader.abort();
    }
}
