//! Which requests are refused, and how.

use backplane_signalr::{Options, Transport};

use crate::{
    client::Client,
    events::{ACCEPT, Listener},
    http::request,
    negotiation::{negotiate, negotiated},
    polling::Poller,
    server::Server,
};

const UPGRADE: [(&str, &str); 4] = [
    ("Connection", "Upgrade"),
    ("Upgrade", "websocket"),
    ("Sec-WebSocket-Version", "13"),
    ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
];
const EVENTS: [(&str, &str); 1] = [("Accept", "text/html, Text/Event-Stream;q=0.9")];

const UNKNOWN: (&str, &str) = ("404 Not Found", "No Connection with that ID");
const OTHER: (&str, &str) = ("400 Bad Request", "Cannot change transports mid-connection");
const ACTIVE: (&str, &str) = ("409 Conflict", "");
const NO_DELETE: (&str, &str) =
    ("400 Bad Request", "Cannot terminate this connection using the DELETE endpoint.");
const NO_POST: (&str, &str) =
    ("405 Method Not Allowed", "POST requests are not allowed for WebSocket connections.");

/// That a request is refused like this.
async fn refused(
    server: &Server,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    with: (&str, &str),
) {
    let answer = request(server, method, path, headers).await;
    assert_eq!((&*answer.status, &*answer.body), with, "{method} {path} {headers:?}");
    assert_eq!(answer.headers["content-type"], "text/plain");
}

#[tokio::test]
async fn without_an_id_nothing_is_found() {
    let server = Server::start(Options::new()).await;
    let required = ("400 Bad Request", "Connection ID required");
    for (method, headers) in [("GET", &EVENTS[..]), ("GET", &[]), ("POST", &[]), ("DELETE", &[])] {
        for path in ["/hub", "/hub?id="] {
            refused(&server, method, path, headers, required).await;
        }
        refused(&server, method, "/hub?id=unknown", headers, UNKNOWN).await;
    }
    refused(&server, "GET", "/hub?id=unknown", &UPGRADE, UNKNOWN).await;
}

#[tokio::test]
async fn what_has_not_begun_takes_no_more_than_its_beginning() {
    let server = Server::start(Options::new()).await;
    let (_, token) = negotiated(&server, "").await;
    let path = format!("/hub?id={token}");
    refused(&server, "DELETE", &path, &[], UNKNOWN).await;
    for method in ["PUT", "PATCH", "OPTIONS"] {
        refused(&server, method, &path, &[], ("405 Method Not Allowed", "")).await;
    }
    // None of that has used the token up.
    let mut client = Client::request(&server, &format!("?id={token}"), &[]).await.unwrap();
    client.shake().await;
    client.works().await;
}

#[tokio::test]
async fn a_websocket_takes_no_requests() {
    let server = Server::start(Options::new()).await;
    let (_, token) = negotiated(&server, "").await;
    let path = format!("/hub?id={token}");
    let mut client = Client::request(&server, &format!("?id={token}"), &[]).await.unwrap();
    client.shake().await;
    refused(&server, "GET", &path, &UPGRADE, ACTIVE).await;
    refused(&server, "GET", &path, &EVENTS, OTHER).await;
    refused(&server, "GET", &path, &[], OTHER).await;
    refused(&server, "POST", &path, &[], NO_POST).await;
    refused(&server, "DELETE", &path, &[], NO_DELETE).await;
    client.works().await;

    client.hang_up().await;
    assert_eq!(server.probe.told().await, "disconnected: well");
    refused(&server, "POST", &path, &[], UNKNOWN).await;
}

#[tokio::test]
async fn events_stay_events() {
    let server = Server::start(Options::new()).await;
    let mut client = Listener::connect(&server).await;
    refused(&server, "GET", &client.path, &[ACCEPT], ACTIVE).await;
    refused(&server, "GET", &client.path, &UPGRADE, OTHER).await;
    refused(&server, "GET", &client.path, &[], OTHER).await;
    refused(&server, "DELETE", &client.path, &[], NO_DELETE).await;
    client.works().await;
}

#[tokio::test]
async fn polls_stay_polls() {
    let server = Server::start(Options::new()).await;
    let mut client = Poller::connect(&server).await;
    refused(&server, "GET", &client.path, &EVENTS, OTHER).await;
    refused(&server, "GET", &client.path, &UPGRADE, OTHER).await;
    client.works().await;
}

#[tokio::test]
async fn an_endpoint_may_serve_some_transports_only() {
    let all = [
        (Transport::WebSockets, "WebSockets", &UPGRADE[..]),
        (Transport::ServerSentEvents, "ServerSentEvents", &EVENTS),
        (Transport::LongPolling, "LongPolling", &[]),
    ];
    for (without, name, headers) in all {
        let served = all.into_iter().map(|(transport, ..)| transport).filter(|it| *it != without);
        let server = Server::start(Options::new().transports(served.rev())).await;
        let answer = negotiate(&server, "?negotiateVersion=1").await.body;
        let places: Vec<_> =
            all.into_iter().map(|(_, name, _)| answer.find(&format!("\"{name}\""))).collect();
        for ((transport, ..), place) in all.into_iter().zip(&places) {
            assert_eq!(place.is_some(), transport != without, "{answer}");
        }
        assert!(places.iter().flatten().is_sorted(), "{answer}");

        let text = format!("{name} transport not supported by this end point type");
        let (_, token) = negotiated(&server, "").await;
        let path = format!("/hub?id={token}");
        refused(&server, "GET", &path, headers, ("404 Not Found", &text)).await;
        if without == Transport::WebSockets {
            refused(&server, "GET", "/hub", headers, ("404 Not Found", &text)).await;
        }
        // The token is still good for the others.
        let other = if without == Transport::LongPolling { &UPGRADE[..] } else { &[] };
        let (_, other_token) = negotiated(&server, "").await;
        if without != Transport::LongPolling {
            let answer = request(&server, "GET", &format!("/hub?id={other_token}"), other).await;
            assert_eq!(answer.status, "200 OK");
            let answer = request(&server, "GET", &path, other).await;
            assert_eq!(answer.status, "200 OK");
        }
    }
}

#[tokio::test]
async fn connections_of_other_users_are_not_found() {
    let options = Options::new().authenticate(crate::server::by_query);
    let server = Server::start(options).await;
    let (_, token) = negotiated(&server, "&user=ann").await;
    let path = format!("/hub?user=ann&id={token}");
    assert_eq!(request(&server, "GET", &path, &[]).await.status, "200 OK");
    let bobs = format!("/hub?user=bob&id={token}");
    for method in ["GET", "POST", "DELETE"] {
        refused(&server, method, &bobs, &[], UNKNOWN).await;
    }
    assert_eq!(request(&server, "POST", &path, &[]).await.status, "200 OK");
}
