use backplane_signalr::{NegotiateVersion, Options};
use serde_json::{Value, json};

use crate::{
    client::Client,
    http::{Response, request},
    server::Server,
};

const TRANSPORTS: &str = r#""availableTransports":[{"transport":"WebSockets","transferFormats":["Text","Binary"]},{"transport":"ServerSentEvents","transferFormats":["Text"]},{"transport":"LongPolling","transferFormats":["Text","Binary"]}]"#;

/// The answer to a negotiation.
pub(crate) async fn negotiate(server: &Server, query: &str) -> Response {
    request(server, "POST", &format!("/hub/negotiate{query}"), &[]).await
}

/// A property of the answer to a negotiation of version 1.
pub(crate) async fn negotiated(server: &Server, query: &str) -> (String, String) {
    let answer = negotiate(server, &format!("?negotiateVersion=1{query}")).await;
    let answer: Value = serde_json::from_str(&answer.body).expect("JSON");
    let text = |name: &str| answer[name].as_str().expect(name).to_owned();
    (text("connectionId"), text("connectionToken"))
}

#[tokio::test]
async fn version_one_has_an_id_and_a_token() {
    let server = Server::start(Options::new()).await;
    let answer = negotiate(&server, "?negotiateVersion=1").await;
    assert_eq!(answer.status, "200 OK");
    assert_eq!(answer.headers["content-type"], "application/json");
    assert_eq!(answer.headers["content-length"], answer.body.len().to_string());
    let fields: Value = serde_json::from_str(&answer.body).unwrap();
    let (id, token) = (&fields["connectionId"], &fields["connectionToken"]);
    assert_eq!(id.as_str().map(str::len), Some(22));
    assert_eq!(
        answer.body,
        format!(
            r#"{{"negotiateVersion":1,"connectionId":{id},"connectionToken":{token},{TRANSPORTS}}}"#
        )
    );

    let token = token.as_str().unwrap();
    let mut client = Client::request(&server, &format!("?id={token}"), &[]).await.unwrap();
    client.shake().await;
    assert_eq!(client.invoke("WhoAmI", json!([])).await["result"], *id);
}

#[tokio::test]
async fn version_zero_has_one_id() {
    let server = Server::start(Options::new()).await;
    let answer = negotiate(&server, "").await;
    let fields: Value = serde_json::from_str(&answer.body).unwrap();
    let id = fields["connectionId"].as_str().unwrap();
    assert_eq!(
        answer.body,
        format!(r#"{{"negotiateVersion":0,"connectionId":"{id}",{TRANSPORTS}}}"#)
    );

    // The client shows the id that it connects with, so the server has to know it by that too.
    let mut client = Client::request(&server, &format!("?ID={id}"), &[]).await.unwrap();
    client.shake().await;
    assert_eq!(client.invoke("WhoAmI", json!([])).await["result"], id);
}

#[tokio::test]
async fn versions_that_are_not_served_are_told() {
    let server = Server::start(Options::new()).await;
    let answer = negotiate(&server, "?NegotiateVersion=two").await;
    assert_eq!(answer.status, "200 OK");
    assert_eq!(answer.headers["content-type"], "application/json");
    assert_eq!(answer.body, r#"{"error":"The client requested a non-integer protocol version."}"#);
    let answer = negotiate(&server, "?negotiateVersion=-1").await;
    assert_eq!(
        answer.body,
        r#"{"error":"The client requested version '-1', but the server does not support this version."}"#
    );
    let answer = negotiate(&server, "?negotiateVersion=2").await;
    assert!(answer.body.starts_with(r#"{"negotiateVersion":1,"#), "{}", answer.body);

    let server =
        Server::start(Options::new().minimum_negotiate_version(NegotiateVersion::One)).await;
    let answer = negotiate(&server, "").await;
    assert_eq!(
        answer.body,
        r#"{"error":"The client requested version '0', but the server does not support this version."}"#
    );
}

#[tokio::test]
async fn only_post_negotiates() {
    let server = Server::start(Options::new()).await;
    for method in ["GET", "PUT", "DELETE", "PATCH"] {
        let answer = request(&server, method, "/hub/negotiate?negotiateVersion=1", &[]).await;
        assert_eq!(answer.status, "405 Method Not Allowed");
        assert_eq!((&*answer.headers["content-type"], &*answer.body), ("text/plain", ""));
    }
}

#[tokio::test]
async fn no_negotiation_is_needed() {
    let server = Server::start(Options::new()).await;
    for query in ["", "?id="] {
        let mut client = Client::request(&server, query, &[]).await.unwrap();
        client.shake().await;
        client.works().await;
        assert_eq!(
            client.invoke("WhoAmI", json!([])).await["result"].as_str().map(str::len),
            Some(22)
        );
    }
}
