//! Many connections, over up to four nodes, one of which dies as a process does that is killed.

use std::{
    collections::BTreeSet,
    sync::Arc,
    time::{Duration, Instant},
};

use backplane_core::{
    Node, NodeOptions,
    chaos::{Chaos, ChaosHandle, ChaosOptions},
};
use backplane_hub::{Hub, NodeId, Presence, PresenceEvent};
use backplane_memory::Medium;
use backplane_tests::kit::Random;
use futures_util::future::join_all;
use tokio::runtime::Runtime;

use super::{
    build, complete, pair,
    watching::{next, snapshot},
};
use crate::{
    scenarios::{Client, Crowd, soon, until},
    seed,
};

#[tokio::test]
async fn a_storm_of_joins_costs_few_messages() {
    const MEMBERS: usize = 10_000;
    let (memory, one, two) = pair().await;
    let clients = join_all((0..MEMBERS).map(|_| Client::open(&one))).await;
    let group = two.presence().group("g");
    let connected = || two.presence().connection(&clients[MEMBERS - 1].id).unwrap().is_some();
    until("all connections", connected).await;
    let before = one.stats();
    for join in
        join_all(clients.iter().map(|client| async { one.groups().add(&client.id, "g").await }))
            .await
    {
        join.unwrap();
    }
    until("all members", || group.count().unwrap() == MEMBERS).await;
    let stats = one.stats();
    let messages = stats.presence_sent - before.presence_sent;
    let bytes = stats.presence_bytes - before.presence_bytes;
    println!("{MEMBERS} joins: {messages} messages, {} bytes each", bytes / MEMBERS as u64);
    assert!(messages < MEMBERS as u64 / 20, "{messages}");

    // Whoever comes late gets everything, in parts: the deltas are too many to be kept.
    let late = build(Arc::new(memory.medium.node()));
    until("all members", || late.presence().group("g").count().unwrap() == MEMBERS).await;
    complete(&late).await;
    let stats = one.stats();
    assert!(stats.presence_snapshots >= 1, "{stats:?}");
    println!("{} snapshots, {} bytes in all", stats.presence_snapshots, stats.presence_bytes);
    drop(clients);
    until("nobody", || group.count().unwrap() == 0).await;
    until("nobody", || late.presence().group("g").count().unwrap() == 0).await;
}

/// Whatever joins and leaves at once, from both nodes: presence says in the end what is so.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_flips_end_consistently() {
    const GROUPS: [&str; 4] = ["a", "b", "c", "d"];
    let seed = seed("presence flips");
    let (_memory, one, two) = pair().await;
    let client = Client::open(&one).await;
    let flippers = (0..8).map(|number| {
        let mut random = Random::new(seed ^ number);
        let hub = if number % 2 == 0 { one.clone() } else { two.clone() };
        let id = client.id.clone();
        tokio::spawn(async move {
            for _ in 0..10_000 / 8 {
                let group = GROUPS[random.below(GROUPS.len())];
                if random.below(2) == 0 {
                    hub.groups().add(&id, group).await.unwrap();
                } else {
                    hub.groups().remove(&id, group).await.unwrap();
                }
            }
        })
    });
    for flipper in join_all(flippers).await {
        flipper.unwrap();
    }
    let truth: BTreeSet<_> = one.groups().of(&client.id).await.unwrap().into_iter().collect();
    for hub in [&one, &two] {
        let told = |presence: &Presence| {
            let found = presence.connection(&client.id).unwrap();
            found.map(|it| it.groups.into_iter().collect::<BTreeSet<_>>())
        };
        until("the truth", || told(&hub.presence()).as_ref() == Some(&truth)).await;
    }
}

/// A node in a runtime of its own, so that it can be ended as a killed process is: without a word.
struct Process {
    runtime: Runtime,
    hub: Hub,
    clients: Vec<Client>,
}

fn short_lives() -> NodeOptions {
    let mut options = NodeOptions::default();
    options.heartbeat_every = Duration::from_millis(200);
    options.dead_after = Duration::from_secs(1);
    options
}

impl Process {
    /// With this crowd.
    async fn start(node: impl FnOnce() -> Node + Send + 'static, crowd: Crowd) -> Self {
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        let runtime = builder.worker_threads(1).enable_all().build().unwrap();
        let started = runtime.spawn(async move {
            let hub = build(Arc::new(node()));
            let clients = crowd.gather(&hub).await;
            (hub, clients)
        });
        let (hub, clients) = started.await.unwrap();
        Self { runtime, hub, clients }
    }

    fn kill(self) -> NodeId {
        let node = self.hub.node();
        self.runtime.shutdown_background();
        node
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_thousand_connections_in_a_hundred_groups_survive_a_kill() {
    const CROWD: Crowd = Crowd { clients: 1000, each: 5, groups: 100 };
    // Of each node, in each group.
    const MEMBERS: usize = CROWD.clients * CROWD.each / CROWD.groups;
    let medium = Medium::new();
    let start = |crowd| {
        let medium = medium.clone();
        Process::start(move || medium.node_with(short_lives()), crowd)
    };
    let (one, two, three) = (start(CROWD).await, start(CROWD).await, start(CROWD).await);
    CROWD.is_counted(&[&one.hub, &two.hub, &three.hub], 3).await;
    for process in [&one, &two, &three] {
        complete(&process.hub).await;
        let stats = process.hub.stats();
        assert_eq!(process.hub.presence().user("user 7").connections().unwrap().len(), 6);
        println!(
            "{} messages and {} bytes told by each, {} questions, {} snapshots",
            stats.presence_sent,
            stats.presence_bytes,
            stats.presence_asked,
            stats.presence_snapshots
        );
    }
    let mut watch = one.hub.presence().group(&CROWD.group(0)).watch().unwrap();
    let (mut watched, _) = snapshot(&mut watch).await;
    assert_eq!(watched.len(), 3 * MEMBERS);

    let survivors = [&one, &two];
    let dead = three.kill();
    for process in survivors {
        let mut members = process.hub.backplane().members();
        let gone = members.wait_for(|members| !members.contains(dead));
        soon("the death of a node", async { drop(gone.await.unwrap()) }).await;
    }
    let noticed = Instant::now();
    CROWD.is_counted(&survivors.map(|it| &it.hub), 2).await;
    println!("right {:?} after the node counted as dead", noticed.elapsed());
    for process in survivors {
        let presence = process.hub.presence();
        assert_eq!(presence.user("user 7").connections().unwrap().len(), 4);
        complete(&process.hub).await;
    }
    // Who watches has seen each of them go.
    for _ in 0..MEMBERS {
        let PresenceEvent::Left(it) = next(&mut watch).await else { panic!() };
        assert_eq!(it.node(), dead);
        assert!(watched.remove(it.connection()));
    }

    // One that starts learns everything.
    let four = start(Crowd::NONE).await;
    CROWD.is_counted(&[&four.hub], 2).await;
    complete(&four.hub).await;
    assert!(!watched.is_empty() && one.clients.len() == CROWD.clients);
    for process in [one, two, four] {
        process.kill();
    }
}

/// Over a link that loses, doubles and reorders without saying so.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_agree_over_a_link_that_loses_one_in_ten() {
    const CROWD: Crowd = Crowd { clients: 200, each: 2, groups: 100 };
    let seed = seed("presence over chaos");
    let medium = Medium::new();
    let switch = ChaosHandle::new();
    let start = |number: u64| {
        let wire = medium.wire();
        let options = ChaosOptions::one_in_ten(seed ^ number);
        let chaos = Chaos::new(wire, options).unwrap().switched_by(&switch);
        Process::start(move || Node::start(chaos, short_lives()), CROWD)
    };
    let (one, two) = (start(1).await, start(2).await);
    let hubs = [&one.hub, &two.hub];
    CROWD.is_counted(&hubs, 2).await;
    let mut rounds = 0;
    // Few envelopes are enough, so it takes a while until enough of them are lost.
    while rounds < 10 || switch.counts().dropped < 10 {
        rounds += 1;
        for client in &one.clients {
            one.hub.groups().leave_all(&client.id).await.unwrap();
        }
        CROWD.is_counted(&hubs, 1).await;
        for (number, client) in one.clients.iter().enumerate() {
            for place in 0..2 {
                let group = CROWD.group(number * 2 + place);
                one.hub.groups().add(&client.id, &group).await.unwrap();
            }
        }
        CROWD.is_counted(&hubs, 2).await;
    }
    println!("{} of {} frames were dropped", switch.counts().dropped, switch.counts().arrived);
    for process in [one, two] {
        process.kill();
    }
}
