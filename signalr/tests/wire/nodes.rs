use std::time::Duration;

use backplane_memory::Medium;
use backplane_signalr::{Options, TokenKey, TokenKeys};
use serde_json::json;

use crate::{
    client::{Client, Refusal},
    negotiation::negotiated,
    server::{Server, by_query},
};

pub(crate) fn shared() -> Options {
    Options::new().token_keys(TokenKeys::new(TokenKey::new(&[7; 32]).unwrap()))
}

async fn two(options: impl Fn() -> Options) -> (Server, Server) {
    let medium = Medium::new();
    let one = Server::on(&medium, options(), |hub| hub).await;
    (one, Server::on(&medium, options(), |hub| hub).await)
}

fn unknown() -> Refusal {
    (404, "No Connection with that ID".to_owned())
}

async fn refused(server: &Server, query: &str) -> Refusal {
    match Client::request(server, query, &[]).await {
        Ok(_) => panic!("not refused"),
        Err(refusal) => refusal,
    }
}

#[tokio::test]
async fn whoever_shares_the_key_takes_the_connection() {
    let (one, two) = two(shared).await;
    for version in ["1", "0"] {
        let (id, token) = if version == "1" {
            negotiated(&one, "").await
        } else {
            let answer = crate::negotiation::negotiate(&one, "").await;
            let answer: serde_json::Value = serde_json::from_str(&answer.body).unwrap();
            let id = answer["connectionId"].as_str().unwrap().to_owned();
            (id.clone(), id)
        };
        let mut client = Client::request(&two, &format!("?id={token}"), &[]).await.unwrap();
        client.shake().await;
        assert_eq!(client.invoke("WhoAmI", json!([])).await["result"], *id);
        one.hub.clients().connection(&id).send("Hello", (1,)).await.unwrap();
        assert_eq!(client.next().await, json!({"type": 1, "target": "Hello", "arguments": [1]}));
    }
}

#[tokio::test]
async fn a_token_is_good_once_on_whatever_node() {
    let (one, two) = two(shared).await;
    for (negotiated_on, first) in [(&one, &one), (&one, &two)] {
        let (_, token) = negotiated(negotiated_on, "").await;
        let query = format!("?id={token}");
        let mut client = Client::request(first, &query, &[]).await.unwrap();
        for again in [&one, &two] {
            assert_eq!(refused(again, &query).await, (409, String::new()));
        }
        client.shake().await;
        client.works().await;
        client.hang_up().await;
        // Its node has told by now that it has ended, or does so soon.
        for again in [&one, &two] {
            let mut answer = refused(again, &query).await;
            while answer.0 == 409 {
                answer = refused(again, &query).await;
            }
            assert_eq!(answer, (404, "No Connection with that ID".to_owned()));
        }
    }
}

#[tokio::test]
async fn tokens_that_are_no_good_are_unknown() {
    let (one, two) = two(shared).await;
    let (id, token) = negotiated(&one, "").await;
    let mut forged = token.clone();
    let last = if forged.pop() == Some('A') { 'E' } else { 'A' };
    forged.push(last);
    let longest = "x".repeat(10_000);
    for bad in [&*id, &forged, &token[1..], "%00", "nonsense", &longest] {
        for server in [&one, &two] {
            assert_eq!(refused(server, &format!("?id={bad}")).await, unknown(), "{bad}");
        }
    }
    // Of another process.
    let stranger =
        Server::start(Options::new().token_keys(TokenKeys::new(TokenKey::random()))).await;
    let (_, strange) = negotiated(&stranger, "").await;
    assert_eq!(refused(&one, &format!("?id={strange}")).await, unknown());
    // The good one is still good.
    Client::request(&two, &format!("?id={token}"), &[]).await.unwrap().shake().await;
}

#[tokio::test]
async fn a_token_expires() {
    let options = || shared().token_expiry(Duration::ZERO);
    let (one, two) = two(options).await;
    let (_, token) = negotiated(&one, "").await;
    for server in [&one, &two] {
        assert_eq!(refused(server, &format!("?id={token}")).await, unknown());
    }
}

#[tokio::test]
async fn a_node_that_is_gone_grants_nothing() {
    let medium = Medium::new();
    let one = Server::on(&medium, shared(), |hub| hub).await;
    let two = Server::on(&medium, shared(), |hub| hub).await;
    let (_, token) = negotiated(&one, "").await;
    drop(one);
    let (status, _) = refused(&two, &format!("?id={token}")).await;
    assert!(status == 404 || status == 503, "{status}");
}

#[tokio::test]
async fn without_the_broker_only_the_own_tokens_are_good() {
    let medium = Medium::new();
    let one = Server::on(&medium, shared(), |hub| hub).await;
    let two = Server::on(&medium, shared(), |hub| hub).await;
    let (_, token) = negotiated(&one, "").await;
    medium.stop();
    let mut link = two.hub.backplane().link();
    link.wait_for(|link| !link.is_up()).await.unwrap();
    assert_eq!(
        refused(&two, &format!("?id={token}")).await,
        (503, "The server of this connection cannot be reached now".to_owned())
    );
    let mut client = Client::request(&one, &format!("?id={token}"), &[]).await.unwrap();
    client.shake().await;
    client.works().await;
}

#[tokio::test]
async fn a_token_is_its_users() {
    let (one, two) = two(|| shared().authenticate(by_query)).await;
    let (_, token) = negotiated(&one, "&user=ann").await;
    for query in [format!("?id={token}"), format!("?id={token}&user=bob")] {
        assert_eq!(refused(&two, &query).await, unknown());
    }
    let query = format!("?user=ann&id={token}");
    let mut client = Client::request(&two, &query, &[]).await.unwrap();
    client.shake().await;
    assert_eq!(client.invoke("User", json!([])).await, json!({"result": "ann"}));
}

#[tokio::test]
async fn messages_cross_nodes() {
    let (one, two) = two(|| shared().authenticate(by_query)).await;
    let mut ann = Client::request(&one, "?user=ann", &[]).await.unwrap();
    ann.shake().await;
    let mut bob = Client::request(&two, "?user=bob", &[]).await.unwrap();
    bob.shake().await;
    two.hub.clients().user("ann").send("ForAnn", ("ü", 2)).await.unwrap();
    two.hub.clients().all().send("ForAll", ()).await.unwrap();
    assert_eq!(ann.next().await, json!({"type": 1, "target": "ForAnn", "arguments": ["ü", 2]}));
    assert_eq!(ann.next().await, json!({"type": 1, "target": "ForAll", "arguments": []}));
    assert_eq!(bob.next().await, json!({"type": 1, "target": "ForAll", "arguments": []}));
}
