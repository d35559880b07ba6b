//! A client that numbers, keeps and repeats as those of the original do.

use std::collections::VecDeque;

use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, frame::coding::CloseCode};

use crate::{
    client::{Client, Refusal, soon},
    negotiation::negotiated,
    server::Server,
};

const ASKED: &str = "&useStatefulReconnect=true";

pub(crate) struct Stateful {
    pub(crate) id: String,
    token: String,
    /// What else its requests say.
    query: String,
    /// `None` while its socket is lost.
    client: Option<Client>,
    /// Numbered messages that the server has not acknowledged.
    kept: VecDeque<(u64, Value)>,
    sent: u64,
    /// The latest that has come.
    latest: u64,
    next: u64,
}

fn is_numbered(message: &Value) -> bool {
    message["type"].as_u64().is_some_and(|kind| (1..=5).contains(&kind))
}

impl Stateful {
    pub(crate) async fn begin(server: &Server) -> Self {
        Self::begin_on(server, server, 2).await
    }

    /// Negotiates with one node, connects to another, and shakes hands in this version.
    pub(crate) async fn begin_on(negotiate: &Server, connect: &Server, version: u8) -> Self {
        Self::begin_with(negotiate, connect, version, "").await
    }

    /// The same with more in the queries.
    pub(crate) async fn begin_with(
        negotiate: &Server,
        connect: &Server,
        version: u8,
        query: &str,
    ) -> Self {
        let (id, token) = negotiated(negotiate, &format!("{ASKED}{query}")).await;
        let whole = format!("?id={token}{query}");
        let mut client = Client::request(connect, &whole, &[]).await.unwrap();
        client.text(&format!("{{\"protocol\":\"json\",\"version\":{version}}}\u{1e}")).await;
        assert_eq!(client.record().await, "{}");
        let client = Some(client);
        let query = query.to_owned();
        Self { id, token, query, client, kept: VecDeque::new(), sent: 0, latest: 0, next: 1 }
    }

    pub(crate) fn client(&mut self) -> &mut Client {
        self.client.as_mut().expect("it has a socket")
    }

    /// Sends a message, or keeps it for when there is a socket.
    pub(crate) async fn send(&mut self, message: Value) {
        if is_numbered(&message) {
            self.sent += 1;
            self.kept.push_back((self.sent, message.clone()));
        }
        if let Some(client) = &mut self.client {
            client.send_if_open(&message).await;
        }
    }

    pub(crate) async fn call(&mut self, id: &str, target: &str, arguments: Value) {
        self.send(json!({"type": 1, "invocationId": id, "target": target, "arguments": arguments}))
            .await;
    }

    pub(crate) async fn invoke(&mut self, target: &str, arguments: Value) -> Value {
        self.call("x", target, arguments).await;
        let mut message = self.next().await;
        let fields = message.as_object_mut().expect("an object");
        assert_eq!(fields.remove("type"), Some(json!(3)), "{fields:?}");
        assert_eq!(fields.remove("invocationId"), Some(json!("x")), "{fields:?}");
        message
    }

    /// The next numbered message that has not come before, or the last of all.
    pub(crate) async fn next(&mut self) -> Value {
        loop {
            let message = self.any().await;
            if is_numbered(&message) || message["type"] == 7 {
                return message;
            }
        }
    }

    /// The next message of any kind but pings, and those that have come before.
    pub(crate) async fn any(&mut self) -> Value {
        loop {
            let message = self.client().next().await;
            if self.takes(&message) {
                return message;
            }
        }
    }

    /// The next numbered message that has not come before; `None` where the socket ends before it.
    pub(crate) async fn next_or_end(&mut self) -> Option<Value> {
        loop {
            let record = self.client().record_or_end().await.ok()?;
            let message: Value = serde_json::from_str(&record).expect("JSON");
            assert_ne!(message["type"], 7, "nobody ends the connection");
            if self.takes(&message) && is_numbered(&message) {
                return Some(message);
            }
        }
    }

    /// Takes note of a message; `false` if it has come before.
    fn takes(&mut self, message: &Value) -> bool {
        let sequence = message["sequenceId"].as_u64();
        match message["type"].as_u64() {
            Some(8) => {
                let acknowledged = sequence.expect("a number");
                self.kept.retain(|(number, _)| *number > acknowledged);
            }
            Some(9) => {
                let number = sequence.expect("a number");
                assert!(number <= self.latest + 1, "messages are missing before {number}");
                self.next = number;
            }
            _ if is_numbered(message) => {
                let number = self.next;
                self.next += 1;
                if number <= self.latest {
                    return false;
                }
                self.latest = number;
            }
            _ => {}
        }
        true
    }

    /// Tells the server that all has come up to this number.
    pub(crate) async fn acknowledge(&mut self, sequence: u64) {
        let acknowledgement = json!({"type": 8, "sequenceId": sequence});
        self.client().send_if_open(&acknowledgement).await;
    }

    /// Tells the server all that has come.
    pub(crate) async fn acknowledge_all(&mut self) {
        self.acknowledge(self.latest).await;
    }

    /// A numbered message has come otherwise.
    pub(crate) fn came(&mut self) {
        self.latest = self.latest.max(self.next);
        self.next += 1;
    }

    /// Waits until the server has acknowledged all.
    pub(crate) async fn acknowledged(&mut self) {
        while !self.kept.is_empty() {
            self.any().await;
        }
    }

    /// Loses its socket, of which nobody is told.
    pub(crate) fn lose(&mut self) {
        drop(self.client.take());
    }

    /// Closes its socket with this code, or with none.
    pub(crate) async fn close(&mut self, code: Option<CloseCode>) {
        let mut client = self.client.take().expect("it has a socket");
        let frame = code.map(|code| CloseFrame { code, reason: "".into() });
        soon(client.socket.close(frame)).await.expect("closed");
    }

    /// A new socket, of which nothing is known yet.
    pub(crate) async fn socket(&self, server: &Server) -> Result<Client, Refusal> {
        Client::request(server, &format!("?id={}{}", self.token, self.query), &[]).await
    }

    /// Comes back by a new socket, sends again what may be missing, and returns the socket before.
    pub(crate) async fn come_back(&mut self, server: &Server) -> Option<Client> {
        let socket = self.socket(server).await.expect("the server lets it come back");
        self.go_on(socket).await
    }

    /// The same with a socket that is there.
    pub(crate) async fn go_on(&mut self, socket: Client) -> Option<Client> {
        let before = self.client.replace(socket);
        let first = self.kept.front().map_or(self.sent + 1, |(number, _)| *number);
        let kept: Vec<Value> = self.kept.iter().map(|(_, message)| message.clone()).collect();
        self.client().send_if_open(&json!({"type": 9, "sequenceId": first})).await;
        for message in kept {
            self.client().send_if_open(&message).await;
        }
        before
    }

    /// That this client is served.
    pub(crate) async fn works(&mut self) {
        assert_eq!(self.invoke("Add", json!([1, 2])).await, json!({"result": 3}));
    }

    /// That the server does not know it any more.
    pub(crate) async fn is_unknown(&self, server: &Server) {
        let refused = self.socket(server).await.err();
        assert_eq!(refused, Some((404, "No Connection with that ID".to_owned())));
    }
}
