//! Sharded Pub/Sub on clusters of real servers.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::{
    collections::{BTreeSet, HashMap},
    time::{Duration, Instant},
};

use backplane_core::{
    Backplane, Envelope, Event, Events, Link, LinkError, Node, NodeOptions, Receipt, Topic,
};
use backplane_redis::{RedisConfig, ShardedConfig};
use backplane_tests::brokers::{Redis, RedisCluster, RedisFlavour, RedisOptions};
use common::{body, down, event, events, on, up, within};
use redis::cmd;
use tokio_util::sync::CancellationToken;

on! { [redis7: Redis7, valkey9: Valkey9]
    every_name_is_delivered_and_none_is_a_hash_tag
    slots_that_move_are_followed
    order_is_kept_when_a_master_hands_over
    a_master_that_is_killed_is_replaced
    rules_that_are_missing_are_named
}

on! { [valkey9one: Valkey9]
    a_master_that_is_emptied_is_let_go
    a_master_that_freezes_is_noticed
    ten_thousand_topics_are_back_soon_after_a_failover
    classic_pubsub_reaches_every_member
}

on! { [redis7single: Redis7]
    a_server_of_its_own_is_no_cluster
}

on! { [redis6: Redis6]
    an_old_server_is_said_to_be
}

async fn cluster(flavour: RedisFlavour) -> RedisCluster {
    let cluster = RedisCluster::start(flavour, RedisOptions::default()).await.unwrap();
    cluster.well().await.unwrap();
    cluster
}

fn url(cluster: &RedisCluster) -> String {
    let places: Vec<String> = cluster.brokers().map(|it| it.address().to_string()).collect();
    format!("redis+sharded://{}", places.join(","))
}

fn start(url: &str) -> Node {
    let mut config = ShardedConfig::from_url(url).unwrap();
    config.server.node = NodeOptions::bare();
    config.start().unwrap()
}

async fn node(url: &str) -> Node {
    let node = start(url);
    up(&node).await;
    node
}

fn groups(count: usize) -> Vec<Topic> {
    (0..count).map(|number| Topic::group("orders", &number.to_string())).collect()
}

/// The channels that are subscribed at one server.
async fn channels(cluster: &RedisCluster, server: usize) -> BTreeSet<String> {
    cluster.ask(server, cmd("PUBSUB").arg("SHARDCHANNELS")).await.unwrap()
}

async fn slot(cluster: &RedisCluster, channel: &str) -> u16 {
    cluster.ask(0, cmd("CLUSTER").arg("KEYSLOT").arg(channel)).await.unwrap()
}

/// How many clients a server has that are neither the test nor another server.
async fn clients(cluster: &RedisCluster, server: usize) -> usize {
    let list: String = cluster.ask(server, cmd("CLIENT").arg("LIST")).await.unwrap();
    let other = ["cmd=client", " flags=S", " flags=M"];
    list.lines().filter(|client| !other.iter().any(|it| client.contains(it))).count()
}

/// Publishes until the envelope is accepted.
async fn publish(node: &Node, topic: &Topic, body: &str) {
    within(async {
        while node.publish(Envelope::new(topic.clone(), body.to_owned())).await.is_err() {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

/// The next message, and whether an interruption began and ended before it.
async fn next(events: &mut Events) -> (Vec<u8>, bool) {
    let mut interrupted = false;
    loop {
        match event(events).await {
            Event::Message(envelope) => return (envelope.body.to_vec(), interrupted),
            Event::Interrupted { .. } => {
                assert!(matches!(event(events).await, Event::Restored));
                interrupted = true;
            }
            other => panic!("{other:?}"),
        }
    }
}

async fn every_name_is_delivered_and_none_is_a_hash_tag(flavour: RedisFlavour) {
    let cluster = cluster(flavour).await;
    let (ours, theirs) = (node(&url(&cluster)).await, node(&url(&cluster)).await);
    let mut topics: Vec<Topic> =
        (0..32).map(|number| Topic::user("{orders}", &format!("{{ann}}%{number}"))).collect();
    topics.push(Topic::all("orders"));
    topics.push(Topic::group("or*/d%\u{e9}rs", "a*b [c]\r\n/\u{fc}\0{}"));
    let mut events = events(&ours, &topics).await;
    for topic in &topics {
        let sent = topic.to_string();
        let receipt = theirs.publish(Envelope::new(topic.clone(), sent.clone())).await;
        assert_eq!(receipt.unwrap(), Receipt::Accepted);
        assert_eq!(body(&mut events).await, sent.as_bytes());
    }
    let mut masters = 0;
    for master in 0..3 {
        let channels = channels(&cluster, master).await;
        assert!(channels.iter().all(|channel| !channel.contains('{')), "{channels:?}");
        masters += usize::from(channels.iter().any(|channel| channel.contains("/user/")));
    }
    assert_eq!(masters, 3, "what is in braces would bring all users to one master");
    assert!(channels(&cluster, 3).await.is_empty(), "a replica has subscribers");
}

/// The server says that by a `sunsubscribe` that nobody asked for.
async fn slots_that_move_are_followed(flavour: RedisFlavour) {
    let cluster = cluster(flavour).await;
    let (ours, theirs) = (node(&url(&cluster)).await, node(&url(&cluster)).await);
    let topics = groups(48);
    let mut events = events(&ours, &topics).await;
    for (from, to) in [(0, 1), (1, 2)] {
        let mut slots = BTreeSet::new();
        for channel in channels(&cluster, from).await {
            slots.insert(slot(&cluster, &channel).await);
        }
        cluster.move_slots(slots, from, to).await.unwrap();
        // Each was given up, and taken again somewhere else.
        within(async { while !channels(&cluster, from).await.is_empty() {} }).await;
        let all = async || {
            let mut all = BTreeSet::new();
            for master in 0..3 {
                all.append(&mut channels(&cluster, master).await);
            }
            all.iter().filter(|channel| channel.contains("/group/")).count() == topics.len()
        };
        within(async { while !all().await {} }).await;
        let mut told = false;
        for topic in &topics {
            // Once it is restored: that follows the subscription.
            publish(&theirs, topic, topic.name()).await;
            let (body, interrupted) = next(&mut events).await;
            assert_eq!(body, topic.name().as_bytes());
            told |= interrupted;
        }
        assert!(told, "what was published meanwhile is lost, and nobody was told");
    }
    for node in [&ours, &theirs] {
        assert_eq!(node.stats().connections, 1, "the link stays up");
    }
}

/// The old master goes on taking envelopes as a replica, and passes them on slowly.
async fn order_is_kept_when_a_master_hands_over(flavour: RedisFlavour) {
    const FENCE: u64 = u64::MAX;
    let cluster = cluster(flavour).await;
    let (ours, theirs) = (node(&url(&cluster)).await, node(&url(&cluster)).await);
    let topics = groups(16);
    let mut events = events(&ours, &topics).await;
    let stop = CancellationToken::new();
    let publishing = {
        let (stop, topics) = (stop.clone(), topics.clone());
        tokio::spawn(async move {
            for number in 1_u64.. {
                let number = if stop.is_cancelled() { FENCE } else { number };
                for topic in &topics {
                    let envelope = Envelope::new(topic.clone(), number.to_le_bytes().to_vec());
                    // A ticket that fails is a number that is missing, which is no disorder.
                    drop(theirs.try_publish(envelope));
                }
                if number == FENCE {
                    return theirs;
                }
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            unreachable!()
        })
    };
    let reading = tokio::spawn(async move {
        let mut latest: HashMap<Topic, u64> = HashMap::new();
        let mut read = 0_u64;
        while latest.values().filter(|number| **number == FENCE).count() < 16 {
            let Event::Message(envelope) = event(&mut events).await else { continue };
            let number = u64::from_le_bytes(*envelope.body.first_chunk().unwrap());
            let before = latest.insert(envelope.topic.clone(), number).unwrap_or(0);
            assert!(number > before, "{number} of {} after {before}", envelope.topic);
            read += 1;
        }
        read
    });
    for master in 0..3 {
        cluster.hand_over(master).await.unwrap();
        // Nobody publishes by way of the old master any more, nor is subscribed there.
        within(async { while clients(&cluster, master).await > 0 {} }).await;
    }
    stop.cancel();
    let theirs = within(publishing).await.unwrap();
    let read = within(reading).await.unwrap();
    println!("{read} envelopes in order");
    assert_eq!((ours.stats().connections, theirs.stats().connections), (1, 1));
}

async fn a_master_that_is_killed_is_replaced(flavour: RedisFlavour) {
    let cluster = cluster(flavour).await;
    let (ours, theirs) = (node(&url(&cluster)).await, node(&url(&cluster)).await);
    let topics = groups(48);
    let mut events = events(&ours, &topics).await;
    let victim = cluster.brokers().next().unwrap();
    let replica = cluster.replica_of(0).await.unwrap();
    victim.kill().await.unwrap();
    down(&ours).await;
    down(&theirs).await;
    assert!(matches!(event(&mut events).await, Event::Interrupted { .. }));
    // Buffered and unsent is not what a bare node does: it says so at once.
    assert!(theirs.publish(Envelope::new(topics[0].clone(), "lost")).await.is_err());
    cluster.replaced(0).await.unwrap();
    up(&ours).await;
    up(&theirs).await;
    assert!(matches!(event(&mut events).await, Event::Restored));
    victim.start().await.unwrap();
    cluster.well().await.unwrap();
    for topic in &topics {
        publish(&theirs, topic, topic.name()).await;
        assert_eq!(body(&mut events).await, topic.name().as_bytes());
    }
    assert!(!channels(&cluster, replica).await.is_empty());
    assert_eq!(clients(&cluster, 0).await, 0, "it is a replica, which nobody needs");
}

async fn a_master_that_is_emptied_is_let_go(flavour: RedisFlavour) {
    let cluster = cluster(flavour).await;
    let (ours, theirs) = (node(&url(&cluster)).await, node(&url(&cluster)).await);
    let topics = groups(24);
    let mut events = events(&ours, &topics).await;
    let slots = 0..=(16_384 / 3 - 1);
    cluster.move_slots(slots, 0, 1).await.unwrap();
    within(async { while clients(&cluster, 0).await > 0 {} }).await;
    let id: String = cluster.ask(0, cmd("CLUSTER").arg("MYID")).await.unwrap();
    cluster.brokers().next().unwrap().kill().await.unwrap();
    for server in 1..6 {
        // One of its own kind, a replica, may not forget its master.
        let _ = cluster.ask::<()>(server, cmd("CLUSTER").arg("FORGET").arg(&id)).await;
    }
    for topic in &topics {
        publish(&theirs, topic, topic.name()).await;
        assert_eq!(next(&mut events).await.0, topic.name().as_bytes());
    }
    assert_eq!((ours.stats().connections, theirs.stats().connections), (1, 1));
}

/// Also when the node's own probe goes another way.
async fn a_master_that_freezes_is_noticed(flavour: RedisFlavour) {
    const FROZEN: usize = 1;
    let cluster = cluster(flavour).await;
    let ours = loop {
        let node = node(&url(&cluster)).await;
        let own = format!("/node/{}", Backplane::node(&node));
        if !channels(&cluster, FROZEN).await.iter().any(|channel| channel.ends_with(&own)) {
            break node;
        }
    };
    let broker = cluster.brokers().nth(FROZEN).unwrap();
    broker.pause().await.unwrap();
    let mut link = ours.link();
    within(async { link.wait_for(|link| !link.is_up()).await.map(drop).unwrap() }).await;
    // It is replaced, though it still takes connections.
    cluster.replaced(FROZEN).await.unwrap();
    up(&ours).await;
    broker.resume().unwrap();
    cluster.well().await.unwrap();
    let topic = Topic::group("orders", "kitchen");
    let mut events = events(&ours, std::slice::from_ref(&topic)).await;
    publish(&node(&url(&cluster)).await, &topic, "tea").await;
    assert_eq!(next(&mut events).await.0, b"tea");
    assert_eq!(clients(&cluster, FROZEN).await, 0);
}

async fn ten_thousand_topics_are_back_soon_after_a_failover(flavour: RedisFlavour) {
    const TOPICS: usize = 10_000;
    let cluster = cluster(flavour).await;
    let ours = node(&url(&cluster)).await;
    let topics = groups(TOPICS);
    let _events = events(&ours, &topics).await;
    let before = ours.stats();
    let replica = cluster.replica_of(0).await.unwrap();
    cluster.brokers().next().unwrap().kill().await.unwrap();
    down(&ours).await;
    let mut link = ours.link();
    let back = async {
        link.wait_for(Link::is_up).await.map(drop).unwrap();
        Instant::now()
    };
    let promoted = async {
        loop {
            let role: Vec<redis::Value> = cluster.ask(replica, &cmd("ROLE")).await.unwrap();
            if role[0] == redis::Value::BulkString(b"master".to_vec()) {
                return Instant::now();
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    let (promoted, back) = within(async { tokio::join!(promoted, back) }).await;
    let after = ours.stats();
    let trips = after.interest_round_trips - before.interest_round_trips;
    println!(
        "{TOPICS} topics were back {:?} after the promotion, in {trips} round trips",
        back.saturating_duration_since(promoted)
    );
    let mut subscribed = 0;
    for server in [replica, 1, 2] {
        let channels = channels(&cluster, server).await;
        subscribed += channels.iter().filter(|channel| channel.contains("/group/")).count();
    }
    assert_eq!(subscribed, TOPICS);
    // One for the node's own topics in each attempt, and one for each 4,096 of the others.
    let attempts = 1 + after.connections - before.connections;
    assert!(trips <= 3 + 2 * attempts, "{trips} round trips in {attempts} attempts");
}

/// Each `PUBLISH` goes to all members, whoever is subscribed there.
async fn classic_pubsub_reaches_every_member(flavour: RedisFlavour) {
    let cluster = cluster(flavour).await;
    let topic = Topic::group("orders", "kitchen");
    let mut nodes = Vec::new();
    for broker in cluster.brokers() {
        let mut config = RedisConfig::from_url(&broker.url()).unwrap();
        config.node = NodeOptions::bare();
        let node = config.start().unwrap();
        up(&node).await;
        let events = events(&node, std::slice::from_ref(&topic)).await;
        nodes.push((node, events));
    }
    for at in 0..nodes.len() {
        let sent = format!("from {at}");
        publish(&nodes[at].0, &topic, &sent).await;
        for (_, events) in &mut nodes {
            assert_eq!(body(events).await, sent.as_bytes());
        }
    }
}

async fn rules_that_are_missing_are_named(flavour: RedisFlavour) {
    const RULES: &str = "+ssubscribe +sunsubscribe +spublish +ping +role +cluster|info \
                         +cluster|myid +cluster|slots resetchannels &app/*";
    let options = RedisOptions::default()
        .config_line(format!("user app on >secret {RULES}"))
        .config_line(format!("user deaf on >secret {}", RULES.replace("+sunsubscribe ", "")))
        .config_line(format!("user blind on >secret {}", RULES.replace("+cluster|slots ", "")));
    let cluster = RedisCluster::start(flavour, options).await.unwrap();
    let url =
        |user: &str| url(&cluster).replace("://", &format!("://{user}:secret@")) + "?prefix=app";
    for user in ["deaf", "blind"] {
        let cause = down(&start(&url(user))).await;
        assert!(matches!(*cause, LinkError::Denied { .. }), "{cause:?}");
        assert!(cause.to_string().contains("+sunsubscribe"), "{cause}");
    }
    let (ours, theirs) = (node(&url("app")).await, node(&url("app")).await);
    let topic = Topic::group("orders", "kitchen");
    let mut events = events(&ours, std::slice::from_ref(&topic)).await;
    publish(&theirs, &topic, "tea").await;
    assert_eq!(body(&mut events).await, b"tea");
}

async fn a_server_of_its_own_is_no_cluster(flavour: RedisFlavour) {
    let broker = Redis::start(flavour, RedisOptions::default()).await.unwrap();
    let cause = down(&start(&broker.url().replace("redis:", "redis+sharded:"))).await;
    assert!(matches!(&*cause, LinkError::Protocol { expected: "Redis Cluster", .. }), "{cause:?}");
    assert!(cause.to_string().contains("redis:"), "{cause}");
}

async fn an_old_server_is_said_to_be(flavour: RedisFlavour) {
    let broker = Redis::start(flavour, RedisOptions::default()).await.unwrap();
    let cause = down(&start(&broker.url().replace("redis:", "redis+sharded:"))).await;
    assert!(matches!(&*cause, LinkError::TooOld { needed: "7.0", .. }), "{cause:?}");
}
