//! What clients return to the server.

use std::num::NonZeroUsize;

use backplane_hub::{Caller, HubBuilder, HubError, InvokeError, Upload};
use backplane_memory::Medium;
use backplane_signalr::Options;
use futures_util::{StreamExt, TryStreamExt, stream};
use serde_json::{Value, json};

use crate::{
    client::{Client, soon},
    server::Server,
};

/// The next message, which asks the client `what`: the id to answer with.
async fn asked(client: &mut Client, what: &str) -> String {
    let mut message = client.next().await;
    let id = message["invocationId"].take();
    assert_eq!(
        message,
        json!({"type": 1, "invocationId": null, "target": "Question", "arguments": [what]})
    );
    id.as_str().expect("an answer is wanted").to_owned()
}

async fn answer(client: &mut Client, id: &str, result: Value) {
    client.send(json!({"type": 3, "invocationId": id, "result": result})).await;
}

#[tokio::test]
async fn an_answer_is_read_while_the_method_that_asked_runs() {
    let server = Server::start(Options::new()).await;
    let mut client = Client::connect(&server).await;
    client.call("1", "Ask", json!(["who"])).await;
    let id = asked(&mut client, "who").await;
    // Pings and answers to nothing in between.
    client.send(json!({"type": 6})).await;
    answer(&mut client, "1", json!("not this")).await;
    answer(&mut client, "nothing", json!("nor this")).await;
    answer(&mut client, &id, json!({"name": "me"})).await;
    assert_eq!(client.completion("1").await, json!({"result": {"name": "me"}}));
    // Again is late, and harmless.
    answer(&mut client, &id, json!(1)).await;
    client.works().await;
}

#[tokio::test]
async fn calls_that_wait_for_the_client_let_others_pass() {
    for limit in [1, 2] {
        let limit = NonZeroUsize::new(limit).unwrap();
        let server = Server::start(Options::new().parallel_invocations(limit)).await;
        let mut client = Client::connect(&server).await;
        let mut ids = Vec::new();
        for (call, what) in [("1", "a"), ("2", "b"), ("3", "c")] {
            client.call(call, "Ask", json!([what])).await;
            ids.push(asked(&mut client, what).await);
        }
        // Whatever runs meanwhile, and in whatever order they are answered.
        client.works().await;
        for (call, id) in [("3", &ids[2]), ("1", &ids[0]), ("2", &ids[1])] {
            answer(&mut client, id, json!(call)).await;
            assert_eq!(client.completion(call).await, json!({"result": call}));
        }
    }
}

#[tokio::test]
async fn a_call_behind_a_running_one_goes_on_when_that_waits() {
    let server = Server::start(Options::new()).await;
    let mut client = Client::connect(&server).await;
    client.call("1", "Block", json!(["block"])).await;
    assert_eq!(server.probe.told().await, "block begins");
    // These wait: neither is looked at before the first has ended, nor is the answer behind them.
    client.call("2", "Ask", json!(["a"])).await;
    client.call("3", "Ask", json!(["b"])).await;
    server.probe.release();
    assert_eq!(client.completion("1").await, json!({"result": "block"}));
    let (a, b) = (asked(&mut client, "a").await, asked(&mut client, "b").await);
    answer(&mut client, &b, json!(2)).await;
    assert_eq!(client.completion("3").await, json!({"result": 2}));
    answer(&mut client, &a, json!(1)).await;
    assert_eq!(client.completion("2").await, json!({"result": 1}));
}

#[tokio::test]
async fn a_client_that_fails_or_leaves_fails_the_call() {
    let server = Server::start(Options::new().detailed_errors(true)).await;
    let mut client = Client::connect(&server).await;
    client.call("1", "Ask", json!(["who"])).await;
    let id = asked(&mut client, "who").await;
    client.send(json!({"type": 3, "invocationId": id, "error": "Error: from callback"})).await;
    assert_eq!(
        client.completion("1").await,
        json!({"error": "An unexpected error occurred invoking 'Ask' on the server. InvokeError: Error: from callback"})
    );
    client.call("2", "WhoAmI", json!([])).await;
    let own = client.completion("2").await["result"].as_str().unwrap().to_owned();
    let calling =
        tokio::spawn(server.hub.clients().connection(&own).invoke::<u32>("Question", ("?",)));
    asked(&mut client, "?").await;
    client.hang_up().await;
    let failed = soon(calling).await.unwrap().unwrap_err();
    assert!(matches!(failed, InvokeError::Disconnected { .. }), "{failed:?}");
}

#[tokio::test]
async fn any_node_can_ask() {
    let medium = Medium::new();
    let one = Server::on(&medium, Options::new(), |hub| hub).await;
    let two = Server::on(&medium, Options::new(), |hub| hub).await;
    let mut client = Client::connect(&one).await;
    let own = client.invoke("WhoAmI", json!([])).await["result"].as_str().unwrap().to_owned();
    let calling =
        tokio::spawn(two.hub.clients().connection(&own).invoke::<u32>("Question", ("?",)));
    let id = asked(&mut client, "?").await;
    // Another client cannot answer for it.
    let mut other = Client::connect(&one).await;
    answer(&mut other, &id, json!(9)).await;
    other.works().await;
    assert!(!calling.is_finished());
    answer(&mut client, &id, json!(10)).await;
    assert_eq!(soon(calling).await.unwrap().unwrap(), 10);
}

fn asking(hub: HubBuilder) -> HubBuilder {
    hub.stream("AskAndStream", async |caller: Caller| {
        stream::iter(["a", "b"]).then(move |what| {
            let asked = caller.clients().caller().invoke::<Value>("Question", (what,));
            async move { Ok::<_, HubError>(asked.await?) }
        })
    })
    .method(
        "AskAndSum",
        async |caller: Caller, mut numbers: Upload<u32>| -> Result<u32, HubError> {
            let mut sum = 0;
            while let Some(number) = numbers.try_next().await? {
                let asked = caller.clients().caller().invoke::<u32>("Question", ("factor",));
                sum += number * asked.await?;
            }
            Ok(sum)
        },
    )
}

#[tokio::test]
async fn streams_either_way_can_ask_too() {
    let server = Server::with(Options::new(), asking).await;
    let mut client = Client::connect(&server).await;
    client
        .send(json!({"type": 4, "invocationId": "1", "target": "AskAndStream", "arguments": []}))
        .await;
    for what in ["a", "b"] {
        let id = asked(&mut client, what).await;
        answer(&mut client, &id, json!({"to": what})).await;
        let item = json!({"type": 2, "invocationId": "1", "item": {"to": what}});
        assert_eq!(client.next().await, item);
    }
    assert_eq!(client.completion("1").await, json!({}));

    client
        .send(json!({"type": 1, "invocationId": "2", "target": "AskAndSum", "arguments": [], "streamIds": ["s"]}))
        .await;
    for (number, factor) in [(3, 2), (4, 10)] {
        client.send(json!({"type": 2, "invocationId": "s", "item": number})).await;
        let id = asked(&mut client, "factor").await;
        answer(&mut client, &id, json!(factor)).await;
    }
    client.send(json!({"type": 3, "invocationId": "s"})).await;
    assert_eq!(client.completion("2").await, json!({"result": 46}));
    client.works().await;
}
