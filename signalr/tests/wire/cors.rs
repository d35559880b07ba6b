//! Pages of other origins.

use backplane_hub::Policy;
use backplane_signalr::Options;

use crate::{
    client::Client,
    http::{Response, request},
    negotiation::negotiated,
    server::{Server, by_query},
};

const APP: (&str, &str) = ("Origin", "https://app.example");
const EVIL: (&str, &str) = ("Origin", "https://evil.example");
const ASKS: [(&str, &str); 2] = [
    ("Access-Control-Request-Method", "POST"),
    ("Access-Control-Request-Headers", "x-requested-with,x-signalr-user-agent,authorization,x-own"),
];

async fn server() -> Server {
    let options = Options::new()
        .authenticate(by_query)
        .allowed_origins(["https://app.example", "https://other.example"]);
    Server::with(options, |hub| hub.authorize(Policy::authenticated())).await
}

/// That a page of this origin may read an answer.
fn readable(answer: &Response) {
    assert_eq!(answer.headers["access-control-allow-origin"], APP.1);
    assert_eq!(answer.headers["access-control-allow-credentials"], "true");
    assert!(answer.headers["vary"].contains("Origin"));
}

fn unreadable(answer: &Response) {
    for name in answer.headers.keys() {
        assert!(!name.starts_with("access-control-"), "{name}");
    }
}

#[tokio::test]
async fn browsers_are_told_what_a_page_may_send() {
    let server = server().await;
    // Without the credentials that come with the request itself.
    for path in ["/hub/negotiate?negotiateVersion=1", "/hub?id=x", "/hub/refresh?id=x"] {
        let asks = [&[APP][..], &ASKS].concat();
        let answer = request(&server, "OPTIONS", path, &asks).await;
        assert_eq!((&*answer.status, &*answer.body), ("204 No Content", ""));
        readable(&answer);
        assert_eq!(answer.headers["access-control-allow-methods"], "GET, POST, DELETE");
        assert_eq!(answer.headers["access-control-allow-headers"], ASKS[1].1);
        assert_eq!(answer.headers["access-control-max-age"], "7200");

        let asks = [&[EVIL][..], &ASKS].concat();
        let answer = request(&server, "OPTIONS", path, &asks).await;
        assert_eq!((&*answer.status, &*answer.body), ("403 Forbidden", ""));
        unreadable(&answer);
        assert!(answer.headers["vary"].contains("Origin"));
    }
    // No question of a browser.
    let answer = request(&server, "OPTIONS", "/hub?user=ann", &[APP]).await;
    assert_eq!(answer.status, "405 Method Not Allowed");
}

#[tokio::test]
async fn pages_read_answers_and_refusals() {
    let server = server().await;
    let (_, token) = negotiated(&server, "&user=ann").await;
    for (method, path, status) in [
        ("POST", "/hub/negotiate?negotiateVersion=1&user=ann".to_owned(), "200 OK"),
        ("POST", "/hub/negotiate?negotiateVersion=1".to_owned(), "401 Unauthorized"),
        ("GET", format!("/hub?user=ann&id={token}"), "200 OK"),
        ("POST", format!("/hub?user=ann&id={token}"), "200 OK"),
        ("DELETE", format!("/hub?user=ann&id={token}"), "202 Accepted"),
        ("GET", format!("/hub?user=ann&id={token}"), "404 Not Found"),
        ("GET", "/hub?user=ann".to_owned(), "400 Bad Request"),
    ] {
        let answer = request(&server, method, &path, &[APP]).await;
        assert_eq!(answer.status, status, "{method} {path}");
        readable(&answer);
    }
}

#[tokio::test]
async fn pages_that_may_not_connect_do_nothing_at_all() {
    let server = server().await;
    let (_, token) = negotiated(&server, "&user=ann").await;
    let path = format!("/hub?user=ann&id={token}");
    for method in ["GET", "POST", "DELETE"] {
        for origin in [EVIL, ("Origin", "null"), ("Origin", "http://app.example")] {
            let answer = request(&server, method, &path, &[origin]).await;
            assert_eq!((&*answer.status, &*answer.body), ("403 Forbidden", ""));
            unreadable(&answer);
        }
    }
    let answer =
        request(&server, "POST", "/hub/negotiate?negotiateVersion=1&user=ann", &[EVIL]).await;
    assert_eq!(answer.status, "403 Forbidden");
    // None of that has used the token up; and no page, no origin.
    let answer = request(&server, "GET", &path, &[]).await;
    assert_eq!(answer.status, "200 OK");
    unreadable(&answer);
    assert!(answer.headers["vary"].contains("Origin"));
    let mut client = Client::request(&server, "?user=ann", &[APP]).await.unwrap();
    client.shake().await;
    client.works().await;
}

#[tokio::test]
async fn by_default_the_application_tells_browsers() {
    let server = Server::start(Options::new()).await;
    let asks = [&[APP][..], &ASKS].concat();
    let answer = request(&server, "OPTIONS", "/hub/negotiate", &asks).await;
    assert_eq!(answer.status, "405 Method Not Allowed");
    let answer = request(&server, "POST", "/hub/negotiate?negotiateVersion=1", &[APP]).await;
    assert_eq!(answer.status, "200 OK");
    unreadable(&answer);
    assert!(!answer.headers.contains_key("vary"));
}
