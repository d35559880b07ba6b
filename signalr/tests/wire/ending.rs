use std::time::Duration;

use backplane_hub::{Caller, HubError};
use backplane_signalr::Options;
use futures_util::{SinkExt, StreamExt};
use serde_json::json;
use tokio_tungstenite::tungstenite::{
    Message,
    protocol::{CloseFrame, frame::coding::CloseCode},
};

use crate::{
    client::{Client, soon},
    server::Server,
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
