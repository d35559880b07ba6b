//! What goes through, and what is said about what does not.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::{
    sync::{
        Arc, Condvar, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use backplane_core::{
    Backplane, Envelope, Event, Link, Node, NodeOptions, PublishError, Receipt, Sink, Subscription,
    Topic,
};
use backplane_nats::NatsConfig;
use backplane_tests::brokers::{NatsFlavour, NatsOptions};
use common::{Monitor, broker, broker_with, listen, message, node_up, on_each_server, soon, up};
use futures_util::StreamExt;
use tokio::sync::{mpsc, watch};

on_each_server!(
    an_envelope_crosses,
    prefixes_never_hear_each_other,
    bodies_of_every_size,
    a_server_that_takes_less,
    order_with_two_writers,
    close_sends_what_is_queued,
    strangers_on_the_subject,
    a_slow_reader_is_told,
    what_a_slow_reader_missed_is_counted,
    what_waits_in_the_node_when_the_link_ends_is_in_doubt,
    a_reader_that_stays_behind_starts_over,
    ten_thousand_topics,
    ten_thousand_flips,
);

async fn an_envelope_crosses(flavour: NatsFlavour) {
    let broker = broker(flavour).await;
    let (one, two) = (node_up(&broker.url()).await, node_up(&broker.url()).await);
    let topic = Topic::group("orders", "*.> kitchen");
    let mut events = listen(&two, std::slice::from_ref(&topic)).await;
    let mut own = listen(&one, std::slice::from_ref(&topic)).await;
    let receipt = one.publish(Envelope::new(topic.clone(), "tea")).await.unwrap();
    assert_eq!(receipt, Receipt::Accepted);
    let envelope = message(&mut events).await;
    assert_eq!(envelope.body, "tea");
    assert_eq!(envelope.origin, Some(one.node()));

    // The echo comes back and is dropped.
    two.publish(Envelope::new(topic, "fence")).await.unwrap();
    assert_eq!(message(&mut own).await.body, "tea");
    assert_eq!(message(&mut own).await.body, "fence");
    assert_eq!(one.stats().echoes, 1);
}

async fn prefixes_never_hear_each_other(flavour: NatsFlavour) {
    let broker = broker(flavour).await;
    let prefixes = ["a", "a.b", "a.>", "~", "*", "A", "backplane"];
    let topic = Topic::all("orders");
    let mut nodes = Vec::new();
    for prefix in prefixes {
        let encoded: String = prefix.bytes().map(|byte| format!("%{byte:02X}")).collect();
        let node = node_up(&format!("{}?prefix={encoded}", broker.url())).await;
        let events = listen(&node, std::slice::from_ref(&topic)).await;
        nodes.push((prefix, node, events));
    }
    for (prefix, node, _) in &nodes {
        node.publish(Envelope::new(topic.clone(), *prefix)).await.unwrap();
    }
    for (prefix, node, events) in &mut nodes {
        node.publish(Envelope::new(topic.clone(), "fence")).await.unwrap();
        assert_eq!(message(events).await.body, *prefix);
        assert_eq!(message(events).await.body, "fence");
        assert_eq!(node.stats().received, 0);
    }
}

async fn bodies_of_every_size(flavour: NatsFlavour) {
    let broker = broker(flavour).await;
    let (one, two) = (node_up(&broker.url()).await, node_up(&broker.url()).await);
    let topic = Topic::all("orders");
    let mut events = listen(&two, std::slice::from_ref(&topic)).await;
    let largest = one.semantics().largest_body.as_u64() as usize;
    for size in [0, 1, 16 * 1024 - 1, 16 * 1024, 64 * 1024, largest] {
        let body: Vec<u8> = (0..size).map(|at| at as u8).collect();
        // The longest header that is let through.
        let except = vec!["x".repeat(1000); 120];
        let envelope = Envelope::new(topic.clone(), body.clone()).except(except);
        one.publish(envelope).await.unwrap();
        assert!(message(&mut events).await.body == body, "{size}");
    }
    let above = one.publish(Envelope::new(topic, vec![0; largest + 1])).await;
    assert!(matches!(above, Err(PublishError::TooLarge { .. })), "{above:?}");
}

async fn a_server_that_takes_less(flavour: NatsFlavour) {
    let broker = broker_with(flavour, NatsOptions::default().max_payload(8 * 1024)).await;
    let (one, two) = (node_up(&broker.url()).await, node_up(&broker.url()).await);
    let topics = [Topic::group("h", "a"), Topic::group("h", "b"), Topic::group("h", "c")];
    let mut events = listen(&two, &topics).await;
    let sizes = [4_000, 10_000, 5_000];
    let tickets = std::array::from_fn::<_, 3, _>(|at| {
        one.try_publish(Envelope::new(topics[at].clone(), vec![1; sizes[at]])).unwrap()
    });
    let mut outcomes = Vec::new();
    for ticket in tickets {
        outcomes.push(soon("an answer", ticket).await);
    }
    assert!(
        matches!(&outcomes[..], [Ok(_), Err(PublishError::Refused { .. }), Ok(_)]),
        "{outcomes:?}"
    );
    let error = outcomes[1].as_ref().unwrap_err().to_string();
    assert!(error.contains("raise its max_payload"), "{error}");
    assert_eq!(message(&mut events).await.body.len(), 4_000);
    assert_eq!(message(&mut events).await.body.len(), 5_000);
    // Small ones that wait together are bundled no further than the server takes.
    let small: Vec<_> = (0..50)
        .map(|_| one.try_publish(Envelope::new(topics[0].clone(), vec![1; 500])).unwrap())
        .collect();
    for ticket in small {
        soon("an answer", ticket).await.unwrap();
        assert_eq!(message(&mut events).await.body.len(), 500);
    }
    assert_eq!(one.stats().connections, 1);
}

/// Publishes numbers as fast as there is room.
async fn publish_numbers(node: &Node, topics: &[Topic], count: u64) {
    for number in 0..count {
        let topic = topics[number as usize % topics.len()].clone();
        let mut envelope = Envelope::new(topic, number.to_le_bytes().to_vec());
        loop {
            match node.try_publish(envelope) {
                Ok(_) => break,
                Err(PublishError::Full(back)) => {
                    envelope = *back;
                    node.room(&envelope).await.unwrap();
                }
                Err(error) => panic!("{error}"),
            }
        }
    }
}

async fn order_with_two_writers(flavour: NatsFlavour) {
    const COUNT: u64 = 50_000;
    let broker = broker(flavour).await;
    let writers = [node_up(&broker.url()).await, node_up(&broker.url()).await];
    let reader = node_up(&broker.url()).await;
    let topics: Vec<Topic> = (0..7).map(|i| Topic::group("h", &i.to_string())).collect();
    let (queue, mut queued) = mpsc::channel(2 * COUNT as usize);
    let sink: Arc<dyn Sink> = Arc::new(Queue(queue));
    let interest: Vec<_> = topics.iter().map(|topic| (topic.clone(), Arc::clone(&sink))).collect();
    let subscription = reader.subscribe(&interest).unwrap();
    soon("the broker routes it", subscription.confirmed()).await.unwrap();

    let received = async {
        let mut latest = std::collections::HashMap::new();
        for _ in 0..2 * COUNT {
            let Some(Event::Message(envelope)) = queued.recv().await else { panic!("no message") };
            let number = u64::from_le_bytes(*envelope.body.first_chunk().unwrap());
            let key = (envelope.origin, envelope.topic);
            let before = latest.insert(key, number);
            let expected = before.map_or(number % 7, |before| before + 7);
            assert_eq!(number, expected);
        }
    };
    let [one, two] = &writers;
    soon("all numbers", async {
        tokio::join!(
            publish_numbers(one, &topics, COUNT),
            publish_numbers(two, &topics, COUNT),
            received,
        )
    })
    .await;
    assert_eq!(reader.stats().received, 2 * COUNT);
}

async fn close_sends_what_is_queued(flavour: NatsFlavour) {
    let broker = broker(flavour).await;
    let (one, two) = (node_up(&broker.url()).await, node_up(&broker.url()).await);
    let topic = Topic::all("orders");
    let mut events = listen(&two, std::slice::from_ref(&topic)).await;
    let tickets: Vec<_> =
        (0..5_000).map(|_| one.try_publish(Envelope::new(topic.clone(), "tea")).unwrap()).collect();
    let flushed = one.close(Duration::from_secs(10)).await.unwrap();
    assert!(flushed.sent > 0);
    for ticket in tickets {
        assert!(matches!(ticket.await, Ok(Receipt::Accepted)));
    }
    for _ in 0..5_000 {
        assert_eq!(message(&mut events).await.body, "tea");
    }
}

async fn strangers_on_the_subject(flavour: NatsFlavour) {
    let broker = broker(flavour).await;
    let (one, two) = (node_up(&broker.url()).await, node_up(&broker.url()).await);
    let topic = Topic::group("orders", "kitchen");
    let mut events = listen(&two, std::slice::from_ref(&topic)).await;
    let stranger = async_nats::connect(broker.address().to_string()).await.unwrap();
    let mut headers = async_nats::HeaderMap::new();
    headers.insert("X", "y");
    for bytes in [&b""[..], b"hello", &[0xB5], &[0xB5, 0x01, 0xFF, 0xFF, 0xFF, 0xFF], &[0; 9000]] {
        stranger.publish("backplane.orders.group.kitchen", bytes.into()).await.unwrap();
        stranger.publish("backplane.fence.x", bytes.into()).await.unwrap();
    }
    let publish =
        stranger.publish_with_headers("backplane.orders.group.kitchen", headers, "x".into());
    publish.await.unwrap();
    stranger.flush().await.unwrap();
    soon("the rubbish", async {
        while two.stats().malformed < 6 {
            one.publish(Envelope::new(topic.clone(), "tea")).await.unwrap();
            assert_eq!(message(&mut events).await.body, "tea");
        }
    })
    .await;
    assert_eq!(two.stats().malformed, 6);
}

#[derive(Debug)]
struct Queue(mpsc::Sender<Event>);

impl Sink for Queue {
    fn accept(&self, event: &Event) {
        self.0.try_send(event.clone()).unwrap();
    }
}

/// A sink that keeps the read path until it is let go.
#[derive(Debug)]
struct Stuck {
    is_free: Mutex<bool>,
    freed: Condvar,
    events: mpsc::Sender<&'static str>,
}

impl Sink for Stuck {
    fn accept(&self, event: &Event) {
        let word = match event {
            Event::Message(_) => "message",
            Event::Interrupted { .. } => "interrupted",
            Event::Restored => "restored",
            _ => "other",
        };
        self.events.try_send(word).unwrap();
        if word == "message" {
            // The other tasks of this thread move to another one.
            tokio::task::block_in_place(|| {
                let is_free = self.is_free.lock().unwrap();
                drop(self.freed.wait_while(is_free, |is_free| !*is_free).unwrap());
            });
        }
    }
}

impl Stuck {
    /// Subscribes such a sink, and brings it its first message.
    async fn on(node: &Node, topic: &Topic, other: &Node) -> (Arc<Self>, Told) {
        let (events, mut told) = mpsc::channel(1024);
        let stuck = Arc::new(Self { is_free: Mutex::default(), freed: Condvar::new(), events });
        let sink: Arc<dyn Sink> = Arc::<Self>::clone(&stuck);
        let subscription = node.subscribe(&[(topic.clone(), sink)]).unwrap();
        soon("the broker routes it", subscription.confirmed()).await.unwrap();
        other.publish(Envelope::new(topic.clone(), "tea")).await.unwrap();
        assert_eq!(soon("the message", told.recv()).await, Some("message"));
        (stuck, Told { words: told, _subscription: subscription })
    }

    fn free(&self) {
        *self.is_free.lock().unwrap() = true;
        self.freed.notify_all();
    }
}

/// What a stuck sink was told.
struct Told {
    words: mpsc::Receiver<&'static str>,
    _subscription: Subscription,
}

impl Told {
    async fn next(&mut self) -> &'static str {
        soon("a word", self.words.recv()).await.unwrap()
    }
}

async fn a_slow_reader_is_told(flavour: NatsFlavour) {
    let broker = broker(flavour).await;
    let (one, two) = (node_up(&broker.url()).await, node_up(&broker.url()).await);
    let topic = Topic::group("orders", "kitchen");
    let (stuck, mut told) = Stuck::on(&two, &topic, &one).await;
    // More than wait in one subscription.
    let stranger = async_nats::connect(broker.address().to_string()).await.unwrap();
    for _ in 0..70_000 {
        stranger.publish("backplane.orders.group.kitchen", "x".into()).await.unwrap();
    }
    stranger.flush().await.unwrap();
    assert_eq!((told.next().await, told.next().await), ("interrupted", "restored"));
    stuck.free();

    let mut word = "restored";
    while word != "message" {
        // The queue may still be full. Then this one is dropped too, and that is told too.
        if word == "restored" {
            one.publish(Envelope::new(topic.clone(), "tea")).await.unwrap();
        }
        word = told.next().await;
    }
    assert!(two.stats().malformed < 70_000);
    assert_eq!(two.stats().connections, 1);
}

/// A sink that stands still at its first message until it is let go, and counts what came and what is
/// known to be lost.
#[derive(Debug, Default)]
struct Tally {
    is_free: Mutex<bool>,
    freed: Condvar,
    known: watch::Sender<(u64, u64)>,
}

impl Sink for Tally {
    fn accept(&self, event: &Event) {
        match event {
            Event::Message(_) => {
                self.known.send_modify(|(came, _)| *came += 1);
                tokio::task::block_in_place(|| {
                    let is_free = self.is_free.lock().unwrap();
                    drop(self.freed.wait_while(is_free, |is_free| !*is_free).unwrap());
                });
            }
            Event::Gap(gap) => {
                let lost = gap.count.expect("numbers say how many are missing");
                self.known.send_modify(|(_, missing)| *missing += lost);
            }
            _ => {}
        }
    }
}

async fn what_a_slow_reader_missed_is_counted(flavour: NatsFlavour) {
    // More than wait in one subscription.
    const COUNT: u64 = 66_000;
    let broker = broker(flavour).await;
    let start = || {
        let url = format!("{}?repair=counted", broker.url());
        let mut config = NatsConfig::from_url(&url).unwrap();
        // Each in a frame of its own.
        config.node.queue_envelopes = 1;
        config.start().unwrap()
    };
    let (one, two) = (start(), start());
    up(&one).await;
    up(&two).await;
    let topic = Topic::group("orders", "kitchen");
    let tally = Arc::new(Tally::default());
    let mut known = tally.known.subscribe();
    let sink: Arc<dyn Sink> = Arc::<Tally>::clone(&tally);
    let subscription = two.subscribe(&[(topic.clone(), sink)]).unwrap();
    soon("the broker routes it", subscription.confirmed()).await.unwrap();
    one.publish(Envelope::new(topic.clone(), "tea")).await.unwrap();
    soon("the first", known.wait_for(|(came, _)| *came == 1)).await.unwrap();

    publish_numbers(&one, std::slice::from_ref(&topic), COUNT).await;
    one.publish(Envelope::new(topic.clone(), "last")).await.unwrap();
    *tally.is_free.lock().unwrap() = true;
    tally.freed.notify_all();
    let all = known.wait_for(|(came, missing)| came + missing == COUNT + 2);
    let (_, missing) = *soon("an account of all", all).await.unwrap();
    assert!(missing > 0, "nothing was dropped");
    assert_eq!(two.stats().lost, missing);
}

/// A sink that stands still until it is let go, then takes a while for each message, and notes since when a link
/// is in doubt.
#[derive(Debug)]
struct Leisurely {
    may_go: watch::Receiver<bool>,
    came: AtomicU64,
    doubts: mpsc::Sender<Instant>,
}

impl Sink for Leisurely {
    fn accept(&self, event: &Event) {
        match event {
            Event::Message(_) => {
                self.came.fetch_add(1, Ordering::Relaxed);
                // Not in place of the task, which would never have to let others have their turn.
                std::thread::park_timeout(PACE);
                while !*self.may_go.borrow() {
                    std::thread::park_timeout(PACE);
                }
            }
            Event::Interrupted { since } => self.doubts.try_send(*since).unwrap(),
            _ => {}
        }
    }
}

/// How long it takes.
const PACE: Duration = Duration::from_millis(1);

async fn what_waits_in_the_node_when_the_link_ends_is_in_doubt(flavour: NatsFlavour) {
    const COUNT: u64 = 4_000;
    let broker = broker(flavour).await;
    let one = node_up(&broker.url()).await;
    let mut config = NatsConfig::from_url(&broker.url()).unwrap();
    config.node = NodeOptions::bare();
    config.node.probe_every = Duration::from_millis(20);
    config.node.probe_deadline = Duration::from_secs(60);
    let two = config.start().unwrap();
    up(&two).await;
    let topic = Topic::group("orders", "kitchen");
    let (doubts, mut told) = mpsc::channel(16);
    let (go, may_go) = watch::channel(false);
    let sink = Arc::new(Leisurely { may_go, came: AtomicU64::new(0), doubts });
    let subscription =
        two.subscribe(&[(topic.clone(), Arc::<Leisurely>::clone(&sink) as Arc<dyn Sink>)]).unwrap();
    soon("the broker routes it", subscription.confirmed()).await.unwrap();
    // Each in a frame of its own.
    for number in 0..COUNT {
        one.publish(Envelope::new(topic.clone(), number.to_string())).await.unwrap();
    }
    let published = Instant::now();
    go.send_replace(true);
    // Probes have a queue of their own, and overtake what waits.
    let probes = two.stats().probes;
    soon("probes", async {
        while two.stats().probes < probes + 3 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert!(sink.came.load(Ordering::Relaxed) < COUNT, "nothing waits");
    assert!(told.is_empty(), "in doubt already");
    broker.kill().await.unwrap();
    let since = soon("the end of the link", told.recv()).await.unwrap();
    assert!(since < published, "what was published {:?} earlier is lost", since - published);
}

async fn a_reader_that_stays_behind_starts_over(flavour: NatsFlavour) {
    // The server would give up first.
    let options = NatsOptions::default().config_line("max_pending: 1073741824");
    let broker = broker_with(flavour, options).await;
    let one = node_up(&broker.url()).await;
    let mut config = NatsConfig::from_url(&broker.url()).unwrap();
    config.node = NodeOptions::bare();
    // Long enough to be seen.
    config.node.shortest_pause = Duration::from_secs(1);
    let two = config.start().unwrap();
    up(&two).await;
    let topic = Topic::group("orders", "kitchen");
    let (stuck, mut told) = Stuck::on(&two, &topic, &one).await;
    let stranger = async_nats::connect(broker.address().to_string()).await.unwrap();
    let mut returned = stranger.subscribe("returned").await.unwrap();
    for _ in 0..70 {
        let payload = vec![0; 1024 * 1024].into();
        stranger.publish("backplane.orders.group.kitchen", payload).await.unwrap();
    }
    stranger.publish("returned", "x".into()).await.unwrap();
    soon("the server has them", returned.next()).await.unwrap();
    // Its receipt comes behind them.
    soon("a receipt", two.publish(Envelope::new(Topic::all("orders"), "tea"))).await.unwrap();
    let mut link = two.link();
    stuck.free();
    let down = link.wait_for(|link| matches!(link, Link::Down { .. }));
    let down = soon("the link goes down", down).await.unwrap().clone();
    let Link::Down { cause, .. } = down else { panic!("{down:?}") };
    assert!(cause.to_string().contains("reads too slowly"), "{cause}");
    assert_eq!((told.next().await, told.next().await), ("interrupted", "restored"));
    one.publish(Envelope::new(topic, "tea")).await.unwrap();
    assert_eq!(told.next().await, "message");
}

/// The resident memory of this process.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or("0");
    line.split_whitespace().next().unwrap().parse::<u64>().unwrap() * 1024
}

async fn ten_thousand_topics(flavour: NatsFlavour) {
    const TOPICS: usize = 10_000;
    let broker = broker_with(flavour, Monitor::option(NatsOptions::default())).await;
    let monitor = Monitor::of(&broker);
    let (one, two) = (node_up(&broker.url()).await, node_up(&broker.url()).await);
    let before = monitor.number("/subsz", "num_subscriptions").await;
    let topics: Vec<Topic> =
        (0..TOPICS).map(|number| Topic::connection("orders", &number.to_string())).collect();
    let memory = resident();
    let start = std::time::Instant::now();
    let mut events = listen(&two, &topics).await;
    let took = start.elapsed();
    let memory = resident().saturating_sub(memory) / TOPICS as u64;
    println!("{TOPICS} topics: {took:?}, {memory} bytes of resident memory each");
    assert!(two.stats().interest_round_trips <= 6, "{}", two.stats().interest_round_trips);
    monitor.until("/subsz", "num_subscriptions", before + TOPICS as u64).await;

    for topic in [&topics[0], &topics[4_711], &topics[TOPICS - 1]] {
        one.publish(Envelope::new(topic.clone(), "tea")).await.unwrap();
        assert_eq!(message(&mut events).await.topic, *topic);
    }
    drop(events);
    monitor.until("/subsz", "num_subscriptions", before).await;
}

async fn ten_thousand_flips(flavour: NatsFlavour) {
    let broker = broker_with(flavour, Monitor::option(NatsOptions::default())).await;
    let monitor = Monitor::of(&broker);
    let (one, two) = (node_up(&broker.url()).await, node_up(&broker.url()).await);
    let topic = Topic::group("orders", "kitchen");
    let before = monitor.number("/subsz", "num_subscriptions").await;
    // Anonymous memory settles after a while.
    let mut memory = 0;
    for flip in 0..10_000 {
        let events = listen(&two, std::slice::from_ref(&topic)).await;
        drop(events);
        if flip == 2_000 {
            memory = resident();
        }
    }
    println!("8,000 flips: {} bytes", resident().saturating_sub(memory));
    monitor.until("/subsz", "num_subscriptions", before).await;
    let mut events = listen(&two, std::slice::from_ref(&topic)).await;
    one.publish(Envelope::new(topic, "tea")).await.unwrap();
    assert_eq!(message(&mut events).await.body, "tea");
}
