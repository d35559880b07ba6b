//! Streams, on real servers.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use backplane_core::{
    Backplane, Envelope, Event, Gap, LinkError, Node, Offset, Position, PublishError, Receipt,
    Sink, Subscription, Topic,
};
use backplane_redis::StreamsConfig;
use backplane_tests::brokers::{Broker, Redis, RedisFlavour, RedisOptions};
use common::{Server, body, down, event, events, on, up, within};
use tokio::sync::watch;

on! { [redis7: Redis7, valkey9: Valkey9, redis6: Redis6]
    what_is_stored_is_read_from_any_position
    a_node_reads_on_after_a_kill
    what_was_trimmed_is_told_as_a_gap
    a_server_that_lost_its_data_is_noticed
    a_part_without_interest_is_not_read
    old_entries_are_removed
    a_full_server_refuses_what_it_can_not_store
}

fn topic(name: &str) -> Topic {
    Topic::group("orders", name)
}

async fn server(flavour: RedisFlavour, more: &str) -> Broker {
    let options = RedisOptions::default().keep_data().config_line(more);
    Redis::start(flavour, options).await.unwrap()
}

fn config(broker: &Broker, options: &str) -> StreamsConfig {
    let url = broker.url().replacen("redis:", "redis+streams:", 1);
    StreamsConfig::from_url(&format!("{url}?{options}")).unwrap()
}

async fn node(broker: &Broker, options: &str) -> Node {
    let node = config(broker, options).start().unwrap();
    up(&node).await;
    node
}

async fn publish(node: &Node, topic: &Topic, bodies: impl IntoIterator<Item = u32>) {
    for body in bodies {
        let envelope = Envelope::new(topic.clone(), body.to_string());
        assert_eq!(within(node.publish(envelope)).await.unwrap(), Receipt::Stored);
    }
}

/// What a sink got: bodies with their offsets, and gaps.
#[derive(Debug, Default)]
struct Read {
    got: Mutex<Vec<(u32, Offset)>>,
    gaps: Mutex<Vec<Gap>>,
    count: watch::Sender<usize>,
}

impl Sink for Read {
    fn accept(&self, event: &Event) {
        match event {
            Event::Message(envelope) => {
                let body = std::str::from_utf8(&envelope.body).unwrap().parse().unwrap();
                self.got.lock().unwrap().push((body, envelope.offset.unwrap()));
            }
            Event::Gap(gap) => self.gaps.lock().unwrap().push(gap.clone()),
            _ => {}
        }
        self.count.send_replace(self.got.lock().unwrap().len());
    }
}

impl Read {
    async fn from(node: &Node, topic: &Topic, position: Position) -> (Arc<Self>, Subscription) {
        let read = Arc::new(Self::default());
        let sink = Arc::<Self>::clone(&read);
        let subscription = node.subscribe_from(topic, sink, position).unwrap();
        within(subscription.confirmed()).await.unwrap();
        (read, subscription)
    }

    async fn bodies(&self, count: usize) -> Vec<u32> {
        within(async {
            self.count.subscribe().wait_for(|it| *it >= count).await.unwrap();
        })
        .await;
        self.got.lock().unwrap().iter().map(|(body, _)| *body).collect()
    }
}

async fn what_is_stored_is_read_from_any_position(flavour: RedisFlavour) {
    let broker = server(flavour, "").await;
    let (one, two) = (node(&broker, "").await, node(&broker, "").await);
    let (tea, other) = (topic("tea"), topic("coffee"));
    publish(&one, &tea, 0..5).await;
    publish(&one, &other, 100..110).await;
    publish(&two, &tea, 5..10).await;
    let (all, _all) = Read::from(&two, &tea, Position::Earliest).await;
    assert_eq!(all.bodies(10).await, (0..10).collect::<Vec<_>>());
    let offset = all.got.lock().unwrap()[6].1;
    let kept: Offset = offset.to_string().parse().unwrap();
    let (later, _later) = Read::from(&one, &tea, Position::After(kept)).await;
    let (new, _new) = Read::from(&one, &tea, Position::Now).await;
    publish(&one, &tea, 10..12).await;
    assert_eq!(later.bodies(5).await, [7, 8, 9, 10, 11]);
    assert_eq!(new.bodies(2).await, [10, 11]);
    assert_eq!(all.bodies(12).await.len(), 12);
    assert!(all.gaps.lock().unwrap().is_empty());
}

/// Its data is on disk: what was stored while the reader was away arrives.
async fn a_node_reads_on_after_a_kill(flavour: RedisFlavour) {
    let broker = server(flavour, "").await;
    let (here, there) = (node(&broker, "").await, node(&broker, "").await);
    let tea = topic("tea");
    let mut heard = events(&here, std::slice::from_ref(&tea)).await;
    for round in 0..3 {
        publish(&there, &tea, round * 100..(round + 1) * 100).await;
        within(broker.kill()).await.unwrap();
        within(broker.start()).await.unwrap();
        up(&there).await;
    }
    publish(&there, &tea, 300..301).await;
    let mut bodies = Vec::new();
    while bodies.len() < 301 {
        match event(&mut heard).await {
            Event::Message(envelope) => {
                bodies.push(String::from_utf8(envelope.body.to_vec()).unwrap())
            }
            Event::Gap(gap) => panic!("{gap:?} after {}", bodies.len()),
            _ => {}
        }
    }
    assert_eq!(bodies, (0..301).map(|it| it.to_string()).collect::<Vec<_>>());
}

async fn what_was_trimmed_is_told_as_a_gap(flavour: RedisFlavour) {
    let broker = server(flavour, "").await;
    let there = node(&broker, "").await;
    let tea = topic("tea");
    let (all, subscription) = {
        publish(&there, &tea, 0..3).await;
        Read::from(&there, &tea, Position::Earliest).await
    };
    all.bodies(3).await;
    let last = all.got.lock().unwrap()[2].1;
    drop(subscription);
    publish(&there, &tea, 3..10).await;
    let server = Server::of(&broker).await;
    let streams: Vec<String> = server.ask("KEYS backplane/log/*").await;
    for stream in streams {
        let _: i64 = server.ask(&format!("XTRIM {stream} MAXLEN 2")).await;
    }
    let (late, _late) = Read::from(&there, &tea, Position::After(last)).await;
    assert_eq!(late.bodies(2).await, [8, 9]);
    let gaps = late.gaps.lock().unwrap().clone();
    assert_eq!(gaps, [Gap::new(tea, None, None)]);
}

/// It keeps nothing on disk here.
async fn a_server_that_lost_its_data_is_noticed(flavour: RedisFlavour) {
    let broker = Redis::start(flavour, RedisOptions::default()).await.unwrap();
    let (here, there) = (node(&broker, "").await, node(&broker, "").await);
    let tea = topic("tea");
    let mut heard = events(&here, std::slice::from_ref(&tea)).await;
    publish(&there, &tea, 0..1).await;
    assert_eq!(body(&mut heard).await, b"0");
    within(broker.kill()).await.unwrap();
    within(broker.start()).await.unwrap();
    up(&there).await;
    up(&here).await;
    publish(&there, &tea, 1..2).await;
    let mut gaps = 0;
    loop {
        match event(&mut heard).await {
            Event::Gap(_) => gaps += 1,
            Event::Message(envelope) => break assert_eq!(envelope.body, "1"),
            _ => {}
        }
    }
    assert_eq!(gaps, 1);
}

async fn a_part_without_interest_is_not_read(flavour: RedisFlavour) {
    let broker = server(flavour, "").await;
    let (here, there) = (node(&broker, "parts=2").await, node(&broker, "parts=2").await);
    let topics: Vec<Topic> = (0..20).map(|number| topic(&number.to_string())).collect();
    let mut heard = events(&here, &topics[..1]).await;
    let before = here.stats();
    for topic in &topics {
        publish(&there, topic, 0..10).await;
    }
    publish(&there, &topics[0], 10..11).await;
    for number in 0..11 {
        assert_eq!(body(&mut heard).await, number.to_string().as_bytes());
    }
    let stats = here.stats();
    let dropped = stats.uninterested - before.uninterested;
    assert!((10..190).contains(&dropped), "{dropped} of its part, and none of the other");
    let received =
        |stats: &backplane_core::Stats| stats.kind(backplane_core::RouteKind::Group).received;
    assert_eq!(received(&stats), 11, "the others' headers were not looked at");
    // With the interest, the reading ends.
    drop(heard);
    within(async {
        while here.stats().topics_unsubscribed == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    let before = here.stats().uninterested;
    for topic in &topics {
        publish(&there, topic, 0..10).await;
    }
    let mut again = events(&here, &topics[..1]).await;
    publish(&there, &topics[0], 11..12).await;
    assert_eq!(body(&mut again).await, b"11");
    let dropped = here.stats().uninterested - before;
    assert!(dropped < 10, "{dropped}: more than probes of the other node came");
}

async fn old_entries_are_removed(flavour: RedisFlavour) {
    let broker = server(flavour, "stream-node-max-entries 1").await;
    let node = node(&broker, "age=1").await;
    publish(&node, &topic("tea"), 0..10).await;
    let server = Server::of(&broker).await;
    // Whatever part it is in, but that of the conversation.
    let left = async || {
        let mut left = 0;
        for part in 1..=16 {
            left += server.ask::<u64>(&format!("XLEN backplane/log/{part}")).await;
        }
        left
    };
    assert!(left().await > 0);
    within(async {
        while left().await > 0 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
    .await;
}

async fn a_full_server_refuses_what_it_can_not_store(flavour: RedisFlavour) {
    let broker = server(flavour, "maxmemory-policy noeviction").await;
    let node = node(&broker, "outage=refuse").await;
    let server = Server::of(&broker).await;
    let () = server.ask("CONFIG SET maxmemory 1").await;
    let refused = within(node.publish(Envelope::new(topic("tea"), "x"))).await.unwrap_err();
    let PublishError::Refused { reason } = &refused else { panic!("{refused}") };
    assert!(reason.contains("OOM"), "{reason}");
    let () = server.ask("CONFIG SET maxmemory 0").await;
    publish(&node, &topic("tea"), 0..1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redis7_access_rules_that_forbid_reading_are_named() {
    let options = RedisOptions::default()
        .config_line("user app on >secret ~backplane/log/* +xadd +xread +hello +info +client|id");
    let broker = Redis::start(RedisFlavour::Redis7, options).await.unwrap();
    let address = broker.address();
    let url = format!("redis+streams://app:secret@{address}");
    let node = StreamsConfig::from_url(&url).unwrap().start().unwrap();
    let cause = down(&node).await;
    assert!(!matches!(*cause, LinkError::Authentication { .. }), "{cause}");
    assert!(cause.to_string().contains("NOPERM"), "{cause}");
}
