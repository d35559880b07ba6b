//! New credentials for connections that are open.

use backplane_hub::{Claims, Policy};
use backplane_signalr::{Options, Rejection};
use http::request::Parts;
use serde_json::{Value, json};

use crate::{
    client::Client,
    events::Listener,
    expiry::{HOUR, SOON, by_query, until},
    http::{Response, request},
    negotiation::{negotiate, negotiated},
    nodes::shared,
    polling::Poller,
    relays::cluster,
    roaming::Roamer,
    server::Server,
};

fn options() -> Options {
    Options::new().authenticate(by_query).authentication_refresh(true)
}

/// The token in the path of a client.
fn token(path: &str) -> &str {
    path.split(['?', '&']).find_map(|it| it.strip_prefix("id=")).expect("a token")
}

async fn refresh(server: &Server, token: &str, query: &str) -> Response {
    request(server, "POST", &format!("/hub/refresh?id={token}{query}"), &[]).await
}

/// That a request is refused with this code.
fn refused(answer: &Response, status: &str, code: &str) {
    assert_eq!(answer.status, status);
    assert_eq!(answer.headers["content-type"], "application/json");
    assert_eq!(answer.body, format!(r#"{{"error":"{code}"}}"#));
}

/// A client of the WebSocket of this token.
async fn socket(server: &Server, token: &str, query: &str) -> Client {
    let mut client = Client::request(server, &format!("?id={token}{query}"), &[]).await.unwrap();
    client.shake().await;
    client
}

const UNAUTHORIZED: &str = "Failed to invoke 'Secret' because user is unauthorized";

#[tokio::test]
async fn policies_see_the_new_claims_on_all_transports() {
    let server = Server::start(options()).await;
    let (before, after) = ("&user=ann&role=cook", "&user=ann&role=admin");

    let (_, id) = negotiated(&server, before).await;
    let mut client = socket(&server, &id, before).await;
    assert_eq!(client.invoke("Secret", json!([])).await, json!({"error": UNAUTHORIZED}));
    let answer = refresh(&server, &id, after).await;
    assert_eq!((&*answer.status, &*answer.body), ("200 OK", "{}"));
    assert_eq!(answer.headers["content-type"], "application/json");
    assert_eq!(client.invoke("Secret", json!([])).await, json!({"result": "secret"}));
    // And those that take something away.
    assert_eq!(refresh(&server, &id, before).await.status, "200 OK");
    assert_eq!(client.invoke("Secret", json!([])).await, json!({"error": UNAUTHORIZED}));

    let mut client = Listener::connect_with(&server, before).await;
    client.call("Secret", json!([])).await;
    assert_eq!(client.next().await["error"], UNAUTHORIZED);
    assert_eq!(refresh(&server, token(&client.path), after).await.status, "200 OK");
    client.call("Secret", json!([])).await;
    assert_eq!(client.next().await["result"], "secret");

    // Its polls bring the older ones further on.
    let (before, after) =
        (format!("{before}{}", until(HOUR)), format!("{after}{}", until(HOUR * 2)));
    let mut client = Poller::connect_with(&server, &before).await;
    client.call("1", "Secret", json!([])).await;
    assert_eq!(client.next().await["error"], UNAUTHORIZED);
    assert_eq!(refresh(&server, token(&client.path), &after).await.status, "200 OK");
    client.call("2", "Secret", json!([])).await;
    assert_eq!(client.next().await["result"], "secret");
}

#[tokio::test]
async fn what_is_refreshed_before_the_handshake_counts() {
    let server = Server::start(options()).await;
    let before = format!("&user=ann&role=cook{}", until(HOUR));
    let after = format!("&user=ann&role=admin{}", until(HOUR * 2));
    let mut client = Poller::begin_with(&server, &before).await;
    let answer = refresh(&server, token(&client.path), &after).await;
    assert_eq!(answer.status, "200 OK");
    client.post("{\"protocol\":\"json\",\"version\":1}\u{1e}").await;
    assert_eq!(client.record().await, "{}");
    client.call("1", "Secret", json!([])).await;
    assert_eq!(client.next().await["result"], "secret");
}

#[tokio::test]
async fn lifetimes_are_told() {
    let server = Server::start(options()).await;
    let hour = |answer: &Response| {
        let answer: Value = serde_json::from_str(&answer.body).unwrap();
        let seconds = answer["tokenLifetimeSeconds"].as_i64().expect("a number");
        assert!((1..=3600).contains(&seconds), "{seconds}");
    };
    let query = format!("&user=ann{}", until(HOUR));
    let answer = negotiate(&server, &format!("?negotiateVersion=1{query}")).await;
    hour(&answer);
    let (_, id) = negotiated(&server, "&user=ann").await;
    let _client = socket(&server, &id, "&user=ann").await;
    hour(&refresh(&server, &id, &query).await);
    // Centuries are as many as an int can hold.
    let answer = refresh(&server, &id, &format!("&user=ann{}", until(HOUR * 24 * 366 * 200))).await;
    assert_eq!(answer.body, r#"{"tokenLifetimeSeconds":2147483647}"#);

    // Where there is none, or nothing to be done about it.
    let answer = negotiate(&server, "?negotiateVersion=1&user=ann").await;
    assert!(!answer.body.contains("tokenLifetimeSeconds"), "{}", answer.body);
    let answer = negotiate(&server, &format!("?{query}")).await;
    assert!(!answer.body.contains("tokenLifetimeSeconds"), "{}", answer.body);
    let server = Server::start(Options::new().authenticate(by_query)).await;
    let answer = negotiate(&server, &format!("?negotiateVersion=1{query}")).await;
    assert!(!answer.body.contains("tokenLifetimeSeconds"), "{}", answer.body);
}

#[tokio::test]
async fn refusals_have_their_codes_and_change_nothing() {
    let server = Server::with(options(), |hub| {
        hub.authorize(Policy::new(|user| {
            user.is_none_or(|user| !user.claims.has("role", "banned"))
        }))
    })
    .await;
    let (_, id) = negotiated(&server, "&user=ann").await;
    let mut client = socket(&server, &id, "&user=ann&role=admin").await;

    for method in ["GET", "PUT", "DELETE", "OPTIONS"] {
        let answer = request(&server, method, &format!("/hub/refresh?id={id}"), &[]).await;
        assert_eq!((&*answer.status, &*answer.body), ("405 Method Not Allowed", ""), "{method}");
    }
    for path in ["/hub/refresh?user=ann", "/hub/refresh?user=ann&id="] {
        let answer = request(&server, "POST", path, &[]).await;
        refused(&answer, "400 Bad Request", "missing_connection_token");
    }
    let not_found = |answer: &Response| refused(answer, "404 Not Found", "connection_not_found");
    not_found(&refresh(&server, "unknown", "&user=ann").await);
    // Somebody else's, whoever asks.
    not_found(&refresh(&server, &id, "&user=bob&role=admin").await);
    not_found(&refresh(&server, &id, "").await);
    // One that has not begun.
    let (_, unused) = negotiated(&server, "&user=ann").await;
    not_found(&refresh(&server, &unused, "&user=ann").await);
    // One whose token is its id, which others are told.
    let answer = negotiate(&server, "?user=ann").await;
    let public: Value = serde_json::from_str(&answer.body).unwrap();
    let public = public["connectionId"].as_str().unwrap();
    let mut open = socket(&server, public, "&user=ann").await;
    not_found(&refresh(&server, public, "&user=ann").await);
    open.works().await;

    let bad = refresh(&server, &id, "&user=nobody").await;
    refused(&bad, "401 Unauthorized", "invalid_token");
    assert!(bad.headers["www-authenticate"].contains("The user is nobody"));
    let (_, anonymous) = negotiated(&server, "").await;
    let mut nobody = socket(&server, &anonymous, "").await;
    refused(&refresh(&server, &anonymous, "").await, "401 Unauthorized", "invalid_token");
    nobody.works().await;
    let banned = refresh(&server, &id, "&user=ann&role=banned").await;
    assert_eq!((&*banned.status, &*banned.body), ("403 Forbidden", ""));

    assert_eq!(client.invoke("Secret", json!([])).await, json!({"result": "secret"}));
    client.hang_up().await;
    assert_eq!(server.probe.told().await, "disconnected: well");
    not_found(&refresh(&server, &id, "&user=ann").await);
}

#[tokio::test]
async fn it_is_off_by_default() {
    let server = Server::start(Options::new().authenticate(by_query)).await;
    let (_, id) = negotiated(&server, "&user=ann").await;
    let _client = socket(&server, &id, "&user=ann").await;
    let answer = refresh(&server, &id, "&user=ann").await;
    refused(&answer, "404 Not Found", "refresh_disabled");
}

#[tokio::test]
async fn connections_live_as_long_as_the_newest_credentials() {
    let server = Server::start(options().close_on_authentication_expiration(true)).await;
    let (short, long) = (format!("&user=ann{}", until(SOON)), format!("&user=ann{}", until(HOUR)));
    let (_, prolonged) = negotiated(&server, &short).await;
    let mut prolonged_client = socket(&server, &prolonged, &short).await;
    let mut listener = Listener::connect_with(&server, &short).await;
    let mut poller = Poller::connect_with(&server, &short).await;
    let (_, shortened) = negotiated(&server, &long).await;
    let mut shortened_client = socket(&server, &shortened, &long).await;
    for token in [&*prolonged, token(&listener.path), token(&poller.path)] {
        assert_eq!(refresh(&server, token, &long).await.status, "200 OK");
    }
    let now = format!("&user=ann{}", until(SOON));
    assert_eq!(refresh(&server, &shortened, &now).await.status, "200 OK");
    // That one ends behind when the others would have.
    let close = json!({"type": 7, "allowReconnect": true});
    assert_eq!(shortened_client.next().await, close);
    prolonged_client.works().await;
    listener.works().await;
    poller.works().await;
}

#[tokio::test]
async fn polls_bring_fresher_credentials_and_others_don_t_count() {
    let credentials =
        |role: &str, times: u32| format!("&user=ann&role={role}{}", until(HOUR * times));
    // On the node that has the connection, and on others.
    for size in [1, 3] {
        // Without the option.
        let (_medium, nodes) = cluster(size, || shared().authenticate(by_query)).await;
        let mut client = Roamer::connect_with(&nodes, &credentials("cook", 2)).await;
        let path = format!("/hub?id={}", token(&client.path));
        // The answers to calls say that the poll before has been served, as they come with the next.
        for (role, hours, secret) in
            [("admin", 1, false), ("admin", 3, true), ("cook", 2, true), ("cook", 4, false)]
        {
            client.path = format!("{path}{}", credentials(role, hours));
            for _ in &nodes {
                client.call("1", "Nothing", json!([])).await;
                assert_eq!(client.next().await["result"], Value::Null);
                client.call("2", "Secret", json!([])).await;
                let answer = client.next().await;
                assert_eq!(answer.get("result").is_some(), secret, "{answer}");
                let _ = client.next_node();
            }
        }
        // Nobody takes over what is another's.
        client.path = format!("{path}&user=bob&role=admin");
        for _ in &nodes {
            let answer = client.poll().await;
            assert_eq!(
                (&*answer.status, &*answer.body),
                ("404 Not Found", "No Connection with that ID")
            );
        }
    }
}

#[tokio::test]
async fn any_node_takes_them() {
    let (medium, nodes) =
        cluster(3, || shared().authenticate(by_query).authentication_refresh(true)).await;
    let before = format!("&user=ann&role=cook{}", until(HOUR));
    let after = format!("&user=ann&role=admin{}", until(HOUR * 2));
    let (_, id) = negotiated(&nodes[0], &before).await;
    let mut client = socket(&nodes[1], &id, &before).await;
    let mut listener = Listener::connect_with(&nodes[1], &before).await;
    let mut poller = Poller::connect_with(&nodes[1], &before).await;
    for node in &nodes {
        assert_eq!(client.invoke("Secret", json!([])).await, json!({"error": UNAUTHORIZED}));
        let answer = refresh(node, &id, &after).await;
        assert_eq!(answer.status, "200 OK");
        assert!(answer.body.starts_with(r#"{"tokenLifetimeSeconds":7"#), "{}", answer.body);
        assert_eq!(client.invoke("Secret", json!([])).await, json!({"result": "secret"}));
        assert_eq!(refresh(node, &id, &before).await.status, "200 OK");
    }
    for token in [token(&listener.path), token(&poller.path)] {
        assert_eq!(refresh(&nodes[2], token, &after).await.status, "200 OK");
    }
    listener.call("Secret", json!([])).await;
    assert_eq!(listener.next().await["result"], "secret");
    poller.call("1", "Secret", json!([])).await;
    assert_eq!(poller.next().await["result"], "secret");

    // Refused as where the connection is.
    let (_, unused) = negotiated(&nodes[0], "&user=ann").await;
    let (_, anonymous) = negotiated(&nodes[0], "").await;
    let mut nobody = socket(&nodes[1], &anonymous, "").await;
    let ended = Listener::connect_with(&nodes[1], "&user=ann").await;
    let over = token(&ended.path).to_owned();
    drop(ended);
    assert_eq!(nodes[1].probe.told().await, "disconnected: well");
    for node in &nodes {
        for (token, query) in [
            (&*id, "&user=bob&role=admin"),
            (&id, ""),
            (&unused, "&user=ann"),
            (&over, "&user=ann"),
            (&anonymous, "&user=ann"),
        ] {
            let answer = refresh(node, token, query).await;
            refused(&answer, "404 Not Found", "connection_not_found");
        }
    }
    nobody.works().await;

    medium.stop();
    let mut link = nodes[0].hub.backplane().link();
    link.wait_for(|link| !link.is_up()).await.unwrap();
    let answer = refresh(&nodes[0], &id, &after).await;
    refused(&answer, "503 Service Unavailable", "connection_unavailable");
    assert_eq!(client.invoke("Secret", json!([])).await, json!({"error": UNAUTHORIZED}));
}

#[tokio::test]
async fn credentials_that_cannot_travel_do_no_harm() {
    let large = |request: &Parts| {
        let mut identity = by_query(request)?;
        if let Some(identity) = identity.as_mut().filter(|it| it.expires_at.is_some()) {
            let claims = Claims::from_iter([("photo", "x".repeat(1 << 24))]);
            identity.user = identity.user.clone().with_claims(claims);
        }
        Ok::<_, Rejection>(identity)
    };
    let options = || shared().authenticate(large).authentication_refresh(true);
    let (_medium, nodes) = cluster(3, options).await;
    let mut client = Roamer::connect_with(&nodes, "&user=ann").await;
    client.path = format!("{}{}", client.path, until(HOUR));
    client.works().await;
    let token = token(&client.path).to_owned();
    let query = format!("&user=ann{}", until(HOUR));
    let answer = refresh(&nodes[0], &token, &query).await;
    refused(&answer, "503 Service Unavailable", "connection_unavailable");
    assert_eq!(refresh(&nodes[1], &token, &query).await.status, "200 OK");
}

#[tokio::test]
async fn connections_of_other_nodes_live_as_long_as_the_newest_credentials() {
    let options = || shared().authenticate(by_query).close_on_authentication_expiration(true);
    let (_medium, nodes) = cluster(3, || options().authentication_refresh(true)).await;
    let (short, long) = (format!("&user=ann{}", until(SOON)), format!("&user=ann{}", until(HOUR)));
    let (_, prolonged) = negotiated(&nodes[0], &short).await;
    let mut prolonged_client = socket(&nodes[1], &prolonged, &short).await;
    let mut roamer = Roamer::connect_with(&nodes, &short).await;
    assert_eq!(refresh(&nodes[2], &prolonged, &long).await.status, "200 OK");
    roamer.path = format!("/hub?id={}{long}", token(&roamer.path));
    roamer.works().await;
    let (_, shortened) = negotiated(&nodes[0], &long).await;
    let mut shortened_client = socket(&nodes[1], &shortened, &long).await;
    let now = format!("&user=ann{}", until(SOON));
    assert_eq!(refresh(&nodes[0], &shortened, &now).await.status, "200 OK");
    // That one ends behind when the others would have.
    let close = json!({"type": 7, "allowReconnect": true});
    assert_eq!(shortened_client.next().await, close);
    prolonged_client.works().await;
    roamer.works().await;
}
