//! JetStream.

use std::{collections::VecDeque, future::IntoFuture, sync::Arc};

use async_nats::jetstream::{self, consumer::push, stream::Config};
use async_trait::async_trait;
use backplane_core::{ConnectError, Node};
use backplane_nats::JetStreamConfig;
use backplane_tests::brokers::{Nats, NatsFlavour, NatsOptions};
use futures_util::StreamExt;
use tokio::task::JoinHandle;

use super::{
    BODY, Contender, Counter, Failure, Group, IN_FLIGHT,
    nodes::{BARE, COUNTED, Nodes, Style},
};

pub(super) async fn group() -> Result<Group, Failure> {
    let broker = Nats::start(NatsFlavour::Nats2_15, NatsOptions::default().jetstream()).await?;
    let mut contenders: Vec<Box<dyn Contender>> =
        vec![Box::new(PlainJetStream::start(&broker.url()).await?)];
    let url = broker.url().replacen("nats:", "nats+jetstream:", 1);
    for topics in [1, 64, 4096] {
        for layer in [BARE, COUNTED] {
            let nodes = Nodes::of(layer, &url, node, Style::Queued { topics }).await?;
            contenders.push(Box::new(nodes));
        }
    }
    contenders.push(Box::new(Nodes::of(COUNTED, &url, node, Style::Awaited).await?));
    Ok(Group::on(broker, contenders))
}

fn node(url: &str) -> Result<Node, ConnectError> {
    JetStreamConfig::from_url(url).and_then(JetStreamConfig::start)
}

/// The client library as its documentation shows it: acknowledgements are awaited later, and an ordered
/// consumer reads.
struct PlainJetStream {
    context: jetstream::Context,
    counter: Arc<Counter>,
    reader: JoinHandle<()>,
}

impl PlainJetStream {
    const NAME: &str = "plain";

    async fn start(url: &str) -> Result<Self, Failure> {
        let context = jetstream::new(async_nats::connect(url).await?);
        let name = Self::NAME.to_owned();
        let config = Config { subjects: vec![name.clone()], name, ..Config::default() };
        let stream = context.create_stream(config).await?;
        let reading = jetstream::new(async_nats::connect(url).await?);
        let reading = reading.get_stream(stream.cached_info().config.name.clone()).await?;
        let deliver_subject = "plain_inbox".to_owned();
        let config = push::OrderedConfig { deliver_subject, ..push::OrderedConfig::default() };
        let mut messages = reading.create_consumer(config).await?.messages().await?;
        let counter = Arc::new(Counter::default());
        let counting = Arc::clone(&counter);
        let reader = tokio::spawn(async move {
            while let Some(Ok(message)) = messages.next().await {
                if message.payload.len() == BODY.len() {
                    counting.add();
                }
            }
        });
        Ok(Self { context, counter, reader })
    }
}

#[async_trait]
impl Contender for PlainJetStream {
    fn name(&self) -> String {
        format!("async-nats crate, {IN_FLIGHT} in flight")
    }

    async fn run(&self, messages: u64) -> Result<(), Failure> {
        self.counter.expect(messages);
        let mut answers = VecDeque::with_capacity(IN_FLIGHT);
        for _ in 0..messages {
            if answers.len() == IN_FLIGHT
                && let Some(oldest) = answers.pop_front()
            {
                IntoFuture::into_future(oldest).await?;
            }
            answers.push_back(self.context.publish(Self::NAME, BODY[..].into()).await?);
        }
        for answer in answers {
            answer.await?;
        }
        self.counter.enough().await;
        Ok(())
    }
}

impl Drop for PlainJetStream {
    fn drop(&mut self) {
        self.reader.abort();
    }
}
