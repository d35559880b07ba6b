//! What handlers see of the request that a connection began with.

use backplane_signalr::{ConnectionRequest, Options};
use serde_json::{Value, json};

use crate::{
    client::Client,
    events::ACCEPT,
    http::{Chunked, exchange, request},
    negotiation::negotiated,
    server::Server,
};

async fn about(request: ConnectionRequest) -> (String, Vec<Option<String>>) {
    let seen = [
        request.header("x-test"),
        request.cookie("a"),
        request.query("numRedirects"),
        request.header("x-none"),
    ];
    (request.transport().name().to_owned(), seen.map(|it| it.map(str::to_owned)).to_vec())
}

const SENT: [(&str, &str); 2] = [("X-Test", "yes"), ("Cookie", "b=2; a=1")];

fn expected(transport: &str) -> Value {
    json!([transport, ["yes", "1", "3", null]])
}

/// A handshake, and a call of the method.
const CALL: &str = "{\"protocol\":\"json\",\"version\":1}\u{1e}{\"type\":1,\"invocationId\":\"1\",\"target\":\"About\",\"arguments\":[]}\u{1e}";

fn result(records: &str) -> Value {
    let record = records.trim_end().trim_end_matches('\u{1e}').rsplit('\u{1e}').next();
    let record = record.expect("a record").trim_start_matches("data: ");
    let completion: Value = serde_json::from_str(record).expect("JSON");
    completion["result"].clone()
}

#[tokio::test]
async fn it_is_the_first_of_the_connection() {
    let server = Server::with(Options::new(), |hub| hub.method("About", about)).await;
    assert!(server.hub.wants_request());

    let headers = [("x-test", "yes"), ("cookie", "b=2; a=1")];
    let mut client = Client::request(&server, "?numRedirects=3", &headers).await.unwrap();
    client.shake().await;
    assert_eq!(client.invoke("About", json!([])).await["result"], expected("WebSockets"));

    let (_, token) = negotiated(&server, "").await;
    let path = format!("/hub?numRedirects=3&id={token}");
    let mut events = Chunked::get(&server, &path, &[ACCEPT, SENT[0], SENT[1]]).await;
    exchange(&server, "POST", &format!("/hub?id={token}"), &[], CALL.as_bytes()).await;
    let mut told = String::new();
    while !told.contains("\"result\"") {
        told = events.next().await;
    }
    assert_eq!(result(&told), expected("ServerSentEvents"));

    let (_, token) = negotiated(&server, "").await;
    let path = format!("/hub?numRedirects=3&id={token}");
    request(&server, "GET", &path, &SENT).await;
    let later = format!("/hub?numRedirects=4&id={token}");
    exchange(&server, "POST", &later, &[("X-Test", "no")], CALL.as_bytes()).await;
    let mut told = String::new();
    while !told.contains("\"result\"") {
        told = request(&server, "GET", &later, &[("X-Test", "no")]).await.body;
    }
    assert_eq!(result(&told), expected("LongPolling"));
}

#[tokio::test]
async fn it_is_not_kept_for_nobody() {
    let server = Server::start(Options::new()).await;
    assert!(!server.hub.wants_request());
}
