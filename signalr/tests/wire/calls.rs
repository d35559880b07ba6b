use std::num::NonZeroUsize;

use backplane_hub::{Filter, Filtered, HubError, Invocation, Next, Reply};
use backplane_signalr::Options;
use futures_util::stream;
use serde_json::json;

use crate::{
    client::Client,
    server::{Server, by_query},
};

#[tokio::test]
async fn results_come_back() {
    let server = Server::start(Options::new()).await;
    let mut client = Client::connect(&server).await;
    for value in [json!(null), json!(1), json!("ü \u{1e} \n"), json!({"a": [1.5, true, {}]})] {
        assert_eq!(client.invoke("Echo", json!([value])).await, json!({"result": value}));
    }
    assert_eq!(client.invoke("eCHO", json!([1])).await, json!({"result": 1}));
    assert_eq!(client.invoke("Nothing", json!([])).await, json!({"result": null}));
    // In order with what the method sent.
    client.call("1", "SendBack", json!(["hello"])).await;
    assert_eq!(
        client.next().await,
        json!({"type": 1, "target": "Message", "arguments": ["hello"]})
    );
    assert_eq!(client.completion("1").await, json!({"result": 5}));
}

#[tokio::test]
async fn a_call_without_an_id_is_never_answered() {
    let server = Server::start(Options::new().detailed_errors(true)).await;
    let mut client = Client::connect(&server).await;
    for (target, arguments) in [
        ("Nothing", json!([])),
        ("Fail", json!(["text"])),
        ("Nope", json!([])),
        ("Add", json!(["a"])),
        ("Secret", json!([])),
    ] {
        client.send(json!({"type": 1, "target": target, "arguments": arguments})).await;
        client.send(json!({"type": 1, "invocationId": "", "target": target, "arguments": arguments, "streamIds": ["1"]})).await;
    }
    client.works().await;
}

#[tokio::test]
async fn errors_have_the_exact_texts() {
    let plain = Server::start(Options::new()).await;
    let detailed = Server::start(Options::new().detailed_errors(true)).await;
    let mut clients = [Client::connect(&plain).await, Client::connect(&detailed).await];
    let failed = "An unexpected error occurred invoking 'X' on the server.";
    let unbound = "Failed to invoke 'X' due to an error on the server.";
    for (target, arguments, text, detail) in [
        ("Nope", json!([]), "Unknown hub method 'X'", ""),
        ("Secret", json!([]), "Failed to invoke 'X' because user is unauthorized", ""),
        (
            "fail",
            json!(["An error occurred."]),
            failed,
            " InvalidOperationException: An error occurred.",
        ),
        ("Panic", json!(["ouch"]), failed, " Panic: ouch"),
        (
            "Add",
            json!([1]),
            unbound,
            " InvalidDataException: Invocation provides 1 argument(s) but target expects 2.",
        ),
        (
            "Nothing",
            json!([1, 2, 3]),
            unbound,
            " InvalidDataException: Invocation provides 3 argument(s) but target expects 0.",
        ),
        (
            "Add",
            json!([1, "2"]),
            unbound,
            " InvalidDataException: Error binding arguments. Make sure that the types of the provided values match the types of the hub method being invoked.",
        ),
        (
            "Add",
            json!([1, 2.5]),
            unbound,
            " InvalidDataException: Error binding arguments. Make sure that the types of the provided values match the types of the hub method being invoked.",
        ),
    ] {
        let text = text.replace('X', target);
        let [plain, detailed] = &mut clients;
        assert_eq!(plain.invoke(target, arguments.clone()).await, json!({"error": text}));
        assert_eq!(
            detailed.invoke(target, arguments).await,
            json!({"error": format!("{text}{detail}")})
        );
    }
    for client in &mut clients {
        assert_eq!(
            client.invoke("FailPublicly", json!(["Something bad"])).await,
            json!({"error": "An unexpected error occurred invoking 'FailPublicly' on the server. HubException: Something bad"})
        );
        let told = client.invoke("Unwritable", json!([])).await["error"].to_string();
        assert!(told.contains("An unexpected error occurred invoking 'Unwritable' on the server."));
        client.works().await;
    }
}

#[tokio::test]
async fn streams_are_refused() {
    let server = Server::start(Options::new()).await;
    let mut client = Client::connect(&server).await;
    for (target, text) in [
        (
            "Nothing",
            "The client attempted to invoke the non-streaming 'Nothing' method with a streaming invocation.",
        ),
        (
            "add",
            "The client attempted to invoke the non-streaming 'add' method with a streaming invocation.",
        ),
        ("Nope", "Unknown hub method 'Nope'"),
        ("Secret", "Failed to invoke 'Secret' because user is unauthorized"),
    ] {
        client
            .send(json!({"type": 4, "invocationId": "1", "target": target, "arguments": []}))
            .await;
        client.send(json!({"type": 5, "invocationId": "1"})).await;
        assert_eq!(client.completion("1").await, json!({"error": text}));
    }
    for (target, text) in [
        (
            "Nothing",
            "An unexpected error occurred invoking 'Nothing' on the server. HubException: Client sent 2 stream(s), Hub method expects 0.",
        ),
        ("Nope", "Unknown hub method 'Nope'"),
    ] {
        client
            .send(json!({"type": 1, "invocationId": "1", "target": target, "arguments": [], "streamIds": ["2", "3"]}))
            .await;
        client.send(json!({"type": 2, "invocationId": "2", "item": 1})).await;
        client.send(json!({"type": 3, "invocationId": "2"})).await;
        assert_eq!(client.completion("1").await, json!({"error": text}));
    }
    client.works().await;
}

#[tokio::test]
async fn messages_that_refer_to_nothing_are_ignored() {
    let server = Server::start(Options::new()).await;
    let mut client = Client::connect(&server).await;
    for message in [
        json!({"type": 2, "invocationId": "9", "item": {}}),
        json!({"type": 3, "invocationId": "9", "result": 1}),
        json!({"type": 3, "invocationId": "9", "error": "no"}),
        json!({"type": 5, "invocationId": "9"}),
        json!({"type": 6}),
        json!({"type": 8, "sequenceId": 7}),
        json!({"type": 9, "sequenceId": 7}),
        json!({"type": 99, "target": 1}),
        json!({"more": [], "type": 6}),
    ] {
        client.send(message).await;
        client.works().await;
    }
}

#[tokio::test]
async fn one_call_at_a_time_runs_in_order() {
    let server = Server::start(Options::new()).await;
    let mut client = Client::connect(&server).await;
    let mut other = Client::connect(&server).await;
    client.call("1", "Block", json!(["one"])).await;
    client.call("2", "Block", json!(["two"])).await;
    client.call("3", "Add", json!([1, 2])).await;
    assert_eq!(server.probe.told().await, "one begins");
    // Others have their own.
    other.works().await;
    server.probe.release();
    assert_eq!(server.probe.told().await, "one ends");
    assert_eq!(server.probe.told().await, "two begins");
    server.probe.release();
    assert_eq!(server.probe.told().await, "two ends");
    for (id, result) in [("1", json!("one")), ("2", json!("two")), ("3", json!(3))] {
        assert_eq!(client.completion(id).await, json!({"result": result}));
    }
}

#[tokio::test]
async fn the_loop_reads_on_while_one_call_runs() {
    let server = Server::start(Options::new()).await;
    let mut client = Client::connect(&server).await;
    client.call("1", "Block", json!(["one"])).await;
    assert_eq!(server.probe.told().await, "one begins");
    client.send(json!({"type": 7})).await;
    assert_eq!(client.next().await, json!({"type": 7, "allowReconnect": true}));
    assert_eq!(client.gone().await, 1000);
    assert_eq!(server.probe.told().await, "disconnected: well");
    // The call goes on to its end.
    server.probe.release();
    assert_eq!(server.probe.told().await, "one ends");
}

#[tokio::test]
async fn more_calls_at_a_time_overtake_each_other() {
    let two = NonZeroUsize::new(2).unwrap();
    let server = Server::start(Options::new().parallel_invocations(two)).await;
    let mut client = Client::connect(&server).await;
    client.call("1", "Block", json!(["one"])).await;
    client.call("2", "Add", json!([1, 2])).await;
    assert_eq!(client.completion("2").await, json!({"result": 3}));
    client.call("3", "Block", json!(["three"])).await;
    client.call("4", "Add", json!([3, 4])).await;
    assert_eq!(server.probe.told().await, "one begins");
    assert_eq!(server.probe.told().await, "three begins");
    server.probe.release();
    assert_eq!(server.probe.told().await, "one ends");
    assert_eq!(client.completion("1").await, json!({"result": "one"}));
    assert_eq!(client.completion("4").await, json!({"result": 7}));
    server.probe.release();
    assert_eq!(client.completion("3").await, json!({"result": "three"}));
}

#[tokio::test]
async fn many_calls_in_one_piece_are_answered() {
    let server = Server::start(Options::new()).await;
    let mut client = Client::connect(&server).await;
    let calls: String = (0..900)
        .map(|id| format!("{}\u{1e}", json!({"type": 1, "invocationId": id.to_string(), "target": "Echo", "arguments": [id]})))
        .collect();
    client.text(&calls).await;
    for id in 0..900 {
        assert_eq!(client.completion(&id.to_string()).await, json!({"result": id}));
    }
}

/// Refuses whom it does not like.
struct Moody;

impl Filter for Moody {
    fn call<'a>(&'a self, invocation: Invocation, next: Next<'a>) -> Filtered<'a> {
        Box::pin(async move {
            match (invocation.target(), invocation.arguments()) {
                ("Echo", 0) => Ok(Reply::value("nothing")),
                ("Numbers", _) => Ok(Reply::value(1)),
                ("Nothing", _) => Err(HubError::client("not today").into()),
                _ => next.run(invocation).await,
            }
        })
    }

    fn connected<'a>(&'a self, invocation: Invocation, next: Next<'a>) -> Filtered<'a> {
        Box::pin(async move {
            if invocation.caller().user().is_some() {
                return Err(HubError::client("anonymous only").into());
            }
            next.run(invocation).await
        })
    }
}

#[tokio::test]
async fn filters_answer_in_the_place_of_methods() {
    let options = Options::new().authenticate(by_query);
    let server = Server::with(options, |hub| {
        hub.filter(Moody).stream("Numbers", async || stream::iter([1]))
    })
    .await;
    let mut client = Client::connect(&server).await;
    client.works().await;
    assert_eq!(client.invoke("echo", json!([])).await, json!({"result": "nothing"}));
    assert_eq!(client.invoke("echo", json!([1])).await, json!({"result": 1}));
    let text =
        "An unexpected error occurred invoking 'nothing' on the server. HubException: not today";
    assert_eq!(client.invoke("nothing", json!([])).await, json!({"error": text}));
    client
        .send(json!({"type": 4, "invocationId": "1", "target": "numbers", "arguments": []}))
        .await;
    let text = "The value returned by the streaming method 'numbers' is not a ChannelReader<> or IAsyncEnumerable<>.";
    assert_eq!(client.completion("1").await, json!({"error": text}));

    let mut refused = Client::request(&server, "?user=ann", &[]).await.unwrap();
    refused.shake().await;
    let text = "Connection closed with an error. HubException: anonymous only";
    assert_eq!(refused.next().await, json!({"type": 7, "error": text}));
    assert_eq!(refused.gone().await, 1000);
}
