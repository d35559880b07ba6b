use std::time::Duration;

use backplane_hub::{ByteSize, HubError, Policy};
use backplane_signalr::Options;
use futures_util::SinkExt;
use serde_json::json;
use tokio_tungstenite::tungstenite::Message;

use crate::{client::Client, server::Server};

const REQUEST: &str = "{\"protocol\":\"json\",\"version\":1}\u{1e}";

async fn refused(server: &Server, request: &str) -> String {
    let mut client = Client::open(server).await;
    client.text(request).await;
    let answer = client.record().await;
    assert_eq!(client.closed().await, 1000);
    answer
}

#[tokio::test]
async fn refusals_are_told_and_the_connection_ends() {
    let server = Server::start(Options::new()).await;
    let mut other = Client::connect(&server).await;
    assert_eq!(
        refused(&server, "{\"protocol\":\"blazorpack\",\"version\":1}\u{1e}").await,
        r#"{"error":"The protocol 'blazorpack' is not supported."}"#
    );
    assert_eq!(
        refused(&server, "{\"protocol\":\"json\",\"version\":3}\u{1e}").await,
        r#"{"error":"The server does not support version 3 of the 'json' protocol."}"#
    );
    assert_eq!(
        refused(&server, "{\"type\":6}\u{1e}").await,
        r#"{"error":"An unexpected error occurred during connection handshake."}"#
    );
    assert_eq!(
        refused(&server, "\u{1e}").await,
        r#"{"error":"An unexpected error occurred during connection handshake."}"#
    );
    other.works().await;
}

#[tokio::test]
async fn details_are_told_when_allowed() {
    let server = Server::start(Options::new().detailed_errors(true)).await;
    let told = refused(&server, "{\"version\":1}\u{1e}").await;
    assert!(
        told.starts_with(r#"{"error":"An unexpected error occurred during connection handshake. InvalidDataException: "#)
            && told.contains("protocol"),
        "{told}"
    );
}

#[tokio::test]
async fn it_must_come_in_time() {
    let server = Server::start(Options::new().handshake_timeout(Duration::from_millis(50))).await;
    let mut client = Client::open(&server).await;
    client.text("{\"protocol\":").await;
    assert_eq!(client.record().await, r#"{"error":"Handshake was canceled."}"#);
    assert_eq!(client.closed().await, 1000);
}

#[tokio::test]
async fn it_must_not_be_large() {
    let server = Server::start(Options::new().largest_message(ByteSize::b(64))).await;
    let padded = |length: usize| {
        let request = r#"{"protocol":"json","version":1}"#;
        format!("{request}{}\u{1e}", " ".repeat(length - request.len() - 1))
    };
    let canceled = r#"{"error":"Handshake was canceled."}"#;
    assert_eq!(refused(&server, &padded(65)).await, canceled);
    // Also without an end in sight, and in one piece that is too large for anything.
    assert_eq!(refused(&server, &"x".repeat(64 + 1)).await, canceled);
    assert_eq!(refused(&server, &"x".repeat(1024 * 1024)).await, canceled);

    let mut client = Client::open(&server).await;
    client.text(&padded(64)).await;
    assert_eq!(client.record().await, "{}");
    client.works().await;
}

#[tokio::test]
async fn it_may_come_in_pieces_or_with_the_first_calls() {
    let server = Server::start(Options::new()).await;
    let mut client = Client::open(&server).await;
    for byte in REQUEST.chars() {
        client.text(&byte.to_string()).await;
    }
    assert_eq!(client.record().await, "{}");
    client.works().await;

    let call = json!({"type": 1, "invocationId": "1", "target": "Add", "arguments": [1, 2]});
    let all = format!("{REQUEST}{call}\u{1e}{call}\u{1e}");
    let (start, end) = all.split_at(all.len() - 5);
    let mut client = Client::open(&server).await;
    client.text(start).await;
    assert_eq!(client.record().await, "{}");
    assert_eq!(client.completion("1").await, json!({"result": 3}));
    client.text(end).await;
    assert_eq!(client.completion("1").await, json!({"result": 3}));

    // Bytes are bytes, whatever the frame calls them.
    let mut client = Client::open(&server).await;
    client.socket.send(Message::binary(all.clone().into_bytes())).await.unwrap();
    assert_eq!(client.record().await, "{}");
    assert_eq!(client.completion("1").await, json!({"result": 3}));
}

#[tokio::test]
async fn who_hangs_up_before_leaves_nothing_behind() {
    let server = Server::start(Options::new()).await;
    Client::open(&server).await.hang_up().await;
    let mut client = Client::open(&server).await;
    client.text("{\"protocol\"").await;
    client.hang_up().await;
    drop(Client::open(&server).await);
    let mut client = Client::connect(&server).await;
    client.works().await;
    assert_eq!(server.hub.stats().connections, 1);
}

#[tokio::test]
async fn the_answer_comes_before_on_connected_has_run() {
    let server = Server::with(Options::new(), |hub| {
        hub.on_connected(async |caller: backplane_hub::Caller| -> Result<(), HubError> {
            caller.clients().caller().send("Welcome", (1,)).await?;
            Ok(())
        })
    })
    .await;
    let mut client = Client::open(&server).await;
    let call = json!({"type": 1, "invocationId": "1", "target": "Nothing", "arguments": []});
    client.text(&format!("{REQUEST}{call}\u{1e}")).await;
    assert_eq!(client.record().await, "{}");
    assert_eq!(client.next().await, json!({"type": 1, "target": "Welcome", "arguments": [1]}));
    assert_eq!(client.completion("1").await, json!({"result": null}));
}

#[tokio::test]
async fn a_hub_that_is_closed_takes_nobody() {
    let server = Server::with(Options::new(), |hub| hub.authorize(Policy::anonymous())).await;
    let mut client = Client::open(&server).await;
    server.hub.close(Duration::ZERO).await.unwrap();
    client.text(REQUEST).await;
    assert_eq!(
        client.record().await,
        r#"{"error":"An unexpected error occurred during connection handshake."}"#
    );
    assert_eq!(client.closed().await, 1011);
}
