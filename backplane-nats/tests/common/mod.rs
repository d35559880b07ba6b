//! What the tests of this crate have in common.
#![allow(dead_code, reason = "each test file uses its own part of it")]

use std::{sync::Arc, time::Duration};

use backplane_core::{Envelope, Event, Events, LinkError, Next, Node, NodeOptions, Topic, stream};
use backplane_nats::NatsConfig;
use backplane_tests::{
    brokers::{Broker, Nats, NatsFlavour, NatsOptions},
    kit,
};
use futures_util::StreamExt;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

/// Longer than anything here takes: only a failing test waits for it.
const PATIENCE: Duration = Duration::from_secs(30);

/// Makes one module per server, each with these tests.
#[allow(unused_macros, reason = "each test file uses its own part of it")]
macro_rules! on_each_server {
    ($($(#[$attribute:meta])* $test:ident),+ $(,)?) => {
        on_each_server!(@ nats2_9 Nats2_9 $($(#[$attribute])* $test)+);
        on_each_server!(@ nats2_15 Nats2_15 $($(#[$attribute])* $test)+);
    };
    (@ $module:ident $flavour:ident $($(#[$attribute:meta])* $test:ident)+) => {
        mod $module {
            use backplane_tests::brokers::NatsFlavour;
            $(
                $(#[$attribute])*
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $test() {
                    super::$test(NatsFlavour::$flavour).await;
                }
            )+
        }
    };
}
#[allow(unused_imports, reason = "each test file uses its own part of it")]
pub(crate) use on_each_server;

/// Waits, but not for ever.
pub(crate) async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(PATIENCE, future).await {
        Ok(outcome) => outcome,
        Err(_) => panic!("waited in vain: {what}"),
    }
}

pub(crate) async fn broker(flavour: NatsFlavour) -> Broker {
    broker_with(flavour, NatsOptions::default()).await
}

pub(crate) async fn broker_with(flavour: NatsFlavour, options: NatsOptions) -> Broker {
    Nats::start(flavour, options).await.unwrap()
}

pub(crate) fn node(url: &str) -> Node {
    let mut config = NatsConfig::from_url(url).unwrap();
    config.node = NodeOptions::bare();
    config.start().unwrap()
}

pub(crate) async fn node_up(url: &str) -> Node {
    let node = node(url);
    up(&node).await;
    node
}

pub(crate) async fn up(node: &Node) {
    kit::up(node).await.unwrap();
}

/// Why the link is down, once it is.
pub(crate) async fn down(node: &Node) -> Arc<LinkError> {
    kit::down(node).await.unwrap()
}

/// A confirmed subscription.
pub(crate) async fn listen(node: &Node, topics: &[Topic]) -> Events {
    let events = stream(node, topics, 65_536).unwrap();
    soon("the broker routes it", events.subscription().confirmed()).await.unwrap();
    events
}

pub(crate) async fn next(events: &mut Events) -> Event {
    match soon("an event", events.next()).await {
        Some(Next::Event(event)) => event,
        other => panic!("{other:?}"),
    }
}

/// The next event, which must be a message.
pub(crate) async fn message(events: &mut Events) -> Envelope {
    match next(events).await {
        Event::Message(envelope) => envelope,
        other => panic!("{other:?}"),
    }
}

/// Options for a server with restricted users besides an open one.
pub(crate) fn users(users: &str) -> NatsOptions {
    let open = r#"{ user: "open", password: "open" }"#;
    NatsOptions::default()
        .config_line(format!("authorization: {{ users: [ {open}, {users} ] }}"))
        .config_line(r#"no_auth_user: "open""#)
}

/// What the server's own pages say about it.
#[derive(Debug)]
pub(crate) struct Monitor(String);

impl Monitor {
    pub(crate) fn option(options: NatsOptions) -> NatsOptions {
        options.config_line(r#"http: "127.0.0.1:-1""#)
    }

    pub(crate) fn of(broker: &Broker) -> Self {
        let log = broker.log_tail();
        let address = log.split("http monitor on ").nth(1).unwrap().lines().next().unwrap();
        Self(address.trim().to_owned())
    }

    async fn get(&self, path: &str) -> String {
        let mut stream = TcpStream::connect(&self.0).await.unwrap();
        stream.write_all(format!("GET {path} HTTP/1.0\r\n\r\n").as_bytes()).await.unwrap();
        let mut page = String::new();
        stream.read_to_string(&mut page).await.unwrap();
        page
    }

    /// Waits until a number on a page is as expected.
    pub(crate) async fn until(&self, path: &str, name: &str, expected: u64) {
        let mut found = None;
        let settled = async {
            while found != Some(expected) {
                let page = self.get(path).await;
                let value = page.split(&format!("\"{name}\": ")).nth(1).unwrap();
                let digits = value.split(|c: char| !c.is_ascii_digit()).next().unwrap();
                found = digits.parse().ok();
            }
        };
        if tokio::time::timeout(PATIENCE, settled).await.is_err() {
            panic!("{name} is {found:?}, expected {expected}");
        }
    }

    pub(crate) async fn number(&self, path: &str, name: &str) -> u64 {
        let page = self.get(path).await;
        let value = page.split(&format!("\"{name}\": ")).nth(1).unwrap();
        value.split(|c: char| !c.is_ascii_digit()).next().unwrap().parse().unwrap()
    }
}
