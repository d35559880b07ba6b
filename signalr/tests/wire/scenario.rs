//! Many clients without affinity: nothing is lost, doubled or out of order.
//!
//! The long one: `cargo test -p backplane-signalr --test wire -- --ignored --nocapture many_clients`.

use std::{
    net::SocketAddr,
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    time::{Duration, Instant},
};

use backplane_hub::ConnectionId;
use futures_util::future::{join, join_all};
use serde_json::{Value, json};
use tokio::time::{MissedTickBehavior, interval};

use crate::{
    client::soon,
    events::ACCEPT,
    http::{Chunked, Response, exchange, request},
    nodes::shared,
    relays::cluster,
    server::Server,
};

const HANDSHAKE: &str = "{\"protocol\":\"json\",\"version\":1}\u{1e}";
/// What is sent last.
const END: u64 = u64::MAX;

/// What all clients have seen.
#[derive(Debug, Default)]
struct Figures {
    messages: AtomicU64,
    polls: AtomicU64,
    events: AtomicU64,
    posts: AtomicU64,
    /// Microseconds from the sending of a message to its arrival.
    delays: AtomicU64,
    longest: AtomicU64,
}

/// A connection of a client behind the door.
struct Visitor {
    door: SocketAddr,
    path: String,
    id: String,
}

impl Visitor {
    async fn negotiate(door: SocketAddr) -> Self {
        let answer = exchange(door, "POST", "/hub/negotiate?negotiateVersion=1", &[], b"").await;
        let answer: Value = serde_json::from_str(&answer.body).expect("JSON");
        let text = |name: &str| answer[name].as_str().expect(name).to_owned();
        let path = format!("/hub?id={}", text("connectionToken"));
        Self { door, path, id: text("connectionId") }
    }

    async fn poll(&self) -> Response {
        let answer = request(self.door, "GET", &self.path, &[]).await;
        assert_eq!(answer.status, "200 OK", "{answer:?}");
        answer
    }

    async fn post(&self, text: &str) {
        let answer = exchange(self.door, "POST", &self.path, &[], text.as_bytes()).await;
        assert_eq!(answer.status, "200 OK", "{answer:?}");
    }
}

/// Of the two kinds of client.
enum Stream {
    Polls(Visitor),
    Events(Visitor, Chunked, String),
}

impl Stream {
    async fn open(door: SocketAddr, polls: bool, figures: &Figures) -> Self {
        let visitor = Visitor::negotiate(door).await;
        let mut stream = if polls {
            visitor.poll().await;
            Self::Polls(visitor)
        } else {
            let mut events = Chunked::get(door, &visitor.path, &[ACCEPT]).await;
            assert_eq!(events.next().await, ":\r\n");
            Self::Events(visitor, events, String::new())
        };
        stream.visitor().post(HANDSHAKE).await;
        assert_eq!(stream.next(figures).await, ["{}"]);
        stream
    }

    /// The node that has the connection.
    async fn owner(&mut self, figures: &Figures) -> String {
        let call = json!({"type": 1, "invocationId": "0", "target": "Node", "arguments": []});
        self.visitor().post(&format!("{call}\u{1e}")).await;
        let answer = self.next(figures).await;
        let answer: Value = serde_json::from_str(&answer[0]).expect("JSON");
        answer["result"].as_str().expect("a node").to_owned()
    }

    fn visitor(&self) -> &Visitor {
        match self {
            Self::Polls(visitor) | Self::Events(visitor, ..) => visitor,
        }
    }

    /// The next records.
    async fn next(&mut self, figures: &Figures) -> Vec<String> {
        match self {
            Self::Polls(visitor) => {
                figures.polls.fetch_add(1, Ordering::Relaxed);
                records(&visitor.poll().await.body)
            }
            Self::Events(_, events, come) => loop {
                if let Some(end) = come.find("\r\n\r\n") {
                    let event: String = come.drain(..end + 4).collect();
                    figures.events.fetch_add(1, Ordering::Relaxed);
                    return records(event.trim_start_matches("data: ").trim_end());
                }
                let chunk = events.next().await;
                assert!(!chunk.is_empty(), "the events end");
                come.push_str(&chunk);
            },
        }
    }
}

fn records(text: &str) -> Vec<String> {
    text.split_terminator('\u{1e}').map(str::to_owned).collect()
}

/// Reads until the end is sent. Each message must be the one behind the one before.
async fn listen(mut stream: Stream, started: Instant, figures: &Figures) -> u64 {
    let (mut told, mut back) = (0, 0);
    loop {
        for record in stream.next(figures).await {
            let message: Value = serde_json::from_str(&record).expect("JSON");
            match message["target"].as_str() {
                Some("Told") => {
                    let number = message["arguments"][0].as_u64().expect("a number");
                    if number == END {
                        return told;
                    }
                    assert_eq!(number, told, "lost, doubled or out of order");
                    told += 1;
                    let sent = message["arguments"][1].as_u64().expect("a time");
                    let now = u64::try_from(started.elapsed().as_micros()).expect("not for ever");
                    figures.messages.fetch_add(1, Ordering::Relaxed);
                    figures.delays.fetch_add(now - sent, Ordering::Relaxed);
                    figures.longest.fetch_max(now - sent, Ordering::Relaxed);
                    // The client says something too, which comes back.
                    let call =
                        json!({"type": 1, "target": "SendBack", "arguments": [number.to_string()]});
                    stream.visitor().post(&format!("{call}\u{1e}")).await;
                    figures.posts.fetch_add(1, Ordering::Relaxed);
                }
                Some("Message") => {
                    assert_eq!(message["arguments"][0], back.to_string(), "of the client's own");
                    back += 1;
                }
                _ => assert_eq!(message, json!({"type": 6})),
            }
        }
    }
}

/// Sends to each client once in each round, each from a node of its own.
async fn tell(clients: &[(ConnectionId, &Server)], rounds: u64, pause: Duration, started: Instant) {
    let mut next = interval(pause);
    next.set_missed_tick_behavior(MissedTickBehavior::Delay);
    for round in (0..rounds).chain([END]) {
        next.tick().await;
        for (id, node) in clients {
            let now = u64::try_from(started.elapsed().as_micros()).expect("not for ever");
            node.hub.clients().connection(id).send("Told", (round, now)).await.expect("sent");
        }
    }
}

async fn run(count: usize, rounds: u64, pause: Duration) {
    let (_medium, nodes) = cluster(3, shared).await;
    let door = front_door::open(
        SocketAddr::from(([127, 0, 0, 1], 0)),
        nodes.iter().map(SocketAddr::from).collect(),
    );
    let door = door.await.expect("a door");
    let figures = Figures::default();
    let started = Instant::now();
    let mut streams = Vec::new();
    for place in 0..count {
        streams.push(Stream::open(door, place % 2 == 0, &figures).await);
    }
    // What is sent comes from a node that does not have the connection.
    let mut clients = Vec::new();
    for (place, stream) in streams.iter_mut().enumerate() {
        let owner = stream.owner(&figures).await;
        let mut others = nodes.iter().filter(|node| node.hub.node().to_string() != owner);
        let sender = others.nth(place % 2).expect("two others");
        clients.push((ConnectionId::from(&*stream.visitor().id), sender));
    }
    let opened = started.elapsed();
    let done = AtomicBool::new(false);
    let listening = join_all(streams.into_iter().map(|it| listen(it, started, &figures)));
    let told = async {
        tell(&clients, rounds, pause, started).await;
        done.store(true, Ordering::Release);
    };
    let (told, ()) = join(listening, told).await;
    assert!(told.iter().all(|told| *told == rounds), "{told:?}");
    assert!(done.load(Ordering::Acquire));

    let sum = |of: &AtomicU64| of.load(Ordering::Relaxed);
    let stats: Vec<_> = nodes.iter().map(|node| node.hub.stats()).collect();
    let relays: u64 = stats.iter().map(|stats| stats.relays).sum();
    println!(
        "{count} clients ({opened:.1?} to connect), {} messages to them and {} from them in {:.1?}, \
         {} polls, {} events, {relays} requests relayed; none lost, doubled or out of order; \
         {:.1} ms on average, {:.1} ms at most",
        sum(&figures.messages),
        sum(&figures.posts),
        started.elapsed(),
        sum(&figures.polls),
        sum(&figures.events),
        sum(&figures.delays) as f64 / sum(&figures.messages) as f64 / 1000.0,
        sum(&figures.longest) as f64 / 1000.0,
    );
    assert!(relays > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn some_clients_without_affinity_miss_nothing() {
    soon(Box::pin(run(20, 10, Duration::from_millis(100)))).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes a minute"]
async fn many_clients_without_affinity_miss_nothing() {
    Box::pin(run(200, 60, Duration::from_secs(1))).await;
}
