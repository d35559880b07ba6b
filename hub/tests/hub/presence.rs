//! Who is where, over three nodes, one of which dies as a process does that is killed.

use std::{
    collections::BTreeSet,
    sync::Arc,
    time::{Duration, Instant},
};

use backplane_core::{
    Backplane, Envelope, Node, NodeOptions, RouteKind, Topic,
    chaos::{Chaos, ChaosHandle, ChaosOptions},
};
use backplane_hub::{
    BuildError, ConnectionId, Freshness, Hub, LONGEST_NAME, Link, NodeId, Presence, PresenceEvent,
    PresenceOff, PresenceOptions, Present, User, Watch,
};
use backplane_memory::Medium;
use backplane_tests::kit::Random;
use futures_util::future::join_all;
use tokio::runtime::Runtime;

use crate::{
    Memory, one_hub,
    scenarios::{Client, Plain, soon, until},
    seed,
};

fn build(backplane: Arc<dyn Backplane>) -> Hub {
    let hub = Hub::builder("present").backplane(backplane).presence(options()).build().unwrap();
    hub.speak(Plain::new("plain"));
    hub
}

fn options() -> PresenceOptions {
    let mut options = PresenceOptions::default();
    options.heartbeat_every = Duration::from_millis(200);
    options
}

/// Two hubs on two nodes.
async fn pair() -> (Memory, Hub, Hub) {
    let memory = Memory::start().await;
    let (one, two) = (build(backplane(&memory, 0)), build(backplane(&memory, 1)));
    for hub in [&one, &two] {
        complete(hub).await;
    }
    (memory, one, two)
}

fn backplane(memory: &Memory, node: usize) -> Arc<dyn Backplane> {
    Arc::clone(&memory.nodes.0[node])
}

async fn complete(hub: &Hub) {
    let presence = hub.presence();
    until("complete presence", || presence.freshness().unwrap().is_complete()).await;
}

fn ids(present: &[Present]) -> BTreeSet<ConnectionId> {
    let ids: BTreeSet<_> = present.iter().map(|it| it.connection().clone()).collect();
    assert!(present.len() >= ids.len());
    ids
}

/// Waits until a hub shows exactly these in a group.
async fn shows(hub: &Hub, group: &str, clients: &[&Client]) {
    let expected: BTreeSet<_> = clients.iter().map(|client| client.id.clone()).collect();
    let group = hub.presence().group(group);
    let right = || {
        let members = group.members().unwrap();
        members.len() == expected.len() && ids(&members) == expected
    };
    until("the members", right).await;
    assert_eq!(group.count().unwrap(), expected.len());
}

#[tokio::test]
async fn members_users_and_connections_of_all_nodes() {
    let (_memory, one, two) = pair().await;
    let mut ann = Client::open_as(&one, Some("ann")).await;
    let other = Client::open_as(&two, Some("ann")).await;
    let nobody = Client::open(&two).await;
    for (hub, client) in [(&one, &ann), (&two, &ann), (&two, &nobody)] {
        soon("the join", hub.groups().add(&client.id, "g")).await.unwrap();
    }
    one.groups().add(&ann.id, "h").await.unwrap();
    // What is so on this node shows at once.
    assert_eq!(ids(&one.presence().group("h").members().unwrap()), [ann.id.clone()].into());
    for hub in [&one, &two] {
        shows(hub, "g", &[&ann, &nobody]).await;
        shows(hub, "h", &[&ann]).await;
        let user = hub.presence().user("ann");
        until("her connections", || user.connections().unwrap().len() == 2).await;
        assert_eq!(ids(&user.connections().unwrap()), [ann.id.clone(), other.id.clone()].into());
        assert!(user.is_online().unwrap() && !hub.presence().user("bob").is_online().unwrap());

        let found = hub.presence().connection(&ann.id).unwrap().unwrap();
        assert_eq!((found.present.node(), found.present.user()), (one.node(), Some("ann")));
        let groups: BTreeSet<&str> = found.groups.iter().map(|name| &**name).collect();
        assert_eq!(groups, ["g", "h"].into());
        let found = hub.presence().connection(&nobody.id).unwrap().unwrap();
        assert_eq!((found.present.node(), found.present.user()), (two.node(), None));
        assert_eq!(hub.presence().connection("ghost").unwrap(), None);
    }
    soon("leaving", two.groups().remove(&ann.id, "h")).await.unwrap();
    for hub in [&one, &two] {
        shows(hub, "h", &[]).await;
    }
    ann.leave().await;
    for hub in [&one, &two] {
        shows(hub, "g", &[&nobody]).await;
        until("its end", || hub.presence().connection(&ann.id).unwrap().is_none()).await;
        assert_eq!(hub.presence().user("ann").connections().unwrap().len(), 1);
    }
}

#[tokio::test]
async fn a_hub_without_presence_says_so_and_sends_nothing_for_it() {
    let memory = Memory::start().await;
    let (one, two) = memory.hubs();
    let client = Client::open_as(&one, Some("u")).await;
    soon("the join", two.groups().add(&client.id, "g")).await.unwrap();
    let presence = one.presence();
    assert_eq!(presence.group("g").count(), Err(PresenceOff));
    assert_eq!(presence.group("g").members(), Err(PresenceOff));
    assert_eq!(presence.user("u").is_online(), Err(PresenceOff));
    assert_eq!(presence.connection(&client.id), Err(PresenceOff));
    assert_eq!(presence.freshness(), Err(PresenceOff));
    let error = presence.group("g").watch().map(drop).unwrap_err();
    assert!(error.to_string().contains(".presence("), "{error}");
    assert_eq!(one.stats().presence_sent, 0);
    // All and its node, the connection, the user, the group; and nothing for presence.
    let stats = one.backplane().stats();
    assert_eq!(stats.topics_subscribed - stats.topics_unsubscribed, 5);
}

#[tokio::test]
async fn names_are_data() {
    let (_memory, one, two) = pair().await;
    let longest = "🎈".repeat(LONGEST_NAME / 4);
    let names = ["*", "a.b>c", "\0", "ü", "presence", " ", "[x]:{y}", &longest];
    let mut clients = Vec::new();
    for name in names {
        let id = ConnectionId::from(name);
        let user = Some(User::new(name));
        let client = Client::open_with(&one, id, user, Plain::new("plain")).await;
        one.groups().add(&client.id, name).await.unwrap();
        clients.push(client);
    }
    for (name, client) in names.iter().zip(&clients) {
        shows(&two, name, &[client]).await;
        let user = two.presence().user(name);
        until("the user", || user.is_online().unwrap()).await;
        let found = two.presence().connection(&client.id).unwrap().unwrap();
        assert_eq!((found.present.user(), &*found.groups[0]), (Some(*name), *name));
    }
    assert_eq!(two.stats().malformed, 0);
}

#[tokio::test]
async fn an_id_that_is_used_again_and_one_that_two_nodes_have() {
    let (_memory, one, two) = pair().await;
    let open = |hub: Hub, user: &'static str| async move {
        let (id, user) = (ConnectionId::from("same"), Some(User::new(user)));
        Client::open_with(&hub, id, user, Plain::new("plain")).await
    };
    let mut first = open(one.clone(), "a").await;
    one.groups().add("same", "g").await.unwrap();
    shows(&two, "g", &[&first]).await;
    let connection = first.take_connection();
    connection.disconnected(None).await;
    let second = open(one.clone(), "b").await;
    drop(first);
    one.groups().add("same", "h").await.unwrap();
    shows(&two, "h", &[&second]).await;
    shows(&two, "g", &[]).await;
    assert_eq!(one.presence().user("b").connections().unwrap().len(), 1);

    // As while a connection is handed over: each node has its own, and both count.
    let third = open(two.clone(), "b").await;
    two.groups().add("same", "h").await.unwrap();
    for hub in [&one, &two] {
        let group = hub.presence().group("h");
        until("both", || group.count().unwrap() == 2).await;
        let found = hub.presence().connection("same").unwrap().unwrap();
        assert_eq!(found.present.node(), hub.node());
    }
    drop(second);
    for hub in [&one, &two] {
        shows(hub, "h", &[&third]).await;
    }
}

async fn next(watch: &mut Watch) -> PresenceEvent {
    soon("an event", watch.recv()).await.unwrap()
}

async fn snapshot(watch: &mut Watch) -> (BTreeSet<ConnectionId>, u64) {
    match next(watch).await {
        PresenceEvent::Snapshot { present, skipped } => (ids(&present), skipped),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn who_watches_sees_everything_in_its_order() {
    let (_memory, one, two) = pair().await;
    let mut clients = [
        Client::open_as(&one, Some("u")).await,
        Client::open_as(&two, Some("u")).await,
        Client::open(&two).await,
    ];
    one.groups().add(&clients[0].id, "g").await.unwrap();
    shows(&two, "g", &[&clients[0]]).await;
    let mut watches =
        [one.presence().group("g").watch().unwrap(), two.presence().group("g").watch().unwrap()];
    let mut user = one.presence().user("u").watch().unwrap();
    until("both connections", || one.presence().user("u").connections().unwrap().len() == 2).await;
    for watch in &mut watches {
        assert_eq!(snapshot(watch).await, ([clients[0].id.clone()].into(), 0));
    }
    assert_eq!(snapshot(&mut user).await.0.len(), 2);

    for _ in 0..20 {
        two.groups().add(&clients[1].id, "g").await.unwrap();
        two.groups().remove(&clients[1].id, "g").await.unwrap();
        two.groups().add(&clients[1].id, "another").await.unwrap();
    }
    two.groups().add(&clients[2].id, "g").await.unwrap();
    for watch in &mut watches {
        for _ in 0..20 {
            let PresenceEvent::Joined(it) = next(watch).await else { panic!() };
            assert_eq!((it.connection(), it.user()), (&clients[1].id, Some("u")));
            let PresenceEvent::Left(it) = next(watch).await else { panic!() };
            assert_eq!((it.connection(), it.node()), (&clients[1].id, two.node()));
        }
        let PresenceEvent::Joined(it) = next(watch).await else { panic!() };
        assert_eq!((it.connection(), it.user()), (&clients[2].id, None));
    }
    for client in &mut clients[..2] {
        client.leave().await;
        let PresenceEvent::Left(it) = next(&mut user).await else { panic!() };
        assert_eq!(it.connection(), &client.id);
    }
    for watch in &mut watches {
        let PresenceEvent::Left(it) = next(watch).await else { panic!() };
        assert_eq!(it.connection(), &clients[0].id);
    }
    // It ends with its hub, once nobody holds that any more.
    drop((clients, one, two));
    for watch in &mut watches {
        let mut rest = Vec::new();
        while let Some(event) = soon("its end", watch.recv()).await {
            rest.push(event);
        }
        assert!(rest.len() <= 1, "{rest:?}");
    }
}

#[tokio::test]
async fn a_slow_watch_is_told_what_it_missed_and_begins_anew() {
    let hub = one_hub(|hub| {
        let mut options = PresenceOptions::default();
        options.watched_events = 4;
        hub.presence(options)
    })
    .await;
    let client = Client::open(&hub).await;
    let mut slow = hub.presence().group("g").watch().unwrap();
    let mut idle = hub.presence().group("g").watch().unwrap();
    assert_eq!(snapshot(&mut slow).await, (BTreeSet::new(), 0));
    for _ in 0..2 {
        hub.groups().add(&client.id, "g").await.unwrap();
        hub.groups().remove(&client.id, "g").await.unwrap();
    }
    assert!(matches!(next(&mut slow).await, PresenceEvent::Joined(_)));
    for _ in 0..5 {
        hub.groups().add(&client.id, "g").await.unwrap();
        hub.groups().remove(&client.id, "g").await.unwrap();
    }
    hub.groups().add(&client.id, "g").await.unwrap();
    // Three of before, of which it took none, and eleven.
    assert_eq!(snapshot(&mut slow).await, ([client.id.clone()].into(), 14));
    assert_eq!(snapshot(&mut idle).await, ([client.id.clone()].into(), 0));
    hub.groups().remove(&client.id, "g").await.unwrap();
    for watch in [&mut slow, &mut idle] {
        assert!(matches!(next(watch).await, PresenceEvent::Left(_)));
    }
}

#[tokio::test]
async fn without_a_link_a_node_shows_its_own_and_says_so() {
    let (memory, one, two) = pair().await;
    let here = Client::open_as(&one, Some("u")).await;
    let mut there = Client::open_as(&two, Some("u")).await;
    one.groups().add(&here.id, "g").await.unwrap();
    two.groups().add(&there.id, "g").await.unwrap();
    for hub in [&one, &two] {
        shows(hub, "g", &[&here, &there]).await;
    }
    memory.stop().await;
    for hub in [&one, &two] {
        let presence = hub.presence();
        until("a link that is down", || presence.freshness() == Ok(Freshness::LinkDown)).await;
    }
    let new = Client::open(&one).await;
    one.groups().add(&new.id, "g").await.unwrap();
    there.leave().await;
    // Each its own as it is, the others' as it was.
    shows(&one, "g", &[&here, &new, &there]).await;
    shows(&two, "g", &[&here]).await;
    memory.restart().await;
    for hub in [&one, &two] {
        shows(hub, "g", &[&here, &new]).await;
        complete(hub).await;
    }
}

#[tokio::test]
async fn a_hub_that_ends_takes_its_connections_along_and_a_new_one_is_another() {
    let (memory, one, two) = pair().await;
    let mut client = Client::open(&one).await;
    let stays = Client::open(&two).await;
    for (hub, client) in [(&one, &client), (&two, &stays)] {
        hub.groups().add(&client.id, "g").await.unwrap();
    }
    shows(&two, "g", &[&client, &stays]).await;
    client.leave().await;
    drop((client, one));
    shows(&two, "g", &[&stays]).await;
    let again = build(backplane(&memory, 0));
    let client = Client::open(&again).await;
    again.groups().add(&client.id, "g").await.unwrap();
    for hub in [&again, &two] {
        shows(hub, "g", &[&client, &stays]).await;
        complete(hub).await;
    }
}

#[tokio::test]
async fn strangers_are_counted_and_disturb_nobody() {
    let (memory, one, two) = pair().await;
    let client = Client::open(&one).await;
    one.groups().add(&client.id, "g").await.unwrap();
    shows(&two, "g", &[&client]).await;
    let stranger = memory.medium.node();
    soon("its link", async { drop(stranger.link().wait_for(Link::is_up).await.unwrap()) }).await;
    let topic = Topic::new("present", RouteKind::Node, "presence");
    for body in [&b""[..], b"\x01", b"\x01\x10short", b"\xFEwhat", &vec![1; 2 << 20]] {
        stranger.publish(Envelope::new(topic.clone(), body.to_vec())).await.unwrap();
    }
    let known = || (two.stats().malformed, two.stats().unknown);
    until("what cannot be read", || known() == (4, 1)).await;
    // The largest numbers there are.
    for (kind, rest) in [(1, &b""[..]), (2, &[255; 8]), (3, &[255; 9]), (4, b""), (5, b"")] {
        let mut body = vec![kind, 16 + rest.len() as u8];
        body.extend([&[255; 16], rest].concat());
        if kind == 2 {
            body[1] += 8;
            body.extend([0, 0, 0, 0, 1, 0, 0, 0]);
        }
        for _ in 0..2 {
            stranger.publish(Envelope::new(topic.clone(), body.clone())).await.unwrap();
        }
    }
    drop(stranger);
    let stranger = memory.medium.node();
    soon("its link", async { drop(stranger.link().wait_for(Link::is_up).await.unwrap()) }).await;
    // Joins of one connection that is not there, and of one that is.
    let mut delta = vec![1, 16];
    delta.extend(7_u64.to_le_bytes());
    delta.extend(1_u64.to_le_bytes());
    delta.extend(b"\x03\x00\x05ghost\x00\x01g");
    delta.extend(b"\x01\x00\x05ghast\x00\x00\x03\x03\x02");
    stranger.publish(Envelope::new(topic, delta)).await.unwrap();
    until("the stranger's", || two.presence().connection("ghast").unwrap().is_some()).await;
    assert!(two.presence().connection("ghost").unwrap().is_none());
    assert_eq!(two.presence().group("g").count().unwrap(), 2);
    // It never says where it stands, so it is gone before its node counts as dead.
    shows(&two, "g", &[&client]).await;
}

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
    /// With so many connections, each in `each` of the groups.
    async fn start(
        node: impl FnOnce() -> Node + Send + 'static,
        connections: usize,
        each: usize,
    ) -> Self {
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        let runtime = builder.worker_threads(1).enable_all().build().unwrap();
        let started = runtime.spawn(async move {
            let hub = build(Arc::new(node()));
            let mut clients = Vec::with_capacity(connections);
            for number in 0..connections {
                let client = Client::open_as(&hub, Some(&format!("user {}", number % 500))).await;
                for place in 0..each {
                    hub.groups().add(&client.id, &group(number * each + place)).await.unwrap();
                }
                clients.push(client);
            }
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

const GROUPS: usize = 100;

fn group(number: usize) -> String {
    format!("group {}", number % GROUPS)
}

/// Waits until everybody counts this many in each group.
async fn all_count(processes: &[&Process], expected: usize) {
    for process in processes {
        let presence = process.hub.presence();
        let right =
            || (0..GROUPS).all(|number| presence.group(&group(number)).count() == Ok(expected));
        until("the counts", right).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_thousand_connections_in_a_hundred_groups_survive_a_kill() {
    const CONNECTIONS: usize = 1000;
    const EACH: usize = 5;
    let medium = Medium::new();
    let start = |connections| {
        let medium = medium.clone();
        Process::start(move || medium.node_with(short_lives()), connections, EACH)
    };
    let (one, two, three) =
        (start(CONNECTIONS).await, start(CONNECTIONS).await, start(CONNECTIONS).await);
    let per_node = CONNECTIONS * EACH / GROUPS;
    all_count(&[&one, &two, &three], 3 * per_node).await;
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
    let mut watch = one.hub.presence().group(&group(0)).watch().unwrap();
    let (mut watched, _) = snapshot(&mut watch).await;
    assert_eq!(watched.len(), 3 * per_node);

    let survivors = [&one, &two];
    let dead = three.kill();
    for process in survivors {
        let mut members = process.hub.backplane().members();
        let gone = members.wait_for(|members| !members.contains(dead));
        soon("the death of a node", async { drop(gone.await.unwrap()) }).await;
    }
    let noticed = Instant::now();
    all_count(&survivors, 2 * per_node).await;
    println!("right {:?} after the node counted as dead", noticed.elapsed());
    for process in survivors {
        let presence = process.hub.presence();
        assert_eq!(presence.user("user 7").connections().unwrap().len(), 4);
        complete(&process.hub).await;
    }
    // Who watches has seen each of them go.
    for _ in 0..per_node {
        let PresenceEvent::Left(it) = next(&mut watch).await else { panic!() };
        assert_eq!(it.node(), dead);
        assert!(watched.remove(it.connection()));
    }

    // One that starts learns everything.
    let four = start(0).await;
    all_count(&[&four], 2 * per_node).await;
    complete(&four.hub).await;
    assert!(!watched.is_empty() && one.clients.len() == CONNECTIONS);
    for process in [one, two, four] {
        process.kill();
    }
}

/// Over a link that loses, doubles and reorders without saying so.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_agree_over_a_link_that_loses_one_in_ten() {
    const CONNECTIONS: usize = 200;
    let seed = seed("presence over chaos");
    let medium = Medium::new();
    let switch = ChaosHandle::new();
    let start = |number: u64| {
        let wire = medium.wire();
        let options = ChaosOptions::one_in_ten(seed ^ number);
        let chaos = Chaos::new(wire, options).unwrap().switched_by(&switch);
        Process::start(move || Node::start(chaos, short_lives()), CONNECTIONS, 2)
    };
    let (one, two) = (start(1).await, start(2).await);
    let per_node = CONNECTIONS * 2 / GROUPS;
    all_count(&[&one, &two], 2 * per_node).await;
    let mut rounds = 0;
    // Few envelopes are enough, so it takes a while until enough of them are lost.
    while rounds < 10 || switch.counts().dropped < 10 {
        rounds += 1;
        for client in &one.clients {
            one.hub.groups().leave_all(&client.id).await.unwrap();
        }
        all_count(&[&one, &two], per_node).await;
        for (number, client) in one.clients.iter().enumerate() {
            for place in 0..2 {
                one.hub.groups().add(&client.id, &group(number * 2 + place)).await.unwrap();
            }
        }
        all_count(&[&one, &two], 2 * per_node).await;
    }
    println!("{} of {} frames were dropped", switch.counts().dropped, switch.counts().arrived);
    for process in [one, two] {
        process.kill();
    }
}

#[tokio::test]
async fn a_transport_that_carries_too_little_is_told_at_build() {
    let layer = crate::layer::Layer::start(backplane_core::SubscriberOutage::Never).await;
    layer.carries(backplane_core::ByteSize::kib(1));
    let hub = Hub::builder("small").backplane(layer.backplane()).presence(options());
    let error = hub.build().map(drop).unwrap_err();
    assert!(matches!(error, BuildError::PresenceBody { .. }), "{error:?}");
}
