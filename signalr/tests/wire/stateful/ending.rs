//! What ends a connection whose client is away, and that it ends once.

use std::time::Duration;

use backplane_hub::{Caller, HubBuilder, State};
use backplane_signalr::Options;
use serde_json::json;

use super::Stateful;
use crate::{
    expiry::{by_query, until},
    nodes::shared,
    server::{Probe, Server},
};

fn stateful() -> Options {
    shared().stateful_reconnect(true)
}

fn described(hub: HubBuilder) -> HubBuilder {
    hub.method("AbortLater", async |caller: Caller, probe: State<Probe>| {
        probe.tell("aborts").await;
        probe.pass().await;
        caller.abort();
    })
}

/// Its last hook has run, and runs no more.
async fn ended_once(server: &Server, client: &Stateful) {
    assert_eq!(server.probe.told().await, "disconnected: well");
    client.is_unknown(server).await;
    server.hub.close(Duration::from_secs(20)).await.unwrap();
    server.probe.tell("nothing else").await;
    assert_eq!(server.probe.told().await, "nothing else");
}

#[tokio::test]
async fn a_call_may_abort_a_connection_whose_client_is_away() {
    let server = Server::with(stateful(), described).await;
    let mut client = Stateful::begin(&server).await;
    client.call("1", "AbortLater", json!([])).await;
    assert_eq!(server.probe.told().await, "aborts");
    client.lose();
    server.probe.release();
    ended_once(&server, &client).await;
}

#[tokio::test]
async fn a_hub_closes_though_a_client_is_away() {
    let server = Server::with(stateful(), described).await;
    let mut client = Stateful::begin(&server).await;
    client.works().await;
    client.lose();
    server.hub.close(Duration::from_secs(20)).await.unwrap();
    ended_once(&server, &client).await;
}

#[tokio::test]
async fn credentials_expire_while_the_client_is_away() {
    let options = stateful()
        .authenticate(by_query)
        .close_on_authentication_expiration(true)
        .disconnect_timeout(Duration::from_secs(60));
    let server = Server::with(options, described).await;
    let query = format!("&user=ann{}", until(Duration::from_millis(500)));
    let mut client = Stateful::begin_with(&server, &server, 2, &query).await;
    client.works().await;
    client.lose();
    ended_once(&server, &client).await;
}

#[tokio::test]
async fn a_client_answers_what_it_was_asked_while_it_was_away() {
    let server = Server::with(stateful(), described).await;
    let mut client = Stateful::begin(&server).await;
    client.works().await;
    client.lose();
    let asked = server.hub.clients().connection(&client.id).invoke::<u32>("Eta", ());
    let asked = tokio::spawn(asked);
    client.come_back(&server).await;
    let question = client.next().await;
    assert_eq!(question["target"], "Eta");
    let answer = json!({"type": 3, "invocationId": question["invocationId"], "result": 7});
    client.send(answer).await;
    assert_eq!(asked.await.unwrap().unwrap(), 7);
}
