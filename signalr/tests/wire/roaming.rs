//! Clients whose every request goes to another node.

use std::{
    collections::VecDeque,
    io,
    net::SocketAddr,
    sync::atomic::{AtomicUsize, Ordering},
};

use serde_json::{Value, json};

use crate::{
    http::{Response, attempt, exchange},
    negotiation::negotiated,
    server::Server,
};

/// A client that polls, at the next node each time.
pub(crate) struct Roamer {
    nodes: Vec<SocketAddr>,
    turn: AtomicUsize,
    pub(crate) path: String,
    pub(crate) id: String,
    come: VecDeque<Value>,
}

impl Roamer {
    /// Negotiates on the first node and polls at the second, which has the connection then.
    pub(crate) async fn begin(nodes: &[Server]) -> Self {
        Self::begin_with(nodes, "").await
    }

    /// The same with more in the query, from its `&` on.
    async fn begin_with(nodes: &[Server], query: &str) -> Self {
        let (id, token) = negotiated(&nodes[0], query).await;
        let roamer = Self {
            nodes: nodes.iter().map(SocketAddr::from).collect(),
            turn: AtomicUsize::new(1),
            path: format!("/hub?id={token}{query}"),
            id,
            come: VecDeque::new(),
        };
        let first = roamer.poll().await;
        assert_eq!((&*first.status, &*first.body), ("200 OK", ""));
        roamer
    }

    /// And shakes hands.
    pub(crate) async fn connect(nodes: &[Server]) -> Self {
        Self::connect_with(nodes, "").await
    }

    /// The same with more in the query, from its `&` on.
    pub(crate) async fn connect_with(nodes: &[Server], query: &str) -> Self {
        let roamer = Self::begin_with(nodes, query).await;
        roamer.post("{\"protocol\":\"json\",\"version\":1}\u{1e}").await;
        let granted = roamer.poll().await;
        assert_eq!((&*granted.status, &*granted.body), ("200 OK", "{}\u{1e}"));
        roamer
    }

    /// The node that the next request goes to.
    pub(crate) fn next_node(&self) -> SocketAddr {
        self.nodes[self.turn.fetch_add(1, Ordering::Relaxed) % self.nodes.len()]
    }

    pub(crate) async fn request(&self, method: &str, body: &[u8]) -> Response {
        exchange(self.next_node(), method, &self.path, &[], body).await
    }

    pub(crate) async fn poll(&self) -> Response {
        self.request("GET", b"").await
    }

    pub(crate) async fn post(&self, text: &str) {
        let answer = self.request("POST", text.as_bytes()).await;
        assert_eq!((&*answer.status, &*answer.body), ("200 OK", ""));
        assert_eq!(answer.headers["content-type"], "text/plain");
    }

    /// Calls a method whose result is not wanted.
    pub(crate) async fn tell(&self, target: &str, arguments: Value) {
        let call = json!({"type": 1, "target": target, "arguments": arguments});
        self.post(&format!("{call}\u{1e}")).await;
    }

    pub(crate) async fn call(&self, id: &str, target: &str, arguments: Value) {
        let call = json!({"type": 1, "invocationId": id, "target": target, "arguments": arguments});
        self.post(&format!("{call}\u{1e}")).await;
    }

    /// The next message.
    pub(crate) async fn next(&mut self) -> Value {
        while self.come.is_empty() {
            let answer = self.poll().await;
            self.take(&answer);
        }
        self.come.pop_front().expect("there is one")
    }

    /// The same for a client that asks again where a node is gone or cannot answer.
    pub(crate) async fn insist(&mut self) -> Value {
        while self.come.is_empty() {
            match self.attempt().await {
                Ok(answer) if answer.status == "200 OK" => self.take(&answer),
                Ok(answer) if answer.status == "503 Service Unavailable" => {}
                Ok(answer) => panic!("{answer:?}"),
                Err(_) => {}
            }
        }
        self.come.pop_front().expect("there is one")
    }

    async fn attempt(&self) -> io::Result<Response> {
        attempt(self.next_node(), "GET", &self.path, &[], b"").await
    }

    pub(crate) fn take(&mut self, answer: &Response) {
        assert_eq!(answer.status, "200 OK", "{answer:?}");
        assert_eq!(answer.headers["cache-control"], "no-cache, no-store");
        assert_eq!(answer.headers["content-length"], answer.bytes.len().to_string());
        if answer.body.is_empty() {
            return;
        }
        assert_eq!(answer.headers["content-type"], "application/octet-stream");
        let records = answer.body.strip_suffix('\u{1e}').expect("whole records");
        let records = records.split('\u{1e}').map(serde_json::from_str);
        self.come.extend(records.map(|record| record.expect("JSON")));
    }

    pub(crate) async fn works(&mut self) {
        self.call("w", "Add", json!([1, 2])).await;
        assert_eq!(self.next().await, json!({"type": 3, "invocationId": "w", "result": 3}));
    }
}
