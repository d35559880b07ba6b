//! Server-sent events.

use backplane_signalr::Options;
use serde_json::{Value, json};

use crate::{
    http::{Chunked, exchange, request},
    negotiation::negotiated,
    server::Server,
};

pub(crate) const ACCEPT: (&str, &str) = ("Accept", "text/event-stream");

/// A client that listens to events.
pub(crate) struct Listener<'a> {
    server: &'a Server,
    pub(crate) path: String,
    response: Chunked,
}

impl<'a> Listener<'a> {
    pub(crate) async fn begin(server: &'a Server) -> Self {
        Self::begin_with(server, "").await
    }

    /// The same, with more in all queries.
    pub(crate) async fn begin_with(server: &'a Server, query: &str) -> Self {
        let (_, token) = negotiated(server, query).await;
        let path = format!("/hub?id={token}{query}");
        let mut response = Chunked::get(server, &path, &[ACCEPT]).await;
        assert_eq!(response.status, "200 OK");
        for (name, value) in [
            ("content-type", "text/event-stream"),
            ("cache-control", "no-cache,no-store"),
            ("pragma", "no-cache"),
            ("content-encoding", "identity"),
        ] {
            assert_eq!(response.headers[name], value);
        }
        assert_eq!(response.next().await, ":\r\n");
        Self { server, path, response }
    }

    pub(crate) async fn connect(server: &'a Server) -> Self {
        Self::connect_with(server, "").await
    }

    pub(crate) async fn connect_with(server: &'a Server, query: &str) -> Self {
        let mut listener = Self::begin_with(server, query).await;
        listener.post("{\"protocol\":\"json\",\"version\":1}\u{1e}").await;
        assert_eq!(listener.response.next().await, "data: {}\u{1e}\r\n\r\n");
        listener
    }

    pub(crate) async fn post(&self, text: &str) {
        let answer = exchange(self.server, "POST", &self.path, &[], text.as_bytes()).await;
        assert_eq!((&*answer.status, &*answer.body), ("200 OK", ""));
    }

    pub(crate) async fn call(&self, target: &str, arguments: Value) {
        let call =
            json!({"type": 1, "invocationId": "1", "target": target, "arguments": arguments});
        self.post(&format!("{call}\u{1e}")).await;
    }

    /// The message of the next event that has one of its own.
    pub(crate) async fn next(&mut self) -> Value {
        let event = self.response.next().await;
        let message = event.strip_prefix("data: ").and_then(|it| it.strip_suffix("\u{1e}\r\n\r\n"));
        serde_json::from_str(message.expect("an event")).expect("JSON")
    }

    pub(crate) async fn works(&mut self) {
        self.call("Add", json!([1, 2])).await;
        assert_eq!(self.next().await["result"], 3);
    }
}

#[tokio::test]
async fn a_client_that_listens_is_served() {
    let server = Server::start(Options::new()).await;
    let mut client = Listener::connect(&server).await;
    client.works().await;
    server.hub.clients().all().send("Told", ("a\nb",)).await.unwrap();
    assert_eq!(client.next().await, json!({"type": 1, "target": "Told", "arguments": ["a\nb"]}));
    let large = "x".repeat(500_000);
    server.hub.clients().all().send("Told", (&large,)).await.unwrap();
    // Larger than a chunk may be, perhaps.
    let mut event = String::new();
    while !event.ends_with("\r\n\r\n") {
        event.push_str(&client.response.next().await);
    }
    assert!(event.contains(&large));
    client.works().await;
}

#[tokio::test]
async fn who_stops_listening_has_left() {
    let server = Server::start(Options::new()).await;
    let client = Listener::connect(&server).await;
    let path = client.path.clone();
    drop(client);
    assert_eq!(server.probe.told().await, "disconnected: well");
    let answer = exchange(&server, "POST", &path, &[], b"{\"type\":6}\x1e").await;
    assert_eq!((&*answer.status, &*answer.body), ("404 Not Found", "No Connection with that ID"));
}

#[tokio::test]
async fn the_server_ends_the_response() {
    let server = Server::start(Options::new()).await;
    let mut client = Listener::connect(&server).await;
    client.post("{\"type\":1,\"target\":\"Abort\",\"arguments\":[]}\u{1e}").await;
    assert_eq!(client.next().await, json!({"type": 7}));
    assert_eq!(client.response.next().await, "");
    assert_eq!(server.probe.told().await, "disconnected: well");
}

#[tokio::test]
async fn binary_protocols_are_refused() {
    let server = Server::start(Options::new()).await;
    let mut client = Listener::begin(&server).await;
    client.post("{\"protocol\":\"messagepack\",\"version\":1}\u{1e}").await;
    assert_eq!(
        client.next().await["error"],
        "Cannot use the 'messagepack' protocol on the current transport. The transport does not support 'Binary' transfer format."
    );
    assert_eq!(client.response.next().await, "");
}

#[tokio::test]
async fn a_second_response_is_refused() {
    let server = Server::start(Options::new()).await;
    let mut client = Listener::connect(&server).await;
    let answer = request(&server, "GET", &client.path, &[ACCEPT]).await;
    assert_eq!(answer.status, "409 Conflict");
    assert_eq!(answer.headers["content-type"], "text/plain");
    client.works().await;
}
