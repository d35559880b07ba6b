//! Several nodes on one medium, each behind chaos of its own.

use std::{
    collections::{HashMap, HashSet},
    ops::Range,
    sync::{Arc, Mutex},
    time::Duration,
};

use backplane_core::{
    Backplane, Envelope, Event, Link, Node, NodeId, NodeOptions, Sink, Stats, Subscription, Topic,
    chaos::{Chaos, ChaosHandle, ChaosOptions},
};
use backplane_memory::Medium;

use crate::SOON;

const NODES: usize = 3;

/// How many envelopes each node publishes on each topic under chaos.
pub const EACH: u32 = 300;

pub fn topics() -> [Topic; 4] {
    [
        Topic::all("orders"),
        Topic::group("orders", "kitchen"),
        Topic::group("orders", "counter"),
        Topic::user("orders", "ann"),
    ]
}

/// From 5 to 20 %, for each seed and purpose another.
fn rate(seed: u64, purpose: u64) -> f64 {
    let spread = (seed * 4 + purpose).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 40;
    0.05 + 0.15 * spread as f64 / (1_u64 << 24) as f64
}

/// Everything happens, as often as the seed says.
pub fn wild(seed: u64) -> ChaosOptions {
    let mut options = ChaosOptions::default();
    options.seed = seed;
    options.drop = rate(seed, 0);
    options.double = rate(seed, 1);
    options.reorder = rate(seed, 2);
    options.delay = rate(seed, 3);
    options
}

/// What a node heard of each origin on each topic, and otherwise.
#[derive(Debug, Default)]
pub struct Heard {
    numbers: Mutex<HashMap<(NodeId, Topic), Vec<u32>>>,
    others: Mutex<Vec<Event>>,
}

impl Sink for Heard {
    fn accept(&self, event: &Event) {
        match event {
            Event::Message(it) => {
                let number = std::str::from_utf8(&it.body).unwrap().parse().unwrap();
                let key = (it.origin.unwrap(), it.topic.clone());
                self.numbers.lock().unwrap().entry(key).or_default().push(number);
            }
            other => self.others.lock().unwrap().push(other.clone()),
        }
    }
}

impl Heard {
    /// The numbers, in the order of their arrival.
    pub fn of(&self, origin: NodeId, topic: &Topic) -> Vec<u32> {
        self.numbers.lock().unwrap().get(&(origin, topic.clone())).cloned().unwrap_or_default()
    }

    /// What was told beside messages.
    pub fn told(&self) -> Vec<Event> {
        self.others.lock().unwrap().clone()
    }
}

/// What one node heard of one origin on one topic.
#[derive(Debug)]
pub struct Stream {
    pub receiver: usize,
    pub origin: NodeId,
    pub topic: Topic,
    pub numbers: Vec<u32>,
}

#[derive(Debug)]
struct Member {
    node: Node,
    heard: Arc<Heard>,
    interest: Subscription,
}

#[derive(Debug)]
pub struct Scene {
    members: Vec<Member>,
    pub switch: ChaosHandle,
}

impl Scene {
    /// Nodes that know each other, under chaos already.
    pub async fn new(chaos: &ChaosOptions, options: &NodeOptions) -> Self {
        let (medium, switch) = (Medium::new(), ChaosHandle::new());
        let mut members = Vec::new();
        for index in 0..NODES {
            let mut own = chaos.clone();
            own.seed = chaos.seed * NODES as u64 + index as u64;
            let wire = Chaos::new(medium.wire(), own).unwrap().switched_by(&switch);
            let node = Node::start(wire, options.clone());
            let heard = Arc::new(Heard::default());
            let interest = topics().map(|topic| (topic, Arc::clone(&heard) as Arc<dyn Sink>));
            let interest = node.subscribe(&interest).unwrap();
            members.push(Member { node, heard, interest });
        }
        for Member { node, interest, .. } in &members {
            node.link().wait_for(Link::is_up).await.unwrap();
            interest.confirmed().await.unwrap();
            // What another published before it had heard of this one is none of this one's business.
            let mut others = node.members();
            let all = others.wait_for(|it| it.nodes.len() == NODES - 1);
            tokio::time::timeout(SOON, all).await.unwrap().unwrap();
        }
        Self { members, switch }
    }

    /// Each node publishes these on each topic, in bursts.
    pub async fn publish(&self, numbers: Range<u32>) {
        for number in numbers {
            for Member { node, .. } in &self.members {
                for topic in topics() {
                    node.publish(Envelope::new(topic, number.to_string())).await.unwrap();
                }
            }
            if number % 10 == 9 {
                tokio::time::sleep(Duration::from_millis(30)).await;
            }
        }
    }

    /// What each node heard of each other one.
    pub fn streams(&self) -> Vec<Stream> {
        let mut streams = Vec::new();
        for (receiver, Member { heard, .. }) in self.members.iter().enumerate() {
            let others = self.members.iter().enumerate().filter(|(at, _)| *at != receiver);
            for (_, Member { node, .. }) in others {
                let origin = node.node();
                streams.extend(topics().map(|topic| {
                    let numbers = heard.of(origin, &topic);
                    Stream { receiver, origin, topic, numbers }
                }));
            }
        }
        streams
    }

    /// How many of the first so many have not come, over all streams.
    pub fn missing(&self, each: u32) -> u64 {
        let came = |it: &Stream| it.numbers.iter().copied().collect::<HashSet<_>>();
        let missing = |it: &Stream| {
            let came = came(it);
            (0..each).filter(|number| !came.contains(number)).count() as u64
        };
        self.streams().iter().map(missing).sum()
    }

    /// How many messages are in all that the nodes heard of each other.
    pub fn heard(&self) -> u64 {
        self.streams().iter().map(|it| it.numbers.len() as u64).sum()
    }

    /// What a node was told beside messages.
    pub fn told(&self, receiver: usize) -> Vec<Event> {
        self.members[receiver].heard.told()
    }

    pub fn all_told(&self) -> Vec<Event> {
        (0..NODES).flat_map(|it| self.told(it)).collect()
    }

    pub fn stats(&self) -> impl Iterator<Item = Stats> + '_ {
        self.members.iter().map(|it| it.node.stats())
    }
}
