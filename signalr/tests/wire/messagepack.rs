//! The MessagePack protocol, on the transports that carry it.

use backplane_hub::{ByteSize, HubError};
use backplane_signalr::{Binary, Options, Timestamp};
use futures_util::{SinkExt, StreamExt};
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio_tungstenite::tungstenite::Message;

use crate::{
    client::{Client, soon},
    http::exchange,
    polling::Poller,
    server::Server,
};

const HANDSHAKE: &[u8] = b"{\"protocol\":\"messagepack\",\"version\":1}\x1e";

async fn send(client: &mut Client, bytes: &[u8]) {
    soon(client.socket.send(Message::binary(bytes.to_vec()))).await.expect("sent");
}

/// The next message, which is binary.
async fn next(client: &mut Client) -> Vec<u8> {
    match soon(client.socket.next()).await {
        Some(Ok(Message::Binary(bytes))) => bytes.to_vec(),
        other => panic!("expected bytes, got {other:?}"),
    }
}

async fn connect(server: &Server) -> Client {
    let mut client = Client::open(server).await;
    send(&mut client, HANDSHAKE).await;
    assert_eq!(next(&mut client).await, b"{}\x1e");
    client
}

/// Puts a length before a message.
pub(crate) fn framed(message: &[u8]) -> Vec<u8> {
    let mut framed = Vec::new();
    let mut length = message.len();
    while length > 0x7f {
        framed.push(length as u8 & 0x7f | 0x80);
        length >>= 7;
    }
    framed.push(length as u8);
    framed.extend_from_slice(message);
    framed
}

#[tokio::test]
async fn a_client_is_served() {
    let server = Server::start(Options::new()).await;
    let mut client = connect(&server).await;
    // As the original's documentation has it, but for the method.
    send(&mut client, &framed(b"\x96\x01\x80\xa3xyz\xa4Echo\x91\x2a\x90")).await;
    assert_eq!(next(&mut client).await, framed(b"\x95\x03\x80\xa3xyz\x03\x2a"));
    send(&mut client, &framed(b"\x95\x01\x80\xa1a\xa3add\x92\x01\xcd\x01\x00")).await;
    assert_eq!(next(&mut client).await, framed(b"\x95\x03\x80\xa1a\x03\xcd\x01\x01"));
    send(&mut client, &framed(b"\x96\x01\x80\xa1b\xa7Nothing\x90\x90")).await;
    assert_eq!(next(&mut client).await, framed(b"\x95\x03\x80\xa1b\x03\xc0"));
    let unknown = [&b"\x95\x03\x80\xa1c\x01"[..], b"\xb7Unknown hub method 'No'"].concat();
    send(&mut client, &framed(b"\x96\x01\x80\xa1c\xa2No\x90\x90")).await;
    assert_eq!(next(&mut client).await, framed(&unknown));

    // Pieces of messages, and several at once.
    let call = framed(b"\x96\x01\x80\xa1d\xa4Echo\x91\xc3\x90");
    let twice = [&b"\x02\x91\x06"[..], &call, &call].concat();
    send(&mut client, &twice[..8]).await;
    send(&mut client, &twice[8..]).await;
    for _ in 0..2 {
        assert_eq!(next(&mut client).await, framed(b"\x95\x03\x80\xa1d\x03\xc3"));
    }
}

#[tokio::test]
async fn one_broadcast_reaches_clients_of_both_protocols() {
    let server = Server::start(Options::new()).await;
    let mut binary = connect(&server).await;
    let mut text = Client::connect(&server).await;
    server.hub.clients().all().send("Told", ("a", 300)).await.unwrap();
    assert_eq!(
        next(&mut binary).await,
        framed(b"\x96\x01\x80\xc0\xa4Told\x92\xa1a\xcd\x01\x2c\x90")
    );
    assert_eq!(text.next().await, json!({"type": 1, "target": "Told", "arguments": ["a", 300]}));
}

#[tokio::test]
async fn what_is_no_message_ends_its_connection_only() {
    let server = Server::start(Options::new().largest_message(ByteSize::b(1000))).await;
    let mut other = connect(&server).await;
    for fault in [
        framed(b"\xc0"),
        framed(b"\x91\x01"),
        // Far more than a message may have, of which nothing has come.
        vec![0xff, 0xff, 0x03],
        vec![0xff; 5],
    ] {
        let mut client = connect(&server).await;
        send(&mut client, &fault).await;
        let closed =
            [&b"\x93\x07"[..], b"\xd9\x20Connection closed with an error.", b"\xc3"].concat();
        assert_eq!(next(&mut client).await, framed(&closed), "{fault:x?}");
        assert_eq!(client.closed().await, 1000);
    }
    send(&mut other, &framed(b"\x96\x01\x80\xa1a\xa4Echo\x91\x01\x90")).await;
    assert_eq!(next(&mut other).await, framed(b"\x95\x03\x80\xa1a\x03\x01"));
}

#[tokio::test]
async fn polls_carry_it_too() {
    let server = Server::start(Options::new()).await;
    let client = Poller::begin(&server).await;
    let call = framed(b"\x96\x01\x80\xa1a\xa4Echo\x91\xc4\x02\xff\x1e\x90");
    // Bytes are no JSON value, so the method cannot take these.
    let body = [HANDSHAKE, &call].concat();
    assert_eq!(exchange(&server, "POST", &client.path, &[], &body).await.status, "200 OK");
    let mut come = Vec::new();
    while come.len() < 10 {
        come.extend(client.poll().await.bytes);
    }
    let rest = come.strip_prefix(b"{}\x1e").expect("the handshake");
    assert!(rest[1..].starts_with(b"\x95\x03\x80\xa1a\x01"), "{rest:x?}");
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Complex {
    byte_array: Binary,
    date_time: Timestamp,
}

async fn echo_complex(complex: Complex) -> Result<Complex, HubError> {
    Ok(complex)
}

#[tokio::test]
async fn times_and_bytes_round_trip_in_both() {
    let server = Server::with(Options::new(), |hub| hub.method("EchoComplex", echo_complex)).await;
    let mut text = Client::connect(&server).await;
    let complex = json!({"ByteArray": "AQID", "DateTime": "2002-04-01T10:20:15Z"});
    assert_eq!(text.invoke("EchoComplex", json!([complex])).await, json!({"result": complex}));
    let mut binary = connect(&server).await;
    let complex = b"\x82\xa9ByteArray\xc4\x03\x01\x02\x03\xa8DateTime\xd6\xff\x3c\xa8\x34\x5f";
    let call = [&b"\x96\x01\x80\xa1a\xabEchoComplex\x91"[..], complex, b"\x90"].concat();
    send(&mut binary, &framed(&call)).await;
    let completion = [&b"\x95\x03\x80\xa1a\x03"[..], complex].concat();
    assert_eq!(next(&mut binary).await, framed(&completion));
}
