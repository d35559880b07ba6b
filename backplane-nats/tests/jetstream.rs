//! JetStream, on real servers.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::{collections::HashSet, time::Duration};

use async_nats::jetstream::{
    self,
    stream::{Config, StorageType},
};
use backplane_core::{
    Backplane, Envelope, Event, Gap, LinkError, Node, Position, PublishError, Receipt, RouteKind,
    Stats, Topic,
};
use backplane_nats::JetStreamConfig;
use backplane_tests::{
    brokers::{Broker, NatsFlavour, NatsOptions},
    faults::{Direction, FaultProxy, Which},
    kit::Collector,
};
use common::{broker, broker_with, down, listen, message, next, soon, up, users};
use futures_util::{TryStreamExt, future::try_join_all};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufStream},
    net::TcpStream,
};

fn topic(name: &str) -> Topic {
    Topic::group("orders", name)
}

async fn server() -> Broker {
    broker_with(NatsFlavour::Nats2_15, NatsOptions::default().jetstream()).await
}

fn url(broker: &Broker, options: &str) -> String {
    format!("nats+jetstream://{}?{options}", broker.address())
}

fn start(url: &str) -> Node {
    JetStreamConfig::from_url(url).unwrap().start().unwrap()
}

async fn node(broker: &Broker, options: &str) -> Node {
    let node = start(&url(broker, options));
    up(&node).await;
    node
}

/// A node behind a proxy of its own.
async fn node_behind_proxy(broker: &Broker, options: &str) -> (Node, FaultProxy) {
    let proxy = FaultProxy::start(&[broker.address()], 1).await.unwrap();
    let node = start(&format!("nats+jetstream://{}?{options}", proxy.addresses()[0]));
    up(&node).await;
    (node, proxy)
}

async fn publish(node: &Node, topic: &Topic, bodies: impl IntoIterator<Item = u32>) {
    for body in bodies {
        let envelope = Envelope::new(topic.clone(), body.to_string());
        let receipt = soon("it is stored", node.publish(envelope)).await.unwrap();
        assert_eq!(receipt, Receipt::Stored);
    }
}

async fn stranger(broker: &Broker) -> jetstream::Context {
    jetstream::new(async_nats::connect(broker.url()).await.unwrap())
}

/// Publishes nothing but headers, as they are, and waits until the server has taken them.
async fn publish_headers(broker: &Broker, subject: &str, headers: &str) {
    let mut stream = BufStream::new(TcpStream::connect(broker.address()).await.unwrap());
    let length = headers.len();
    let order = format!(
        "CONNECT {{\"verbose\":false,\"headers\":true}}\r\n\
         HPUB {subject} {length} {length}\r\n{headers}\r\nPING\r\n"
    );
    stream.write_all(order.as_bytes()).await.unwrap();
    stream.flush().await.unwrap();
    let mut line = String::new();
    while line.trim() != "PONG" {
        line.clear();
        soon("an answer", stream.read_line(&mut line)).await.unwrap();
        assert!(!line.starts_with("-ERR"), "{line}");
    }
}

fn number(envelope: &Envelope) -> u32 {
    std::str::from_utf8(&envelope.body).unwrap().parse().unwrap()
}

/// Its data is on disk: what was stored while the reader was away arrives.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nats2_15_a_node_reads_on_after_a_kill() {
    let broker = server().await;
    let (here, there) = (node(&broker, "").await, node(&broker, "").await);
    let tea = topic("tea");
    let mut heard = listen(&here, std::slice::from_ref(&tea)).await;
    for round in 0..3 {
        publish(&there, &tea, round * 100..(round + 1) * 100).await;
        soon("it ends", broker.kill()).await.unwrap();
        soon("it starts", broker.start()).await.unwrap();
        up(&there).await;
    }
    publish(&there, &tea, 300..301).await;
    let mut bodies = Vec::new();
    while bodies.len() < 301 {
        match next(&mut heard).await {
            Event::Message(envelope) => bodies.push(number(&envelope)),
            Event::Gap(gap) => panic!("{gap:?} after {}", bodies.len()),
            _ => {}
        }
    }
    assert_eq!(bodies, (0..301).collect::<Vec<_>>());
    assert_eq!(here.stats().doubled, 0);
}

/// The next events, up to a message of that number: the messages before it, and how many gaps.
async fn until(heard: &mut backplane_core::Events, last: u32) -> (Vec<u32>, Vec<Gap>) {
    let (mut bodies, mut gaps) = (Vec::new(), Vec::new());
    while bodies.last() != Some(&last) {
        match next(heard).await {
            Event::Message(envelope) => bodies.push(number(&envelope)),
            Event::Gap(gap) => gaps.push(gap),
            _ => {}
        }
    }
    (bodies, gaps)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nats2_15_what_was_trimmed_is_told_as_a_gap() {
    let broker = server().await;
    let tea = topic("tea");
    let there = node(&broker, "").await;
    let (here, proxy) = node_behind_proxy(&broker, "repair=off").await;
    let mut heard = listen(&here, std::slice::from_ref(&tea)).await;
    let (all, subscription) = Collector::read(&there, &tea, Position::Earliest).await.unwrap();
    publish(&there, &tea, 0..3).await;
    assert_eq!(until(&mut heard, 2).await, (vec![0, 1, 2], vec![]));
    all.numbers(3).await.unwrap();
    let last = all.offset(2).unwrap();
    drop(subscription);
    proxy.cut_off();
    down(&here).await;
    publish(&there, &tea, 3..10).await;
    let stream = stranger(&broker).await.get_stream("backplane").await.unwrap();
    let end = stream.get_info().await.unwrap().state.last_sequence;
    stream.purge().sequence(end).await.unwrap();
    publish(&there, &tea, 10..12).await;
    proxy.heal();
    let (bodies, gaps) = until(&mut heard, 11).await;
    assert_eq!(gaps, [Gap::new(tea.clone(), None, None)]);
    assert!(bodies.ends_with(&[10, 11]) && bodies.len() <= 3, "{bodies:?}");
    let (late, _late) = Collector::read(&there, &tea, Position::After(last)).await.unwrap();
    // The purge may have left the last one before.
    late.body(b"11", "the last one").await.unwrap();
    let bodies = late.numbers(0).await.unwrap();
    assert!(bodies.ends_with(&[10, 11]) && bodies.len() <= 3, "{bodies:?}");
    assert_eq!(late.gaps(), [Gap::new(tea, None, None)]);
}

/// Its link is up all the time, and too slow.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nats2_15_a_reader_that_is_overtaken_is_told_so() {
    const COUNT: u32 = 20_000;
    const AT_ONCE: u32 = 1_000;
    const TRICKLE: u64 = 50_000;
    let broker = server().await;
    let there = node(&broker, "entries=100").await;
    let (here, proxy) = node_behind_proxy(&broker, "entries=100&repair=off").await;
    let tea = topic("tea");
    let mut heard = listen(&here, std::slice::from_ref(&tea)).await;
    let (read, _read) = Collector::read(&here, &tea, Position::Now).await.unwrap();
    proxy.throttle(&[Direction::ToNode], TRICKLE);
    for from in (0..COUNT).step_by(AT_ONCE as usize) {
        let bodies = (from..from + AT_ONCE).map(|number| format!("{number:01000}"));
        let publish = bodies.map(|body| there.publish(Envelope::new(tea.clone(), body)));
        try_join_all(publish).await.unwrap();
    }
    proxy.heal();
    let (bodies, gaps) = until(&mut heard, COUNT - 1).await;
    assert!(bodies.is_sorted() && bodies.len() < COUNT as usize, "{}", bodies.len());
    let untold = Gap::new(tea, None, None);
    assert!(gaps.contains(&untold), "{gaps:?}");
    read.body(format!("{:01000}", COUNT - 1).as_bytes(), "the last one").await.unwrap();
    assert!(read.gaps().contains(&untold), "{:?}", read.gaps());
    assert_eq!(here.stats().connections, 1);
    let tea = &untold.topic;
    let (rest, _rest) = Collector::read(&there, tea, Position::Earliest).await.unwrap();
    rest.body(format!("{:01000}", COUNT - 1).as_bytes(), "the last one").await.unwrap();
    assert_eq!(rest.gaps(), [], "the earliest that there is");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nats2_15_a_stream_that_was_made_anew_is_noticed() {
    let broker = server().await;
    let tea = topic("tea");
    let (here, there) = (node(&broker, "").await, node(&broker, "").await);
    let mut heard = listen(&here, std::slice::from_ref(&tea)).await;
    publish(&there, &tea, 0..3).await;
    assert_eq!(until(&mut heard, 2).await, (vec![0, 1, 2], vec![]));
    let (all, _all) = Collector::read(&there, &tea, Position::Earliest).await.unwrap();
    all.numbers(3).await.unwrap();
    let old = all.offset(2).unwrap();
    stranger(&broker).await.delete_stream("backplane").await.unwrap();
    // Its publisher's link comes up with the new stream; whoever listens hears all that is in it.
    publish_in_the_end(&there, &tea, 3).await;
    let (bodies, gaps) = until(&mut heard, 3).await;
    assert_eq!((bodies, gaps), (vec![3], vec![Gap::new(tea.clone(), None, None)]));
    let (late, _late) = Collector::read(&there, &tea, Position::After(old)).await.unwrap();
    assert_eq!(late.numbers(1).await.unwrap(), [3]);
    assert_eq!(late.gaps(), [Gap::new(tea, None, None)]);
    assert!(late.offset(0).unwrap() > old, "a later stream has later offsets");
}

/// Publishes what is buffered while there is no link.
async fn publish_in_the_end(node: &Node, topic: &Topic, body: u32) {
    node.publish(Envelope::new(topic.clone(), body.to_string())).await.unwrap();
}

/// The answers to what is stored get lost; so it is written again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nats2_15_what_is_written_again_is_stored_once() {
    const ROUNDS: u32 = 12;
    const EACH: u32 = 6_000;
    let broker = server().await;
    let topics: Vec<Topic> = (0..40).map(|number| topic(&number.to_string())).collect();
    let mut config = JetStreamConfig::from_url(&url(&broker, "")).unwrap();
    config.servers.node.dead_after = Duration::from_secs(600);
    let reader = config.clone().start().unwrap();
    let mut heard = listen(&reader, &topics).await;
    let proxy = FaultProxy::start(&[broker.address()], 1).await.unwrap();
    config.servers.servers = vec![proxy.addresses()[0].to_string()];
    // Nothing else that it says is to be on its way.
    config.servers.node.heartbeat_every = Duration::from_secs(600);
    config.servers.node.probe_every = Duration::from_secs(600);
    let sender = config.start().unwrap();
    up(&sender).await;
    let mut got = HashSet::new();
    for round in 0..ROUNDS {
        for body in round * EACH..(round + 1) * EACH {
            let envelope = Envelope::new(topics[body as usize % 40].clone(), body.to_string());
            drop(sender.try_publish(envelope).unwrap());
        }
        // Whatever else it had to say stood before these, and is answered. Of these, some batch is on its
        // way; a part of it may be stored, and its answer is lost.
        assert!(got.insert(number(&message(&mut heard).await)));
        proxy.hold(&[Direction::ToNode]);
        proxy.reset(Which::All);
        proxy.heal();
        while got.len() < ((round + 1) * EACH) as usize {
            assert!(got.insert(number(&message(&mut heard).await)));
        }
        up(&sender).await;
    }
    assert!(sender.stats().connections >= 2, "it was connected only once");
    publish(&sender, &topics[0], ROUNDS * EACH..ROUNDS * EACH + 1).await;
    // Had the server not known again what was written twice, the reader would have had to.
    assert_eq!(reader.stats().doubled, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nats2_15_changes_of_interest_lose_nothing() {
    const ALL: u32 = 20_000;
    let broker = server().await;
    let (here, there) = (node(&broker, "").await, node(&broker, "").await);
    let steady = topic("steady");
    let mut heard = listen(&here, std::slice::from_ref(&steady)).await;
    let publishing = tokio::spawn(async move {
        for body in 0..ALL {
            let mut envelope = Envelope::new(topic("steady"), body.to_string());
            while let Err(refused) = there.try_publish(envelope) {
                let PublishError::Full(back) = refused else { panic!("{refused}") };
                there.room(&back).await.unwrap();
                envelope = *back;
            }
            if body % 64 == 0 {
                tokio::task::yield_now().await;
            }
        }
        there
    });
    // Each in another part: the consumer is made anew nearly every time.
    let mut changes = 0;
    while !publishing.is_finished() || changes < 20 {
        let other = topic(&format!("other {changes}"));
        drop(listen(&here, &[other]).await);
        changes += 1;
    }
    for body in 0..ALL {
        assert_eq!(number(&message(&mut heard).await), body, "after {changes} changes");
    }
    publishing.await.unwrap();
    let stats = here.stats();
    assert_eq!((stats.doubled, stats.lost, stats.connections), (0, 0, 1));
}

/// Publishes these numbers at once, each on the next of the topics, and waits until all are stored.
async fn publish_at_once(node: &Node, topics: &[Topic], bodies: std::ops::Range<u32>) {
    let envelope = |body: u32| {
        let topic = topics[body as usize % topics.len()].clone();
        node.try_publish(Envelope::new(topic, body.to_string())).unwrap()
    };
    let tickets: Vec<_> = bodies.map(envelope).collect();
    for ticket in tickets {
        assert_eq!(soon("it is stored", ticket).await.unwrap(), Receipt::Stored);
    }
}

/// How many messages the stream has had.
async fn messages(broker: &Broker) -> u64 {
    let stream = stranger(broker).await.get_stream("backplane").await.unwrap();
    stream.get_info().await.unwrap().state.last_sequence
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nats2_15_topics_of_one_part_share_a_message() {
    const TOPICS: usize = 500;
    const ALL: u32 = 4_000;
    let broker = server().await;
    let (here, there) = (node(&broker, "").await, node(&broker, "").await);
    let topics: Vec<Topic> = (0..TOPICS).map(|number| topic(&number.to_string())).collect();
    let mut heard = listen(&here, &topics).await;
    let before = messages(&broker).await;
    publish_at_once(&there, &topics, 0..ALL).await;
    let stored = messages(&broker).await - before;
    assert!(stored < u64::from(ALL) / 4, "{ALL} envelopes take {stored} messages");
    let (mut next, mut places) = (vec![0; TOPICS], HashSet::new());
    for _ in 0..ALL {
        let envelope = message(&mut heard).await;
        assert!(places.insert(envelope.offset.unwrap()), "{:?} twice", envelope.offset);
        let number = number(&envelope);
        let place = &mut next[number as usize % TOPICS];
        assert_eq!(
            (number as usize / TOPICS, envelope.topic),
            (*place, topics[number as usize % TOPICS].clone())
        );
        *place += 1;
    }
    // From any place of a message on, exactly what stands behind it.
    for topic in [&topics[0], &topics[77], &topics[TOPICS - 1]] {
        let (all, _all) = Collector::read(&there, topic, Position::Earliest).await.unwrap();
        let numbers = all.numbers(ALL as usize / TOPICS).await.unwrap();
        for after in 0..numbers.len() - 1 {
            let from = Position::After(all.offset(after).unwrap());
            let (late, _late) = Collector::read(&there, topic, from).await.unwrap();
            let wanted = &numbers[after + 1..];
            assert_eq!(late.numbers(wanted.len()).await.unwrap(), wanted, "{topic} behind {after}");
        }
    }
}

/// An administrator's bound on messages, which each envelope is far below.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nats2_15_what_shares_a_message_stays_below_the_bound_of_the_stream() {
    let broker = server().await;
    let config = Config {
        name: "backplane".to_owned(),
        subjects: vec!["backplane.log.*".to_owned()],
        max_message_size: 5_000,
        ..Config::default()
    };
    stranger(&broker).await.create_stream(config).await.unwrap();
    let node = node(&broker, "outage=refuse").await;
    let topics: Vec<Topic> = (0..100).map(|number| topic(&number.to_string())).collect();
    publish_at_once(&node, &topics, 0..2_000).await;
    let one = topic("one");
    publish_at_once(&node, &[one], 0..2_000).await;
}

/// What somebody else has written into the stream.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nats2_15_what_is_no_entry_is_counted_and_dropped() {
    let broker = server().await;
    let (here, there) = (node(&broker, "").await, node(&broker, "").await);
    let tea = topic("tea");
    let mut heard = listen(&here, std::slice::from_ref(&tea)).await;
    let (read, _read) = Collector::read(&here, &tea, Position::Earliest).await.unwrap();
    let subject = format!("backplane.log.{}", tea.part_of(JetStreamConfig::default().parts));
    let log = stranger(&broker).await;
    let before = here.stats();
    let strange: [&[u8]; 4] =
        [b"", b"hello", b"\xB5\xC1\x10\0orders.gro", b"\xB5\xC2\x01\0a\0\0\0\0"];
    for bytes in strange {
        log.publish(subject.clone(), bytes.into()).await.unwrap().await.unwrap();
    }
    publish(&there, &tea, 0..1).await;
    assert_eq!(number(&message(&mut heard).await), 0);
    assert_eq!(read.numbers(1).await.unwrap(), [0]);
    let stats = here.stats();
    let counted = |stats: &Stats| stats.malformed + stats.unknown_version;
    assert_eq!(counted(&stats) - counted(&before), strange.len() as u64);
    assert!(stats.unknown_version > before.unknown_version, "of a newer version, and said so");
    assert_eq!((stats.connections, stats.lost), (1, 0));
}

/// Beside the parts, and with headers in which the server says something of its own.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nats2_15_what_a_stranger_stores_stops_nobody() {
    let broker = server().await;
    let (here, there) = (node(&broker, "parts=1").await, node(&broker, "parts=1").await);
    let tea = topic("tea");
    let mut heard = listen(&here, std::slice::from_ref(&tea)).await;
    let (read, _read) = Collector::read(&here, &tea, Position::Earliest).await.unwrap();
    let before = here.stats();
    let log = stranger(&broker).await;
    log.publish("backplane.log.beside", "x".into()).await.unwrap().await.unwrap();
    publish(&there, &tea, 0..1).await;
    let words = [("0", "503"), ("1", "100 Idle Heartbeat"), ("1", "409"), ("beside", "404")];
    for (part, status) in words {
        let headers = format!("NATS/1.0 {status}\r\n\r\n");
        publish_headers(&broker, &format!("backplane.log.{part}"), &headers).await;
    }
    publish(&there, &tea, 1..2).await;
    for body in 0..2 {
        assert_eq!(number(&message(&mut heard).await), body);
    }
    assert_eq!(read.numbers(2).await.unwrap(), [0, 1]);
    let stats = here.stats();
    assert!(stats.malformed - before.malformed >= 2, "{stats:?}");
    assert_eq!((stats.connections, stats.lost), (1, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nats2_15_a_part_without_interest_is_not_read() {
    let broker = server().await;
    let (here, there) = (node(&broker, "parts=2").await, node(&broker, "parts=2").await);
    let topics: Vec<Topic> = (0..20).map(|number| topic(&number.to_string())).collect();
    let mut heard = listen(&here, &topics[..1]).await;
    let before = here.stats();
    for topic in &topics {
        publish(&there, topic, 0..10).await;
    }
    publish(&there, &topics[0], 10..11).await;
    for body in 0..11 {
        assert_eq!(number(&message(&mut heard).await), body);
    }
    let stats = here.stats();
    let dropped = stats.uninterested - before.uninterested;
    assert!((10..190).contains(&dropped), "{dropped} of its part, and none of the other");
    let received = |stats: &Stats| stats.kind(RouteKind::Group).received;
    assert_eq!(received(&stats), 11, "the others' headers were not looked at");
    // With the interest, the reading ends.
    drop(heard);
    soon("it is given up", async {
        while here.stats().topics_unsubscribed == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    let before = here.stats().uninterested;
    for topic in &topics {
        publish(&there, topic, 0..10).await;
    }
    let mut again = listen(&here, &topics[..1]).await;
    publish(&there, &topics[0], 11..12).await;
    assert_eq!(message(&mut again).await.body, "11");
    // Where reading begins anew, it begins behind what was read last.
    let dropped = here.stats().uninterested - before;
    assert!(dropped < 210, "{dropped}: more than was published");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nats2_15_each_application_has_a_stream_of_its_own() {
    let broker = server().await;
    let (shop, kitchen) = (node(&broker, "prefix=shop").await, node(&broker, "prefix=a.b").await);
    let tea = topic("tea");
    let mut heard = listen(&kitchen, std::slice::from_ref(&tea)).await;
    publish(&shop, &tea, 0..5).await;
    publish(&node(&broker, "prefix=a.b").await, &tea, 7..8).await;
    assert_eq!(number(&message(&mut heard).await), 7);
    let (read, _read) = Collector::read(&shop, &tea, Position::Earliest).await.unwrap();
    assert_eq!(read.numbers(5).await.unwrap(), [0, 1, 2, 3, 4]);
    let names: Vec<String> = stranger(&broker).await.stream_names().try_collect().await.unwrap();
    assert_eq!(HashSet::from_iter(names), HashSet::from(["shop".to_owned(), "~YS5i".to_owned()]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nats2_15_a_stream_that_keeps_less_is_refused() {
    let broker = server().await;
    let log = stranger(&broker).await;
    let config = Config {
        name: "backplane".to_owned(),
        subjects: vec!["backplane.log.*".to_owned()],
        storage: StorageType::Memory,
        max_message_size: 10_000,
        ..Config::default()
    };
    log.create_stream(config).await.unwrap();
    let wants_a_file = start(&url(&broker, ""));
    let cause = down(&wants_a_file).await;
    assert!(matches!(*cause, LinkError::Unsuitable { .. }), "{cause:?}");
    assert!(cause.to_string().contains("the storage memory, not file"), "{cause}");
    // It keeps everything for ever, which is more than is asked for; but nothing that is large.
    let node = node(&broker, "storage=memory&age=60&outage=refuse").await;
    let large = node.publish(Envelope::new(topic("tea"), vec![b'x'; 20_000])).await.unwrap_err();
    let PublishError::Refused { reason } = &large else { panic!("{large}") };
    assert!(reason.contains("message size exceeds maximum"), "{reason}");
    publish(&node, &topic("tea"), 0..1).await;
    assert_eq!(node.stats().connections, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nats2_15_a_server_without_jetstream_is_named() {
    let broker = broker(NatsFlavour::Nats2_15).await;
    let cause = down(&start(&url(&broker, ""))).await;
    assert!(matches!(*cause, LinkError::Unsuitable { .. }), "{cause:?}");
    assert!(cause.to_string().contains("JetStream"), "{cause}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nats2_9_is_too_old() {
    let broker = broker_with(NatsFlavour::Nats2_9, NatsOptions::default().jetstream()).await;
    let cause = down(&start(&url(&broker, ""))).await;
    let said = cause.to_string();
    assert!(matches!(*cause, LinkError::TooOld { .. }), "{cause:?}");
    assert!(said.contains("NATS 2.9") && said.contains("needs NATS 2.10"), "{said}");
}

/// What the documentation says that a node needs.
const NEEDED: [&str; 6] = [
    "shop.log.*",
    "shop.fence.>",
    "$JS.API.STREAM.INFO.shop",
    "$JS.API.STREAM.MSG.GET.shop",
    "$JS.API.CONSUMER.CREATE.shop.>",
    "$JS.FC.shop.>",
];

async fn restricted(allowed: &[&str]) -> Broker {
    let allowed: Vec<String> = allowed.iter().map(|it| format!("{it:?}")).collect();
    let allowed = allowed.join(", ");
    let options = users(&format!(
        r#"{{ user: shop, password: pw, permissions: {{
            publish: {{ allow: [{allowed}] }}, subscribe: {{ allow: ["shop.fence.>"] }} }} }}"#
    ));
    broker_with(NatsFlavour::Nats2_15, options.jetstream()).await
}

fn as_shop(broker: &Broker) -> String {
    format!("nats+jetstream://shop:pw@{}?prefix=shop", broker.address())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nats2_15_the_documented_permissions_are_enough() {
    let broker = restricted(&NEEDED).await;
    // Who may everything makes the stream.
    let tea = topic("tea");
    let there = node(&broker, "prefix=shop").await;
    let here = start(&as_shop(&broker));
    up(&here).await;
    let mut heard = listen(&here, std::slice::from_ref(&tea)).await;
    publish(&there, &tea, 0..1).await;
    publish(&here, &tea, 1..2).await;
    let both = [number(&message(&mut heard).await), number(&message(&mut heard).await)];
    assert_eq!(HashSet::from(both), HashSet::from([0, 1]));
    broker.kill().await.unwrap();
    broker.start().await.unwrap();
    up(&there).await;
    publish(&there, &tea, 2..3).await;
    let (bodies, gaps) = until(&mut heard, 2).await;
    assert_eq!((bodies, gaps), (vec![2], vec![]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nats2_15_a_permission_that_is_missing_is_named() {
    for missing in ["shop.log.*", "$JS.API.STREAM.INFO.shop", "$JS.API.CONSUMER.CREATE.shop.>"] {
        let allowed: Vec<&str> = NEEDED.into_iter().filter(|it| *it != missing).collect();
        let broker = restricted(&allowed).await;
        node(&broker, "prefix=shop").await;
        let cause = down(&start(&as_shop(&broker))).await;
        let start = missing.trim_end_matches(['*', '>']);
        assert!(cause.to_string().contains(start), "{missing}: {cause}");
    }
    let broker = restricted(&NEEDED).await;
    let cause = down(&start(&as_shop(&broker))).await;
    assert!(matches!(*cause, LinkError::Denied { .. }), "{cause:?}");
    assert!(cause.to_string().contains("$JS.API.STREAM.CREATE.shop"), "{cause}");
}
