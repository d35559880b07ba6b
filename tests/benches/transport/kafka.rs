//! Kafka, on Tansu.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use async_trait::async_trait;
use backplane_core::{ConnectError, Node};
use backplane_kafka::KafkaConfig;
use backplane_tests::brokers::Tansu;
use rdkafka::{
    ClientConfig, Message, Offset, TopicPartitionList,
    admin::{AdminClient, AdminOptions, NewTopic, TopicReplication},
    client::DefaultClientContext,
    consumer::{BaseConsumer, Consumer},
    producer::{FutureProducer, FutureRecord},
};

use super::{
    BODY, Contender, Counter, Failure, Group, IN_FLIGHT, all,
    nodes::{BARE, COUNTED, Nodes, Style},
};

/// As many as a node has by default.
const PARTITIONS: i32 = 12;

pub(super) async fn group() -> Result<Group, Failure> {
    let broker = Tansu::start().await?;
    let servers = broker.address().to_string();
    let mut contenders: Vec<Box<dyn Contender>> = vec![
        Box::new(PlainKafka::start(&servers, IN_FLIGHT).await?),
        Box::new(PlainKafka::start(&servers, 8 * IN_FLIGHT).await?),
    ];
    let more = super::option("--options").unwrap_or_default();
    for topics in [1, 64, 4096] {
        for (at, layer) in [BARE, COUNTED].into_iter().enumerate() {
            // Of its own for each contender, as a node reads all that is in it.
            let url = format!("{}?topic=ours-{topics}-{at}&{more}", broker.url());
            let nodes = Nodes::of(layer, &url, node, Style::Queued { topics }).await?;
            contenders.push(Box::new(nodes));
        }
    }
    Ok(Group::on(broker, contenders))
}

fn node(url: &str) -> Result<Node, ConnectError> {
    KafkaConfig::from_url(url).and_then(KafkaConfig::start)
}

/// The client library: an idempotent producer with so many records on their way, each awaited, and a thread
/// that polls a consumer of all partitions.
struct PlainKafka {
    producer: FutureProducer,
    topic: String,
    in_flight: usize,
    counter: Arc<Counter>,
    stop: Arc<AtomicBool>,
}

impl PlainKafka {
    async fn start(servers: &str, in_flight: usize) -> Result<Self, Failure> {
        let topic = format!("plain-{in_flight}");
        let mut client = ClientConfig::new();
        client.set("bootstrap.servers", servers);
        let admin: AdminClient<DefaultClientContext> = client.create()?;
        let created = NewTopic::new(&topic, PARTITIONS, TopicReplication::Fixed(1));
        for created in admin.create_topics([&created], &AdminOptions::new()).await? {
            created.map_err(|(_, code)| code)?;
        }
        let producer = client
            .clone()
            .set("enable.idempotence", "true")
            .set("acks", "all")
            .set("linger.ms", "0")
            .set("enable.sparse.connections", "false")
            .create()?;
        let consumer: BaseConsumer =
            client.set("group.id", "plain").set("enable.auto.commit", "false").create()?;
        let mut all = TopicPartitionList::new();
        for partition in 0..PARTITIONS {
            all.add_partition_offset(&topic, partition, Offset::Beginning)?;
        }
        consumer.assign(&all)?;
        let (counter, stop) = (Arc::new(Counter::default()), Arc::new(AtomicBool::new(false)));
        let (counting, stopped) = (Arc::clone(&counter), Arc::clone(&stop));
        thread::spawn(move || {
            while !stopped.load(Ordering::Acquire) {
                if let Some(Ok(record)) = consumer.poll(Duration::from_millis(100))
                    && record.payload().is_some_and(|body| body.len() == BODY.len())
                {
                    counting.add();
                }
            }
        });
        Ok(Self { producer, topic, in_flight, counter, stop })
    }
}

#[async_trait]
impl Contender for PlainKafka {
    fn name(&self) -> String {
        format!("rdkafka crate, {} in flight", self.in_flight)
    }

    async fn run(&self, messages: u64) -> Result<(), Failure> {
        self.counter.expect(messages);
        let sends = (0..messages).map(async |number| {
            let record = FutureRecord::<(), _>::to(&self.topic)
                .partition((number % PARTITIONS as u64) as i32)
                .payload(&BODY);
            let sent = self.producer.send_result(record).map_err(|(error, _)| error)?;
            sent.await?.map_err(|(error, _)| error)?;
            Ok::<(), Failure>(())
        });
        all(sends, self.in_flight).await?;
        self.counter.enough().await;
        Ok(())
    }
}

impl Drop for PlainKafka {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
    }
}
