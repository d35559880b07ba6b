//! Core NATS on servers that pass on to each other.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::{net::SocketAddr, time::Duration};

use backplane_core::{Backplane, Envelope, Topic};
use backplane_tests::{
    brokers::{Broker, NatsFlavour, NatsOptions},
    faults::{Direction, FaultProxy},
};
use common::{broker_with, listen, message, node, soon, up};

/// A server that others find at the address it is given by the system, and that finds others at these.
async fn server(name: &str, routes: &[SocketAddr]) -> Broker {
    let routes: Vec<String> = routes.iter().map(|it| format!("\"nats://{it}\"")).collect();
    let routes = routes.join(", ");
    let options = NatsOptions::default().config_line(format!("server_name: {name:?}")).config_line(
        format!("cluster {{ name: \"all\", listen: \"127.0.0.1:-1\", routes: [{routes}] }}"),
    );
    broker_with(NatsFlavour::Nats2_15, options).await
}

/// Where a server takes the connections of others.
fn seat(server: &Broker) -> SocketAddr {
    let log = server.log_tail();
    let address = log.split("route connections on ").nth(1).unwrap().lines().next().unwrap();
    address.trim().parse().unwrap()
}

/// As when all servers have just been started: nodes find them before they have found each other.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nats2_15_a_node_is_up_once_the_servers_pass_on_to_each_other() {
    /// All of them on one server prove nothing, and that is rare.
    const NODES: u32 = 8;
    let one = server("one", &[]).await;
    let between = FaultProxy::start(&[seat(&one)], 1).await.unwrap();
    between.delay(Direction::BOTH, Duration::from_millis(40), Duration::ZERO);
    let two = server("two", &between.addresses()).await;
    let url = format!("nats://{},{}", one.address(), two.address());
    let nodes: Vec<_> = (0..NODES).map(|_| node(&url)).collect();
    let tea = Topic::group("orders", "tea");
    let mut heard = Vec::new();
    for node in &nodes {
        up(node).await;
        heard.push(listen(node, std::slice::from_ref(&tea)).await);
    }
    for (number, node) in nodes.iter().enumerate() {
        let published = node.publish(Envelope::new(tea.clone(), number.to_string()));
        soon("it is published", published).await.unwrap();
    }
    for heard in &mut heard {
        let mut numbers = Vec::new();
        for _ in 0..NODES {
            let body = message(heard).await.body;
            numbers.push(std::str::from_utf8(&body).unwrap().parse::<u32>().unwrap());
        }
        numbers.sort_unstable();
        assert_eq!(numbers, (0..NODES).collect::<Vec<_>>());
    }
}
