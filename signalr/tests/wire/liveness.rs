use std::time::Duration;

use backplane_hub::{Caller, HubError, HubOptions};
use backplane_signalr::Options;
use futures_util::{SinkExt, StreamExt};
use serde_json::json;
use tokio_tungstenite::tungstenite::Message;

use crate::{
    client::{Client, soon},
    server::Server,
};

const PING: &str = r#"{"type":6}"#;

#[tokio::test]
async fn a_ping_is_sent_when_nothing_else_is() {
    let server = Server::start(Options::new().keep_alive(Duration::from_millis(50))).await;
    let mut client = Client::connect(&server).await;
    for _ in 0..3 {
        assert_eq!(client.record().await, PING);
    }
}

#[tokio::test]
async fn silence_is_no_fault_before_the_first_ping() {
    let options = Options::new()
        .client_timeout(Duration::from_millis(50))
        .keep_alive(Duration::from_millis(200));
    let server = Server::start(options.detailed_errors(true)).await;
    let mut client = Client::connect(&server).await;
    // The server's ping says that the time has passed.
    assert_eq!(client.record().await, PING);
    client.works().await;

    client.send(json!({"type": 6})).await;
    let close = client.next().await;
    assert_eq!(
        close,
        json!({"type": 7, "allowReconnect": true, "error": "Connection closed with an error. OperationCanceledException: Client hasn't sent a message/ping within the configured ClientTimeoutInterval."})
    );
    assert_eq!(client.closed().await, 1000);
    assert_eq!(
        server.probe.told().await,
        "disconnected: Client hasn't sent a message/ping within the configured ClientTimeoutInterval."
    );
}

#[tokio::test]
async fn silence_does_not_count_while_the_server_does_not_listen() {
    let options = Options::new()
        .client_timeout(Duration::from_millis(100))
        .keep_alive(Duration::from_millis(300));
    let server = Server::start(options).await;
    let mut client = Client::connect(&server).await;
    client.send(json!({"type": 6})).await;
    client.call("1", "Block", json!(["one"])).await;
    client.call("2", "Block", json!(["two"])).await;
    assert_eq!(server.probe.told().await, "one begins");
    assert_eq!(client.record().await, PING);
    server.probe.release();
    assert_eq!(client.completion("1").await, json!({"result": "one"}));
    // From here on it counts again: one call alone does not keep the server from listening.
    assert_eq!(
        client.next().await,
        json!({"type": 7, "error": "Connection closed with an error.", "allowReconnect": true})
    );
}

#[tokio::test]
async fn pings_of_the_socket_are_answered_between_messages() {
    let server = Server::start(Options::new()).await;
    let mut client = Client::connect(&server).await;
    let text = "x".repeat(20_000);
    for number in 0..50_u8 {
        client.call("1", "Echo", json!([text])).await;
        client.socket.send(Message::Ping(vec![number].into())).await.unwrap();
    }
    let (mut pongs, mut answers) = (Vec::new(), 0);
    while pongs.last() != Some(&49) || answers < 50 {
        match soon(client.socket.next()).await {
            Some(Ok(Message::Pong(number))) => pongs.extend(number),
            Some(Ok(Message::Text(_))) => answers += 1,
            other => panic!("{other:?}"),
        }
    }
    // Only the newest ping has to be answered.
    assert!(pongs.is_sorted());
    client.works().await;
}

/// Sends more than the sockets between server and client hold, without reading any of it.
async fn flood(client: &mut Client) {
    client.send(json!({"type": 1, "target": "Flood", "arguments": []})).await;
}

fn with_flood(hub: backplane_hub::HubBuilder) -> backplane_hub::HubBuilder {
    hub.method("Flood", async |caller: Caller| -> Result<(), HubError> {
        let text = "x".repeat(64 * 1024);
        for _ in 0..1000 {
            caller.clients().caller().send("Flood", (&text,)).await?;
            tokio::task::yield_now().await;
        }
        Ok(())
    })
}

#[tokio::test]
async fn who_takes_nothing_is_cut_off() {
    let options = Options::new().send_timeout(Duration::from_millis(100));
    let mut roomy = HubOptions::default();
    roomy.outbound_bytes = backplane_hub::ByteSize::gib(1);
    let server = Server::with(options, |hub| with_flood(hub).options(roomy)).await;
    let mut client = Client::connect(&server).await;
    let mut other = Client::connect(&server).await;
    flood(&mut client).await;
    assert_eq!(
        server.probe.told().await,
        "disconnected: The client did not take what it was sent in time."
    );
    other.works().await;
}

#[tokio::test]
async fn who_is_too_slow_is_closed_by_the_hub() {
    let options = Options::new().send_timeout(Duration::from_secs(1));
    let server = Server::with(options, with_flood).await;
    let mut client = Client::connect(&server).await;
    let mut other = Client::connect(&server).await;
    flood(&mut client).await;
    assert_eq!(
        soon(server.probe.told()).await,
        "disconnected: The client did not take its messages as fast as they came."
    );
    other.works().await;
    assert_eq!(server.hub.stats().closed_slow, 1);
}
