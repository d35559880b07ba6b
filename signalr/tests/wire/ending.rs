use std::time::Duration;

use backplane_hub::{Aborted, Caller, Filter, Filtered, HubError, Invocation, Next, State};
use backplane_signalr::Options;
use futures_util::{SinkExt, StreamExt};
use serde_json::json;
use tokio_tungstenite::tungstenite::{
    Message,
    protocol::{CloseFrame, frame::coding::CloseCode},
};

use crate::{
    client::{Client, soon},
    server::{Probe, Server},
};

#[tokio::test]
async fn an_abort_says_not_to_come_back() {
    let server = Server::start(Options::new()).await;
    let mut client = Client::connect(&server).await;
    let mut other = Client::connect(&server).await;
    client.call("1", "Abort", json!([])).await;
    let mut last = client.next().await;
    if last["type"] == 3 {
        last = client.next().await;
    }
    assert_eq!(last, json!({"type": 7}));
    assert_eq!(client.gone().await, 1000);
    assert_eq!(server.probe.told().await, "disconnected: well");
    other.works().await;
}

#[tokio::test]
async fn what_was_sent_before_an_abort_arrives() {
    let server = Server::with(Options::new(), |hub| {
        hub.method("Kick", async |caller: Caller| -> Result<(), HubError> {
            for number in 0..100 {
                caller.clients().caller().send("Bye", (number,)).await?;
            }
            caller.abort();
            Ok(())
        })
    })
    .await;
    let mut client = Client::connect(&server).await;
    client.send(json!({"type": 1, "target": "Kick", "arguments": []})).await;
    for number in 0..100 {
        assert_eq!(client.next().await, json!({"type": 1, "target": "Bye", "arguments": [number]}));
    }
    assert_eq!(client.next().await, json!({"type": 7}));
    assert_eq!(client.gone().await, 1000);
}

#[tokio::test]
async fn a_hub_that_closes_says_to_come_back() {
    let server = Server::start(Options::new()).await;
    let mut client = Client::connect(&server).await;
    let hub = server.hub.clone();
    let closed = tokio::spawn(async move { hub.close(Duration::from_secs(10)).await });
    assert_eq!(client.next().await, json!({"type": 7, "allowReconnect": true}));
    assert_eq!(client.gone().await, 1000);
    soon(closed).await.unwrap().unwrap();
    assert_eq!(server.probe.told().await, "disconnected: well");
}

#[tokio::test]
async fn a_client_may_say_why_it_goes() {
    let server = Server::start(Options::new()).await;
    for (message, told) in [
        (json!({"type": 7}), "disconnected: well"),
        (json!({"type": 7, "allowReconnect": false}), "disconnected: well"),
        (json!({"type": 7, "error": "no battery"}), "disconnected: no battery"),
    ] {
        let mut client = Client::connect(&server).await;
        client.send(message).await;
        assert_eq!(client.next().await, json!({"type": 7, "allowReconnect": true}));
        assert_eq!(client.gone().await, 1000);
        assert_eq!(server.probe.told().await, told);
    }
    assert_eq!(server.hub.stats().connections, 0);
}

#[tokio::test]
async fn a_socket_that_closes_is_an_orderly_end() {
    let server = Server::start(Options::new()).await;
    Client::connect(&server).await.hang_up().await;
    assert_eq!(server.probe.told().await, "disconnected: well");

    let mut client = Client::connect(&server).await;
    let frame = CloseFrame { code: CloseCode::Away, reason: "".into() };
    client.socket.send(Message::Close(Some(frame))).await.unwrap();
    let answer = soon(client.socket.next()).await.unwrap().unwrap();
    assert!(matches!(answer, Message::Close(Some(frame)) if frame.code == CloseCode::Away));
    assert_eq!(server.probe.told().await, "disconnected: well");

    // Without a code: the answer has one.
    let mut client = Client::connect(&server).await;
    client.socket.send(Message::Close(None)).await.unwrap();
    assert_eq!(client.gone().await, 1000);
    assert_eq!(server.probe.told().await, "disconnected: well");

    // Without a word.
    drop(Client::connect(&server).await);
    assert_eq!(server.probe.told().await, "disconnected: well");

    let mut client = Client::connect(&server).await;
    client.text("{\"type\":6").await;
    client.hang_up().await;
    assert_eq!(
        server.probe.told().await,
        "disconnected: Connection terminated while reading a message."
    );
}

#[tokio::test]
async fn a_hub_may_refuse_a_connection() {
    for (detailed, error, text) in [
        (false, HubError::client as fn(String) -> HubError, "HubException: Too many."),
        (true, |text| HubError::named("TooManyError", text), "TooManyError: Too many."),
        (false, |text| HubError::named("TooManyError", text), ""),
    ] {
        let server = Server::with(Options::new().detailed_errors(detailed), |hub| {
            hub.on_connected(move || {
                let refused: Result<(), HubError> = Err(error("Too many.".into()));
                std::future::ready(refused)
            })
        })
        .await;
        let mut client = Client::connect(&server).await;
        let text = format!("Connection closed with an error. {text}");
        assert_eq!(client.next().await, json!({"type": 7, "error": text.trim_end()}));
        assert_eq!(client.gone().await, 1000);
        assert_eq!(server.probe.told().await, "disconnected: Too many.");
    }
}

#[tokio::test]
async fn a_client_that_does_not_close_its_side_is_cut_off() {
    let server = Server::start(Options::new().close_timeout(Duration::from_millis(50))).await;
    let mut client = Client::connect(&server).await;
    client.send(json!({"type": 7})).await;
    // Nothing is read here, so the close is not answered; on_disconnected does not wait for that.
    assert_eq!(server.probe.told().await, "disconnected: well");
    // The answer to the close that is read now comes too late.
    assert_eq!(client.next().await, json!({"type": 7, "allowReconnect": true}));
    while let Some(Ok(_)) = soon(client.socket.next()).await {}
}

/// Waits for the end, tells of it, and fails.
async fn wait(aborted: Aborted, State(probe): State<Probe>) {
    probe.tell("waits").await;
    aborted.wait().await;
    probe.tell("aborted").await;
    panic!("nobody hears of it");
}

/// What is told next, so many times and in no order.
async fn told<const COUNT: usize>(server: &Server) -> [String; COUNT] {
    let mut told = [const { String::new() }; COUNT];
    for told in &mut told {
        *told = server.probe.told().await;
    }
    told.sort();
    told
}

#[tokio::test]
async fn a_call_that_runs_is_told_of_the_end() {
    let server = Server::with(Options::new(), |hub| hub.method("Wait", wait)).await;
    for way in 0..3 {
        let mut client = Client::connect(&server).await;
        client.call("1", "Wait", json!([])).await;
        assert_eq!(server.probe.told().await, "waits");
        match way {
            0 => client.hang_up().await,
            1 => drop(client),
            _ => client.send(json!({"type": 7})).await,
        }
        // The last hook has run although the call failed.
        assert_eq!(told(&server).await, ["aborted", "disconnected: well"]);
    }
    assert_eq!(server.hub.stats().connections, 0);
}

#[tokio::test]
async fn a_call_behind_which_others_wait_is_told_of_the_end() {
    // No ping tells of it.
    let options = Options::new().keep_alive(Duration::from_secs(3600));
    let server = Server::with(options, |hub| hub.method("Wait", wait)).await;
    for orderly in [false, true] {
        let mut client = Client::connect(&server).await;
        client.call("1", "Wait", json!([])).await;
        assert_eq!(server.probe.told().await, "waits");
        client.call("2", "Wait", json!([])).await;
        client.call("3", "Block", json!(["last"])).await;
        client.send(json!({"type": 6})).await;
        if orderly {
            client.socket.close(None).await.unwrap();
        }
        drop(client);
        assert_eq!(server.probe.told().await, "aborted");
        // Nobody reaches it any more, but what it has sent before its end is done.
        assert_eq!(server.probe.told().await, "waits");
        assert_eq!(server.hub.stats().connections, 0);
        assert_eq!(server.probe.told().await, "aborted");
        server.probe.release();
        assert_eq!(
            told(&server).await,
            ["disconnected: well", "last begins", "last ends"].map(str::to_owned)
        );
    }
}

#[tokio::test]
async fn on_connected_is_told_of_the_end() {
    let options = Options::new().keep_alive(Duration::from_secs(3600));
    let server = Server::with(options, |hub| {
        hub.on_connected(async |aborted: Aborted, State(probe): State<Probe>| {
            probe.tell("waits").await;
            aborted.wait().await;
            probe.tell("aborted").await;
            // The last hook waits for this one.
            probe.pass().await;
            probe.tell("connected").await;
        })
    })
    .await;
    for way in 0..3 {
        let mut client = Client::connect(&server).await;
        assert_eq!(server.probe.told().await, "waits");
        match way {
            0 => drop(client),
            1 => client.socket.close(None).await.unwrap(),
            // Not looked at before there is a connection, and no obstacle.
            _ => {
                client.call("1", "Tell", json!([])).await;
                client.send(json!({"type": 6})).await;
                client.socket.close(None).await.unwrap();
            }
        }
        assert_eq!(server.probe.told().await, "aborted");
        assert_eq!(server.hub.stats().connections, 0);
        server.probe.release();
        assert_eq!(server.probe.told().await, "connected");
        assert_eq!(server.probe.told().await, "disconnected: well");
    }
}

/// Its last hook panics.
struct Falls;

impl Filter for Falls {
    fn disconnected<'a>(&'a self, invocation: Invocation, next: Next<'a>) -> Filtered<'a> {
        Box::pin(async move {
            let outcome = next.run(invocation).await;
            assert!(outcome.is_err(), "in the last hook");
            outcome
        })
    }
}

#[tokio::test]
async fn a_last_hook_that_panics_leaves_nothing_behind() {
    let server = Server::with(Options::new(), |hub| hub.filter(Falls)).await;
    let mut other = Client::connect(&server).await;
    Client::connect(&server).await.hang_up().await;
    assert_eq!(server.probe.told().await, "disconnected: well");
    other.works().await;
    assert_eq!(server.hub.stats().connections, 1);
    drop(other);
    soon(server.hub.close(Duration::from_secs(10))).await.unwrap();
}
