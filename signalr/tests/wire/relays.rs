//! No sticky sessions: the requests of a connection land on any node.

pub(crate) mod failing;

use std::{
    future::Future,
    net::SocketAddr,
    time::{Duration, Instant},
};

use backplane_hub::ByteSize;
use backplane_memory::Medium;
use backplane_signalr::Options;
use futures_util::future::{Either, select};
use serde_json::{Value, json};

use crate::{
    client::{Client, soon},
    events::ACCEPT,
    http::{Chunked, Response, exchange, request, send},
    negotiation::negotiated,
    nodes::shared,
    roaming::Roamer,
    server::{Server, by_query},
};

const UNKNOWN: (&str, &str) = ("404 Not Found", "No Connection with that ID");
/// Nodes that know each other.
pub(crate) async fn cluster(size: usize, options: impl Fn() -> Options) -> (Medium, Vec<Server>) {
    let medium = Medium::new();
    let mut nodes = Vec::new();
    for _ in 0..size {
        nodes.push(Server::on(&medium, options(), |hub| hub).await);
    }
    acquainted(&nodes).await;
    (medium, nodes)
}

pub(crate) async fn acquainted(nodes: &[Server]) {
    for node in nodes {
        for other in nodes.iter().filter(|other| other.hub.node() != node.hub.node()) {
            let mut members = node.hub.backplane().members();
            let known = members.wait_for(|members| members.contains(other.hub.node()));
            drop(soon(known).await.expect("the node lives"));
        }
    }
}

/// Waits until something is so.
pub(crate) async fn until(condition: impl Fn() -> bool + Send + Sync) {
    soon(async {
        while !condition() {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

/// Runs a request until the owner has it, and waits for it.
async fn parked<F: Future + Unpin>(owner: &Server, request: F) -> F {
    let before = owner.hub.stats().answered;
    let arrived = Box::pin(until(|| owner.hub.stats().answered > before));
    match select(request, arrived).await {
        Either::Left(_) => panic!("it is answered already"),
        Either::Right(((), request)) => request,
    }
}

fn told(answer: &Response) -> (&str, &str) {
    (&answer.status, &answer.body)
}

fn at(nodes: &[Server]) -> Vec<SocketAddr> {
    nodes.iter().map(SocketAddr::from).collect()
}

#[tokio::test]
async fn polls_and_posts_land_anywhere() {
    let (_medium, nodes) = cluster(3, shared).await;
    let mut client = Roamer::connect(&nodes).await;
    client.call("0", "WhoAmI", json!([])).await;
    let id = client.id.clone();
    assert_eq!(client.next().await["result"], id);
    for _ in 0..20 {
        client.works().await;
    }
    // What comes from any node comes to the poll that waits at any other.
    for (number, node) in nodes.iter().chain(&nodes).enumerate() {
        node.hub.clients().connection(&id).send("Told", (number,)).await.unwrap();
        let told = json!({"type": 1, "target": "Told", "arguments": [number]});
        assert_eq!(client.next().await, told);
    }
    // What the client itself answers, too.
    client.call("1", "Ask", json!(["why"])).await;
    let question = client.next().await;
    assert_eq!(question["target"], "Question");
    let answer = json!({"type": 3, "invocationId": question["invocationId"], "result": "so"});
    client.post(&format!("{answer}\u{1e}")).await;
    assert_eq!(client.next().await["result"], "so");
    assert!(nodes.iter().all(|node| node.hub.stats().relays + node.hub.stats().answered > 10));

    // Not by the node that has it.
    let owner = SocketAddr::from(&nodes[1]);
    while client.next_node() != owner {}
    let ended = client.request("DELETE", b"").await;
    assert_eq!(told(&ended), ("202 Accepted", ""));
    assert_eq!(ended.headers["content-type"], "text/plain");
    assert_eq!(nodes[1].probe.told().await, "disconnected: well");
    for method in ["GET", "POST", "DELETE"] {
        for node in at(&nodes) {
            let answer = request(node, method, &client.path, &[]).await;
            assert_eq!(told(&answer), UNKNOWN, "{method}");
            assert_eq!(answer.headers["content-type"], "text/plain");
        }
    }
}

#[tokio::test]
async fn messagepack_lands_anywhere() {
    let (_medium, nodes) = cluster(3, shared).await;
    let client = Roamer::begin(&nodes).await;
    let post = async |bytes: &[u8]| {
        assert_eq!(told(&client.request("POST", bytes).await), ("200 OK", ""));
    };
    post(b"{\"protocol\":\"messagepack\",\"version\":1}\x1e").await;
    assert_eq!(client.poll().await.bytes, b"{}\x1e");
    for _ in 0..10 {
        // In two pieces, at two nodes.
        post(b"\x0f\x96\x01\x80\xa3xyz").await;
        post(b"\xa4Echo\x91\x2a\x90").await;
        assert_eq!(client.poll().await.bytes, b"\x09\x95\x03\x80\xa3xyz\x03\x2a");
    }
}

#[tokio::test]
async fn events_are_where_they_began_and_posts_land_anywhere() {
    let (_medium, nodes) = cluster(3, shared).await;
    for owner in 0..nodes.len() {
        let (_, token) = negotiated(&nodes[0], "").await;
        let path = format!("/hub?id={token}");
        let mut events = Chunked::get(&nodes[owner], &path, &[ACCEPT]).await;
        assert_eq!(events.status, "200 OK");
        assert_eq!(events.next().await, ":\r\n");
        let post = async |node: SocketAddr, text: &str| {
            let answer = exchange(node, "POST", &path, &[], text.as_bytes()).await;
            assert_eq!(told(&answer), ("200 OK", ""));
        };
        post(nodes[0].address, "{\"protocol\":\"json\",\"version\":1}\u{1e}").await;
        assert_eq!(events.next().await, "data: {}\u{1e}\r\n\r\n");
        for (number, node) in at(&nodes).into_iter().cycle().take(12).enumerate() {
            let call =
                json!({"type": 1, "invocationId": "1", "target": "Echo", "arguments": [number]});
            post(node, &format!("{call}\u{1e}")).await;
            let result = json!({"type": 3, "invocationId": "1", "result": number});
            let event = events.next().await;
            let event = event.trim_start_matches("data: ").trim_end_matches("\u{1e}\r\n\r\n");
            assert_eq!(serde_json::from_str::<Value>(event).unwrap(), result);
        }
        // As where it began.
        for node in at(&nodes) {
            let again = request(node, "GET", &path, &[ACCEPT]).await;
            assert_eq!(told(&again), ("409 Conflict", ""));
            let poll = request(node, "GET", &path, &[]).await;
            assert_eq!(told(&poll), ("400 Bad Request", "Cannot change transports mid-connection"));
            let delete = request(node, "DELETE", &path, &[]).await;
            assert_eq!(
                told(&delete),
                ("400 Bad Request", "Cannot terminate this connection using the DELETE endpoint.")
            );
        }
        drop(events);
        assert_eq!(nodes[owner].probe.told().await, "disconnected: well");
        for node in at(&nodes) {
            assert_eq!(told(&request(node, "POST", &path, &[]).await), UNKNOWN);
        }
    }
}

#[tokio::test]
async fn websockets_refuse_anywhere() {
    let (_medium, nodes) = cluster(3, shared).await;
    let (_, token) = negotiated(&nodes[0], "").await;
    let query = format!("?id={token}");
    let mut client = Client::request(&nodes[1], &query, &[]).await.unwrap();
    client.shake().await;
    for node in &nodes {
        let again = Client::request(node, &query, &[]).await;
        assert_eq!(again.err().expect("refused"), (409, String::new()));
        let path = format!("/hub{query}");
        let refusals = [
            ("GET", &[ACCEPT][..], "400 Bad Request"),
            ("GET", &[], "400 Bad Request"),
            ("POST", &[], "405 Method Not Allowed"),
            ("DELETE", &[], "400 Bad Request"),
        ];
        for (method, headers, status) in refusals {
            assert_eq!(request(node, method, &path, headers).await.status, status, "{method}");
        }
    }
    client.works().await;
}

#[tokio::test]
async fn a_thousand_posts_keep_their_order() {
    let (_medium, nodes) = cluster(3, shared).await;
    let mut client = Roamer::connect(&nodes).await;
    for number in 0..1000 {
        client.tell("SendBack", json!([number.to_string()])).await;
    }
    for number in 0..1000 {
        let message = client.next().await;
        assert_eq!(message["arguments"], json!([number.to_string()]));
    }
}

#[tokio::test]
async fn large_bodies_go_in_pieces() {
    let options = || shared().largest_message(ByteSize::mib(2));
    let (_medium, nodes) = cluster(3, options).await;
    let mut client = Roamer::connect(&nodes).await;
    for size in [60_000, 64 * 1024, 100_000, 300_000, 1_500_000] {
        let text = "x".repeat(size);
        // By way of each node.
        for _ in 0..3 {
            client.call("1", "Echo", json!([text])).await;
            assert_eq!(client.next().await["result"], text);
            let _ = client.next_node();
        }
    }
}

#[tokio::test]
async fn a_newer_poll_anywhere_cancels_an_older() {
    let (_medium, nodes) = cluster(3, shared).await;
    let mut client = Roamer::connect(&nodes).await;
    let path = client.path.clone();
    let poll = |node: usize| Box::pin(request(&nodes[node], "GET", &path, &[]));
    // The second node has it. At first each poll waits at another node than that.
    for (older, newer) in [(0, 2), (2, 0), (0, 0)] {
        let waiting = parked(&nodes[1], poll(older)).await;
        let (canceled, waiting) = match soon(select(waiting, poll(newer))).await {
            Either::Left((canceled, newer)) => (canceled, newer),
            Either::Right(_) => panic!("the newer one waits"),
        };
        assert_eq!(told(&canceled), ("204 No Content", ""));
        assert_eq!(canceled.headers["pragma"], "no-cache");
        client.call("1", "Echo", json!(["x"])).await;
        client.take(&soon(waiting).await);
        assert_eq!(client.next().await["result"], "x");
    }
    // And by one that has the connection.
    let waiting = parked(&nodes[1], poll(0)).await;
    let newest = poll(1);
    let Either::Left((canceled, newest)) = soon(select(waiting, newest)).await else {
        panic!("the newer one waits")
    };
    assert_eq!(told(&canceled), ("204 No Content", ""));
    let waiting = poll(2);
    let Either::Left((canceled, waiting)) = soon(select(newest, waiting)).await else {
        panic!("the newer one waits")
    };
    assert_eq!(told(&canceled), ("204 No Content", ""));
    client.call("1", "Echo", json!(["x"])).await;
    client.take(&soon(waiting).await);
    assert_eq!(client.next().await["result"], "x");
    client.works().await;
}

#[tokio::test]
async fn posts_wait_anywhere_while_calls_do() {
    let (_medium, nodes) = cluster(2, shared).await;
    let mut client = Roamer::connect(&nodes).await;
    client.tell("Block", json!(["first"])).await;
    client.tell("Block", json!(["second"])).await;
    assert_eq!(nodes[1].probe.told().await, "first begins");
    // Nothing is read behind the second call, so the pipe is full after a piece or two.
    let pings = "{\"type\":6}\u{1e}".repeat(20_000);
    let path = client.path.clone();
    let post = Box::pin(exchange(&nodes[0], "POST", &path, &[], pings.as_bytes()));
    let Either::Right((mut other, post)) =
        soon(select(post, Box::pin(Roamer::connect(&nodes)))).await
    else {
        panic!("the POST was answered although nobody reads it")
    };
    other.works().await;
    nodes[1].probe.release();
    nodes[1].probe.release();
    assert_eq!(soon(post).await.status, "200 OK");
    client.works().await;
}

#[tokio::test]
async fn a_client_that_hangs_up_is_not_waited_for() {
    let options = || shared().disconnect_timeout(Duration::from_millis(500));
    let (_medium, nodes) = cluster(2, options).await;
    let client = Roamer::connect(&nodes).await;
    let relay = SocketAddr::from(&nodes[0]);
    let before = nodes[1].hub.stats().answered;
    let poll = send(relay, "GET", &client.path, &[], b"").await.unwrap();
    until(|| nodes[1].hub.stats().answered > before).await;
    drop(poll);
    // It would wait for 90 s.
    assert_eq!(nodes[1].probe.told().await, "disconnected: well");
}

#[tokio::test]
async fn a_poll_that_has_waited_for_long_anywhere_is_answered_with_nothing() {
    let options = || shared().poll_timeout(Duration::from_millis(20));
    let (_medium, nodes) = cluster(3, options).await;
    let client = Roamer::begin(&nodes).await;
    for _ in 0..3 {
        let answer = client.poll().await;
        assert_eq!(told(&answer), ("200 OK", ""));
        assert_eq!(answer.headers["content-type"], "text/plain");
    }
}

#[tokio::test]
async fn the_servers_end_is_told_anywhere() {
    let (_medium, nodes) = cluster(2, shared).await;
    let mut client = Roamer::connect(&nodes).await;
    client.tell("Abort", json!([])).await;
    assert_eq!(client.next().await, json!({"type": 7}));
    assert_eq!(told(&request(&nodes[0], "GET", &client.path, &[]).await), ("204 No Content", ""));
    assert_eq!(nodes[1].probe.told().await, "disconnected: well");
}

#[tokio::test]
async fn what_has_begun_outlives_its_token() {
    const EXPIRY: Duration = Duration::from_millis(1500);
    let (_medium, nodes) = cluster(3, || shared().token_expiry(EXPIRY)).await;
    let begun = Instant::now();
    let mut client = Roamer::connect(&nodes).await;
    let (_, unused) = negotiated(&nodes[0], "").await;
    tokio::time::sleep(EXPIRY.saturating_sub(begun.elapsed()) + EXPIRY / 5).await;
    client.works().await;
    // Nobody has asked this node about it before.
    let late = Server::on(&_medium, shared(), |hub| hub).await;
    acquainted(&nodes).await;
    assert_eq!(told(&request(&late, "POST", &client.path, &[]).await), ("200 OK", ""));
    for node in at(&nodes) {
        let answer = request(node, "GET", &format!("/hub?id={unused}"), &[]).await;
        assert_eq!(told(&answer), UNKNOWN);
    }
}

#[tokio::test]
async fn what_no_node_has_is_not_found() {
    let (_medium, nodes) = cluster(3, shared).await;
    let (_, token) = negotiated(&nodes[0], "").await;
    let path = format!("/hub?id={token}");
    for node in at(&nodes) {
        assert_eq!(told(&request(node, "DELETE", &path, &[]).await), UNKNOWN);
    }
    // None of that has used the token up.
    assert_eq!(told(&request(&nodes[2], "GET", &path, &[]).await), ("200 OK", ""));
}

#[tokio::test]
async fn a_stolen_token_gets_nothing_anywhere() {
    let (_medium, nodes) = cluster(3, || shared().authenticate(by_query)).await;
    let (id, token) = negotiated(&nodes[0], "&user=ann").await;
    let path = format!("/hub?user=ann&id={token}");
    assert_eq!(request(&nodes[1], "GET", &path, &[]).await.status, "200 OK");
    let forged =
        format!("{}{}", &token[..token.len() - 1], if token.ends_with('A') { 'E' } else { 'A' });
    for node in at(&nodes) {
        for stolen in [
            format!("/hub?user=bob&id={token}"),
            format!("/hub?id={token}"),
            format!("/hub?user=ann&id={forged}"),
            format!("/hub?user=ann&id={id}"),
        ] {
            for method in ["GET", "POST", "DELETE"] {
                assert_eq!(told(&request(node, method, &stolen, &[]).await), UNKNOWN, "{method}");
            }
        }
        assert_eq!(told(&request(node, "POST", &path, &[]).await), ("200 OK", ""));
    }
    // Without anybody being asked.
    assert!(nodes.iter().all(|node| node.hub.stats().relays <= 2));
}

/// Several routers of one hub, as in a program that serves it under several paths.
#[tokio::test]
async fn each_router_of_a_hub_serves_its_own() {
    let medium = Medium::new();
    let nodes = [
        Server::on(&medium, shared(), |hub| hub).await,
        Server::on(&medium, shared(), |hub| hub).await,
    ];
    acquainted(&nodes).await;
    let _further: axum::Router = backplane_signalr::router(&nodes[1].hub, shared());
    Roamer::connect(&nodes).await.works().await;
    let second: axum::Router =
        axum::Router::new().nest("/hub", backplane_signalr::router(&nodes[1].hub, shared()));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let served = tokio::spawn(async move { axum::serve(listener, second).await.unwrap() });
    let (_, token) = negotiated(&nodes[0], "").await;
    let path = format!("/hub?id={token}");
    assert_eq!(told(&request(address, "GET", &path, &[]).await), ("200 OK", ""));
    assert_eq!(told(&request(&nodes[0], "POST", &path, &[]).await), ("200 OK", ""));
    served.abort();
}
