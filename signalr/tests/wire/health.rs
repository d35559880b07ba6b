//! How a node stands, as a load balancer and a person see it.

use std::time::Duration;

use backplane_hub::{ClientNotices, Link};
use backplane_memory::Medium;
use backplane_signalr::Options;
use serde_json::{Value, json};

use crate::{
    client::{Client, soon},
    http::request,
    server::Server,
};

async fn health(server: &Server, path: &str) -> (u16, Value) {
    let answer = request(server, "GET", path, &[]).await;
    assert_eq!(answer.headers["content-type"], "application/json");
    assert_eq!(answer.headers["cache-control"], "no-store");
    let code = answer.status.split(' ').next().unwrap().parse().unwrap();
    (code, serde_json::from_str(&answer.body).unwrap())
}

#[tokio::test]
async fn a_node_says_whether_it_is_ready() {
    let medium = Medium::new();
    let server = Server::on(&medium, Options::new(), |hub| hub).await;
    assert_eq!(health(&server, "/health/live").await, (200, json!({"status": "live"})));
    assert_eq!(health(&server, "/health/ready").await, (200, json!({"status": "ready"})));

    medium.stop();
    let mut link = server.hub.backplane().link();
    soon(link.wait_for(|link| !link.is_up())).await.unwrap();
    let (code, body) = health(&server, "/health/ready").await;
    assert_eq!((code, &body["status"]), (503, &json!("degraded")), "{body}");
    assert!(body["reason"].as_str().unwrap().contains("medium"), "{body}");
    assert!(body["since_ms"].is_u64(), "{body}");
    assert_eq!(health(&server, "/health/live").await.0, 200);
    // It serves its own connections.
    Client::connect(&server).await.works().await;

    medium.start();
    soon(link.wait_for(Link::is_up)).await.unwrap();
    assert_eq!(health(&server, "/health/ready").await.0, 200);

    server.hub.close(Duration::from_secs(5)).await.unwrap();
    let (code, body) = health(&server, "/health/ready").await;
    assert_eq!((code, &body["status"]), (503, &json!("closed")), "{body}");
    assert_eq!(health(&server, "/health/live").await.0, 200);
}

#[tokio::test]
async fn the_details_name_node_link_members_and_counts() {
    let medium = Medium::new();
    let one = Server::on(&medium, Options::new(), |hub| hub).await;
    let two = Server::on(&medium, Options::new(), |hub| hub).await;
    let mut members = one.hub.backplane().members();
    soon(members.wait_for(|members| members.contains(two.hub.node()))).await.unwrap();
    let mut client = Client::connect(&one).await;
    two.hub.clients().all().send("Hello", (1,)).await.unwrap();
    client.next().await;

    let (code, body) = health(&one, "/health").await;
    assert_eq!((code, &body["status"], &body["hub"]), (200, &json!("ready"), &json!("test")));
    assert_eq!(body["node"], one.hub.node().to_string());
    assert_eq!(body["link"], json!({"state": "up", "epoch": 1}));
    let other = json!([{"node": two.hub.node().to_string(), "name": null}]);
    assert_eq!((&body["members"], &body["name_is_shared"]), (&other, &json!(false)));
    assert_eq!(body["counted"]["hub"]["connections"], 1);
    assert_eq!(body["counted"]["backplane"]["by_kind"]["all"]["received"], 1);
    assert_eq!(body["counted"]["backplane"]["received"], 1);

    medium.stop();
    let mut link = one.hub.backplane().link();
    soon(link.wait_for(|link| !link.is_up())).await.unwrap();
    let (code, body) = health(&one, "/health").await;
    assert_eq!((code, &body["link"]["state"]), (503, &json!("down")), "{body}");
    assert!(body["link"]["cause"].is_string() && body["reason"].is_string(), "{body}");
}

#[tokio::test]
async fn clients_hear_of_an_interruption_by_an_ordinary_invocation() {
    let medium = Medium::new();
    let notices = ClientNotices::default();
    let server = Server::on(&medium, Options::new(), |hub| hub.notify_clients(notices)).await;
    let mut client = Client::connect(&server).await;
    let mut link = server.hub.backplane().link();
    medium.stop();
    soon(link.wait_for(|link| !link.is_up())).await.unwrap();
    medium.start();
    let notice = json!({
        "type": 1,
        "target": "Backplane.Missed",
        "arguments": [{"reason": "interrupted"}],
    });
    assert_eq!(client.next().await, notice);
}
