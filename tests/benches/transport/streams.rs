//! Streams.

use std::{collections::HashMap, sync::Arc};

use async_trait::async_trait;
use backplane_core::{ConnectError, Node};
use backplane_redis::StreamsConfig;
use backplane_tests::brokers::{Redis, RedisFlavour, RedisOptions};
use redis::{Value, aio::MultiplexedConnection, cmd};
use tokio::task::JoinHandle;

use super::{
    BODY, Contender, Counter, Failure, Group, IN_FLIGHT, all,
    nodes::{BARE, COUNTED, Nodes, Style},
};

pub(super) async fn group() -> Result<Group, Failure> {
    let broker = Redis::start(RedisFlavour::Redis7, RedisOptions::default().keep_data()).await?;
    let mut contenders: Vec<Box<dyn Contender>> = vec![
        Box::new(PlainStreams::start(&broker.url(), Way::InFlight).await?),
        Box::new(PlainStreams::start(&broker.url(), Way::Pipelines).await?),
    ];
    let url = broker.url().replacen("redis:", "redis+streams:", 1);
    for topics in [1, 64, 4096] {
        for layer in [BARE, COUNTED] {
            let nodes = Nodes::of(layer, &url, node, Style::Queued { topics }).await?;
            contenders.push(Box::new(nodes));
        }
    }
    Ok(Group::on(broker, contenders))
}

fn node(url: &str) -> Result<Node, ConnectError> {
    StreamsConfig::from_url(url).and_then(StreamsConfig::start)
}

/// How a plain client appends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    /// So many at a time on one multiplexed connection.
    InFlight,
    /// So many in one pipeline, and the next when that is answered.
    Pipelines,
}

/// The client library, appending to one stream of the same bounds, and a reader that waits for more.
struct PlainStreams {
    connection: MultiplexedConnection,
    way: Way,
    key: String,
    counter: Arc<Counter>,
    reader: JoinHandle<()>,
}

impl PlainStreams {
    async fn start(url: &str, way: Way) -> Result<Self, Failure> {
        let client = redis::Client::open(url)?;
        let config = redis::AsyncConnectionConfig::new().set_response_timeout(None);
        let connection = client.get_multiplexed_async_connection_with_config(&config).await?;
        let mut reading = client.get_multiplexed_async_connection_with_config(&config).await?;
        let counter = Arc::new(Counter::default());
        let counting = Arc::clone(&counter);
        let key = format!("plain {way:?}");
        let stream = key.clone();
        let reader = tokio::spawn(async move {
            let mut last = "0".to_owned();
            loop {
                let mut read = cmd("XREAD");
                read.arg("COUNT").arg(512).arg("BLOCK").arg(1000).arg("STREAMS");
                read.arg(&stream).arg(&last);
                let answer = read.query_async::<Option<Answer>>(&mut reading).await;
                let Ok(answer) = answer else { return };
                let entries = answer.into_iter().flatten().flat_map(|(_, entries)| entries);
                for (id, fields) in entries {
                    last = id;
                    if matches!(fields.get("e"), Some(Value::BulkString(body)) if body.len() == BODY.len())
                    {
                        counting.add();
                    }
                }
            }
        });
        Ok(Self { connection, way, key, counter, reader })
    }

    fn append(&self) -> redis::Cmd {
        let mut append = cmd("XADD");
        let bound = StreamsConfig::default().entries;
        append.arg(&self.key).arg("MAXLEN").arg("~").arg(bound).arg("*").arg("e").arg(&BODY);
        append
    }
}

/// Streams with their entries, each with its fields.
type Answer = Vec<(String, Vec<(String, HashMap<String, Value>)>)>;

#[async_trait]
impl Contender for PlainStreams {
    fn name(&self) -> String {
        match self.way {
            Way::InFlight => format!("redis crate, {IN_FLIGHT} in flight"),
            Way::Pipelines => format!("redis crate, pipelines of {IN_FLIGHT}"),
        }
    }

    async fn run(&self, messages: u64) -> Result<(), Failure> {
        self.counter.expect(messages);
        if self.way == Way::Pipelines {
            let mut connection = self.connection.clone();
            let mut left = messages as usize;
            while left > 0 {
                let count = left.min(IN_FLIGHT);
                let mut pipe = redis::Pipeline::with_capacity(count);
                for _ in 0..count {
                    pipe.add_command(self.append()).ignore();
                }
                pipe.query_async::<()>(&mut connection).await?;
                left -= count;
            }
        } else {
            let appends = (0..messages).map(|_| {
                let mut connection = self.connection.clone();
                async move { self.append().query_async::<String>(&mut connection).await }
            });
            all(appends, IN_FLIGHT).await?;
        }
        self.counter.enough().await;
        Ok(())
    }
}

impl Drop for PlainStreams {
    fn drop(&mut self) {
        self.reader.abort();
    }
}
