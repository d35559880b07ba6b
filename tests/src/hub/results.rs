//! What clients return: each scenario of SignalR's own suites that is about results, one node first,
//! then two.

use std::time::Duration;

use backplane_hub::{Completion, CompletionError, Hub, InvokeError};
use serde_json::json;
use tokio::task::JoinHandle;

use super::{Client, HubFixture, client::Told, soon, two_hubs, until};

type Calling = JoinHandle<Result<u32, InvokeError>>;

/// Asks a client for a number.
fn call(hub: &Hub, client: &str) -> Calling {
    tokio::spawn(hub.clients().connection(client).invoke("Result", ("World",)))
}

async fn outcome(calling: Calling) -> Result<u32, InvokeError> {
    soon("an outcome", calling).await.unwrap()
}

/// Takes the call, which is the next message.
async fn called(client: &mut Client) -> Told {
    let told = client.next().await.expect("a call");
    assert_eq!((&*told.target, json!(told.arguments)), ("Result", json!(["World"])));
    assert!(told.id.is_some(), "an answer is wanted");
    told
}

/// The client of the first hub is called by the caller, and answers.
async fn a_client_answers(caller: &Hub, client: &mut Client) {
    let calling = call(caller, &client.id);
    let told = called(client).await;
    client.returns(&told, &json!(10)).unwrap();
    assert_eq!(outcome(calling).await.unwrap(), 10);
}

async fn a_client_fails(caller: &Hub, client: &mut Client) {
    let calling = call(caller, &client.id);
    let told = called(client).await;
    client.completes(&told, Completion::Error("Error from client".into())).unwrap();
    let failed = outcome(calling).await.unwrap_err();
    assert!(matches!(failed, InvokeError::Client { .. }), "{failed:?}");
    assert_eq!(failed.to_string(), "Error from client");
}

async fn a_client_disconnects(caller: &Hub, mut client: Client) {
    let calling = call(caller, &client.id);
    called(&mut client).await;
    client.leave().await;
    let failed = outcome(calling).await.unwrap_err();
    assert!(matches!(failed, InvokeError::Disconnected { .. }), "{failed:?}");
    assert_eq!(failed.to_string(), format!("Connection '{}' disconnected.", client.id));
}

async fn nobody_has_it(caller: &Hub) {
    let failed = outcome(call(caller, "1234")).await.unwrap_err();
    assert!(matches!(failed, InvokeError::NotFound { .. }), "{failed:?}");
    assert_eq!(failed.to_string(), "Connection '1234' does not exist.");
}

async fn a_call_is_given_up(caller: &Hub, mut client: Client) {
    let calling = call(caller, &client.id);
    let told = called(&mut client).await;
    calling.abort();
    assert!(soon("its end", calling).await.unwrap_err().is_cancelled());
    until("it is forgotten", || client.hub.stats().results_owed == 0).await;
    let late = client.returns(&told, &json!(10));
    assert!(matches!(late, Err(CompletionError::Unknown { .. })), "{late:?}");
    // Nothing of it is left behind.
    a_client_answers(caller, &mut client).await;
}

async fn the_result_has_another_type(caller: &Hub, client: &mut Client) {
    let calling = call(caller, &client.id);
    let told = called(client).await;
    client.returns(&told, &json!("ten")).unwrap();
    let failed = outcome(calling).await.unwrap_err();
    assert!(matches!(failed, InvokeError::Result { .. }), "{failed:?}");
    assert_eq!(failed.to_string(), "Error trying to deserialize result to u32.");
}

/// One node: a client returns a result.
pub async fn a_client_returns_a_result(fixture: &dyn HubFixture) {
    let (hub, _) = two_hubs(fixture);
    let before = hub.backplane().stats().accepted;
    let mut client = Client::open(&hub).await;
    a_client_answers(&hub, &mut client).await;
    assert_eq!(hub.backplane().stats().accepted, before, "it needs no backplane");
}

/// One node: a client's method fails.
pub async fn a_client_returns_an_error(fixture: &dyn HubFixture) {
    let (hub, _) = two_hubs(fixture);
    let mut client = Client::open(&hub).await;
    a_client_fails(&hub, &mut client).await;
}

/// One node: the answer of another client changes nothing.
pub async fn another_client_cannot_answer(fixture: &dyn HubFixture) {
    let (hub, _) = two_hubs(fixture);
    let (mut asked, other) = (Client::open(&hub).await, Client::open(&hub).await);
    let calling = call(&hub, &asked.id);
    let told = called(&mut asked).await;
    let refused = other.returns(&told, &json!(9)).unwrap_err();
    assert!(matches!(refused, CompletionError::WrongConnection { .. }), "{refused:?}");
    let id = told.id.as_deref().unwrap();
    assert_eq!(
        refused.to_string(),
        format!("Connection ID '{}' is not valid for invocation ID '{id}'.", other.id)
    );
    asked.returns(&told, &json!(10)).unwrap();
    assert_eq!(outcome(calling).await.unwrap(), 10);
}

/// One node: a connection that does not exist.
pub async fn a_connection_that_does_not_exist_cannot_be_called(fixture: &dyn HubFixture) {
    let (hub, _) = two_hubs(fixture);
    nobody_has_it(&hub).await;
}

/// One node: two clients answer in the other order.
pub async fn calls_of_several_clients_do_not_collide(fixture: &dyn HubFixture) {
    let (hub, _) = two_hubs(fixture);
    let (mut c1, mut c2) = (Client::open(&hub).await, Client::open(&hub).await);
    let (first, second) = (call(&hub, &c1.id), call(&hub, &c2.id));
    let (told1, told2) = (called(&mut c1).await, called(&mut c2).await);
    assert_ne!(told1.id, told2.id);
    c2.returns(&told2, &json!(2)).unwrap();
    assert_eq!(outcome(second).await.unwrap(), 2);
    assert!(!first.is_finished());
    c1.returns(&told1, &json!(1)).unwrap();
    assert_eq!(outcome(first).await.unwrap(), 1);
}

/// One node: a client disconnects without an answer.
pub async fn a_client_disconnects_without_an_answer(fixture: &dyn HubFixture) {
    let (hub, _) = two_hubs(fixture);
    a_client_disconnects(&hub, Client::open(&hub).await).await;
}

/// One node: who asked waits no more.
pub async fn a_call_can_be_given_up(fixture: &dyn HubFixture) {
    let (hub, _) = two_hubs(fixture);
    a_call_is_given_up(&hub, Client::open(&hub).await).await;
}

/// 17: a result, across nodes.
pub async fn a_client_of_the_other_node_returns_a_result(fixture: &dyn HubFixture) {
    let (one, two) = two_hubs(fixture);
    let mut client = Client::open(&one).await;
    a_client_answers(&two, &mut client).await;
    assert_eq!(one.stats().results_owed, 0);
}

/// 18: an error, across nodes.
pub async fn a_client_of_the_other_node_returns_an_error(fixture: &dyn HubFixture) {
    let (one, two) = two_hubs(fixture);
    let mut client = Client::open(&one).await;
    a_client_fails(&two, &mut client).await;
}

/// 19: a connection that no node has.
pub async fn a_connection_of_no_node_cannot_be_called(fixture: &dyn HubFixture) {
    let (one, two) = two_hubs(fixture);
    let _client = Client::open(&two).await;
    nobody_has_it(&one).await;
    nobody_has_it(&two).await;
}

/// 20: a client disconnects without an answer, across nodes.
pub async fn a_client_of_the_other_node_disconnects_without_an_answer(fixture: &dyn HubFixture) {
    let (one, two) = two_hubs(fixture);
    a_client_disconnects(&one, Client::open(&two).await).await;
}

/// 21: two nodes call one client. Each result goes to the node that asked for it; the client answers
/// where it is connected, and only there.
pub async fn calls_of_two_nodes_have_ids_of_their_own(fixture: &dyn HubFixture) {
    let (one, two) = two_hubs(fixture);
    let mut client = Client::open(&one).await;
    let first = call(&one, &client.id);
    let told1 = called(&mut client).await;
    let second = call(&two, &client.id);
    let told2 = called(&mut client).await;
    assert_ne!(told1.id, told2.id);
    client.returns(&told2, &json!(5)).unwrap();
    client.returns(&told1, &json!(2)).unwrap();
    assert_eq!(outcome(first).await.unwrap(), 2);
    assert_eq!(outcome(second).await.unwrap(), 5);
}

/// 22: the same as 19, promptly: within 1.5 s, where the machine has a moment for it.
pub async fn a_connection_of_no_node_fails_a_call_promptly(fixture: &dyn HubFixture) {
    const PROMPTLY: Duration = Duration::from_millis(1500);
    let (one, two) = two_hubs(fixture);
    let _client = Client::open(&two).await;
    let mut took = Vec::new();
    while took.len() < 8 && took.last().is_none_or(|last| *last >= PROMPTLY) {
        let started = tokio::time::Instant::now();
        nobody_has_it(&one).await;
        took.push(started.elapsed());
    }
    println!("a call of a connection that nobody has failed after {took:.2?}");
    assert!(took.last() < Some(&PROMPTLY), "{took:?}");
}

/// 23: a result of another type, across nodes.
pub async fn a_client_of_the_other_node_returns_another_type(fixture: &dyn HubFixture) {
    let (one, two) = two_hubs(fixture);
    let mut client = Client::open(&one).await;
    the_result_has_another_type(&two, &mut client).await;
    the_result_has_another_type(&one, &mut client).await;
}

/// Who asked from the other node waits no more: the client's node forgets the call.
pub async fn a_call_of_the_other_node_can_be_given_up(fixture: &dyn HubFixture) {
    let (one, two) = two_hubs(fixture);
    a_call_is_given_up(&two, Client::open(&one).await).await;
}
