//! Streams, on real servers.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::time::Duration;

use backplane_core::{
    Backplane, Envelope, Event, Gap, LinkError, Node, Position, PublishError, Receipt, Topic,
};
use backplane_redis::StreamsConfig;
use backplane_tests::{
    brokers::{Broker, Redis, RedisFlavour, RedisOptions},
    faults::{Direction, FaultProxy},
    kit::Collector,
};
use common::{Server, body, down, event, events, on, up, within};

on! { [redis7: Redis7, valkey9: Valkey9, redis6: Redis6]
    a_node_reads_on_after_a_kill
    what_was_trimmed_is_told_as_a_gap
    what_is_trimmed_while_a_node_is_away_is_told_as_a_gap
    a_reader_that_is_overtaken_is_told_so
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
        Collector::read(&there, &tea, Position::Earliest).await.unwrap()
    };
    all.numbers(3).await.unwrap();
    let last = all.offset(2).unwrap();
    drop(subscription);
    publish(&there, &tea, 3..10).await;
    trim(&broker, 2).await;
    let (late, _late) = Collector::read(&there, &tea, Position::After(last)).await.unwrap();
    assert_eq!(late.numbers(2).await.unwrap(), [8, 9]);
    assert_eq!(late.gaps(), [Gap::new(tea, None, None)]);
}

/// A node that is cut off by the proxy, and asks for nothing that is lost.
async fn node_behind_proxy(broker: &Broker) -> (Node, FaultProxy) {
    const LONG: Duration = Duration::from_secs(60);
    let proxy = FaultProxy::start(&[broker.address()], 0).await.unwrap();
    let url = broker.url_at(proxy.addresses()[0].port()).replacen("redis:", "redis+streams:", 1);
    let mut config = StreamsConfig::from_url(&format!("{url}?repair=off")).unwrap();
    // A slow link is no dead one.
    (config.server.node.probe_deadline, config.server.node.answer_deadline) = (LONG, LONG);
    let node = config.start().unwrap();
    up(&node).await;
    (node, proxy)
}

/// Trims all streams to so many entries.
async fn trim(broker: &Broker, entries: usize) {
    let server = Server::of(broker).await;
    let streams: Vec<String> = server.ask("KEYS backplane/log/*").await;
    for stream in streams {
        let _: i64 = server.ask(&format!("XTRIM {stream} MAXLEN {entries}")).await;
    }
}

/// Of a part that it has read, and of one in which there was nothing when it subscribed, which servers before 7.0
/// say nothing about.
async fn what_is_trimmed_while_a_node_is_away_is_told_as_a_gap(flavour: RedisFlavour) {
    let broker = server(flavour, "").await;
    let there = node(&broker, "").await;
    let (here, proxy) = node_behind_proxy(&broker).await;
    let parts = StreamsConfig::default().parts;
    let tea = topic("tea");
    let mut others = (0..).map(|number| topic(&format!("{number}")));
    let fresh = others.find(|it| it.part_of(parts) != tea.part_of(parts)).unwrap();
    let mut heard = events(&here, &[tea.clone(), fresh.clone()]).await;
    publish(&there, &tea, 0..1).await;
    assert_eq!(body(&mut heard).await, b"0");
    proxy.cut_off();
    down(&here).await;
    for topic in [&tea, &fresh] {
        publish(&there, topic, 1..10).await;
    }
    trim(&broker, 2).await;
    proxy.heal();
    let (mut gaps, mut bodies) = (Vec::new(), Vec::new());
    while bodies.len() < 4 {
        match event(&mut heard).await {
            Event::Gap(gap) => gaps.push(gap.topic),
            Event::Message(envelope) => bodies.push(number(&envelope)),
            _ => {}
        }
    }
    bodies.sort_unstable();
    assert_eq!(bodies, [8, 8, 9, 9]);
    let knows_fresh = flavour != RedisFlavour::Redis6;
    assert_eq!(gaps.len(), 1 + usize::from(knows_fresh), "{gaps:?}");
    assert!(gaps.contains(&tea) && gaps.contains(&fresh) == knows_fresh, "{gaps:?}");
}

/// Its link is up all the time, and too slow.
async fn a_reader_that_is_overtaken_is_told_so(flavour: RedisFlavour) {
    const COUNT: u32 = 4_000;
    const TRICKLE: u64 = 50_000;
    let broker = server(flavour, "").await;
    let there = node(&broker, "entries=100").await;
    let (here, proxy) = node_behind_proxy(&broker).await;
    let tea = topic("tea");
    let mut heard = events(&here, std::slice::from_ref(&tea)).await;
    let (read, _read) = Collector::read(&here, &tea, Position::Now).await.unwrap();
    proxy.throttle(&[Direction::ToNode], TRICKLE);
    for body in 0..COUNT {
        let envelope = Envelope::new(tea.clone(), format!("{body:01000}"));
        assert_eq!(within(there.publish(envelope)).await.unwrap(), Receipt::Stored);
    }
    proxy.heal();
    let (mut gaps, mut bodies) = (0, Vec::new());
    while bodies.last() != Some(&(COUNT - 1)) {
        match event(&mut heard).await {
            Event::Gap(gap) => gaps += u32::from(gap == Gap::new(tea.clone(), None, None)),
            Event::Message(envelope) => bodies.push(number(&envelope)),
            other => panic!("{other:?}"),
        }
    }
    assert!(bodies.is_sorted() && bodies.len() < COUNT as usize, "{}", bodies.len());
    assert!(gaps > 0);
    read.body(format!("{:01000}", COUNT - 1).as_bytes(), "the last one").await.unwrap();
    assert!(read.gaps().contains(&Gap::new(tea.clone(), None, None)), "{:?}", read.gaps());
    assert_eq!(here.stats().connections, 1);
    let (rest, _rest) = Collector::read(&there, &tea, Position::Earliest).await.unwrap();
    rest.body(format!("{:01000}", COUNT - 1).as_bytes(), "the last one").await.unwrap();
    assert_eq!(rest.gaps(), [], "the earliest that there is");
}

fn number(envelope: &Envelope) -> u32 {
    std::str::from_utf8(&envelope.body).unwrap().parse().unwrap()
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
