use std::time::Duration;

use backplane_hub::{Caller, HubBuilder, HubError, Items, State};
use backplane_memory::Medium;
use backplane_signalr::Options;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::Stateful;
use crate::{
    client::{Client, soon},
    nodes::shared,
    server::{Probe, Server},
};

fn stateful() -> Options {
    shared().stateful_reconnect(true)
}

#[derive(Default, Serialize, Deserialize)]
struct Visits(u32);

fn telling(hub: HubBuilder) -> HubBuilder {
    hub.on_connected(async |caller: Caller, probe: State<Probe>| {
        probe.tell(format!("connected: {}", caller.id())).await;
    })
    .portable::<Visits>("visits")
    .method("Join", async |caller: Caller, group: String| -> Result<(), HubError> {
        caller.groups().add(caller.id(), &group).await?;
        Ok(())
    })
    .method("Visit", async |items: Items| {
        items.update(|Visits(visits)| {
            *visits += 1;
            *visits
        })
    })
    .stream("Count", async |to: u32| futures_util::stream::iter(0..to))
}

async fn three() -> [Server; 3] {
    let medium = Medium::new();
    let node = || Server::on(&medium, stateful(), telling);
    [node().await, node().await, node().await]
}

fn news(number: u32) -> Value {
    json!({"type": 1, "target": "News", "arguments": [number]})
}

#[tokio::test]
async fn a_client_goes_on_where_it_comes_back() {
    let nodes = three().await;
    let mut client = Stateful::begin_on(&nodes[2], &nodes[0], 2).await;
    assert_eq!(nodes[0].probe.told().await, format!("connected: {}", client.id));
    client.invoke("Join", json!(["kitchen"])).await;
    let mut number = 0;
    for visit in 1..8 {
        // Every node in turn, among them the one that has negotiated.
        let to = &nodes[visit as usize % 3];
        client.lose();
        let mut sent = Vec::new();
        for node in &nodes {
            number += 1;
            node.hub.clients().group("kitchen").send("News", (number,)).await.unwrap();
            sent.push(number);
        }
        client.come_back(to).await;
        for node in &nodes {
            number += 1;
            node.hub.clients().connection(&client.id).send("News", (number,)).await.unwrap();
            sent.push(number);
        }
        let mut come = Vec::new();
        for _ in &sent {
            let message = client.next().await;
            come.push(message["arguments"][0].as_u64().expect("news") as u32);
        }
        come.sort_unstable();
        assert_eq!(come, sent);
        assert_eq!(client.invoke("Visit", json!([])).await, json!({"result": visit}));
        assert_eq!(client.invoke("WhoAmI", json!([])).await["result"], *client.id);
        assert_eq!(client.invoke("Node", json!([])).await["result"], to.hub.node().to_string());
    }
    client.send(json!({"type": 7})).await;
    // It is the first thing that any node tells since the beginning.
    assert_eq!(nodes[1].probe.told().await, "disconnected: well");
    for node in [&nodes[0], &nodes[2]] {
        node.probe.tell("nothing else").await;
        assert_eq!(node.probe.told().await, "nothing else");
    }
    client.lose();
    client.is_unknown(&nodes[0]).await;
}

#[tokio::test]
async fn what_a_client_sends_once_more_is_done_once_on_either_node() {
    let nodes = three().await;
    let mut client = Stateful::begin(&nodes[0]).await;
    nodes[0].probe.told().await;
    for visit in 1..=10 {
        let id = visit.to_string();
        client.call(&id, "Visit", json!([])).await;
        if visit % 2 == 0 {
            // It may have been done there or not.
            client.lose();
            client.come_back(&nodes[visit / 2 % 3]).await;
        }
        let done = client.next().await;
        assert_eq!(done, json!({"type": 3, "invocationId": id, "result": visit}));
    }
}

#[tokio::test]
async fn calls_that_run_are_answered_by_way_of_the_new_node() {
    let nodes = three().await;
    let mut client = Stateful::begin(&nodes[0]).await;
    nodes[0].probe.told().await;
    client.call("1", "Block", json!(["first"])).await;
    assert_eq!(nodes[0].probe.told().await, "first begins");
    // Has no place behind it, and is begun where the client goes.
    client.call("2", "Block", json!(["second"])).await;
    client.lose();
    client.call("3", "Node", json!([])).await;
    client.come_back(&nodes[1]).await;
    assert_eq!(nodes[1].probe.told().await, "second begins");
    nodes[0].probe.release();
    let first = json!({"type": 3, "invocationId": "1", "result": "first"});
    assert_eq!(client.next().await, first);
    nodes[1].probe.release();
    let second = json!({"type": 3, "invocationId": "2", "result": "second"});
    assert_eq!(client.next().await, second);
    assert_eq!(client.next().await["result"], nodes[1].hub.node().to_string());
}

#[tokio::test]
async fn a_stream_goes_on_by_way_of_the_new_node() {
    let nodes = three().await;
    let mut client = Stateful::begin(&nodes[0]).await;
    client
        .send(json!({"type": 4, "invocationId": "1", "target": "Count", "arguments": [5000]}))
        .await;
    let mut next = 0;
    let mut come_back = false;
    loop {
        let message = client.next().await;
        if message["type"] == 3 {
            assert_eq!(message, json!({"type": 3, "invocationId": "1"}));
            break;
        }
        assert_eq!(message["item"], next);
        next += 1;
        if next % 1000 == 0 {
            client.acknowledge_all().await;
        }
        if next == 2000 && !come_back {
            come_back = true;
            client.lose();
            client.come_back(&nodes[1]).await;
        }
    }
    assert_eq!(next, 5000);
    client.works().await;
}

#[tokio::test]
async fn whoever_has_no_right_to_it_takes_nothing() {
    let nodes = three().await;
    let mut client = Stateful::begin(&nodes[0]).await;
    let id = client.id.clone();
    for stolen in [&*id, "nonsense"] {
        let refused = Client::request(&nodes[1], &format!("?id={stolen}"), &[]).await;
        assert_eq!(refused.err().map(|(status, _)| status), Some(404));
    }
    client.works().await;
    // One that cannot come back stays where it is.
    let mut old = Stateful::begin_on(&nodes[0], &nodes[0], 1).await;
    assert_eq!(old.socket(&nodes[1]).await.err(), Some((409, String::new())));
    old.works().await;
}

#[tokio::test]
async fn the_newer_socket_wins_on_another_node_too() {
    let nodes = three().await;
    let mut client = Stateful::begin(&nodes[0]).await;
    client.works().await;
    let mut before = client.come_back(&nodes[1]).await.expect("there was one");
    client.works().await;
    let ended = soon(futures_util::StreamExt::next(&mut before.socket)).await;
    assert!(!matches!(ended, Some(Ok(_))), "{ended:?}");
}

#[tokio::test]
async fn a_client_that_comes_to_two_nodes_at_once_is_on_one_of_them() {
    let nodes = three().await;
    for _ in 0..10 {
        let mut client = Stateful::begin(&nodes[0]).await;
        client.works().await;
        client.lose();
        let (one, two) = tokio::join!(client.socket(&nodes[1]), client.socket(&nodes[2]));
        assert!(one.is_ok() || two.is_ok(), "{:?} {:?}", one.err(), two.err());
        drop((one, two));
        client.come_back(&nodes[0]).await;
        client.works().await;
        let have = nodes.iter().map(|node| node.hub.stats().connections).collect::<Vec<_>>();
        assert_eq!(have, [1, 0, 0], "one has it, where it works");
        client.send(json!({"type": 7})).await;
        while !nodes[0].probe.told().await.starts_with("disconnected") {}
    }
}

#[tokio::test]
async fn a_node_that_drains_hands_over_what_it_has() {
    let nodes = three().await;
    let mut clients = Vec::new();
    for _ in 0..20 {
        let mut client = Stateful::begin(&nodes[0]).await;
        client.invoke("Join", json!(["kitchen"])).await;
        clients.push(client);
    }
    let mut ordinary = Client::connect(&nodes[0]).await;
    let hub = nodes[0].hub.clone();
    let drained = tokio::spawn(async move { hub.drain(Duration::from_secs(60)).await });
    for client in &mut clients {
        // Its socket is closed, so that it goes elsewhere; here it is not let in.
        let ended = soon(futures_util::StreamExt::next(&mut client.client().socket)).await;
        let Some(Ok(tokio_tungstenite::tungstenite::Message::Close(Some(frame)))) = ended else {
            panic!("{ended:?}");
        };
        assert_eq!(u16::from(frame.code), 1012);
        client.lose();
        assert_eq!(client.socket(&nodes[0]).await.err().map(|(status, _)| status), Some(503));
    }
    nodes[2].hub.clients().group("kitchen").send("News", (1,)).await.unwrap();
    for client in &mut clients {
        client.come_back(&nodes[1]).await;
        assert_eq!(client.next().await, news(1));
    }
    // The others are told to come back as new ones.
    assert_eq!(ordinary.next().await, json!({"type": 7, "allowReconnect": true}));
    drop(ordinary);
    soon(drained).await.unwrap().unwrap();
    assert_eq!(nodes[1].hub.stats().connections, 20);
}
