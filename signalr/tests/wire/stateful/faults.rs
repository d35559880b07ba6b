//! What becomes of a connection while it moves: its nodes die, the link between them goes down, the client
//! comes to several nodes, calls run all the while.
//!
//! What a connection carries along is read by the new node after the old one has let go of it, and before it
//! says that it has it. There it is stopped here.

use std::{
    collections::HashMap,
    sync::{LazyLock, Mutex, atomic::AtomicU64, atomic::Ordering, mpsc},
    time::Duration,
};

use backplane_core::{
    Node, NodeOptions,
    chaos::{Chaos, ChaosHandle, ChaosOptions},
};
use backplane_hub::{ByteSize, Caller, HubBuilder, HubError, HubOptions, Items, State};
use backplane_memory::Medium;
use backplane_signalr::Options;
use futures_util::{
    StreamExt,
    future::{Either, join},
};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Value, json};
use tokio::sync::oneshot;

use super::Stateful;
use crate::{
    client::{Client, Refusal, soon},
    negotiation::negotiated,
    nodes::shared,
    relays::{
        acquainted,
        failing::{Mortal, link, short_lives},
        until,
    },
    server::{Probe, Server},
};

/// An item that stops whoever reads it, once.
#[derive(Serialize)]
struct Snare(u64);

/// What a snare tells, and what lets go.
type Rope = (oneshot::Sender<()>, mpsc::Receiver<()>);

static SNARES: LazyLock<Mutex<HashMap<u64, Rope>>> = LazyLock::new(Mutex::default);

impl<'de> Deserialize<'de> for Snare {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let number = u64::deserialize(from)?;
        let rope = SNARES.lock().unwrap().remove(&number);
        if let Some((caught, held)) = rope {
            let _ = caught.send(());
            // Until it is let go, or the test is over.
            tokio::task::block_in_place(|| {
                let _ = held.recv();
            });
        }
        Ok(Self(number))
    }
}

/// A connection that moves, and is stopped midway.
struct Midway {
    caught: oneshot::Receiver<()>,
    held: mpsc::Sender<()>,
}

impl Midway {
    /// Stops this client's next move.
    async fn of(client: &mut Stateful) -> Self {
        static NUMBERS: AtomicU64 = AtomicU64::new(1);

        let number = NUMBERS.fetch_add(1, Ordering::Relaxed);
        let (told, caught) = oneshot::channel();
        let (held, rope) = mpsc::channel();
        SNARES.lock().unwrap().insert(number, (told, rope));
        client.invoke("Carry", json!([number])).await;
        Self { caught, held }
    }

    /// Runs the request that moves it until it is stopped.
    async fn reached<F>(&mut self, request: F)
    where
        F: Future<Output = Result<Client, Refusal>> + Unpin,
    {
        let either = futures_util::future::select(request, &mut self.caught);
        match soon(either).await {
            Either::Right((caught, _)) => caught.expect("it is read"),
            Either::Left((answer, _)) => panic!("not midway: {:?}", answer.err()),
        }
    }

    fn let_go(self) {
        drop(self.held);
    }
}

fn stateful() -> Options {
    shared().stateful_reconnect(true)
}

fn described(hub: HubBuilder) -> HubBuilder {
    hub.portable::<Snare>("snare")
        .method("Carry", async |items: Items, number: u64| items.insert(Snare(number)))
        .method("Join", async |caller: Caller, group: String| -> Result<(), HubError> {
            caller.groups().add(caller.id(), &group).await?;
            Ok(())
        })
        .method(
            "Swap",
            async |caller: Caller,
                   probe: State<Probe>,
                   from: String,
                   to: String|
                   -> Result<(), HubError> {
                probe.tell("swaps").await;
                probe.pass().await;
                caller.groups().remove(caller.id(), &from).await?;
                caller.groups().add(caller.id(), &to).await?;
                Ok(())
            },
        )
        .method("AbortLater", async |caller: Caller, probe: State<Probe>| {
            probe.tell("aborts").await;
            probe.pass().await;
            caller.abort();
        })
}

fn news(number: u32) -> Value {
    json!({"type": 1, "target": "News", "arguments": [number]})
}

/// Two nodes that stay, and one that can be killed.
async fn nodes() -> (Medium, Vec<Server>, Mortal) {
    let medium = Medium::new();
    let mortal = Mortal::born(&medium, stateful(), described).await;
    let mut nodes = Vec::new();
    for _ in 0..2 {
        let node = std::sync::Arc::new(medium.node_with(short_lives()));
        nodes.push(Server::over(node, stateful(), described).await);
    }
    acquainted(&nodes).await;
    for node in &nodes {
        let mut members = node.hub.backplane().members();
        let known = members.wait_for(|members| members.contains(mortal.server.hub.node()));
        drop(soon(known).await.expect("the node lives"));
    }
    (medium, nodes, mortal)
}

async fn tell(node: &Server, client: &Stateful, number: u32) {
    node.hub.clients().connection(&client.id).send("News", (number,)).await.unwrap();
}

fn connections<'a>(nodes: impl IntoIterator<Item = &'a Server>) -> Vec<usize> {
    nodes.into_iter().map(|node| node.hub.stats().connections).collect()
}

/// The new node has taken it and dies before it can say so: the old one still has it.
#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_dies_while_it_takes_a_connection_takes_nothing_with_it() {
    // Where the client comes back: to the old node, or to a third.
    for back in 0..2 {
        let (_medium, nodes, mortal) = nodes().await;
        let mut client = Stateful::begin(&nodes[0]).await;
        client.invoke("Join", json!(["kitchen"])).await;
        let mut midway = Midway::of(&mut client).await;
        client.lose();
        {
            let mut request = Box::pin(client.socket(&mortal.server));
            midway.reached(&mut request).await;
            mortal.dies();
        }
        tell(&nodes[1], &client, 1).await;
        nodes[1].hub.clients().group("kitchen").send("News", (2,)).await.unwrap();
        // It comes back at once, long before anybody knows of that death.
        client.come_back(&nodes[back]).await;
        let mut come = [client.next().await, client.next().await];
        come.sort_by_key(|it| it["arguments"][0].as_u64());
        assert_eq!(come, [news(1), news(2)]);
        client.works().await;
        assert_eq!(connections(&nodes), if back == 0 { [1, 0] } else { [0, 1] });
        client.send(json!({"type": 7})).await;
        assert_eq!(nodes[back].probe.told().await, "disconnected: well");
        midway.let_go();
    }
}

/// The old node has let go and dies before it hears that the new one has it: whether it still has it cannot
/// be known, so nobody has it.
#[tokio::test(flavor = "multi_thread")]
async fn a_connection_whose_old_node_dies_midway_is_on_no_two_nodes() {
    let (_medium, nodes, mortal) = nodes().await;
    let mut client = Stateful::begin(&mortal.server).await;
    let mut midway = Midway::of(&mut client).await;
    client.lose();
    let node = mortal.server.hub.node();
    let mut request = Box::pin(client.socket(&nodes[0]));
    midway.reached(&mut request).await;
    mortal.dies();
    let mut members = nodes[0].hub.backplane().members();
    drop(soon(members.wait_for(|members| !members.contains(node))).await.unwrap());
    midway.let_go();
    let refused = soon(request).await.err().map(|(status, _)| status);
    assert_eq!(refused, Some(503));
    for node in &nodes {
        client.is_unknown(node).await;
    }
    assert_eq!(connections(&nodes), [0, 0]);
    Stateful::begin(&nodes[0]).await.works().await;
}

/// The link between them goes down before the new node can say that it has it: it says so later.
#[tokio::test(flavor = "multi_thread")]
async fn a_link_that_is_down_midway_only_delays() {
    let (medium, nodes, mortal) = nodes().await;
    let mut client = Stateful::begin(&nodes[0]).await;
    let mut midway = Midway::of(&mut client).await;
    client.lose();
    let mut request = Box::pin(client.socket(&mortal.server));
    midway.reached(&mut request).await;
    medium.stop();
    link(&nodes[0], false).await;
    link(&mortal.server, false).await;
    midway.let_go();
    // The third cannot even ask.
    link(&nodes[1], false).await;
    assert_eq!(client.socket(&nodes[1]).await.err().map(|(status, _)| status), Some(503));
    medium.start();
    let socket = soon(request).await.expect("it is taken over");
    client.go_on(socket).await;
    client.works().await;
    assert_eq!(
        client.invoke("Node", json!([])).await["result"],
        mortal.server.hub.node().to_string()
    );
    until(|| connections(&nodes) == [0, 0]).await;
    assert_eq!(mortal.server.hub.stats().connections, 1);
    tell(&nodes[1], &client, 1).await;
    assert_eq!(client.next().await, news(1));
}

/// While the link is down nothing moves, and nothing is lost.
#[tokio::test]
async fn a_connection_stays_while_the_link_is_down() {
    let medium = Medium::new();
    let [one, two] = [(); 2].map(|()| Server::on(&medium, stateful(), described));
    let nodes = [one.await, two.await];
    let mut client = Stateful::begin(&nodes[0]).await;
    client.works().await;
    client.lose();
    medium.stop();
    for node in &nodes {
        link(node, false).await;
    }
    assert_eq!(client.socket(&nodes[1]).await.err().map(|(status, _)| status), Some(503));
    // Where it is, it is found.
    client.come_back(&nodes[0]).await;
    client.works().await;
    medium.start();
    for node in &nodes {
        link(node, true).await;
    }
    client.lose();
    client.come_back(&nodes[1]).await;
    client.works().await;
}

/// Both nodes that a client comes to at once let it in, one after the other, even if calls run for long where
/// it was; and a socket that comes to the old one meanwhile is not left waiting.
#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_comes_to_several_nodes_at_once_is_let_in() {
    let (_medium, nodes, mortal) = nodes().await;
    let mut client = Stateful::begin(&nodes[0]).await;
    let mut midway = Midway::of(&mut client).await;
    client.call("1", "Block", json!(["first"])).await;
    assert_eq!(nodes[0].probe.told().await, "first begins");
    client.lose();
    // Two to the same node, and, once that has it, one to the old node and one to a third.
    let mut two = Box::pin(join(client.socket(&mortal.server), client.socket(&mortal.server)));
    tokio::select! {
        _ = &mut two => panic!("not midway"),
        caught = &mut midway.caught => caught.expect("it is read"),
    }
    let mut third = Box::pin(client.socket(&nodes[1]));
    let mut old = client.socket(&nodes[0]).await.expect("it may still be there");
    let asked = nodes[1].hub.stats().requests;
    let on_its_way = until(|| nodes[1].hub.stats().requests > asked);
    tokio::select! {
        () = on_its_way => {}
        answer = &mut third => panic!("not midway: {:?}", answer.err()),
    }
    midway.let_go();
    let ((one, same), third) = join(two, third).await;
    for (which, answer) in [("one", one), ("same", same), ("third", third)] {
        match answer {
            // It is served, or let go for another one: the session has looked at it.
            Ok(mut socket) => drop(socket.record_or_end().await),
            Err(refused) => panic!("{which}: {refused:?}"),
        }
    }
    let ended = soon(old.socket.next()).await;
    assert!(!matches!(ended, Some(Ok(_))), "{ended:?}");
    // Each has had it, whoever was last, and all but that one have let go of it.
    let all = || [&nodes[0], &nodes[1], &mortal.server];
    until(|| connections(all()).iter().sum::<usize>() == 1).await;
    client.come_back(&nodes[1]).await;
    assert_eq!(client.invoke("Node", json!([])).await["result"], nodes[1].hub.node().to_string());
    until(|| connections(&nodes) == [0, 1]).await;
    nodes[0].probe.release();
    assert_eq!(client.next().await["result"], "first");
}

/// A token that was not used to the end keeps nobody waiting.
#[tokio::test]
async fn a_connection_that_never_shakes_hands_is_not_waited_for() {
    let medium = Medium::new();
    let options = || stateful().handshake_timeout(Duration::from_millis(300));
    let one = Server::on(&medium, options(), described).await;
    let two = Server::on(&medium, options(), described).await;
    let (_, token) = negotiated(&one, "&useStatefulReconnect=true").await;
    let query = format!("?id={token}");
    let _silent = Client::request(&one, &query, &[]).await.unwrap();
    let refused = Client::request(&two, &query, &[]).await.err();
    assert_eq!(refused, Some((404, "No Connection with that ID".to_owned())));
    // Nor one that is gone before.
    let (_, token) = negotiated(&one, "&useStatefulReconnect=true").await;
    let query = format!("?id={token}");
    drop(Client::request(&one, &query, &[]).await.unwrap());
    let refused = Client::request(&two, &query, &[]).await.err();
    assert_eq!(refused, Some((404, "No Connection with that ID".to_owned())));
}

/// A call that still runs where the connection was is about the connection where it is.
#[tokio::test]
async fn a_call_that_runs_on_changes_the_groups_where_the_connection_is() {
    let medium = Medium::new();
    let one = Server::on(&medium, stateful(), described).await;
    let two = Server::on(&medium, stateful(), described).await;
    let mut client = Stateful::begin(&one).await;
    client.invoke("Join", json!(["old"])).await;
    client.call("1", "Swap", json!(["old", "new"])).await;
    assert_eq!(one.probe.told().await, "swaps");
    client.lose();
    client.come_back(&two).await;
    client.works().await;
    one.probe.release();
    let swapped = json!({"type": 3, "invocationId": "1", "result": null});
    assert_eq!(client.next().await, swapped);
    assert_eq!(
        two.hub.groups().of(&client.id).await.unwrap(),
        ["new".into()] as [std::sync::Arc<str>; 1]
    );
    for (number, group) in [(1, "old"), (2, "new")] {
        one.hub.clients().group(group).send("News", (number,)).await.unwrap();
    }
    assert_eq!(client.next().await, news(2));
}

#[tokio::test]
async fn a_call_that_runs_on_aborts_the_connection_where_it_is() {
    let medium = Medium::new();
    let one = Server::on(&medium, stateful(), described).await;
    let two = Server::on(&medium, stateful(), described).await;
    let mut client = Stateful::begin(&one).await;
    client.call("1", "AbortLater", json!([])).await;
    assert_eq!(one.probe.told().await, "aborts");
    client.lose();
    client.come_back(&two).await;
    client.works().await;
    one.probe.release();
    // It is not to come back. The call may have been answered before.
    let mut last = client.next().await;
    if last["type"] == 3 {
        last = client.next().await;
    }
    assert_eq!(last, json!({"type": 7}));
    assert_eq!(two.probe.told().await, "disconnected: well");
    client.lose();
    client.is_unknown(&one).await;
}

/// What waits for a client moves along with what it has not acknowledged. One that never acknowledges
/// anything cannot pile it up by moving.
#[tokio::test]
async fn what_a_connection_takes_along_is_bounded() {
    let medium = Medium::new();
    let small = |hub| {
        let mut options = HubOptions::default();
        options.outbound_bytes = ByteSize::b(1000);
        described(hub).options(options)
    };
    let options = || stateful().stateful_buffer(ByteSize::b(200));
    let one = Server::on(&medium, options(), small).await;
    let two = Server::on(&medium, options(), small).await;
    let nodes = [one, two];
    let mut client = Stateful::begin(&nodes[0]).await;
    let text = "x".repeat(200);
    for round in 1.. {
        assert!(round < 10, "it is not bounded");
        for _ in 0..3 {
            let to = nodes[0].hub.clients().connection(&client.id);
            to.send("News", (&text,)).await.unwrap();
        }
        client.lose();
        match client.socket(&nodes[round % 2]).await {
            Ok(socket) => drop(client.go_on(socket).await),
            Err(refused) => {
                assert_eq!((refused.0, round > 1), (404, true));
                break;
            }
        }
    }
    let slow = "disconnected: The client did not take its messages as fast as they came.";
    let told = tokio::select! {
        told = nodes[0].probe.told() => told,
        told = nodes[1].probe.told() => told,
    };
    assert_eq!(told, slow);
    assert_eq!(connections(&nodes), [0, 0]);
}

/// Over links that lose, double, reorder and delay what nodes say, while calls end and messages are sent.
#[tokio::test(flavor = "multi_thread")]
async fn over_bad_links_a_connection_moves_with_all_it_has() {
    let medium = Medium::new();
    let switch = ChaosHandle::new();
    let mut nodes = Vec::new();
    for seed in 0..3 {
        let mut chaos = ChaosOptions::one_in_ten(seed);
        // A question that is lost four times over is rightly given up.
        chaos.drop = 0.02;
        let wire = Chaos::new(medium.wire(), chaos).unwrap().switched_by(&switch);
        let node = std::sync::Arc::new(Node::start(wire, NodeOptions::default()));
        let patient = |hub: HubBuilder| {
            let mut options = HubOptions::default();
            options.answer_within = Duration::from_secs(8);
            described(hub).options(options)
        };
        nodes.push(Server::over(node, stateful(), patient).await);
    }
    acquainted(&nodes).await;
    let mut client = Stateful::begin(&nodes[0]).await;
    for round in 0..12 {
        let (from, to) = (&nodes[round % 3], &nodes[(round + 1) % 3]);
        let id = round.to_string();
        client.call(&id, "Block", json!([id])).await;
        assert_eq!(from.probe.told().await, format!("{id} begins"));
        client.lose();
        let moving = async {
            let mut client = client;
            client.come_back(to).await;
            client
        };
        let telling = async {
            for number in 0..5 {
                nodes[2].hub.clients().user("nobody").send("News", (0,)).await.unwrap();
                from.hub.clients().all().send("News", (number,)).await.unwrap();
                if number == round % 5 {
                    from.probe.release();
                }
            }
        };
        let (moved, ()) = tokio::join!(moving, telling);
        client = moved;
        assert_eq!(from.probe.told().await, format!("{id} ends"));
        let mut come = Vec::new();
        let mut answered = false;
        while come.len() < 5 || !answered {
            let message = client.next().await;
            if message["type"] == 3 {
                assert_eq!(message["result"], *id);
                answered = true;
            } else {
                come.push(message["arguments"][0].as_u64().expect("news"));
            }
        }
        come.sort_unstable();
        assert_eq!(come, [0, 1, 2, 3, 4]);
        client.acknowledge_all().await;
        client.works().await;
    }
    assert!(switch.counts().dropped > 0, "{:?}", switch.counts());
}
