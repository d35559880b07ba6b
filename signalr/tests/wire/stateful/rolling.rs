//! All nodes are replaced, one after the other, and nobody notices.
//!
//! The long one: `cargo test -p backplane-signalr --test wire -- --ignored --nocapture stateful::rolling`.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use backplane_hub::{Caller, ConnectionId, Hub, HubBuilder, HubError};
use backplane_memory::Medium;
use futures_util::future::{join, join_all};
use serde_json::json;
use tokio::time::{MissedTickBehavior, interval};

use super::Stateful;
use crate::{client::soon, nodes::shared, server::Server};

/// What is sent last.
const END: u64 = u64::MAX;

fn described(hub: HubBuilder) -> HubBuilder {
    hub.method("Join", async |caller: Caller| -> Result<(), HubError> {
        caller.groups().add(caller.id(), "kitchen").await?;
        Ok(())
    })
}

async fn node(medium: &Medium) -> Arc<Server> {
    Arc::new(Server::on(medium, shared().stateful_reconnect(true), described).await)
}

/// The nodes that take clients.
#[derive(Default)]
struct Rotation {
    nodes: Mutex<Vec<Arc<Server>>>,
    next: AtomicU64,
}

impl Rotation {
    fn all(&self) -> Vec<Arc<Server>> {
        self.nodes.lock().unwrap().clone()
    }

    fn next(&self) -> Arc<Server> {
        let nodes = self.all();
        let next = self.next.fetch_add(1, Ordering::Relaxed) as usize;
        Arc::clone(&nodes[next % nodes.len()])
    }
}

/// What all clients have seen.
#[derive(Debug, Default)]
struct Figures {
    messages: AtomicU64,
    moves: AtomicU64,
    /// Milliseconds from a lost socket to the next one.
    longest: AtomicU64,
}

/// Reads until the end is sent, and comes back as often as the socket ends.
async fn listen(mut client: Stateful, rotation: &Rotation, figures: &Figures) -> [u64; 2] {
    let (mut told, mut back) = ([0, 0], 0);
    let mut ended = 0;
    loop {
        let Some(message) = client.next_or_end().await else {
            client.lose();
            let lost = Instant::now();
            let socket = loop {
                match client.socket(&rotation.next()).await {
                    Ok(socket) => break socket,
                    // That one is just about to leave.
                    Err((503, _)) => {}
                    Err(refused) => panic!("a client sees a disconnect: {refused:?}"),
                }
            };
            client.go_on(socket).await;
            let away = lost.elapsed().as_millis() as u64;
            figures.longest.fetch_max(away, Ordering::Relaxed);
            figures.moves.fetch_add(1, Ordering::Relaxed);
            continue;
        };
        figures.messages.fetch_add(1, Ordering::Relaxed);
        let number = message["arguments"][0].as_u64();
        match message["target"].as_str() {
            Some(way @ ("ToOne" | "ToGroup")) => {
                let way = usize::from(way == "ToGroup");
                if number == Some(END) {
                    ended += 1;
                    if ended == 2 {
                        return told;
                    }
                    continue;
                }
                assert_eq!(number, Some(told[way]), "lost, doubled or out of order");
                told[way] += 1;
                let text = told[way].to_string();
                if way == 0 {
                    // The client says something too, which comes back.
                    client
                        .send(json!({"type": 1, "target": "SendBack", "arguments": [text]}))
                        .await;
                }
            }
            Some("Message") => {
                back += 1;
                assert_eq!(message["arguments"][0], back.to_string(), "of the client's own");
            }
            _ => panic!("{message}"),
        }
        if told[0].is_multiple_of(8) {
            client.acknowledge_all().await;
        }
    }
}

/// Sends to each client, and to all of them as a group, for as long as nodes are replaced.
async fn tell(hub: &Hub, clients: &[ConnectionId], pause: Duration, done: &AtomicBool) -> u64 {
    let mut next = interval(pause);
    next.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut round = 0;
    loop {
        next.tick().await;
        let last = done.load(Ordering::Acquire);
        let number = if last { END } else { round };
        hub.clients().group("kitchen").send("ToGroup", (number,)).await.expect("sent");
        for id in clients {
            hub.clients().connection(id).send("ToOne", (number,)).await.expect("sent");
        }
        if last {
            return round;
        }
        round += 1;
    }
}

async fn run(count: usize, pause: Duration) {
    let medium = Medium::new();
    let rotation = Rotation::default();
    for _ in 0..3 {
        let node = node(&medium).await;
        rotation.nodes.lock().unwrap().push(node);
    }
    // What is sent comes from a node that has no clients, and stays.
    let sender = node(&medium).await;
    let mut clients = Vec::new();
    for _ in 0..count {
        let mut client = Stateful::begin_on(&rotation.next(), &rotation.next(), 2).await;
        client.invoke("Join", json!([])).await;
        clients.push(client);
    }
    let ids: Vec<ConnectionId> = clients.iter().map(|it| ConnectionId::from(&*it.id)).collect();
    let figures = Figures::default();
    let done = AtomicBool::new(false);
    let started = Instant::now();
    let replaced = async {
        for _ in 0..3 {
            let new = node(&medium).await;
            let old = {
                let mut nodes = rotation.nodes.lock().unwrap();
                nodes.push(new);
                nodes.remove(0)
            };
            old.hub.drain(Duration::from_secs(60)).await.expect("all clients have gone");
            old.hub.backplane().close(Duration::from_secs(10)).await.expect("takes its leave");
            assert_eq!(old.hub.stats().connections, 0);
        }
        done.store(true, Ordering::Release);
    };
    let listening = join_all(clients.into_iter().map(|it| listen(it, &rotation, &figures)));
    let sent = join(tell(&sender.hub, &ids, pause, &done), replaced);
    let (told, (rounds, ())) = join(listening, sent).await;
    assert!(told.iter().all(|told| *told == [rounds; 2]), "{rounds}: {told:?}");
    let moves = figures.moves.load(Ordering::Relaxed);
    println!(
        "{count} clients, three nodes replaced in {:.1?}, {} messages, {moves} moves, each of {} ms \
         at most; none lost, doubled or out of order, no disconnect",
        started.elapsed(),
        figures.messages.load(Ordering::Relaxed),
        figures.longest.load(Ordering::Relaxed),
    );
    assert!(moves >= count as u64, "each has moved");
    for node in rotation.all() {
        node.probe.tell("nobody was disconnected").await;
        assert_eq!(node.probe.told().await, "nobody was disconnected");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn some_clients_do_not_notice_that_all_nodes_are_replaced() {
    soon(Box::pin(run(20, Duration::from_millis(20)))).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes a minute"]
async fn many_clients_do_not_notice_that_all_nodes_are_replaced() {
    Box::pin(run(500, Duration::from_millis(200))).await;
}
