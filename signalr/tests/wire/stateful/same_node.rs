use std::time::Duration;

use backplane_hub::{ByteSize, Caller, HubBuilder, HubError};
use backplane_memory::Medium;
use backplane_signalr::{Options, Transport};
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;

use super::Stateful;
use crate::{
    client::{Client, soon},
    negotiation::negotiate,
    nodes::shared,
    server::Server,
};

fn stateful() -> Options {
    shared().stateful_reconnect(true)
}

/// A hub whose connections tell when they begin.
fn telling(hub: HubBuilder) -> HubBuilder {
    hub.on_connected(async |caller: Caller, probe: backplane_hub::State<crate::server::Probe>| {
        probe.tell(format!("connected: {}", caller.id())).await;
    })
    .method("Join", async |caller: Caller, group: String| -> Result<(), HubError> {
        caller.groups().add(caller.id(), &group).await?;
        Ok(())
    })
}

fn news(number: u32) -> Value {
    json!({"type": 1, "target": "News", "arguments": [number]})
}

#[tokio::test]
async fn what_is_sent_during_a_break_arrives_once_and_in_order() {
    let medium = Medium::new();
    let server = Server::on(&medium, stateful(), telling).await;
    let other = Server::on(&medium, stateful(), telling).await;
    let mut client = Stateful::begin(&server).await;
    assert_eq!(server.probe.told().await, format!("connected: {}", client.id));
    assert_eq!(client.invoke("Join", json!(["kitchen"])).await, json!({"result": null}));

    let id = client.id.clone();
    let mut number = 0;
    for _ in 0..5 {
        let mut send = async || {
            number += 1;
            // By its group, its id, and to all, from both nodes.
            match number % 3 {
                0 => {
                    let kitchen = other.hub.clients().group("kitchen");
                    kitchen.send("News", (number,)).await.unwrap();
                }
                1 => {
                    other.hub.clients().all().send("News", (number,)).await.unwrap();
                }
                _ => {
                    let hub = if number % 2 == 0 { &server.hub } else { &other.hub };
                    hub.clients().connection(&id).send("News", (number,)).await.unwrap();
                }
            };
            number
        };
        let before = send().await;
        // In the order in which they come, whichever topic each takes.
        assert_eq!(client.next().await, news(before));
        let lost = send().await;
        client.lose();
        let more = [send().await, send().await];
        client.come_back(&server).await;
        let mut come = vec![client.next().await, client.next().await, client.next().await];
        come.sort_by_key(|message| message["arguments"][0].as_u64());
        assert_eq!(come, [news(lost), news(more[0]), news(more[1])]);
    }
    assert_eq!(client.invoke("WhoAmI", json!([])).await["result"], *client.id);
    // Neither hook has run in between.
    client.send(json!({"type": 7})).await;
    assert_eq!(server.probe.told().await, "disconnected: well");
}

#[tokio::test]
async fn what_a_client_sends_once_more_is_done_once() {
    let server = Server::start(stateful()).await;
    let mut client = Stateful::begin(&server).await;
    client.call("1", "Block", json!(["first"])).await;
    assert_eq!(server.probe.told().await, "first begins");
    client.call("2", "Block", json!(["second"])).await;
    client.lose();
    client.call("3", "Add", json!([1, 1])).await;
    client.come_back(&server).await;
    server.probe.release();
    server.probe.release();
    for event in ["first ends", "second begins", "second ends"] {
        assert_eq!(server.probe.told().await, event);
    }
    for (id, result) in [("1", json!("first")), ("2", json!("second")), ("3", json!(2))] {
        let expected = json!({"type": 3, "invocationId": id, "result": result});
        assert_eq!(client.next().await, expected);
    }
    client.works().await;
}

#[tokio::test]
async fn what_has_come_is_acknowledged_and_what_was_acknowledged_does_not_go_again() {
    let server = Server::start(stateful()).await;
    let mut client = Stateful::begin(&server).await;
    client.works().await;
    client.works().await;
    client.acknowledged().await;
    client.acknowledge(2).await;
    client.works().await;
    client.lose();
    client.come_back(&server).await;
    // Of the three answers the third was not acknowledged, and comes once more; the call was not either,
    // and is not answered once more.
    assert_eq!(client.any().await, json!({"type": 9, "sequenceId": 3}));
    assert_eq!(client.client().next().await["type"], 3);
    client.came();
    client.works().await;
}

#[tokio::test]
async fn the_newer_socket_takes_the_place_of_one_that_is_open() {
    let server = Server::start(stateful()).await;
    let mut client = Stateful::begin(&server).await;
    client.works().await;
    let mut before = client.come_back(&server).await.expect("there was one");
    client.works().await;
    let ended = soon(futures_util::StreamExt::next(&mut before.socket)).await;
    assert!(!matches!(ended, Some(Ok(_))), "{ended:?}");
}

#[tokio::test]
async fn a_client_that_leaves_messages_out_is_closed() {
    let server = Server::start(stateful().detailed_errors(true)).await;
    let mut client = Stateful::begin(&server).await;
    client.works().await;
    client.lose();
    let mut socket = client.socket(&server).await.unwrap();
    socket.send(json!({"type": 9, "sequenceId": 3})).await;
    assert_eq!(socket.next().await, json!({"type": 9, "sequenceId": 1}));
    assert_eq!(socket.next().await["type"], 3);
    assert_eq!(
        socket.next().await,
        json!({
            "type": 7,
            "allowReconnect": true,
            "error": "Connection closed with an error. InvalidOperationException: Sequence ID greater than amount of messages we've received.",
        })
    );
    assert_eq!(socket.closed().await, 1000);
    assert_eq!(
        server.probe.told().await,
        "disconnected: Sequence ID greater than amount of messages we've received."
    );
    client.is_unknown(&server).await;
}

#[tokio::test]
async fn a_client_that_says_that_it_goes_is_not_waited_for() {
    let server = Server::start(stateful()).await;
    for way in 0..4 {
        let mut client = Stateful::begin(&server).await;
        client.works().await;
        match way {
            0 => client.send(json!({"type": 7})).await,
            1 => client.call("1", "Abort", json!([])).await,
            2 => client.close(Some(CloseCode::Normal)).await,
            _ => client.close(Some(CloseCode::Away)).await,
        }
        assert_eq!(server.probe.told().await, "disconnected: well");
        client.lose();
        client.is_unknown(&server).await;
    }
}

#[tokio::test]
async fn a_client_that_closes_without_a_code_may_come_back() {
    let server = Server::start(stateful()).await;
    let mut client = Stateful::begin(&server).await;
    client.works().await;
    client.close(None).await;
    client.come_back(&server).await;
    client.works().await;
}

#[tokio::test]
async fn a_client_that_does_not_come_back_is_gone() {
    let server = Server::start(stateful().disconnect_timeout(Duration::from_millis(50))).await;
    let mut client = Stateful::begin(&server).await;
    client.works().await;
    client.lose();
    assert!(server.probe.told().await.starts_with("disconnected: "));
    client.is_unknown(&server).await;
}

#[tokio::test]
async fn a_client_that_falls_silent_may_come_back() {
    let server = Server::start(stateful().client_timeout(Duration::from_millis(20))).await;
    let mut client = Stateful::begin(&server).await;
    client.send(json!({"type": 6})).await;
    // The server lets the socket go, and says nothing of the connection's end.
    let ended = soon(futures_util::StreamExt::next(&mut client.client().socket)).await;
    assert!(!matches!(ended, Some(Ok(_))), "{ended:?}");
    server.hub.clients().connection(&client.id).send("News", (1,)).await.unwrap();
    client.come_back(&server).await;
    assert_eq!(client.next().await, news(1));
}

#[tokio::test]
async fn a_full_buffer_waits_for_the_client() {
    let options =
        stateful().stateful_buffer(ByteSize::b(1000)).keep_alive(Duration::from_millis(20));
    let server = Server::start(options).await;
    let mut client = Stateful::begin(&server).await;
    let text = "x".repeat(300);
    for number in 0..10 {
        let to = server.hub.clients().connection(&client.id);
        to.send("News", (number, &text)).await.unwrap();
    }
    let mut come = Vec::new();
    let mut pings = 0;
    // Pings pass all the while: after some, nothing else was to come.
    while pings < 3 {
        let message: Value = serde_json::from_str(&client.client().record().await).unwrap();
        match message["type"].as_u64() {
            Some(6) => pings += 1,
            _ => {
                come.push(message["arguments"][0].clone());
                client.came();
            }
        }
    }
    assert_eq!(come, [0, 1, 2]);
    client.acknowledge(1).await;
    assert_eq!(client.next().await["arguments"][0], 3);
    // A break changes nothing of that.
    client.lose();
    client.come_back(&server).await;
    for number in 4..10 {
        client.acknowledge(number - 2).await;
        assert_eq!(client.next().await["arguments"][0], number);
    }
}

#[tokio::test]
async fn who_has_not_agreed_on_it_cannot_come_back() {
    let allowed = Server::start(stateful()).await;
    let not_allowed = Server::start(shared()).await;
    let polls_only = Server::start(stateful().transports([Transport::LongPolling])).await;
    const ASKED: &str = "?negotiateVersion=1&useStatefulReconnect=true";
    assert!(
        negotiate(&allowed, ASKED).await.body.starts_with(r#"{"useStatefulReconnect":true,"neg"#)
    );
    for (server, query) in
        [(&allowed, "?negotiateVersion=1"), (&not_allowed, ASKED), (&polls_only, ASKED)]
    {
        assert!(negotiate(server, query).await.body.starts_with(r#"{"negotiateVersion":1,"#));
    }

    let mut old = Stateful::begin_on(&allowed, &allowed, 1).await;
    let mut none = Stateful::begin(&not_allowed).await;
    for (client, server) in [(&mut old, &allowed), (&mut none, &not_allowed)] {
        client.works().await;
        let refused = client.socket(server).await.err();
        assert_eq!(refused, Some((409, String::new())));
        client.lose();
        assert!(server.probe.told().await.starts_with("disconnected: "));
    }
}

#[tokio::test]
async fn acknowledgements_that_nobody_asked_for_do_nothing() {
    let server = Server::start(stateful()).await;
    let mut ordinary = Client::connect(&server).await;
    let mut client = Stateful::begin(&server).await;
    for kind in [8, 9] {
        for number in [i64::MIN, -1, 0, 1] {
            let message = json!({"type": kind, "sequenceId": number});
            ordinary.send(message.clone()).await;
            client.send(message).await;
        }
        ordinary.send(json!({"type": kind, "sequenceId": i64::MAX})).await;
    }
    ordinary.works().await;
    client.works().await;
}

#[tokio::test]
async fn half_a_message_before_a_break_is_forgotten() {
    let server = Server::start(stateful()).await;
    let mut client = Stateful::begin(&server).await;
    client.works().await;
    client.client().text("{\"type\":1,\"invocationId\":\"half\",").await;
    client.lose();
    client.come_back(&server).await;
    client.works().await;
}
