use backplane_hub::ByteSize;
use backplane_signalr::Options;
use futures_util::SinkExt;
use serde_json::json;
use tokio::io::AsyncWriteExt;
use tokio_tungstenite::{MaybeTlsStream, tungstenite::Message};

use crate::{
    client::{Client, soon},
    server::Server,
};

/// Sends records that end a connection, and sees that nobody else is disturbed.
async fn ends(server: &Server, sent: impl Into<Message>, text: &str) {
    let mut other = Client::connect(server).await;
    let mut client = Client::connect(server).await;
    // What came before is served.
    client.call("1", "Nothing", json!([])).await;
    client.socket.send(sent.into()).await.unwrap();
    assert_eq!(client.completion("1").await, json!({"result": null}));
    let error = format!("Connection closed with an error. InvalidDataException: {text}");
    assert_eq!(client.next().await, json!({"type": 7, "error": error, "allowReconnect": true}));
    assert_eq!(client.closed().await, 1000);
    assert_eq!(server.probe.told().await, format!("disconnected: {text}"));
    other.works().await;
    other.hang_up().await;
    assert_eq!(server.probe.told().await, "disconnected: well");
}

#[tokio::test]
async fn what_is_no_message_ends_the_connection() {
    let server = Server::start(Options::new().detailed_errors(true)).await;
    let deep = format!("{{\"type\":6,\"a\":{}", "[".repeat(10_000));
    for (record, text) in [
        ("", "Error reading JSON."),
        ("no json", "Error reading JSON."),
        ("{\"type\":6", "Error reading JSON."),
        ("[6]", "Expected a JSON Object."),
        ("{\"target\":\"Echo\"}", "Missing required property 'type'."),
        (
            "{\"type\":1,\"target\":\"Echo\",\"arguments\":1}",
            "Expected 'arguments' to be of type Array.",
        ),
        (&deep, "The message is nested too deep."),
    ] {
        ends(&server, format!("{record}\u{1e}"), text).await;
    }
    ends(&server, Message::binary(&b"{\"type\":6,\"a\":\"\xff\"}\x1e"[..]), "Error reading JSON.")
        .await;
}

#[tokio::test]
async fn details_stay_private() {
    let server = Server::start(Options::new()).await;
    let mut client = Client::connect(&server).await;
    client.text("{\u{1e}").await;
    assert_eq!(
        client.next().await,
        json!({"type": 7, "error": "Connection closed with an error.", "allowReconnect": true})
    );
}

#[tokio::test]
async fn messages_are_bounded_each_by_itself() {
    let options = Options::new().detailed_errors(true).largest_message(ByteSize::b(256));
    let server = Server::start(options).await;
    let text = "The maximum message size of 256B was exceeded. The message size can be configured in AddHubOptions.";
    let echo = |length: usize| {
        let empty = json!({"type": 1, "invocationId": "1", "target": "Echo", "arguments": [""]})
            .to_string();
        let message = json!({"type": 1, "invocationId": "1", "target": "Echo", "arguments": ["x".repeat(length - empty.len() - 1)]});
        format!("{message}\u{1e}")
    };
    // In one piece, without an end, and in one that is too large for anything.
    ends(&server, echo(257), text).await;
    ends(&server, "x".repeat(257), text).await;
    ends(&server, "x".repeat(1024 * 1024), text).await;

    // Among others.
    let mut client = Client::connect(&server).await;
    client.text(&(echo(256).repeat(3) + &echo(257))).await;
    for _ in 0..3 {
        client.completion("1").await;
    }
    assert_eq!(client.next().await["type"], 7);
    assert_eq!(server.probe.told().await, format!("disconnected: {text}"));

    // In many pieces.
    let mut client = Client::connect(&server).await;
    for piece in echo(257).as_bytes().chunks(100) {
        client.socket.send(Message::binary(piece.to_vec())).await.unwrap();
    }
    assert_eq!(client.next().await["type"], 7);
}

#[tokio::test]
async fn many_messages_may_be_large_together() {
    let server = Server::start(Options::new()).await;
    let mut client = Client::connect(&server).await;
    let text = "x".repeat(30_000);
    let call = json!({"type": 1, "invocationId": "1", "target": "Echo", "arguments": [text]});
    // As the JavaScript client does it when it is called many times at once.
    client.text(&format!("{call}\u{1e}").repeat(30)).await;
    for _ in 0..30 {
        assert_eq!(client.completion("1").await, json!({"result": text}));
    }
}

#[tokio::test]
async fn a_huge_list_is_one_message_like_any_other() {
    let server = Server::start(Options::new().largest_message(ByteSize::mib(4))).await;
    let mut client = Client::connect(&server).await;
    let list = vec![1; 1_000_000];
    assert_eq!(client.invoke("Echo", json!([list])).await, json!({"result": list}));
    // As many arguments don't fit any method.
    assert_eq!(
        client.invoke("Echo", json!(list)).await,
        json!({"error": "Failed to invoke 'Echo' due to an error on the server."})
    );
    client.works().await;
}

#[tokio::test]
async fn pings_and_cancels_in_masses_are_read() {
    let server = Server::start(Options::new()).await;
    let mut client = Client::connect(&server).await;
    let cancel = "{\"type\":5,\"invocationId\":\"1\"}\u{1e}{\"type\":6}\u{1e}".repeat(2000);
    for _ in 0..20 {
        client.text(&cancel).await;
    }
    client.works().await;
}

#[tokio::test]
async fn what_is_no_web_socket_ends_the_connection() {
    let server = Server::start(Options::new()).await;
    let mut other = Client::connect(&server).await;
    let frames: [&[u8]; 6] = [
        // Not masked, as a client's must be.
        b"\x81\x02hi",
        // An opcode that does not exist.
        b"\x83\x80\0\0\0\0",
        // Reserved bits.
        b"\xf1\x80\0\0\0\0",
        // A text that is none.
        b"\x81\x82\0\0\0\0\xff\x1e",
        // A length that is none.
        b"\x81\xff\xff\xff\xff\xff\xff\xff\xff\xff\0\0\0\0",
        // A control frame in two parts.
        b"\x09\x80\0\0\0\0",
    ];
    for frame in frames {
        let mut client = Client::connect(&server).await;
        let MaybeTlsStream::Plain(stream) = client.socket.get_mut() else { panic!("no TLS here") };
        stream.write_all(frame).await.unwrap();
        assert_eq!(
            client.next().await,
            json!({"type": 7, "error": "Connection closed with an error.", "allowReconnect": true})
        );
        assert_ne!(server.probe.told().await, "disconnected: well");
    }
    soon(other.works()).await;
}
