//! What connections, groups and deliveries cost: `cargo bench -p backplane-hub --bench cost`.
//!
//! Memory is the growth of this process's resident memory (Linux), with everything below the hub
//! included: the memory transport's tables and the pipeline's.

#![expect(clippy::unwrap_used, reason = "a benchmark fails by panicking")]

use std::{sync::Arc, time::Instant};

use backplane_core::{Event, Sink, Topic};
use backplane_hub::{
    Backplane, Connection, ConnectionId, EncodeError, Hub, Link, Opening, Outbound,
    PresenceOptions, Protocol, User,
};
use backplane_memory::Medium;
use bytes::Bytes;
use futures_util::{StreamExt, stream};

const CONNECTIONS: usize = 50_000;

#[derive(Debug)]
struct Text;

impl Protocol for Text {
    fn name(&self) -> &'static str {
        "text"
    }

    fn invocation(
        &self,
        _: Option<&str>,
        target: &str,
        _: &[&dyn erased_serde::Serialize],
        _: Option<&str>,
    ) -> Result<Bytes, EncodeError> {
        Ok(Bytes::copy_from_slice(target.as_bytes()))
    }

    fn argument(
        &self,
        _: &[u8],
        _: &mut dyn FnMut(
            &mut dyn erased_serde::Deserializer<'_>,
        ) -> Result<(), erased_serde::Error>,
    ) -> Result<(), erased_serde::Error> {
        Ok(())
    }
}

/// In the environment of a process that measures one case.
const CASE: &str = "BACKPLANE_COST_CASE";

/// What each connection has: whether a user, and how many groups.
const CASES: [(&str, bool, usize); 4] = [
    ("anonymous", false, 0),
    ("with a user each", true, 0),
    ("in one group each", false, 1),
    ("in the same ten groups", false, 10),
];

#[tokio::main]
async fn main() {
    if let Some(case) = std::env::var(CASE).ok().and_then(|case| case.parse::<usize>().ok()) {
        return match CASES.get(case) {
            Some((what, user, groups)) => connections(what, *user, *groups).await,
            None if case == CASES.len() => topics().await,
            None => presence().await,
        };
    }
    println!("{CONNECTIONS} connections of one node");
    // A process each, so that none takes memory that another one has given back.
    for case in 0..=CASES.len() + 1 {
        let itself = std::env::current_exe().unwrap();
        std::process::Command::new(itself).env(CASE, case.to_string()).status().unwrap();
    }
    deliveries().await;
}

async fn hub() -> Hub {
    hub_on(&Medium::new(), false).await
}

async fn hub_on(medium: &Medium, presence: bool) -> Hub {
    let node: Arc<dyn Backplane> = Arc::new(medium.node());
    node.link().wait_for(Link::is_up).await.unwrap();
    let mut hub = Hub::builder("cost").backplane(node);
    if presence {
        hub = hub.presence(PresenceOptions::default());
    }
    let hub = hub.build().unwrap();
    hub.speak(Arc::new(Text));
    hub
}

async fn open(hub: &Hub, user: Option<User>) -> (Connection, Outbound) {
    let protocol = Arc::new(Text);
    hub.open(Opening { id: ConnectionId::random(), user, protocol, request: None, movable: false })
        .await
        .unwrap()
}

async fn connections(what: &str, user: bool, groups: usize) {
    let hub = hub().await;
    let round_trips = || hub.backplane().stats().interest_round_trips;
    let (memory, trips) = (resident(), round_trips());
    let opened = stream::iter(0..CONNECTIONS)
        .map(|number| {
            let hub = &hub;
            async move { open(hub, user.then(|| User::new(&format!("user {number}")))).await }
        })
        .buffer_unordered(1000)
        .collect::<Vec<_>>()
        .await;
    let opening = round_trips() - trips;
    stream::iter(opened.iter().enumerate())
        .for_each_concurrent(1000, |(number, (connection, _))| {
            let hub = &hub;
            async move {
                for group in 0..groups {
                    let name =
                        if groups == 1 { format!("group {number}") } else { group.to_string() };
                    hub.groups().add(connection.id(), &name).await.unwrap();
                }
            }
        })
        .await;
    let joining = round_trips() - trips - opening;
    let each = (resident() - memory) / CONNECTIONS as u64;
    println!("{what:>24}: {each:>5} bytes each; round trips: {opening} opening, {joining} joining");
    drop(opened);
}

/// What is below the hub of each connection: its topic.
async fn topics() {
    #[derive(Debug)]
    struct Deaf;
    impl Sink for Deaf {
        fn accept(&self, _: &Event) {}
    }
    let node = Medium::new().node();
    node.link().wait_for(Link::is_up).await.unwrap();
    let memory = resident();
    let mut subscriptions = Vec::with_capacity(CONNECTIONS);
    let sink: Arc<dyn Sink> = Arc::new(Deaf);
    for _ in 0..CONNECTIONS {
        let topic = Topic::connection("cost", &ConnectionId::random());
        subscriptions.push(node.subscribe(&[(topic, Arc::clone(&sink))]).unwrap());
    }
    for subscription in &subscriptions {
        subscription.confirmed().await.unwrap();
    }
    let each = (resident() - memory) / CONNECTIONS as u64;
    println!("{:>24}: {each:>5} bytes each", "topics without a hub");
}

/// What presence adds: to a join, on the backplane, and on each node for each connection and membership of any.
async fn presence() {
    const MEMBERS: usize = 20_000;
    const EACH: usize = 10;
    const GROUPS: usize = 100;
    let medium = Medium::new();
    let mut kept = Vec::new();
    for presence in [false, true] {
        let hub = hub_on(&medium, presence).await;
        let mut members = Vec::new();
        for number in 0..MEMBERS {
            members.push(open(&hub, Some(User::new(&format!("user {number}")))).await);
        }
        let groups: Vec<String> = (0..GROUPS).map(|number| format!("group {number}")).collect();
        let before = hub.stats();
        let started = Instant::now();
        for (number, (connection, _)) in members.iter().enumerate() {
            for place in 0..EACH {
                let group = &groups[(number + place) % GROUPS];
                hub.groups().add(connection.id(), group).await.unwrap();
            }
        }
        let each = started.elapsed().as_nanos() / (MEMBERS * EACH) as u128;
        // The last of them are told by the next heartbeat.
        tokio::time::sleep(std::time::Duration::from_secs(2)).await;
        let stats = hub.stats();
        let bytes = stats.presence_bytes - before.presence_bytes;
        let messages = stats.presence_sent - before.presence_sent;
        println!(
            "{:>24}: {each} ns for each join; {:.1} bytes of each on the backplane, in {messages} messages",
            if presence { "with presence" } else { "without presence" },
            bytes as f64 / (MEMBERS * EACH) as f64,
        );
        kept.push((hub, members));
    }
    let memory = resident();
    let late = hub_on(&medium, true).await;
    while !late.presence().freshness().unwrap().is_complete() {
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    assert_eq!(late.presence().group("group 0").count().unwrap(), MEMBERS * EACH / GROUPS);
    let entries = MEMBERS * (1 + EACH);
    let each = (resident() - memory) / entries as u64;
    println!(
        "{:>24}: {each} bytes on each other node, for each connection (with a user) or membership; one in {} is a connection",
        "presence",
        1 + EACH
    );
    drop(kept);
}

async fn deliveries() {
    const MEMBERS: usize = 10_000;
    const MESSAGES: usize = 500;
    let hub = hub().await;
    let mut members = Vec::new();
    for _ in 0..MEMBERS {
        members.push(open(&hub, None).await);
    }
    let name = "x".repeat(256);
    let (mut taken, mut spent) = (Vec::new(), std::time::Duration::ZERO);
    for _ in 0..MESSAGES {
        let started = Instant::now();
        hub.clients().all().send(&name, ()).await.unwrap();
        spent += started.elapsed();
        for (_, outbound) in &mut members {
            outbound.receive(&mut taken, 1).await;
        }
        taken.clear();
    }
    let each = spent.as_nanos() / (MEMBERS * MESSAGES) as u128;
    println!("one message to {MEMBERS} connections: {each} ns for each, until it is queued");
}

/// Resident memory of this process in bytes.
fn resident() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages: u64 = statm.split(' ').nth(1).and_then(|pages| pages.parse().ok()).unwrap_or(0);
    pages * 4096
}
