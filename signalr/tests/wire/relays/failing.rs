//! What becomes of connections whose broker, node or link between nodes fails.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use backplane_core::{
    Node, NodeOptions,
    chaos::{Chaos, ChaosHandle, ChaosOptions},
};
use backplane_hub::{Backplane, HubBuilder};
use backplane_memory::Medium;
use backplane_signalr::Options;
use futures_util::future::join;
use serde_json::json;
use tokio::runtime::Runtime;

use super::{UNKNOWN, acquainted, at, cluster, parked, told, until};
use crate::{
    client::soon,
    http::{exchange, request, send},
    negotiation::negotiated,
    nodes::shared,
    roaming::Roamer,
    server::Server,
};

const UNREACHABLE: (&str, &str) =
    ("503 Service Unavailable", "The server of this connection cannot be reached now");

pub(crate) async fn link(node: &Server, up: bool) {
    let mut link = node.hub.backplane().link();
    drop(soon(link.wait_for(|link| link.is_up() == up)).await.expect("the node lives"));
}

#[tokio::test]
async fn without_the_broker_it_is_told_at_once_and_with_it_all_goes_on() {
    let (medium, nodes) = cluster(2, shared).await;
    let mut client = Roamer::connect(&nodes).await;
    let path = client.path.clone();
    let poll = Box::pin(request(&nodes[0], "GET", &path, &[]));
    let waiting = parked(&nodes[1], poll).await;
    medium.stop();
    for node in &nodes {
        link(node, false).await;
    }
    assert_eq!(told(&soon(waiting).await), UNREACHABLE);
    for method in ["GET", "POST", "DELETE"] {
        assert_eq!(told(&request(&nodes[0], method, &path, &[]).await), UNREACHABLE, "{method}");
    }
    // Where the connection is, nothing is amiss.
    let call = "{\"type\":1,\"invocationId\":\"1\",\"target\":\"Add\",\"arguments\":[1,2]}\u{1e}";
    assert_eq!(exchange(&nodes[1], "POST", &path, &[], call.as_bytes()).await.status, "200 OK");
    medium.start();
    for node in &nodes {
        link(node, true).await;
    }
    assert_eq!(client.insist().await["result"], 3);
    client.works().await;
}

/// A node with its own threads, which can be killed.
pub(crate) struct Mortal {
    pub(crate) server: Server,
    runtime: Mutex<Option<Runtime>>,
}

impl Mortal {
    pub(crate) async fn born(
        medium: &Medium,
        options: Options,
        change: impl FnOnce(HubBuilder) -> HubBuilder + Send + 'static,
    ) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .expect("a runtime");
        let medium = medium.clone();
        let server = runtime.spawn(async move {
            let node = Arc::new(medium.node_with(short_lives()));
            Server::over(node, options, change).await
        });
        Self { server: server.await.expect("a server"), runtime: Mutex::new(Some(runtime)) }
    }

    /// From now on it says nothing, and its sockets are closed.
    pub(crate) fn dies(&self) {
        let runtime = self.runtime.lock().unwrap().take();
        runtime.into_iter().for_each(Runtime::shutdown_background);
    }
}

impl Drop for Mortal {
    fn drop(&mut self) {
        self.dies();
    }
}

/// A silent node is soon taken for dead.
pub(crate) fn short_lives() -> NodeOptions {
    let mut options = NodeOptions::default();
    options.dead_after = Duration::from_millis(2500);
    options
}

async fn with_a_mortal() -> (Medium, Vec<Server>, Mortal) {
    let medium = Medium::new();
    let mortal = Mortal::born(&medium, shared(), |hub| hub).await;
    let mut nodes = Vec::new();
    for _ in 0..2 {
        let node = Arc::new(medium.node_with(short_lives()));
        nodes.push(Server::over(node, shared(), |hub| hub).await);
    }
    acquainted(&nodes).await;
    for node in &nodes {
        let mut members = node.hub.backplane().members();
        let known = members.wait_for(|members| members.contains(mortal.server.hub.node()));
        drop(soon(known).await.expect("the node lives"));
    }
    (medium, nodes, mortal)
}

#[tokio::test(flavor = "multi_thread")]
async fn with_its_node_a_connection_is_gone() {
    let (_medium, nodes, mortal) = with_a_mortal().await;
    let (_, token) = negotiated(&nodes[0], "").await;
    let path = format!("/hub?id={token}");
    assert_eq!(request(&mortal.server, "GET", &path, &[]).await.status, "200 OK");
    let poll = Box::pin(request(&nodes[0], "GET", &path, &[]));
    let waiting = parked(&mortal.server, poll).await;
    mortal.dies();
    // As soon as its death is known, not after the 90 s of a poll.
    assert_eq!(told(&soon(waiting).await), UNKNOWN);
    for method in ["GET", "POST", "DELETE"] {
        for node in at(&nodes) {
            assert_eq!(told(&request(node, method, &path, &[]).await), UNKNOWN, "{method}");
        }
    }
    Roamer::connect(&nodes).await.works().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_that_dies_takes_nothing_with_it() {
    // What is sent while the poll of the dead node waits; and what is sent once a newer one does.
    for lent in [true, false] {
        let (_medium, nodes, mortal) = with_a_mortal().await;
        let mut client = Roamer::connect(&nodes).await;
        let (id, path) = (client.id.clone(), client.path.clone());
        let poll = send(mortal.server.address, "GET", &path, &[], b"");
        let before = nodes[1].hub.stats().answered;
        let poll = poll.await.unwrap();
        until(|| nodes[1].hub.stats().answered > before).await;
        mortal.dies();
        drop(poll);
        let tell = async |number: u32| {
            nodes[0].hub.clients().connection(&id).send("Told", (number,)).await.unwrap();
        };
        let all = 0..10;
        if lent {
            tell(0).await;
        } else {
            let waiting = parked(&nodes[1], Box::pin(request(&nodes[0], "GET", &path, &[]))).await;
            tell(0).await;
            client.take(&soon(waiting).await);
        }
        for number in 1..10 {
            tell(number).await;
        }
        for number in all {
            let told = json!({"type": 1, "target": "Told", "arguments": [number]});
            assert_eq!(client.insist().await, told);
        }
        client.works().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registrar_that_is_gone_is_not_missed() {
    let (_medium, nodes, mortal) = with_a_mortal().await;
    let (_, token) = negotiated(&mortal.server, "").await;
    let path = format!("/hub?id={token}");
    assert_eq!(request(&nodes[0], "GET", &path, &[]).await.status, "200 OK");
    let handshake = b"{\"protocol\":\"json\",\"version\":1}\x1e";
    assert_eq!(exchange(&nodes[0], "POST", &path, &[], handshake).await.status, "200 OK");
    assert_eq!(request(&nodes[0], "GET", &path, &[]).await.body, "{}\u{1e}");
    mortal.dies();
    // The other node has never heard of it.
    let ping = b"{\"type\":6}\x1e";
    assert_eq!(told(&exchange(&nodes[1], "POST", &path, &[], ping).await), ("200 OK", ""));
}

/// Over links that lose, double, reorder and delay what nodes say to each other.
#[tokio::test]
async fn over_bad_links_nothing_is_lost_or_doubled() {
    let medium = Medium::new();
    let switch = ChaosHandle::new();
    let mut nodes = Vec::new();
    for seed in 0..3 {
        let mut chaos = ChaosOptions::one_in_ten(seed);
        // A question that is lost four times over is rightly given up.
        chaos.drop = 0.02;
        let wire = Chaos::new(medium.wire(), chaos).unwrap().switched_by(&switch);
        let node: Arc<dyn Backplane> = Arc::new(Node::start(wire, NodeOptions::default()));
        let patient = |hub: HubBuilder| {
            let mut options = backplane_hub::HubOptions::default();
            options.answer_within = Duration::from_secs(4);
            hub.options(options)
        };
        nodes.push(Server::over(node, shared(), patient).await);
    }
    acquainted(&nodes).await;
    let mut client = Roamer::connect(&nodes).await;
    let id = client.id.clone();
    let told = async {
        for number in 0..60 {
            nodes[0].hub.clients().connection(&id).send("Told", (number,)).await.unwrap();
        }
    };
    let called = async {
        for number in 0..30 {
            client.tell("SendBack", json!([number.to_string()])).await;
        }
    };
    soon(join(told, called)).await;
    let (mut tells, mut backs) = (0, 0);
    while tells < 60 || backs < 30 {
        let message = client.insist().await;
        if message["target"] == "Told" {
            assert_eq!(message["arguments"], json!([tells]));
            tells += 1;
        } else {
            assert_eq!(message["arguments"], json!([backs.to_string()]));
            backs += 1;
        }
    }
    client.works().await;
    assert!(switch.counts().dropped > 0, "{:?}", switch.counts());
}
