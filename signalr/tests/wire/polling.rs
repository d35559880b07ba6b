//! Long polling.

use std::{collections::VecDeque, time::Duration};

use backplane_hub::{Aborted, ByteSize, State};
use backplane_signalr::{Options, Transport};
use futures_util::future::{Either, select};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::{
    client::soon,
    events::ACCEPT,
    http::{Chunked, Response, exchange, request},
    negotiation::negotiated,
    server::{Probe, Server},
};

const HANDSHAKE: &str = "{\"protocol\":\"json\",\"version\":1}\u{1e}";

/// A client that polls.
pub(crate) struct Poller<'a> {
    server: &'a Server,
    pub(crate) path: String,
    come: VecDeque<String>,
}

impl<'a> Poller<'a> {
    /// Negotiates and polls once.
    pub(crate) async fn begin(server: &'a Server) -> Self {
        Self::begin_with(server, "").await
    }

    /// The same, with more in all queries.
    pub(crate) async fn begin_with(server: &'a Server, query: &str) -> Self {
        let (_, token) = negotiated(server, query).await;
        let path = format!("/hub?id={token}{query}");
        let poller = Self { server, path, come: VecDeque::new() };
        let first = poller.poll().await;
        assert_eq!((&*first.status, &*first.body), ("200 OK", ""));
        assert_eq!(first.headers["content-type"], "application/octet-stream");
        assert_eq!(first.headers["content-length"], "0");
        uncached(&first);
        poller
    }

    /// And shakes hands.
    pub(crate) async fn connect(server: &'a Server) -> Self {
        Self::connect_with(server, "").await
    }

    pub(crate) async fn connect_with(server: &'a Server, query: &str) -> Self {
        let mut poller = Self::begin_with(server, query).await;
        poller.post(HANDSHAKE).await;
        assert_eq!(poller.record().await, "{}");
        poller
    }

    pub(crate) async fn poll(&self) -> Response {
        request(self.server, "GET", &self.path, &[]).await
    }

    pub(crate) async fn post(&self, text: &str) {
        let answer = exchange(self.server, "POST", &self.path, &[], text.as_bytes()).await;
        assert_eq!((&*answer.status, &*answer.body), ("200 OK", ""));
        assert_eq!(answer.headers["content-type"], "text/plain");
    }

    pub(crate) async fn call(&self, id: &str, target: &str, arguments: Value) {
        let call = json!({"type": 1, "invocationId": id, "target": target, "arguments": arguments});
        self.post(&format!("{call}\u{1e}")).await;
    }

    /// The next record.
    pub(crate) async fn record(&mut self) -> String {
        while self.come.is_empty() {
            let answer = self.poll().await;
            assert_eq!(answer.status, "200 OK");
            self.take(&answer);
        }
        self.come.pop_front().expect("there is one")
    }

    fn take(&mut self, answer: &Response) {
        assert_eq!(answer.headers["content-type"], "application/octet-stream");
        uncached(answer);
        let records = answer.body.strip_suffix('\u{1e}').expect("whole records");
        self.come.extend(records.split('\u{1e}').map(str::to_owned));
    }

    pub(crate) async fn next(&mut self) -> Value {
        serde_json::from_str(&self.record().await).expect("JSON")
    }

    pub(crate) async fn works(&mut self) {
        self.call("w", "Add", json!([1, 2])).await;
        assert_eq!(self.next().await, json!({"type": 3, "invocationId": "w", "result": 3}));
    }
}

fn uncached(answer: &Response) {
    assert_eq!(answer.headers["cache-control"], "no-cache, no-store");
    assert_eq!(answer.headers["pragma"], "no-cache");
    assert_eq!(answer.headers["expires"], "Thu, 01 Jan 1970 00:00:00 GMT");
}

#[tokio::test]
async fn a_client_may_post_before_it_polls() {
    let server = Server::start(Options::new()).await;
    let (_, token) = negotiated(&server, "").await;
    let mut client =
        Poller { server: &server, path: format!("/hub?id={token}"), come: VecDeque::new() };
    client.post(HANDSHAKE).await;
    assert_eq!(client.record().await, "{}");
    client.call("1", "Add", json!([1, 2])).await;
    assert_eq!(client.next().await, json!({"type": 3, "invocationId": "1", "result": 3}));
}

#[tokio::test]
async fn a_post_begins_nothing_where_polls_are_not_served() {
    let server = Server::start(Options::new().transports([Transport::ServerSentEvents])).await;
    let (_, token) = negotiated(&server, "").await;
    let path = format!("/hub?id={token}");
    let answer = exchange(&server, "POST", &path, &[], HANDSHAKE.as_bytes()).await;
    assert_eq!(answer.status, "404 Not Found");
    let response = Chunked::get(&server, &path, &[ACCEPT]).await;
    assert_eq!(response.status, "200 OK");
}

#[tokio::test]
async fn a_client_that_polls_is_served() {
    let server = Server::start(Options::new()).await;
    let (id, token) = negotiated(&server, "").await;
    let mut client =
        Poller { server: &server, path: format!("/hub?id={token}"), come: VecDeque::new() };
    assert_eq!(client.poll().await.body, "");
    // A handshake in two pieces, and a call behind it.
    client.post(&HANDSHAKE[..9]).await;
    client
        .post(&format!(
            "{}{{\"type\":1,\"invocationId\":\"0\",\"target\":\"WhoAmI\",\"arguments\":[]}}\u{1e}",
            &HANDSHAKE[9..]
        ))
        .await;
    assert_eq!(client.record().await, "{}");
    assert_eq!(client.next().await, json!({"type": 3, "invocationId": "0", "result": id}));
    client.post("{\"type\":6}\u{1e}").await;
    client.works().await;

    // What comes from elsewhere comes to the poll that waits, and all that has come comes at once.
    for number in 0..3 {
        server.hub.clients().connection(&id).send("Told", (number,)).await.unwrap();
    }
    for number in 0..3 {
        let told = json!({"type": 1, "target": "Told", "arguments": [number]});
        assert_eq!(client.next().await, told);
    }
    server.hub.clients().all().send("Told", ("x".repeat(100_000),)).await.unwrap();
    assert_eq!(client.next().await["arguments"][0].as_str().map(str::len), Some(100_000));
}

#[tokio::test]
async fn a_newer_poll_cancels_an_older() {
    let server = Server::start(Options::new()).await;
    let mut client = Poller::connect(&server).await;
    // Whichever comes first.
    let (canceled, waiting) =
        match soon(select(Box::pin(client.poll()), Box::pin(client.poll()))).await {
            Either::Left(both) | Either::Right(both) => both,
        };
    assert_eq!((&*canceled.status, &*canceled.body), ("204 No Content", ""));
    uncached(&canceled);
    client.call("1", "Echo", json!(["x"])).await;
    let answer = soon(waiting).await;
    assert_eq!(answer.status, "200 OK");
    client.take(&answer);
    assert_eq!(client.next().await, json!({"type": 3, "invocationId": "1", "result": "x"}));
}

#[tokio::test]
async fn a_poll_that_has_waited_for_long_is_answered_with_nothing() {
    let server = Server::start(Options::new().poll_timeout(Duration::from_millis(20))).await;
    let mut client = Poller::begin(&server).await;
    let answer = client.poll().await;
    assert_eq!((&*answer.status, &*answer.body), ("200 OK", ""));
    assert_eq!(answer.headers["content-type"], "text/plain");
    uncached(&answer);
    client.post(HANDSHAKE).await;
    assert_eq!(client.record().await, "{}");
}

#[tokio::test]
async fn who_stays_away_is_gone_and_who_waits_is_not() {
    let options = Options::new().disconnect_timeout(Duration::from_millis(500));
    let server = Server::start(options).await;
    let mut waiting = Poller::connect(&server).await;
    let away = Poller::connect(&server).await;
    let poll = waiting.poll();
    let gone = async {
        assert_eq!(server.probe.told().await, "disconnected: well");
        // For a while the end is there to be fetched, then nothing is known of the connection.
        let status = away.poll().await.status;
        assert!(["204 No Content", "404 Not Found"].contains(&&*status), "{status}");
        waiting.call("1", "Echo", json!([1])).await;
    };
    let (answer, ()) = soon(futures_util::future::join(poll, gone)).await;
    waiting.take(&answer);
    assert_eq!(waiting.next().await["result"], 1);
}

#[tokio::test]
async fn delete_ends_the_connection() {
    let server = Server::start(Options::new()).await;
    let client = Poller::connect(&server).await;
    let delete = async {
        let answer = request(&server, "DELETE", &client.path, &[]).await;
        assert_eq!((&*answer.status, &*answer.body), ("202 Accepted", ""));
        assert_eq!(answer.headers["content-type"], "text/plain");
    };
    let (poll, ()) = soon(futures_util::future::join(client.poll(), delete)).await;
    // The poll waits, or comes behind it.
    assert!(["204 No Content", "404 Not Found"].contains(&&*poll.status), "{}", poll.status);
    assert_eq!(server.probe.told().await, "disconnected: well");
    for method in ["GET", "POST", "DELETE"] {
        let answer = request(&server, method, &client.path, &[]).await;
        let told = (&*answer.status, &*answer.body);
        assert_eq!(told, ("404 Not Found", "No Connection with that ID"), "{method}");
    }
}

#[tokio::test]
async fn the_servers_end_is_told_once_it_is_fetched() {
    let server = Server::start(Options::new()).await;
    let mut client = Poller::connect(&server).await;
    client.call("1", "Abort", json!([])).await;
    let mut ended = client.next().await;
    if ended["type"] == 3 {
        ended = client.next().await;
    }
    assert_eq!(ended, json!({"type": 7}));
    let answer = client.poll().await;
    assert_eq!((&*answer.status, &*answer.body), ("204 No Content", ""));
    uncached(&answer);
    assert_eq!(server.probe.told().await, "disconnected: well");
}

#[tokio::test]
async fn a_message_that_is_too_large_ends_only_its_connection() {
    let server = Server::start(Options::new().largest_message(ByteSize::b(1000))).await;
    let mut other = Poller::connect(&server).await;
    let mut client = Poller::connect(&server).await;
    client.call("1", "Echo", json!(["x".repeat(1000)])).await;
    let closed = client.next().await;
    assert_eq!(closed["error"], "Connection closed with an error.");
    assert_eq!(client.poll().await.status, "204 No Content");
    // Many that are not.
    let small = "{\"type\":6}\u{1e}".repeat(10_000);
    other.post(&small).await;
    other.works().await;
}

#[tokio::test]
async fn posts_wait_while_calls_do() {
    let server = Server::start(Options::new()).await;
    let mut client = Poller::connect(&server).await;
    client.call("1", "Block", json!(["first"])).await;
    client.call("2", "Block", json!(["second"])).await;
    assert_eq!(server.probe.told().await, "first begins");
    // Nothing is read behind the second call, so at most this waits in the pipe.
    let pings = "{\"type\":6}\u{1e}".repeat(20_000);
    let post = Box::pin(client.post(&pings));
    let other = Poller::connect(&server);
    let Either::Right((mut other, post)) = soon(select(post, Box::pin(other))).await else {
        panic!("the POST was answered although nobody reads it")
    };
    other.works().await;
    let released = async {
        server.probe.release();
        server.probe.release();
    };
    soon(futures_util::future::join(post, released)).await;
    for id in ["1", "2"] {
        assert_eq!(client.next().await["invocationId"], id);
    }
    client.works().await;
}

#[tokio::test]
async fn a_post_that_cannot_be_read_is_told() {
    let server = Server::start(Options::new()).await;
    let mut client = Poller::connect(&server).await;
    let request = format!(
        "POST {} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\nno chunk\r\n",
        client.path
    );
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    soon(stream.read_to_string(&mut answer)).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 400 Bad Request\r\n"), "{answer}");
    client.works().await;
}

#[tokio::test]
async fn on_connected_is_told_of_the_end_before_what_has_come() {
    // It is not its absence that tells of it.
    let options = Options::new().disconnect_timeout(Duration::from_secs(3600));
    let server = Server::with(options, |hub| {
        hub.on_connected(async |aborted: Aborted, State(probe): State<Probe>| {
            probe.tell("waits").await;
            aborted.wait().await;
            probe.tell("aborted").await;
        })
    })
    .await;
    let client = Poller::connect(&server).await;
    assert_eq!(server.probe.told().await, "waits");
    client.call("1", "Block", json!(["last"])).await;
    assert_eq!(request(&server, "DELETE", &client.path, &[]).await.status, "202 Accepted");
    server.probe.release();
    for told in ["aborted", "last begins"] {
        assert_eq!(server.probe.told().await, told);
    }
    // The last hook does not wait for calls.
    let mut told = [server.probe.told().await, server.probe.told().await];
    told.sort();
    assert_eq!(told, ["disconnected: well", "last ends"]);
}
