//! The hub as a front end and an application use it, on the memory transport.

#![allow(clippy::unwrap_used, reason = "a test that fails panics")]

mod claims;
mod connect;
mod filters;
mod groups;
mod handover;
mod health;
mod hostile;
mod layer;
mod lifecycle;
mod link;
mod loss;
mod methods;
mod outbound;
mod presence;
mod questions;
mod queue_of_events;
mod refresh;
mod relays;
mod results;
mod scale_out;
mod streams;
mod targets;
mod uploads;
mod user_groups;

use std::{sync::Arc, time::Duration};

use backplane_core::{
    Node, NodeOptions,
    chaos::{Chaos, ChaosHandle, ChaosOptions},
};
use backplane_hub::{Backplane, Hub, HubOptions, Link};
use backplane_memory::Medium;
use backplane_tests::{
    hub as scenarios,
    kit::{self, SEED},
};
use scenarios::{HubFixture, Plain, soon};

/// The seed of a test, which is printed.
fn seed(test: &str) -> u64 {
    let seed = kit::seed().unwrap();
    println!("{test}: replay with {SEED}={seed}");
    seed
}

/// Two nodes, and the medium between them.
struct Memory {
    medium: Medium,
    nodes: Nodes,
}

struct Nodes([Arc<dyn Backplane>; 2]);

impl Memory {
    async fn start() -> Self {
        Self::with(|_| {}).await
    }

    /// Two nodes that behave otherwise than by default.
    async fn with(change: impl Fn(&mut NodeOptions)) -> Self {
        let medium = Medium::new();
        let nodes = [(); 2].map(|()| {
            let mut options = NodeOptions::default();
            change(&mut options);
            Arc::new(medium.node_with(options)) as Arc<dyn Backplane>
        });
        let memory = Self { medium, nodes: Nodes(nodes) };
        memory.up().await;
        memory
    }

    /// Waits until both links are up.
    async fn up(&self) {
        for node in &self.nodes.0 {
            soon("the link", async { drop(node.link().wait_for(Link::is_up).await.unwrap()) })
                .await;
        }
    }

    /// Stops the medium and waits until both nodes know.
    async fn stop(&self) {
        self.medium.stop();
        for node in &self.nodes.0 {
            let down = async { drop(node.link().wait_for(|link| !link.is_up()).await.unwrap()) };
            soon("the end of the link", down).await;
        }
    }

    /// Starts the medium again and waits until both nodes know.
    async fn restart(&self) {
        self.medium.start();
        self.up().await;
    }

    fn hubs(&self) -> (Hub, Hub) {
        scenarios::two_hubs(&self.nodes)
    }
}

impl HubFixture for Nodes {
    fn backplane(&self, node: usize) -> Arc<dyn Backplane> {
        Arc::clone(&self.0[node])
    }
}

/// Hubs on three nodes, over links that lose, double, reorder and delay, and what counts that.
async fn over_bad_links(seed: u64) -> (ChaosHandle, Vec<Hub>) {
    let medium = Medium::new();
    let switch = ChaosHandle::new();
    let mut hubs = Vec::new();
    for number in 0..3 {
        let mut chaos = ChaosOptions::one_in_ten(seed + number);
        // A question that is lost four times over is rightly given up.
        chaos.drop = 0.02;
        let wire = Chaos::new(medium.wire(), chaos).unwrap().switched_by(&switch);
        let node: Arc<dyn Backplane> = Arc::new(Node::start(wire, NodeOptions::default()));
        soon("the link", async { drop(node.link().wait_for(Link::is_up).await) }).await;
        let mut options = HubOptions::default();
        options.answer_within = Duration::from_secs(8);
        let hub = Hub::builder("chaos").backplane(node).options(options).build().unwrap();
        hub.speak(Plain::new("plain"));
        hubs.push(hub);
    }
    (switch, hubs)
}

/// A hub alone on a medium of its own.
async fn one_hub(
    describe: impl FnOnce(backplane_hub::HubBuilder) -> backplane_hub::HubBuilder,
) -> Hub {
    let node: Arc<dyn Backplane> = Arc::new(Medium::new().node());
    soon("the link", async { drop(node.link().wait_for(Link::is_up).await.unwrap()) }).await;
    let hub = describe(Hub::builder("alone").backplane(node)).build().unwrap();
    hub.speak(Plain::new("plain"));
    hub
}
