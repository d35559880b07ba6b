//! What the tests of this crate have in common.

#![allow(dead_code, reason = "each test file uses a part of it")]

use std::{sync::Arc, time::Duration};

use backplane_core::{Envelope, Event, Events, LinkError, Next, Node, NodeOptions, Topic};
use backplane_redis::RedisConfig;
use backplane_tests::{brokers::Broker, kit};
use futures_util::StreamExt;

/// Runs each test on each of these servers.
#[allow(unused_macros, reason = "each test file uses a part of it")]
macro_rules! on {
    ([$($server:ident: $flavour:ident),+] $($test:ident)+) => {
        on!(@each [$(($server, $flavour))+] [$($test)+]);
    };
    (@each [$($server:tt)+] $tests:tt) => { $(on!(@one $server $tests);)+ };
    (@one ($server:ident, $flavour:ident) [$($test:ident)+]) => {
        mod $server {
            use backplane_tests::brokers::RedisFlavour;
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $test() {
                    super::$test(RedisFlavour::$flavour).await;
                }
            )+
        }
    };
}

#[allow(unused_imports, reason = "each test file uses a part of it")]
pub(crate) use on;

/// Above anything that works, so that what doesn't ends.
const DEADLINE: Duration = Duration::from_secs(60);

pub(crate) async fn within<T>(work: impl Future<Output = T>) -> T {
    tokio::time::timeout(DEADLINE, work).await.expect("it should not take this long")
}

pub(crate) fn start(url: &str) -> Node {
    let mut config = RedisConfig::from_url(url).unwrap();
    config.node = NodeOptions::bare();
    config.start().unwrap()
}

/// A node whose link is up.
pub(crate) async fn node(url: &str) -> Node {
    let node = start(url);
    up(&node).await;
    node
}

pub(crate) async fn up(node: &Node) {
    kit::up(node).await.unwrap();
}

/// Why the node's link is down, as soon as it is.
pub(crate) async fn down(node: &Node) -> Arc<LinkError> {
    kit::down(node).await.unwrap()
}

/// Events of topics that are confirmed.
pub(crate) async fn events(node: &Node, topics: &[Topic]) -> Events {
    let events = backplane_core::stream(node, topics, 65_536).unwrap();
    within(events.subscription().confirmed()).await.unwrap();
    events
}

pub(crate) async fn event(events: &mut Events) -> Event {
    match within(events.next()).await {
        Some(Next::Event(event)) => event,
        other => panic!("{other:?}"),
    }
}

/// The next event's body.
pub(crate) async fn body(events: &mut Events) -> Vec<u8> {
    match event(events).await {
        Event::Message(Envelope { body, .. }) => body.to_vec(),
        other => panic!("{other:?}"),
    }
}

/// The server's own view, over a connection that is no node's.
pub(crate) struct Server(redis::aio::MultiplexedConnection);

impl Server {
    pub(crate) async fn of(broker: &Broker) -> Self {
        let client = redis::Client::open(broker.url()).unwrap();
        Self(client.get_multiplexed_async_connection().await.unwrap())
    }

    pub(crate) async fn ask<T: redis::FromRedisValue>(&self, words: &str) -> T {
        let mut words = words.split(' ');
        let mut command = redis::cmd(words.next().unwrap());
        command.arg(words.collect::<Vec<_>>());
        command.query_async(&mut self.0.clone()).await.unwrap()
    }

    /// One line for each connection but this one.
    pub(crate) async fn connections(&self) -> Vec<String> {
        let list: String = self.ask("CLIENT LIST").await;
        list.lines().filter(|line| !line.contains("cmd=client")).map(str::to_owned).collect()
    }

    /// Asks until only this connection is left.
    pub(crate) async fn alone(&self) {
        within(async { while !self.connections().await.is_empty() {} }).await;
    }
}
